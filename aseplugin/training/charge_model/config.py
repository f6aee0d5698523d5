"""Settings of a training of Soft-FQEq; imports nothing heavy, so that a command line can."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.training.config import LARGEST_SEED, DataConfig

Charging = Literal["plates", "plane"]


@dataclass
class ChargeDataConfig(DataConfig):
    """Where the frames are and what their keys mean; see `DataConfig` for what is not listed.

    Attributes
    ----------
    charges_key : str
        Per-atom array of charges in e, positive where electrons lack. Frames without it are
        trained on for all else.
    charging : {"plates", "plane"}
        What a frame's electron number means. ``"plates"``: the atoms are neutral, between two
        plates whose field puts n electrons on the water's side of the electrode and takes as many
        from the other side. ``"plane"``: the atoms have the charge -n, its opposite is on a plane
        beyond the water.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    charges_key: str = "hirshfeld_charges"
    charging: Charging = "plates"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.charging not in get_args(Charging):
            raise InputError(f"charging: found {self.charging!r}, expected 'plates' or 'plane'")


@dataclass
class ChargeLossWeights:
    """Weight of each term; each is a mean square.

    Attributes
    ----------
    charges : float
        Per e^2 of an atom's charge.
    response : float
        Per unit of an atom's squared error in dq/dn, from two electron numbers of one geometry.
    electrode : float
        Per unit of squared error in dQ/dn of the whole electrode.
    potential : float
        Per V^2 of the electrode potential; linear beyond an error of 0.5 V.
    forces : float
        Per (eV/A)^2.
    energy : float
        Per (eV/atom)^2, about the running mean of the config type.

    Raises
    ------
    InputError
        If a weight is negative, or all are zero.
    """

    charges: float = 1.0e4
    response: float = 3.0e3
    electrode: float = 10.0
    potential: float = 0.1
    forces: float = 10.0
    energy: float = 100.0

    def __post_init__(self) -> None:
        names = ("charges", "response", "electrode", "potential", "forces", "energy")
        for name in names:
            value = getattr(self, name)
            _require(self, name, math.isfinite(value) and value >= 0.0, "zero or more")
        if not any(getattr(self, name) for name in names):
            raise InputError(f"{', '.join(names)}: found zero for all, expected one above zero")


@dataclass
class ChargeTrainingConfig:
    """How to train.

    Attributes
    ----------
    epochs : int
    learning_rate, final_learning_rate : float
        Ends of the cosine schedule.
    features_rate : float
        Learning rate of the feature network over that of the readouts; zero freezes it.
    warmup_steps : int
    ema_decay : float
        Of the moving average of the weights, which is what is evaluated and saved.
    clip : float
        Largest norm of the gradient.
    evaluate_every : int
        Epochs between evaluations of the validation set.
    seed : int
    loss : ChargeLossWeights

    Raises
    ------
    InputError
        If a value is out of range.
    """

    epochs: int = 50
    learning_rate: float = 5e-3
    final_learning_rate: float = 5e-5
    features_rate: float = 1.0
    warmup_steps: int = 50
    ema_decay: float = 0.99
    clip: float = 100.0
    evaluate_every: int = 5
    seed: int = 0
    loss: ChargeLossWeights = field(default_factory=ChargeLossWeights)

    def __post_init__(self) -> None:
        for name in ("epochs", "evaluate_every"):
            _require(self, name, getattr(self, name) >= 1, "1 or more")
        _require(self, "warmup_steps", self.warmup_steps >= 0, "zero or more")
        _require(self, "seed", 0 <= self.seed <= LARGEST_SEED, f"0 to {LARGEST_SEED}")
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            _require(self, name, math.isfinite(value) and value > 0.0, "more than zero")
        for name in ("final_learning_rate", "features_rate"):
            value = getattr(self, name)
            _require(self, name, math.isfinite(value) and value >= 0.0, "zero or more")
        _require(self, "ema_decay", 0.0 <= self.ema_decay < 1.0, "from 0 to below 1")


def _require(config: object, name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise InputError(f"{name}: found {getattr(config, name)}, expected {expected}")
