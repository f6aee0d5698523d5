"""What the layer asks of an electrostatic interaction."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


class Coulomb(Protocol):
    """Bilinear form x . C . y of Gaussian charges.

    Attributes
    ----------
    tensors : tuple of Tensor
        What C depends on and can be differentiated in, float64.
    """

    tensors: tuple[Tensor, ...]

    def bilinear(self, x: Tensor, y: Tensor, *tensors: Tensor) -> Tensor:
        """x . C . y in eV, differentiable in everything; `tensors` stand in for `self.tensors`."""


@runtime_checkable
class ExplicitGradients(Protocol):
    """An interaction with first derivatives of its own."""

    def gradients(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """Derivatives of x . C . y in each of `tensors`, without a graph."""
