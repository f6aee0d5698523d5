"""Preconditioned conjugate gradients for the saddle-point system, on products with C alone.

The preconditioner shares all rows of the system but those of the charges. Residuals therefore
stay in these rows, directions keep to the constraints, and on them the system is positive
definite: ordinary conjugate gradients, with (q, p, m) updated together (Dollar, Gould, Schilders
and Wathen, SIAM J. Matrix Anal. Appl. 28, 170 (2006), doi:10.1137/05063427X).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from voltase.aseplugin.errors import AccuracyError
from voltase.aseplugin.models.charge_equilibration.interaction import Interaction
from voltase.aseplugin.models.charge_equilibration.preconditioner import Array, Preconditioner
from voltase.aseplugin.models.charge_equilibration.saddle_point import Layout

FORCE_PER_CHARGE = 30.0
"""Change of a force with a charge, eV/(A e), that errors of charges count with: twice the largest
seen in water (the field at a proton, and of its own oxygen on it)."""

MOST_ITERATIONS = 400
ROUNDING = 1e-14


class Unknowns(NamedTuple):
    """Charges (n_atoms,), flows (n_stiff,) and potentials (n_nodes + 1,), the last one zero."""

    q: Array
    p: Array
    m: Array

    def plus(self, factor: float, other: Unknowns) -> Unknowns:
        """self + factor * other."""
        return Unknowns(*(a + factor * b for a, b in zip(self, other, strict=True)))


class IterativeSolver:
    """Solves the system by conjugate gradients.

    Parameters
    ----------
    layout : Layout
    interaction : Interaction
    hardness : ndarray (n_atoms,)
        J, eV/e^2.
    preconditioner : Preconditioner
    stiffness : ndarray (n_stiff,)
    compliance : ndarray (n_soft,)
    tolerance : float
        Of the forces, eV/A. With the residual r, T r its preconditioned one and A >= J, the error
        of the charges has |dq|^2 min(J) <= dq.A dq <= r.T r / min(J/G).

    Attributes
    ----------
    iterations : int
        Of the last solution.
    defect : Tensor (n,)
        Residual of the last solution.
    """

    def __init__(self, layout: Layout, interaction: Interaction, hardness: Array,
                 preconditioner: Preconditioner, stiffness: Array, compliance: Array,
                 tolerance: float) -> None:  # fmt: skip
        self.layout, self.interaction, self.hardness = layout, interaction, hardness
        self.preconditioner = preconditioner
        self.stiffness, self.compliance = stiffness, compliance
        self.membership = preconditioner.membership
        self.softest = float(hardness.min())
        self.charge_tolerance = tolerance / FORCE_PER_CHARGE
        self.iterations = 0
        self.defect: Tensor | None = None
        self.start: Unknowns | None = None

    def solve(self, rhs: Tensor) -> Tensor:
        """Solution (n,) of the system for `rhs` (n,).

        Raises
        ------
        AccuracyError
            If the tolerance is not met, or the system is not positive on the free charges.
        """
        sizes = [self.layout.n_atoms, self.layout.n_stiff]
        right = Unknowns(*np.split(rhs.detach().numpy(), np.cumsum(sizes)))
        u, residual = self._begin(right)
        scale = float(np.linalg.norm(right.q)) / self.softest
        target = max(self.charge_tolerance * min(1.0, scale), ROUNDING * scale)
        u, residual, last = self._iterate(u, residual, target)
        # Potentials converge later than charges. A last step of them alone (and of the flows that
        # they drive) leaves charges as they are, and misses the flows' balance by the tolerance.
        u = Unknowns(u.q, u.p + last.p, u.m + last.m)
        missed = residual + last.m[self.membership], -self.preconditioner.node_sum(last.q)
        none = np.zeros(self.layout.n_stiff)
        self.defect = torch.from_numpy(np.concatenate([missed[0], none, missed[1]]))
        return torch.from_numpy(np.concatenate([u.q, u.p, u.m[:-1]]))

    def _begin(self, right: Unknowns) -> tuple[Unknowns, Array]:
        """A start that keeps to the constraints, and its residual."""
        start, self.start = self.start, None
        if start is None:
            u = Unknowns(*self.preconditioner.solve(*right))
            return u, right.q - self._charge_rows(u)
        residual = right.q - self._charge_rows(start), *self._other_rows(start, right)
        step = Unknowns(*self.preconditioner.solve(*residual))
        u = start.plus(1.0, step)
        return u, residual[0] - self._charge_rows(step)

    def _charge_rows(self, u: Unknowns) -> Array:
        """A q - Z m."""
        out: Array = self.hardness * u.q + self.interaction.matvec(u.q) - u.m[self.membership]
        return out

    def _other_rows(self, u: Unknowns, right: Unknowns) -> tuple[Array, Array]:
        """Residuals of the rows of flows and potentials."""
        stiff, soft = (e.numpy() for e in (self.layout.stiff_ends, self.layout.soft_ends))
        n = self.layout.n_nodes + 1
        flows = right.p - self.stiffness * u.p - (u.m[stiff[1]] - u.m[stiff[0]])
        soft_flows = self.compliance * (u.m[soft[1]] - u.m[soft[0]])
        arriving = np.bincount(stiff[1], u.p, n) - np.bincount(stiff[0], u.p, n)
        arriving -= np.bincount(soft[1], soft_flows, n) - np.bincount(soft[0], soft_flows, n)
        nodes = right.m - arriving[:-1] + self.preconditioner.node_sum(u.q)
        return flows, nodes

    def _iterate(self, u: Unknowns, residual: Array, target: float
                 ) -> tuple[Unknowns, Array, Unknowns]:  # fmt: skip
        none = np.zeros(self.layout.n_stiff), np.zeros(self.layout.n_nodes)
        bound = 1.0 / math.sqrt(self.softest * self.preconditioner.smallest_ratio(self.hardness))
        direction: Unknowns | None = None
        before = 1.0
        for iteration in range(MOST_ITERATIONS):
            z = Unknowns(*self.preconditioner.solve(residual, *none))
            now = float(residual @ z.q)
            error = bound * math.sqrt(max(now, 0.0))
            if error <= target:
                self.iterations = iteration
                return u, residual, z
            direction = z if direction is None else z.plus(now / before, direction)
            product = self._charge_rows(direction)
            curvature = float(direction.q @ product)
            if not curvature > 0.0:
                raise AccuracyError(
                    f"hardness: got a curvature of {curvature:.2g} eV along a change of the free "
                    "charges, expected a positive one: their energy has no minimum"
                )
            u = u.plus(now / curvature, direction)
            residual = residual - now / curvature * product
            before = now
        raise AccuracyError(
            f"charges: got an error of up to {error:.2g} e after {MOST_ITERATIONS} iterations, "
            f"expected {target:.2g} e"
        )
