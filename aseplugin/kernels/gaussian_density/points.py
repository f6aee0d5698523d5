"""Sums of Gaussians at arbitrary points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.kernels.gaussian_density.basis import GaussianBasis
from voltase.aseplugin.kernels.gaussian_density.plan import (
    Array,
    Indices,
    check_structure,
    check_tolerance,
    kinds_of,
    reciprocal_heights,
)


def at_points(points: npt.ArrayLike, coefficients: Any, numbers: npt.ArrayLike,
              positions: npt.ArrayLike, basis: GaussianBasis, cell: npt.ArrayLike,
              pbc: Sequence[bool], tolerance: float) -> Array:  # fmt: skip
    """Density at points; see `gaussian_density.evaluate_points`."""
    z, r, box = check_structure(numbers, positions, cell, pbc)
    check_tolerance(tolerance)
    x = np.ascontiguousarray(points, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != 3:
        raise InputError(f"points: found shape {x.shape}, expected (n, 3)")
    offsets = basis.offsets(z)
    c = np.asarray(coefficients, dtype=np.float64)
    if c.shape != (int(offsets[-1]),):
        raise InputError(f"coefficients: found shape {c.shape}, expected ({offsets[-1]},)")
    if not len(x) or not len(z):
        return np.zeros(len(x))

    kinds = kinds_of(z, basis, np.eye(3), tolerance)
    atoms, rows, parameters = [], [], []
    for kind in kinds:
        mine = np.flatnonzero(z == kind.number)
        atoms.append(mine)
        rows += list(c[offsets[mine][:, None] + kind.columns] @ kind.transform)
        parameters += [(kind.exponent, kind.radius, kind.degree)] * len(mine)
    order = np.argsort(np.concatenate(atoms), kind="stable")
    table = np.array(parameters)[order]
    polynomials = [rows[i] for i in order]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in polynomials])])
    first = np.searchsorted(np.concatenate(atoms)[order], np.arange(len(z) + 1))
    x, images, owners = _images(x, r, box, pbc, float(table[:, 1].max()))
    out = np.zeros(len(x))
    _sum(out, x, images, owners, first, table[:, 0].copy(), table[:, 1].copy(),
         table[:, 2].astype(np.int64), starts, np.concatenate(polynomials))  # fmt: skip
    return out


def _images(points: Array, positions: Array, cell: Array, pbc: Sequence[bool], reach: float
            ) -> tuple[Array, Array, Indices]:  # fmt: skip
    """Points in the first period, and all images (n, 3) that reach it with their atoms (n,)."""
    inverse, periodic = np.linalg.inv(cell), np.asarray(pbc, dtype=np.bool_)
    away = reach * reciprocal_heights(cell)
    fractions = points @ inverse
    points = points - np.where(periodic, np.floor(fractions), 0.0) @ cell
    home = np.where(periodic, np.floor(positions @ inverse), 0.0)
    centres = positions @ inverse - home
    ranges = [range(-math.ceil(a) - 1, math.ceil(a) + 2) if p else range(1)
              for a, p in zip(away, periodic, strict=True)]  # fmt: skip
    images, owners = [], []
    for shift in itertools.product(*ranges):
        moved = centres + np.array(shift)
        near = ((moved > -away) & (moved < 1.0 + away)) | ~periodic
        chosen = np.flatnonzero(near.all(axis=1))
        images.append(moved[chosen] @ cell)
        owners.append(chosen)
    return points, np.concatenate(images), np.concatenate(owners)


@numba.njit(parallel=True, cache=True)
def _sum(out: Array, points: Array, images: Array, owners: Indices, first: Indices,
         exponents: Array, radii: Array, degrees: Indices, starts: Indices, polynomials: Array
        ) -> None:  # fmt: skip
    reach = radii.max() ** 2
    for i in numba.prange(len(points)):
        for image in range(len(images)):
            x = points[i, 0] - images[image, 0]
            y = points[i, 1] - images[image, 1]
            z = points[i, 2] - images[image, 2]
            square = x * x + y * y + z * z
            if square > reach:
                continue
            atom = owners[image]
            for g in range(first[atom], first[atom + 1]):
                if square <= radii[g] ** 2:
                    value = _polynomial(polynomials, starts[g], degrees[g], x, y, z)
                    out[i] += value * math.exp(-exponents[g] * square)


@numba.njit(cache=True)
def _polynomial(coefficients: Array, index: int, degree: int, x: float, y: float, z: float
               ) -> float:  # fmt: skip
    total, by_x = 0.0, 1.0
    for a in range(degree + 1):
        by_y = by_x
        for b in range(degree + 1 - a):
            power = by_y
            for _ in range(degree + 1 - a - b):
                total += coefficients[index] * power
                power *= z
                index += 1
            by_y *= y
        by_x *= x
    return total
