"""PE-EDP models on disk, in the format of all checkpoints; the trunk is inside."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from voltase.aseplugin.errors import CheckpointError
from voltase.aseplugin.models.checkpoint import (
    checked_weights,
    read_card,
    resolve_checkpoint,
    save_checkpoint,
)
from voltase.aseplugin.models.density.model import DensityConfig, DensityModel
from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel

KIND = "pe-edp"


class _Record:
    """A model as `save_checkpoint` wants it: with one configuration for itself and its trunk."""

    def __init__(self, model: DensityModel) -> None:
        self.config = _Config(model)
        self.state_dict = model.state_dict


class _Config:
    def __init__(self, model: DensityModel) -> None:
        self.model = model

    def as_dict(self) -> dict[str, Any]:
        """Plain types only."""
        return {**self.model.config.as_dict(), "trunk": asdict(self.model.trunk_config)}


def save_model(folder: Path, model: DensityModel, card: dict[str, Any]) -> Path:
    """Write a checkpoint folder; see `save_checkpoint`."""
    return save_checkpoint(folder, _Record(model), card, KIND)


def load_model(name: str | Path) -> tuple[DensityModel, dict[str, Any]]:
    """Load a model and its card; nothing is unpickled.

    Parameters
    ----------
    name : str or Path
        A name in the zoo, a checkpoint folder, or a file in one.

    Raises
    ------
    CheckpointError
        If the checkpoint is missing, damaged, or of another kind.
    """
    folder = resolve_checkpoint(name, KIND)
    card = read_card(folder, KIND)
    weights = checked_weights(folder, card)
    try:
        config = dict(card["config"])
        trunk = PEMACEModel(PEMACEConfig.from_dict(config.pop("trunk")))
        model = DensityModel(DensityConfig(**config), trunk)
        model.load_state_dict(load_file(weights))
    # A card that is wrong in any way fails somewhere in these lines, also inside e3nn.
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError,
            RuntimeError, SafetensorError) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"model: {folder} does not describe a model ({reason})") from error
    return model.eval(), card
