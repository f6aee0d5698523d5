"""How the sum is split between pairs and waves (Ewald), from an error bound and a cost model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from voltase.aseplugin.kernels.coulomb import COULOMB

SECONDS_PER_PAIR = 1.2e-7
SECONDS_PER_PAIR_PRODUCT = 3.0e-9
SECONDS_PER_WAVE = 1.5e-8
SECONDS_PER_WAVE_PRODUCT = 3.0e-9
SECONDS_PER_ELEMENT = 1.0e-10
"""Measured on one core of a server CPU: set-up of a pair and a product with it, the cosine and sine
of an atom in a wave and a product with them, and their share of an element of the matrix."""
PRODUCTS = 20
"""Products that a set-up is meant to serve."""


@dataclass(frozen=True)
class Splitting:
    """Ewald splitting: pairs carry erf(gamma r) - erf(alpha r), waves erf(alpha r).

    Attributes
    ----------
    alpha : float
        1/A; zero puts all into the pairs.
    exponent : float
        x: terms below exp(-x^2) are left out.
    cutoff : float
        Largest distance of a pair, A.
    wave_cutoff : float
        Largest wave number, 1/A.
    """

    alpha: float
    exponent: float
    cutoff: float
    wave_cutoff: float

    @classmethod
    def at(cls, alpha: float, slowest: float, tolerance: float) -> Splitting:
        """Cut-offs for a given `alpha`.

        The root mean square error of the force on a unit charge among unit charges is about
        2 k_e sqrt(density / cutoff) exp(-x^2) from either part, below k_e exp(-x^2) in condensed
        matter (Kolafa and Perram, Mol. Simul. 9, 351 (1992), doi:10.1080/08927029208049126).

        Parameters
        ----------
        alpha : float
        slowest : float
            Smallest gamma = 1/sqrt(2 (s_i^2 + s_j^2)) of any pair, 1/A.
        tolerance : float
            eV/A.
        """
        exponent = math.sqrt(max(math.log(COULOMB / tolerance), 1.0))
        return cls(alpha, exponent, exponent / min(alpha, slowest), 2.0 * alpha * exponent)


def choose(n: int, size: float, height: float | None, slowest: float, tolerance: float,
           matrix: bool) -> Splitting:  # fmt: skip
    """The cheapest splitting for the assembly of a matrix, or for products without it.

    Parameters
    ----------
    n : int
        Number of atoms.
    size : float
        Volume of a bulk cell in A^3, or area of a slab in A^2.
    height : float, optional
        Extent of a slab along its normal, A; None for a bulk cell.
    slowest, tolerance : float
        See `Splitting.at`.
    matrix : bool
    """
    best, lowest = None, math.inf
    for step in range(40):
        alpha = slowest * 0.92**step
        trial = Splitting.at(alpha, slowest, tolerance)
        cost = _cost(n, size, height, trial, matrix)
        if cost < lowest:
            best, lowest = trial, cost
    assert best is not None
    return best


def _cost(n: int, size: float, height: float | None, splitting: Splitting, matrix: bool) -> float:
    """Estimated time, s."""
    reach, alpha = splitting.cutoff, splitting.alpha
    if height is None:
        volume = size
        neighbours = n * 4.0 / 3.0 * math.pi * reach**3 / volume
    else:
        volume = size * (height + 2.0 * splitting.exponent / alpha)
        slice_ = min(height, 4.0 / 3.0 * reach)
        neighbours = n * math.pi * reach**2 * slice_ / (size * max(height, 1.0)) if height else n
    waves = volume * splitting.wave_cutoff**3 / (12.0 * math.pi**2)
    pairs = 0.5 * n * neighbours
    cost = pairs * SECONDS_PER_PAIR + n * waves * SECONDS_PER_WAVE
    if matrix:
        return cost + 2.0 * n * n * waves * SECONDS_PER_ELEMENT
    products = pairs * SECONDS_PER_PAIR_PRODUCT + n * waves * SECONDS_PER_WAVE_PRODUCT
    return cost + PRODUCTS * products
