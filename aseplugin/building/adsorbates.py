"""Molecules and atoms on the adsorption sites of a slab."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation

from voltase.aseplugin.building.contacts import closest_contact
from voltase.aseplugin.building.molecules import geometry
from voltase.aseplugin.building.sites import Site, choose_site, probe_height
from voltase.aseplugin.building.slab import Slab
from voltase.aseplugin.building.symmetry import Array, Indices
from voltase.aseplugin.errors import InputError

SHORTEST_BOND = 0.85
"""To an atom of the slab, over the sum of the covalent radii."""
_BINDING = {"CO": "C", "NO": "N", "HCN": "N", "CH3CN": "N"}  # others: the first heavy atom


@dataclass(frozen=True)
class Adsorbate:
    """What is put on how many sites of a name."""

    formula: str
    site: str
    count: int


def parse_adsorbates(given: str | Sequence[str] | None) -> list[Adsorbate]:
    """Adsorbates from ``OH@top:2``; several in a list, or with commas.

    Raises
    ------
    InputError
        If it is not written like that.
    """
    texts = [given] if isinstance(given, str) else list(given or ())
    found = []
    for text in (part.strip() for joined in texts for part in str(joined).split(",")):
        match = re.fullmatch(r"([A-Za-z0-9]+)@(\w+)(?::([1-9]\d{0,3}))?", text)
        if match is None:
            raise InputError(f"adsorb: got {text!r}, expected such as OH@top:2")
        found.append(Adsorbate(match[1], match[2], int(match[3] or 1)))
    return found


def place_adsorbates(slab: Slab, sites: list[Site], wanted: list[Adsorbate],
                     rng: np.random.Generator) -> tuple[Atoms, Indices]:  # fmt: skip
    """Adsorbates as far from each other as their sites allow, upright, turned at random.

    The binding atom is a sum of covalent radii away from the slab.

    Returns
    -------
    atoms : Atoms
    members : ndarray (n,)
        Number of each atom's adsorbate, from 1 on.

    Raises
    ------
    InputError
        If there are too few sites, or adsorbates would overlap.
    """
    used = np.empty((0, 2))
    adsorbates, members = Atoms(), []
    for adsorbate in wanted:
        site = choose_site(sites, adsorbate.site)
        body = geometry(adsorbate.formula, "adsorb")
        for _ in range(adsorbate.count):
            point = _farthest(slab, site, used)
            used = np.vstack([used, point])
            adsorbates += _upright(slab, body, adsorbate.formula, point, rng)
            members += [len(used)] * len(body)
    bodies = np.array(members, dtype=np.int64)
    if len(adsorbates):
        _check(slab, adsorbates, bodies)
    return adsorbates, bodies


def _farthest(slab: Slab, site: Site, used: Array) -> Array:
    """The point of a site that is farthest from those in use."""
    if len(used) == 0:
        return np.asarray(site.points[0])
    lattice = slab.atoms.cell.array[:2, :2]
    steps = np.arange(-1.0, 2.0)
    grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2) @ lattice
    offsets = site.points[:, None, None] - used[None, :, None] + grid
    away = np.linalg.norm(offsets, axis=-1).min(axis=(1, 2))
    best = int(np.argmax(np.round(away, 4)))
    if away[best] < 0.5:
        raise InputError(f"adsorb: got more than {len(site.points)} on {site.name}, of which there "
                         f"are {len(site.points)}")  # fmt: skip
    return np.asarray(site.points[best])


def _upright(slab: Slab, body: Atoms, formula: str, point: Array,
             rng: np.random.Generator) -> Atoms:  # fmt: skip
    atoms = body.copy()
    symbols = atoms.get_chemical_symbols()
    heavy = [k for k, symbol in enumerate(symbols) if symbol != "H"]
    binding = symbols.index(_BINDING[formula]) if formula in _BINDING else [*heavy, 0][0]
    atoms.positions -= atoms.positions[binding]
    others = np.delete(atoms.positions, binding, axis=0)
    if len(others):
        middle = others.mean(axis=0)
        up = np.array([[0.0, 0.0, 1.0]])
        atoms.positions = Rotation.align_vectors(up, middle[None])[0].apply(atoms.positions)
    turn = Rotation.from_rotvec([0.0, 0.0, rng.uniform(0.0, 2.0 * np.pi)])
    height = probe_height(slab.atoms, point, int(atoms.numbers[binding]))
    atoms.positions = turn.apply(atoms.positions) + [*point, height]
    return atoms


def _check(slab: Slab, adsorbates: Atoms, bodies: Indices) -> None:
    alone = adsorbates.copy()
    alone.set_cell(slab.atoms.cell)
    alone.pbc = (True, True, False)
    margin, pair = closest_contact(alone, bodies)
    if margin < 0.0:
        raise InputError(f"adsorb: the adsorbates overlap ({pair}), expected fewer, or a larger "
                         "supercell")  # fmt: skip
    joined = slab.atoms + adsorbates
    i, j, distance = neighbor_list("ijd", joined, 3.0)
    mixed = (i < len(slab.atoms)) & (j >= len(slab.atoms))
    radii = covalent_radii[joined.numbers]
    short = distance[mixed] < SHORTEST_BOND * (radii[i] + radii[j])[mixed]
    if short.any():
        k = int(np.argmax(short))
        names = joined.get_chemical_symbols()
        raise InputError(f"adsorb: {names[j[mixed][k]]} of an adsorbate is "
                         f"{distance[mixed][k]:.2f} A from {names[i[mixed][k]]} of the slab, "
                         "expected a free site")  # fmt: skip
