"""From settings and data to the network that is trained."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import MISSING, fields, replace
from typing import Any

import torch
from ase.data import atomic_numbers

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel
from voltase.aseplugin.training.atomic_energies import fit_atomic_energies
from voltase.aseplugin.training.config import DataConfig
from voltase.aseplugin.training.correlation_weights import raised_contractions
from voltase.aseplugin.training.dataset import Sample
from voltase.aseplugin.training.domain_weights import weights_for
from voltase.aseplugin.training.first_guesses import (
    fit_capacitors,
    fit_dipole_scales,
    mean_neighbours,
)
from voltase.aseplugin.training.frames import Frame, domain_of
from voltase.aseplugin.training.settings_checks import (
    check_backbone,
    check_config_types,
    check_domains,
    check_elements,
)

LOG = logging.getLogger(__name__)
FROM_DATA = "from the data"
"""Stands for a setting that the data decide."""


def derive_settings(given: dict[str, Any], data: DataConfig, frames: Sequence[Frame],
                    start: PEMACEConfig | None = None) -> PEMACEConfig:  # fmt: skip
    """Settings of the network, as far as they do not need the graphs.

    Parameters
    ----------
    given : dict
        Fields of `PEMACEConfig` (``backbone``: fields of `BackboneConfig`) that are asked for.
    data : DataConfig
    frames : sequence of Frame
    start : PEMACEConfig, optional
        Of the checkpoint whose weights the training starts from.

    Raises
    ------
    InputError
        If a setting is out of range or does not fit the data.
    """
    given = dict(given)
    backbone = BackboneConfig(**given.pop("backbone", {}))
    symbols = given.pop("symbols", None) or _symbols(frames, start)
    used = {domain_of(frame.config_type, data) for frame in frames}
    domains = given.pop("domains", None) or [
        domain for domain in dict.fromkeys(data.domains.values()) if domain in used]  # fmt: skip
    try:
        config = PEMACEConfig(symbols=symbols, domains=domains, backbone=backbone, **given)
    except InputError as error:
        raise InputError(f"model.{error}") from error
    if backbone.pair_cutoffs:
        # The network looks a pair up by its symbols in alphabetical order.
        backbone.pair_cutoffs = {
            "-".join(sorted(pair.split("-"))): r for pair, r in backbone.pair_cutoffs.items()
        }
    check_backbone(backbone, config.symbols)
    check_elements(config, frames)
    check_config_types(data, frames)
    check_domains(config, used, start is not None)
    return config


def defaults_from(start: PEMACEConfig, given: dict[str, Any]) -> dict[str, Any]:
    """Settings asked for, the rest as in a checkpoint whose weights are to be used.

    What depends on the data (elements, domains and their first guesses) is left out, and so is the
    normalisation of the messages if the feature network differs.
    """
    kept = ("electrode_symbols", "embedding", "coupling", "readouts", "n_members", "bond_charges")
    merged = {name: getattr(start, name) for name in kept}
    merged.update(given)
    backbone = {f.name: getattr(start.backbone, f.name) for f in fields(BackboneConfig)}
    asked = given.get("backbone", {})
    if any(backbone[name] != value for name, value in asked.items()):
        backbone["normalisation"] = None
    merged["backbone"] = {**backbone, **asked}
    return merged


def settings_record(given: dict[str, Any]) -> dict[str, Any]:
    """All settings as plain values, with a mark for those that the data decide."""
    record = {**_defaults(PEMACEConfig), **given}
    record["backbone"] = {**_defaults(BackboneConfig), **given.get("backbone", {})}
    for name in ("symbols", "domains", "atomic_energies", "capacitance", "zero_charge_potential",
                 "dipole_scale"):  # fmt: skip
        if name not in given or given[name] is None:
            record[name] = FROM_DATA
    for name in ("avg_num_neighbors", "normalisation"):
        if name not in given.get("backbone", {}) or given["backbone"][name] is None:
            record["backbone"][name] = FROM_DATA
    plain: dict[str, Any] = json.loads(json.dumps(record))
    return plain


def _defaults(kind: Any) -> dict[str, Any]:
    """Defaults of a dataclass's fields; None for a field without one."""
    out: dict[str, Any] = {}
    for f in fields(kind):
        out[f.name] = None if f.default is MISSING else f.default
        if f.default_factory is not MISSING:
            out[f.name] = f.default_factory()
    return out


def build_model(config: PEMACEConfig, samples: Sequence[Sample], neighbours_given: bool, seed: int,
                start: PEMACEModel | None = None) -> PEMACEModel:  # fmt: skip
    """Network with first guesses read off the training samples.

    Parameters
    ----------
    config : PEMACEConfig
        First guesses that are None are filled in (in a copy).
    samples : sequence of Sample
        The training set alone.
    neighbours_given : bool
        Keep ``config.backbone.avg_num_neighbors``.
    seed : int
        Of the weights.
    start : PEMACEModel, optional
        Checkpoint whose atomic energies are kept for domains of the same name.
    """
    config = replace(config, backbone=replace(config.backbone))
    if not neighbours_given:
        config.backbone.avg_num_neighbors = mean_neighbours(samples)
    if config.atomic_energies is None:
        config.atomic_energies = fit_atomic_energies(samples, config)
        if start is not None and start.config.symbols == config.symbols:
            known = dict(zip(start.config.domains, start.atomic_energies.tolist(), strict=True))
            fitted = zip(config.domains, config.atomic_energies, strict=True)
            config.atomic_energies = [known.get(domain, row) for domain, row in fitted]
    capacitance, potential = fit_capacitors(samples, config.domains)
    config.capacitance = config.capacitance or capacitance
    given = (config.zero_charge_potential, config.dipole_scale)
    config.zero_charge_potential = config.zero_charge_potential or potential
    torch.manual_seed(seed)
    model = PEMACEModel(config)
    if given == (None, None) and config.coupling == "dipole" and start is None:
        _scale_dipoles(model, samples)
    if config.backbone.normalisation is None:
        # A structure with all elements: its messages stand for those of the whole set.
        typical = max(samples, key=lambda s: (len(s.graph.species.unique()), s.graph.n_atoms))
        electrode = None if model.closed_form else torch.zeros(1)
        model.backbone.calibrate(replace(typical.graph), electrode)
    return model


def _scale_dipoles(model: PEMACEModel, samples: Sequence[Sample]) -> None:
    """Set potential of zero charge and dipole scale by regression, where the labels allow."""
    config = model.config
    assert config.capacitance is not None
    assert config.zero_charge_potential is not None
    potentials, scales = fit_dipole_scales(model, samples, config.capacitance)
    config.dipole_scale = [1.0 if math.isnan(scale) else scale for scale in scales]
    config.zero_charge_potential = [
        before if math.isnan(fitted) else fitted
        for before, fitted in zip(config.zero_charge_potential, potentials, strict=True)
    ]
    with torch.no_grad():
        electrode = model.electrode
        electrode.dipole_scale.copy_(torch.tensor(config.dipole_scale))
        electrode.zero_charge_potential.copy_(torch.tensor(config.zero_charge_potential))


def take_weights(model: PEMACEModel, start: PEMACEModel) -> tuple[int, int]:
    """Copy the weights of another network where names and shapes agree.

    Of a network with a lower correlation, the higher orders start at zero: it answers as before.

    Returns
    -------
    int, int
        Numbers taken and there are.
    """
    if model.config.symbols != start.config.symbols:
        LOG.warning("init: elements are %s there and %s here: weights are taken by position",
                    ", ".join(start.config.symbols), ", ".join(model.config.symbols))  # fmt: skip
    available = weights_for(model, start) | raised_contractions(model, start)
    taken = total = 0
    left: list[str] = []
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            total += parameter.numel()
            source = available.get(name)
            if source is not None and source.shape == parameter.shape:
                parameter.copy_(source)
                taken += parameter.numel()
            else:
                left.append(name)
    LOG.info("init: took %d of %d weights", taken, total)
    if left:
        LOG.warning("init: %s do not fit and start afresh", ", ".join(left))
    if not taken:
        raise InputError("init: found no weight that fits this model, expected some")
    return taken, total


def _symbols(frames: Sequence[Frame], start: PEMACEConfig | None) -> list[str]:
    found = {symbol for frame in frames for symbol in set(frame.atoms.get_chemical_symbols())}
    if start is not None and found <= set(start.symbols):
        return list(start.symbols)
    return sorted(found, key=lambda s: atomic_numbers[s])
