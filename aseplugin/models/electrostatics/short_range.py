"""The part of the interaction between near atoms: what waves or a mesh leave over."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from voltase.aseplugin.kernels import coulomb
from voltase.aseplugin.kernels.coulomb import COULOMB, PairList
from voltase.aseplugin.models.electrostatics.operators import Array, Derivatives
from voltase.aseplugin.models.electrostatics.pairs import Neighbours, find_pairs

FindPairs = Callable[[Array, Array, float], Neighbours]


class ShortRange:
    """Pairs within a cut-off, self terms, and the average they have over a bulk cell.

    Parameters
    ----------
    positions : ndarray (n, 3)
    lattice : ndarray (0, 2 or 3, 3)
        The periodic lattice vectors.
    width : ndarray (n,)
    alpha : float
        Splitting parameter, 1/A; 0 for the whole interaction (open boundaries).
    cutoff : float
        A.
    find : callable
        Gives the pairs, as `find_pairs` does.
    """

    def __init__(self, positions: Array, lattice: Array, width: Array, alpha: float,
                 cutoff: float, find: FindPairs = find_pairs) -> None:  # fmt: skip
        self.positions, self.width = positions, width
        found = find(positions, lattice, cutoff)
        offsets = coulomb.lattice_offsets(found.shifts, lattice)
        self.pairs = PairList(found.first, found.second, offsets)
        self.values, self.slopes = coulomb.assemble(positions, self.pairs, width, alpha)
        self.self_term = COULOMB / math.sqrt(math.pi) * (1.0 / width - 2.0 * alpha)
        # Element (i, j) of the average is mean (1/alpha^2 - 2 (s_i^2 + s_j^2)): see `background`.
        self.mean = 0.0
        if len(lattice) == 3:
            self.mean = math.pi * COULOMB / abs(float(np.linalg.det(lattice)))
            self._inverse_square = 1.0 / alpha**2

    def matvec(self, charges: Array) -> Array:
        """Potentials (n,) in V."""
        out = coulomb.matvec(self.values, self.pairs, charges) + self.self_term * charges
        if self.mean:
            square = self.width**2
            total = charges.sum()
            out -= self.mean * (total * self._inverse_square - 2.0 * (square @ charges))
            out += 2.0 * self.mean * total * square
        result: Array = out
        return result

    def diagonal(self) -> Array:
        """Diagonal (n,) of the matrix, eV/e^2."""
        own = self.pairs.first == self.pairs.second
        out = self.self_term + 2.0 * np.bincount(
            self.pairs.first[own], self.values[own], len(self.width)
        )
        if self.mean:
            out -= self.mean * (self._inverse_square - 4.0 * self.width**2)
        result: Array = out
        return result

    def matrix(self) -> Array:
        """The matrix (n, n), eV/e^2."""
        n = len(self.width)
        out = np.diag(self.self_term)
        np.add.at(out, (self.pairs.first, self.pairs.second), self.values)
        np.add.at(out, (self.pairs.second, self.pairs.first), self.values)
        if self.mean:
            square = self.width**2
            out -= self.mean * (self._inverse_square - 2.0 * (square[:, None] + square))
        return out.reshape(n, n)

    def derivatives(self, x: Array, y: Array) -> Derivatives:
        """Of x . A y by positions, strain and widths."""
        weights = coulomb.matvec_adjoint(self.pairs, x, y)
        positions, strain, width = coulomb.assemble_adjoint(
            weights, self.slopes, self.positions, self.pairs, self.width
        )
        width = width - COULOMB / math.sqrt(math.pi) * x * y / self.width**2
        if self.mean:
            square = self.width**2
            total = x.sum() * y.sum() * self._inverse_square
            total -= 2.0 * ((square @ x) * y.sum() + (square @ y) * x.sum())
            strain = strain + self.mean * total * np.eye(3)
            width = width + 4.0 * self.mean * self.width * (x * y.sum() + y * x.sum())
        return Derivatives(positions, strain, width)
