"""Sums of Gaussians on a grid and their moments, compiled by numba.

A column of the grid runs along the last lattice vector. In the frame (u, v, w) of `plan.frame_of`
its u and v are fixed, so a Gaussian times a polynomial is, on a column, a polynomial in w times
exp(-alpha w^2): Horner's rule and a table of exponentials. Where columns are perpendicular to the
planes, which slabs and orthogonal cells are, the table serves all columns of a Gaussian.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import scipy.fft

from voltase.aseplugin.kernels.gaussian_density.plan import Array, Indices, Level

Flags = npt.NDArray[np.bool_]
fft: Any = scipy.fft
xp: Any = np

BLOCK = 8
"""Columns are worked on in pieces of as many points, which fill a vector register."""


def spread(out: Array, level: Level, cartesian: Array) -> None:
    """Add Gaussians times polynomials to a grid.

    Parameters
    ----------
    out : ndarray (nx, ny, nz)
    level : Level
        Whose Gaussians they are.
    cartesian : ndarray (n_cartesian,)
        Coefficients of the monomials u^a v^b w^c of each Gaussian, in the order of `monomials`.
    """
    if not len(level.radii):
        return
    tables, first = _tables(level)
    _spread(out, cartesian, level.offsets(), level.degrees, level.exponents, level.radii,
            _wrapped(level), level.steps, level.periodic, tables, first,
            _margin(level))  # fmt: skip


def moments(grid: Array, level: Level, extra: int) -> Array:
    """Sums over a grid times each monomial times its Gaussian: the transpose of `spread`.

    Parameters
    ----------
    grid : ndarray (nx, ny, nz)
    level : Level
    extra : int
        Degrees more than those of the Gaussians.

    Returns
    -------
    ndarray (n_cartesian,)
    """
    offsets = level.offsets(extra)
    out = np.zeros(int(offsets[-1]))
    if len(level.radii):
        tables, first = _tables(level)
        _moments(out, _widened(grid, level), offsets, level.degrees + extra, level.exponents,
                 level.radii, _wrapped(level), level.steps, level.periodic, tables, first,
                 _margin(level), grid.shape[2])  # fmt: skip
    return out


def _wrapped(level: Level) -> Array:
    """Centres, with those along the columns in the first period."""
    centres = level.centres.copy()
    if level.periodic[2]:
        centres[:, 2] %= level.shape[2]
    return centres


def _margin(level: Level) -> int:
    """Points on either side of a column that a Gaussian centred in it, or just outside, reaches."""
    reach = 1.0 if level.periodic[2] else 2.0
    return int(reach * level.radii.max() / level.steps[2, 2]) + BLOCK + 2


def _widened(grid: Array, level: Level) -> Array:
    """The columns continued by a margin on either side, as (nx, ny * wide)."""
    margin = _margin(level)
    mode: Any = "wrap" if level.periodic[2] else "constant"
    wide = np.pad(grid, ((0, 0), (0, 0), (margin, margin)), mode=mode)
    return wide.reshape(len(grid), -1)


def _tables(level: Level) -> tuple[Array, Indices]:
    """exp(-alpha w^2) of each Gaussian on its points along w, and the first of these.

    Only where columns are perpendicular to the planes, so that all share the same w; else empty.
    """
    height, centres = level.steps[2, 2], _wrapped(level)[:, 2]
    # A point more on either side than the radius has, for rounding.
    first = np.ceil(centres - level.radii / height).astype(np.int64) - 1
    if level.steps[0, 2] != 0.0 or level.steps[1, 2] != 0.0:
        return np.empty((0, 0)), first
    most = int(2.0 * level.radii.max() / height) + 4 + BLOCK
    w = (first[:, None] + np.arange(most) - centres[:, None]) * height
    return np.exp(-level.exponents[:, None] * w**2), first


@numba.njit(parallel=True, fastmath=True, cache=True)
def _spread(out: Array, cartesian: Array, offsets: Indices, degrees: Indices, exponents: Array,
            radii: Array, centres: Array, steps: Array, periodic: Flags, tables: Array,
            first: Indices, margin: int) -> None:  # fmt: skip
    nx, ny, nz = out.shape
    wide, h = nz + 2 * margin, steps[2, 2]
    size, most, length = _sizes(degrees, radii, steps)
    # A thread owns a plane, so that sums do not depend on the number of threads.
    for i in numba.prange(nx):
        plane, lines = np.zeros(ny * wide), np.empty((size, size))
        places, values = np.empty((3, most), np.int64), np.empty((3, most))
        p, work = np.empty((max(size, 5), most)), np.empty(most * length)
        for g in range(len(radii)):
            low = math.ceil(centres[g, 0] - radii[g] / steps[0, 0])
            high = math.floor(centres[g, 0] + radii[g] / steps[0, 0])
            image = low + (i - low) % nx if periodic[0] else i
            while low <= image <= high:
                away = image - centres[g, 0]
                n = _columns(places, values, ny, nz, margin, radii[g], away, centres[g, 1],
                             centres[g, 2], steps, periodic)  # fmt: skip
                _contract_u(cartesian, offsets[g], degrees[g], away * steps[0, 0], lines)
                _polynomials(p, n, lines, values, degrees[g], exponents[g])
                if len(tables):
                    _point_to(places, n, g * tables.shape[1] - first[g])
                    _add(plane, tables.ravel(), n, places, values, h, p, degrees[g])
                else:
                    _exponentials(work, n, length, places, values, exponents[g], h)
                    _add(plane, work, n, places, values, h, p, degrees[g])
                image += nx if periodic[0] else high + 1
        _fold(out[i], plane, wide, margin, periodic[2])


@numba.njit(cache=True)
def _sizes(degrees: Indices, radii: Array, steps: Array) -> tuple[int, int, int]:
    """Powers, columns of a plane and points of a column that a Gaussian has at most."""
    across = int(2.0 * radii.max() / steps[1, 1]) + 2
    along = int(2.0 * radii.max() / steps[2, 2]) + 2 + BLOCK
    return degrees.max() + 1, across, along


@numba.njit(fastmath=True, cache=True)
def _columns(places: Indices, values: Array, ny: int, nz: int, margin: int, radius: float,
             away: float, centre_j: float, centre_k: float, steps: Array, periodic: Flags
            ) -> int:  # fmt: skip
    """Columns of a plane in reach of a centre, and how many there are.

    places : first point in the plane with margins; first point on the column; number of points.
    values : v, u^2 + v^2 and w of the first point.
    """
    u = away * steps[0, 0]
    chord = math.sqrt(max(radius**2 - u**2, 0.0)) / steps[1, 1]
    middle = centre_j - away * steps[0, 1] / steps[1, 1]
    low, high = math.ceil(middle - chord), math.floor(middle + chord)
    if not periodic[1]:
        low, high = max(low, 0), min(high, ny - 1)
    n, j = 0, low % ny
    for image in range(low, high + 1):
        v = (image - middle) * steps[1, 1]
        square = u**2 + v**2
        lean = away * steps[0, 2] + (image - centre_j) * steps[1, 2]
        foot = centre_k - lean / steps[2, 2]
        if periodic[2] and lean != 0.0:
            foot -= math.floor(foot / nz) * nz
        reach = math.sqrt(max(radius**2 - square, 0.0)) / steps[2, 2]
        bottom, top = math.ceil(foot - reach), math.floor(foot + reach)
        if not periodic[2]:
            bottom, top = max(bottom, 0), min(top, nz - 1)
        if square <= radius**2 and top >= bottom:
            places[0, n] = j * (nz + 2 * margin) + bottom + margin
            places[1, n] = bottom
            places[2, n] = (top - bottom + BLOCK) // BLOCK * BLOCK
            values[0, n], values[1, n] = v, square
            values[2, n] = (bottom - foot) * steps[2, 2]
            n += 1
        j = j + 1 if j + 1 < ny else 0
    return n


@numba.njit(cache=True)
def _point_to(places: Indices, n: int, shift: int) -> None:
    """Places on columns to places in the tables."""
    for q in range(n):
        places[1, q] += shift


@numba.njit(fastmath=True, cache=True)
def _exponentials(table: Array, n: int, length: int, places: Indices, values: Array,
                  exponent: float, h: float) -> None:  # fmt: skip
    """Tables of the columns, one after another."""
    for q in range(n):
        places[1, q] = q * length
        for k in range(places[2, q]):
            x = values[2, q] + k * h
            table[q * length + k] = math.exp(-exponent * x * x)


@numba.njit(fastmath=True, cache=True)
def _contract_u(cartesian: Array, offset: int, degree: int, u: float, lines: Array) -> None:
    """Sum over the powers of u: lines[c, b] of v^b w^c."""
    for c in range(degree + 1):
        for b in range(degree + 1 - c):
            lines[c, b] = 0.0
    power, index = 1.0, offset
    for a in range(degree + 1):
        for b in range(degree + 1 - a):
            for c in range(degree + 1 - a - b):
                lines[c, b] += power * cartesian[index]
                index += 1
        power *= u


@numba.njit(fastmath=True, cache=True)
def _polynomials(p: Array, n: int, lines: Array, values: Array, degree: int, exponent: float
                ) -> None:  # fmt: skip
    """Coefficients p[c] of w^c on each column."""
    for q in range(n):
        values[1, q] = math.exp(-exponent * values[1, q])
    for c in range(degree + 1):
        highest = lines[c, degree - c]
        for q in range(n):
            p[c, q] = highest
        for b in range(degree - c - 1, -1, -1):
            line = lines[c, b]
            for q in range(n):
                p[c, q] = p[c, q] * values[0, q] + line
        for q in range(n):
            p[c, q] *= values[1, q]
    for c in range(degree + 1, 5):
        p[c, :n] = 0.0


@numba.njit(fastmath=True, cache=True)
def _add(out: Array, table: Array, n: int, places: Indices, values: Array, h: float, p: Array,
         degree: int) -> None:  # fmt: skip
    """Add table times the polynomial p of w to each column; unrolled so that it vectorises."""
    for q in range(n):
        base, skip, w = places[0, q], places[1, q], values[2, q]
        # Never true, but tells the compiler that no index is negative.
        if base < 0 or skip < 0:
            continue
        if degree == 0:
            p0 = p[0, q]
            for k in range(places[2, q]):
                out[base + k] += p0 * table[skip + k]
        elif degree <= 2:
            p0, p1, p2 = p[0, q], p[1, q], p[2, q]
            for k in range(places[2, q]):
                x = w + k * h
                out[base + k] += (p0 + x * (p1 + x * p2)) * table[skip + k]
        elif degree <= 4:
            p0, p1, p2, p3, p4 = p[0, q], p[1, q], p[2, q], p[3, q], p[4, q]
            for k in range(places[2, q]):
                x = w + k * h
                value = p0 + x * (p1 + x * (p2 + x * (p3 + x * p4)))
                out[base + k] += value * table[skip + k]
        else:
            for k in range(places[2, q]):
                x = w + k * h
                value = p[degree, q]
                for c in range(degree - 1, -1, -1):
                    value = value * x + p[c, q]
                out[base + k] += value * table[skip + k]


@numba.njit(cache=True)
def _fold(out: Array, plane: Array, wide: int, margin: int, periodic: bool) -> None:
    """Add columns with margins to those of the grid."""
    ny, nz = out.shape
    for j in range(ny):
        start = j * wide + margin
        for k in range(nz):
            out[j, k] += plane[start + k]
        if periodic:
            for k in range(margin):
                out[j, (k - margin) % nz] += plane[start - margin + k]
                out[j, k % nz] += plane[start + nz + k]


@numba.njit(parallel=True, fastmath=True, cache=True)
def _moments(out: Array, grid: Array, offsets: Indices, degrees: Indices, exponents: Array,
             radii: Array, centres: Array, steps: Array, periodic: Flags, tables: Array,
             first: Indices, margin: int, nz: int) -> None:  # fmt: skip
    nx, ny, h = len(grid), grid.shape[1] // (nz + 2 * margin), steps[2, 2]
    size, most, length = _sizes(degrees, radii, steps)
    for g in numba.prange(len(radii)):
        places, values = np.empty((3, most), np.int64), np.empty((3, most))
        p, work = np.empty((max(size, 6), most)), np.empty(most * length)
        lines = np.empty((size, size))
        low = math.ceil(centres[g, 0] - radii[g] / steps[0, 0])
        high = math.floor(centres[g, 0] + radii[g] / steps[0, 0])
        if not periodic[0]:
            low, high = max(low, 0), min(high, nx - 1)
        for image in range(low, high + 1):
            away = image - centres[g, 0]
            n = _columns(places, values, ny, nz, margin, radii[g], away, centres[g, 1],
                         centres[g, 2], steps, periodic)  # fmt: skip
            if len(tables):
                _point_to(places, n, g * tables.shape[1] - first[g])
                _collect(grid[image % nx], tables.ravel(), n, places, values, h, p, degrees[g])
            else:
                _exponentials(work, n, length, places, values, exponents[g], h)
                _collect(grid[image % nx], work, n, places, values, h, p, degrees[g])
            _contract_v(p, n, lines, values, degrees[g], exponents[g])
            _expand_u(out, offsets[g], degrees[g], away * steps[0, 0], lines)


@numba.njit(fastmath=True, cache=True)
def _contract_v(p: Array, n: int, lines: Array, values: Array, degree: int, exponent: float
               ) -> None:  # fmt: skip
    """Sums over the columns times v^b, to lines[c, b]."""
    for q in range(n):
        values[1, q] = math.exp(-exponent * values[1, q])
    for c in range(degree + 1):
        for q in range(n):
            p[c, q] *= values[1, q]
        for b in range(degree + 1 - c):
            total = 0.0
            for q in range(n):
                total += p[c, q]
                p[c, q] *= values[0, q]
            lines[c, b] = total


@numba.njit(fastmath=True, cache=True)
def _expand_u(out: Array, offset: int, degree: int, u: float, lines: Array) -> None:
    """Add lines[c, b] times the powers of u to the moments."""
    power, index = 1.0, offset
    for a in range(degree + 1):
        for b in range(degree + 1 - a):
            for c in range(degree + 1 - a - b):
                out[index] += power * lines[c, b]
                index += 1
        power *= u


@numba.njit(fastmath=True, cache=True)
def _collect(grid: Array, table: Array, n: int, places: Indices, values: Array, h: float, m: Array,
             degree: int) -> None:  # fmt: skip
    """Sums m[c] over each column of the grid times table times w^c."""
    for q in range(n):
        base, skip, w = places[0, q], places[1, q], values[2, q]
        # Never true, but tells the compiler that no index is negative.
        if base < 0 or skip < 0:
            continue
        if degree <= 2:
            m0 = m1 = m2 = 0.0
            for k in range(places[2, q]):
                x = w + k * h
                t = grid[base + k] * table[skip + k]
                m0 += t
                m1 += t * x
                m2 += t * x * x
            m[0, q], m[1, q], m[2, q] = m0, m1, m2
        elif degree <= 5:
            m0 = m1 = m2 = m3 = m4 = m5 = 0.0
            for k in range(places[2, q]):
                x = w + k * h
                t = grid[base + k] * table[skip + k]
                square = x * x
                t2 = t * square
                t4 = t2 * square
                m0 += t
                m1 += t * x
                m2 += t2
                m3 += t2 * x
                m4 += t4
                m5 += t4 * x
            m[0, q], m[1, q], m[2, q], m[3, q], m[4, q], m[5, q] = m0, m1, m2, m3, m4, m5
        else:
            m[: degree + 1, q] = 0.0
            for k in range(places[2, q]):
                x = w + k * h
                t = grid[base + k] * table[skip + k]
                for c in range(degree + 1):
                    m[c, q] += t
                    t *= x
