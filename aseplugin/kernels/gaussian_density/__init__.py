"""Densities of atom-centred Gaussians on a grid, and the two derivatives of that map.

    rho(r) = sum over atoms, shells and lattice vectors T of  c_lm N r^l Y_lm(r) exp(-alpha r^2)

with r the vector from the atom's image to the point; `GaussianBasis` fixes the functions, their
norm and the order of the coefficients. Lengths are in A, exponents in A^-2, coefficients in
electrons, densities in e/A^3. Point (i, j, k) of a grid lies at
origin + (i/nx, j/ny, k/nz) @ cell; along axes that are not periodic what leaves the cell is lost.

`adjoint` is the exact transpose of `evaluate` and `position_gradient` its derivative: for a
function L of the density with g = dL/drho (same shape as the grid), they give dL/dc and dL/dR.
Arrays of CuPy are worked on by the GPU, all others by the CPU; the result is of the same kind.
`reference` has the same sums in plain NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.kernels.gaussian_density.basis import GaussianBasis, Shell
from voltase.aseplugin.kernels.gaussian_density.plan import make_plan
from voltase.aseplugin.kernels.gaussian_density.points import at_points
from voltase.aseplugin.kernels.gaussian_density.sums import Backend, density, gradient, project

__all__ = [
    "TOLERANCE",
    "GaussianBasis",
    "Shell",
    "adjoint",
    "evaluate",
    "evaluate_points",
    "position_gradient",
]

TOLERANCE = 1e-14
"""Size at which a function is cut off, as a fraction of its largest value."""


def evaluate(
    coefficients: Any,
    numbers: npt.ArrayLike,
    positions: npt.ArrayLike,
    basis: GaussianBasis,
    cell: npt.ArrayLike,
    pbc: Sequence[bool],
    shape: Sequence[int],
    *,
    origin: npt.ArrayLike = (0.0, 0.0, 0.0),
    tolerance: float = TOLERANCE,
) -> Any:
    """Density on the points of a grid.

    Parameters
    ----------
    coefficients : array (n_coefficients,)
        e, in the order of `GaussianBasis`.
    numbers : array_like (n_atoms,)
        Atomic numbers.
    positions : array_like (n_atoms, 3)
        A, in any period.
    basis : GaussianBasis
    cell : array_like (3, 3)
        Lattice vectors as rows, A.
    pbc : (bool, bool, bool)
        Along which the density repeats.
    shape : (int, int, int)
        Number of points along each lattice vector.
    origin : array_like (3,)
        Of the first point, A.
    tolerance : float
        Fraction of its largest value at which a function is cut off; 1e-14 unless told.

    Returns
    -------
    array (nx, ny, nz)
        e/A^3, float64.

    Raises
    ------
    InputError
        If an argument does not fit.
    """
    backend = _backend(coefficients)
    plan = make_plan(numbers, positions, basis, cell, pbc, shape, origin, tolerance)
    return density(plan, _coefficients(coefficients, plan.n_coefficients, backend.xp), backend)


def adjoint(
    grid: Any,
    numbers: npt.ArrayLike,
    positions: npt.ArrayLike,
    basis: GaussianBasis,
    cell: npt.ArrayLike,
    pbc: Sequence[bool],
    *,
    origin: npt.ArrayLike = (0.0, 0.0, 0.0),
    tolerance: float = TOLERANCE,
) -> Any:
    """Sum over the points of grid (nx, ny, nz) times each function: the transpose of `evaluate`.

    Returns
    -------
    array (n_coefficients,)
        dL/dc for grid = dL/drho. See `evaluate` for the other arguments.
    """
    backend = _backend(grid)
    values = _grid(grid, backend.xp)
    plan = make_plan(numbers, positions, basis, cell, pbc, values.shape, origin, tolerance)
    return project(plan, values, backend)


def position_gradient(
    grid: Any,
    coefficients: Any,
    numbers: npt.ArrayLike,
    positions: npt.ArrayLike,
    basis: GaussianBasis,
    cell: npt.ArrayLike,
    pbc: Sequence[bool],
    *,
    origin: npt.ArrayLike = (0.0, 0.0, 0.0),
    tolerance: float = TOLERANCE,
) -> Any:
    """Derivative by the positions of the sum over the points of grid times density.

    Returns
    -------
    array (n_atoms, 3)
        dL/dR in 1/A for grid = dL/drho (nx, ny, nz). See `evaluate` for the other arguments.
    """
    backend = _backend(grid)
    values = _grid(grid, backend.xp)
    plan = make_plan(numbers, positions, basis, cell, pbc, values.shape, origin, tolerance)
    c = _coefficients(coefficients, plan.n_coefficients, backend.xp)
    return gradient(plan, values, c, backend)


def evaluate_points(
    points: npt.ArrayLike,
    coefficients: Any,
    numbers: npt.ArrayLike,
    positions: npt.ArrayLike,
    basis: GaussianBasis,
    cell: npt.ArrayLike,
    pbc: Sequence[bool],
    *,
    tolerance: float = TOLERANCE,
) -> npt.NDArray[np.float64]:
    """Density (n_points,) in e/A^3 at points (n_points, 3) in A, anywhere in space.

    On the CPU. See `evaluate` for the other arguments.

    Raises
    ------
    InputError
        If an argument does not fit.
    """
    return at_points(points, coefficients, numbers, positions, basis, cell, pbc, tolerance)


def _backend(array: Any) -> Backend:
    """Kernels of the device that an array is on."""
    name = "gpu" if type(array).__module__.split(".")[0] == "cupy" else "cpu"
    backend: Any = import_module(f"voltase.aseplugin.kernels.gaussian_density.{name}")
    return backend


def _coefficients(coefficients: Any, expected: int, xp: Any) -> Any:
    values = xp.asarray(coefficients, dtype=xp.float64)
    if values.shape != (expected,):
        raise InputError(f"coefficients: found shape {values.shape}, expected ({expected},)")
    return values


def _grid(grid: Any, xp: Any) -> Any:
    values = xp.ascontiguousarray(xp.asarray(grid, dtype=xp.float64))
    if values.ndim != 3:
        raise InputError(f"grid: found shape {values.shape}, expected three axes")
    return values
