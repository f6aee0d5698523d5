"""Which atoms form one node, and which bonds join different nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from voltase.aseplugin.models.charge_equilibration.bonds import STIFF


@dataclass(frozen=True)
class Fragments:
    """Nodes and the bonds between them.

    Attributes
    ----------
    membership : Tensor (n_atoms,)
        Node of each atom, numbered in the order of their first atoms.
    count : int
        Number of nodes.
    stiff, soft : Tensor (n,)
        Bonds of order above and up to 1/2 that join two nodes, as indices into the bonds.
    stiff_ends, soft_ends : Tensor (2, n)
        The nodes they join; charge flows from the first to the second.
    """

    membership: Tensor
    count: int
    stiff: Tensor
    soft: Tensor
    stiff_ends: Tensor
    soft_ends: Tensor

    @classmethod
    def of(cls, n_atoms: int, bonds: Tensor, order: Tensor) -> Fragments:
        """Contract the bonds of order 1.

        Parameters
        ----------
        n_atoms : int
        bonds : Tensor (2, n_bonds)
        order : Tensor (n_bonds,)
        """
        order = order.detach()
        membership, count = _components(n_atoms, bonds[:, order >= 1.0])
        ends = membership[bonds]
        between = (ends[0] != ends[1]) & (order > 0.0)
        stiff = torch.nonzero(between & (order > STIFF)).flatten()
        soft = torch.nonzero(between & (order <= STIFF)).flatten()
        return cls(membership, count, stiff, soft, ends[:, stiff], ends[:, soft])

    @classmethod
    def one(cls, n_atoms: int, device: torch.device) -> Fragments:
        """All atoms in one node: global charge equilibration."""
        none = torch.empty(0, dtype=torch.int64, device=device)
        ends = none.view(2, 0)
        return cls(
            torch.zeros(n_atoms, dtype=torch.int64, device=device), 1, none, none, ends, ends
        )


def connected(n_atoms: int, bonds: Tensor, order: Tensor) -> Tensor:
    """Group of each atom (n_atoms,), where any bond of order above 0 connects."""
    return _components(n_atoms, bonds[:, order.detach() > 0.0])[0]


def _components(n_atoms: int, bonds: Tensor) -> tuple[Tensor, int]:
    first, second = bonds.cpu().numpy()
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(n_atoms, n_atoms))
    count, labels = connected_components(graph, directed=False)
    # In the order of first atoms, whatever order scipy found them in.
    _, start, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(count, dtype=np.int64)
    rank[np.argsort(start)] = np.arange(count)
    return torch.from_numpy(rank[inverse]).to(bonds.device), int(count)
