"""Settings of active learning; imports nothing heavy, so that a command line can read them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from voltase.aseplugin.electrochemistry import Reference, check_plausible, parse_potential
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.training.config import LARGEST_SEED, DataConfig, TrainingConfig

_LABEL_KEYS = ("energy_key", "forces_key", "electrons_key", "potential_key", "type_key",
               "geometry_key", "energy_kind")  # fmt: skip


@dataclass
class SamplingConfig:
    """Molecular dynamics with the present committee.

    Attributes
    ----------
    potentials : list
        Target potentials in V vs ``reference``, numbers or texts such as "-0.5V"; one run each
        from every starting structure.
    reference : str
    steps : int
        Of each run.
    every : int
        Steps between two candidates, at which the spread is evaluated.
    timestep : float
        fs.
    temp : float
        K.
    method : str, optional
        Of `ConstantPotentialMD`; its own choice otherwise.
    dtype : {"float32", "float64"}
        Of the network.
    allow_extrapolation : bool
        Let the electron number and the potential leave the model's trained ranges.
    molecules : bool
        End a run when molecules break or form.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    potentials: list[Any] = field(default_factory=list)
    reference: str = "SHE"
    steps: int = 1000
    every: int = 10
    timestep: float = 0.5
    temp: float = 330.0
    method: str | None = None
    dtype: Literal["float32", "float64"] = "float32"
    allow_extrapolation: bool = False
    molecules: bool = False

    def __post_init__(self) -> None:
        if not self.potentials:
            raise InputError("potentials: found none, expected at least one")
        reference = Reference.parse(self.reference)
        for value in self.potentials:
            check_plausible(parse_potential(value), reference)
        _require(self, "steps", self.steps >= 1, "1 or more")
        _require(self, "every", 1 <= self.every <= self.steps, "1 to the number of steps")
        for name in ("timestep", "temp"):
            _require(self, name, 0.0 < getattr(self, name) < math.inf, "more than zero")

    @property
    def values(self) -> list[float]:
        """The potentials as numbers, V vs ``reference``."""
        return [parse_potential(value) for value in self.potentials]


@dataclass
class SelectionConfig:
    """Which candidates are labelled.

    Attributes
    ----------
    lower, upper : float
        Largest standard deviation of one atom's force over the committee, eV/A: below the one a
        frame is known well enough, above the other it is no longer a sensible structure, and its
        run ends.
    per_round : int
        Frames picked in a round at most.
    pool : int
        The ``pool * per_round`` candidates of the largest spread are chosen from for diversity.
    min_distance : float
        Two structures nearer than this are near-duplicates: distance of their descriptors over
        its root mean square from the mean structure.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    lower: float = 0.05
    upper: float = 0.5
    per_round: int = 10
    pool: int = 10
    min_distance: float = 0.1

    def __post_init__(self) -> None:
        _require(self, "lower", 0.0 <= self.lower < math.inf, "zero or more")
        _require(self, "upper", self.upper > self.lower,
                 f"more than lower, which is {self.lower:g}")  # fmt: skip
        for name in ("per_round", "pool"):
            _require(self, name, getattr(self, name) >= 1, "1 or more")
        _require(self, "min_distance", 0.0 <= self.min_distance < math.inf, "zero or more")


@dataclass
class LabellingConfig:
    """Who labels the frames, at which electron numbers.

    Attributes
    ----------
    engine : str
        Name of a code (see `voltase.aseplugin.engines.make_engine`) or ``module:Class``, a
        subclass of `Engine` that Python can import.
    settings : dict
        Arguments of the engine.
    offsets : list of float
        In e. Each picked frame is labelled at the electron number it was found with, and at
        that number plus each of these: geometries at several numbers teach the response of the
        forces.
    config_type : str
        Of the labelled frames; ``data.domains`` gives their training domain, with which the
        dynamics run too.
    densities : bool
        Keep the electron densities too, in ``labelling/densities.h5`` of each round.
    workers : int
        Processes on this machine; 0 is the loop's own.
    scheduler : str, optional
        Address of a dask scheduler, whose workers are taken instead.

    Raises
    ------
    InputError
        If an offset is zero, repeated or no number.
    """

    engine: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    offsets: list[float] = field(default_factory=list)
    config_type: str = "active-learning"
    densities: bool = False
    workers: int = 0
    scheduler: str | None = None

    def __post_init__(self) -> None:
        for value in self.offsets:
            if value == 0.0 or not math.isfinite(value) or self.offsets.count(value) > 1:
                raise InputError(
                    f"offsets: found {self.offsets}, expected numbers in e that differ, none zero"
                )
        _require(self, "workers", self.workers >= 0, "0 or more")
        if not self.config_type or any(c.isspace() or c in "/\"'" for c in self.config_type):
            raise InputError(f"config_type: found {self.config_type!r}, expected one word")


@dataclass
class StopConfig:
    """When it is enough.

    Attributes
    ----------
    max_rounds : int
    force_rmse_meV_A, potential_mae_V : float, optional
        Errors on the held-out frames to reach, both if both are given.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    max_rounds: int = 5
    force_rmse_meV_A: float | None = None
    potential_mae_V: float | None = None

    def __post_init__(self) -> None:
        _require(self, "max_rounds", self.max_rounds >= 1, "1 or more")
        for name in ("force_rmse_meV_A", "potential_mae_V"):
            value = getattr(self, name)
            _require(self, name, value is None or 0.0 < value < math.inf, "more than zero")

    def reached(self, errors: dict[str, float]) -> bool:
        """Whether the errors are at or below every target there is.

        Parameters
        ----------
        errors : dict
            As of `voltase.aseplugin.training.metrics.Evaluation.summary`.
        """
        targets = {"force_rmse_meV_A": self.force_rmse_meV_A,
                   "potential_mae_V": self.potential_mae_V}  # fmt: skip
        given = {name: target for name, target in targets.items() if target is not None}
        return bool(given) and all(
            errors.get(name, math.inf) <= target for name, target in given.items()
        )


@dataclass
class LoopConfig:
    """Everything active learning is told.

    Attributes
    ----------
    init : str
        Checkpoint or bundled model with a committee, which the first round samples with.
    structures : list of str
        Files with the structures that every round starts from, one each; ``@index`` chooses
        another frame than the last. Without any, the interface that comes with ``init``.
    data : DataConfig
        Frames labelled before, which every training keeps. Their labels have the default keys.
    held_out : list of str
        Files with labelled frames to judge the models by. Without any, ``data.test_fraction`` of
        the frames is held out, and what the training of ``init`` held out of them.
    sampling : SamplingConfig
    selection : SelectionConfig
    labelling : LabellingConfig
    model : dict
        Fields of `PEMACEConfig` that differ from those of ``init``.
    training : TrainingConfig
        Of each round.
    stop : StopConfig
    card : dict
        Free entries for the model cards.
    out : str
    device : str
    threads : int, optional
    seed : int
        Of the momenta and the thermostats.

    Raises
    ------
    InputError
        If a value is out of range or does not go with the others.
    """

    init: str = ""
    structures: list[str] = field(default_factory=list)
    data: DataConfig = field(default_factory=DataConfig)
    held_out: list[str] = field(default_factory=list)
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig([0.0]))
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    labelling: LabellingConfig = field(default_factory=LabellingConfig)
    model: dict[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    card: dict[str, Any] = field(default_factory=dict)
    out: str = "active-learning"
    device: str = "cpu"
    threads: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self, "seed", 0 <= self.seed <= LARGEST_SEED, f"0 to {LARGEST_SEED}")
        if not self.init.strip():
            raise InputError("init: found none, expected a checkpoint or a bundled model")
        if not self.data.files and not self.held_out:
            raise InputError(
                "held_out: found no files, and none in data.files either, expected labelled frames "
                "to judge the models by"
            )
        usual = DataConfig()
        for name in _LABEL_KEYS:
            if getattr(self.data, name) != getattr(usual, name):
                raise InputError(
                    f"data.{name}: found {getattr(self.data, name)!r}, expected "
                    f"{getattr(usual, name)!r} as in the frames that are added"
                )


def _require(config: Any, name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise InputError(f"{name}: found {getattr(config, name)}, expected {expected}")
