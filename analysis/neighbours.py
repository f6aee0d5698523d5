"""Pairs of atoms within a cutoff in a periodic cell, linear in the number of atoms."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from voltase.analysis.counting import EDGE
from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

MOST_CELLS = 64
"""Along one axis; more only cost memory."""
LONG_STRETCH = 96
"""Points in neighbouring slices along z from which on a division across z saves time: fewer are
compared at once in the time that it takes to look up the neighbouring columns."""


class Pairs(NamedTuple):
    """Pairs (i, j) with the shortest vector from i to j.

    Attributes
    ----------
    first, second : ndarray (n_pairs,)
        Positions in the two lists that were given.
    vectors : ndarray (n_pairs, 3)
        A.
    distances : ndarray (n_pairs,)
        A.
    """

    first: Indices
    second: Indices
    vectors: Array
    distances: Array


def largest_cutoff(cell: Array) -> float:
    """Half the smallest width in A: up to it each pair has one shortest vector.

    Parameters
    ----------
    cell : ndarray (3, 3)
        In standard orientation (`standardise_cell`), A.
    """
    return 0.5 * float(_reciprocal(cell)[1].min())


def find_pairs(cell: Array, first: Array, second: Array | None, cutoff: float) -> Pairs:
    """Pairs of points within a cutoff, periodic along all axes.

    Parameters
    ----------
    cell : ndarray (3, 3)
        In standard orientation (`standardise_cell`), A.
    first, second : ndarray (n, 3)
        Points in A, in any period; None as the second for pairs among the first, each once.
    cutoff : float
        A.

    Raises
    ------
    InputError
        If the cutoff exceeds `largest_cutoff`.
    """
    _check(cell, cutoff)
    a = np.ascontiguousarray(first, dtype=np.float64)
    same = second is None
    b = a if second is None else np.ascontiguousarray(second, dtype=np.float64)
    # Room for three times the pairs of an even density; more is made where that is too little.
    volume = cell[0, 0] * cell[1, 1] * cell[2, 2]
    guess = 64 + len(a) + int(12.0 * len(a) * len(b) * cutoff**3 / volume / (2.0 if same else 1.0))
    return Pairs(*_search(cell, a, b, same, cutoff, guess))


def count_distances(
    cell: Array, first: Array, second: Array | None, rows: Indices, n_rows: int, width: float,
    bins: int,
) -> Array:  # fmt: skip
    """Histogram of distances, without keeping the pairs.

    Parameters
    ----------
    cell : ndarray (3, 3)
        In standard orientation (`standardise_cell`), A.
    first, second : ndarray (n, 3)
        Points in A, in any period; None as the second for pairs among the first, each of which
        counts from both ends.
    rows : ndarray (n,)
        The row of the histogram that each first point counts in; below zero, none.
    n_rows, bins : int
    width : float
        Of the bins, A.

    Returns
    -------
    ndarray (n_rows, bins)

    Raises
    ------
    InputError
        If the histogram reaches beyond `largest_cutoff`.
    """
    _check(cell, bins * width)
    a = np.ascontiguousarray(first, dtype=np.float64)
    b = a if second is None else np.ascontiguousarray(second, dtype=np.float64)
    return np.asarray(_count(cell, a, b, second is None, rows, n_rows, width, bins))


def _check(cell: Array, cutoff: float) -> None:
    limit = largest_cutoff(cell)
    if not 0.0 < cutoff <= limit * (1.0 + 1e-12):
        raise InputError(
            f"cutoff: found {cutoff:g} A, expected more than 0 and at most half the cell's "
            f"smallest width, {limit:.4g} A"
        )


@numba.njit(cache=True)
def _reciprocal(cell: Array) -> tuple[Array, Array]:
    """Inverse of a lower triangular cell, and its widths."""
    inverse = np.zeros((3, 3))
    x, y, z = 1.0 / cell[0, 0], 1.0 / cell[1, 1], 1.0 / cell[2, 2]
    inverse[0, 0], inverse[1, 1], inverse[2, 2] = x, y, z
    inverse[1, 0] = -cell[1, 0] * x * y
    inverse[2, 1] = -cell[2, 1] * y * z
    inverse[2, 0] = (cell[1, 0] * cell[2, 1] - cell[1, 1] * cell[2, 0]) * x * y * z
    widths = np.empty(3)
    for k in range(3):
        widths[k] = 1.0 / np.sqrt(inverse[0, k] ** 2 + inverse[1, k] ** 2 + inverse[2, k] ** 2)
    return inverse, widths


@numba.njit(cache=True)
def _grid(widths: Array, cutoff: float, n: int) -> Indices:
    """Number of cells along each axis: one, or three or more that are as wide as the cutoff.

    Points are divided along z, so that neighbours follow one another in memory; across z only
    where there are many of them.
    """
    counts = np.ones(3, np.int64)
    near = float(n)
    for axis in (2, 1, 0):
        cells = min(int(widths[axis] / cutoff), MOST_CELLS)
        if cells >= 3 and (axis == 2 or near > LONG_STRETCH):
            counts[axis] = cells
            if axis == 2:
                near *= 3.0 / cells
    return counts


@numba.njit(cache=True)
def _fractions(points: Array, inverse: Array) -> Array:
    """Coordinates (3, n) of points (n, 3) along the vectors of a lower triangular cell, [0, 1]."""
    result = np.empty((3, len(points)))
    for p in range(len(points)):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        f0 = x * inverse[0, 0] + y * inverse[1, 0] + z * inverse[2, 0]
        f1 = y * inverse[1, 1] + z * inverse[2, 1]
        f2 = z * inverse[2, 2]
        result[0, p], result[1, p] = f0 - np.floor(f0), f1 - np.floor(f1)
        result[2, p] = f2 - np.floor(f2)
    return result


@numba.njit(cache=True)
def _cell_of(fractions: Array, p: int, counts: Indices) -> tuple[int, int, int]:
    x = min(int(fractions[0, p] * counts[0]), counts[0] - 1)
    y = min(int(fractions[1, p] * counts[1]), counts[1] - 1)
    return x, y, min(int(fractions[2, p] * counts[2]), counts[2] - 1)


@numba.njit(cache=True)
def _sort_into_cells(fractions: Array, counts: Indices) -> tuple[Array, Indices, Indices]:
    """Fractions (3, n) ordered by cell, the points in that order, start of each cell."""
    n = fractions.shape[1]
    index = np.empty(n, np.int64)
    start = np.zeros(counts[0] * counts[1] * counts[2] + 1, np.int64)
    for p in range(n):
        x, y, z = _cell_of(fractions, p, counts)
        index[p] = (x * counts[1] + y) * counts[2] + z
        start[index[p] + 1] += 1
    for k in range(len(start) - 1):
        start[k + 1] += start[k]
    order, ordered = np.empty(n, np.int64), np.empty((3, n))
    cursor = start[:-1].copy()
    for p in range(n):
        slot = cursor[index[p]]
        cursor[index[p]] += 1
        order[slot] = p
        for axis in range(3):
            ordered[axis, slot] = fractions[axis, p]
    return ordered, order, start


@numba.njit(cache=True)
def _near(
    cell_of: tuple[int, int, int], counts: Indices, start: Indices, begin: Indices, end: Indices
) -> int:
    """Fill in where the points of a cell and its neighbours begin and end; how many stretches."""
    cx, cy, cz = cell_of
    nx, ny, nz = counts[0], counts[1], counts[2]
    reach_x, reach_y = (1 if nx > 1 else 0), (1 if ny > 1 else 0)
    found = 0
    for ox in range(-reach_x, reach_x + 1):
        x = cx + ox
        x += nx if x < 0 else (-nx if x >= nx else 0)
        for oy in range(-reach_y, reach_y + 1):
            y = cy + oy
            y += ny if y < 0 else (-ny if y >= ny else 0)
            column = (x * ny + y) * nz
            # Cells along z follow one another: one stretch of them, or two across the boundary.
            low, high = (0, 0) if nz == 1 else (cz - 1, cz + 1)
            if low < 0 or high >= nz:
                edge, low, high = (nz - 1, 0, high) if low < 0 else (0, low, nz - 1)
                begin[found], end[found] = start[column + edge], start[column + edge + 1]
                found += 1
            begin[found], end[found] = start[column + low], start[column + high + 1]
            found += 1
    return found


@numba.njit(cache=True)
def _shortest(cell: Array, f0: float, f1: float, f2: float) -> tuple[float, float, float]:
    """The shortest image of a vector whose fractions are within (-1, 1); the cell is triangular."""
    f0 -= (1.0 if f0 > 0.5 else 0.0) - (1.0 if f0 < -0.5 else 0.0)
    f1 -= (1.0 if f1 > 0.5 else 0.0) - (1.0 if f1 < -0.5 else 0.0)
    f2 -= (1.0 if f2 > 0.5 else 0.0) - (1.0 if f2 < -0.5 else 0.0)
    dx = f0 * cell[0, 0] + f1 * cell[1, 0] + f2 * cell[2, 0]
    return dx, f1 * cell[1, 1] + f2 * cell[2, 1], f2 * cell[2, 2]


@numba.njit(cache=True)
def _squares(
    cell: Array, points: Array, begin: int, end: int, p0: float, p1: float, p2: float, out: Array
) -> int:
    """Squared distances of a stretch of points (3, n) from one; how many there are."""
    # Contiguous slices and a plain loop, which the compiler turns into vector instructions.
    x, y, z = points[0, begin:end], points[1, begin:end], points[2, begin:end]
    for i in range(len(x)):
        dx, dy, dz = _shortest(cell, x[i] - p0, y[i] - p1, z[i] - p2)
        out[i] = dx * dx + dy * dy + dz * dz
    return len(x)


@numba.njit(cache=True)
def _search(
    cell: Array, a: Array, b: Array, same: bool, cutoff: float, guess: int
) -> tuple[Indices, Indices, Array, Array]:
    inverse, widths = _reciprocal(cell)
    counts = _grid(widths, cutoff, len(b))
    fa = _fractions(a, inverse)
    ordered, order, start = _sort_into_cells(fa if same else _fractions(b, inverse), counts)
    first, second = np.empty(guess, np.int64), np.empty(guess, np.int64)
    vectors, distances = np.empty((guess, 3)), np.empty(guess)
    begin, end, squares = np.empty(18, np.int64), np.empty(18, np.int64), np.empty(len(b))
    found = 0
    for n in range(len(a)):
        p = order[n] if same else n
        p0, p1, p2 = fa[0, p], fa[1, p], fa[2, p]
        for s in range(_near(_cell_of(fa, p, counts), counts, start, begin, end)):
            # Of points in one list, those that come later.
            low = max(begin[s], n + 1) if same else begin[s]
            for i in range(_squares(cell, ordered, low, end[s], p0, p1, p2, squares)):
                if squares[i] > cutoff * cutoff:
                    continue
                if found == len(first):
                    first = np.append(first, np.empty(found, np.int64))
                    second = np.append(second, np.empty(found, np.int64))
                    distances = np.append(distances, np.empty(found))
                    larger = np.empty((2 * found, 3))
                    larger[:found] = vectors
                    vectors = larger
                q = low + i
                x, y, z = ordered[0, q] - p0, ordered[1, q] - p1, ordered[2, q] - p2
                first[found], second[found] = p, order[q]
                if same and order[q] < p:
                    x, y, z = -x, -y, -z
                    first[found], second[found] = order[q], p
                vector = _shortest(cell, x, y, z)
                vectors[found, 0], vectors[found, 1], vectors[found, 2] = vector
                distances[found] = np.sqrt(squares[i])
                found += 1
    return first[:found], second[:found], vectors[:found], distances[:found]


@numba.njit(cache=True)
def _count(
    cell: Array, a: Array, b: Array, same: bool, rows: Indices, n_rows: int, width: float,
    bins: int,
) -> Array:  # fmt: skip
    inverse, widths = _reciprocal(cell)
    counts = _grid(widths, bins * width, len(b))
    fa = _fractions(a, inverse)
    ordered, order, start = _sort_into_cells(fa if same else _fractions(b, inverse), counts)
    begin, end, squares = np.empty(18, np.int64), np.empty(18, np.int64), np.empty(len(b))
    # One more row for what is not wanted, one more bin for what is farther. A pair of one list
    # counts by the rows of both at once; they are told apart at the end.
    size, index = bins + 1, np.empty(len(b), np.int64)
    row_of = np.where(rows < 0, n_rows, rows)
    offset = row_of[order] * size if same else np.zeros(len(b), np.int64)
    histogram = np.zeros((n_rows + 1, (n_rows + 1) * size))
    for n in range(len(a)):
        p = order[n] if same else n
        row, p0, p1, p2 = histogram[row_of[p]], fa[0, p], fa[1, p], fa[2, p]
        for s in range(_near(_cell_of(fa, p, counts), counts, start, begin, end)):
            low = max(begin[s], n + 1) if same else begin[s]
            found = _squares(cell, ordered, low, end[s], p0, p1, p2, squares)
            other = offset[low : low + found]
            for i in range(found):
                index[i] = other[i] + int(min((np.sqrt(squares[i]) + EDGE) / width, bins))
            for i in range(found):
                row[index[i]] += 1.0
    table = histogram.reshape(n_rows + 1, n_rows + 1, size)[:, :, :bins]
    result = table[:n_rows].sum(axis=1)
    if same:
        result += table[:, :n_rows].sum(axis=0)
    return result


@numba.njit(cache=True)
def nearest(cell: Array, a: Array, b: Array, cutoff: float) -> Indices:
    """For each of the first points the nearest of the second within a cutoff; -1 without one.

    Parameters
    ----------
    cell : ndarray (3, 3)
        In standard orientation (`standardise_cell`), A.
    a, b : ndarray (n, 3)
        Points in A, in any period.
    cutoff : float
        A, at most `largest_cutoff`.
    """
    inverse, widths = _reciprocal(cell)
    counts = _grid(widths, cutoff, len(b))
    fa = _fractions(a, inverse)
    ordered, order, start = _sort_into_cells(_fractions(b, inverse), counts)
    begin, end, squares = np.empty(18, np.int64), np.empty(18, np.int64), np.empty(len(b))
    result = np.full(len(a), -1)
    for p in range(len(a)):
        best, p0, p1, p2 = cutoff * cutoff, fa[0, p], fa[1, p], fa[2, p]
        for s in range(_near(_cell_of(fa, p, counts), counts, start, begin, end)):
            for i in range(_squares(cell, ordered, begin[s], end[s], p0, p1, p2, squares)):
                if squares[i] <= best:
                    best, result[p] = squares[i], order[begin[s] + i]
    return result
