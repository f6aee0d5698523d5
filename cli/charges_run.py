"""Running ``pe-charges``: frame by frame through the model, then tables, figure and summary."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.errors import InputError, VoltaseError
from voltase.cli.analyze_output import checked_folder, png, write_tables, write_whole
from voltase.cli.charges_profile import Profile, figure_of
from voltase.cli.summary import RunSummary
from voltase.cli.terminal import progress_bar

if TYPE_CHECKING:
    from ase import Atoms

    from voltase.aseplugin.calculators.softfqeq import SoftFQEq

Array = npt.NDArray[np.float64]
NARROWEST, WIDEST = 1e-3, 100.0
"""Widths of a bin in A beyond which the profile would be of no use."""
MOST_ELECTRONS = 1e3
"""Excess electrons, either way, that no slab has."""


@dataclass(frozen=True)
class ChargesSettings:
    """Options of the command line, defaults resolved.

    Raises
    ------
    InputError
        If a value cannot be used.
    """

    trajectory: str
    model: str = "pt111-water-fqeq"
    with_global: bool = True
    device: str = "cpu"
    electrons: float | None = None
    potential: str | None = None
    reference: str = "SHE"
    plates: bool = False
    counter_height: float | None = None
    bin_width: float = 0.5
    out: str = ""

    @classmethod
    def of(cls, **given: Any) -> ChargesSettings:
        """From options, None where not given."""
        if given.get("trajectory") is None:
            raise InputError("TRAJ: got none, expected a file with frames")
        if given.get("reference") is not None and given.get("potential") is None:
            raise InputError(
                f"--reference: got {given['reference']!r} without --potential, expected both"
            )
        return cls(**{name: value for name, value in given.items() if value is not None})

    def __post_init__(self) -> None:
        if not NARROWEST <= self.bin_width <= WIDEST:
            raise InputError(
                f"--bin: got {self.bin_width:g}, expected a width of {NARROWEST:g} to {WIDEST:g} A"
            )
        if self.electrons is not None and not abs(self.electrons) <= MOST_ELECTRONS:
            raise InputError(
                f"--electrons: got {self.electrons:g}, expected {-MOST_ELECTRONS:g} to "
                f"{MOST_ELECTRONS:g}"
            )
        if self.potential is not None and (self.electrons is not None or self.plates):
            other = "--plates" if self.plates else "--electrons"
            raise InputError(f"--potential: got one and {other}, expected one of them")
        if not self.out:
            stem = Path(self.trajectory.partition("@")[0]).name.partition(".")[0]
            object.__setattr__(self, "out", f"pe-charges_{stem}")


@dataclass
class _Frame:
    """Results of one frame.

    Attributes
    ----------
    number : int
        In the file.
    heights : ndarray (n_atoms,)
        Above the middle of the electrode, A.
    results : dict
        Of the calculator, with the fragment solver.
    alone : dict or None
        With the global solver.
    """

    number: int
    atoms: Atoms
    heights: Array
    area: float
    electrode: npt.NDArray[np.bool_]
    results: dict[str, Any]
    alone: dict[str, Any] | None


def run(settings: ChargesSettings) -> str:
    """Do what the settings ask for; returns what to print.

    Raises
    ------
    InputError
        If the trajectory or an option cannot be used.
    """
    from voltase.aseplugin.labelling.structures import numbered_frames

    folder = checked_folder(settings.out)
    try:
        frames = list(numbered_frames(settings.trajectory))
    except InputError as error:
        raise InputError(str(error).replace("STRUCTURES:", "TRAJ:", 1)) from error
    solvers = ["fragment", "global"] if settings.with_global else ["fragment"]
    calculators = [_calculator(settings, solver) for solver in solvers]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out: {folder} cannot be made ({error.strerror}), expected a folder to write to"
        ) from error
    summary = RunSummary(folder / "summary.yaml", "pe-charges", asdict(settings))
    summary.write("running", model={"sha256": calculators[0].sha256})
    done = []
    with progress_bar("charges", len(frames)) as bar:
        for count, (number, atoms) in enumerate(frames):
            try:
                done.append(_frame(number, atoms, calculators, settings))
            except VoltaseError as error:
                summary.write(f"failed: frame {number}: {error}")
                raise type(error)(f"TRAJ: frame {number}: {error}") from error
            except KeyboardInterrupt:
                summary.write("interrupted")
                raise
            bar(count + 1)
    profile = _profile(done, settings.bin_width)
    numbers = _numbers(done, profile)
    files = _write(folder, done, profile, settings)
    summary.write("complete", model={"sha256": calculators[0].sha256}, results=numbers, files=files)
    return "\n".join([*_lines(numbers), f"in {folder}: {', '.join(files)}"])


def _calculator(settings: ChargesSettings, solver: str) -> SoftFQEq:
    from voltase.aseplugin.calculators.softfqeq import SoftFQEq

    given: Any = {"solver": solver}
    try:
        return SoftFQEq(settings.model, potential=settings.potential,
                        reference=settings.reference, device=settings.device,
                        counter_height=settings.counter_height, **given)  # fmt: skip
    except InputError as error:
        raise InputError(as_option(str(error), asdict(settings))) from error


def as_option(message: str, names: Iterable[str]) -> str:
    """The message of a wrong argument, as of the option of its name."""
    name, colon, rest = message.partition(":")
    return f"--{name.replace('_', '-')}{colon}{rest}" if colon and name in names else message


def _frame(number: int, atoms: Atoms, calculators: Sequence[SoftFQEq], settings: ChargesSettings
           ) -> _Frame:  # fmt: skip
    if atoms.pbc.sum() < 2:
        raise InputError(f"pbc: found {atoms.pbc.tolist()}, expected a slab in a periodic cell")
    atoms = atoms.copy()
    found = []
    for calculator in calculators:
        if settings.potential is None:
            _charge(calculator, atoms, settings)
        calculator.calculate(atoms, ["charges"])
        found.append(dict(calculator.results))
    structure = calculators[0].structures.structure(atoms)
    electrode = calculators[0].evaluator.model.electrode(structure)
    if not bool(electrode.any()):
        raise InputError("atoms: found no electrode, expected one to count heights from")
    return _Frame(
        number=number,
        atoms=atoms,
        heights=structure.heights(electrode).numpy(),
        area=float(structure.graph.areas[0]),
        electrode=electrode.numpy(),
        results=found[0],
        alone=found[1] if len(found) > 1 else None,
    )


def _charge(calculator: SoftFQEq, atoms: Atoms, settings: ChargesSettings) -> None:
    """Give the calculator the electron number of a frame."""
    from voltase.aseplugin.models.softfqeq import ChargeState

    n = _electrons(atoms) if settings.electrons is None else settings.electrons
    if settings.plates:
        structure = calculator.structures.structure(atoms)
        calculator.field = ChargeState.between_plates(structure, n).field
        n = 0.0
    calculator.excess_electrons = n


def _electrons(atoms: Atoms) -> float:
    """Electron number that a frame holds, or 0."""
    found = atoms.info.get("excess_electrons", 0.0)
    try:
        n = float(found)
    except (TypeError, ValueError) as error:
        raise InputError(f"excess_electrons: found {found!r}, expected a number") from error
    if not np.isfinite(n):
        raise InputError(f"excess_electrons: found {n}, expected a finite number")
    return n


def _profile(frames: Sequence[_Frame], width: float) -> Profile:
    """Profile with each frame's potentials counted from its electrode's: their zero moves."""
    profile = Profile(width)
    for frame in frames:
        for solver, results in (("fragment", frame.results), ("global", frame.alone)):
            if results is not None:
                potentials = results["electrochemical_potential"]
                profile.add(solver, frame.heights, frame.area, results["charges"],
                            potentials - potentials[frame.electrode].mean())  # fmt: skip
    return profile


def _numbers(frames: Sequence[_Frame], profile: Profile) -> dict[str, Any]:
    """What the summary and the terminal show."""
    out: dict[str, Any] = {"frames": len(frames)}
    names = {"fragment": "results", "global": "alone"}
    for solver, attribute in names.items():
        results = [getattr(frame, attribute) for frame in frames]
        if results[0] is None:
            continue
        potentials = [r["electrochemical_potential"] for r in results]
        spread = [np.std(m[f.electrode]) for m, f in zip(potentials, frames, strict=True)]
        charge = [r["charges"][f.electrode].sum() for r, f in zip(results, frames, strict=True)]
        out[solver] = {
            "span_V": float(profile.span(solver)),
            "std_in_electrode_V": float(np.mean(spread)),
            "electrode_charge_e": float(np.mean(charge)),
            "fragments": float(np.mean([r["fragments"].max() + 1 for r in results])),
        }
        phi = [r["electrode_potential"] for r in results if "electrode_potential" in r]
        if phi:
            out[solver]["electrode_potential_V"] = float(np.mean(phi))
    return out


def _lines(numbers: dict[str, Any]) -> list[str]:
    lines = []
    for solver in ("fragment", "global"):
        if solver in numbers:
            found = numbers[solver]
            lines.append(
                f"{solver}: electrochemical potential spans {found['span_V']:.3f} V, standard "
                f"deviation in the electrode {found['std_in_electrode_V']:.3f} V; charge of the "
                f"electrode {found['electrode_charge_e']:+.3f} e"
            )
    return lines


def _write(folder: Path, frames: Sequence[_Frame], profile: Profile, settings: ChargesSettings
           ) -> list[str]:  # fmt: skip
    import ase.io

    header = {"trajectory": settings.trajectory, "model": settings.model, "frames": len(frames)}
    tables = {"profile": profile.table(), "frames": _frame_table(frames)}
    written = [path.name for path in write_tables(folder, "charges", tables, header)]
    write_whole(folder / "charges.png", png(figure_of(profile)))
    buffer = io.StringIO()
    ase.io.write(buffer, [_labelled(frame) for frame in frames], format="extxyz")
    write_whole(folder / "charges.extxyz", buffer.getvalue().encode())
    return [*written, "charges.png", "charges.extxyz"]


def _frame_table(frames: Sequence[_Frame]) -> dict[str, Array]:
    table: dict[str, Array] = {"frame": np.array([f.number for f in frames])}
    for name, unit in (("electrode_potential", "V"), ("capacitance", "e_per_V")):
        if all(name in f.results for f in frames):
            table[f"{name}_{unit}"] = np.array([f.results[name] for f in frames])
    charges = [f.results["charges"][f.electrode].sum() for f in frames]
    table["electrode_charge_e"] = np.array(charges)
    table["total_charge_e"] = np.array([f.results["charges"].sum() for f in frames])
    table["fragments"] = np.array([f.results["fragments"].max() + 1 for f in frames])
    return table


def _labelled(frame: _Frame) -> Atoms:
    """The frame with its charges, potentials and fragments as arrays."""
    atoms = frame.atoms
    atoms.calc = None
    # The format holds plain values; builders and databases leave more.
    plain = (bool, int, float, str, np.bool_, np.number)
    atoms.info = {name: value for name, value in atoms.info.items() if isinstance(value, plain)}
    for name in ("charges", "electrochemical_potential", "fragments"):
        # The frame may come with its own, of another shape.
        atoms.arrays.pop(f"fqeq_{name}", None)
        atoms.set_array(f"fqeq_{name}", np.asarray(frame.results[name]))
    if "electrode_potential" in frame.results:
        atoms.info["fqeq_electrode_potential"] = frame.results["electrode_potential"]
    return atoms
