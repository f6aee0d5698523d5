"""Bulk crystals, by name or from a file, in their standard cell."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers, reference_states
from ase.spacegroup import crystal as spacegroup_crystal

from voltase.aseplugin.building.symmetry import SYMPREC, Array, Indices, ask
from voltase.aseplugin.errors import InputError

RUTILE = {
    # a, c in A and u of the oxygen, by neutron diffraction: doi:10.1107/S0108768197001468
    "GeO2": (4.4066, 2.8619, 0.3060),
    "IrO2": (4.5051, 3.1586, 0.3077),
    "RuO2": (4.4968, 3.1049, 0.3053),
    "SnO2": (4.7374, 3.1864, 0.3056),
}
"""Oxides of rutile structure known by name."""

_HEXAGONAL, _CUBIC, _TETRAGONAL = 143, 195, 75  # first space groups of these (and trigonal)


@dataclass(frozen=True)
class Crystal:
    """A crystal in spglib's standard conventional cell, with a primitive cell of one orientation.

    Attributes
    ----------
    name : str
    cell : ndarray (3, 3)
        Conventional, in A.
    primitive : ndarray (3, 3)
        In A.
    fractions : ndarray (n, 3)
        Atoms of the primitive cell, in fractions of it.
    numbers : ndarray (n,)
        Atomic numbers.
    spacegroup : str
        International symbol, such as ``Fm-3m``.
    spacegroup_number : int
    """

    name: str
    cell: Array
    primitive: Array
    fractions: Array
    numbers: Indices
    spacegroup: str
    spacegroup_number: int

    @property
    def hexagonal(self) -> bool:
        """Whether the conventional cell has hexagonal axes."""
        return _HEXAGONAL <= self.spacegroup_number < _CUBIC

    def with_constants(self, a: float | None, c: float | None) -> Crystal:
        """The crystal with other lattice constants in A, fractional coordinates kept.

        Raises
        ------
        InputError
            If one is not positive, or does not fit the crystal system.
        """
        for name, value in (("a", a), ("c", c)):
            if value is not None and not 0.5 < value < 100.0:
                raise InputError(f"{name}: got {value} A, expected a lattice constant in A")
        if a is None and c is None:
            return self
        number = self.spacegroup_number
        if number < _TETRAGONAL:
            raise InputError(f"a: got a lattice constant for {self.name} of space group "
                             f"{self.spacegroup}, expected one only for cubic, tetragonal or "
                             "hexagonal crystals")  # fmt: skip
        if number >= _CUBIC and c is not None:
            raise InputError(f"c: got {c} A for the cubic {self.name}, expected only a")
        lengths = np.linalg.norm(self.cell, axis=1)
        scale = np.ones(3)
        if a is not None:
            scale[: 3 if number >= _CUBIC else 2] = a / lengths[0]
        if c is not None:
            scale[2] = c / lengths[2]
        stretched = self.cell * scale[:, None]
        inside = self.primitive @ np.linalg.inv(self.cell)
        return replace(self, cell=stretched, primitive=inside @ stretched)


def read_crystal(source: str | Path | Atoms, a: float | None = None, c: float | None = None,
                 symprec: float = SYMPREC) -> Crystal:  # fmt: skip
    """A crystal by name, from a file or from Atoms.

    Parameters
    ----------
    source : str, Path or Atoms
        An element that `ase.build.bulk` knows, a name in `RUTILE`, any file that ASE reads (its
        last frame), or a crystal periodic in 3D.
    a, c : float, optional
        Other lattice constants of the conventional cell in A.
    symprec : float
        In A, how far the atoms may be off their ideal places.

    Raises
    ------
    InputError
        If it is none of these, or no crystal.
    """
    if isinstance(source, Atoms):
        atoms, name = source, str(source.symbols.formula.reduce()[0])
    else:
        named = _by_name(str(source))
        atoms = _from_file(Path(source)) if named is None else named
        name = Path(source).stem
    return _standardise(atoms, name, symprec).with_constants(a, c)


def _by_name(name: str) -> Atoms | None:
    if name in RUTILE:
        a, c, u = RUTILE[name]
        return spacegroup_crystal([name[:2], "O"], [(0.0, 0.0, 0.0), (u, u, 0.0)], spacegroup=136,
                                  cellpar=[a, a, c, 90, 90, 90])  # fmt: skip
    if name not in atomic_numbers or name == "X":
        return None
    reference: dict[str, Any] | None = reference_states[atomic_numbers[name]]
    try:
        return bulk(name)
    except (ValueError, KeyError, NotImplementedError) as error:
        found = (reference or {}).get("symmetry", "unknown")
        raise InputError(f"crystal: {name} is {found} in ASE's tables, which it cannot build, "
                         "expected a file with the crystal") from error  # fmt: skip


def _from_file(path: Path) -> Atoms:
    from ase.io import read

    if not path.is_file():
        raise InputError(f"crystal: got {str(path)!r}, expected an element, one of "
                         f"{', '.join(RUTILE)}, or a file that ASE reads")  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CIF readers comment on every loose end
            atoms = read(path)
    # Readers of some eighty formats raise whatever they stumble over.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"crystal: {path} cannot be read ({reason})") from error
    if not isinstance(atoms, Atoms):
        raise InputError(f"crystal: {path} holds no structure")
    return atoms


def _standardise(atoms: Atoms, name: str, symprec: float) -> Crystal:
    import spglib

    if len(atoms) == 0 or not np.isfinite(atoms.positions).all() or (atoms.numbers < 1).any():
        raise InputError(f"crystal: {name} has no atoms, or some without place or element")
    if not atoms.pbc.all() or abs(np.linalg.det(atoms.cell.array)) < 1.0:
        raise InputError(f"crystal: {name} is not periodic in three directions, expected a crystal")
    shares = [sum(site.values()) for site in atoms.info.get("occupancy", {}).values()
              if isinstance(site, dict)]  # fmt: skip
    mixed = [len(site) > 1 for site in atoms.info.get("occupancy", {}).values()]
    if any(mixed) or any(abs(share - 1.0) > 1e-3 for share in shares):
        raise InputError(f"crystal: {name} has sites of partial occupancy, expected an ordered one")
    given = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    found = ask(spglib.get_symmetry_dataset, *given, symprec=symprec)
    if found is None:
        raise InputError(f"crystal: spglib finds no symmetry in {name}, are there two atoms in one "
                         "place?")  # fmt: skip
    standard = ask(spglib.standardize_cell, *given, symprec=symprec)
    primitive = ask(spglib.standardize_cell, *given, to_primitive=True, symprec=symprec)
    return Crystal(name, np.array(standard[0]), np.array(primitive[0]), np.array(primitive[1]),
                   np.array(primitive[2], dtype=np.int64), str(found.international),
                   int(found.number))  # fmt: skip
