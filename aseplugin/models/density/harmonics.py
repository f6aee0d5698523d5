"""Solid harmonics and their products as plain arrays, in e3nn's order and normalisation."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from voltase.aseplugin.kernels.gaussian_density.harmonics import (
    monomial_index,
    monomials,
    solid_harmonics,
)

Array = npt.NDArray[np.float64]


@cache
def _matrix(highest: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """Harmonics over monomials ((highest + 1)^2, n_monomials), and the monomials' powers."""
    place = monomial_index(highest)
    rows = []
    for degree in range(highest + 1):
        for harmonic in solid_harmonics(degree):
            row = np.zeros(len(place))
            for powers, weight in harmonic.items():
                row[place[powers]] += weight
            rows.append(row)
    return np.stack(rows), monomials(highest)


def solid_harmonics_at(vectors: Tensor, highest: int) -> Tensor:
    """All r^l Y_lm with l up to `highest` at vectors (n, 3): (n, (highest + 1)^2)."""
    matrix, powers = _matrix(highest)
    columns = [torch.ones_like(vectors)]
    for _ in range(highest):
        columns.append(columns[-1] * vectors)
    table = torch.stack(columns)  # (highest + 1, n, 3)
    a, b, c = torch.from_numpy(powers).to(vectors.device).unbind(1)
    values = table[a, :, 0] * table[b, :, 1] * table[c, :, 2]
    return values.T @ torch.from_numpy(matrix).to(vectors).T


@cache
def product_table(highest: int) -> Tensor:
    """Couplings (n, n, n), n = (highest + 1)^2, of two tensors to true tensors of each degree.

    Only couplings of even l1 + l2 + l: a density is no pseudo-tensor. Each is scaled so that the
    product of two tensors with independent components of variance one has variance one, shared
    between all pairs of degrees that make it. Scalars take no part: they multiply elsewhere.
    """
    n = (highest + 1) ** 2
    table = np.zeros((n, n, n))
    degree = np.repeat(np.arange(highest + 1), 2 * np.arange(highest + 1) + 1)
    gaunt = _gaunt(highest)
    for l1 in range(1, highest + 1):
        for l2 in range(1, highest + 1):
            for total in range(abs(l1 - l2), min(l1 + l2, highest) + 1):
                if (l1 + l2 + total) % 2:
                    continue
                where = np.ix_(degree == l1, degree == l2, degree == total)
                block = gaunt[where]
                table[where] = block * np.sqrt((2 * total + 1) / (block**2).sum())
    for total in range(highest + 1):
        pairs = sum(
            abs(l1 - l2) <= total <= l1 + l2 and (l1 + l2 + total) % 2 == 0
            for l1 in range(1, highest + 1)
            for l2 in range(1, highest + 1)
        )
        table[:, :, degree == total] /= np.sqrt(max(pairs, 1))
    return torch.from_numpy(table)


def _gaunt(highest: int) -> Array:
    """Mean of the product of three harmonics over the sphere, by a quadrature exact for it."""
    order = 2 * highest + 1
    nodes, weights = np.polynomial.legendre.leggauss(order)
    angles = 2.0 * np.pi * np.arange(2 * order) / (2 * order)
    z = np.repeat(nodes, len(angles))
    radius = np.sqrt(1.0 - z**2)
    phi = np.tile(angles, order)
    directions = np.stack([radius * np.cos(phi), radius * np.sin(phi), z], axis=1)
    weight = np.repeat(weights, len(angles)) / (2.0 * len(angles))
    values = solid_harmonics_at(torch.from_numpy(directions), highest).numpy()
    found = np.einsum("pi,pj,pk,p->ijk", values, values, values, weight, optimize=True)
    return np.where(np.abs(found) < 1e-12, 0.0, found)
