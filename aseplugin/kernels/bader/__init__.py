"""Basins of a density on a grid: on-grid and near-grid ascent, and Yu and Trinkle's weights.

Points are flat indices of an array (nx, ny, nz) in C order. Of equal values the one with the
higher index counts as higher, so that a plateau has one maximum and paths always end.
"""

from voltase.aseplugin.kernels.bader.ascent import highest_neighbours, maxima_of, refine_edges
from voltase.aseplugin.kernels.bader.voronoi import voronoi_facets
from voltase.aseplugin.kernels.bader.weights import shares

__all__ = ["highest_neighbours", "maxima_of", "refine_edges", "shares", "voronoi_facets"]
