"""The symmetric system for charges, flows and potentials: layout, dense matrix and factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from voltase.aseplugin.models.charge_equilibration.fragments import Fragments


@dataclass(frozen=True)
class Layout:
    """Where the unknowns are: charges first, then flows of stiff bonds, then potentials of nodes.

    Attributes
    ----------
    membership : Tensor (n_atoms,)
        Free node of each atom; `n_nodes` for atoms whose node is held at zero potential.
    stiff_ends, soft_ends : Tensor (2, n)
        Free nodes a bond joins, with `n_nodes` for a held one.
    n_nodes : int
        Number of free nodes.
    """

    membership: Tensor
    stiff_ends: Tensor
    soft_ends: Tensor
    n_nodes: int

    @classmethod
    def of(cls, fragments: Fragments, held: Tensor | None) -> Layout:
        """Layout with the nodes of the atoms `held` (n,) at zero potential."""
        number = torch.arange(fragments.count, device=fragments.membership.device)
        free = fragments.count
        if held is not None:
            open_ = torch.ones_like(number, dtype=torch.bool)
            open_[fragments.membership[held]] = False
            free = int(open_.sum())
            number = torch.where(open_, torch.cumsum(open_, 0) - 1, free)
        return cls(
            number[fragments.membership],
            number[fragments.stiff_ends],
            number[fragments.soft_ends],
            free,
        )

    @property
    def n_atoms(self) -> int:
        """Number of charges."""
        return self.membership.shape[0]

    @property
    def n_stiff(self) -> int:
        """Number of flows."""
        return self.stiff_ends.shape[1]

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Charges (n_atoms,), flows (n_stiff,) and potentials (n_nodes + 1,), the last one zero."""
        q, p, m = x.split([self.n_atoms, self.n_stiff, self.n_nodes])
        return q, p, torch.cat([m, m.new_zeros(1)])

    def right_hand_side(self, electronegativity: Tensor, source: Tensor) -> Tensor:
        """(-chi, 0, -Z^T q0)."""
        flows = electronegativity.new_zeros(self.n_stiff)
        return torch.cat([-electronegativity, flows, -self.node_sum(source)])

    def node_sum(self, values: Tensor) -> Tensor:
        """Sum over the atoms of each free node (n_nodes,)."""
        total = values.new_zeros(self.n_nodes + 1).index_add(0, self.membership, values)
        return total[: self.n_nodes]

    def drop(self, m: Tensor, ends: Tensor) -> Tensor:
        """Potential difference of each bond, second node less first; m (n_nodes + 1,)."""
        return m[ends[1]] - m[ends[0]]

    def dense(self, a: Tensor, stiffness: Tensor, compliance: Tensor) -> Tensor:
        """The matrix, from A = diag(J) + C (n_atoms, n_atoms) and the bonds' kappa and w."""
        n, s, f = self.n_atoms, self.n_stiff, self.n_nodes
        matrix = a.new_zeros(n + s + f + 1, n + s + f + 1)
        matrix[:n, :n] = a
        matrix.diagonal()[n : n + s] = stiffness
        atoms = torch.arange(n, device=a.device)
        node = n + s + self.membership
        matrix[atoms, node] = matrix[node, atoms] = -1.0
        flows = n + torch.arange(s, device=a.device)
        for ends, sign in zip(self.stiff_ends, (-1.0, 1.0), strict=True):
            matrix[flows, n + s + ends] = matrix[n + s + ends, flows] = sign
        laplacian = matrix[n + s :, n + s :].reshape(-1)
        first, second = self.soft_ends
        places = torch.cat([first, second, first, second]) * (f + 1)
        places = places + torch.cat([first, second, second, first])
        entries = torch.cat([-compliance, -compliance, compliance, compliance])
        matrix[n + s :, n + s :] = laplacian.index_add(0, places, entries).view(f + 1, f + 1)
        # The last row belongs to the nodes held at zero.
        return matrix[:-1, :-1]


class Solver(Protocol):
    """Solves the system for one right-hand side, without gradients.

    Attributes
    ----------
    iterations : int
        Of the last solution.
    defect : Tensor (n,) or None
        Residual of the last solution; None for no more than rounding.
    """

    iterations: int
    defect: Tensor | None

    def solve(self, rhs: Tensor) -> Tensor:
        """Solution (n,) of the system for `rhs` (n,)."""


class DenseSolver:
    """LU factors of the matrix.

    Parameters
    ----------
    matrix : Tensor (n, n)
    """

    def __init__(self, matrix: Tensor) -> None:
        self.iterations = 0
        self.defect: Tensor | None = None
        self.factors, self.pivots = torch.linalg.lu_factor(matrix)

    def solve(self, rhs: Tensor) -> Tensor:
        """Solution (n,) of the system for `rhs` (n,)."""
        return torch.linalg.lu_solve(self.factors, self.pivots, rhs.unsqueeze(1)).squeeze(1)
