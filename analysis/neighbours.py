"""Pairs of atoms within a cutoff in a periodic cell, linear in the number of atoms."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

MOST_CELLS = 64
"""Along one axis; more only cost memory."""


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
    inverse, widths = _reciprocal(cell)
    limit = 0.5 * float(widths.min())
    if not 0.0 < cutoff <= limit * (1.0 + 1e-12):
        raise InputError(
            f"cutoff: found {cutoff:g} A, expected more than 0 and at most half the cell's "
            f"smallest width, {limit:.4g} A"
        )
    counts = np.minimum(np.maximum(widths / cutoff, 1.0), MOST_CELLS).astype(np.int64)
    same = second is None
    a = np.ascontiguousarray(first, dtype=np.float64) @ inverse
    b = a if second is None else np.ascontiguousarray(second, dtype=np.float64) @ inverse
    # Room for three times the pairs of an even density; more is made where that is too little.
    volume = cell[0, 0] * cell[1, 1] * cell[2, 2]
    guess = 64 + len(a) + int(12.0 * len(a) * len(b) * cutoff**3 / volume / (2.0 if same else 1.0))
    return Pairs(*_search(cell, a, b, same, cutoff, counts, guess))


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
def _sort_into_cells(points: Array, counts: Indices) -> tuple[Array, Indices, Indices, Indices]:
    """Points in [0, 1), the cell of each, points ordered by cell, start of each cell."""
    n = len(points)
    wrapped = points - np.floor(points)
    index = np.empty(n, np.int64)
    total = counts[0] * counts[1] * counts[2]
    start = np.zeros(total + 1, np.int64)
    for p in range(n):
        k = 0
        for axis in range(3):
            c = min(int(wrapped[p, axis] * counts[axis]), counts[axis] - 1)
            k = k * counts[axis] + c
        index[p] = k
        start[k + 1] += 1
    for k in range(total):
        start[k + 1] += start[k]
    order = np.empty(n, np.int64)
    cursor = start[:-1].copy()
    for p in range(n):
        order[cursor[index[p]]] = p
        cursor[index[p]] += 1
    return wrapped, index, order, start


@numba.njit(cache=True)
def _search(
    cell: Array, a: Array, b: Array, same: bool, cutoff: float, counts: Indices, guess: int
) -> tuple[Indices, Indices, Array, Array]:
    wa, cell_of, order_a, start_a = _sort_into_cells(a, counts)
    if same:
        wb, order, start = wa, order_a, start_a
    else:
        wb, _, order, start = _sort_into_cells(b, counts)
    first, second = np.empty(guess, np.int64), np.empty(guess, np.int64)
    vectors, distances = np.empty((guess, 3)), np.empty(guess)
    found = 0
    squared = cutoff * cutoff
    c00, c10, c11 = cell[0, 0], cell[1, 0], cell[1, 1]
    c20, c21, c22 = cell[2, 0], cell[2, 1], cell[2, 2]
    nx, ny, nz = counts[0], counts[1], counts[2]
    # With fewer than three cells along an axis the neighbours on both sides are the same.
    lx, hx = (-1 if nx > 2 else 0), (1 if nx > 1 else 0)
    ly, hy = (-1 if ny > 2 else 0), (1 if ny > 1 else 0)
    lz, hz = (-1 if nz > 2 else 0), (1 if nz > 1 else 0)
    low, high = np.empty(2, np.int64), np.empty(2, np.int64)
    for p in range(len(a)):
        k = cell_of[p]
        cz = k % nz
        cy = (k // nz) % ny
        cx = k // (ny * nz)
        p0, p1, p2 = wa[p, 0], wa[p, 1], wa[p, 2]
        # Cells along z follow one another: one stretch of them, or two across the boundary.
        stretches = 1
        low[0], high[0] = cz + lz, cz + hz
        if low[0] < 0:
            stretches, low[0], high[0], low[1], high[1] = 2, nz - 1, nz - 1, 0, high[0]
        elif high[0] >= nz:
            stretches, high[0], low[1], high[1] = 2, nz - 1, 0, 0
        for ox in range(lx, hx + 1):
            x = cx + ox
            x += nx if x < 0 else (-nx if x >= nx else 0)
            for oy in range(ly, hy + 1):
                y = cy + oy
                y += ny if y < 0 else (-ny if y >= ny else 0)
                column = (x * ny + y) * nz
                for stretch in range(stretches):
                    begin, end = start[column + low[stretch]], start[column + high[stretch] + 1]
                    for slot in range(begin, end):
                        q = order[slot]
                        if same and q <= p:
                            continue
                        f2 = wb[q, 2] - p2
                        f2 -= np.rint(f2)
                        dz = f2 * c22
                        if dz > cutoff or dz < -cutoff:
                            continue
                        f1 = wb[q, 1] - p1
                        f1 -= np.rint(f1)
                        f0 = wb[q, 0] - p0
                        f0 -= np.rint(f0)
                        # The cell is lower triangular.
                        dx = f0 * c00 + f1 * c10 + f2 * c20
                        dy = f1 * c11 + f2 * c21
                        r2 = dx * dx + dy * dy + dz * dz
                        if r2 > squared:
                            continue
                        if found == len(first):
                            first = np.append(first, np.empty(found, np.int64))
                            second = np.append(second, np.empty(found, np.int64))
                            distances = np.append(distances, np.empty(found))
                            larger = np.empty((2 * found, 3))
                            larger[:found] = vectors
                            vectors = larger
                        first[found], second[found] = p, q
                        vectors[found, 0], vectors[found, 1], vectors[found, 2] = dx, dy, dz
                        distances[found] = np.sqrt(r2)
                        found += 1
    return first[:found], second[:found], vectors[:found], distances[:found]
