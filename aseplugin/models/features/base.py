"""What every feature network is to those who read its features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from voltase.aseplugin.models.graph import Graph


class NodeFeatures(NamedTuple):
    """Invariant features of every atom.

    Attributes
    ----------
    scalars : Tensor (n_atoms, width)
        Of all layers, side by side.
    """

    scalars: Tensor


class FeatureNetwork(nn.Module, ABC):
    """A network from a graph to scalars of every atom; computes in the type of its weights.

    Attributes
    ----------
    width : int
        Number of scalars of an atom.
    """

    width: int

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        return next(self.parameters()).dtype

    @abstractmethod
    def forward(self, graph: Graph) -> NodeFeatures:
        """Features of every atom.

        Parameters
        ----------
        graph : Graph
        """

    def calibrate(self, graph: Graph) -> None:
        """Bring the features of a new network to a useful scale, from a typical structure."""

    def freeze(self) -> None:
        """Prepare for use with weights that do not change any more."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)
