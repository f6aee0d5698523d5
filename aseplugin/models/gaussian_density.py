"""Densities of Gaussians on a grid as a differentiable function of torch.

The kernels are mutually adjoint, so the derivative of each is another one: of the density by the
coefficients to any order, by the positions once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils.dlpack import from_dlpack

from voltase.aseplugin.kernels import gaussian_density
from voltase.aseplugin.kernels.gaussian_density import TOLERANCE, GaussianBasis


@dataclass(frozen=True)
class GridSpec:
    """Everything the sums depend on but the coefficients and positions; see `density_on_grid`."""

    numbers: npt.ArrayLike
    basis: GaussianBasis
    cell: npt.ArrayLike
    pbc: Sequence[bool]
    shape: tuple[int, int, int]
    origin: npt.ArrayLike
    tolerance: float


def density_on_grid(
    coefficients: Tensor,
    positions: Tensor,
    numbers: npt.ArrayLike,
    basis: GaussianBasis,
    cell: npt.ArrayLike,
    pbc: Sequence[bool],
    shape: Sequence[int],
    *,
    origin: npt.ArrayLike = (0.0, 0.0, 0.0),
    tolerance: float = TOLERANCE,
) -> Tensor:
    """Density on the points of a grid; see `gaussian_density.evaluate`.

    Parameters
    ----------
    coefficients : Tensor (n_coefficients,)
        e. On a GPU the sums run there, on torch's current stream (needs CuPy).
    positions : Tensor (n_atoms, 3)
        A.
    numbers, basis, cell, pbc, shape, origin, tolerance
        As for `gaussian_density.evaluate`.

    Returns
    -------
    Tensor (nx, ny, nz)
        e/A^3, of the type of the coefficients; computed in double precision.
    """
    nx, ny, nz = (int(n) for n in shape)
    spec = GridSpec(numbers, basis, cell, pbc, (nx, ny, nz), origin, tolerance)
    result: Tensor = _Evaluate.apply(coefficients, positions, spec)
    return result


class _Evaluate(Function):
    """Coefficients to density."""

    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, positions: Tensor, spec: GridSpec) -> Tensor:
        ctx.save_for_backward(coefficients, positions)
        ctx.spec = spec
        return _evaluate(coefficients, positions, spec)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        coefficients, positions = ctx.saved_tensors
        by_coefficients = by_positions = None
        if ctx.needs_input_grad[0]:
            by_coefficients = _Adjoint.apply(grads[0], positions, ctx.spec)
        if ctx.needs_input_grad[1]:
            by_positions = _PositionGradient.apply(grads[0], coefficients, positions, ctx.spec)
        return by_coefficients, by_positions, None


class _Adjoint(Function):
    """Grid to coefficients."""

    @staticmethod
    def forward(ctx: Any, grid: Tensor, positions: Tensor, spec: GridSpec) -> Tensor:
        ctx.save_for_backward(grid, positions)
        ctx.spec = spec
        values = gaussian_density.adjoint(_array(grid), *_arguments(positions, spec)[:-1],
                                          **_options(spec))  # fmt: skip
        return _tensor(values, grid)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grid, positions = ctx.saved_tensors
        by_grid = by_positions = None
        if ctx.needs_input_grad[0]:
            by_grid = _Evaluate.apply(grads[0], positions, ctx.spec)
        if ctx.needs_input_grad[1]:
            by_positions = _PositionGradient.apply(grid, grads[0], positions, ctx.spec)
        return by_grid, by_positions, None


class _PositionGradient(Function):
    """Grid and coefficients to the derivative of their product by the positions."""

    @staticmethod
    def forward(ctx: Any, grid: Tensor, coefficients: Tensor, positions: Tensor, spec: GridSpec
                ) -> Tensor:  # fmt: skip
        values = gaussian_density.position_gradient(
            _array(grid), _array(coefficients), *_arguments(positions, spec)[:-1], **_options(spec)
        )
        return _tensor(values, positions)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        raise NotImplementedError("second derivatives of the density by the positions")


def _evaluate(coefficients: Tensor, positions: Tensor, spec: GridSpec) -> Tensor:
    values = gaussian_density.evaluate(_array(coefficients), *_arguments(positions, spec),
                                       **_options(spec))  # fmt: skip
    return _tensor(values, coefficients)


def _arguments(positions: Tensor, spec: GridSpec) -> tuple[Any, ...]:
    r = positions.detach().to("cpu", torch.float64).numpy()
    return spec.numbers, r, spec.basis, spec.cell, spec.pbc, spec.shape


def _options(spec: GridSpec) -> dict[str, Any]:
    return {"origin": spec.origin, "tolerance": spec.tolerance}


def _array(tensor: Tensor) -> Any:
    """The tensor in double precision as an array of its device, without a copy if it is one."""
    values = tensor.detach().to(torch.float64).contiguous()
    if values.is_cuda:
        import cupy

        # Work of torch that is still queued on its stream has to come first.
        cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream).use()
        return cupy.from_dlpack(values)
    return values.numpy()


def _tensor(values: Any, like: Tensor) -> Tensor:
    found: Tensor = from_dlpack(values)
    return found.to(like.device, like.dtype)
