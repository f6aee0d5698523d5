"""The charge that makes a charged slab neutral, spread over a plane.

A slab with a net charge Q has a field outside on both sides, its energy has no lower bound in Q,
and no potential far away to count from. With -Q on a plane of area S at the height z0 along the
normal, each atom is in a potential 2 pi k_e Q |z - z0|/S more, and the energy is

    q.C.q/2 + (2 pi k_e/S) Q sum_i q_i |z_i - z0|,

a quadratic form that is never negative: the field energy of a neutral cell. Its potentials count
from the mean of the two vacuum levels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.kernels.coulomb import COULOMB
from voltase.aseplugin.models.charge_equilibration.preconditioner import Array, Indices
from voltase.aseplugin.models.electrostatics.boundary import Boundary, measure, normal


class CounterPlane:
    """What a plane of counter charge adds to C: c (h_i + h_j), with h = |z - z0|.

    Parameters
    ----------
    positions : Tensor (n, 3)
    cell : Tensor (3, 3)
    point : Tensor (3,)
        On the plane, A.
    boundary : Boundary
        Of a slab.
    """

    def __init__(self, positions: Tensor, cell: Tensor, point: Tensor, boundary: Boundary) -> None:
        if boundary.kind != "slab":
            raise InputError(
                "counter_plane: got one without exactly two periodic directions, expected a slab"
            )
        self.axes = list(boundary.axes)
        scale, heights = self._terms(positions.detach(), cell.detach(), point.detach())
        self.scale, self.heights = float(scale), heights

    def _terms(self, positions: Tensor, cell: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
        """c in eV/(e^2 A) and h (n,) in A."""
        lattice = cell[self.axes]
        heights = ((positions - point) @ normal(lattice)).abs()
        return 2.0 * math.pi * COULOMB / measure(lattice), heights

    def bilinear(self, x: Tensor, y: Tensor, positions: Tensor, cell: Tensor, point: Tensor
                 ) -> Tensor:  # fmt: skip
        """Part of x . C . y in eV."""
        scale, heights = self._terms(positions, cell, point)
        return scale * (torch.dot(heights, x) * y.sum() + torch.dot(heights, y) * x.sum())

    def matvec(self, charges: Array) -> Array:
        """Part of C q (n,) in V."""
        h = self.heights.numpy()
        out: Array = self.scale * (h * charges.sum() + h @ charges)
        return out

    def matrix(self) -> Tensor:
        """Part of C (n, n) in eV/e^2."""
        return self.scale * (self.heights.unsqueeze(0) + self.heights.unsqueeze(1))

    def block(self, atoms: Indices) -> Array:
        """Part of C for some atoms."""
        h = self.heights.numpy()[atoms]
        out: Array = self.scale * np.add.outer(h, h)
        return out
