"""B-spline spreading and gathering compiled by numba."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int32]


def spline_weights(coordinates: Array, order: int) -> tuple[Indices, Array, Array]:
    """Shares of the mesh points next to each charge.

    Parameters
    ----------
    coordinates : ndarray (n, 3)
        Of the charges, in units of the mesh spacing.
    order : int
        p; 2 or more.

    Returns
    -------
    first : ndarray of int32 (n, 3)
        Lowest mesh point of each charge along each axis; not wrapped.
    weights, slopes : ndarray (n, 3, p)
        M_p and its derivative at the points first, first + 1, ...
    """
    n = len(coordinates)
    first = np.empty((n, 3), dtype=np.int32)
    weights, slopes = np.empty((n, 3, order)), np.empty((n, 3, order))
    _spline_weights(coordinates, order, first, weights, slopes)
    return first, weights, slopes


def spread(charges: Array, first: Indices, weights: Array, shape: tuple[int, int, int]) -> Array:
    """Charges (n,) on a mesh of the given shape, in e per mesh point."""
    grid = np.zeros(shape)
    loop, _, _ = _loops(weights.shape[2])
    loop(charges, first, weights, grid, numba.get_num_threads())
    return grid


def gather(grid: Array, first: Indices, weights: Array) -> Array:
    """Values (n,) of a mesh at the charges: the transpose of `spread`."""
    out = np.empty(len(first))
    _, loop, _ = _loops(weights.shape[2])
    loop(grid, first, weights, out)
    return out


def gather_gradient(grid: Array, first: Indices, weights: Array, slopes: Array) -> Array:
    """Derivative (n, 3) of `gather` by the coordinates of each charge, per mesh spacing."""
    out = np.zeros((len(first), 3))
    _, _, loop = _loops(weights.shape[2])
    loop(grid, first, weights, slopes, out)
    return out


@numba.njit(parallel=True, cache=True)
def _spline_weights(coordinates, order, first, weights, slopes):  # type: ignore[no-untyped-def]
    for i in numba.prange(len(coordinates)):
        for d in range(3):
            below = np.floor(coordinates[i, d])
            t = coordinates[i, d] - below
            first[i, d] = int(below) - order + 1
            w = weights[i, d]
            # w[j] holds M_m(t + m - 1 - j) while m grows from 2 to p.
            w[0], w[1] = 1.0 - t, t
            for m in range(3, order):
                _raise(w, t, m)
            if order == 2:
                slopes[i, d, 0], slopes[i, d, 1] = -1.0, 1.0
                continue
            slopes[i, d, 0] = -w[0]
            for j in range(1, order - 1):
                slopes[i, d, j] = w[j - 1] - w[j]
            slopes[i, d, order - 1] = w[order - 2]
            _raise(w, t, order)


@numba.njit(cache=True)
def _raise(w, t, m):  # type: ignore[no-untyped-def]
    """From order m - 1 to m, in place: (m - 1) M_m(x) = x M_m-1(x) + (m - x) M_m-1(x - 1)."""
    scale = 1.0 / (m - 1)
    w[m - 1] = scale * t * w[m - 2]
    for j in range(m - 2, 0, -1):
        x = t + m - 1 - j
        w[j] = scale * (x * w[j - 1] + (m - x) * w[j])
    w[0] = scale * (1.0 - t) * w[0]


@cache
def _loops(order: int) -> tuple[Any, Any, Any]:
    """Spreading, gathering and its gradient with the order known to the compiler.

    The innermost loops then become a few vector instructions, three to four times as fast.
    """

    @numba.njit(parallel=True, fastmath=True, cache=True)
    def spread(charges, first, weights, grid, threads):  # type: ignore[no-untyped-def]
        nx, ny, nz = grid.shape
        # Each thread fills its own planes: no two write to the same place.
        for t in numba.prange(threads):
            low, high = t * nx // threads, (t + 1) * nx // threads
            for i in range(len(charges)):
                z = first[i, 2] % nz
                for a in range(order):
                    x = (first[i, 0] + a) % nx
                    if x < low or x >= high:
                        continue
                    for b in range(order):
                        y = (first[i, 1] + b) % ny
                        share = charges[i] * weights[i, 0, a] * weights[i, 1, b]
                        if z + order <= nz:
                            row = grid[x, y, z : z + order]
                            for c in range(order):
                                row[c] += share * weights[i, 2, c]
                        else:
                            for c in range(order):
                                grid[x, y, (z + c) % nz] += share * weights[i, 2, c]

    @numba.njit(parallel=True, fastmath=True, cache=True)
    def gather(grid, first, weights, out):  # type: ignore[no-untyped-def]
        nx, ny, nz = grid.shape
        for i in numba.prange(len(out)):
            z = first[i, 2] % nz
            column = np.zeros(order)
            for a in range(order):
                x = (first[i, 0] + a) % nx
                for b in range(order):
                    y = (first[i, 1] + b) % ny
                    share = weights[i, 0, a] * weights[i, 1, b]
                    if z + order <= nz:
                        row = grid[x, y, z : z + order]
                        for c in range(order):
                            column[c] += share * row[c]
                    else:
                        for c in range(order):
                            column[c] += share * grid[x, y, (z + c) % nz]
            total = 0.0
            for c in range(order):
                total += column[c] * weights[i, 2, c]
            out[i] = total

    @numba.njit(parallel=True, fastmath=True, cache=True)
    def gather_gradient(grid, first, weights, slopes, out):  # type: ignore[no-untyped-def]
        nx, ny, nz = grid.shape
        for i in numba.prange(len(out)):
            by_x, by_y, by_z = np.zeros(order), np.zeros(order), np.zeros(order)
            row = np.empty(order)
            for a in range(order):
                x = (first[i, 0] + a) % nx
                for b in range(order):
                    y = (first[i, 1] + b) % ny
                    for c in range(order):
                        row[c] = grid[x, y, (first[i, 2] + c) % nz]
                    share_x = slopes[i, 0, a] * weights[i, 1, b]
                    share_y = weights[i, 0, a] * slopes[i, 1, b]
                    share_z = weights[i, 0, a] * weights[i, 1, b]
                    for c in range(order):
                        by_x[c] += share_x * row[c]
                        by_y[c] += share_y * row[c]
                        by_z[c] += share_z * row[c]
            for c in range(order):
                out[i, 0] += by_x[c] * weights[i, 2, c]
                out[i, 1] += by_y[c] * weights[i, 2, c]
                out[i, 2] += by_z[c] * slopes[i, 2, c]

    return spread, gather, gather_gradient
