"""Ascent of a density from point to point, on the grid and near it.

Henkelman, Arnaldsson and Jonsson, doi:10.1016/j.commatsci.2005.04.010 (on-grid); Tang, Sanville
and Henkelman, doi:10.1088/0953-8984/21/8/084204 (near-grid, which removes the grid's bias by
carrying along what each step was off the gradient).
"""

from __future__ import annotations

import logging
import math

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
MOST_ROUNDS = 200
"""Of refinement; a boundary moves by one point or more in each."""
LONGEST_PATH = 10_000
PIECE = 256
"""Points that a thread takes at a time."""
log = logging.getLogger(__name__)


def highest_neighbours(values: Array, steps: Array, periodic: Flags) -> Indices:
    """Of each point the neighbour to which the density rises most steeply; itself for a maximum.

    Parameters
    ----------
    values : ndarray (nx, ny, nz)
    steps : ndarray (3, 3)
        From a point to the next along each axis, A.
    periodic : ndarray (3,) of bool

    Returns
    -------
    ndarray (nx * ny * nz,)
    """
    # A frame of neighbours, so that the inner loop has no cases; nothing lies beyond open ends.
    padded = np.full(np.array(values.shape) + 2, -np.inf)
    padded[1:-1, 1:-1, 1:-1] = values
    for axis in range(3):
        if periodic[axis]:
            ends = [(slice(None),) * axis + (i,) for i in (0, -2, -1, 1)]
            padded[ends[0]] = padded[ends[1]]
            padded[ends[2]] = padded[ends[3]]
    shifts = np.array([(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)
                       if (i, j, k) != (0, 0, 0)])  # fmt: skip
    closeness = 1.0 / np.linalg.norm(shifts @ steps, axis=1)
    out = np.empty(values.size, dtype=np.int64)
    _highest(out, padded, shifts, closeness, np.array(values.shape))
    return out


@numba.njit(parallel=True, cache=True)
def _highest(out: Indices, padded: Array, shifts: Indices, closeness: Array, shape: Indices
            ) -> None:  # fmt: skip
    nx, ny, nz = shape[0], shape[1], shape[2]
    for i in numba.prange(nx):
        for j in range(ny):
            for k in range(nz):
                own = padded[i + 1, j + 1, k + 1]
                here = (i * ny + j) * nz + k
                best, found = 0.0, -1
                for s in range(26):
                    rise = padded[i + 1 + shifts[s, 0], j + 1 + shifts[s, 1], k + 1 + shifts[s, 2]]
                    rise = (rise - own) * closeness[s]
                    if rise > best:
                        best, found = rise, s
                if found < 0:
                    out[here] = _level_neighbour(padded, own, i, j, k, shifts, nx, ny, nz)
                else:
                    out[here] = (
                        (i + shifts[found, 0]) % nx * ny + (j + shifts[found, 1]) % ny
                    ) * nz + (k + shifts[found, 2]) % nz


@numba.njit(cache=True)
def _level_neighbour(padded: Array, own: float, i: int, j: int, k: int, shifts: Indices, nx: int,
                     ny: int, nz: int) -> int:  # fmt: skip
    """The neighbour of the same value with the highest index, if higher than the point's own."""
    highest = (i * ny + j) * nz + k
    for s in range(26):
        if padded[i + 1 + shifts[s, 0], j + 1 + shifts[s, 1], k + 1 + shifts[s, 2]] == own:
            place = ((i + shifts[s, 0]) % nx * ny + (j + shifts[s, 1]) % ny) * nz
            highest = max(highest, place + (k + shifts[s, 2]) % nz)
    return highest


def maxima_of(pointers: Indices) -> tuple[Indices, Indices]:
    """Indices (m,) of the maxima, and for each point the number (n,) of that it leads to."""
    maxima = np.flatnonzero(pointers == np.arange(len(pointers)))
    labels = np.full(len(pointers), -1, dtype=np.int64)
    labels[maxima] = np.arange(len(maxima))
    _follow(labels, pointers)
    return maxima, labels


@numba.njit(cache=True)
def _follow(labels: Indices, pointers: Indices) -> None:
    for start in range(len(labels)):
        point = start
        while labels[point] < 0:
            point = pointers[point]
        label, point = labels[point], start
        while labels[point] < 0:
            labels[point] = label
            point = pointers[point]


def refine_edges(labels: Indices, values: Array, pointers: Indices, steps: Array, periodic: Flags
                 ) -> int:  # fmt: skip
    """Move the boundaries between basins to where near-grid paths part, in place.

    Parameters
    ----------
    labels : ndarray (nx * ny * nz,)
        Basin of each point; -1 for those that belong to none.
    values : ndarray (nx, ny, nz)
    pointers : ndarray (nx * ny * nz,)
        Of `highest_neighbours`.
    steps, periodic
        As for `highest_neighbours`.

    Returns
    -------
    int
        Number of rounds.
    """
    shape = np.array(values.shape)
    metric = np.asarray(np.linalg.inv(steps @ steps.T), dtype=np.float64)
    edge = np.zeros(labels.size, dtype=np.bool_)
    everywhere = np.arange(labels.size)
    candidates, complete = everywhere, True
    for rounds in range(1, MOST_ROUNDS + 1):
        _mark_edges(edge, candidates, labels, shape, periodic)
        points = candidates[edge[candidates]]
        found = _walk(points, labels, edge, values, pointers, metric, periodic)
        moved = points[found != labels[points]]
        labels[points] = found
        if len(moved):
            candidates, complete = _surroundings(moved, shape, periodic), False
        elif complete:
            return rounds
        else:
            # Nothing moves next to what has moved; ask all edges once more.
            candidates, complete = everywhere, True
    log.warning("boundaries between basins still move after %d rounds", MOST_ROUNDS)
    return MOST_ROUNDS


def _surroundings(points: Indices, shape: npt.NDArray[np.int64], periodic: Flags) -> Indices:
    """The points and all their neighbours, each once."""
    near = np.zeros(int(np.prod(shape)), dtype=np.bool_)
    _mark_near(near, points, shape, periodic)
    return np.flatnonzero(near)


@numba.njit(cache=True)
def _mark_near(near: Flags, points: Indices, shape: Indices, periodic: Flags) -> None:
    for point in points:
        for di in range(-1, 2):
            for dj in range(-1, 2):
                for dk in range(-1, 2):
                    other = _shifted(point, di, dj, dk, shape, periodic)
                    if other >= 0:
                        near[other] = True


@numba.njit(cache=True)
def _shifted(point: int, di: int, dj: int, dk: int, shape: Indices, periodic: Flags) -> int:
    """Index of a neighbour; -1 beyond an open end."""
    k = point % shape[2] + dk
    j = point // shape[2] % shape[1] + dj
    i = point // (shape[2] * shape[1]) + di
    if k < 0 or k >= shape[2]:
        if not periodic[2]:
            return -1
        k %= shape[2]
    if j < 0 or j >= shape[1]:
        if not periodic[1]:
            return -1
        j %= shape[1]
    if i < 0 or i >= shape[0]:
        if not periodic[0]:
            return -1
        i %= shape[0]
    return (i * shape[1] + j) * shape[2] + k


@numba.njit(parallel=True, cache=True)
def _mark_edges(edge: Flags, candidates: Indices, labels: Indices, shape: Indices, periodic: Flags
               ) -> None:  # fmt: skip
    """Whether a neighbour belongs to another basin."""
    for n in numba.prange(len(candidates)):
        edge[candidates[n]] = _is_edge(candidates[n], labels, shape, periodic)


@numba.njit(cache=True)
def _is_edge(point: int, labels: Indices, shape: Indices, periodic: Flags) -> bool:
    own = labels[point]
    if own < 0:
        return False
    ny, nz = shape[1], shape[2]
    k, j, i = point % nz, point // nz % ny, point // (nz * ny)
    inside = 0 < i < shape[0] - 1 and 0 < j < ny - 1 and 0 < k < nz - 1
    for di in range(-1, 2):
        for dj in range(-1, 2):
            for dk in range(-1, 2):
                if inside:
                    other = point + (di * ny + dj) * nz + dk
                else:
                    other = _shifted(point, di, dj, dk, shape, periodic)
                if other >= 0 and labels[other] >= 0 and labels[other] != own:
                    return True
    return False


@numba.njit(parallel=True, cache=True)
def _walk(points: Indices, labels: Indices, edge: Flags, values: Array, pointers: Indices,
          metric: Array, periodic: Flags) -> Indices:  # fmt: skip
    """Basin that the near-grid path from each point leads to."""
    found = np.empty(len(points), dtype=np.int64)
    flat = values.ravel()
    shape = np.array(values.shape)
    pieces = (len(points) + PIECE - 1) // PIECE
    for piece in numba.prange(pieces):
        path = np.empty(LONGEST_PATH, np.int64)
        rest = np.empty(3)
        for n in range(piece * PIECE, min((piece + 1) * PIECE, len(points))):
            rest[:] = 0.0
            point, length = points[n], 0
            # Beside an edge all neighbours are of the same basin, and so is where it leads.
            while pointers[point] != point and (length == 0 or edge[point]):
                if length == LONGEST_PATH:
                    break
                path[length] = point
                length += 1
                point = _near_grid_step(point, rest, path, length, flat, pointers, metric, shape,
                                        periodic)  # fmt: skip
            found[n] = labels[point] if labels[point] >= 0 else labels[points[n]]
    return found


@numba.njit(cache=True)
def _near_grid_step(point: int, rest: Array, path: Indices, length: int, flat: Array,
                    pointers: Indices, metric: Array, shape: Indices, periodic: Flags
                   ) -> int:  # fmt: skip
    g0 = _slope(point, 1, 0, 0, flat, shape, periodic)
    g1 = _slope(point, 0, 1, 0, flat, shape, periodic)
    g2 = _slope(point, 0, 0, 1, flat, shape, periodic)
    d0 = g0 * metric[0, 0] + g1 * metric[1, 0] + g2 * metric[2, 0]
    d1 = g0 * metric[0, 1] + g1 * metric[1, 1] + g2 * metric[2, 1]
    d2 = g0 * metric[0, 2] + g1 * metric[1, 2] + g2 * metric[2, 2]
    largest = max(abs(d0), abs(d1), abs(d2))
    if largest > 0.0:
        d0, d1, d2 = d0 / largest, d1 / largest, d2 / largest
        s0, s1, s2 = _nearest(d0), _nearest(d1), _nearest(d2)
        rest[0] += d0 - s0
        rest[1] += d1 - s1
        rest[2] += d2 - s2
        c0, c1, c2 = _nearest(rest[0]), _nearest(rest[1]), _nearest(rest[2])
        rest[0] -= c0
        rest[1] -= c1
        rest[2] -= c2
        after = _shifted(point, s0 + c0, s1 + c1, s2 + c2, shape, periodic)
        if after >= 0:
            known = False
            for step in range(length - 1, -1, -1):
                if path[step] == after:
                    known = True
                    break
            if not known:
                return after
    # Flat, or back on the path: a step on the grid always rises.
    rest[:] = 0.0
    return pointers[point]


@numba.njit(cache=True)
def _nearest(x: float) -> int:
    return int(math.floor(x + 0.5))


@numba.njit(cache=True)
def _slope(point: int, di: int, dj: int, dk: int, flat: Array, shape: Indices, periodic: Flags
          ) -> float:  # fmt: skip
    """Central difference along an axis; zero at a maximum along it, and at open ends."""
    above = _shifted(point, di, dj, dk, shape, periodic)
    below = _shifted(point, -di, -dj, -dk, shape, periodic)
    if above < 0 or below < 0:
        return 0.0
    if flat[above] < flat[point] and flat[below] < flat[point]:
        return 0.0
    return 0.5 * (flat[above] - flat[below])
