"""Real solid harmonics r^l Y_lm as polynomials in x, y, z."""

from __future__ import annotations

from functools import cache
from math import comb, factorial, sqrt

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Polynomial = dict[tuple[int, int, int], float]
"""Coefficients by the powers of the three variables."""


def multiply(first: Polynomial, second: Polynomial) -> Polynomial:
    """Product of two polynomials."""
    product: Polynomial = {}
    for p, f in first.items():
        for q, s in second.items():
            powers = (p[0] + q[0], p[1] + q[1], p[2] + q[2])
            product[powers] = product.get(powers, 0.0) + f * s
    return product


@cache
def solid_harmonics(degree: int) -> tuple[Polynomial, ...]:
    """The 2l + 1 real solid harmonics r^l Y_lm of a degree l.

    Order and normalisation are those of e3nn ("component"): m = -l ... l about the polar axis y,
    and a mean square of one over the unit sphere, so Y_00 = 1 and Y_1 = sqrt(3) (x, y, z)/r.
    Explicit sums after Helgaker, Jorgensen and Olsen, doi:10.1002/9781119019572, section 6.4.

    Parameters
    ----------
    degree : int
    """
    found = []
    for m in range(-degree, degree + 1):
        norm = sqrt((2 * degree + 1) * (1 if m == 0 else 2)
                    * factorial(degree - abs(m)) / factorial(degree + abs(m)))  # fmt: skip
        product = multiply(_equatorial(m), _polar(degree, abs(m)))
        # The textbook's (x, y, z), with the polar axis last, are (z, x, y) here.
        found.append({(p[1], p[2], p[0]): norm * c for p, c in product.items() if c != 0.0})
    return tuple(found)


def _equatorial(m: int) -> Polynomial:
    """Real (m >= 0) or imaginary part of (x + i y)^|m|."""
    odd = m < 0
    return {
        (abs(m) - k, k, 0): float((-1) ** (k // 2) * comb(abs(m), k))
        for k in range(int(odd), abs(m) + 1, 2)
    }


def _polar(degree: int, m: int) -> Polynomial:
    """Associated Legendre function without its sine, a polynomial in z and r^2."""
    square: Polynomial = {(2, 0, 0): 1.0, (0, 2, 0): 1.0, (0, 0, 2): 1.0}
    result: Polynomial = {}
    power: Polynomial = {(0, 0, 0): 1.0}
    for k in range((degree - m) // 2 + 1):
        weight = (-1) ** k * comb(degree, k) * comb(2 * degree - 2 * k, degree) / 2**degree
        weight *= factorial(degree - 2 * k) / factorial(degree - 2 * k - m)
        for p, c in multiply(power, {(0, 0, degree - 2 * k - m): weight}).items():
            result[p] = result.get(p, 0.0) + c
        power = multiply(power, square)
    return result


@cache
def monomials(degree: int) -> Indices:
    """Powers (n, 3) of all monomials up to a degree, the last running fastest."""
    return np.array(
        [
            (a, b, c)
            for a in range(degree + 1)
            for b in range(degree + 1 - a)
            for c in range(degree + 1 - a - b)
        ],
        dtype=np.int64,
    )


def monomial_count(degree: int) -> int:
    """Number of monomials in three variables up to a degree."""
    return (degree + 1) * (degree + 2) * (degree + 3) // 6


@cache
def monomial_index(degree: int) -> dict[tuple[int, int, int], int]:
    """Place of each monomial in the order of `monomials`."""
    return {(int(a), int(b), int(c)): i for i, (a, b, c) in enumerate(monomials(degree))}


def harmonics_in_frame(degree: int, highest: int, frame: Array) -> Array:
    """Solid harmonics of a degree over the monomials of rotated coordinates.

    Parameters
    ----------
    degree : int
    highest : int
        Degree up to which monomials count, not below the first.
    frame : ndarray (3, 3)
        Unit vectors of the rotated axes as rows.

    Returns
    -------
    ndarray (2 degree + 1, monomials of `highest`)
    """
    units = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    # x, y and z as polynomials in the rotated coordinates.
    axes = [{units[k]: float(frame[k, i]) for k in range(3) if frame[k, i]} for i in range(3)]
    powers: list[list[Polynomial]] = []
    for axis in axes:
        row: list[Polynomial] = [{(0, 0, 0): 1.0}]
        for _ in range(degree):
            row.append(multiply(row[-1], axis))
        powers.append(row)
    place = monomial_index(highest)
    matrix = np.zeros((2 * degree + 1, len(place)))
    for m, harmonic in enumerate(solid_harmonics(degree)):
        for (a, b, c), weight in harmonic.items():
            term = multiply(multiply(powers[0][a], powers[1][b]), powers[2][c])
            for p, value in term.items():
                matrix[m, place[p]] += weight * value
    return matrix
