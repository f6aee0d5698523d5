"""Settings of a training run; imports nothing heavy, so that a command line can read them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from voltase.aseplugin.errors import InputError

LARGEST_SEED = 2**63 - 1
"""Of torch's generator."""

EnergyKind = Literal["canonical", "grand"]


@dataclass
class DataConfig:
    """Where the frames are and what their keys mean.

    Attributes
    ----------
    files : list of str
        Anything ASE reads, extxyz as a rule.
    domains : dict
        Training domain (reference code) of each config type; "*" stands for all others.
    energy_key, forces_key, electrons_key, potential_key, type_key : str
        Keys in ``atoms.info`` (``atoms.arrays`` for the forces). "energy", "forces", "REF_energy"
        and "REF_forces" are also looked for in the frame's calculator. A key that no frame has is
        an absent quantity. The potential is absolute, in V; the electrons are excess electrons.
    energy_kind : {"canonical", "grand"}
        Whether the energies are E(R, n) or Omega = E + Phi n, in eV.
    fermi_array : str
        Per-atom array that repeats the Fermi level in eV (the format of arXiv 2604.07322); the
        potential is minus its value. Read where ``potential_key`` is absent.
    geometry_key : str
        Info key that names the geometry.
    snapshot_pattern : str
        Regular expression applied to ``atoms.info["source"]``; what its first group matches names
        the snapshot by which frames are split. Falls back to the geometry.
    energy_types : list of str
        Config types whose energies are used ("*": all).
    weights : dict
        Repetitions of a config type's frames per epoch, 1 if absent; of 0 the frames are judged
        but not trained on.
    test_fraction, valid_fraction : float
        Shares of the snapshots of each config type that are held out.
    seed : int
        Of the split.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    files: list[str] = field(default_factory=list)
    domains: dict[str, str] = field(default_factory=lambda: {"*": "default"})
    energy_key: str = "REF_energy"
    forces_key: str = "REF_forces"
    electrons_key: str = "excess_electrons"
    potential_key: str = "electrode_potential"
    type_key: str = "config_type"
    energy_kind: EnergyKind = "canonical"
    fermi_array: str = "field_scalar"
    geometry_key: str = "geometry"
    snapshot_pattern: str = r"(\d{6}\.\d{3})"
    energy_types: list[str] = field(default_factory=lambda: ["*"])
    weights: dict[str, int] = field(default_factory=dict)
    test_fraction: float = 0.10
    valid_fraction: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("test_fraction", "valid_fraction"):
            _require(self, name, 0.0 <= getattr(self, name) < 1.0, "a share from 0 to below 1")
        held_out = self.test_fraction + self.valid_fraction
        _require(self, "test_fraction", held_out < 1.0,
                 "with valid_fraction a share below 1")  # fmt: skip
        _require_seed(self)
        for kind, weight in self.weights.items():
            if weight < 0:
                raise InputError(f"weights: found {weight} for {kind!r}, expected 0 or more")
        try:
            groups = re.compile(self.snapshot_pattern).groups
        except re.error as error:
            raise InputError(
                f"snapshot_pattern: found {self.snapshot_pattern!r} ({error}), expected a regular "
                "expression"
            ) from error
        _require(self, "snapshot_pattern", groups > 0, "an expression with a group")


@dataclass
class LossWeights:
    """Weight of each term; each is a mean square in its unit's natural scale.

    Attributes
    ----------
    forces : float
        Per (eV/A)^2.
    force_difference : float
        Per unit of squared relative error of the response to the electrode's charge.
    energy : float
        Per (eV/atom)^2.
    conjugate : float
        Per V^2; an error in n counts as the error in V that it makes through the capacitance.

    Raises
    ------
    InputError
        If a weight is negative, or all are zero.
    """

    forces: float = 100.0
    force_difference: float = 1.0
    energy: float = 1.0e4
    conjugate: float = 5.0

    def __post_init__(self) -> None:
        names = ("forces", "force_difference", "energy", "conjugate")
        for name in names:
            value = getattr(self, name)
            _require(self, name, math.isfinite(value) and value >= 0.0, "zero or more")
        if not any(getattr(self, name) for name in names):
            raise InputError(f"{', '.join(names)}: found zero for all, expected one above zero")


@dataclass
class TrainingConfig:
    """How to train.

    Attributes
    ----------
    epochs : int
    learning_rate, final_learning_rate : float
        Ends of the cosine schedule.
    electrode_rate, dipole_rate, backbone_rate : float
        Learning rates of the electrode's own parameters, among them of the atoms' dipoles, and of
        all else, over `learning_rate`. A `backbone_rate` of zero freezes all else.
    electrode_start : float
        Share of the run after which the electrode's terms join. They sum over all atoms coherently
        and do not stand the high learning rate at which the network learns forces fastest.
    warmup_steps : int
    atoms_per_batch : int
        Small structures of one config type are joined up to this number of atoms.
    ema_decay : float
        Of the moving average of the weights, which is what is evaluated and saved.
    clip : float
        Largest norm of the gradient.
    bootstrap : float
        Share of the snapshots that each committee member never sees.
    evaluate_every : int
        Epochs between evaluations of the validation set.
    patience : int
        Evaluations without improvement after which training stops (0: never).
    seed : int
        Of the first weights and of the order of the batches.
    loss : LossWeights

    Raises
    ------
    InputError
        If a value is out of range.
    """

    epochs: int = 50
    learning_rate: float = 5e-3
    final_learning_rate: float = 5e-5
    electrode_rate: float = 0.1
    dipole_rate: float = 0.1
    backbone_rate: float = 1.0
    electrode_start: float = 0.0
    warmup_steps: int = 200
    atoms_per_batch: int = 200
    ema_decay: float = 0.995
    clip: float = 10.0
    bootstrap: float = 0.2
    evaluate_every: int = 1
    patience: int = 0
    seed: int = 0
    loss: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        for name in ("epochs", "atoms_per_batch", "evaluate_every"):
            _require(self, name, getattr(self, name) >= 1, "1 or more")
        for name in ("warmup_steps", "patience"):
            _require(self, name, getattr(self, name) >= 0, "zero or more")
        _require_seed(self)
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            _require(self, name, math.isfinite(value) and value > 0.0, "more than zero")
        for name in ("final_learning_rate", "electrode_rate", "dipole_rate", "backbone_rate"):
            value = getattr(self, name)
            _require(self, name, math.isfinite(value) and value >= 0.0, "zero or more")
        for name in ("ema_decay", "bootstrap", "electrode_start"):
            _require(self, name, 0.0 <= getattr(self, name) < 1.0, "from 0 to below 1")


def _require_seed(config: Any) -> None:
    _require(config, "seed", 0 <= config.seed <= LARGEST_SEED, f"0 to {LARGEST_SEED}")


def _require(config: Any, name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise InputError(f"{name}: found {getattr(config, name)}, expected {expected}")
