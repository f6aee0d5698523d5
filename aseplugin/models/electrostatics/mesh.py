"""Mesh Ewald: pairs within a cut-off and the rest by Fourier transforms, O(n log n)."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from voltase.aseplugin.kernels.coulomb import COULOMB
from voltase.aseplugin.kernels.mesh import gather, gather_gradient, spline_weights, spread
from voltase.aseplugin.models.electrostatics.convolution import (
    BulkConvolution,
    Complex,
    Convolution,
    OpenConvolution,
    SlabConvolution,
)
from voltase.aseplugin.models.electrostatics.operators import Array, CoulombOperator, Derivatives
from voltase.aseplugin.models.electrostatics.pairs import find_pairs
from voltase.aseplugin.models.electrostatics.short_range import FindPairs, ShortRange
from voltase.aseplugin.models.electrostatics.splitting import Splitting

ORDERS = (6, 10)
"""Of the splines; each one in use costs a compilation when it is first used on a machine."""
PRODUCTS = 15
"""Products a set-up is meant to serve, for the choice of the splitting."""
SECONDS_PER_PAIR = 1.5e-7
SECONDS_PER_PAIR_PRODUCT = 3.8e-9
SECONDS_PER_SHARE = 1.2e-9
SECONDS_PER_POINT = 3e-8
"""Measured on one core: set-up of a pair, product with a pair, with a charge's share of a mesh
point (there and back), and transform of a mesh point (there and back)."""


class MeshOperator(CoulombOperator):
    """Pairs and a mesh.

    Parameters
    ----------
    positions : ndarray (n, 3)
    lattice : ndarray (0, 2 or 3, 3)
        The periodic lattice vectors.
    width : ndarray (n,)
    splitting : Splitting
    spacing : float
        Largest mesh spacing, A.
    order : int
        Of the splines; even.
    tolerance, largest_charge : float
        See `CoulombOperator`.
    find : callable
        Gives the pairs, as `find_pairs` does.
    """

    tier = "mesh"

    def __init__(self, positions: Array, lattice: Array, width: Array, splitting: Splitting,
                 spacing: float, order: int, tolerance: float, largest_charge: float,
                 find: FindPairs = find_pairs) -> None:  # fmt: skip
        super().__init__(len(positions), len(lattice), tolerance, largest_charge)
        self.positions = positions
        self.short = ShortRange(positions, lattice, width, splitting.alpha, splitting.cutoff, find)
        self.mesh: Convolution
        if len(lattice) == 3:
            self.mesh = BulkConvolution(lattice, splitting, spacing, order)
        elif len(lattice) == 2:
            self.mesh = SlabConvolution(lattice, positions, splitting, spacing, order)
        else:
            self.mesh = OpenConvolution(positions, splitting, spacing, order)
        coordinates = self.mesh.coordinates(positions)
        self._first, self._weights, self._slopes = spline_weights(coordinates, order)

    def matvec(self, charges: Array) -> Array:
        """Potentials A q (n,) in V."""
        potential = self.mesh.potential(self._waves(charges))
        out: Array = self.short.matvec(charges) + gather(potential, self._first, self._weights)
        return out

    def diagonal(self) -> Array:
        """Diagonal of A (n,), eV/e^2, but for the error of the mesh."""
        out: Array = self.short.diagonal() + self.mesh.trace()
        return out

    def derivatives(self, x: Array, y: Array) -> Derivatives:
        """Of x . A y at fixed x and y (n,)."""
        waves_x = self._waves(x)
        if np.array_equal(x, y):  # half the work in the most frequent case
            waves_y = waves_x
            positions = 2.0 * x[:, None] * self._field(waves_x)
        else:
            waves_y = self._waves(y)
            positions = x[:, None] * self._field(waves_y) + y[:, None] * self._field(waves_x)
        strain = self.mesh.strain(waves_x, waves_y, self.positions, positions)
        far = Derivatives(positions, strain, np.zeros(self.n))
        return self.short.derivatives(x, y).plus(far)

    def _waves(self, charges: Array) -> list[Complex]:
        return self.mesh.transform(spread(charges, self._first, self._weights, self.mesh.shape))

    def _field(self, waves: list[Complex]) -> Array:
        """Gradient (n, 3) of the potential of charges given by their waves, V/A."""
        slopes = gather_gradient(
            self.mesh.potential(waves), self._first, self._weights, self._slopes
        )
        out: Array = slopes @ self.mesh.jacobian
        return out


def choose_mesh(n: int, volume: float, slowest: float, tolerance: float
                ) -> tuple[Splitting, float, int]:  # fmt: skip
    """Splitting, mesh spacing in A and spline order with the least work.

    Parameters
    ----------
    n : int
        Number of atoms.
    volume : float
        Of the mesh, A^3.
    slowest, tolerance : float
        See `Splitting.at`.
    """
    density = n / volume
    best: tuple[float, Splitting, float, int] | None = None
    for step in range(24):
        splitting = Splitting.at(slowest * 0.92**step, slowest, tolerance)
        pairs = 2.0 / 3.0 * math.pi * splitting.cutoff**3 * density * n
        for order in ORDERS:
            spacing = largest_spacing(splitting.alpha, order, density, tolerance)
            product = pairs * SECONDS_PER_PAIR_PRODUCT + n * order**3 * SECONDS_PER_SHARE
            product += volume / spacing**3 * SECONDS_PER_POINT
            cost = pairs * SECONDS_PER_PAIR + PRODUCTS * product
            if best is None or cost < best[0]:
                best = cost, splitting, spacing, order
    assert best is not None
    return best[1:]


def largest_spacing(alpha: float, order: int, density: float, tolerance: float) -> float:
    """Mesh spacing in A that keeps the error of the force on a unit charge within a bound."""
    steps, errors = _error_curve(order)
    scale = COULOMB * math.sqrt(density * alpha)
    log_bound = math.log(tolerance / scale)
    return float(np.interp(log_bound, errors, steps)) / alpha


@cache
def _error_curve(order: int) -> tuple[Array, Array]:
    """Logarithm of the root mean square force error over a scale, against alpha times spacing.

    A wave of phase t per mesh point is carried by a spline of order p with an error a = (t/(2 pi -
    t))^p, which its neighbour in the mesh's reciprocal lattice receives. With G = 4 pi k_e
    exp(-k^2/(4 alpha^2))/(V k^2), unit charges of density rho at random places see

        error^2 = 8 k_e^2 rho int dk exp(-k^2/(2 alpha^2))/k^2 <3 (2 a 2 pi/h)^2 + 3 (4 a k)^2>.
    """
    k = np.linspace(0.02, 12.0, 600)[:, None]  # in alpha
    mu, weight = np.polynomial.legendre.leggauss(24)
    mu, weight = 0.5 * (mu + 1.0), 0.5 * weight
    steps = np.geomspace(0.02, 2.5, 60)
    errors = []
    for step in steps:
        phase = np.minimum(k * mu * step, math.pi)
        a = (phase / (2.0 * math.pi - phase)) ** order
        square = 3.0 * (4.0 * math.pi * a / step) ** 2 + 3.0 * (4.0 * a * k) ** 2
        integrand = np.exp(-0.5 * k[:, 0] ** 2) / k[:, 0] ** 2 * (square @ weight)
        errors.append(0.5 * math.log(8.0 * float(np.trapezoid(integrand, k[:, 0]))))
    return steps, np.array(errors)
