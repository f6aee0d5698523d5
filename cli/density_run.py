"""Densities along a trajectory: settings, frames, files, pictures."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.densities.box import SPACINGS
from voltase.aseplugin.electrochemistry import Reference, parse_potential
from voltase.aseplugin.errors import ExtrapolationError, InputError
from voltase.cli.analyze_output import checked_folder
from voltase.cli.config import check_keys, coerce, read_options
from voltase.cli.density_output import (
    FORMATS,
    PICTURES,
    SUMMARY,
    TABLES,
    Frame,
    Point,
    check_free,
    draw,
    grid_names,
    write_grids,
    write_profiles,
    write_states,
)
from voltase.cli.stopping import StopRequest
from voltase.cli.summary import RunSummary
from voltase.cli.terminal import Bar, log_file, progress_bar, say

if TYPE_CHECKING:
    from ase import Atoms

    from voltase.aseplugin.calculators.electron_density import ElectronDensity, PredictedDensity

Array = npt.NDArray[np.float64]
LOG = logging.getLogger(__name__)
FLAT = 1e-3
"""Height in A that lattice vectors along the surface may have."""
SMEARING = 0.3
"""Of the ions in the potential, A, or the spacing of the grid if that is larger."""


@dataclass(frozen=True)
class DensityOptions:
    """What a run is told; names are those of the options, ``cli/density.py`` describes them."""

    structures: list[str] = field(default_factory=list)
    potential: Any = None
    electrons: Any = None
    reference: str = "SHE"
    ph: float | None = None
    model: str = "pt111-water-edp"
    domain: str | None = None
    allow_extrapolation: bool = False
    every: int = 1
    spacing: float = 0.15
    threads: int | None = None
    out: str = "density"
    write: str | None = None
    response: bool = False
    windows: Any = "2.29,0"
    no_pictures: bool = False
    overwrite: bool = False


_KINDS: dict[str, Any] = {
    "structures": list[str], "potential": Any, "electrons": Any, "reference": str, "ph": float,
    "model": str, "domain": str, "allow_extrapolation": bool, "every": int, "spacing": float,
    "threads": int, "out": str, "write": str, "response": bool, "windows": Any,
    "no_pictures": bool, "overwrite": bool,
}  # fmt: skip


def read_settings(given: Mapping[str, Any], config: Path | None) -> DensityOptions:
    """Settings of the file, overridden by the options that were given.

    Raises
    ------
    InputError
        If the file is unusable, a value is wrong, or no structure is named.
    """
    found: dict[str, Any] = {}
    if config is not None:
        values = read_options(config)
        check_keys(values, _KINDS, "config")
        found = {name: coerce(v, _KINDS[name], f"config.{name}") for name, v in values.items()}
    found |= {f.name: given[f.name] for f in fields(DensityOptions) if f.name in given}
    found["out"] = str(found.get("out", DensityOptions.out))
    options = DensityOptions(**found)
    if not options.structures:
        raise InputError("TRAJ: got none, expected files with structures")
    if options.potential is not None and options.electrons is not None:
        raise InputError("--potential: got --electrons too, expected one of the two")
    if options.every < 1:
        raise InputError(f"--every: got {options.every}, expected 1 or more")
    if not SPACINGS[0] <= options.spacing <= SPACINGS[1]:
        raise InputError(
            f"--spacing: got {options.spacing:g}, expected {SPACINGS[0]:g} to {SPACINGS[1]:g} A"
        )
    if options.write is not None and options.write not in FORMATS:
        raise InputError(f"--write: got '{options.write}', expected {', '.join(FORMATS)}")
    return options


def run(options: DensityOptions, *, quiet: bool) -> int:
    """Predict, write and draw; the exit status."""
    task = _Task(options)
    folder = task.folder
    folder.mkdir(parents=True, exist_ok=True)
    summary = RunSummary(folder / SUMMARY, "pe-density", asdict(options))
    stop = StopRequest("stopping after this density")
    with log_file(folder / "density.log"), stop:
        summary.write("running")
        try:
            with progress_bar("densities", task.total, shown=not quiet) as bar:
                task.predict(bar, stop)
            files = task.finish()
        except (Exception, KeyboardInterrupt) as error:
            stopped = isinstance(error, KeyboardInterrupt)
            status = "interrupted" if stopped else f"failed: {str(error) or type(error).__name__}"
            summary.write(status, files=task.rescue())
            raise
        summary.write("interrupted" if stop() else "finished", frames=len(task.done), files=files)
    if not quiet:
        say(f"{len(task.states)} densities of {len(task.done)} frames; in {folder}: "
            f"{', '.join(name for name in files if name not in task.grids)}")  # fmt: skip
    return stop.exit_code if stop() else 0


class _Task:
    """Frames and points, and what has come out of them so far.

    Raises
    ------
    InputError
        If an option or a file cannot be used.
    """

    def __init__(self, options: DensityOptions) -> None:
        self.options = options
        self.reference = Reference.parse(options.reference, pH=options.ph)
        self.points = _points(options)
        self.windows = _windows(options)
        self.folder = checked_folder(options.out)
        from voltase.aseplugin.calculators.electron_density import ElectronDensity

        self.frames = _frames(options)
        self.total = len(self.frames) * len(self.points)
        planned = [name for number, _ in self.frames for point in self.points
                   for name in grid_names(number, point, options.write, options.response)
                   ]  # fmt: skip
        _set_threads(options.threads)
        self.model = ElectronDensity(options.model, self.reference, options.domain,
                                     options.allow_extrapolation)  # fmt: skip
        check_free(self.folder, [*TABLES, *PICTURES, *planned], options.overwrite)
        self.states: list[dict[str, Any]] = []
        self.done: list[Frame] = []
        self.grids: list[str] = []
        self._last: list[PredictedDensity] = []

    def predict(self, bar: Bar, stop: StopRequest) -> None:
        """All densities, until asked to stop."""
        for number, atoms in self.frames:
            found = []
            for point in self.points:
                if stop():
                    return
                found.append(self._density(number, atoms, point))
                self.states.append(_row(number, point, found[-1], self.reference))
                names = grid_names(number, point, self.options.write, self.options.response)
                write_grids(self.folder, names, found[-1])
                self.grids += names
                bar(len(self.states))
            self.done.append(_profiles(number, atoms, found, self.model, self.options))
            self._last = found

    def finish(self) -> list[str]:
        """Write tables and pictures; the names of all files."""
        names = self.rescue()
        if self.done and not self.options.no_pictures:
            frame = self.done[-1]
            atoms = next(atoms for number, atoms in self.frames if number == frame.number)
            names += draw(self.folder, self.points, frame, self._last, atoms, self.windows)
        return names

    def rescue(self) -> list[str]:
        """Write the tables of what is there; the names of all files."""
        names = list(self.grids)
        if self.states:
            write_states(self.folder, self.states)
            names.append(TABLES[0])
        if self.done:
            write_profiles(self.folder, self.points, self.done)
            names += TABLES[1:]
        return names

    def _density(self, number: int, atoms: Atoms, point: Point) -> PredictedDensity:
        try:
            _check_upright(atoms)
            grid = self.model.predict(atoms, spacing=self.options.spacing, **point.arguments)
            widest = max(self.windows)
            if widest > grid.height:
                raise InputError(
                    f"--windows: found {widest:g} A, expected at most the height of the cell, "
                    f"{grid.height:.4g} A"
                )
        except (InputError, ExtrapolationError) as error:
            if len(self.frames) == 1 or str(error).startswith("--"):
                raise
            raise type(error)(f"TRAJ: frame {number}: {error}") from error
        return grid


def _points(options: DensityOptions) -> list[Point]:
    points = _all_points(options)
    names = [point.name for point in points]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        option = "--potential" if options.electrons is None else "--electrons"
        raise InputError(f"{option}: got {twice} twice, expected values that differ")
    return points


def _all_points(options: DensityOptions) -> list[Point]:
    if options.electrons is not None:
        return [
            Point(f"n{n:+g}", f"n = {n:+g} e", {"excess_electrons": n})
            for n in _numbers(options.electrons, "--electrons")
        ]
    if options.potential is None:
        return [Point("n+0", "n = 0", {"excess_electrons": 0.0})]
    items = _listed(options.potential, "--potential")
    values = [parse_potential(item) for item in items]
    return [
        Point(f"U{u:+.3f}V", f"U = {u:+.2f} V vs {options.reference}", {"potential": u})
        for u in values
    ]


def _listed(value: Any, option: str) -> list[Any]:
    items = value.split(",") if isinstance(value, str) else value
    items = items if isinstance(items, list) else [items]
    items = [item.strip() if isinstance(item, str) else item for item in items]
    if not items or "" in items:
        raise InputError(f"{option}: got {value!r}, expected numbers with commas between them")
    return items


def _numbers(value: Any, option: str) -> list[float]:
    try:
        return [float(coerce(str(item).replace("\N{MINUS SIGN}", "-"), float, option))
                for item in _listed(value, option)]  # fmt: skip
    except InputError:
        raise InputError(f"{option}: got {value!r}, expected numbers") from None


def _windows(options: DensityOptions) -> tuple[float, float]:
    found = _numbers(options.windows, "--windows")
    if len(found) != 2 or not all(0.0 <= w < np.inf for w in found):
        raise InputError(f"--windows: got {options.windows!r}, expected two lengths in A")
    return found[0], found[1]


def _check_upright(atoms: Atoms) -> None:
    """Refuse cells whose profiles along z would not be those along the normal."""
    if sum(atoms.pbc) < 2:
        return  # no slab, as the model will say
    a, b, c = atoms.cell.array
    flat = abs(a[2]) < FLAT and abs(b[2]) < FLAT
    if not (atoms.pbc[0] and atoms.pbc[1] and flat and c[2] >= 0.0):
        raise InputError(
            "atoms: found a cell whose surface is not that of the first two lattice vectors in the "
            "xy plane, below the third, expected such a slab for profiles along z"
        )


def _frames(options: DensityOptions) -> list[tuple[int, Atoms]]:
    from voltase.aseplugin.labelling.structures import numbered_frames

    found = []
    for file in options.structures:
        try:
            found += list(numbered_frames(file))
        except InputError as error:
            raise InputError(str(error).replace("STRUCTURES:", "TRAJ:", 1)) from error
    if len(options.structures) > 1:
        # Numbers of several files would meet.
        found = [(k, atoms) for k, (_, atoms) in enumerate(found)]
    return found[:: options.every]


def _set_threads(threads: int | None) -> None:
    if threads is None:
        return
    import numba
    import torch

    if threads < 1:
        raise InputError(f"--threads: got {threads}, expected 1 or more")
    torch.set_num_threads(threads)
    numba.set_num_threads(min(threads, os.cpu_count() or 1))


def _row(number: int, point: Point, grid: PredictedDensity, reference: Reference
         ) -> dict[str, Any]:  # fmt: skip
    state = grid.state
    u = None if state.potential is None else round(reference.from_absolute(state.potential), 9)
    return {
        "frame": number,
        "point": point.name,
        "n_e": state.excess_electrons,
        "potential_absolute_V": state.potential,
        f"U_vs_{reference.name}_V": u,
        "capacitance_e_per_V": state.capacitance,
        "electrons_e": grid.integral(),
    }


def _profiles(number: int, atoms: Atoms, grids: Sequence[PredictedDensity],
              model: ElectronDensity, options: DensityOptions) -> Frame:  # fmt: skip
    from voltase.analysis.grid_density import potential_from_density
    from voltase.aseplugin.densities.potential import VACUUM

    first = grids[0]
    valence = model.model.config.valence
    ions = [float(valence[symbol]) for symbol in atoms.get_chemical_symbols()]
    found = []
    for grid in grids:
        smearing = max(SMEARING, 1.05 * grid.height / grid.values.shape[2])
        found.append(
            potential_from_density(grid.values, grid.cell, atoms.positions - grid.origin, ions,
                                   boundary="open", smearing=smearing)
        )  # fmt: skip
    potentials = np.array([profile.potential for profile in found])
    bottom = float(np.abs(first.planar_average()[0]))
    if bottom > VACUUM:
        LOG.warning("frame %d: %.2g e/A^3 at the lower end of the cell, where vacuum has to be for "
                    "the electrostatic potential, which is left out", number, bottom)  # fmt: skip
        potentials[:] = np.nan
    responses = None
    if options.response:
        responses = np.array([grid.response().planar_average() for grid in grids])
    return Frame(
        number=number,
        z=found[0].z + float(first.origin[2]),
        electrons=np.array([profile.electrons for profile in found]),
        potentials=potentials,
        responses=responses,
        area=first.volume / first.height,
    )
