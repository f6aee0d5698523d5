"""Facets of the Voronoi cell of a lattice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull, Voronoi

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
SMALLEST_FACET = 1e-6
"""Of the largest, below which a facet is an edge or a corner that rounding has opened."""


def voronoi_facets(steps: Array) -> tuple[Indices, Array]:
    """Neighbours of a grid point across the facets of its Voronoi cell.

    Parameters
    ----------
    steps : ndarray (3, 3)
        From a point to the next along each axis, A.

    Returns
    -------
    shifts : ndarray (n, 3)
        To the neighbours, in points.
    flow : ndarray (n,)
        Area of each facet over the distance of the neighbour, A.
    """
    reach = np.arange(-3, 4)
    shifts = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), -1).reshape(-1, 3)
    centre = int(np.flatnonzero((shifts == 0).all(axis=1))[0])
    cells = Voronoi(shifts @ steps)
    found, flow = [], []
    for (first, second), corners in zip(cells.ridge_points, cells.ridge_vertices, strict=True):
        if centre not in (first, second):
            continue
        shift = shifts[second] - shifts[first]
        found.append(shift if first == centre else -shift)
        vector = shift @ steps
        flow.append(_area(cells.vertices[corners], vector) / np.linalg.norm(vector))
    wide = np.array(flow) > SMALLEST_FACET * max(flow)
    return np.array(found)[wide], np.array(flow)[wide]


def _area(corners: Array, normal: Array) -> float:
    """Of a flat convex polygon."""
    plane = np.linalg.svd(normal[None])[2][1:]
    flat = (corners - corners[0]) @ plane.T
    if np.linalg.matrix_rank(flat, tol=1e-9 * float(abs(flat).max() + 1e-30)) < 2:
        return 0.0
    return float(ConvexHull(flat, qhull_options="QJ").volume)
