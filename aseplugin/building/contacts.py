"""How near atoms of different molecules may come."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from ase.neighborlist import neighbor_list

from voltase.aseplugin.building.symmetry import Array, Indices

NONMETALS = frozenset(
    ("H", "He", "B", "C", "N", "O", "F", "Ne", "Si", "P", "S", "Cl", "Ar", "As", "Se", "Br", "Kr",
     "Te", "I", "Xe")
)  # fmt: skip
_EXTRA = {
    # A beyond the sum of the covalent radii, by what the two atoms are.
    ("hydrogen", "hydrogen"): 1.0,
    ("hydrogen", "nonmetal"): 0.55,
    ("metal", "hydrogen"): 0.35,
    ("nonmetal", "nonmetal"): 1.1,
    ("metal", "nonmetal"): 0.05,
    ("metal", "metal"): 0.0,
}
BOND_STRETCH = 1.25
"""Over the sum of covalent radii, the longest bond in a molecule."""


def contact_distance(first: str, second: str) -> float:
    """Shortest distance in A of two atoms that are not bound to each other.

    The sum of the covalent radii (doi:10.1039/b801115j) and a little more for metals, a lot more
    for two non-metals; for water 2.42 (O-O), 1.52 (O-H) and 1.62 (H-H), for Pt-O 2.07 A.
    """
    kinds = {_kind(first), _kind(second)}
    extra = next(value for pair, value in _EXTRA.items() if set(pair) == kinds)
    radii = [covalent_radii[atomic_numbers[symbol]] for symbol in (first, second)]
    return float(sum(radii)) + extra


def contact_table(numbers: Iterable[int]) -> Array:
    """Contact distances (n, n) of elements in A."""
    symbols = [chemical_symbols[number] for number in numbers]
    return np.array([[contact_distance(a, b) for b in symbols] for a in symbols])


def _kind(symbol: str) -> str:
    if symbol == "H":
        return "hydrogen"
    return "nonmetal" if symbol in NONMETALS else "metal"


def closest_contact(atoms: Atoms, bodies: Indices) -> tuple[float, str]:
    """The pair of atoms of different bodies nearest to, or furthest below, its contact distance.

    Parameters
    ----------
    atoms : Atoms
        Images across all periodic axes count.
    bodies : ndarray (n_atoms,)
        0 for the solid, whose atoms are near each other; a number for each molecule.

    Returns
    -------
    margin : float
        Distance less contact distance, A; infinite without such a pair. Below zero they overlap.
    pair : str
        Such as ``O 12 and H 31, 1.40 A apart``.
    """
    elements = np.unique(atoms.numbers)
    table = contact_table(elements.tolist())
    index = np.searchsorted(elements, atoms.numbers)
    i, j, distance, shift = neighbor_list("ijdS", atoms, float(table.max(initial=1.0)) + 0.5)
    # An image of the same molecule is another molecule.
    other = (bodies[i] != bodies[j]) | ((bodies[i] != 0) & shift.any(axis=1))
    if not other.any():
        return np.inf, "none"
    i, j, distance = i[other], j[other], distance[other]
    margins = distance - table[index[i], index[j]]
    worst = int(np.argmin(margins))
    names = atoms.get_chemical_symbols()
    return float(margins[worst]), (
        f"{names[i[worst]]} {i[worst]} and {names[j[worst]]} {j[worst]}, "
        f"{distance[worst]:.2f} A apart"
    )
