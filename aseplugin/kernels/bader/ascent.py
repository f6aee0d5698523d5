"""Ascent of a density from point to point, on the grid and near it.

Henkelman, Arnaldsson and Jonsson, doi:10.1016/j.commatsci.2005.04.010 (on-grid); Tang, Sanville
and Henkelman, doi:10.1088/0953-8984/21/8/084204 (near-grid, which removes the grid's bias by
carrying along what each step was off the gradient).
"""

from __future__ import annotations

import logging
import math
from typing import Any

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
SHIFTS = np.array([(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)
                   if (i, j, k) != (0, 0, 0)])  # fmt: skip
"""To the neighbours of a point (26, 3)."""
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
    closeness = 1.0 / np.linalg.norm(SHIFTS @ steps, axis=1)
    out = np.empty(values.size, dtype=np.int64)
    _highest(out, _framed(values, periodic, -np.inf), SHIFTS, closeness, np.array(values.shape))
    return out


def _framed(values: npt.NDArray[Any], periodic: Flags, beyond: float) -> npt.NDArray[Any]:
    """The array with a frame of neighbours, so that inner loops have no cases."""
    framed = np.full(np.array(values.shape) + 2, beyond, dtype=values.dtype)
    framed[1:-1, 1:-1, 1:-1] = values
    for axis in range(3):
        if periodic[axis]:
            ends = [(slice(None),) * axis + (i,) for i in (0, -2, -1, 1)]
            framed[ends[0]] = framed[ends[1]]
            framed[ends[2]] = framed[ends[3]]
    return framed


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _highest(out: Indices, framed: Array, shifts: Indices, closeness: Array, shape: Indices
            ) -> None:  # fmt: skip
    nx, ny, nz = shape[0], shape[1], shape[2]
    for i in numba.prange(nx):
        steepest, found = np.empty(nz), np.empty(nz, np.int64)
        for j in range(ny):
            own = framed[i + 1, j + 1, 1 : nz + 1]
            steepest[:] = 0.0
            found[:] = -1
            for s in range(26):
                di, dj, dk = shifts[s, 0], shifts[s, 1], shifts[s, 2]
                row = framed[i + 1 + di, j + 1 + dj, 1 + dk : nz + 1 + dk]
                # Without branches, so that several points are compared at once.
                for k in range(nz):
                    rise = (row[k] - own[k]) * closeness[s]
                    better = rise > steepest[k]
                    steepest[k] = rise if better else steepest[k]
                    found[k] = s if better else found[k]
            for k in range(nz):
                s = found[k]
                if s < 0:
                    to = _level_neighbour(framed, own[k], i, j, k, shifts, nx, ny, nz)
                else:
                    a, b = (i + shifts[s, 0]) % nx, (j + shifts[s, 1]) % ny
                    to = (a * ny + b) * nz + (k + shifts[s, 2]) % nz
                out[(i * ny + j) * nz + k] = to


@numba.njit(cache=True, error_model="numpy")
def _level_neighbour(framed: Array, own: float, i: int, j: int, k: int, shifts: Indices, nx: int,
                     ny: int, nz: int) -> int:  # fmt: skip
    """The neighbour of the same value with the highest index, if higher than the point's own."""
    highest = (i * ny + j) * nz + k
    for s in range(26):
        if framed[i + 1 + shifts[s, 0], j + 1 + shifts[s, 1], k + 1 + shifts[s, 2]] == own:
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


@numba.njit(cache=True, error_model="numpy")
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
    framed = _framed(values, periodic, -np.inf)
    candidates, complete, settled = None, True, np.empty(0, dtype=np.int64)
    for rounds in range(1, MOST_ROUNDS + 1):
        if candidates is None:
            _mark_all_edges(edge, _framed(labels.reshape(values.shape), periodic, -1), SHIFTS)
            asked = edge.copy()
            asked[settled] = False
            points = np.flatnonzero(asked)
        else:
            _mark_edges(edge, candidates, labels, shape, periodic)
            points = candidates[edge[candidates]]
        found = _walk(points, labels, edge, framed, pointers, metric, periodic)
        moved = points[found != labels[points]]
        labels[points] = found
        if len(moved):
            candidates, complete = _surroundings(moved, shape, periodic), False
        elif complete:
            return rounds
        else:
            # Nothing moves next to what has moved; ask all other edges once more.
            candidates, complete, settled = None, True, points
    log.warning("boundaries between basins still move after %d rounds", MOST_ROUNDS)
    return MOST_ROUNDS


def _surroundings(points: Indices, shape: npt.NDArray[np.int64], periodic: Flags) -> Indices:
    """The points and all their neighbours, each once."""
    near = np.zeros(int(np.prod(shape)), dtype=np.bool_)
    _mark_near(near, points, shape, periodic)
    return np.flatnonzero(near)


@numba.njit(cache=True, error_model="numpy")
def _mark_near(near: Flags, points: Indices, shape: Indices, periodic: Flags) -> None:
    for point in points:
        for di in range(-1, 2):
            for dj in range(-1, 2):
                for dk in range(-1, 2):
                    other = _shifted(point, di, dj, dk, shape, periodic)
                    if other >= 0:
                        near[other] = True


@numba.njit(cache=True, error_model="numpy")
def _shifted(point: int, di: int, dj: int, dk: int, shape: Indices, periodic: Flags) -> int:
    """Index of a neighbour; -1 beyond an open end."""
    k = within(point % shape[2] + dk, shape[2], periodic[2])
    j = within(point // shape[2] % shape[1] + dj, shape[1], periodic[1])
    i = within(point // (shape[2] * shape[1]) + di, shape[0], periodic[0])
    if i < 0 or j < 0 or k < 0:
        return -1
    return (i * shape[1] + j) * shape[2] + k


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _mark_all_edges(edge: Flags, framed: Indices, shifts: Indices) -> None:
    """Whether a neighbour belongs to another basin, for all points."""
    nx, ny, nz = framed.shape[0] - 2, framed.shape[1] - 2, framed.shape[2] - 2
    for i in numba.prange(nx):
        for j in range(ny):
            own = framed[i + 1, j + 1, 1 : nz + 1]
            marks = edge[(i * ny + j) * nz : (i * ny + j + 1) * nz]
            marks[:] = False
            for s in range(26):
                dk = shifts[s, 2]
                row = framed[i + 1 + shifts[s, 0], j + 1 + shifts[s, 1], 1 + dk : nz + 1 + dk]
                for k in range(nz):
                    marks[k] |= (row[k] != own[k]) & (row[k] >= 0) & (own[k] >= 0)


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _mark_edges(edge: Flags, candidates: Indices, labels: Indices, shape: Indices, periodic: Flags
               ) -> None:  # fmt: skip
    """Whether a neighbour belongs to another basin."""
    for n in numba.prange(len(candidates)):
        edge[candidates[n]] = _is_edge(candidates[n], labels, shape, periodic)


@numba.njit(cache=True, error_model="numpy")
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


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _walk(points: Indices, labels: Indices, edge: Flags, framed: Array, pointers: Indices,
          metric: Array, periodic: Flags) -> Indices:  # fmt: skip
    """Basin that the near-grid path from each point leads to."""
    found = np.empty(len(points), dtype=np.int64)
    shape = (framed.shape[0] - 2, framed.shape[1] - 2, framed.shape[2] - 2)
    flat = framed.ravel()
    pieces = (len(points) + PIECE - 1) // PIECE
    for piece in numba.prange(pieces):
        path = np.empty(LONGEST_PATH, np.int64)
        rest = np.empty(3)
        for n in range(piece * PIECE, min((piece + 1) * PIECE, len(points))):
            rest[:] = 0.0
            point, length = points[n], 0
            place = _place(point, shape)
            # Beside an edge all neighbours are of the same basin, and so is where it leads.
            while pointers[point] != point and (length == 0 or edge[point]):
                if length == LONGEST_PATH:
                    break
                path[length] = point
                length += 1
                point, place = _near_grid_step(point, place, rest, path, length, flat, shape,
                                               pointers, metric, periodic)  # fmt: skip
            found[n] = labels[point] if labels[point] >= 0 else labels[points[n]]
    return found


@numba.njit(cache=True, error_model="numpy")
def _place(point: int, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Indices of a point along the axes."""
    return point // (shape[2] * shape[1]), point // shape[2] % shape[1], point % shape[2]


@numba.njit(cache=True, error_model="numpy")
def _near_grid_step(point: int, place: tuple[int, int, int], rest: Array, path: Indices,
                    length: int, flat: Array, shape: tuple[int, int, int], pointers: Indices,
                    metric: Array, periodic: Flags
                   ) -> tuple[int, tuple[int, int, int]]:  # fmt: skip
    i, j, k = place
    nx, ny, nz = shape
    row, layer = nz + 2, (ny + 2) * (nz + 2)
    here = (i + 1) * layer + (j + 1) * row + k + 1
    own = flat[here]
    g0 = _slope(flat[here - layer], own, flat[here + layer])
    g1 = _slope(flat[here - row], own, flat[here + row])
    g2 = _slope(flat[here - 1], own, flat[here + 1])
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
        i = within(i + s0 + c0, nx, periodic[0])
        j = within(j + s1 + c1, ny, periodic[1])
        k = within(k + s2 + c2, nz, periodic[2])
        if i >= 0 and j >= 0 and k >= 0:
            after = (i * ny + j) * nz + k
            known = False
            for step in range(length - 1, -1, -1):
                if path[step] == after:
                    known = True
                    break
            if not known:
                return after, (i, j, k)
    # Flat, or back on the path: a step on the grid always rises.
    rest[:] = 0.0
    after = pointers[point]
    return after, _place(after, shape)


@numba.njit(cache=True, error_model="numpy")
def within(index: int, n: int, periodic: bool) -> int:
    """From 0 to n - 1; -1 beyond an open end."""
    if 0 <= index < n:
        return index
    return index % n if periodic else -1


@numba.njit(cache=True, error_model="numpy")
def _nearest(x: float) -> int:
    return int(math.floor(x + 0.5))


@numba.njit(cache=True, error_model="numpy")
def _slope(below: float, own: float, above: float) -> float:
    """Central difference along an axis; zero at a maximum along it, and at open ends."""
    if above == -np.inf or below == -np.inf or (above < own and below < own):
        return 0.0
    return 0.5 * (above - below)
