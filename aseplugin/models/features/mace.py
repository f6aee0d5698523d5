"""MACE features: the backbone of PE-MACE without an electrode's input."""

from __future__ import annotations

import torch

from voltase.aseplugin.models.backbone import Backbone, BackboneConfig
from voltase.aseplugin.models.features.base import FeatureNetwork, NodeFeatures
from voltase.aseplugin.models.graph import Graph


class MACEFeatures(FeatureNetwork):
    """Scalars of all layers of a MACE network (arXiv 2206.07697).

    Parameters
    ----------
    config : BackboneConfig
    symbols : list of str
        Elements in ascending atomic number.
    """

    def __init__(self, config: BackboneConfig, symbols: list[str]) -> None:
        super().__init__()
        self.backbone = Backbone(config, symbols, scalar_input=False)
        self.width = config.channels * config.num_interactions

    def forward(self, graph: Graph) -> NodeFeatures:
        """See `FeatureNetwork.forward`."""
        return NodeFeatures(torch.cat(self.backbone(graph).scalars, dim=1))

    def calibrate(self, graph: Graph) -> None:
        """See `Backbone.calibrate`."""
        self.backbone.calibrate(graph)

    def freeze(self) -> None:
        """See `Backbone.freeze`."""
        super().freeze()
        self.backbone.freeze(once_differentiable=True)
