"""NumPy reference: every function on every point, in float64, by its definition."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.kernels.gaussian_density.basis import GaussianBasis
from voltase.aseplugin.kernels.gaussian_density.harmonics import Polynomial, solid_harmonics

Array = npt.NDArray[np.float64]
NEGLIGIBLE = 46.0
"""Images whose exp(-alpha r^2) is below exp(-46), 1e-20, everywhere are left out."""


def grid_points(cell: npt.ArrayLike, shape: Sequence[int], origin: npt.ArrayLike = 0.0) -> Array:
    """Positions (nx, ny, nz, 3) in A of the points origin + (i/nx, j/ny, k/nz) @ cell."""
    axes = [np.arange(n) / n for n in shape]
    fractions = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return np.asarray(fractions @ np.asarray(cell, dtype=np.float64) + np.asarray(origin))


def evaluate_points(points: npt.ArrayLike, coefficients: npt.ArrayLike, numbers: npt.ArrayLike,
                    positions: npt.ArrayLike, basis: GaussianBasis, cell: npt.ArrayLike,
                    pbc: Sequence[bool]) -> Array:  # fmt: skip
    """Density (...,) in e/A^3 at points (..., 3) in A; see `gaussian_density.evaluate_points`."""
    x, c = np.asarray(points, dtype=np.float64), np.asarray(coefficients, dtype=np.float64)
    density = np.zeros(x.shape[:-1])
    for index, values, _ in _functions(x, numbers, positions, basis, cell, pbc, slopes=False):
        density += c[index] * values
    return density


def adjoint_points(weights: npt.ArrayLike, points: npt.ArrayLike, numbers: npt.ArrayLike,
                   positions: npt.ArrayLike, basis: GaussianBasis, cell: npt.ArrayLike,
                   pbc: Sequence[bool]) -> Array:  # fmt: skip
    """Sum of weights (...,) times each function at points (..., 3), (n_coefficients,)."""
    w = np.asarray(weights, dtype=np.float64)
    found = np.zeros(int(basis.offsets(numbers)[-1]))
    x = np.asarray(points, dtype=np.float64)
    for index, values, _ in _functions(x, numbers, positions, basis, cell, pbc, slopes=False):
        found[index] += np.vdot(w, values)
    return found


def gradient_points(weights: npt.ArrayLike, points: npt.ArrayLike, coefficients: npt.ArrayLike,
                    numbers: npt.ArrayLike, positions: npt.ArrayLike, basis: GaussianBasis,
                    cell: npt.ArrayLike, pbc: Sequence[bool]) -> Array:  # fmt: skip
    """Derivative (n_atoms, 3) of the sum of weights times density by the positions."""
    w, c = np.asarray(weights, dtype=np.float64), np.asarray(coefficients, dtype=np.float64)
    x, offsets = np.asarray(points, dtype=np.float64), basis.offsets(numbers)
    found = np.zeros((len(offsets) - 1, 3))
    for index, _, slopes in _functions(x, numbers, positions, basis, cell, pbc, slopes=True):
        atom = int(np.searchsorted(offsets, index, side="right")) - 1
        # A function moves with its atom, against the coordinate it depends on.
        found[atom] -= c[index] * np.tensordot(w, slopes, axes=w.ndim)
    return found


def _functions(points: Array, numbers: npt.ArrayLike, positions: npt.ArrayLike,
               basis: GaussianBasis, cell: npt.ArrayLike, pbc: Sequence[bool], slopes: bool
               ) -> Iterator[tuple[int, Array, Array]]:  # fmt: skip
    """Index, values (...,) and gradient (..., 3) by the point, of each function and image."""
    box = np.asarray(cell, dtype=np.float64)
    offsets = basis.offsets(numbers)
    z = np.asarray(numbers, dtype=np.int64)
    for atom, centre in enumerate(np.asarray(positions, dtype=np.float64).reshape(-1, 3)):
        index = int(offsets[atom])
        for shell in basis.shells(int(z[atom])):
            reach = np.sqrt(NEGLIGIBLE / shell.exponent)
            harmonics = solid_harmonics(shell.degree)
            for shift in _shifts(points, centre, box, pbc, reach):
                d = points - centre - shift
                radial = shell.norm * np.exp(-shell.exponent * (d * d).sum(-1))
                powers = [np.ones_like(d), d]
                powers += [d**power for power in range(2, shell.degree + 1)]
                for m, harmonic in enumerate(harmonics):
                    angular = _value(harmonic, powers)
                    slope = np.empty(0)
                    if slopes:
                        parts = [_value(_derivative(harmonic, axis), powers)
                                 - 2.0 * shell.exponent * d[..., axis] * angular
                                 for axis in range(3)]  # fmt: skip
                        slope = np.stack(parts, axis=-1) * radial[..., None]
                    yield index + m, angular * radial, slope
            index += shell.size


def _shifts(points: Array, centre: Array, cell: Array, pbc: Sequence[bool], reach: float
            ) -> Iterator[Array]:  # fmt: skip
    """Lattice vectors (3,) that bring a centre within reach of the box around the points."""
    inverse = np.linalg.inv(cell)
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    fractions = (points.reshape(-1, 3) - centre) @ inverse
    ranges = []
    for axis in range(3):
        if not pbc[axis]:
            ranges.append(range(1))
            continue
        lowest = np.floor(fractions[:, axis].min() - reach / heights[axis])
        highest = np.ceil(fractions[:, axis].max() + reach / heights[axis])
        ranges.append(range(int(lowest), int(highest) + 1))
    for multiples in itertools.product(*ranges):
        yield np.array(multiples, dtype=np.float64) @ cell


def _value(polynomial: Polynomial, powers: list[Array]) -> Array:
    total = np.zeros(powers[0].shape[:-1])
    for (a, b, c), weight in polynomial.items():
        total += weight * powers[a][..., 0] * powers[b][..., 1] * powers[c][..., 2]
    return total


def _derivative(polynomial: Polynomial, axis: int) -> Polynomial:
    found: Polynomial = {}
    for powers, weight in polynomial.items():
        if powers[axis]:
            lower = list(powers)
            lower[axis] -= 1
            found[lower[0], lower[1], lower[2]] = weight * powers[axis]
    return found
