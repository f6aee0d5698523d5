"""Densities along a trajectory: settings, frames, files, pictures."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.electrochemistry import Reference, parse_potential
from voltase.aseplugin.errors import InputError
from voltase.cli.config import check_keys, coerce, read_options
from voltase.cli.stopping import StopRequest
from voltase.cli.summary import RunSummary
from voltase.cli.terminal import log_file, progress_bar, say, silent_imports

if TYPE_CHECKING:
    from ase import Atoms

    from voltase.aseplugin.calculators.electron_density import ElectronDensity, PredictedDensity

Array = npt.NDArray[np.float64]
FORMATS = {"cube": "{}.cube", "chgcar": "CHGCAR_{}", "h5": "{}.h5"}
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


_KINDS: dict[str, Any] = {
    "structures": list[str], "potential": Any, "electrons": Any, "reference": str, "ph": float,
    "model": str, "domain": str, "allow_extrapolation": bool, "every": int, "spacing": float,
    "threads": int, "out": str, "write": str, "response": bool, "windows": Any,
    "no_pictures": bool,
}  # fmt: skip


@dataclass(frozen=True)
class _Point:
    """One potential or electron number, and how it is called."""

    name: str
    label: str
    arguments: dict[str, Any]


@dataclass
class _Frame:
    """Profiles of one frame, a row a point."""

    number: int
    z: Array
    electrons: Array
    potentials: Array
    responses: Array | None
    area: float


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
    if options.write is not None and options.write not in FORMATS:
        raise InputError(f"--write: got '{options.write}', expected {', '.join(FORMATS)}")
    return options


def run(options: DensityOptions, *, quiet: bool) -> int:
    """Predict, write and draw; the exit status."""
    reference = Reference.parse(options.reference, pH=options.ph)
    points = _points(options)
    windows = _numbers(options.windows, "--windows")
    if len(windows) != 2:
        raise InputError(f"--windows: got {options.windows!r}, expected two lengths in A")
    with silent_imports():
        from voltase.aseplugin.calculators.electron_density import ElectronDensity

    frames = _frames(options)
    _set_threads(options.threads)
    model = ElectronDensity(options.model, reference, options.domain, options.allow_extrapolation)
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    summary = RunSummary(folder / "summary.yaml", "pe-density", asdict(options))
    stop = StopRequest("stopping after this density")
    states: list[dict[str, Any]] = []
    done: list[_Frame] = []
    last: list[PredictedDensity] = []
    with log_file(folder / "density.log"), stop:
        summary.write("running")
        try:
            with progress_bar("densities", len(frames) * len(points), shown=not quiet) as bar:
                for number, atoms in frames:
                    found = []
                    for point in points:
                        if stop():
                            break
                        found.append(model.predict(atoms, spacing=options.spacing,
                                                   **point.arguments))  # fmt: skip
                        states.append(_row(number, point, found[-1], reference))
                        _write_grid(folder, options, number, point, found[-1])
                        bar(len(states))
                    if stop():
                        break
                    done.append(_profiles(number, atoms, found, model, options))
                    last = found
            names = _finish(folder, options, points, states, done, last, frames, windows)
        except Exception as error:
            summary.write(f"failed: {error}")
            raise
        status = "interrupted" if stop() else "finished"
        summary.write(status, frames=len(done), files=names)
    if not quiet:
        say(f"{len(states)} densities of {len(done)} frames; in {folder}: {', '.join(names)}")
    return stop.exit_code if stop() else 0


def _points(options: DensityOptions) -> list[_Point]:
    if options.electrons is not None:
        return [
            _Point(f"n{n:+g}", f"n = {n:+g} e", {"excess_electrons": n})
            for n in _numbers(options.electrons, "--electrons")
        ]
    if options.potential is None:
        return [_Point("n+0", "n = 0", {"excess_electrons": 0.0})]
    items = _listed(options.potential, "--potential")
    values = [parse_potential(item) for item in items]
    return [
        _Point(f"U{u:+.3f}V", f"U = {u:+.2f} V vs {options.reference}", {"potential": u})
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


def _row(number: int, point: _Point, grid: PredictedDensity, reference: Reference
         ) -> dict[str, Any]:  # fmt: skip
    state = grid.state
    u = None if state.potential is None else reference.from_absolute(state.potential)
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
              model: ElectronDensity, options: DensityOptions) -> _Frame:  # fmt: skip
    from voltase.analysis.grid_density import potential_from_density

    first = grids[0]
    valence = model.model.config.valence
    ions = [float(valence[symbol]) for symbol in atoms.get_chemical_symbols()]
    found = []
    for grid in grids:
        height = abs(np.linalg.det(grid.cell)) / np.linalg.norm(np.cross(*grid.cell[:2]))
        smearing = max(SMEARING, 1.05 * float(height) / grid.values.shape[2])
        found.append(
            potential_from_density(grid.values, grid.cell, atoms.positions - grid.origin, ions,
                                   boundary="open", smearing=smearing)
        )  # fmt: skip
    responses = None
    if options.response:
        responses = np.array([grid.response().planar_average() for grid in grids])
    return _Frame(
        number=number,
        z=found[0].z + float(first.origin[2]),
        electrons=np.array([profile.electrons for profile in found]),
        potentials=np.array([profile.potential for profile in found]),
        responses=responses,
        area=float(np.linalg.norm(np.cross(*first.cell[:2]))),
    )


def _write_grid(folder: Path, options: DensityOptions, number: int, point: _Point,
                grid: PredictedDensity) -> None:  # fmt: skip
    if options.write is None:
        return
    name = f"{number:05d}_{point.name}"
    grid.write(folder / FORMATS[options.write].format(name))
    if options.response:
        response = grid.response()
        response.write(folder / FORMATS[options.write].format(f"{name}_drho_dU"))


def _finish(folder: Path, options: DensityOptions, points: Sequence[_Point],
            states: Sequence[Mapping[str, Any]], done: Sequence[_Frame],
            last: Sequence[PredictedDensity], frames: Sequence[tuple[int, Atoms]],
            windows: Sequence[float]) -> list[str]:  # fmt: skip
    """Write tables and pictures; their names."""
    names = []
    if states:
        _replace(folder / "states.csv", _table(states))
        names.append("states.csv")
    if not done:
        return names
    _write_profiles(folder, points, done)
    names += ["profiles.csv", "profiles.npz"]
    if not options.no_pictures:
        atoms = next(atoms for number, atoms in frames if number == done[-1].number)
        names += _draw(folder, points, done[-1], last, atoms, (windows[0], windows[1]))
    return names


def _write_profiles(folder: Path, points: Sequence[_Point], done: Sequence[_Frame]) -> None:
    latest = done[-1]
    columns: dict[str, Array] = {"z_A": latest.z}
    for k, point in enumerate(points):
        columns[f"electrons_{point.name}_e_per_A3"] = latest.electrons[k]
        columns[f"potential_{point.name}_V"] = latest.potentials[k]
        if latest.responses is not None:
            columns[f"response_{point.name}_e_per_A3_V"] = latest.responses[k]
    rows = [dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)]  # fmt: skip
    _replace(folder / "profiles.csv", _table(rows))
    arrays: dict[str, Any] = {"points": np.array([point.name for point in points])}
    for frame in done:
        arrays |= {
            f"{frame.number}/z": frame.z,
            f"{frame.number}/electrons": frame.electrons,
            f"{frame.number}/potential": frame.potentials,
            f"{frame.number}/area": np.array(frame.area),
        }
        if frame.responses is not None:
            arrays[f"{frame.number}/response"] = frame.responses
    partial = folder / "profiles.npz.partial"
    with partial.open("wb") as handle:
        np.savez_compressed(handle, **arrays)
    os.replace(partial, folder / "profiles.npz")


def _draw(folder: Path, points: Sequence[_Point], frame: _Frame,
          grids: Sequence[PredictedDensity], atoms: Atoms, windows: tuple[float, float]
          ) -> list[str]:  # fmt: skip
    from matplotlib.figure import Figure

    from voltase.analysis.density_pictures import (
        DensityProfile,
        draw_isosurface,
        draw_profiles,
        draw_slice,
    )

    profiles = [
        DensityProfile(point.label, frame.electrons[k], frame.potentials[k])
        for k, point in enumerate(points)
    ]
    figure = Figure(figsize=(7.0, 9.0), dpi=130, layout="constrained")
    draw_profiles(figure, frame.z, profiles, frame.area, windows)
    _save(figure, folder / "profiles.png")
    first, final = grids[0], grids[-1]
    places = (atoms.numbers, atoms.positions - first.origin)
    figure = Figure(figsize=(9.0, 6.0), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_slice(left, first.values, first.cell, *places)
    left.set_title(points[0].label)
    if len(grids) > 1:
        draw_slice(right, final.values - first.values, first.cell, *places, signed=True)
        right.set_title(f"{points[-1].label}, less the left")
    else:
        right.set_axis_off()
    _save(figure, folder / "slice.png")
    figure = Figure(figsize=(6.0, 8.0), dpi=130, layout="constrained")
    shown = final.values - first.values if len(grids) > 1 else first.values
    level = draw_isosurface(figure, shown, first.cell, *places)
    what = "difference" if len(grids) > 1 else "density"
    figure.suptitle(f"{what} of {level:.2g} e/Å$^3$")
    _save(figure, folder / "isosurface.png")
    return ["profiles.png", "slice.png", "isosurface.png"]


def _save(figure: Any, path: Path) -> None:
    partial = path.with_name(f"{path.name}.partial")
    figure.savefig(partial, format="png")
    os.replace(partial, path)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.8g}" if isinstance(value, float) else value
                         for name, value in row.items()})  # fmt: skip
    return text.getvalue()


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
