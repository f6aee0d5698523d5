"""Settings of a Soft-FQEq model, and what they are where nothing is said."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from itertools import combinations_with_replacement
from typing import Any, Literal, get_args

from ase.data import atomic_numbers, covalent_radii

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.features.config import FeatureConfig

NetworkEnergy = Literal["short-range", "neutral"]
HARDNESS = 4.0
"""First guess of the hardness J in eV/e^2, beyond the self-energy of the Gaussian."""
WIDTHS = (0.45, 1.4)
"""Range in A of the first guess of the widths, between which they are 0.95 covalent radii."""
BONDED, APART = 1.25, 1.7
"""Distances over the sum of the covalent radii at which a pair is bonded, and not bonded."""
LEARNED_SCORE = 0.5
"""How much the network can add to, or take from, the score of a bond by its length."""


@dataclass
class SoftFQEqConfig:
    """Everything needed to build a Soft-FQEq model.

    Attributes
    ----------
    symbols : list of str
        Elements in ascending atomic number.
    electrode_symbols : list of str
        Elements that make the electrode.
    features : FeatureConfig
    hidden : int
        Width of the readouts' hidden layers.
    bond_ranges : dict
        For pairs of elements, "H-O" in alphabetical order, the distances in A up to which a pair
        is bonded and from which it is not, before the network has its say. By covalent radii where
        absent.
    bond_hardness : float
        kappa0 in eV/e^2, the hardness of a bond of order 1/2.
    hardness, width, charge : dict
        First guesses of J (eV/e^2), of the Gaussian's standard deviation (A) and of the source
        charge (e), by element.
    train_widths : bool
        Whether the widths are trained.
    counter_height : float
        Height in A of the plane of the counter charge above the middle of the electrode.
    atomic_energies : list of float
        In eV, one an element.
    network_energy : {"short-range", "neutral"}
        What the network's energy is. ``"short-range"`` (arXiv 2604.27910): what the charges'
        energy leaves, E = E_network + E_charges. ``"neutral"``: the whole energy of the uncharged
        cell without a field, to which the charges add what charge and field change. Charges and
        potentials are the same functions of the readouts either way.

    Raises
    ------
    InputError
        If a value is out of place.
    """

    symbols: list[str]
    electrode_symbols: list[str] = field(default_factory=lambda: ["Pt"])
    features: FeatureConfig = field(default_factory=FeatureConfig)
    hidden: int = 64
    bond_ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    bond_hardness: float = 10.0
    hardness: dict[str, float] = field(default_factory=dict)
    width: dict[str, float] = field(default_factory=dict)
    charge: dict[str, float] = field(default_factory=dict)
    train_widths: bool = False
    counter_height: float = 25.0
    atomic_energies: list[float] | None = None
    network_energy: NetworkEnergy = "short-range"

    def __post_init__(self) -> None:
        for name in ("symbols", "electrode_symbols"):
            found = getattr(self, name)
            if not found or any(symbol not in atomic_numbers for symbol in found):
                raise InputError(f"{name}: found {found!r}, expected chemical symbols")
        numbers = [atomic_numbers[symbol] for symbol in self.symbols]
        if numbers != sorted(set(numbers)):
            raise InputError(
                f"symbols: found {', '.join(self.symbols)}, expected ascending atomic numbers"
            )
        if self.network_energy not in get_args(NetworkEnergy):
            raise InputError(
                f"network_energy: found {self.network_energy!r}, expected 'short-range' or "
                "'neutral'"
            )
        if self.hidden < 1:
            raise InputError(f"hidden: found {self.hidden}, expected 1 or more")
        for name in ("bond_hardness", "counter_height"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise InputError(f"{name}: found {value}, expected more than zero")
        for name in ("hardness", "width"):
            for symbol, value in getattr(self, name).items():
                if not (math.isfinite(value) and value > 0.0):
                    raise InputError(f"{name}: found {value} for {symbol}, expected more than zero")
        for pair, (bonded, apart) in self.bond_ranges.items():
            if sorted(parts := pair.split("-")) != parts or len(parts) != 2:
                raise InputError(
                    f"bond_ranges: found {pair!r}, expected two symbols in alphabetical order as "
                    "in 'H-O'"
                )
            if not 0.0 < bonded < apart:
                raise InputError(
                    f"bond_ranges: found {bonded:g} and {apart:g} A for {pair}, expected rising "
                    "distances"
                )
        if self.atomic_energies is not None and len(self.atomic_energies) != len(self.symbols):
            raise InputError(
                f"atomic_energies: found {len(self.atomic_energies)} values, expected one for each "
                f"of {', '.join(self.symbols)}"
            )

    @property
    def backbone(self) -> BackboneConfig:
        """Cut-offs within which neighbours are needed."""
        return self.features.neighbours

    def bond_range(self, first: str, second: str) -> tuple[float, float]:
        """Distances in A up to which two elements are bonded, and from which they are not."""
        pair = "-".join(sorted((first, second)))
        if pair in self.bond_ranges:
            return self.bond_ranges[pair]
        radius = sum(float(covalent_radii[atomic_numbers[s]]) for s in (first, second))
        return BONDED * radius, APART * radius

    def check_reach(self) -> None:
        """Check that the neighbour lists hold every bond.

        Raises
        ------
        InputError
            If a bond range is beyond the cut-off of the features.
        """
        cutoffs = self.backbone.pair_cutoffs or {}
        for pair in combinations_with_replacement(sorted(self.symbols), 2):
            name, (bonded, apart) = "-".join(pair), self.bond_range(*pair)
            end = apart + LEARNED_SCORE * (apart - bonded)
            reach = cutoffs.get(name, self.backbone.r_max)
            if end > reach:
                raise InputError(
                    f"bond_ranges: found {bonded:.2f} and {apart:.2f} A for {name}, by which bonds "
                    f"may reach to {end:.2f} A, expected no more than the cut-off of the features, "
                    f"{reach:g} A"
                )

    def first_hardness(self) -> list[float]:
        """First guess of J, eV/e^2, of each element."""
        return [self.hardness.get(symbol, HARDNESS) for symbol in self.symbols]

    def first_width(self) -> list[float]:
        """First guess of the width, A, of each element."""
        low, high = WIDTHS
        radii = (0.95 * float(covalent_radii[atomic_numbers[s]]) for s in self.symbols)
        guesses = (min(max(radius, low), high) for radius in radii)
        return [self.width.get(s, guess) for s, guess in zip(self.symbols, guesses, strict=True)]

    def as_dict(self) -> dict[str, Any]:
        """Plain types only."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SoftFQEqConfig:
        """Inverse of `as_dict`, also after a passage through JSON."""
        data = dict(data)
        features = FeatureConfig.from_dict(data.pop("features"))
        ranges = {pair: (r[0], r[1]) for pair, r in data.pop("bond_ranges").items()}
        return cls(features=features, bond_ranges=ranges, **data)
