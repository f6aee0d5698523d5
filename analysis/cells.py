"""Cells in one orientation: a along x, b in the xy plane, right-handed."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]

SMALLEST_VOLUME = 1e-3
"""In A^3; a cell below it has no volume."""


class StandardCell(NamedTuple):
    """A cell in standard orientation.

    Attributes
    ----------
    cell : ndarray (3, 3)
        Lattice vectors as rows in A: a along x, b in the xy plane, z along a x b.
    rotation : ndarray (3, 3) or None
        Turns vectors into this orientation, ``vectors @ rotation.T``; None if they are in it.
    """

    cell: Array
    rotation: Array | None

    def turn(self, vectors: npt.ArrayLike) -> Array:
        """Vectors (..., 3) of the original orientation in this one."""
        values = np.asarray(vectors, dtype=np.float64)
        return values if self.rotation is None else values @ self.rotation.T


def standardise_cell(cell: npt.ArrayLike, normal_axis: int = 2) -> StandardCell:
    """Turn a cell, of whatever orientation, into the standard one; a rotation, never a mirror.

    MDAnalysis keeps lengths and angles alone, which is enough only in this orientation.

    Parameters
    ----------
    cell : array_like (3, 3)
        Lattice vectors as rows, A.
    normal_axis : {2, 0, 1}
        Which vector leads out of the surface; the others span it. It becomes the third, and of a
        left-handed cell the other two change places.

    Raises
    ------
    InputError
        If a vector is missing or not finite, or the cell has no volume.
    """
    vectors = np.asarray(cell, dtype=np.float64)
    if vectors.shape != (3, 3) or not np.isfinite(vectors).all():
        raise InputError(f"cell: found {vectors.tolist()}, expected three lattice vectors in A")
    if normal_axis == 2 and _is_standard(vectors):
        return StandardCell(vectors, None)
    vectors = vectors[[(normal_axis + 1) % 3, (normal_axis + 2) % 3, normal_axis]]
    volume = float(np.linalg.det(vectors))
    if abs(volume) < SMALLEST_VOLUME:
        raise InputError(
            f"cell: found a volume of {abs(volume):.3g} A^3, expected three lattice vectors "
            "(give a slab its vacuum)"
        )
    if volume < 0.0:
        vectors = vectors[[1, 0, 2]]
    if _is_standard(vectors):
        return StandardCell(vectors, None)
    first = vectors[0] / np.linalg.norm(vectors[0])
    third = np.cross(vectors[0], vectors[1])
    third /= np.linalg.norm(third)
    rotation = np.array([first, np.cross(third, first), third])
    standard = vectors @ rotation.T
    standard[[0, 0, 1], [1, 2, 2]] = 0.0
    return StandardCell(standard, rotation)


def _is_standard(cell: Array) -> bool:
    (ax, ay, az), (_, by, bz), (_, _, cz) = cell.tolist()
    upright = ay == az == bz == 0.0 and min(ax, by, cz) > 0.0
    return upright and ax * by * cz >= SMALLEST_VOLUME


def area_of(cell: Array) -> float:
    """Area |a x b| in A^2."""
    # In plain numbers: NumPy's cross is slow, and this is done for every frame.
    (ax, ay, az), (bx, by, bz), _ = cell.tolist()
    return math.hypot(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)


def height_of(cell: Array) -> float:
    """Distance in A between the planes that a and b span."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = cell.tolist()
    x, y, z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    return abs(x * cx + y * cy + z * cz) / math.hypot(x, y, z)


def widths_of(cell: Array) -> Array:
    """Distances in A between opposite faces of the cell, one for each lattice vector."""
    # A lattice vector's width is one over the length of its reciprocal vector.
    return np.asarray(1.0 / np.sqrt((np.linalg.inv(cell) ** 2).sum(axis=0)))
