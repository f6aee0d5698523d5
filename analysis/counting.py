"""Histograms of one frame, compiled: a frame has few atoms, and calls into NumPy cost most."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

EDGE = 1e-5
"""In A, added before binning: round coordinates lie on edges of bins, and rounding must not
decide to which side they fall."""


@numba.njit(cache=True)
def count_rows(
    values: Array, rows: Indices, n_rows: int, width: float, bins: int, start: float, wrap: bool
) -> Array:
    """Histogram (n_rows, bins) of values by row; rows below zero are left out.

    Parameters
    ----------
    values : ndarray (n,)
    rows : ndarray (n,)
    n_rows, bins : int
    width, start : float
        Of the bins.
    wrap : bool
        Whether what falls outside belongs to the other end; it is dropped otherwise.
    """
    counts = np.zeros((n_rows, bins))
    for i in range(len(values)):
        if rows[i] < 0:
            continue
        k = int(np.floor((values[i] - start + EDGE) / width))
        if wrap:
            k %= bins
        elif k < 0 or k >= bins:
            continue
        counts[rows[i], k] += 1.0
    return counts


@numba.njit(cache=True)
def count_faces(
    above: Array, gap: float, element: Indices, n_elements: int, lower: bool, upper: bool,
    width: float, bins: int, start: float,
) -> Array:  # fmt: skip
    """Atoms by face (lower, upper), element and distance from the nearer wet face."""
    counts = np.zeros((2, n_elements, bins))
    for i in range(len(above)):
        to_upper = upper and (not lower or 2.0 * above[i] < gap)
        if not to_upper and not lower:
            continue
        distance = above[i] if to_upper else gap - above[i]
        k = int(np.floor((distance - start + EDGE) / width))
        if 0 <= k < bins:
            counts[int(to_upper), element[i], k] += 1.0
    return counts


@numba.njit(cache=True)
def count_orientations(
    bonds: Array, distance: Array, face: Indices, width: float, bins: int, cosines: int,
    ends: Array, pointing: float,
) -> tuple[Array, Array, Array, Array, Array]:  # fmt: skip
    """Sums over water molecules by face (lower, upper).

    Parameters
    ----------
    bonds : ndarray (n, 2, 3)
        From O to H, A.
    distance : ndarray (n,)
        Of the oxygen from the face, A.
    face : ndarray (n,)
        0 the lower, 1 the upper face; below zero is left out.
    width : float
        Of the bins of distance, A.
    bins, cosines : int
    ends : ndarray (n_layers,)
        Outer ends of the layers, A.
    pointing : float
        Cosine beyond which a bond points up or down.

    Returns
    -------
    count, cos : ndarray (2, bins)
    map : ndarray (2, bins, cosines)
        By the cosine between dipole and outward normal.
    bonds : ndarray (2, n_layers, cosines)
        By the cosine between O-H and outward normal.
    kinds : ndarray (2, n_layers, 4)
        Two H down, one H down, H up, flat.
    """
    layers = len(ends)
    count, cos = np.zeros((2, bins)), np.zeros((2, bins))
    maps = np.zeros((2, bins, cosines))
    angles = np.zeros((2, layers, cosines))
    kinds = np.zeros((2, layers, 4))
    for i in range(len(distance)):
        f = face[i]
        if f < 0:
            continue
        sign = 1.0 if f == 1 else -1.0
        x = bonds[i, 0, 0] + bonds[i, 1, 0]
        y = bonds[i, 0, 1] + bonds[i, 1, 1]
        z = bonds[i, 0, 2] + bonds[i, 1, 2]
        cosine = sign * z / np.sqrt(x * x + y * y + z * z)
        k = int(np.floor((distance[i] + EDGE) / width))
        if 0 <= k < bins:
            count[f, k] += 1.0
            cos[f, k] += cosine
            maps[f, k, _cosine_bin(cosine, cosines)] += 1.0
        # Nothing is nearer than zero but what has sunk between the surface's atoms.
        layer = 0
        while layer < layers and distance[i] >= ends[layer]:
            layer += 1
        if layer == layers:
            continue
        down, up = 0, 0
        for h in range(2):
            bx, by, bz = bonds[i, h, 0], bonds[i, h, 1], bonds[i, h, 2]
            along = sign * bz / np.sqrt(bx * bx + by * by + bz * bz)
            angles[f, layer, _cosine_bin(along, cosines)] += 1.0
            down += along < -pointing
            up += along > pointing
        if down > 0:
            kinds[f, layer, 2 - down] += 1.0
        else:
            kinds[f, layer, 2 if up > 0 else 3] += 1.0
    return count, cos, maps, angles, kinds


@numba.njit(cache=True)
def _cosine_bin(cosine: float, bins: int) -> int:
    k = int(np.floor((cosine + 1.0 + EDGE) * 0.5 * bins))
    return min(max(k, 0), bins - 1)
