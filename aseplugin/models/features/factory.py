"""The feature network that a configuration asks for."""

from __future__ import annotations

from voltase.aseplugin.models.features.base import FeatureNetwork
from voltase.aseplugin.models.features.config import FeatureConfig


def build_features(config: FeatureConfig, symbols: list[str]) -> FeatureNetwork:
    """Make a feature network with random weights.

    Parameters
    ----------
    config : FeatureConfig
    symbols : list of str
        Elements in ascending atomic number.

    Raises
    ------
    InputError
        If the package that the kind needs is not installed.
    """
    if config.kind == "hipnn":
        from voltase.aseplugin.models.features.hipnn import HIPNNFeatures

        return HIPNNFeatures(config.hipnn, symbols)
    from voltase.aseplugin.models.features.mace import MACEFeatures

    return MACEFeatures(config.mace, symbols)
