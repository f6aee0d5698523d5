"""The maps of this folder in plain NumPy, float64: what the fast twins are tested against."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erf

from voltase.aseplugin.kernels.coulomb import COULOMB, Array, Indices, PairList

SLOPE = 2.0 / math.sqrt(math.pi)


def vectors(positions: Array, pairs: PairList) -> Array:
    """Vectors (n_pairs, 3) from first to second, A."""
    out: Array = positions[pairs.second] - positions[pairs.first] + pairs.offsets
    return out


def sharpness(pairs: PairList, width: Array) -> Array:
    """gamma = 1/sqrt(2 (s_i^2 + s_j^2)) of each pair, 1/A."""
    out: Array = 1.0 / np.sqrt(2.0 * (width[pairs.first] ** 2 + width[pairs.second] ** 2))
    return out


def assemble(positions: Array, pairs: PairList, width: Array, alpha: float
             ) -> tuple[Array, Array]:  # fmt: skip
    """See the package."""
    r = np.linalg.norm(vectors(positions, pairs), axis=1)
    gamma = sharpness(pairs, width)
    value = (erf(gamma * r) - erf(alpha * r)) / r
    bells = gamma * np.exp(-((gamma * r) ** 2)) - alpha * np.exp(-((alpha * r) ** 2))
    return COULOMB * value, COULOMB * (SLOPE * bells - value) / r**2


def matvec(values: Array, pairs: PairList, charges: Array) -> Array:
    """See the package."""
    n = len(charges)
    return _sum(pairs.first, values * charges[pairs.second], n) + _sum(
        pairs.second, values * charges[pairs.first], n
    )


def matvec_adjoint(pairs: PairList, x: Array, y: Array) -> Array:
    """See the package."""
    out: Array = x[pairs.first] * y[pairs.second] + x[pairs.second] * y[pairs.first]
    return out


def assemble_adjoint(weights: Array, slopes: Array, positions: Array, pairs: PairList, width: Array
                     ) -> tuple[Array, Array, Array]:  # fmt: skip
    """See the package."""
    apart = vectors(positions, pairs)
    pull = (weights * slopes)[:, None] * apart
    by_positions = np.zeros_like(positions)
    np.add.at(by_positions, pairs.second, pull)
    np.subtract.at(by_positions, pairs.first, pull)
    gamma = sharpness(pairs, width)
    # dvalue/dgamma = 2 k_e/sqrt(pi) exp(-gamma^2 r^2), dgamma/ds_i = -2 gamma^3 s_i.
    by_gamma = COULOMB * SLOPE * np.exp(-(gamma**2) * (apart**2).sum(1))
    spread = -2.0 * weights * by_gamma * gamma**3
    n = len(width)
    by_width = _sum(pairs.first, spread * width[pairs.first], n) + _sum(
        pairs.second, spread * width[pairs.second], n
    )
    return by_positions, apart.T @ pull, by_width


def _sum(places: Indices, terms: Array, n: int) -> Array:
    """Sums (n,) of the terms of each place."""
    return np.asarray(np.bincount(places, terms, n), dtype=np.float64)
