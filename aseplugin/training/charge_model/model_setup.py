"""Where a Soft-FQEq model's settings and first weights come from."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from voltase.aseplugin.errors import CheckpointError, InputError
from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.checkpoint import CARD, load_checkpoint, resolve_checkpoint
from voltase.aseplugin.models.checkpoint import KIND as PE_MACE
from voltase.aseplugin.models.features import FeatureConfig
from voltase.aseplugin.models.features.config import HIPNNConfig
from voltase.aseplugin.models.pemace import PEMACEModel
from voltase.aseplugin.models.softfqeq import SoftFQEqConfig, SoftFQEqModel
from voltase.aseplugin.models.softfqeq.checkpoint import KIND, load_model
from voltase.aseplugin.training.charge_model.energy_readout import energy_readout
from voltase.aseplugin.training.settings_checks import check_backbone

LOG = logging.getLogger(__name__)
LARGEST_CUTOFF = 20.0
"""In A; within it every atom has thousands of neighbours."""
NARROWEST, WIDEST = 0.1, 5.0
"""Widths of an atom's charge in A that the lattice sums are made for."""


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
    try:
        return _read_start(name)
    except (CheckpointError, InputError) as error:
        raise CheckpointError(f"init: {str(error).removeprefix('model: ')}") from error


def _read_start(name: str) -> Start:
    path: Path = resolve_checkpoint(name, KIND) / CARD
    try:
        kind = str(json.loads(path.read_text()).get("kind"))
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error})") from error
    if kind not in (KIND, PE_MACE):
        raise CheckpointError(f"{path} is of kind {kind!r}, expected {KIND!r} or {PE_MACE!r}")
    if kind == KIND:
        model, card = load_model(name)
        return Start(kind, card, dict(model.state_dict()), model.config.symbols,
                     config=model.config)  # fmt: skip
    network, card = load_checkpoint(name)
    if network.config.coupling == "scalar":
        raise CheckpointError(
            f"{name} embeds the electrode's state into its features, expected coupling 'dipole'"
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
    try:
        config = _resolved(given, symbols, start)
        _check_elements(config, given)
        _check_features(config)
        config.check_reach()
    except InputError as error:
        raise InputError(f"model.{error}") from error
    return config


def _resolved(given: dict[str, Any], symbols: Sequence[str], start: Start | None
              ) -> SoftFQEqConfig:  # fmt: skip
    values, features = dict(given), dict(given.get("features") or {})
    if start is not None and start.config is not None:
        first = start.config.as_dict()
        values = {**first, **values}
        features = _merged(first["features"], features)
    if start is not None and start.network is not None:
        values.setdefault("electrode_symbols", list(start.network.config.electrode_symbols))
        features = _features_of_network(start.network, features)
    values.setdefault("symbols", list(start.symbols if start is not None else symbols))
    missing = sorted(set(symbols) - set(values["symbols"]))
    if missing:
        raise InputError(
            f"symbols: found {', '.join(values['symbols'])}, expected {missing[0]} as in the "
            "frames too"
        )
    values["features"] = _features(features)
    values["bond_ranges"] = {
        pair: _two(pair, r) for pair, r in values.get("bond_ranges", {}).items()
    }
    return SoftFQEqConfig(**values)


def _merged(first: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Settings of the features: what is given, else the first ones."""
    merged = {**first, **given}
    for kind in ("mace", "hipnn"):
        if isinstance(given.get(kind), dict):
            merged[kind] = {**first[kind], **given[kind]}
    return merged


def _features_of_network(network: PEMACEModel, given: dict[str, Any]) -> dict[str, Any]:
    """Settings of the features that are a PE-MACE network's; others are refused."""
    backbone = network.config.backbone
    if given.get("kind") not in (None, "mace"):
        raise InputError(
            f"features.kind: found {given['kind']!r} with the network of init, expected 'mace'"
        )
    own = json.loads(json.dumps(asdict(backbone)))
    for name, value in (given.get("mace") or {}).items():
        if json.loads(json.dumps(value)) != own[name]:
            raise InputError(
                f"features.mace.{name}: found {value}, expected {own[name]} as in the network of "
                "init, or nothing"
            )
    return {**given, "kind": "mace", "mace": backbone}


def _check_elements(config: SoftFQEqConfig, given: dict[str, Any]) -> None:
    """Refuse settings for elements that the model does not have."""
    listed = ", ".join(config.symbols)
    for name in ("hardness", "width", "charge", "bond_ranges"):
        for key in given.get(name) or {}:
            if not set(key.split("-") if name == "bond_ranges" else [key]) <= set(config.symbols):
                raise InputError(f"{name}: found {key!r}, expected elements of the model: {listed}")
    if "X" in config.symbols:
        raise InputError(f"symbols: found X, which is no element, expected others: {listed}")
    for symbol, width in config.width.items():
        if not NARROWEST <= width <= WIDEST:
            raise InputError(
                f"width: found {width:g} A for {symbol}, expected {NARROWEST:g} to {WIDEST:g} A"
            )
    if not set(config.electrode_symbols) & set(config.symbols):
        found = ", ".join(config.electrode_symbols)
        if "electrode_symbols" in given:
            raise InputError(f"electrode_symbols: found {found}, expected some of {listed}")
        LOG.warning("model.electrode_symbols: %s is not among the elements %s; the model has no "
                    "electrode", found, listed)  # fmt: skip


def _check_features(config: SoftFQEqConfig) -> None:
    features, mace = config.features, config.features.mace
    if features.kind == "mace":
        try:
            check_backbone(mace, config.symbols)
        except InputError as error:
            message = str(error).removeprefix("model.backbone.")
            raise InputError(f"features.mace.{message}") from error
        for pair in mace.pair_cutoffs or {}:
            if sorted(parts := pair.split("-")) != parts:
                raise InputError(
                    f"features.mace.pair_cutoffs: found {pair!r}, expected alphabetical order as "
                    "in 'H-O'"
                )
        if not 0 <= mace.max_L <= mace.max_ell:
            raise InputError(
                f"features.mace.max_L: found {mace.max_L}, expected 0 to max_ell = {mace.max_ell}"
            )
        scales = mace.normalisation
        if scales is not None and not (len(scales) == mace.num_interactions and min(scales) > 0.0):
            raise InputError(
                f"features.mace.normalisation: found {list(scales)}, expected a number above zero "
                f"for each of {mace.num_interactions} layers"
            )
    reach = features.neighbours.r_max
    if reach > LARGEST_CUTOFF:
        raise InputError(
            f"features.{features.kind}.r_max: found {reach:g} A, expected at most "
            f"{LARGEST_CUTOFF:g} A"
        )


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
