"""Shares of each point in the basins, by the flow of probability to higher neighbours.

Yu and Trinkle, doi:10.1063/1.3553716.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from voltase.aseplugin.kernels.bader.ascent import within

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def shares(values: Array, labels: Indices, n_basins: int, integrand: Array, shifts: Indices,
           flow: Array, periodic: Flags) -> tuple[Array, Array, Indices]:  # fmt: skip
    """Sums of an integrand over the basins, in which boundary points have shares.

    Parameters
    ----------
    values : ndarray (nx, ny, nz)
        Density that makes the basins.
    labels : ndarray (nx * ny * nz,)
        Basins of the maxima (of any point that has no higher neighbour); -1 for points that
        belong to none, which take no part.
    n_basins : int
    integrand : ndarray (nx, ny, nz)
    shifts, flow
        Of `voronoi_facets`.
    periodic : ndarray (3,) of bool

    Returns
    -------
    sums, volumes : ndarray (n_basins,)
        Of the integrand, and in points.
    largest : ndarray (nx * ny * nz,)
        Basin with the largest share of each point, -1 for none.
    """
    order = np.argsort(values.ravel(), kind="stable")[::-1]
    return _shares(values.ravel(), labels, order, n_basins, integrand.ravel(), shifts, flow,
                   np.array(values.shape), periodic)  # fmt: skip


@numba.njit(cache=True, error_model="numpy")
def _shares(values: Array, labels: Indices, order: Indices, n_basins: int, integrand: Array,
            shifts: Indices, flow: Array, shape: Indices, periodic: Flags
           ) -> tuple[Array, Array, Indices]:  # fmt: skip
    n = len(values)
    sums, volumes = np.zeros(n_basins), np.zeros(n_basins)
    largest = np.full(n, -1)
    # A point of one basin has it in `largest` alone; others own a stretch of the two lists.
    start, count = np.zeros(n, np.int64), np.zeros(n, np.int64)
    basins, parts = np.empty(n // 4 + 64, np.int64), np.empty(n // 4 + 64)
    used = 0
    mixed = np.zeros(n_basins)
    touched = np.empty(n_basins, np.int64)
    for point in order:
        if labels[point] < 0:
            continue
        k, j = point % shape[2], point // shape[2] % shape[1]
        i = point // (shape[2] * shape[1])
        own = values[point]
        total, n_touched = 0.0, 0
        for s in range(len(flow)):
            a = within(i + shifts[s, 0], shape[0], periodic[0])
            b = within(j + shifts[s, 1], shape[1], periodic[1])
            c = within(k + shifts[s, 2], shape[2], periodic[2])
            if a < 0 or b < 0 or c < 0:
                continue
            other = (a * shape[1] + b) * shape[2] + c
            rise = values[other] - own
            # Level neighbours that come first count as higher by a trifle.
            if rise < 0.0 or (rise == 0.0 and other <= point) or largest[other] < 0:
                continue
            rate = flow[s] * max(rise, 1e-30)
            total += rate
            pieces = max(count[other], 1)
            for q in range(pieces):
                basin = basins[start[other] + q] if count[other] else largest[other]
                part = parts[start[other] + q] if count[other] else 1.0
                if mixed[basin] == 0.0:
                    touched[n_touched] = basin
                    n_touched += 1
                mixed[basin] += rate * part
        if n_touched == 0:
            largest[point] = labels[point]
            sums[labels[point]] += integrand[point]
            volumes[labels[point]] += 1.0
            continue
        if n_touched > 1:
            if used + n_touched > len(basins):
                basins = np.concatenate((basins, np.empty(len(basins) + n_touched, np.int64)))
                parts = np.concatenate((parts, np.empty(len(parts) + n_touched)))
            start[point], count[point] = used, n_touched
        best = 0.0
        for q in range(n_touched):
            basin = touched[q]
            part = mixed[basin] / total
            mixed[basin] = 0.0
            sums[basin] += part * integrand[point]
            volumes[basin] += part
            if part > best:
                best, largest[point] = part, basin
            if n_touched > 1:
                basins[used], parts[used] = basin, part
                used += 1
    return sums, volumes, largest
