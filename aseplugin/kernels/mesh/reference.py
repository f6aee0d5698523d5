"""The maps of this folder in plain NumPy: what the compiled loops are tested against."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int32]


def spline_weights(coordinates: Array, order: int) -> tuple[Indices, Array, Array]:
    """See `cpu.spline_weights`."""
    spline = BSpline.basis_element(np.arange(order + 1), extrapolate=False)
    below = np.floor(coordinates)
    first = below.astype(np.int32) - order + 1
    x = (coordinates - below)[..., None] + np.arange(order - 1, -1, -1)
    return first, np.nan_to_num(spline(x)), np.nan_to_num(spline.derivative()(x))


def spread(charges: Array, first: Indices, weights: Array, shape: tuple[int, int, int]) -> Array:
    """See `cpu.spread`."""
    grid = np.zeros(shape)
    order = weights.shape[2]
    for a, b, c in itertools.product(range(order), repeat=3):
        share = weights[:, 0, a] * weights[:, 1, b] * weights[:, 2, c]
        place = (first + [a, b, c]) % shape
        np.add.at(grid, tuple(place.T), charges * share)
    return grid


def gather(grid: Array, first: Indices, weights: Array) -> Array:
    """See `cpu.gather`."""
    out = np.zeros(len(first))
    order = weights.shape[2]
    for a, b, c in itertools.product(range(order), repeat=3):
        share = weights[:, 0, a] * weights[:, 1, b] * weights[:, 2, c]
        out += share * grid[tuple(((first + [a, b, c]) % grid.shape).T)]
    return out


def gather_gradient(grid: Array, first: Indices, weights: Array, slopes: Array) -> Array:
    """See `cpu.gather_gradient`."""
    out = np.zeros((len(first), 3))
    for axis in range(3):
        mixed = weights.copy()
        mixed[:, axis] = slopes[:, axis]
        out[:, axis] = gather(grid, first, mixed)
    return out
