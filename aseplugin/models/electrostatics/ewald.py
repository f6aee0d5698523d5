"""Ewald summation with kept cosines and sines, and the matrix made of the same parts."""

from __future__ import annotations

import math

import numpy as np
import torch

from voltase.aseplugin.models.electrostatics.boundary import Boundary
from voltase.aseplugin.models.electrostatics.operators import Array, CoulombOperator, Derivatives
from voltase.aseplugin.models.electrostatics.pairs import find_pairs
from voltase.aseplugin.models.electrostatics.short_range import FindPairs, ShortRange
from voltase.aseplugin.models.electrostatics.splitting import Splitting
from voltase.aseplugin.models.electrostatics.waves import Waves, make_waves


class EwaldOperator(CoulombOperator):
    """Pairs and waves, both kept: a product costs O(n^1.5) operations and no exponentials.

    Parameters
    ----------
    positions : ndarray (n, 3)
    cell : ndarray (3, 3)
    boundary : Boundary
    width : ndarray (n,)
    splitting : Splitting or None
        None under open boundaries, where all pairs are kept.
    height : float
        Extent of a slab along its normal, A.
    tolerance, largest_charge : float
        See `CoulombOperator`.
    find : callable
        Gives the pairs, as `find_pairs` does.
    """

    tier = "ewald"

    def __init__(self, positions: Array, cell: Array, boundary: Boundary, width: Array,
                 splitting: Splitting | None, height: float, tolerance: float,
                 largest_charge: float, find: FindPairs = find_pairs) -> None:  # fmt: skip
        super().__init__(len(positions), len(boundary.axes), tolerance, largest_charge)
        self.positions, self.cell = positions, cell
        alpha = 0.0 if splitting is None else splitting.alpha
        cutoff = math.inf if splitting is None else splitting.cutoff
        lattice = np.ascontiguousarray(cell[list(boundary.axes)])
        self.short = ShortRange(positions, lattice, width, alpha, cutoff, find)
        self.waves: Waves | None = None
        if splitting is not None:
            # Kept with their graph, for the derivatives by the cell.
            self._cell = torch.from_numpy(cell.copy()).requires_grad_()
            with torch.enable_grad():
                self.waves = make_waves(self._cell, boundary, splitting, height)
            phases = torch.from_numpy(positions) @ self.waves.vectors.detach().T
            self.weights: Array = self.waves.weights.detach().numpy()
            self.cosines: Array = torch.cos(phases).numpy()
            self.sines: Array = torch.sin(phases).numpy()

    def matvec(self, charges: Array) -> Array:
        """Potentials A q (n,) in V."""
        out = self.short.matvec(charges)
        if self.waves is not None:
            out = out + self.cosines @ (self.weights * (charges @ self.cosines))
            out += self.sines @ (self.weights * (charges @ self.sines))
        return out

    def diagonal(self) -> Array:
        """Diagonal of A (n,), eV/e^2."""
        long_range = 0.0 if self.waves is None else float(self.weights.sum())
        out: Array = self.short.diagonal() + long_range
        return out

    def matrix(self) -> Array:
        """The matrix A (n, n), eV/e^2."""
        out = self.short.matrix()
        if self.waves is not None:
            out += (self.cosines * self.weights) @ self.cosines.T
            out += (self.sines * self.weights) @ self.sines.T
        return out

    def derivatives(self, x: Array, y: Array) -> Derivatives:
        """Of x . A y at fixed x and y (n,)."""
        near = self.short.derivatives(x, y)
        if self.waves is None:
            return near
        return near.plus(self._long_range(self.waves, x, y))

    def _long_range(self, waves: Waves, x: Array, y: Array) -> Derivatives:
        cos_x, sin_x = x @ self.cosines, x @ self.sines
        cos_y, sin_y = y @ self.cosines, y @ self.sines
        # d(x . A y)/d(phase of atom i in wave k) = w_k (C_ik b_ik - S_ik a_ik), with
        # a = x_i cos_y + y_i cos_x and b likewise: products with (k, r) then need no n x k array.
        k = waves.vectors.detach().numpy()
        weighted = [self.weights[:, None] * part[:, None] * k for part in (cos_x, sin_x, cos_y,
                                                                          sin_y)]  # fmt: skip
        by_x = self.cosines @ weighted[3] - self.sines @ weighted[2]
        by_y = self.cosines @ weighted[1] - self.sines @ weighted[0]
        positions = x[:, None] * by_x + y[:, None] * by_y
        by_vectors = self._by_vectors(x, cos_y, sin_y) + self._by_vectors(y, cos_x, sin_x)
        (by_cell,) = torch.autograd.grad(
            (waves.vectors, waves.weights),
            self._cell,
            (torch.from_numpy(by_vectors), torch.from_numpy(cos_x * cos_y + sin_x * sin_y)),
            retain_graph=True,
        )
        strain = self.positions.T @ positions + self.cell.T @ by_cell.numpy()
        return Derivatives(positions, 0.5 * (strain + strain.T), np.zeros(self.n))

    def _by_vectors(self, x: Array, cosine: Array, sine: Array) -> Array:
        """Part of the derivative by the wave vectors (n_waves, 3) at fixed weights."""
        moments = x[:, None] * self.positions
        out = (self.cosines.T @ moments) * sine[:, None]
        out -= (self.sines.T @ moments) * cosine[:, None]
        result: Array = self.weights[:, None] * out
        return result


class DenseOperator(EwaldOperator):
    """The matrix itself, made of the same pairs and waves. See `EwaldOperator`."""

    tier = "dense"

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._matrix = self.matrix()

    def matvec(self, charges: Array) -> Array:
        """Potentials A q (n,) in V."""
        out: Array = self._matrix @ charges
        return out

    def diagonal(self) -> Array:
        """Diagonal of A (n,), eV/e^2."""
        out: Array = np.diagonal(self._matrix).copy()
        return out
