"""Interfaces whose observables are known, for tests and for trying things out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.build import fcc111
from scipy.spatial.transform import Rotation

HEIGHT = 30.0
"""Of the cell, A."""
APART = 2.4
"""Distance in A between molecules of a made-up film."""
COPIES = ("rotated", "tilted", "left-handed", "permuted", "wrapped")
"""Ways to write the same crystal, see `turned`."""


def hexagonal_slab(
    layers: int = 3, bottom: float = 2.0, height: float = HEIGHT, size: int = 4
) -> Atoms:
    """Pt(111) in a hexagonal cell, its lowest layer at `bottom`."""
    slab = fcc111("Pt", (size, size, layers), a=3.976, vacuum=0.0, orthogonal=False)
    slab.positions[:, 2] += bottom - slab.positions[:, 2].min()
    slab.cell[2] = (0.0, 0.0, height)
    slab.pbc = True
    return slab


def water(
    oxygen: npt.ArrayLike, dipole: npt.ArrayLike, across: npt.ArrayLike = (0.3, 0.5, 0.8124)
) -> Atoms:
    """A molecule with its dipole along a vector and its H-H vector normal to it and `across`."""
    axis = np.asarray(dipole, dtype=float) / np.linalg.norm(dipole)
    other = np.cross(axis, np.asarray(across, dtype=float))
    other /= np.linalg.norm(other)
    half = np.radians(104.5 / 2.0)
    bonds = [np.cos(half) * axis + sign * np.sin(half) * other for sign in (1, -1)]
    points = np.array([np.zeros(3), *(0.97 * np.array(bonds))]) + np.asarray(oxygen)
    return Atoms("OHH", points)


def film(
    rng: np.random.Generator, molecules: int = 20, height: float = HEIGHT, size: int = 4,
    thickness: float = 12.0,
) -> Atoms:  # fmt: skip
    """Randomly turned molecules at random places above the slab, `APART` from one another."""
    atoms = hexagonal_slab(height=height, size=size)
    cell, top = atoms.cell.array, atoms.positions[:, 2].max()
    sites = np.empty((0, 3))
    while len(sites) < molecules:
        fraction = rng.random(3)
        site = fraction @ np.array([cell[0], cell[1], (0.0, 0.0, thickness)])
        vectors = (sites - site) @ np.linalg.inv(cell)
        vectors -= np.rint(vectors) * (1, 1, 0)
        if len(sites) == 0 or np.linalg.norm(vectors @ cell, axis=1).min() > APART:
            sites = np.vstack([sites, site])
    for site in sites:
        atoms += water(site + (0.0, 0.0, top + 2.3), *rng.standard_normal((2, 3)))
    return atoms


def turned(atoms: Atoms, how: str) -> Atoms:
    """The same structure in another orientation or with another cell."""
    copy = atoms.copy()
    if how == "rotated":
        matrix = Rotation.from_euler("zyx", [30, 50, 70], degrees=True).as_matrix()
        copy.set_cell(copy.cell.array @ matrix.T)
        copy.positions = copy.positions @ matrix.T
    elif how == "tilted":
        cell = copy.cell.array.copy()
        cell[2] += cell[0] - 2.0 * cell[1]
        copy.set_cell(cell)
    elif how == "left-handed":
        copy.set_cell(copy.cell.array[[1, 0, 2]])
    elif how == "permuted":
        copy.set_cell(copy.cell.array[[2, 0, 1]])
    elif how == "wrapped":
        copy.positions += np.random.default_rng(0).integers(-2, 3, (len(copy), 3)) @ copy.cell.array
    return copy
