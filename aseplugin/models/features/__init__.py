"""Feature networks: scalars of every atom from its surroundings, one interface for several kinds.

`build_features` makes the network that a `FeatureConfig` asks for: ``mace`` (the message passing of
arXiv 2206.07697, as in PE-MACE) or ``hipnn`` (doi:10.1063/1.5011181, from the package hippynn, an
optional dependency). What reads the features does not know which of them it has.
"""

from voltase.aseplugin.models.features.base import FeatureNetwork, NodeFeatures
from voltase.aseplugin.models.features.config import FeatureConfig, HIPNNConfig
from voltase.aseplugin.models.features.factory import build_features

__all__ = ["FeatureConfig", "FeatureNetwork", "HIPNNConfig", "NodeFeatures", "build_features"]
