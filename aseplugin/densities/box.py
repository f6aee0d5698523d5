"""The grid that a predicted density is put on: its cell, its points, its electrons."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms
from scipy.fft import next_fast_len

from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]
LOG = logging.getLogger(__name__)
MARGIN = 6.0
"""Room in A that a grid leaves around the atoms along an axis that is not periodic."""
SPACINGS = (0.01, 2.0)
"""Of the points, A."""
MOST_POINTS = 200_000_000
"""Of a grid: 1.6 GB of values, and some three times that while they are summed."""
COARSE = 2e-3
"""Share of the electrons by which the sum over a grid may be wrong before there is a warning."""
TOO_COARSE = 0.1
"""The same before the grid is refused."""


def complete_cell(atoms: Atoms) -> Array:
    """Cell (3, 3) in A with the missing vectors of open axes filled in."""
    return np.array(atoms.cell.complete().array, dtype=np.float64)


def grid_box(atoms: Atoms) -> tuple[Array, Array]:
    """Cell (3, 3) and origin (3,) in A of a grid that holds the density of the atoms."""
    cell, origin = complete_cell(atoms), np.zeros(3)
    for axis in range(3):
        if atoms.pbc[axis]:
            continue
        normal = np.cross(cell[axis - 2], cell[axis - 1])
        # Of a left-handed cell the product points against the vector.
        normal *= np.copysign(1.0 / np.linalg.norm(normal), normal @ cell[axis])
        heights = atoms.positions @ normal
        height = float(cell[axis] @ normal)
        # Half the margin is kept where there is a cell: who made it knows where its vacuum ends.
        if heights.min() > 0.5 * MARGIN and heights.max() < height - 0.5 * MARGIN:
            continue
        low, high = heights.min() - MARGIN, heights.max() + MARGIN
        origin = origin + (low - float(origin @ normal)) * normal
        cell[axis] = (high - low) * normal
    return cell, origin


def grid_shape(cell: Array, spacing: Any, shape: Sequence[int] | None) -> tuple[int, int, int]:
    """Numbers of points along the lattice vectors, those given or fast ones for a spacing.

    Raises
    ------
    InputError
        If they cannot be used, or are too many.
    """
    if shape is not None:
        name, given, found = "shape", shape, _whole(shape)
    else:
        name, given, found = "spacing", spacing, _of_spacing(cell, spacing)
    if found[0] * found[1] * found[2] > MOST_POINTS:
        raise InputError(
            f"{name}: found {given}, which makes {found[0]} x {found[1]} x {found[2]} points; "
            f"expected at most {MOST_POINTS:g}"
        )
    return found


def scaled(values: Array, cell: Array, electrons: float) -> Array:
    """Values whose sum over the grid is the number of electrons, by one factor; in place.

    Raises
    ------
    InputError
        If the grid is so coarse that the sum is far from it.
    """
    total = float(values.sum()) * abs(float(np.linalg.det(cell))) / values.size
    excess = total / electrons - 1.0
    # Also true for nan.
    if not abs(excess) <= TOO_COARSE:
        raise InputError(
            f"spacing, shape: found {' x '.join(map(str, values.shape))} points, whose sum is "
            f"{total:.4g} e, expected {electrons:.4g} e: a finer grid is needed"
        )
    if abs(excess) > COARSE:
        LOG.warning(
            "the sum over the grid's points was %+.2g %% from the electrons before it was scaled "
            "to them; a smaller spacing is needed",
            100.0 * excess,
        )
    values *= electrons / total
    return values


def _of_spacing(cell: Array, spacing: Any) -> tuple[int, int, int]:
    low, high = SPACINGS
    real = isinstance(spacing, int | float | np.number) and not isinstance(spacing, bool)
    if not (real and low <= float(spacing) <= high):
        raise InputError(f"spacing: found {spacing!r}, expected {low:g} to {high:g} A")
    lengths = np.linalg.norm(cell, axis=1)
    a, b, c = (next_fast_len(int(np.ceil(x / spacing - 1e-9)), real=True) for x in lengths)
    return a, b, c


def _whole(shape: Any) -> tuple[int, int, int]:
    try:
        found = np.asarray(shape)
    except ValueError:  # rows of different lengths
        found = np.empty(0)
    usable = found.shape == (3,) and found.dtype.kind in "iuf"
    # Also false for nan.
    if not usable or not ((found >= 1) & (found == np.floor(found)) & (found < 1e9)).all():
        raise InputError(f"shape: found {shape!r}, expected three numbers of points")
    return int(found[0]), int(found[1]), int(found[2])
