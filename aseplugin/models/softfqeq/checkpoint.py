"""Soft-FQEq models on disk, in the format of all checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from voltase.aseplugin.errors import CheckpointError, InputError
from voltase.aseplugin.models.checkpoint import (
    checked_weights,
    read_card,
    resolve_checkpoint,
    save_checkpoint,
)
from voltase.aseplugin.models.softfqeq.config import SoftFQEqConfig
from voltase.aseplugin.models.softfqeq.model import SoftFQEqModel

KIND = "soft-fqeq"


def save_model(folder: Path, model: SoftFQEqModel, card: dict[str, Any]) -> Path:
    """Write a checkpoint folder; see `save_checkpoint`."""
    return save_checkpoint(folder, model, card, KIND)


def load_model(name: str | Path) -> tuple[SoftFQEqModel, dict[str, Any]]:
    """Load a model and its card; nothing is unpickled.

    Parameters
    ----------
    name : str or Path
        A name in the zoo, a checkpoint folder, or a file in one.

    Raises
    ------
    CheckpointError
        If the checkpoint is missing, damaged, or of another kind.
    InputError
        If it needs a package that is not installed.
    """
    folder = resolve_checkpoint(name, KIND)
    card = read_card(folder, KIND)
    weights = checked_weights(folder, card)
    try:
        config = SoftFQEqConfig.from_dict(card["config"])
    # A card that is wrong in any way fails somewhere in these lines.
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _unusable(folder, error) from error
    try:
        model = SoftFQEqModel(config)
    except InputError:
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise _unusable(folder, error) from error
    try:
        state = load_file(weights)
        model.set_precision(state["electronegativity.element"].dtype)
        model.load_state_dict(state)
    except (LookupError, RuntimeError, SafetensorError) as error:
        raise _unusable(folder, error) from error
    return model.eval(), card


def _unusable(folder: Path, error: Exception) -> CheckpointError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, InputError):
        reason = str(error)
    return CheckpointError(f"model: {folder} does not describe a model ({reason})")
