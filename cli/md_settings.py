"""Settings of ``pe-md``: defaults, YAML file, and what a restart may change."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voltase.aseplugin.errors import ExtrapolationError, InputError

if TYPE_CHECKING:
    from voltase.aseplugin.electrochemistry import Reference
    from voltase.aseplugin.potential_schedule import PotentialSchedule

CHECKPOINT = "checkpoint.safetensors"
SUMMARY = "summary.yaml"
PLOT = "md.png"
OWN_FILES = (SUMMARY, CHECKPOINT, PLOT)
SERIES_CSV, SERIES_PNG = "series.csv", "series.png"
SERIES_FILES = (SERIES_CSV, SERIES_PNG)

MOST_THREADS = 1024
"""Far more than a run can use; from some hundred thousand on, the process dies making them."""

# A restart goes on bit for bit whatever these are.
CHANGEABLE = frozenset(
    {"steps", "checkpoint_every", "equilibration", "allow_extrapolation", "max_temp"}
)
# A restart goes on with other ones, but not to the last bit.
MACHINE = frozenset({"device", "threads"})

_WHOLE = ("steps", "traj_every", "log_every", "checkpoint_every", "threads")
_FROM_ZERO = ("committee_every", "equilibration", "seed")
_POSITIVE = ("timestep", "temp", "tau", "period", "potentiostat_tau", "tolerance", "max_temp")
_TEXTS = ("structure", "model", "domain", "reference", "method", "thermostat", "device", "dtype")

# What arguments of the library are called here.
_AS_OPTIONS = {
    "potential": "--potential",
    "reference": "--reference",
    "pH": "--ph",
    "she_absolute": "--she-absolute",
    "trajectory": "--traj",
    "loginterval": "--log-every",
    "trajectory_interval": "--traj-every",
    "checkpoint_interval": "--checkpoint-every",
    "temperature_K": "--temp",
    "max_temperature_K": "--max-temp",
}


@dataclass(frozen=True)
class MDSettings:
    """What a run is told; names are those of the options, times in fs, None is the default.

    ``cli/md.py`` says what each of them means.

    Raises
    ------
    InputError
        If a number is out of place.
    """

    structure: str | None = None
    model: str = "pt111-water"
    domain: str | None = None
    potential: Any = None
    reference: str = "SHE"
    ph: float | None = None
    she_absolute: float | None = None
    steps: int = 1000
    timestep: float = 0.5
    temp: float = 330.0
    method: str | None = None
    period: float | None = None
    potentiostat_tau: float | None = None
    tolerance: float | None = None
    thermostat: str = "langevin"
    tau: float | None = None
    seed: int = 0
    max_temp: float | None = None
    allow_extrapolation: bool = False
    traj: str = "md.traj"
    traj_every: int = 20
    log: str = "md.csv"
    log_every: int = 5
    checkpoint_every: int = 500
    committee_every: int = 0
    equilibration: int | None = None
    device: str = "cpu"
    dtype: str = "float32"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in (*_WHOLE, *_FROM_ZERO, *_POSITIVE):
            value = getattr(self, name)
            lowest = 0 if name in _FROM_ZERO else 1 if name in _WHOLE else None
            if value is None or (value >= lowest if lowest is not None else 0 < value < 1e300):
                continue
            expected = "more than 0" if lowest is None else f"{lowest} or more"
            raise InputError(f"{option_name(name)}: got {value}, expected {expected}")
        if self.threads is not None and self.threads > MOST_THREADS:
            raise InputError(f"--threads: got {self.threads}, expected at most {MOST_THREADS}")
        for name in _TEXTS:
            value = getattr(self, name)
            if value is not None and not value.strip():
                raise InputError(f"{option_name(name)}: got an empty text, expected a value")
        for name in ("traj", "log"):
            value = getattr(self, name)
            if not _names_a_file(value) or value in (*OWN_FILES, *SERIES_FILES):
                raise InputError(
                    f"{option_name(name)}: got {value!r}, expected the name of a file in --out"
                )
        if self.traj == self.log:
            raise InputError(f"--log: got {self.log!r}, expected another name than that of --traj")

    def as_dict(self) -> dict[str, Any]:
        """Plain values for YAML."""
        return asdict(self)

    @property
    def first_averaged_step(self) -> int:
        """Steps left out of the averages: ``equilibration``, or a fifth of the run."""
        return self.steps // 5 if self.equilibration is None else self.equilibration

    def electrode_reference(self) -> "Reference":
        """The zero the potentials count from."""
        from voltase.aseplugin.electrochemistry import Reference

        with named_as_options():
            return Reference.parse(self.reference, pH=self.ph, she_absolute=self.she_absolute)

    def schedule(self) -> "PotentialSchedule":
        """The target potential.

        Raises
        ------
        InputError
            If there is none, or it cannot be read or is implausible.
        """
        import numpy as np

        from voltase.aseplugin.electrochemistry import check_plausible
        from voltase.aseplugin.potential_schedule import parse_potential_schedule

        if self.potential is None:
            raise InputError("--potential: got none, expected one such as -0.5V")
        with named_as_options():
            schedule = parse_potential_schedule(self.potential)
            check_plausible(np.array(schedule.values), self.electrode_reference())
        return schedule


def option_name(field: str) -> str:
    """The option on the command line that sets a field."""
    return "STRUCTURE" if field == "structure" else f"--{field.replace('_', '-')}"


def _names_a_file(name: str) -> bool:
    return name.isprintable() and Path(name).name == name and name not in ("", ".", "..")


@contextlib.contextmanager
def named_as_options() -> Iterator[None]:
    """Messages of the library name its arguments; here people know the options."""
    try:
        yield
    except ExtrapolationError as error:
        text = str(error).replace("allow_extrapolation=True", "--allow-extrapolation")
        raise ExtrapolationError(text) from error
    except InputError as error:
        name, colon, rest = str(error).partition(":")
        if not colon or name not in _AS_OPTIONS:
            raise
        raise type(error)(f"{_AS_OPTIONS[name]}:{rest}") from error


def resolve(given: Mapping[str, Any]) -> MDSettings:
    """Settings with texts in one form and paths absolute, so that they compare and can be kept."""
    settings = MDSettings(**given)
    reference = settings.electrode_reference()
    _check_names(settings)
    return replace(
        settings,
        potential=str(settings.schedule()),
        reference=reference.name,
        she_absolute=reference.she_absolute,
        structure=_absolute(settings.structure),
        model=_absolute_model(settings.model),
    )


def _check_names(settings: MDSettings) -> None:
    """Report an unknown name before torch is loaded."""
    from voltase.aseplugin.potentiostat.methods import METHODS
    from voltase.aseplugin.potentiostat.output import check_trajectory_name
    from voltase.aseplugin.potentiostat.thermostats import THERMOSTATS

    choices: dict[str, Iterable[str]] = {
        "method": METHODS,
        "thermostat": THERMOSTATS,
        "dtype": ("float32", "float64"),
    }
    for name, names in choices.items():
        known, value = list(names), getattr(settings, name)
        if value is not None and value not in known:
            raise InputError(
                f"{option_name(name)}: got {value!r}, expected one of {', '.join(known)}"
            )
    with named_as_options():
        check_trajectory_name(Path(settings.traj))


def _absolute(structure: str | None) -> str | None:
    return None if structure is None else str(Path(structure).absolute())


def _absolute_model(model: str) -> str:
    # A name in the zoo is no path, unless there is a folder of that name.
    return str(Path(model).absolute()) if Path(model).exists() else model


def read_config(path: Path) -> dict[str, Any]:
    """Settings, and ``out``, from a YAML file whose keys are the names of the options.

    Raises
    ------
    InputError
        If the file is unusable, a key unknown or a value of the wrong type.
    """
    from voltase.cli.config import check_keys, check_section, coerce, read_options

    found = read_options(path)
    names = [field.name for field in fields(MDSettings)]
    check_keys(found, [*names, "out"], "config")
    values = {} if "out" not in found else {"out": coerce(found.pop("out"), str, "config.out")}
    if not values.get("out", "run").strip():
        raise InputError("config.out: found an empty text, expected a folder")
    return values | check_section(MDSettings, found, "config")


def settings_for_restart(given: Mapping[str, Any], recorded: Mapping[str, Any]) -> MDSettings:
    """The settings of a recorded run, with those changes that a restart allows.

    Parameters
    ----------
    given : mapping
        The options of the restart, without those left out.
    recorded : mapping
        ``options`` of the run's summary.

    Raises
    ------
    InputError
        Naming an option that would make another run of it.
    """
    before = MDSettings(**recorded)
    comparable = resolve({"potential": before.potential, **given})
    changes = {}
    for name in given:
        value = getattr(comparable, name)
        if value == getattr(before, name):
            continue
        # The model is compared by its hash, once it is loaded.
        if name not in CHANGEABLE | MACHINE | {"model"}:
            raise InputError(
                f"{option_name(name)}: got {value}, but the run has {getattr(before, name)}, "
                "which a restart cannot change"
            )
        changes[name] = value
    return replace(before, **changes)
