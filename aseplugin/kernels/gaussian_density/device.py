"""What the kernels of a GPU are given: images, tiles of the grid and planes, as arrays."""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.kernels.gaussian_density.plan import (
    Array,
    Indices,
    Level,
    reciprocal_heights,
)

TILE, STRETCH = 8, 16
"""Columns of a tile along each axis and points of a column, as in the source."""
Integers = npt.NDArray[np.int32]


class Images(NamedTuple):
    """Gaussians moved by lattice vectors, those that reach the grid.

    Attributes
    ----------
    centres : ndarray (n, 3)
        In grid points.
    owners : ndarray (n,)
        Gaussian of each, ascending.
    first : ndarray (n,)
        Point along a column at which its table begins.
    low, high : ndarray (n, 3)
        Grid points that it may reach along each axis.
    """

    centres: Array
    owners: Integers
    first: Integers
    low: Indices
    high: Indices


def source() -> str:
    """CUDA source of the kernels."""
    return resources.files(__package__).joinpath("gaussian_density.cuh").read_text()


def images_of(level: Level) -> Images:
    """Images of the Gaussians of a level."""
    shape = np.array(level.shape)
    reach = level.radii[:, None] * reciprocal_heights(level.steps)
    lowest = np.ceil((-reach - level.centres) / shape).astype(np.int64)
    highest = np.floor((shape - 1 + reach - level.centres) / shape).astype(np.int64)
    inside = (lowest <= 0) & (highest >= 0)
    lowest = np.where(level.periodic, lowest, 0)
    highest = np.where(level.periodic, highest, np.where(inside, 0, -1))
    owners, shifts = _expand(lowest, highest)
    centres = level.centres[owners] + shifts * shape
    away = reach[owners]
    low = np.maximum(np.ceil(centres - away), 0).astype(np.int64)
    high = np.minimum(np.floor(centres + away), shape - 1).astype(np.int64)
    first = _first(level)[owners] + shifts[:, 2] * shape[2]
    return Images(centres, owners.astype(np.int32), first.astype(np.int32), low, high)


def tiles_of(level: Level, images: Images) -> tuple[Indices, Integers]:
    """First entry (n_tiles + 1,) of each tile, and the images that reach it, ascending."""
    size = np.array([TILE, TILE, STRETCH])
    counts = -(-np.array(level.shape) // size)
    image, tile = _expand(images.low // size, images.high // size)
    number = (tile[:, 0] * counts[1] + tile[:, 1]) * counts[2] + tile[:, 2]
    order = np.argsort(number, kind="stable")
    start = np.searchsorted(number[order], np.arange(int(counts.prod()) + 1))
    return start.astype(np.int64), image[order].astype(np.int32)


def planes_of(level: Level, images: Images) -> tuple[Indices, Integers, Integers]:
    """First plane (n_gaussians + 1,) of each Gaussian, and the image and place of each plane."""
    image, plane = _expand(images.low[:, :1], images.high[:, :1])
    start = np.searchsorted(images.owners[image], np.arange(len(level.radii) + 1))
    return start.astype(np.int64), image.astype(np.int32), plane[:, 0].astype(np.int32)


def table_of(level: Level) -> Array:
    """exp(-alpha w^2) (n_gaussians, width) where columns share their w; else empty."""
    if level.steps[0, 2] != 0.0 or level.steps[1, 2] != 0.0:
        return np.empty((0, 0))
    height = level.steps[2, 2]
    width = int(2.0 * level.radii.max(initial=0.0) / height) + 4
    w = (_first(level)[:, None] + np.arange(width) - level.centres[:, 2:]) * height
    return np.exp(-level.exponents[:, None] * w**2)


def _first(level: Level) -> Indices:
    # A point more than the radius has, for rounding.
    reach = level.radii / level.steps[2, 2]
    return np.ceil(level.centres[:, 2] - reach).astype(np.int64) - 1


def _expand(low: Indices, high: Indices) -> tuple[Indices, Indices]:
    """All whole numbers between two corners (n, d): the row of each, and the numbers (m, d)."""
    extent = np.maximum(high - low + 1, 0)
    count = extent.prod(axis=1)
    rows = np.repeat(np.arange(len(low)), count)
    rest = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    numbers = np.empty((len(rows), low.shape[1]), dtype=np.int64)
    for axis in range(low.shape[1] - 1, -1, -1):
        rest, numbers[:, axis] = np.divmod(rest, extent[rows, axis])
    return rows, numbers + low[rows]
