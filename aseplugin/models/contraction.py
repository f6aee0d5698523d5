"""Upstream's symmetric contraction as one polynomial per element and channel.

References: Batatia et al., MACE, arXiv 2206.07697 (equations 8 to 11).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any, cast

import torch
from mace.modules.symmetric_contraction import Contraction, SymmetricContraction
from torch import Tensor, nn

from voltase.aseplugin.models.gather import gather_rows

HIGHEST_CORRELATION = 3


@dataclass
class ElementOrder:
    """Atoms sorted by element.

    Attributes
    ----------
    counts : list of int
        Atoms of each element.
    order : Tensor (n_atoms,)
        Atoms in the order of their elements.
    inverse : Tensor (n_atoms,)
        Position of each atom in that order.
    """

    counts: list[int]
    order: Tensor
    inverse: Tensor

    @classmethod
    def build(cls, species: Tensor, n_elements: int) -> ElementOrder:
        """Sort by the element's index `species` (n_atoms,)."""
        order = torch.argsort(species, stable=True)
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(order.numel(), device=order.device)
        return cls(torch.bincount(species, minlength=n_elements).tolist(), order, inverse)


class FusedContraction(nn.Module):
    """Stands in for upstream's block and keeps its parameters under their names.

    Parameters
    ----------
    upstream : SymmetricContraction
        Of correlation 3 at most.
    """

    def __init__(self, upstream: SymmetricContraction) -> None:
        super().__init__()
        self.contractions = upstream.contractions
        self.components = [2 * ir.l + 1 for _, ir in upstream.irreps_out]
        self.correlation = int(self._block(0).correlation)
        if self.correlation > HIGHEST_CORRELATION:
            raise ValueError(
                f"correlation: found {self.correlation}, expected {HIGHEST_CORRELATION} at most"
            )
        self.elements: ElementOrder | None = None
        self._tables: list[Tensor] | None = None
        self._frozen: list[FrozenPolynomial] | None = None

    def freeze(self, once_differentiable: bool) -> None:
        """Compute the polynomials once and for all; the weights must not change any more.

        Parameters
        ----------
        once_differentiable : bool
            Allow no second derivatives, which saves the backward pass.
        """
        with torch.no_grad():
            self._tables = self._polynomials()
        if once_differentiable and self.components == [1]:
            table = self._tables[0]
            self._frozen = [FrozenPolynomial.build(t, self.correlation) for t in table]

    def forward(self, x: Tensor, node_attrs: Tensor) -> Tensor:
        """Contract the atomic basis.

        Parameters
        ----------
        x : Tensor (n_atoms, channels, (lmax + 1)^2)
        node_attrs : Tensor (n_atoms, n_elements)
            One-hot elements.

        Returns
        -------
        Tensor (n_atoms, sum of channels * components)
        """
        elements = self.elements or ElementOrder.build(node_attrs.argmax(1), node_attrs.shape[1])
        n, channels, width = x.shape
        ordered = gather_rows(x.reshape(n, -1), elements.order).view(n, channels, width)
        tables = self._polynomials() if self._tables is None else self._tables
        out, start = [], 0
        for e, count in enumerate(elements.counts):
            if count:
                chunk = ordered[start : start + count]
                if self._frozen is not None:
                    out.append(self._frozen[e](chunk))
                else:
                    out.append(self._contract(chunk.transpose(0, 1), [t[e] for t in tables]))
            start += count
        return gather_rows(torch.cat(out), elements.inverse)

    def _block(self, i: int) -> Contraction:
        return cast(Contraction, self.contractions[i])

    def _polynomials(self) -> list[Tensor]:
        """Of each block: (n_elements, channels, monomials, components * width)."""
        return [self._polynomial(i) for i in range(len(self.components))]

    def _polynomial(self, i: int) -> Tensor:
        block = self._block(i)
        weights = [block.weights_max, *block.weights]
        orders = range(self.correlation, 0, -1)
        terms = [
            torch.einsum("pok,ekc->ecpo", _folded_basis(block, order, self.components[i]), weight)
            for order, weight in zip(orders, weights, strict=True)
        ]
        return torch.cat(terms, dim=2)

    def _contract(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """x (channels, n, width) -> (n, sum of channels * components)."""
        channels, n, width = x.shape
        monomials = [x.new_ones((channels, n, 1))]
        if self.correlation >= 2:
            monomials.insert(0, x)
        if self.correlation >= 3:
            square = (x.unsqueeze(3) * x.unsqueeze(2)).view(channels, n, width * width)
            monomials.insert(0, square)
        basis = torch.cat(monomials, dim=2)
        out = []
        for weight, components in zip(weights, self.components, strict=True):
            inner = torch.bmm(basis, weight).view(channels, n, components, width)
            value = (inner * x.unsqueeze(2)).sum(3)
            out.append(value.transpose(0, 1).reshape(n, channels * components))
        return torch.cat(out, dim=1)


def _folded_basis(block: Contraction, order: int, components: int) -> Tensor:
    """U tensor of one order as (monomials, components * width, paths)."""
    basis = block.U_tensors(order)
    width = basis.shape[-2]
    shaped = basis.reshape(components, width, width ** (order - 1), basis.shape[-1])
    return shaped.permute(2, 0, 1, 3).reshape(width ** (order - 1), components * width, -1)


@dataclass
class FrozenPolynomial:
    """Cubic polynomials of one element, one a channel, whose slope comes with the value.

    With fully symmetric coefficients, ``value = sum_i x_i (c_i + q_i + l_i)`` and
    ``slope_i = 3 c_i + 2 q_i + l_i``, where c, q and l are quadratic, linear and constant in x.

    Attributes
    ----------
    cubic : Tensor (channels, width, n_pairs) or None
        Coefficients of the products x_j x_k, j <= k; None if there are no cubic terms.
    quadratic : Tensor (channels, width, width)
    linear : Tensor (channels, width, 1)
    pairs : Tensor (2, n_pairs)
    """

    cubic: Tensor | None
    quadratic: Tensor
    linear: Tensor
    pairs: Tensor

    @classmethod
    def build(cls, table: Tensor, correlation: int) -> FrozenPolynomial:
        """From one element's coefficients (channels, monomials, width)."""
        channels, _, width = table.shape
        first, second = torch.triu_indices(width, width, device=table.device)
        exact = table.double()
        parts = [exact.new_zeros((channels, width**order)) for order in (3, 2, 1)]
        start = 0
        for order in range(correlation, 0, -1):
            stop = start + width ** (order - 1)
            parts[3 - order] = exact[:, start:stop].reshape(channels, width**order)
            start = stop
        dtype = table.dtype
        folded = None
        if correlation >= 3:
            cubic = _symmetric(parts[0].view(channels, width, width, width))
            folded = cubic[:, :, first, second] * torch.where(first == second, 1.0, 2.0)
            folded = folded.to(dtype).contiguous()
        quadratic = _symmetric(parts[1].view(channels, width, width)).to(dtype).contiguous()
        linear = parts[2].unsqueeze(2).to(dtype).contiguous()
        return cls(folded, quadratic, linear, torch.stack([first, second]))

    def __call__(self, x: Tensor) -> Tensor:
        """x (n, channels, width) -> (n, channels)."""
        return cast(Tensor, _Cubic.apply(x, self))


def _symmetric(tensor: Tensor) -> Tensor:
    """Average over the permutations of all axes but the first."""
    orders = list(permutations(range(1, tensor.dim())))
    return torch.stack([tensor.permute(0, *order) for order in orders]).mean(0)


class _Cubic(torch.autograd.Function):
    """Value of a `FrozenPolynomial`; the slope is computed along with it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, polynomial: FrozenPolynomial) -> Tensor:
        x = x.permute(1, 2, 0).contiguous()
        quadratic = torch.bmm(polynomial.quadratic, x)
        factor = quadratic + polynomial.linear
        slope = quadratic.mul_(2.0).add_(polynomial.linear)
        if polynomial.cubic is not None:
            first, second = polynomial.pairs
            squares = x.index_select(1, first) * x.index_select(1, second)
            cubic = torch.bmm(polynomial.cubic, squares)
            factor += cubic
            slope.add_(cubic, alpha=3.0)
        value = (x * factor).sum(1)
        ctx.save_for_backward(slope)
        return value.T.contiguous()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return (slope * grads[0].T.unsqueeze(1)).permute(2, 0, 1), None
