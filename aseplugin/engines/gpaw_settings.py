"""Settings of the GPAW engine, and cells and grids that suit them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, vdw_alvarez, vdw_radii

from voltase.aseplugin.errors import EngineError, InputError

BELOW_SLAB = 4.0
"""Vacuum under the lowest atom, A."""

ABOVE_ATOMS = 7.5
"""Room above the highest atom, for the implicit solvent and the counter-charge, A."""

PLANES_STEP = 16
"""The number of grid planes along z is a multiple of it: the Poisson solver halves the grid."""

_IN_PLANE_STEP = 4

# Of the counter-charge: GPAW's default distance from the highest atom to its bottom, the distance
# from its top to the upper face of the cell, and what has to remain between the two, all in A.
_CHARGE_GAP = 3.0
_CHARGE_TOP = 0.6
_CHARGE_THICKNESS = 1.0
_LEAST_BELOW = 2.0

JELLIUM: dict[str, Any] = {"top": -_CHARGE_TOP}
"""Region of the counter-charge, as the ``jelliumregion`` of GPAW's SJM."""

LABELS: dict[str, Any] = {
    "mode": "lcao",
    "basis": "dzp",
    "xc": "PBE",
    "setups": {"Pt": "10"},
    "kpts": (2, 2, 1),
    "occupations": {"name": "fermi-dirac", "width": 0.1},
    "mixer": {"backend": "pulay", "beta": 0.05, "nmaxold": 5, "weight": 50},
    "symmetry": {"point_group": False},
    "convergence": {"energy": 5e-4, "density": 1e-3},
    "poissonsolver": {"dipolelayer": "xy", "eps": 1e-7},
}
"""GPAW's parameters behind the labels of Pt(111)/water; the engine's defaults."""


@dataclass(frozen=True)
class Solvent:
    """A dielectric continuum around the atoms; the defaults are those for water.

    Held and Walter, doi:10.1063/1.4900838.

    Attributes
    ----------
    u0 : float
        Height of the repulsive potential at an atom's radius, eV.
    atomic_radii : mapping
        From chemical symbols to radii, A. Other elements have ASE's van der Waals radii, or those
        of Alvarez (doi:10.1039/C3DT50599E) where ASE has none, as for Ir and Ru.
    temperature_K : float
        Of the Boltzmann factor of that potential.
    permittivity : float
        Relative, of the bulk.
    surface_tension : float
        mN/m (dyn/cm).
    """

    u0: float = 0.18
    atomic_radii: Mapping[str, float] = field(default_factory=dict)
    temperature_K: float = 298.15
    permittivity: float = 78.36
    surface_tension: float = 18.4

    def as_dict(self) -> dict[str, Any]:
        """In plain types."""
        return asdict(self) | {"atomic_radii": dict(self.atomic_radii)}

    def radii(self) -> dict[str, float]:
        """Radii of all elements that have one, A."""
        radii = {
            symbol: float(bondi if np.isfinite(bondi) else alvarez)
            for symbol, bondi, alvarez in zip(
                chemical_symbols, vdw_radii, vdw_alvarez.vdw_radii, strict=False
            )
        }
        return {k: v for k, v in radii.items() if np.isfinite(v)} | dict(self.atomic_radii)


WATER = Solvent()


def place_in_cell(atoms: Atoms, below: float = BELOW_SLAB, above: float = ABOVE_ATOMS) -> Atoms:
    """A copy with the lowest atom at height ``below`` and the cell's top ``above`` the highest.

    Parameters
    ----------
    atoms : Atoms
        Slab with its first two cell vectors along the surface; the electrolyte on top.
    below, above : float
        A.

    Returns
    -------
    Atoms
        Periodic along the surface alone; the third cell vector is along z.
    """
    _check_surface(atoms)
    placed = atoms.copy()
    heights = placed.positions[:, 2]
    placed.positions[:, 2] += below - heights.min()
    cell = placed.cell.array.copy()
    cell[2] = 0.0, 0.0, heights.max() + above
    placed.cell = cell
    placed.pbc = True, True, False
    return placed


def grid_points(atoms: Atoms, spacing: float = 0.2) -> tuple[int, int, int]:
    """Numbers of grid points about ``spacing`` (A) apart: multiples of 4, 4 and 16.

    Along the surface they follow the lengths of the cell vectors.
    """
    steps = (_IN_PLANE_STEP, _IN_PLANE_STEP, PLANES_STEP)
    lengths = atoms.cell.lengths()
    first, second, third = (
        step * max(1, round(length / spacing / step))
        for length, step in zip(lengths, steps, strict=True)
    )
    return first, second, third


def check_cell(atoms: Atoms, *, solvated: bool) -> None:
    """Raise :class:`EngineError` if there is no room for vacuum, solvent and counter-charge."""
    _check_surface(atoms)
    if not np.array_equal(atoms.pbc, (True, True, False)):
        raise EngineError(
            f"pbc: found {tuple(map(bool, atoms.pbc))}, expected (True, True, False); "
            "place_in_cell gives it"
        )
    heights = atoms.positions[:, 2]
    top = float(atoms.cell[2, 2])
    needed = _CHARGE_GAP + _CHARGE_THICKNESS + _CHARGE_TOP if solvated else _LEAST_BELOW
    for name, found, least in (
        ("below the lowest", heights.min(), _LEAST_BELOW),
        ("above the highest", top - heights.max(), needed),
    ):
        if found < least:
            raise EngineError(
                f"cell: found {found:.3g} A {name} atom, expected {least:.3g} A or more; "
                "place_in_cell makes room"
            )


def _check_surface(atoms: Atoms) -> None:
    cell = atoms.cell.array
    if abs(cell[:2, 2]).max() > 1e-6 or abs(cell[2, :2]).max() > 1e-6:
        raise InputError("cell: found vectors at an angle, expected two along xy and one along z")
    if abs(np.cross(cell[0], cell[1])[2]) < 1e-6:
        raise InputError("cell: found no area, expected two vectors along the surface")
