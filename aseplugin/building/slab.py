"""Slabs: a number of layers of a crystal, in a supercell, between two faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from voltase.aseplugin.building.planes import Stacking
from voltase.aseplugin.building.supercell import translations
from voltase.aseplugin.building.symmetry import Array, Indices, has_equivalent_faces


@dataclass(frozen=True)
class Slab:
    """A slab in the xy plane.

    Attributes
    ----------
    atoms : Atoms
        The supercell, periodic along the first two vectors, lowest atom at z = 0; tags count the
        layers from the top, 1 for the uppermost, as in `ase.build`.
    unit : Atoms
        One surface cell of it, in the orientation of the supercell.
    matrix : ndarray (2, 2)
        Supercell in surface cells.
    layers : int
    symmetric : bool
        Whether an operation exchanges the faces.
    """

    atoms: Atoms
    unit: Atoms
    matrix: Indices
    layers: int
    symmetric: bool

    @property
    def area(self) -> float:
        """Of one face in A^2."""
        cell = self.atoms.cell.array
        return float(np.linalg.norm(np.cross(cell[0], cell[1])))


def make_slab(stacking: Stacking, lower: int, upper: int, layers: int, matrix: Indices) -> Slab:
    """The slab between two planes, both included.

    Parameters
    ----------
    stacking : Stacking
    lower, upper : int
        Planes, see `terminations.slab_planes`.
    layers : int
        For the tags; planes that make no whole layer belong to the nearest.
    matrix : ndarray (2, 2)
        Rows are the supercell's vectors in surface cells.
    """
    unit = _unit(stacking, lower, upper)
    unit.set_tags(_tags(unit.positions[:, 2], stacking.period / stacking.layers, layers))
    cell = unit.cell.array.copy()
    turn = _turn(matrix @ cell[:2])
    unit.set_cell(cell @ turn)
    unit.positions[:] = unit.positions @ turn
    shifts = translations(matrix) @ unit.cell.array[:2]
    atoms = Atoms(
        numbers=np.tile(unit.numbers, len(shifts)),
        positions=(shifts[:, None] + unit.positions).reshape(-1, 3),
        tags=np.tile(unit.get_tags(), len(shifts)),
        cell=np.vstack([matrix @ unit.cell.array[:2], unit.cell.array[2]]),
        pbc=(True, True, False),
    )
    atoms.wrap(eps=1e-6)
    # By layers from the bottom, as a person reads a list of atoms.
    order = np.lexsort((*np.round(atoms.positions[:, :2], 4).T, np.round(atoms.positions[:, 2], 4)))
    symmetric = has_equivalent_faces(unit.cell.array, unit.positions, unit.numbers)
    return Slab(atoms[order], unit, matrix, layers, symmetric)


def _unit(stacking: Stacking, lower: int, upper: int) -> Atoms:
    """One surface cell of a slab."""
    fractions, numbers = [], []
    for plane in range(lower, upper + 1):
        turns, own = divmod(plane, len(stacking.planes))
        members = stacking.planes[own]
        fractions.append(stacking.fractions[members] + [0.0, 0.0, turns])
        numbers.append(stacking.numbers[members])
    positions = np.concatenate(fractions) @ stacking.cell
    positions[:, 2] -= positions[:, 2].min()
    cell = stacking.cell.copy()
    cell[2] = 0.0, 0.0, max(float(np.ptp(positions[:, 2])), 1.0)
    unit = Atoms(numbers=np.concatenate(numbers), positions=positions, cell=cell,
                 pbc=(True, True, False))  # fmt: skip
    unit.wrap(eps=1e-6)
    return unit


def _tags(heights: Array, spacing: float, layers: int) -> Indices:
    """Layers from the top, counted from 1, of equal spacing about the middle of the slab."""
    middle = 0.5 * (heights.min() + heights.max())
    # An atom on a border, as there is for an even number of planes too many, goes down.
    ranks = np.floor((heights - middle) / spacing + 0.5 * layers - 1e-6)
    return layers - np.clip(ranks, 0, layers - 1).astype(np.int64)


def _turn(vectors: Array) -> Array:
    """Rotation about z, for rows from the right, that takes the first vector to x."""
    x, y = vectors[0, :2] / np.linalg.norm(vectors[0, :2])
    return np.array([[x, -y, 0.0], [y, x, 0.0], [0.0, 0.0, 1.0]])
