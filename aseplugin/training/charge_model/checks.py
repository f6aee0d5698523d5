"""Refusals of a training of Soft-FQEq before it begins: its state, its labels, its plane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from voltase.aseplugin.errors import CheckpointError, InputError
from voltase.aseplugin.training.charge_model.config import ChargeDataConfig, ChargeLossWeights
from voltase.aseplugin.training.charge_model.dataset import ABOVE_WATER, ChargeSample
from voltase.aseplugin.training.charge_model.model_setup import Start
from voltase.aseplugin.training.dataset import EarlierSplit
from voltase.aseplugin.training.state import METRICS, read_meta, read_metrics

STATE_KEYS = (
    "epoch", "batch", "step", "seconds", "sums", "offsets", "configuration", "model",
)  # fmt: skip
"""Of what `ChargeTrainer` keeps beside the tensors."""
HIGHEST_PLANE = 1e3
"""Height of the plane of the counter charge in A beyond which it is a slip."""


def earlier_state(folder: Path) -> dict[str, Any] | None:
    """What the state in a folder says beside its tensors; None if there is no state.

    Raises
    ------
    CheckpointError
        If the state, or the record of its epochs, cannot be used.
    """
    meta = read_meta(folder)
    if meta is None:
        return None
    missing = [name for name in STATE_KEYS if name not in meta]
    if missing:
        raise CheckpointError(
            f"restart: the state in {folder} has no {missing[0]!r}, expected that of a training of "
            "Soft-FQEq; choose another --out, or --no-restart to start afresh"
        )
    try:
        read_metrics(folder)
    except ValueError as error:
        raise CheckpointError(
            f"restart: {folder / METRICS} cannot be read ({error}), expected a line of JSON for "
            "each epoch"
        ) from error
    return meta


def held_out(start: Start) -> EarlierSplit | None:
    """What the training of a checkpoint held out.

    Raises
    ------
    CheckpointError
        If the card is wrong about it.
    """
    try:
        return EarlierSplit.of_card(start.card)
    except (AttributeError, TypeError) as error:
        raise CheckpointError(
            "init: the card's split cannot be read, expected lists of snapshots"
        ) from error


def check_labels(train: Sequence[Any], data: ChargeDataConfig,
                 loss: ChargeLossWeights) -> None:  # fmt: skip
    """Refuse training geometries that have nothing of what the loss asks for.

    Parameters
    ----------
    train : sequence of ChargeSample
    data : ChargeDataConfig
    loss : ChargeLossWeights

    Raises
    ------
    InputError
    """
    used: Sequence[ChargeSample] = [s for s in train if data.weights.get(s.config_type, 1) > 0]
    if not used:
        raise InputError("data.weights: found 0 for all that is trained on, expected some above 0")
    charges = loss.charges > 0.0 or loss.response > 0.0 or loss.electrode > 0.0
    if not (
        loss.forces > 0.0
        or (charges and any(bool(s.charges.isfinite().any()) for s in used))
        or (loss.potential > 0.0 and any(bool(s.potential.isfinite().any()) for s in used))
        or (loss.energy > 0.0 and any(bool(s.energy.isfinite().any()) for s in used))
    ):
        raise InputError(
            f"training.loss: found no label of a term with a weight among {len(used)} geometries, "
            "expected some"
        )


def check_height(samples: Sequence[ChargeSample], height: float) -> None:
    """Refuse a plane of counter charge below the water of all frames, or far away.

    Parameters
    ----------
    samples : sequence of ChargeSample
    height : float
        Above the middle of the electrode, A.

    Raises
    ------
    InputError
    """
    outermost = [s.counter_height - ABOVE_WATER for sample in samples for s in sample.states
                 if s.counter_height is not None]  # fmt: skip
    if height > HIGHEST_PLANE:
        raise InputError(
            f"model.counter_height: found {height:g} A, expected at most {HIGHEST_PLANE:g} A"
        )
    if outermost and height < min(outermost):
        raise InputError(
            f"model.counter_height: found {height:g} A, below the outermost atom of every frame, "
            f"expected more than {min(outermost):.1f} A"
        )
