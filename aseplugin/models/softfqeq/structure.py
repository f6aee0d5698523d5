"""A structure as the model sees it: graph, cell, and the planes of the counter charge."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from voltase.aseplugin.models.graph import Graph


@dataclass
class Structure:
    """One structure.

    Attributes
    ----------
    graph : Graph
        Of one structure, in float64.
    cell : Tensor (3, 3)
        Rows are lattice vectors, A.
    pbc : tuple of bool
    planes : int
        Planes of counter charge: as many as the electrode has wetted faces, none without an
        electrode or where the cell has no vacuum along the normal.
    """

    graph: Graph
    cell: Tensor
    pbc: tuple[bool, bool, bool]
    planes: int

    def leaves(self, with_strain: bool) -> tuple[Structure, list[Tensor]]:
        """A copy to differentiate in, and what by: positions and, if asked for, a strain (3, 3)."""
        graph = self.graph
        positions = graph.positions.detach().clone().requires_grad_()
        graph = replace(graph, positions=positions)
        if not with_strain:
            return replace(self, graph=graph), [positions]
        strain = torch.zeros(3, 3, device=positions.device, dtype=torch.float64, requires_grad=True)
        symmetric = 0.5 * (strain + strain.T)
        strained = graph.strained(strain)
        cell = self.cell + self.cell @ symmetric
        return replace(self, graph=strained, cell=cell), [positions, strain]

    def to(self, device: torch.device | str) -> Structure:
        """Copy on another device."""
        graph = self.graph.to(device, torch.float64).with_layout()
        return replace(self, graph=graph, cell=self.cell.to(device))

    def heights(self, electrode: Tensor) -> Tensor:
        """Height of each atom above the middle of the electrode along the first face's normal, A.

        Parameters
        ----------
        electrode : Tensor (n_atoms,)
            Which atoms are the electrode's.
        """
        along = self.graph.positions @ self.graph.normals[0]
        return along - along[electrode].mean()
