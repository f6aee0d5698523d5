"""The three sums in terms of two kernels: polynomials times Gaussians to a grid, and back."""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol

import numpy as np

from voltase.aseplugin.kernels.gaussian_density.fourier import coarsen, refine
from voltase.aseplugin.kernels.gaussian_density.harmonics import (
    monomial_count,
    monomial_index,
    monomials,
)
from voltase.aseplugin.kernels.gaussian_density.plan import Array, Level, Plan


class Backend(Protocol):
    """Kernels of a device, and the libraries of its arrays."""

    xp: Any
    fft: Any

    def spread(self, out: Any, level: Level, cartesian: Any) -> None:
        """Add to a grid the Gaussians of a level times their polynomials."""

    def moments(self, grid: Any, level: Level, extra: int) -> Any:
        """Sums over a grid times each monomial times its Gaussian, so many degrees higher."""


def density(plan: Plan, coefficients: Any, backend: Backend) -> Any:
    """Density (nx, ny, nz) of coefficients (n_coefficients,)."""
    xp = backend.xp
    grids = []
    for level in plan.coarse:
        grid = xp.zeros(level.shape)
        backend.spread(grid, level, _cartesian(level, coefficients, xp))
        grids.append(grid)
    if grids:
        out = xp.ascontiguousarray(refine(grids, plan.shape, plan.extended, backend.fft, xp))
    else:
        out = xp.zeros(plan.shape)
    backend.spread(out, plan.fine, _cartesian(plan.fine, coefficients, xp))
    return out


def project(plan: Plan, grid: Any, backend: Backend) -> Any:
    """Transpose of `density`."""
    xp = backend.xp
    out = xp.zeros(plan.n_coefficients)
    for level, values in _on_levels(plan, grid, backend):
        moments, start = backend.moments(values, level, 0), 0
        for block in level.blocks:
            shape = (len(block.atoms), block.kind.transform.shape[1])
            stop = start + shape[0] * shape[1]
            rows = moments[start:stop].reshape(shape)
            out[xp.asarray(block.coefficients)] += rows @ xp.asarray(block.kind.transform.T)
            start = stop
    return out


def gradient(plan: Plan, grid: Any, coefficients: Any, backend: Backend) -> Any:
    """Derivative (n_atoms, 3) of the sum of grid times density by the positions."""
    xp = backend.xp
    out = xp.zeros((plan.n_atoms, 3))
    for level, values in _on_levels(plan, grid, backend):
        moments, start = backend.moments(values, level, 1), 0
        for block in level.blocks:
            kind = block.kind
            shape = (len(block.atoms), monomial_count(kind.degree + 1))
            stop = start + shape[0] * shape[1]
            rows = moments[start:stop].reshape(shape)
            weights = coefficients[xp.asarray(block.coefficients)] @ xp.asarray(kind.transform)
            lower, higher = _derivatives(kind.degree)
            table = xp.asarray(2.0 * kind.exponent * higher - lower)
            slopes = xp.stack([(weights * (rows @ t.T)).sum(axis=1) for t in table], axis=1)
            out[xp.asarray(block.atoms)] += slopes @ xp.asarray(plan.frame)
            start = stop
    return out


def _on_levels(plan: Plan, grid: Any, backend: Backend) -> list[tuple[Level, Any]]:
    """Each level and a grid as it looks from there."""
    found = [(plan.fine, grid)]
    if plan.coarse:
        shapes = [level.shape for level in plan.coarse]
        coarse = coarsen(grid, shapes, plan.extended, backend.fft, backend.xp)
        found += list(zip(plan.coarse, coarse, strict=True))
    return found


def _cartesian(level: Level, coefficients: Any, xp: Any) -> Any:
    """Coefficients of the monomials of each Gaussian (n_cartesian,)."""
    parts = [
        (coefficients[xp.asarray(block.coefficients)] @ xp.asarray(block.kind.transform)).ravel()
        for block in level.blocks
    ]
    return xp.concatenate([xp.zeros(0), *parts])


@cache
def _derivatives(degree: int) -> tuple[Array, Array]:
    """Lower and raise a power: d/dx of x^a, and x^a times x, as (3, n, n_higher) matrices."""
    place = monomial_index(degree + 1)
    powers = monomials(degree)
    lower, higher = np.zeros((2, 3, len(powers), len(place)))
    for i, row in enumerate(powers):
        for axis in range(3):
            step = np.zeros(3, dtype=np.int64)
            step[axis] = 1
            if row[axis]:
                a, b, c = row - step
                lower[axis, i, place[int(a), int(b), int(c)]] = row[axis]
            a, b, c = row + step
            higher[axis, i, place[int(a), int(b), int(c)]] = 1.0
    return lower, higher
