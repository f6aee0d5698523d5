"""Where a Soft-FQEq model's settings and first weights come from."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from voltase.aseplugin.errors import CheckpointError, InputError
from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.checkpoint import CARD, load_checkpoint, resolve_checkpoint
from voltase.aseplugin.models.features import FeatureConfig
from voltase.aseplugin.models.features.config import HIPNNConfig
from voltase.aseplugin.models.pemace import PEMACEModel
from voltase.aseplugin.models.softfqeq import SoftFQEqConfig, SoftFQEqModel
from voltase.aseplugin.models.softfqeq.checkpoint import KIND, load_model
from voltase.aseplugin.training.charge_model.energy_readout import energy_readout

LOG = logging.getLogger(__name__)


@dataclass
class Start:
    """A checkpoint to start from.

    Attributes
    ----------
    kind : str
        "soft-fqeq" or "pe-mace".
    card : dict
    weights : dict
        By their names in a Soft-FQEq model.
    symbols : list of str
    backbone : BackboneConfig or None
        Of a PE-MACE model.
    config : SoftFQEqConfig or None
        Of a Soft-FQEq model.
    network : PEMACEModel or None
        Whose energy is the first guess of the short-range energy.
    """

    kind: str
    card: dict[str, Any]
    weights: dict[str, Tensor]
    symbols: list[str]
    backbone: BackboneConfig | None = None
    config: SoftFQEqConfig | None = None
    network: PEMACEModel | None = None


def read_start(name: str) -> Start:
    """Load a checkpoint of either kind.

    Raises
    ------
    CheckpointError
        If it cannot be loaded, or is of another kind.
    """
    path: Path = resolve_checkpoint(name, KIND) / CARD
    try:
        kind = str(json.loads(path.read_text()).get("kind"))
    except (OSError, json.JSONDecodeError, AttributeError) as error:
        raise CheckpointError(f"init: {path} cannot be read ({error})") from error
    if kind == KIND:
        model, card = load_model(name)
        return Start(kind, card, dict(model.state_dict()), model.config.symbols,
                     config=model.config)  # fmt: skip
    network, card = load_checkpoint(name)
    if network.config.coupling == "scalar":
        raise CheckpointError(
            f"init: {name} embeds the electrode's state into its features, expected coupling "
            "'dipole'"
        )
    weights = {f"features.backbone.{k}": v for k, v in network.backbone.state_dict().items()}
    return Start(kind, card, weights, network.config.symbols, backbone=network.config.backbone,
                 network=network)  # fmt: skip


def resolve_model(given: dict[str, Any], symbols: Sequence[str], start: Start | None
                  ) -> SoftFQEqConfig:  # fmt: skip
    """Settings of the model: what is given, else what the start has, else from the data.

    Parameters
    ----------
    given : dict
        Fields of `SoftFQEqConfig`, nested dictionaries under "features".
    symbols : sequence of str
        Elements of the data, in ascending atomic number.
    start : Start, optional

    Raises
    ------
    InputError
        If a value is out of place.
    """
    values = dict(given)
    if start is not None and start.config is not None:
        values = {**start.config.as_dict(), **values}
    values.setdefault("symbols", list(start.symbols if start is not None else symbols))
    missing = sorted(set(symbols) - set(values["symbols"]))
    if missing:
        raise InputError(
            f"symbols: found {', '.join(values['symbols'])}, expected {missing[0]} as in the "
            "frames too"
        )
    features = dict(values.pop("features", None) or {})
    if start is not None and start.backbone is not None:
        features.setdefault("kind", "mace")
        features["mace"] = start.backbone
    values["features"] = _features(features)
    values["bond_ranges"] = {
        pair: _two(pair, r) for pair, r in values.get("bond_ranges", {}).items()
    }
    config = SoftFQEqConfig(**values)
    config.check_reach()
    return config


def _features(given: dict[str, Any]) -> FeatureConfig:
    mace, hipnn = given.get("mace"), given.get("hipnn")
    if isinstance(mace, dict):
        values: dict[str, Any] = {"correlation": 2, **mace}
        for name in ("radial_mlp", "normalisation"):
            if values.get(name) is not None:
                values[name] = tuple(values[name])
        mace = BackboneConfig(**values)
    if isinstance(hipnn, dict):
        hipnn = HIPNNConfig(**hipnn)
    config = FeatureConfig(given.get("kind") or "mace")
    if mace is not None:
        config.mace = mace
    if hipnn is not None:
        config.hipnn = hipnn
    return config


def _two(pair: str, values: Sequence[float]) -> tuple[float, float]:
    if len(values) != 2:
        raise InputError(f"bond_ranges: found {values} for {pair}, expected two distances in A")
    return float(values[0]), float(values[1])


def take_weights(model: SoftFQEqModel, start: Start) -> tuple[int, int]:
    """Copy the weights of a checkpoint where names and shapes agree.

    Returns
    -------
    int, int
        Numbers taken and there are.

    Raises
    ------
    InputError
        If the elements differ, or nothing fits.
    """
    if model.config.symbols != start.symbols:
        raise InputError(
            f"init: found a model of {', '.join(start.symbols)}, expected "
            f"{', '.join(model.config.symbols)}"
        )
    taken = total = 0
    state, weights = model.state_dict(), dict(start.weights)
    if start.network is not None:
        weights |= energy_readout(start.network, model.config.hidden)
    with torch.no_grad():
        for name, value in state.items():
            total += value.numel()
            source = weights.get(name)
            if source is not None and source.shape == value.shape:
                value.copy_(source)
                taken += value.numel()
    if not taken:
        raise InputError("init: found no weight that fits this model, expected some")
    LOG.info("init: took %d of %d weights", taken, total)
    return taken, total
