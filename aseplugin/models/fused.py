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
    """Sum over neighbours of radial weight x (sender's features (x) spherical harmonics).

    Stands in for `conv_tp` of an upstream interaction block, with the same weights and the same
    order of results, through upstream's own `conv_fusion` hook. For a sender's feature of degree l
    each neighbour counts as 2 l + 1 scalar ones, whose "harmonics" are the coupled ones.

    Parameters
    ----------
    upstream : o3.TensorProduct
        Of mode "uvu", with one weight a channel and path.
    """

    def __init__(self, upstream: o3.TensorProduct) -> None:
        super().__init__()
        senders, harmonics = upstream.irreps_in1, upstream.irreps_in2
        self.channels = senders[0].mul
        if any(mul != self.channels for mul, _ in senders):
            raise ValueError(f"interaction: senders are {senders}, expected equal multiplicities")
        self.weight_numel = int(upstream.weight_numel)
        self.layout: EdgeLayout | None = None
        self.sender_degrees = [ir.l for _, ir in senders]
        self.paths: list[tuple[int, int, int]] = []
        for k, path in enumerate(upstream.instructions):
            l1, l2 = senders[path.i_in1].ir.l, harmonics[path.i_in2].ir.l
            l3 = upstream.irreps_out[path.i_out].ir.l
            self.paths.append((path.i_in1, l2, l3))
            coupling = path.path_weight * o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
            self.register_buffer(f"coupling_{k}", coupling, persistent=False)

    def forward(self, node_feats: Tensor, edge_attrs: Tensor, weights: Tensor, edge_index: Tensor
                ) -> Tensor:  # fmt: skip
        """Message of every atom.

        Parameters
        ----------
        node_feats : Tensor (n_atoms, channels * sum of (2 l + 1))
            In e3nn's layout: for each degree, channels by components.
        edge_attrs : Tensor (n_edges, (lmax + 1)^2)
        weights : Tensor (n_edges, n_paths * channels)
        edge_index : Tensor (2, n_edges)
            Senders and receivers, sorted by receiver.

        Returns
        -------
        Tensor (n_atoms, channels * sum over paths of (2 l + 1))
        """
        n_atoms = node_feats.shape[0]
        layout = self.layout or EdgeLayout.build(edge_index[1], n_atoms)
        senders = self._by_degree(node_feats.index_select(0, edge_index[0]))
        radial = weights.view(-1, len(self.paths), self.channels)
        out = []
        for k, (source, _, l3) in enumerate(self.paths):
            components = senders[source].shape[1]
            left = (radial[:, k].unsqueeze(1) * senders[source]).flatten(1)
            right = self._coupled(k, edge_attrs)
            out.append(self._sum(left, right, components, 2 * l3 + 1, layout))
        return gather_rows(torch.cat(out, dim=1), layout.order)

    def _by_degree(self, features: Tensor) -> list[Tensor]:
        """Features (n, ...) of each degree as (n, 2 l + 1, channels)."""
        out, start = [], 0
        for degree in self.sender_degrees:
            width = self.channels * (2 * degree + 1)
            block = features[:, start : start + width]
            block = block.view(len(features), self.channels, 2 * degree + 1)
            out.append(block.transpose(1, 2))
            start += width
        return out

    def _coupled(self, k: int, harmonics: Tensor) -> Tensor:
        """Harmonics coupled with the sender's components, (n_edges, (2 l1 + 1) * (2 l3 + 1))."""
        l2 = self.paths[k][1]
        coupling = getattr(self, f"coupling_{k}").to(harmonics)
        block = harmonics[:, l2 * l2 : (l2 + 1) * (l2 + 1)]
        return block @ coupling.transpose(0, 1).reshape(2 * l2 + 1, -1)

    def _sum(self, left: Tensor, right: Tensor, inner: int, outer: int, layout: EdgeLayout
             ) -> Tensor:  # fmt: skip
        """Sum over neighbours and components, (n_atoms, channels * outer) in the layout's order."""
        parts = []
        for n, width, edges, slots in layout.classes:
            a, b = left, right
            if edges.numel() != left.shape[0]:
                a, b = gather_rows(left, edges), gather_rows(right, edges)
            a = scatter_rows(a, slots, n * width).view(n, width * inner, self.channels)
            b = scatter_rows(b, slots, n * width).view(n, width * inner, outer)
            parts.append(torch.bmm(a.transpose(1, 2), b).flatten(1))
        return torch.cat(parts)


def fuse(interaction: InteractionBlock, product: EquivariantProductBasisBlock) -> None:
    """Swap the two slow parts of a layer for the forms of this module, in place.

    Parameters
    ----------
    interaction : InteractionBlock
    product : EquivariantProductBasisBlock
    """
    block: Any = interaction  # upstream's annotations do not name what it tests with hasattr
    block.conv_tp = FusedConvolution(block.conv_tp)
    block.conv_fusion = True
    contraction = cast(SymmetricContraction, product.symmetric_contractions)
    product.symmetric_contractions = FusedContraction(contraction)  # type: ignore[assignment]
