"""Pairs of atoms within a cut-off, periodic images included."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from vesin import NeighborList

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.electrostatics.operators import Array

Indices = npt.NDArray[np.int32]

COINCIDENT = 1e-4
"""Two atoms nearer than this, in A, count as the same place."""


class Neighbours(NamedTuple):
    """Every pair once; an atom is also a pair with its own images.

    Attributes
    ----------
    first, second : ndarray of int32 (n_pairs,)
    shifts : ndarray of int32 (n_pairs, 0, 2 or 3)
        Lattice vectors added to second - first.
    """

    first: Indices
    second: Indices
    shifts: Indices


def find_pairs(positions: Array, lattice: Array, cutoff: float) -> Neighbours:
    """Pairs within a cut-off, which may exceed the cell.

    Parameters
    ----------
    positions : ndarray (n, 3)
        A; inside the cell or not.
    lattice : ndarray (0, 2 or 3, 3)
        The periodic lattice vectors, A.
    cutoff : float
        A; infinite for all pairs where nothing repeats.

    Raises
    ------
    InputError
        If two atoms are at the same place.
    """
    if math.isinf(cutoff):
        first, second = (x.astype(np.int32) for x in np.triu_indices(len(positions), 1))
        shifts = np.zeros((len(first), 0), dtype=np.int32)
        apart = np.linalg.norm(positions[second] - positions[first], axis=1)
    else:
        found = NeighborList(cutoff=cutoff, full_list=False).compute(
            points=positions,
            box=_box(positions, lattice, cutoff),
            periodic=[axis < len(lattice) for axis in range(3)],
            quantities="ijSd",
        )
        first, second = found[0].astype(np.int32), found[1].astype(np.int32)
        shifts, apart = np.ascontiguousarray(found[2][:, : len(lattice)]), found[3]
    if len(apart) and not apart.min() > COINCIDENT:
        nearest = int(apart.argmin())
        raise InputError(
            f"positions: atoms {first[nearest]} and {second[nearest]} are {apart[nearest]:.2g} A "
            "apart, expected distinct places"
        )
    return Neighbours(first, second, shifts)


def _box(positions: Array, lattice: Array, cutoff: float) -> Array:
    """Three vectors; those that do not repeat only have to enclose the atoms."""
    if len(lattice) == 3:
        return lattice
    if len(lattice) == 0:
        return float(np.ptp(positions, axis=0).max() + cutoff) * np.eye(3)
    normal = np.cross(lattice[0], lattice[1])
    normal /= np.linalg.norm(normal)
    return np.vstack([lattice, (np.ptp(positions @ normal) + cutoff) * normal])


class SkinPairs:
    """Pairs that are kept from one geometry to the next until atoms have moved too far.

    Parameters
    ----------
    skin : float
        Extra cut-off, A.

    Attributes
    ----------
    builds : int
        Lists built so far.
    """

    def __init__(self, skin: float) -> None:
        if not skin > 0.0:
            raise InputError(f"skin: got {skin} A, expected more than 0")
        self.skin, self.builds = skin, 0
        self._found: Neighbours | None = None
        self._positions, self._lattice, self._reach = np.zeros((0, 3)), np.zeros((0, 3)), 0.0

    def __call__(self, positions: Array, lattice: Array, cutoff: float) -> Neighbours:
        """See `find_pairs`; some of the pairs are up to two skins beyond the cut-off."""
        if self._found is None or not self._valid(positions, lattice, cutoff):
            self._found = find_pairs(positions, lattice, cutoff + self.skin)
            self._positions, self._lattice = positions.copy(), lattice.copy()
            self._reach = cutoff + self.skin
            self.builds += 1
        return self._found

    def _valid(self, positions: Array, lattice: Array, cutoff: float) -> bool:
        if positions.shape != self._positions.shape or not np.array_equal(lattice, self._lattice):
            return False
        moved = math.sqrt(float(((positions - self._positions) ** 2).sum(1).max()))
        return 2.0 * moved <= self._reach - cutoff
