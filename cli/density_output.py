"""Files of ``pe-density``: tables, profiles, grids, pictures, and what an earlier run left."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.errors import InputError
from voltase.cli.analyze_output import png, write_whole
from voltase.cli.config import read_yaml

if TYPE_CHECKING:
    from ase import Atoms

    from voltase.aseplugin.calculators.electron_density import PredictedDensity

LOG = logging.getLogger(__name__)
Array = npt.NDArray[np.float64]
FORMATS = {"cube": "{}.cube", "chgcar": "CHGCAR_{}", "h5": "{}.h5"}
TABLES = ("states.csv", "profiles.csv", "profiles.npz")
PICTURES = ("profiles.png", "slice.png", "isosurface.png")
SUMMARY = "summary.yaml"


@dataclass(frozen=True)
class Point:
    """One potential or electron number, and how it is called."""

    name: str
    label: str
    arguments: dict[str, Any]


@dataclass
class Frame:
    """Profiles of one frame, a row a point."""

    number: int
    z: Array
    electrons: Array
    potentials: Array
    responses: Array | None
    area: float


def grid_names(number: int, point: Point, form: str | None, response: bool) -> list[str]:
    """Names of the files of a density, and of its response."""
    if form is None:
        return []
    name = f"{number:05d}_{point.name}"
    names = [name, f"{name}_drho_dU"] if response else [name]
    return [FORMATS[form].format(each) for each in names]


def check_free(folder: Path, names: Iterable[str], overwrite: bool) -> None:
    """Refuse a folder with results; to be overwritten, those of an earlier run are removed.

    Parameters
    ----------
    folder : Path
        Need not be there yet.
    names : iterable of str
        Files that the run may write.
    overwrite : bool

    Raises
    ------
    InputError
        If a file is there and may not be replaced.
    """
    found = next((name for name in names if (folder / name).exists()), None)
    if found is None:
        return
    if not overwrite:
        raise InputError(f"--out: {folder} has results in it ({found}), expected a new folder or "
                         "--overwrite")  # fmt: skip
    summary = folder / SUMMARY
    before = read_yaml(summary, "--out").get("files") if summary.is_file() else None
    listed = [str(name) for name in before] if isinstance(before, list) else []
    for name in {*names, *listed}:
        if Path(name).name == name and (folder / name).is_file():
            (folder / name).unlink()


def write_grids(folder: Path, names: Sequence[str], grid: PredictedDensity) -> None:
    """Write a density if there is a name for it, and with a second name its response."""
    for k, name in enumerate(names):
        density = grid if k == 0 else grid.response()
        density.write(folder / name)


def write_states(folder: Path, states: Sequence[Mapping[str, Any]]) -> None:
    """Write ``states.csv``: charge and potential of each density."""
    write_whole(folder / TABLES[0], _table(states))


def write_profiles(folder: Path, points: Sequence[Point], done: Sequence[Frame]) -> None:
    """Write ``profiles.csv`` of the last frame and ``profiles.npz`` of all."""
    latest = done[-1]
    columns: dict[str, Array] = {"z_A": latest.z}
    for k, point in enumerate(points):
        columns[f"electrons_{point.name}_e_per_A3"] = latest.electrons[k]
        columns[f"potential_{point.name}_V"] = latest.potentials[k]
        if latest.responses is not None:
            columns[f"response_{point.name}_e_per_A3_V"] = latest.responses[k]
    rows = [dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)]  # fmt: skip
    write_whole(folder / TABLES[1], _table(rows))
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
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_whole(folder / TABLES[2], buffer.getvalue())


def draw(folder: Path, points: Sequence[Point], frame: Frame,
         grids: Sequence[PredictedDensity], atoms: Atoms, windows: tuple[float, float]
         ) -> list[str]:  # fmt: skip
    """Draw profiles of all points, slices and a surface of the first and last; their names."""
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
    write_whole(folder / PICTURES[0], png(figure))
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
    write_whole(folder / PICTURES[1], png(figure))
    if find_spec("skimage") is None:
        LOG.warning("%s is left out: scikit-image is not installed, pip install scikit-image",
                    PICTURES[2])  # fmt: skip
        return list(PICTURES[:2])
    figure = Figure(figsize=(6.0, 8.0), dpi=130, layout="constrained")
    shown = final.values - first.values if len(grids) > 1 else first.values
    level = draw_isosurface(figure, shown, first.cell, *places)
    what = "difference" if len(grids) > 1 else "density"
    figure.suptitle(f"{what} of {level:.2g} e/Å$^3$")
    write_whole(folder / PICTURES[2], png(figure))
    return list(PICTURES)


def _table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.8g}" if isinstance(value, float) else value
                         for name, value in row.items()})  # fmt: skip
    return text.getvalue().encode()
