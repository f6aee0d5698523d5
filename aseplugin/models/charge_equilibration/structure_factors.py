"""Sums over atoms of charges times waves, and back, as two functions that differentiate each other.

    sums:      c_k = sum_i x_i cos(k.r_i),  s_k = sum_i x_i sin(k.r_i)
    potential: f_i = sum_k a_k cos(k.r_i) + b_k sin(k.r_i)

Each derivative of one is made of the two again, with more columns (times k or r). So derivatives of
any order are matrix products with the same cosines and sines.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


class Phases:
    """Cosines and sines (n_atoms, n_waves) of one geometry, without gradients.

    Parameters
    ----------
    positions : Tensor (n_atoms, 3)
    vectors : Tensor (n_waves, 3)
    """

    def __init__(self, positions: Tensor, vectors: Tensor) -> None:
        phases = positions.detach() @ vectors.detach().T
        self.cosines, self.sines = torch.cos(phases), torch.sin(phases)

    def sums(self, x: Tensor, positions: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """c and s (n_waves, m) of columns x (n_atoms, m); differentiable in all of them."""
        return cast(tuple[Tensor, Tensor], _Sums.apply(self, x, positions, vectors))

    def potential(self, a: Tensor, b: Tensor, positions: Tensor, vectors: Tensor) -> Tensor:
        """f (n_atoms, m) of columns a and b (n_waves, m); differentiable in all of them."""
        return cast(Tensor, _Potential.apply(self, a, b, positions, vectors))

    def by_geometry(self, x: Tensor, a: Tensor, b: Tensor, positions: Tensor, vectors: Tensor,
                    needed: tuple[bool, bool]) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
        """Derivatives of sum(x * potential(a, b)) in positions and vectors, where needed."""
        by_positions = by_vectors = None
        m = x.shape[1]
        if needed[0]:
            slopes = self.potential(_times(b, vectors), -_times(a, vectors), positions, vectors)
            by_positions = (slopes.view(-1, m, 3) * x.unsqueeze(2)).sum(1)
        if needed[1]:
            c, s = (part.view(-1, m, 3) for part in self.sums(_times(x, positions), positions,
                                                              vectors))  # fmt: skip
            by_vectors = (b.unsqueeze(2) * c - a.unsqueeze(2) * s).sum(1)
        return by_positions, by_vectors


def _times(columns: Tensor, vectors: Tensor) -> Tensor:
    """Each column (n, m) times each component (n, 3), as (n, 3 m)."""
    return (columns.unsqueeze(2) * vectors.unsqueeze(1)).flatten(1)


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, phases: Phases, x: Tensor, positions: Tensor, vectors: Tensor
                ) -> tuple[Tensor, Tensor]:  # fmt: skip
        ctx.phases = phases
        ctx.save_for_backward(x, positions, vectors)
        return phases.cosines.T @ x, phases.sines.T @ x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, positions, vectors = ctx.saved_tensors
        phases: Phases = ctx.phases
        a, b = grads
        by_x = phases.potential(a, b, positions, vectors) if ctx.needs_input_grad[1] else None
        rest = phases.by_geometry(x, a, b, positions, vectors, ctx.needs_input_grad[2:])
        return None, by_x, *rest


class _Potential(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, phases: Phases, a: Tensor, b: Tensor, positions: Tensor, vectors: Tensor
                ) -> Tensor:  # fmt: skip
        ctx.phases = phases
        ctx.save_for_backward(a, b, positions, vectors)
        return phases.cosines @ a + phases.sines @ b

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        a, b, positions, vectors = ctx.saved_tensors
        phases: Phases = ctx.phases
        by_a, by_b = phases.sums(grads[0], positions, vectors)
        rest = phases.by_geometry(grads[0], a, b, positions, vectors, ctx.needs_input_grad[3:])
        return None, by_a, by_b, *rest
