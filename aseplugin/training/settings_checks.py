"""Checks of a network's settings against themselves and against the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ase.data import atomic_numbers

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.pemace import PEMACEConfig
from voltase.aseplugin.training.config import DataConfig
from voltase.aseplugin.training.frames import Frame

LARGEST_CORRELATION = 3
"""Highest body order that the fused contraction evaluates."""


def check_backbone(backbone: BackboneConfig, symbols: Sequence[str]) -> None:
    """Raise InputError if a setting of the feature network is out of range."""
    for name in ("num_bessel", "num_polynomial_cutoff", "max_ell", "channels", "num_interactions",
                 "r_max", "avg_num_neighbors"):  # fmt: skip
        value = getattr(backbone, name)
        _require(f"model.backbone.{name}", value, value > 0, "more than zero")
    _require("model.backbone.correlation", backbone.correlation,
             1 <= backbone.correlation <= LARGEST_CORRELATION,
             f"1 to {LARGEST_CORRELATION}")  # fmt: skip
    widths = list(backbone.radial_mlp)
    positive = bool(widths) and min(widths) > 0
    _require("model.backbone.radial_mlp", widths, positive, "positive widths")
    for pair, radius in (backbone.pair_cutoffs or {}).items():
        parts = pair.split("-")
        if len(parts) != 2 or not set(parts) <= set(symbols):
            raise InputError(
                f"model.backbone.pair_cutoffs: found {pair!r}, expected two of "
                f"{', '.join(symbols)} as in 'H-O'"
            )
        _require(f"model.backbone.pair_cutoffs {pair}", radius, 0.0 < radius <= backbone.r_max,
                 f"more than zero and at most r_max = {backbone.r_max:g} A")  # fmt: skip


def check_elements(config: PEMACEConfig, frames: Iterable[Frame]) -> None:
    """Raise InputError if the elements are not in order or do not cover the frames."""
    numbers = [atomic_numbers[symbol] for symbol in config.symbols]
    if numbers != sorted(set(numbers)):
        raise InputError(
            f"model.symbols: found {', '.join(config.symbols)}, expected ascending atomic numbers"
        )
    if not set(config.electrode_symbols) & set(config.symbols):
        raise InputError(
            f"model.electrode_symbols: found {', '.join(config.electrode_symbols)}, expected some "
            f"of the elements {', '.join(config.symbols)}"
        )
    for frame in frames:
        unknown = set(frame.atoms.get_chemical_symbols()) - set(config.symbols)
        if unknown:
            raise InputError(
                f"{frame.where}: element {', '.join(sorted(unknown))} unknown to the model, "
                f"expected only {', '.join(config.symbols)}"
            )
    for bond in config.bond_charges:
        # A guess for an element that does not occur is harmless, a malformed one is a mistake.
        if len(bond.split("-")) != 2:
            raise InputError(
                f"model.bond_charges: found {bond!r}, expected two symbols as in 'O-H'"
            )


def check_config_types(data: DataConfig, frames: Iterable[Frame]) -> None:
    """Raise InputError if the settings name a config type that no frame has."""
    kinds = {frame.config_type for frame in frames}
    tables: dict[str, Iterable[str]] = {
        "domains": data.domains,
        "weights": data.weights,
        "energy_types": data.energy_types,
    }
    for name, named in tables.items():
        for kind in named:
            if kind not in kinds | {"*"}:
                raise InputError(
                    f"data.{name}: found {kind!r}, expected a config type of the frames "
                    f"({', '.join(sorted(kinds))})"
                )


def check_domains(config: PEMACEConfig, used: set[str], fine_tuning: bool) -> None:
    """Raise InputError if the network's domains do not fit those of the data.

    Parameters
    ----------
    config : PEMACEConfig
    used : set of str
        Domains of the frames.
    fine_tuning : bool
        Whether domains without frames are allowed, their weights coming from a checkpoint.
    """
    listed = ", ".join(config.domains)
    missing = sorted(used - set(config.domains))
    if missing:
        raise InputError(
            f"data.domains: found {missing[0]!r}, expected one of the model's domains ({listed})"
        )
    untrained = [domain for domain in config.domains if domain not in used]
    if untrained and not fine_tuning:
        raise InputError(
            f"model.domains: found no frames for the domain {untrained[0]!r}, expected some"
        )
    for row in config.atomic_energies or []:
        if len(row) != len(config.symbols):
            raise InputError(
                f"model.atomic_energies: found {len(row)} values for a domain, expected one for "
                f"each of {', '.join(config.symbols)}"
            )
    for name in ("capacitance", "dipole_scale"):
        values = getattr(config, name) or []
        _require(f"model.{name}", values, all(v > 0.0 for v in values), "more than zero")


def _require(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise InputError(f"{name}: found {value}, expected {expected}")
