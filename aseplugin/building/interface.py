"""Interfaces of a crystal's facet and water, from a few words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms

from voltase.aseplugin.building.adsorbates import parse_adsorbates, place_adsorbates
from voltase.aseplugin.building.contacts import closest_contact
from voltase.aseplugin.building.crystal import Crystal, read_crystal
from voltase.aseplugin.building.facet import Facet, parse_facet
from voltase.aseplugin.building.film import FilmPlan, make_film, plan_film
from voltase.aseplugin.building.molecules import parse_counts
from voltase.aseplugin.building.planes import Stacking, stack_planes
from voltase.aseplugin.building.sampling import CUTOFF, Region
from voltase.aseplugin.building.settings import InterfaceSettings
from voltase.aseplugin.building.sites import Site, find_sites
from voltase.aseplugin.building.slab import Slab, make_slab
from voltase.aseplugin.building.supercell import parse_supercell
from voltase.aseplugin.building.symmetry import Array, Indices, slab_operations, tall_cell
from voltase.aseplugin.building.terminations import (
    Termination,
    choose_termination,
    find_terminations,
    slab_planes,
)
from voltase.aseplugin.errors import InputError


@dataclass(frozen=True)
class CutSlab:
    """A slab and how it was cut from its crystal."""

    crystal: Crystal
    facet: Facet
    stacking: Stacking
    termination: Termination
    slab: Slab


@dataclass(frozen=True)
class BuiltInterface:
    """An interface and what it was built from.

    Attributes
    ----------
    atoms : Atoms
        See `build_interface`.
    cut : CutSlab
    sites : list of Site
        Free adsorption sites of the upper face, before anything was put there.
    film : FilmPlan or None
    """

    atoms: Atoms
    cut: CutSlab
    sites: list[Site]
    film: FilmPlan | None


def build_interface(crystal: str | Path | Atoms, facet: str | Sequence[int], **settings: Any
                    ) -> Atoms:  # fmt: skip
    """A slab of a crystal with a facet, under water with ions.

    Parameters
    ----------
    crystal : str, Path or Atoms
        An element that ASE knows, ``RuO2``, ``IrO2``, ``GeO2`` or ``SnO2`` (rutile), any file that
        ASE reads, or a crystal.
    facet : str or sequence of int
        Miller indices in the standard conventional cell: ``111``, ``1-10``, ``(110)``, or of
        hexagonal crystals ``10-10``.
    **settings
        Fields of `settings.InterfaceSettings`.

    Returns
    -------
    Atoms
        Surface in the xy plane, upright cell. Tags count the layers of the slab from the top and
        are 0 elsewhere; the array ``molecules`` numbers the molecules and is 0 in the slab;
        ``info["building"]`` says how it was made and ``info["charges"]`` holds the charge in e of
        all ions of a kind: with n excess electrons, the cell as a whole carries their sum less n.

    Raises
    ------
    InputError
        If something cannot be built as it was asked for.

    Examples
    --------
    >>> atoms = build_interface("Pt", "111", supercell="3x3", waters=12, ions="Na+", sweeps=50)
    >>> str(atoms.symbols)
    'Pt36NaOH2OH2OH2OH2OH2OH2OH2OH2OH2OH2OH2OH2'
    """
    return assemble(crystal, facet, InterfaceSettings(**settings)).atoms


def list_terminations(crystal: str | Path | Atoms, facet: str | Sequence[int]
                      ) -> list[Termination]:  # fmt: skip
    """The terminations of a facet that `build_interface` takes, by index and name."""
    bulk = read_crystal(crystal)
    return find_terminations(stack_planes(bulk, parse_facet(facet, bulk.hexagonal)))


def cut_slab(source: str | Path | Atoms, facet: str | Sequence[int], settings: InterfaceSettings
             ) -> CutSlab:  # fmt: skip
    """The slab of `build_interface`, bare."""
    crystal = read_crystal(source, settings.a, settings.c)
    indices = parse_facet(facet, crystal.hexagonal)
    stacking = stack_planes(crystal, indices)
    termination = choose_termination(find_terminations(stacking), settings.termination)
    planes = slab_planes(stacking, termination, settings.layers, settings.whole_layers)
    matrix = parse_supercell(settings.supercell, stacking.cell[:2, :2])
    slab = make_slab(stacking, *planes, settings.layers, matrix)
    return CutSlab(crystal, indices, stacking, termination, slab)


def assemble(source: str | Path | Atoms, facet: str | Sequence[int], settings: InterfaceSettings,
             report: Callable[[int], None] | None = None) -> BuiltInterface:  # fmt: skip
    """`build_interface` with all that it found on the way.

    Parameters
    ----------
    source, facet
        See `build_interface`.
    settings : InterfaceSettings
    report : callable, optional
        Told the number of sweeps done.
    """
    cut = cut_slab(source, facet, settings)
    slab = cut.slab
    if settings.water_on == "both" and not slab.symmetric:
        raise InputError("water_on: got both for a slab without symmetry between its faces, "
                         "expected top or between")  # fmt: skip
    film = plan_film(slab.area, settings.thickness, settings.waters, settings.density,
                     parse_counts(settings.ions))  # fmt: skip
    if film is None and settings.water_on == "between":
        raise InputError("water_on: got between without water, expected a thickness or a number "
                         "of waters")  # fmt: skip
    fixed = _fixed(cut, settings)
    sites = find_sites(slab)
    atoms, region = _put_together(slab, sites, film, settings, report)
    if len(fixed):
        atoms.set_constraint(FixAtoms(indices=fixed))
    atoms.info = {
        "building": _record(cut, film, region, settings),
        "charges": _charges(film, 2 if settings.water_on == "both" else 1),
    }
    return BuiltInterface(atoms, cut, sites, film)


def _put_together(slab: Slab, sites: list[Site], film: FilmPlan | None,
                  settings: InterfaceSettings, report: Callable[[int], None] | None
                  ) -> tuple[Atoms, Region | None]:  # fmt: skip
    """Slab, adsorbates and films in their cell, and where the (upper) film is in it."""
    rng = np.random.default_rng(settings.seed)
    cover, molecules = place_adsorbates(slab, sites, parse_adsorbates(settings.adsorb), rng)
    adsorbed, region, height = len(cover), None, None
    if film is not None:
        lower = float(slab.atoms.positions[:, 2].max()) + settings.gap
        region = Region(slab.atoms.cell.array[:2, :2].copy(), lower, lower + film.thickness)
        height = region.upper + settings.gap if settings.water_on == "between" else None
        walls = _walls(slab.atoms + cover, region, height)
        water, members = make_film(film, region, walls, settings.sweeps, rng, report)
        cover += water
        molecules = np.append(molecules, members + molecules.max(initial=0))
    solid = np.arange(len(cover)) < adsorbed
    if settings.water_on == "both":
        cover += _other_side(slab, cover)
        molecules = np.append(molecules, molecules + molecules.max(initial=0))
        solid = np.tile(solid, 2)
    _wrap(cover, molecules, slab.atoms.cell.array[:2, :2])
    cover.set_tags(0)
    atoms = slab.atoms + cover
    bare = np.zeros(len(slab.atoms), dtype=np.int64)
    atoms.set_array("molecules", np.append(bare, molecules))
    shift = _put_in_cell(atoms, settings, height)
    _check_contacts(atoms, np.append(bare, np.where(solid, 0, molecules)))
    if region is not None:
        region = replace(region, lower=region.lower + shift, upper=region.upper + shift)
    return atoms, region


def _walls(solid: Atoms, region: Region, height: float | None) -> tuple[Array, Indices]:
    """Atoms around a film, the next image of the slab included if there is no vacuum."""
    positions, numbers = solid.positions, solid.numbers
    if height is not None:
        positions = np.vstack([positions, positions + [0.0, 0.0, height]])
        numbers = np.tile(numbers, 2)
    reach = CUTOFF + 3.0
    near = (positions[:, 2] > region.lower - reach) & (positions[:, 2] < region.upper + reach)
    return positions[near], numbers[near].astype(np.int64)


def _other_side(slab: Slab, cover: Atoms) -> Atoms:
    """The image of what is on the upper face under an operation that exchanges the faces."""
    atoms = slab.atoms
    found = slab_operations(atoms.cell.array, atoms.positions, atoms.numbers, side=-1)
    if not found:
        raise InputError("supercell: no symmetry operation of the supercell exchanges the faces, "
                         "expected one such as 2x2")  # fmt: skip
    rotation, translation = found[0]
    tall = tall_cell(atoms.cell.array, atoms.positions)
    moved = cover.copy()
    moved.positions = (cover.positions @ np.linalg.inv(tall) @ rotation.T + translation) @ tall
    # Of all images along the normal, the one that takes the upper face to the lower.
    heights = atoms.positions[:, 2]
    moved.positions[:, 2] = heights.max() + heights.min() - cover.positions[:, 2]
    return moved


def _wrap(cover: Atoms, molecules: Indices, lattice: Array) -> None:
    """Move molecules as a whole so that their first atoms are in the cell."""
    first = np.unique(molecules, return_index=True)[1]
    turns = np.floor(cover.positions[first, :2] @ np.linalg.inv(lattice) + 1e-6)
    cover.positions[:, :2] -= turns[np.searchsorted(molecules[first], molecules)] @ lattice


def _put_in_cell(atoms: Atoms, settings: InterfaceSettings, height: float | None) -> float:
    """Set the third vector, move the atoms to the middle and tell how far, A."""
    lower, upper = float(atoms.positions[:, 2].min()), float(atoms.positions[:, 2].max())
    if height is None:
        vacuum = settings.empty_height
        height, shift = upper - lower + vacuum, 0.5 * vacuum - lower
        atoms.pbc = (True, True, False)
    else:
        shift = 0.5 * settings.gap
        atoms.pbc = True
    atoms.cell[2] = 0.0, 0.0, height
    atoms.positions[:, 2] += shift
    return shift


def _fixed(cut: CutSlab, settings: InterfaceSettings) -> Indices:
    """Atoms that are held: the lowest layers, or the middle ones if both faces are wet."""
    slab, stacking, fix = cut.slab, cut.stacking, settings.fixed_layers
    if settings.water_on == "top":
        return np.flatnonzero(slab.atoms.get_tags() > slab.layers - fix)
    heights = slab.atoms.positions[:, 2]
    away = np.abs(heights - 0.5 * (heights.min() + heights.max()))
    half = 0.5 * fix * stacking.period / stacking.layers
    return np.flatnonzero(away < half - 1e-3)


def _check_contacts(atoms: Atoms, bodies: Indices) -> None:
    periodic = atoms.copy()
    periodic.pbc = True
    margin, pair = closest_contact(periodic, bodies)
    if margin < -1e-6:
        raise InputError(f"interface: atoms overlap ({pair}), expected a larger supercell or more "
                         "vacuum")  # fmt: skip


def _charges(film: FilmPlan | None, films: int) -> dict[str, int]:
    """Charge in e of all ions of each kind."""
    charges: Counter[str] = Counter()
    for body in film.ions if film is not None else ():
        if body.charge:
            charges[body.name] += films * body.charge
    return dict(charges)


def _record(cut: CutSlab, film: FilmPlan | None, region: Region | None,
            settings: InterfaceSettings) -> dict[str, Any]:  # fmt: skip
    """How the interface was made, in plain values."""
    record: dict[str, Any] = {
        "crystal": cut.crystal.name,
        "spacegroup": cut.crystal.spacegroup,
        "facet": list(cut.facet),
        "layers": cut.slab.layers,
        "layer_spacing": round(cut.stacking.period / cut.stacking.layers, 6),
        "termination": cut.termination.name,
        "symmetric": cut.slab.symmetric,
        "supercell": cut.slab.matrix.tolist(),
        "surface_vectors": list(cut.stacking.directions),
        "area": round(cut.slab.area, 6),
        "water_on": "none" if film is None else settings.water_on,
        "seed": settings.seed,
    }
    if film is not None and region is not None:
        record["film"] = [round(region.lower, 6), round(region.upper, 6)]
        record["waters"] = film.waters
        record["density"] = round(film.density, 6)
        record["ions"] = dict(Counter(body.name for body in film.ions))
    if settings.adsorb:
        found = parse_adsorbates(settings.adsorb)
        record["adsorbates"] = [f"{each.formula}@{each.site}:{each.count}" for each in found]
    return record
