"""Molecules and ions as rigid bodies: names, charges, geometries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.data import atomic_numbers, covalent_radii

from voltase.aseplugin.building.contacts import BOND_STRETCH
from voltase.aseplugin.building.symmetry import Array, Indices
from voltase.aseplugin.errors import InputError

ION_CHARGES = {
    **dict.fromkeys(("Li", "Na", "K", "Rb", "Cs", "Ag", "H3O", "NH4"), 1),
    **dict.fromkeys(("Mg", "Ca", "Sr", "Ba", "Zn", "Cu", "Ni", "Co", "Fe"), 2),
    **dict.fromkeys(("Al", "La"), 3),
    **dict.fromkeys(("F", "Cl", "Br", "I", "OH", "CN", "ClO4", "NO3", "BF4", "PF6"), -1),
    **dict.fromkeys(("SO4", "CO3"), -2),
}
"""Charges in e that settle how an ion's name is read: ClO4- is no (ClO)4-."""

_TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3.0)
_OCTAHEDRON = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
_TRIANGLE = np.array([[1, 0, 0], [-0.5, 0.75**0.5, 0], [-0.5, -(0.75**0.5), 0]])
_PYRAMID = np.array([[0.926, 0, -0.378], [-0.463, 0.802, -0.378], [-0.463, -0.802, -0.378]])
_BUILT_IN = {
    # Central atom, its neighbours, bond length in A and directions of the bonds.
    "ClO4": ("Cl", "O", 1.45, _TETRAHEDRON),
    "SO4": ("S", "O", 1.49, _TETRAHEDRON),
    "BF4": ("B", "F", 1.40, _TETRAHEDRON),
    "NH4": ("N", "H", 1.03, _TETRAHEDRON),
    "PF6": ("P", "F", 1.61, _OCTAHEDRON),
    "NO3": ("N", "O", 1.26, _TRIANGLE),
    "CO3": ("C", "O", 1.30, _TRIANGLE),
    "H3O": ("O", "H", 0.98, _PYRAMID),
}
_OOH = Atoms("OOH", positions=[[0, 0, 0], [0, 0, 1.42], [0.955, 0, 1.64]])
WATER_CHARGES = (-0.8476, 0.4238, 0.4238)
"""Of O, H, H in e: SPC/E water, doi:10.1021/j100308a038."""
_PROTON = 0.42  # e, of hydrogen bound to oxygen or nitrogen


@dataclass(frozen=True)
class Body:
    """A rigid molecule or ion.

    Attributes
    ----------
    name : str
        As given, such as ``ClO4-``.
    numbers : ndarray (n,)
        Atomic numbers, the central atom first.
    positions : ndarray (n, 3)
        In A, the central atom at the origin.
    charge : int
        In e.
    partial_charges : ndarray (n,)
        In e, for the sampling alone.
    """

    name: str
    numbers: Indices
    positions: Array
    charge: int
    partial_charges: Array

    @property
    def reach(self) -> float:
        """Distance in A from the centre to the outermost atom that is no hydrogen."""
        heavy = self.numbers > 1
        return float(np.linalg.norm(self.positions[heavy], axis=1).max(initial=0.0))

    @property
    def replaced_waters(self) -> int:
        """Molecules of water whose room it takes: one for two heavy atoms, at least one."""
        return max(1, round(0.5 * int((self.numbers > 1).sum())))


def water() -> Body:
    """A molecule of water with the charges of SPC/E."""
    atoms = molecule("H2O")
    return Body("H2O", atoms.numbers.astype(np.int64), atoms.positions - atoms.positions[0], 0,
                np.array(WATER_CHARGES))  # fmt: skip


def read_body(name: str, argument: str = "ions") -> Body:
    """A molecule or ion by its name, the charge at its end: ``Na+``, ``SO4--``, ``Ca2+``, ``O2``.

    Raises
    ------
    InputError
        If its geometry or its charge is unknown.
    """
    formula, charge = _split_charge(name.strip(), argument)
    atoms = geometry(formula, argument)
    centre = _central_atom(atoms)
    order = np.argsort(np.arange(len(atoms)) != centre, kind="stable")
    atoms = atoms[order]
    return Body(name.strip(), atoms.numbers.astype(np.int64),
                atoms.positions - atoms.positions[0], charge,
                _partial_charges(atoms, charge))  # fmt: skip


def geometry(formula: str, argument: str = "ions") -> Atoms:
    """Atoms of a built-in ion, an element or what `ase.build.molecule` knows.

    Raises
    ------
    InputError
        If it is none of these.
    """
    if formula in _BUILT_IN:
        centre, outer, length, directions = _BUILT_IN[formula]
        positions = np.vstack([np.zeros(3), length * directions])
        return Atoms([centre] + [outer] * len(directions), positions=positions)
    if formula == "OOH":
        return _OOH.copy()
    if formula in atomic_numbers and formula != "X":
        return Atoms(formula)
    try:
        atoms = molecule(formula)
    except (KeyError, NotImplementedError) as error:
        raise InputError(
            f"{argument}: got {formula!r}, expected an element, one of {', '.join(_BUILT_IN)} or "
            "a formula that ase.build.molecule knows"
        ) from error
    return Atoms(numbers=atoms.numbers, positions=atoms.positions)


def parse_counts(given: str | Mapping[str, int] | None, argument: str = "ions") -> dict[str, int]:
    """Names and numbers: ``Na+:2,ClO4-:1`` or a mapping; a name alone means one.

    Raises
    ------
    InputError
        If it cannot be read, a name occurs twice or a number is not positive.
    """
    if given is None:
        return {}
    if isinstance(given, str):
        parts = [part.strip() for part in given.split(",")]
        pairs = [(name.strip(), count.strip() or "1") for name, _, count in
                 (part.rpartition(":") if ":" in part else (part, "", "1")
                  for part in parts)]  # fmt: skip
    elif isinstance(given, Mapping):
        pairs = [(str(name), str(count)) for name, count in given.items()]
    else:
        raise InputError(f"{argument}: got {given!r}, expected names and numbers")
    found: dict[str, int] = {}
    for name, count in pairs:
        if not name or not re.fullmatch(r"[1-9]\d{0,4}", count):
            raise InputError(f"{argument}: got {given!r}, expected such as NAME:2, a name and a "
                             "positive number")  # fmt: skip
        if name in found:
            raise InputError(f"{argument}: got {name} twice, expected it once with its number")
        found[name] = int(count)
    return found


def _split_charge(name: str, argument: str) -> tuple[str, int]:
    """Formula and charge of a name."""
    written = name.replace("\N{MINUS SIGN}", "-").replace("\N{SUPERSCRIPT PLUS SIGN}", "+")
    found = re.fullmatch(r"([A-Za-z0-9]+?)(\^?)(\d*)([+-]+)(\d*)", written)
    if found is None:
        if name in ION_CHARGES and name not in ("OH", "CN"):
            known = ION_CHARGES[name]
            raise InputError(f"{argument}: got {name!r} without a charge, expected such as "
                             f"{name}{('+' if known > 0 else '-') * abs(known)}")  # fmt: skip
        return name, 0
    stem, caret, digits, signs, after = found.groups()
    if len(set(signs)) > 1 or (len(signs) > 1 and after):
        raise InputError(f"{argument}: got {name!r}, expected a name such as Na+ or SO4--")
    sign = 1 if signs[0] == "+" else -1
    if caret or after or not digits:
        return str(stem), sign * int(digits or after or len(signs))
    # ClO4-, Ca2+, SO42-: digits belong to the formula, to the charge, or to both.
    readings = [(stem + digits, sign * len(signs)), (stem + digits[:-1], sign * int(digits[-1]))]
    settled = [reading for reading in readings if ION_CHARGES.get(reading[0]) == reading[1]]
    elements = [(stem, sign * int(digits))] if stem in atomic_numbers else []
    return (settled or elements or readings)[0]


def _central_atom(atoms: Atoms) -> int:
    """The heavy atom nearest to the middle of the heavy ones."""
    heavy = np.flatnonzero(atoms.numbers > 1)
    if len(heavy) == 0:
        heavy = np.arange(len(atoms))
    middle = atoms.positions[heavy].mean(axis=0)
    return int(heavy[np.argmin(np.linalg.norm(atoms.positions[heavy] - middle, axis=1))])


def _partial_charges(atoms: Atoms, charge: int) -> Array:
    """Acid protons positive, the rest on the atoms with the fewest bonds, equal in sum to charge.

    Rough, and enough to turn the water around an ion the right way.
    """
    if len(atoms) == 1:
        return np.array([float(charge)])
    radii = covalent_radii[atoms.numbers]
    distances = atoms.get_all_distances()
    bound = (distances < BOND_STRETCH * (radii[:, None] + radii)) & (distances > 0.0)
    polar = np.isin(atoms.numbers, (7, 8))
    protons = (atoms.numbers == 1) & (bound & polar[None]).any(axis=1)
    charges = np.where(protons, _PROTON, 0.0)
    heavy = atoms.numbers > 1
    if not heavy.any():
        return np.full(len(atoms), charge / len(atoms))
    if charge == 0 and not protons.any():
        return charges
    bonds = (bound & heavy[None]).sum(axis=1) if heavy.sum() > 1 else np.zeros(len(atoms))
    takers = heavy & (bonds == bonds[heavy].min())
    if charge == 0:
        takers = heavy & (bound & protons[None]).any(axis=1)
    charges[takers] += (charge - charges.sum()) / takers.sum()
    return charges
