"""Which molecules and ions there are, from the geometry of one frame alone.

Each hydrogen belongs to its nearest oxygen, if that is near enough. Nothing is assumed to stay as
it was: a proton that changes its oxygen changes two species.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols

from voltase.analysis.neighbours import find_pairs, largest_cutoff, nearest

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

OH_BOND = 1.35
"""Longest bond in A between an oxygen and a hydrogen that is nearest to it."""
OXYANION_BOND = 1.95
"""Longest bond in A between an oxygen without hydrogen and the centre of an oxyanion."""
OXYANION_CENTRES = (5, 6, 7, 15, 16, 17, 35, 53)
"""B, C, N, P, S, Cl, Br, I."""
_IS_CENTRE = np.isin(np.arange(120), OXYANION_CENTRES)
SLAB_O_BOND = 2.35
"""Longest bond in A between an adsorbed oxygen and an atom of the slab."""
SLAB_H_BOND = 2.05
"""Longest bond in A between an adsorbed hydrogen and an atom of the slab."""
COLUMNS = ("H2O", "OH", "H3O", "O", "H", "H2O_adsorbed", "OH_adsorbed", "O_adsorbed", "H_adsorbed")
"""Counted in every frame; the last four are parts of the first ones."""


@dataclass(frozen=True)
class Species:
    """The molecules of one frame.

    Attributes
    ----------
    owner : ndarray (n_atoms,)
        For each hydrogen the oxygen it belongs to, else -1.
    hydrogens : ndarray (n_atoms,)
        Number of hydrogens of each oxygen outside the slab; -1 for all other atoms.
    in_oxyanion : ndarray of bool (n_atoms,)
        Oxygens bound to a nonmetal.
    oxyanions : dict
        How many there are of each, such as {"ClO4": 2}.
    """

    owner: Indices
    hydrogens: Indices
    in_oxyanion: Mask
    oxyanions: dict[str, int]

    def with_hydrogens(self, count: int) -> Indices:
        """Oxygens (n,) that have so many hydrogens and are not part of an oxyanion."""
        return np.flatnonzero((self.hydrogens == count) & ~self.in_oxyanion)

    def waters(self, numbers: Indices) -> Indices:
        """Atoms of each water, (n_waters, 3): oxygen, hydrogen, hydrogen."""
        return np.asarray(_waters(self.owner, self.hydrogens, self.in_oxyanion, numbers))


def find_species(cell: Array, positions: Array, numbers: Indices, slab: Mask) -> Species:
    """Assign hydrogens to oxygens, and oxygens to oxyanions.

    Parameters
    ----------
    cell : ndarray (3, 3)
        In standard orientation, A.
    positions : ndarray (n_atoms, 3)
        A.
    numbers : ndarray (n_atoms,)
        Atomic numbers.
    slab : ndarray of bool (n_atoms,)
        Atoms of the electrode; an oxide's oxygens are not counted unless they carry a hydrogen.
    """
    limit = largest_cutoff(cell)
    owner, hydrogens = _assign(cell, positions, numbers, slab, min(OH_BOND, limit))
    in_oxyanion, oxyanions = _find_oxyanions(cell, positions, numbers, hydrogens, limit)
    return Species(owner, hydrogens, in_oxyanion, oxyanions)


@numba.njit(cache=True)
def _assign(
    cell: Array, positions: Array, numbers: Indices, slab: Mask, cutoff: float
) -> tuple[Indices, Indices]:
    """The oxygen of each hydrogen, and the number of hydrogens of each oxygen (n_atoms,)."""
    hydrogen, oxygen = np.flatnonzero(numbers == 1), np.flatnonzero(numbers == 8)
    near = nearest(cell, positions[hydrogen], positions[oxygen], cutoff)
    owner, hydrogens = np.full(len(numbers), -1), np.full(len(numbers), -1)
    hydrogens[oxygen] = 0
    for k in range(len(hydrogen)):
        if near[k] >= 0:
            owner[hydrogen[k]] = oxygen[near[k]]
            hydrogens[oxygen[near[k]]] += 1
    for i in oxygen:
        if slab[i] and hydrogens[i] == 0:
            hydrogens[i] = -1
    return owner, hydrogens


@numba.njit(cache=True)
def _waters(owner: Indices, hydrogens: Indices, in_oxyanion: Mask, numbers: Indices) -> Indices:
    """See `Species.waters`."""
    place, count = np.full(len(owner), -1), 0
    for i in range(len(owner)):
        if hydrogens[i] == 2 and not in_oxyanion[i]:
            place[i] = count
            count += 1
    atoms = np.full((count, 3), -1)
    for i in range(len(owner)):
        if place[i] >= 0:
            atoms[place[i], 0] = i
        k = place[owner[i]] if owner[i] >= 0 and numbers[i] == 1 else -1
        if k >= 0:
            atoms[k, 1 if atoms[k, 1] < 0 else 2] = i
    return atoms


def _find_oxyanions(
    cell: Array, positions: Array, numbers: Indices, hydrogens: Indices, limit: float
) -> tuple[Mask, dict[str, int]]:
    inside = np.zeros(len(numbers), dtype=bool)
    centres = np.flatnonzero(_IS_CENTRE[numbers])
    if len(centres) == 0:
        return inside, {}
    bare = np.flatnonzero(hydrogens >= 0)
    cutoff = min(OXYANION_BOND, limit)
    bonds = find_pairs(cell, positions[centres], positions[bare], cutoff)
    inside[bare[bonds.second]] = True
    oxygens = np.bincount(bonds.first, minlength=len(centres))
    found: dict[str, int] = {}
    for number, count in zip(numbers[centres], oxygens, strict=True):
        if count > 0:
            name = f"{chemical_symbols[number]}O{count if count > 1 else ''}"
            found[name] = found.get(name, 0) + 1
    return inside, found


def count_species(
    species: Species, cell: Array, positions: Array, numbers: Indices, slab: Mask
) -> dict[str, int]:
    """Number of each species, see `COLUMNS`; beside them oxyanions and ions by element.

    ``O`` are oxygens without hydrogen outside slab and oxyanions, ``H`` hydrogens without oxygen;
    the names with ``_adsorbed`` count those of the same kind that are bound to the slab.
    """
    limit = largest_cutoff(cell)
    counts = dict.fromkeys(COLUMNS, 0)
    metal = positions[slab & (numbers != 8)]
    for name, hydrogens in (("H2O", 2), ("OH", 1), ("H3O", 3), ("O", 0)):
        oxygen = species.with_hydrogens(hydrogens)
        counts[name] = len(oxygen)
        if name != "H3O":
            counts[f"{name}_adsorbed"] = _count_bound(
                cell, positions[oxygen], metal, min(SLAB_O_BOND, limit)
            )
    free = np.flatnonzero((numbers == 1) & (species.owner < 0))
    counts["H"] = len(free)
    counts["H_adsorbed"] = _count_bound(cell, positions[free], metal, min(SLAB_H_BOND, limit))
    counts.update(species.oxyanions)
    rest = ~slab & ~np.isin(numbers, (1, 8))
    for number, count in zip(*np.unique(numbers[rest], return_counts=True), strict=True):
        in_anions = sum(
            n for name, n in species.oxyanions.items()
            if name.startswith(f"{chemical_symbols[number]}O")
        )  # fmt: skip
        if count > in_anions:
            counts[chemical_symbols[number]] = int(count - in_anions)
    return counts


def _count_bound(cell: Array, points: Array, metal: Array, cutoff: float) -> int:
    if len(points) == 0 or len(metal) == 0:
        return 0
    return len(np.unique(find_pairs(cell, points, metal, cutoff).first))
