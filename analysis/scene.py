"""One frame as the observables see it: standard orientation, surfaces, molecules, pairs."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from voltase.analysis.cells import area_of, height_of
from voltase.analysis.counting import EDGE
from voltase.analysis.interface import LOWER, UPPER, Interface
from voltase.analysis.neighbours import Pairs, find_pairs
from voltase.analysis.species import Species, find_species
from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

SAME_POSITION = 1e-3
"""Difference in A between MDAnalysis's positions and a reader's exact ones that is rounding."""

OFF_MIDDLE = 0.25
"""In A, how far off the slab's middle its atoms divide between the faces."""


class Scene:
    """A frame; everything is computed on first use and shared by the observables.

    Parameters
    ----------
    ts : MDAnalysis.coordinates.timestep.Timestep
    numbers : ndarray (n_atoms,)
        Atomic numbers.
    interface : Interface
    selections : dict, optional
        Atoms of each element, kept from frame to frame.

    Attributes
    ----------
    cell : ndarray (3, 3)
        A; the surface is in the xy plane, z along the cell's third vector.
    positions : ndarray (n_atoms, 3)
        A, float64, not wrapped.
    height, area : float
        Of the cell: period along z in A, and |a x b| in A^2.
    time : float
        ps.

    Raises
    ------
    InputError
        If the frame has no cell or a coordinate is not finite.
    """

    def __init__(self, ts: Any, numbers: Indices, interface: Interface,
                 selections: dict[str, Indices] | None = None) -> None:  # fmt: skip
        self.ts = ts
        self.frame = int(ts.frame)
        self.time = float(ts.time)
        self.numbers = numbers
        self.interface = interface
        cell, positions = read_frame(ts)
        standard = interface.cell(cell)
        self.cell = standard.cell
        self._turn = standard.turn
        self.positions = standard.turn(positions)
        self.height = height_of(self.cell)
        self.area = area_of(self.cell)
        self._selections = {} if selections is None else selections
        self._pairs: dict[tuple[str, str], tuple[float, Pairs]] = {}

    # -- surfaces ------------------------------------------------------------------------------

    @cached_property
    def surfaces(self) -> tuple[float, float]:
        """Heights z of the lower and the upper face in A."""
        return self.interface.surfaces(self.cell, self.positions)

    @cached_property
    def gap(self) -> float:
        """Room between the upper face and the next image of the lower one, A."""
        lower, upper = self.surfaces
        return (lower - upper) % self.height

    @cached_property
    def z(self) -> Array:
        """Heights (n_atoms,) from the bottom of the cell (the plane z = 0), in [0, height), A."""
        return np.asarray(_wrapped(self.positions, 0.0, self.height, 0.0))

    @cached_property
    def above(self) -> Array:
        """Distances (n_atoms,) from the upper face outwards, A; negative inside the slab."""
        # The cut through the slab must not lie on its middle layer.
        half = 0.5 * (self.height - self.gap) + OFF_MIDDLE
        return np.asarray(_wrapped(self.positions, half - self.surfaces[UPPER], self.height, half))

    def distance(self, face: int) -> Array:
        """Distances (n_atoms,) from a face outwards, A."""
        return self.above if face == UPPER else self.gap - self.above

    @cached_property
    def face_of(self) -> Indices:
        """The wet face that each atom is nearer to (n_atoms,); -1 if none is wet."""
        faces = self.interface.faces
        if len(faces) < 2:
            return np.full(len(self.numbers), faces[0] if faces else -1, dtype=np.int64)
        return np.where(2.0 * self.above < self.gap, UPPER, LOWER)

    # -- molecules -----------------------------------------------------------------------------

    @cached_property
    def species(self) -> Species:
        """Species of this frame."""
        return find_species(self.cell, self.positions, self.numbers, self.interface.slab)

    @cached_property
    def waters(self) -> Indices:
        """Atoms of the water molecules (n_waters, 3): O, H, H."""
        return self.species.waters(self.numbers)

    @cached_property
    def bond_vectors(self) -> Array:
        """Vectors from O to H of each water (n_waters, 2, 3), A, the shortest images."""
        return np.asarray(_bond_vectors(self.cell, self.positions, self.waters))

    @cached_property
    def bisectors(self) -> Array:
        """Unit vectors along the dipole of each water (n_waters, 3): from O between the H."""
        sums = self.bond_vectors.sum(axis=1)
        return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True))

    def shortest(self, vectors: Array) -> Array:
        """Shortest periodic images of vectors (..., 3) that are short against the cell, A."""
        cell, result = self.cell, vectors.copy()
        for axis in (2, 1, 0):
            turns = np.rint(result[..., axis] / cell[axis, axis])
            if turns.any():
                result -= turns[..., None] * cell[axis]
        return result

    def turn(self, vectors: npt.ArrayLike) -> Array:
        """Vectors (..., 3) of the trajectory in this frame's orientation."""
        return self._turn(vectors)

    # -- selections and pairs ------------------------------------------------------------------

    def of_element(self, symbol: str) -> Indices:
        """Atoms of an element that are not the slab's; those of the slab if there are no others."""
        if symbol not in self._selections:
            self._selections[symbol] = self.atoms_of(symbol, self.numbers, self.interface)
        return self._selections[symbol]

    @staticmethod
    def atoms_of(symbol: str, numbers: Indices, interface: Interface) -> Indices:
        """See `of_element`."""
        from ase.data import atomic_numbers

        wanted = numbers == atomic_numbers[symbol]
        outside = wanted & ~interface.slab
        return np.flatnonzero(outside if outside.any() else wanted)

    def pairs(self, first: str, second: str, cutoff: float) -> Pairs:
        """Pairs of two elements (see `of_element`) within at least the cutoff.

        The numbers in ``first`` and ``second`` of the result count within `of_element`. A search
        with a larger cutoff serves a smaller one, so ask for the largest first.
        """
        key = (first, second)
        if key not in self._pairs or self._pairs[key][0] < cutoff:
            a = self.positions[self.of_element(first)]
            b = None if first == second else self.positions[self.of_element(second)]
            self._pairs[key] = (cutoff, find_pairs(self.cell, a, b, cutoff))
        return self._pairs[key][1]


def read_frame(ts: Any) -> tuple[Array, Array]:
    """Cell (3, 3) and positions (n_atoms, 3) of an MDAnalysis frame in A, float64.

    Raises
    ------
    InputError
        If there is no cell or a coordinate is not finite.
    """
    if ts.dimensions is None:
        raise InputError(f"trajectory: frame {ts.frame} has no cell, expected one in every frame")
    exact, stored = ts.data.get("exact_positions"), ts.positions
    # The exact positions count unless something (a transformation) has moved the atoms since.
    if exact is not None and _are_close(exact, stored, SAME_POSITION):
        return ts.data["cell"], exact
    positions = stored.astype(np.float64)
    if not np.isfinite(positions).all():
        raise InputError(f"trajectory: frame {ts.frame} has a coordinate that is not finite")
    return ts.triclinic_dimensions.astype(np.float64), positions


@numba.njit(cache=True)
def _are_close(a: Array, b: npt.NDArray[np.float32], limit: float) -> bool:
    """Whether no coordinate (n, 3) differs by the limit or more, and all are finite."""
    for i in range(a.shape[0]):
        for k in range(a.shape[1]):
            if not abs(a[i, k] - b[i, k]) < limit:
                return False
    return True


@numba.njit(cache=True)
def _wrapped(positions: Array, shift: float, period: float, back: float) -> Array:
    """Heights (n,) moved by a shift, wrapped into a period and moved back."""
    result = np.empty(len(positions))
    for i in range(len(positions)):
        result[i] = (positions[i, 2] + shift) % period - back
    return result


@numba.njit(cache=True)
def _bond_vectors(cell: Array, positions: Array, waters: Indices) -> Array:
    """See `Scene.bond_vectors`."""
    result = np.empty((len(waters), 2, 3))
    for i in range(len(waters)):
        for h in range(2):
            bond = result[i, h]
            for k in range(3):
                bond[k] = positions[waters[i, h + 1], k] - positions[waters[i, 0], k]
            for axis in (2, 1, 0):
                turns = np.rint(bond[axis] / cell[axis, axis])
                for k in range(3):
                    bond[k] -= turns * cell[axis, k]
    return result


def bin_index(values: Array, width: float, count: int, start: float = 0.0) -> Indices:
    """Bins (n,) of values; -1 and `count` for those that fall outside."""
    index = np.floor((values - start + EDGE) / width)
    return np.clip(index, -1, count).astype(np.int64)
