"""Which analyses make up each command, and how options become their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    import MDAnalysis as mda

    from voltase.analysis.base import InterfaceAnalysis


class Part(NamedTuple):
    """An analysis of a command.

    Attributes
    ----------
    name : str
        Of its figure and its NPZ file.
    where : str
        Module and class.
    options : tuple of str
        Of the command, that it takes.
    """

    name: str
    where: str
    options: tuple[str, ...]


class Command(NamedTuple):
    """A command of ``pe-analyze``."""

    summary: str
    parts: tuple[str, ...]


PARTS = {
    part.name: part
    for part in (
        Part("profile", "density:DensityProfile", ("width",)),
        Part("rdf", "rdf:SlabRDF", ("pairs", "r_max", "width", "region")),
        Part("orientation", "orientation:WaterOrientation", ("width", "layers", "pointing")),
        Part("hbonds", "hbonds:HydrogenBonds",
             ("distance", "angle", "definition", "layers", "width")),
        Part("coverage", "coverage:SiteCoverage", ("o_distance", "h_distance")),
        Part("residence", "residence:Residence", ("layers", "tolerance", "max_lag", "fit")),
        Part("reorientation", "reorientation:Reorientation",
             ("layers", "max_lag", "fit", "bonds")),
        Part("diffusion", "diffusion:InPlaneMSD", ("layers", "max_lag", "fit")),
        Part("vdos", "vdos:VibrationalDOS", ("layers", "max_lag")),
        Part("dipole", "dipole:NetDipole", ("charges", "region", "temp")),
        Part("potential", "potential:ChargeProfile",
             ("charges", "net_charge", "boundary", "smearing", "width")),
        Part("species", "species_counts:SpeciesCounts", ()),
    )
}  # fmt: skip
COMMANDS = {
    "rdf": Command("Radial distribution functions, with the normalisation of a slab.", ("rdf",)),
    "profile": Command("Densities along the surface normal.", ("profile",)),
    "orientation": Command("Dipoles and O-H bonds of water by layer.", ("orientation",)),
    "hbonds": Command("Hydrogen bonds by layer.", ("hbonds",)),
    "coverage": Command("Chemisorbed water, OH, O and H by site.", ("coverage",)),
    "residence": Command("Survival and exchange of water between layers.", ("residence",)),
    "dynamics": Command("Reorientation and in-plane diffusion of water by layer.",
                        ("reorientation", "diffusion")),
    "vdos": Command("Velocity autocorrelation and vibrational spectrum by layer.", ("vdos",)),
    "dipole": Command("Dipole of the water at each face, and fluctuations of n and Phi.",
                      ("dipole",)),
    "potential": Command("Water dipole, charge density and electrostatic potential.",
                         ("dipole", "potential")),
    "species": Command("H2O, OH, H3O, adsorbates and ions in every frame.", ("species",)),
    "all": Command("Everything above in one pass, with a report to look at.", tuple(PARTS)),
}  # fmt: skip
_NAMES = {"temp": "temperature"}
# Nothing in common between these but their name: under "all" each keeps its default.
_OWN_DEFAULTS = {"all": ("width", "region", "max_lag", "fit")}


def options_of(command: str) -> list[str]:
    """Names of the options that a command takes beside the common ones."""
    taken = dict.fromkeys(o for part in COMMANDS[command].parts for o in PARTS[part].options)
    return [name for name in taken if name not in _OWN_DEFAULTS.get(command, ())]


def build(
    command: str, universe: mda.Universe, given: Mapping[str, Any], electrode: str | None
) -> dict[str, InterfaceAnalysis]:
    """The analyses of a command, by name; of several, those that its elements allow.

    Parameters
    ----------
    command : str
    universe : Universe
    given : mapping
        Values of the options as they came from the command line; None where not given.
    electrode : str, optional

    Raises
    ------
    InputError
        If a value cannot be used.
    """
    from importlib import import_module

    values = {name: _PARSERS.get(name, _plain)(value) for name, value in given.items()
              if value is not None}  # fmt: skip
    built = {}
    for name in COMMANDS[command].parts:
        part = PARTS[name]
        module, _, class_name = part.where.partition(":")
        cls = getattr(import_module(f"voltase.analysis.{module}"), class_name)
        arguments = {_NAMES.get(o, o): values[o] for o in part.options if o in values}
        if name == "rdf":
            arguments.setdefault("pairs", default_pairs(universe))
            if not arguments["pairs"] and len(COMMANDS[command].parts) > 1:
                continue
        built[name] = cls(universe, electrode=electrode, **arguments)
    return built


def default_pairs(universe: mda.Universe) -> list[str]:
    """O-O and O-H, as far as there are oxygen and hydrogen."""
    from voltase.analysis.base import atomic_numbers_of

    numbers = set(atomic_numbers_of(universe).tolist())
    return [pair for pair, needed in (("O-O", {8}), ("O-H", {1, 8})) if needed <= numbers]


def _plain(value: Any) -> Any:
    return value


def _parse_pairs(text: str) -> list[str]:
    return [pair.strip() for pair in text.split(",") if pair.strip()]


def _parse_numbers(text: str, option: str, separator: str = ",") -> list[float]:
    try:
        return [float(value) for value in text.split(separator)]
    except ValueError:
        raise InputError(
            f"--{option}: found '{text}', expected numbers with '{separator}' between them"
        ) from None


def _parse_range(text: str, option: str) -> tuple[float, float]:
    numbers = _parse_numbers(text, option, ":")
    if len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise InputError(f"--{option}: found '{text}', expected two ascending numbers, FROM:TO")
    return numbers[0], numbers[1]


def parse_layers(text: str) -> list[float]:
    """Outer ends of layers in A from a text such as ``2.7,4.5``."""
    return _parse_numbers(text, "layers")


def parse_charges(text: str, option: str = "charges") -> dict[str, float]:
    """Charges in e by element from a text such as ``O=-0.8,H=0.4``; ``option`` is what gave it."""
    charges = {}
    for item in text.split(","):
        symbol, _, value = item.partition("=")
        try:
            charges[symbol.strip()] = float(value)
        except ValueError:
            raise InputError(
                f"--{option}: found '{item}', expected an element and its charge, such as O=-0.8"
            ) from None
    return charges


_PARSERS: dict[str, Any] = {
    "pairs": _parse_pairs,
    "layers": parse_layers,
    "region": lambda text: _parse_range(text, "region"),
    "fit": lambda text: _parse_range(text, "fit"),
    "charges": parse_charges,
}
