"""Faster CPU equivalents of two blocks of mace-torch, sharing its parameters.

Upstream's message passing materialises one tensor product per edge and its symmetric contraction
one weight tensor per atom; both are bound by memory traffic on a CPU. Here the same sums are
batched matrix products over padded neighbour lists and over the atoms of one element. Parameters
stay where upstream keeps them, so a state dict moves freely between the two forms.

References: Batatia et al., MACE, arXiv 2206.07697 (equations 8 to 11).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from e3nn import o3
from mace.modules.blocks import EquivariantProductBasisBlock, InteractionBlock
from mace.modules.symmetric_contraction import SymmetricContraction
from torch import Tensor, nn

from voltase.aseplugin.models.contraction import FusedContraction
from voltase.aseplugin.models.gather import gather_rows, scatter_rows


@dataclass
class EdgeLayout:
    """Where each edge lies in a neighbour list padded to equal length, atoms in two size classes.

    Attributes
    ----------
    slots : list of (atoms, slots, width)
        For each size class: its number of atoms, the length of their lists, which edges these
        are, and the slot of each in the flattened (atoms * width) padded lists.
    order : Tensor (n_atoms,)
        Position of each atom in the concatenation of the classes.
    """

    classes: list[tuple[int, int, Tensor, Tensor]]
    order: Tensor

    @classmethod
    def build(cls, receivers: Tensor, n_atoms: int) -> EdgeLayout:
        """Lay out edges whose receivers are sorted in ascending order.

        Parameters
        ----------
        receivers : Tensor (n_edges,)
        n_atoms : int
        """
        counts = torch.bincount(receivers, minlength=n_atoms)
        first = torch.cumsum(counts, 0) - counts
        rank = torch.arange(receivers.shape[0], device=receivers.device) - first[receivers]
        split = _best_split(counts)
        few = counts <= split
        members = [torch.nonzero(few).flatten(), torch.nonzero(~few).flatten()]
        classes = []
        for atoms in members:
            if atoms.numel() == 0:
                continue
            width = max(int(counts[atoms].max()), 1)
            row = counts.new_full((n_atoms,), -1)
            row[atoms] = torch.arange(atoms.numel(), device=receivers.device)
            edges = torch.nonzero(row[receivers] >= 0).flatten()
            slots = row[receivers[edges]] * width + rank[edges]
            classes.append((atoms.numel(), width, edges, slots))
        atoms = torch.cat(members)
        order = torch.empty_like(atoms)
        order[atoms] = torch.arange(n_atoms, device=receivers.device)
        return cls(classes, order)

    def to(self, device: torch.device) -> EdgeLayout:
        """Copy on another device."""
        classes = [(n, width, edges.to(device), slots.to(device))
                   for n, width, edges, slots in self.classes]  # fmt: skip
        return EdgeLayout(classes, self.order.to(device))


def _best_split(counts: Tensor) -> int:
    """Neighbour count that separates the two classes with the least padding."""
    values, multiplicity = torch.unique(counts, return_counts=True)
    below = torch.cumsum(multiplicity, 0)
    padded = below * values + (below[-1] - below) * values[-1]
    return int(values[int(torch.argmin(padded))])


class FusedConvolution(nn.Module):
    """Sum over neighbours of radial weight x sender scalar x spherical harmonic.

    Stands in for `conv_tp` of an upstream interaction block whose senders are scalars, through
    upstream's own `conv_fusion` hook.

    Parameters
    ----------
    channels : int
        Number of scalar channels of the senders.
    edge_irreps : o3.Irreps
        Spherical harmonics on the edges, 0e + 1o + ... in ascending order.
    """

    def __init__(self, channels: int, edge_irreps: o3.Irreps) -> None:
        super().__init__()
        self.channels = channels
        self.degrees = [ir.l for _, ir in edge_irreps]
        self.weight_numel = channels * len(self.degrees)
        self.layout: EdgeLayout | None = None

    def forward(self, node_feats: Tensor, edge_attrs: Tensor, weights: Tensor, edge_index: Tensor
                ) -> Tensor:  # fmt: skip
        """Message of every atom.

        Parameters
        ----------
        node_feats : Tensor (n_atoms, channels)
        edge_attrs : Tensor (n_edges, (lmax + 1)^2)
        weights : Tensor (n_edges, channels * n_degrees)
        edge_index : Tensor (2, n_edges)
            Senders and receivers, sorted by receiver.

        Returns
        -------
        Tensor (n_atoms, channels * (lmax + 1)^2)
            In e3nn's layout: for each degree, channels by components.
        """
        n_atoms, n_degrees = node_feats.shape[0], len(self.degrees)
        layout = self.layout or EdgeLayout.build(edge_index[1], n_atoms)
        sender = node_feats.index_select(0, edge_index[0])
        shape = (sender.shape[0], n_degrees, self.channels)
        product = (weights.view(shape) * sender.unsqueeze(1)).flatten(1)
        parts = [
            self._class_message(product, edge_attrs, n, width, edges, slots)
            for n, width, edges, slots in layout.classes
        ]
        return gather_rows(torch.cat(parts), layout.order)

    def _class_message(self, product: Tensor, harmonics: Tensor, n: int, width: int,
                       edges: Tensor, slots: Tensor) -> Tensor:  # fmt: skip
        if edges.numel() != product.shape[0]:
            product, harmonics = gather_rows(product, edges), gather_rows(harmonics, edges)
        product = scatter_rows(product, slots, n * width).view(n, width, -1)
        harmonics = scatter_rows(harmonics, slots, n * width).view(n, width, -1)
        out, start = [], 0
        for i, degree in enumerate(self.degrees):
            left = product[:, :, i * self.channels : (i + 1) * self.channels].transpose(1, 2)
            right = harmonics[:, :, start : start + 2 * degree + 1]
            out.append(torch.bmm(left, right).flatten(1))
            start += 2 * degree + 1
        return torch.cat(out, dim=1)


def fuse(interaction: InteractionBlock, product: EquivariantProductBasisBlock) -> None:
    """Swap the two slow parts of a layer for the forms of this module, in place.

    Parameters
    ----------
    interaction : InteractionBlock
        Must take scalar senders.
    product : EquivariantProductBasisBlock
    """
    irreps = o3.Irreps(interaction.edge_irreps)
    if any(ir != o3.Irrep("0e") for _, ir in irreps):
        raise ValueError(f"interaction: senders are {irreps}, expected scalars (0e) only")
    block: Any = interaction  # upstream's annotations do not name what it tests with hasattr
    block.conv_tp = FusedConvolution(irreps.dim, o3.Irreps(interaction.edge_attrs_irreps))
    block.conv_fusion = True
    contraction = cast(SymmetricContraction, product.symmetric_contractions)
    product.symmetric_contractions = FusedContraction(contraction)  # type: ignore[assignment]
