"""The maps of this folder compiled by numba.

Pairs are cut into one chunk a thread, and each thread adds to a result of its own, so that the
scattered sums need no atomics and a given number of threads always gives the same bits.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from voltase.aseplugin.kernels.coulomb import COULOMB, Array, Indices, PairList

SLOPE = 2.0 / math.sqrt(math.pi)


def lattice_offsets(shifts: Indices, lattice: Array) -> Array:
    """See the package."""
    out = np.zeros((len(shifts), 3))
    _lattice_offsets(shifts, lattice, out)
    return out


def assemble(positions: Array, pairs: PairList, width: Array, alpha: float
             ) -> tuple[Array, Array]:  # fmt: skip
    """See the package."""
    values = np.empty(len(pairs.first))
    slopes = np.empty_like(values)
    _assemble(positions, *pairs, width, alpha, values, slopes)
    return values, slopes


def matvec(values: Array, pairs: PairList, charges: Array) -> Array:
    """See the package."""
    parts = np.zeros((numba.get_num_threads(), len(charges)))
    _matvec(values, pairs.first, pairs.second, charges, parts)
    out: Array = parts[0] if len(parts) == 1 else parts.sum(0)
    return out


def matvec_adjoint(pairs: PairList, x: Array, y: Array) -> Array:
    """See the package."""
    out = np.empty(len(pairs.first))
    _matvec_adjoint(pairs.first, pairs.second, x, y, out)
    return out


def assemble_adjoint(weights: Array, slopes: Array, positions: Array, pairs: PairList, width: Array
                     ) -> tuple[Array, Array, Array]:  # fmt: skip
    """See the package."""
    threads, n = numba.get_num_threads(), len(width)
    by_positions, by_strain = np.zeros((threads, n, 3)), np.zeros((threads, 3, 3))
    by_width = np.zeros((threads, n))
    _assemble_adjoint(weights, slopes, positions, *pairs, width, by_positions, by_strain, by_width)
    return by_positions.sum(0), by_strain.sum(0), by_width.sum(0)


@numba.njit(parallel=True, fastmath=True, cache=True)
def _lattice_offsets(shifts, lattice, out):  # type: ignore[no-untyped-def]
    for p in numba.prange(len(shifts)):
        for axis in range(len(lattice)):
            for a in range(3):
                out[p, a] += shifts[p, axis] * lattice[axis, a]


@numba.njit(parallel=True, fastmath=True, cache=True)
def _assemble(positions, first, second, offsets, width, alpha, values, slopes):  # type: ignore[no-untyped-def]
    for p in numba.prange(len(first)):
        i, j = first[p], second[p]
        square = 0.0
        for a in range(3):
            apart = positions[j, a] - positions[i, a] + offsets[p, a]
            square += apart * apart
        r = math.sqrt(square)
        gamma = 1.0 / math.sqrt(2.0 * (width[i] * width[i] + width[j] * width[j]))
        value = math.erf(gamma * r)
        bells = gamma * math.exp(-gamma * gamma * square)
        if alpha > 0.0:
            value -= math.erf(alpha * r)
            bells -= alpha * math.exp(-alpha * alpha * square)
        value /= r
        values[p] = COULOMB * value
        slopes[p] = COULOMB * (SLOPE * bells - value) / square


@numba.njit(parallel=True, fastmath=True, cache=True)
def _matvec(values, first, second, charges, parts):  # type: ignore[no-untyped-def]
    threads, n = len(parts), len(values)
    for t in numba.prange(threads):
        for p in range(t * n // threads, (t + 1) * n // threads):
            i, j = first[p], second[p]
            parts[t, i] += values[p] * charges[j]
            parts[t, j] += values[p] * charges[i]


@numba.njit(parallel=True, fastmath=True, cache=True)
def _matvec_adjoint(first, second, x, y, out):  # type: ignore[no-untyped-def]
    for p in numba.prange(len(first)):
        i, j = first[p], second[p]
        out[p] = x[i] * y[j] + x[j] * y[i]


@numba.njit(parallel=True, fastmath=True, cache=True)
def _assemble_adjoint(weights, slopes, positions, first, second, offsets, width,  # type: ignore[no-untyped-def]
                      by_positions, by_strain, by_width):  # fmt: skip
    threads, n = len(by_width), len(weights)
    for t in numba.prange(threads):
        apart = np.empty(3)
        for p in range(t * n // threads, (t + 1) * n // threads):
            i, j = first[p], second[p]
            pull = weights[p] * slopes[p]
            square = 0.0
            for a in range(3):
                apart[a] = positions[j, a] - positions[i, a] + offsets[p, a]
                square += apart[a] * apart[a]
            for a in range(3):
                by_positions[t, j, a] += pull * apart[a]
                by_positions[t, i, a] -= pull * apart[a]
                for b in range(3):
                    by_strain[t, a, b] += pull * apart[a] * apart[b]
            sharp = 0.5 / (width[i] * width[i] + width[j] * width[j])  # gamma squared
            spread = -2.0 * COULOMB * SLOPE * weights[p] * sharp * math.sqrt(sharp)
            spread *= math.exp(-sharp * square)
            by_width[t, i] += spread * width[i]
            by_width[t, j] += spread * width[j]
