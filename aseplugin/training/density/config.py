"""Settings of the training of a density model; imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from voltase.aseplugin.errors import InputError


@dataclass
class DensityFile:
    """A file with one density and what it does not say itself.

    Attributes
    ----------
    file : str
        Cube, CHGCAR or GPAW (.gpw); files of HDF5 know it all and stand under ``files``.
    excess_electrons : float
        e.
    potential : float, optional
        Absolute, V.
    geometry : str, optional
        Frames of one geometry share a name; the name of the file if not given.
    """

    file: str
    excess_electrons: float = 0.0
    potential: float | None = None
    geometry: str | None = None


@dataclass
class DensityDataConfig:
    """Where the densities are and which of them are held out.

    Attributes
    ----------
    files : list of str
        HDF5 files as ``pe-label`` writes them, or folders with such files.
    single : list of DensityFile
        Densities of other codes, one a file.
    test_geometries : list of str
        Geometries to hold out ("folder/geometry"); drawn by ``test_fraction`` if empty.
    test_fraction, valid_fraction : float
        Shares of the geometries that are held out for the card and for judging while training.
    seed : int
        Of the draw.
    """

    files: list[str] = field(default_factory=list)
    single: list[DensityFile] = field(default_factory=list)
    test_geometries: list[str] = field(default_factory=list)
    test_fraction: float = 0.2
    valid_fraction: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for number, entry in enumerate(self.single):
            if isinstance(entry, dict) and not entry.get("file"):
                raise InputError(f"single[{number}].file: found none, expected the name of a file")
        self.single = [DensityFile(**s) if isinstance(s, dict) else s for s in self.single]
        for name in ("test_fraction", "valid_fraction"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name}: found {getattr(self, name)}, expected 0 to below 1")
        if self.test_fraction + self.valid_fraction >= 1.0:
            raise InputError("test_fraction: with valid_fraction, expected a share below 1")


@dataclass
class DensityLossWeights:
    """Weight of each term.

    Attributes
    ----------
    density : float
        Of the weighted squared error of the density over that of no density at all, in units of
        1e-4.
    difference : float
        Of the squared error of differences between charges of one geometry, relative.
    planar : float
        Of the squared error of their planar averages, relative.
    """

    density: float = 1.0
    difference: float = 10.0
    planar: float = 10.0

    def __post_init__(self) -> None:
        values = (self.density, self.difference, self.planar)
        if not all(math.isfinite(v) and v >= 0.0 for v in values) or not any(values):
            raise InputError(
                f"density, difference, planar: found {values}, expected one above zero"
            )


@dataclass
class DensityTrainingConfig:
    """How to train.

    Attributes
    ----------
    steps : int
        Updates of the weights.
    batch : int
        Geometries in each, all at all their charges.
    learning_rate, final_learning_rate : float
        Ends of the cosine schedule.
    warmup_steps : int
    weight_decay : float
        Of AdamW.
    clip : float
        Largest norm of the gradient.
    ema_decay : float
        Of the moving average of the weights, which is what is judged and saved.
    evaluate_every : int
        Steps between judgements of the geometries of the test, and between states on disk.
    seed : int
        Of the first weights and of the order of the geometries.
    loss : DensityLossWeights
    """

    steps: int = 3000
    batch: int = 6
    learning_rate: float = 4e-3
    final_learning_rate: float = 1e-5
    warmup_steps: int = 50
    weight_decay: float = 0.3
    clip: float = 100.0
    ema_decay: float = 0.99
    evaluate_every: int = 250
    seed: int = 0
    loss: DensityLossWeights = field(default_factory=DensityLossWeights)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "evaluate_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: found {getattr(self, name)}, expected 1 or more")
        for name in ("learning_rate", "clip"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0.0):
                raise InputError(f"{name}: found {getattr(self, name)}, expected above zero")
        for name in ("final_learning_rate", "warmup_steps", "weight_decay"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0.0):
                raise InputError(f"{name}: found {getattr(self, name)}, expected zero or more")
        if not 0.0 <= self.ema_decay < 1.0:
            raise InputError(f"ema_decay: found {self.ema_decay}, expected 0 to below 1")

    def rate(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, then half a cosine."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1)
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
        return self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * cosine


@dataclass
class DensityRunConfig:
    """Everything a training run is told.

    Attributes
    ----------
    data : DensityDataConfig
    model : dict
        Fields of `DensityConfig`; ``valence`` must be there.
    training : DensityTrainingConfig
    card : dict
        Free entries for the model card.
    trunk : str
        PE-MACE checkpoint or bundled model whose features describe the surroundings.
    out : str
        Folder of the run.
    threads : int, optional
        Of torch.
    restart : bool
        Go on from the state in the folder, if there is one.
    """

    data: DensityDataConfig = field(default_factory=DensityDataConfig)
    model: dict[str, Any] = field(default_factory=dict)
    training: DensityTrainingConfig = field(default_factory=DensityTrainingConfig)
    card: dict[str, Any] = field(default_factory=dict)
    trunk: str = "pt111-water"
    out: str = "training"
    threads: int | None = None
    restart: bool = True
