"""Rows by index where no row is taken twice: gathers whose adjoints need no summation."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


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


def scatter_rows(rows: Tensor, slots: Tensor, size: int) -> Tensor:
    """Zero matrix (size, width) with `rows` (n, width) at the unique indices `slots` (n,)."""
    return cast(Tensor, _Scatter.apply(rows, slots, size))


def gather_rows(matrix: Tensor, slots: Tensor) -> Tensor:
    """Rows of `matrix` (size, width) at the unique indices `slots` (n,)."""
    return cast(Tensor, _Gather.apply(matrix, slots, matrix.shape[0]))
