"""Faster CPU equivalents of two blocks of mace-torch, sharing its parameters.

Upstream's message passing materialises one tensor product per edge and its symmetric contraction
one weight tensor per atom; both are bound by memory traffic on a CPU. Here the same sums are
batched matrix products over padded neighbour lists and over the atoms of one element. Parameters
stay where upstream keeps them, so a state dict moves freely between the two forms.

References: Batatia et al., MACE, arXiv 2206.07697 (equations 8 to 11).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from e3nn import o3
from mace.modules.blocks import EquivariantProductBasisBlock, InteractionBlock
from mace.modules.symmetric_contraction import Contraction, SymmetricContraction
from torch import Tensor, nn


class _Scatter(torch.autograd.Function):
    """Rows to unique slots of a zero array; its adjoint is `_Gather` (and so on, at any order)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, slots: Tensor, size: int) -> Tensor:
        ctx.slots = slots
        ctx.size = size
        return rows.new_zeros((size, rows.shape[1])).index_copy_(0, slots, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _Gather.apply(grads[0], ctx.slots, ctx.size), None, None


class _Gather(torch.autograd.Function):
    """Rows at unique slots; the adjoint of `_Scatter`."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, slots: Tensor, size: int) -> Tensor:
        ctx.slots = slots
        ctx.size = size
        return padded.index_select(0, slots)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _Scatter.apply(grads[0], ctx.slots, ctx.size), None, None


@dataclass
class EdgeLayout:
    """Where each edge lies in a neighbour list padded to equal length, atoms in two size classes.

    Attributes
    ----------
    slots : list of (atoms, slots, width)
        For each size class: the receiving atoms (n,), the slot of each of their edges in the
        flattened (n * width) padded list, and which edges these are (edges,).
    order : Tensor (n_atoms,)
        Position of each atom in the concatenation of the classes.
    """

    classes: list[tuple[int, int, Tensor, Tensor]]
    order: Tensor
    inverse: Tensor

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
        members = [torch.nonzero(counts <= split).flatten(), torch.nonzero(counts > split).flatten()]
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
        inverse = torch.cat(members)
        order = torch.empty_like(inverse)
        order[inverse] = torch.arange(n_atoms, device=receivers.device)
        return cls(classes, order, inverse)


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
        product = (weights.view(-1, n_degrees, self.channels) * sender.unsqueeze(1)).flatten(1)
        parts = [
            self._class_message(product, edge_attrs, n, width, edges, slots)
            for n, width, edges, slots in layout.classes
        ]
        return _Gather.apply(torch.cat(parts), layout.order, n_atoms)

    def _class_message(self, product: Tensor, harmonics: Tensor, n: int, width: int,
                       edges: Tensor, slots: Tensor) -> Tensor:  # fmt: skip
        n_edges = product.shape[0]
        if edges.numel() != n_edges:
            product = _Gather.apply(product, edges, n_edges)
            harmonics = _Gather.apply(harmonics, edges, n_edges)
        product = _Scatter.apply(product, slots, n * width).view(n, width, -1)
        harmonics = _Scatter.apply(harmonics, slots, n * width).view(n, width, -1)
        out, start = [], 0
        for i, degree in enumerate(self.degrees):
            left = product[:, :, i * self.channels : (i + 1) * self.channels].transpose(1, 2)
            right = harmonics[:, :, start : start + 2 * degree + 1]
            out.append(torch.bmm(left, right).flatten(1))
            start += 2 * degree + 1
        return torch.cat(out, dim=1)


class FusedContraction(nn.Module):
    """Upstream's symmetric contraction as one polynomial per element and channel.

    Parameters
    ----------
    upstream : SymmetricContraction
        The block whose parameters are used (and kept as a submodule, so that names agree).
    """

    def __init__(self, upstream: SymmetricContraction) -> None:
        super().__init__()
        self.contractions = upstream.contractions
        self.components = [2 * ir.l + 1 for _, ir in upstream.irreps_out]
        width = sum(ir.dim for _, ir in upstream.coupling_irreps) if hasattr(
            upstream, "coupling_irreps") else sum(ir.dim for _, ir in upstream.irreps_in)
        pairs = torch.triu_indices(width, width)
        self.register_buffer("pairs", pairs, persistent=False)
        for i, contraction in enumerate(self.contractions):
            for order in range(1, contraction.correlation + 1):
                basis = _folded_basis(contraction, order, width, self.components[i], pairs)
                self.register_buffer(f"basis_{i}_{order}", basis, persistent=False)

    def forward(self, x: Tensor, node_attrs: Tensor) -> Tensor:
        """Contract the atomic basis.

        Parameters
        ----------
        x : Tensor (n_atoms, channels, (lmax + 1)^2)
        node_attrs : Tensor (n_atoms, n_elements)
            One-hot elements.
        """
        element = node_attrs.argmax(dim=1)
        perm = torch.argsort(element, stable=True)
        inverse = torch.empty_like(perm)
        inverse[perm] = torch.arange(perm.numel(), device=perm.device)
        n, channels, width = x.shape
        counts = torch.bincount(element, minlength=node_attrs.shape[1]).tolist()
        sorted_x = _Gather.apply(x.reshape(n, -1), perm, n).view(n, channels, width)
        weights = [self._polynomial(i) for i in range(len(self.contractions))]
        out, start = [], 0
        for e, count in enumerate(counts):
            if count:
                chunk = sorted_x[start : start + count].transpose(0, 1)
                out.append(self._contract(chunk, [w[e] for w in weights]))
            start += count
        return _Gather.apply(torch.cat(out), inverse, n)

    def _polynomial(self, i: int) -> Tensor:
        """Coefficients (n_elements, channels, monomials, components * width) of block `i`."""
        contraction = self.contractions[i]
        weights = [contraction.weights_max, *contraction.weights]
        orders = range(contraction.correlation, 0, -1)
        blocks = [
            torch.einsum("pok,ekc->ecpo", getattr(self, f"basis_{i}_{order}"), weight)
            for order, weight in zip(orders, weights, strict=True)
        ]
        return torch.cat(blocks, dim=2)

    def _contract(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """x (channels, n, width) -> (n, sum of channels * components)."""
        channels, n, width = x.shape
        order = self.contractions[0].correlation
        monomials = [x.new_ones((channels, n, 1))]
        if order >= 2:
            monomials.insert(0, x)
        if order >= 3:
            square = (x.unsqueeze(3) * x.unsqueeze(2)).view(channels, n, width * width)
            monomials.insert(0, square)
        basis = torch.cat(monomials, dim=2)
        out = []
        for weight, components in zip(weights, self.components, strict=True):
            inner = torch.bmm(basis, weight).view(channels, n, components, width)
            value = (inner * x.unsqueeze(2)).sum(3)
            out.append(value.transpose(0, 1).reshape(n, channels * components))
        return torch.cat(out, dim=1)


def _folded_basis(contraction: Contraction, order: int, width: int, components: int,
                  pairs: Tensor) -> Tensor:  # fmt: skip
    """U tensor of one order as (monomials, components * width, paths)."""
    del pairs
    basis = contraction.U_tensors(order)
    shaped = basis.reshape(components, width, width ** (order - 1), basis.shape[-1])
    return shaped.permute(2, 0, 1, 3).reshape(width ** (order - 1), components * width, -1)


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
    interaction.conv_tp = FusedConvolution(irreps.dim, o3.Irreps(interaction.edge_attrs_irreps))
    interaction.conv_fusion = True
    product.symmetric_contractions = FusedContraction(product.symmetric_contractions)
