"""The electrode in a trajectory: which atoms are its slab, its layers, and which faces are wet."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers, chemical_symbols, covalent_radii

from voltase.analysis.cells import StandardCell, height_of, standardise_cell, widths_of
from voltase.analysis.neighbours import Pairs, find_pairs
from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

NONMETALS = frozenset(
    chemical_symbols[k]
    for k in (1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 33, 34, 35, 36, 52, 53, 54, 85, 86)
)
"""Elements that no slab is made of but an oxide's or a compound's other half."""
IONIC = frozenset({"Li", "Na", "K", "Rb", "Cs", "Fr", "Be", "Mg", "Ca", "Sr", "Ba", "Ra"})
"""Groups 1 and 2: beside another metal they are cations of the electrolyte, however near."""
METAL_BOND = 1.3
"""Longest distance of neighbours in a slab, over the sum of their covalent radii."""
SLAB_OXYGEN_BOND = 2.4
"""Longest distance in A between an oxygen of an oxide and its metal."""
OXIDE_SHARE = 0.5
"""Oxygens inside the slab over its metal atoms from which on it is an oxide."""
LAYER_GAP = 0.8
"""Smallest distance in A between the heights of two layers."""
THICKEST_LAYER = 1.6
"""In A; what is thicker are layers without gaps, of a stepped surface, and is sliced."""
WHOLE_LAYER = 0.4
"""A layer has at least this share of the atoms of the largest; fewer are adatoms."""
CONTACT = 5.0
"""A face is wet if an atom that is not the slab's is within this distance in A."""
FEWEST_IN_CONTACT = 0.05
"""Contacts of the less wet face over those of the other below which it is dry."""

LOWER, UPPER = 0, 1


@dataclass(frozen=True)
class Interface:
    """A slab and its faces, fixed for a trajectory.

    Attributes
    ----------
    slab : ndarray of bool (n_atoms,)
    layers : tuple of ndarray
        Metal atoms of each layer, from the lower to the upper face.
    wet : (bool, bool)
        Whether the lower and the upper face meet atoms that are not the slab's.
    normal_axis : int
        Lattice vector that leads out of the surface.
    thickness : float
        Distance in A between the outermost layers in the first frame.
    """

    slab: Mask
    layers: tuple[Indices, ...]
    wet: tuple[bool, bool]
    normal_axis: int
    thickness: float

    @property
    def faces(self) -> tuple[int, ...]:
        """The wet faces: 0 the lower one, 1 the upper one."""
        return tuple(k for k in (LOWER, UPPER) if self.wet[k])

    def surface_layer(self, face: int) -> Indices:
        """Metal atoms of the outermost layer of a face."""
        return self.layers[-1 if face == UPPER else 0]

    def cell(self, cell: npt.ArrayLike) -> StandardCell:
        """A frame's cell with the surface in the xy plane."""
        return standardise_cell(cell, self.normal_axis)

    def surfaces(self, cell: Array, positions: Array) -> tuple[float, float]:
        """Heights z in A of the lower and the upper face, each in [0, height of the cell).

        The mean of the outermost layer's atoms on the circle that the period makes of z, so it
        does not matter where the slab lies across the boundary or how far it has drifted.
        """
        height = height_of(cell)
        lower, upper = (positions[self.surface_layer(face), 2] for face in (LOWER, UPPER))
        return circular_mean(lower, height), circular_mean(upper, height)


@numba.njit(cache=True)
def circular_mean(values: Array, period: float) -> float:
    """Mean of values in one period that lie close together, in [0, period)."""
    sines = cosines = 0.0
    for value in values:
        angle = 2.0 * np.pi / period * value
        sines += np.sin(angle)
        cosines += np.cos(angle)
    first = np.arctan2(sines, cosines) * period / (2.0 * np.pi)
    # The exact mean, now that it is known where to cut.
    offsets = 0.0
    for value in values:
        offset = value - first
        offsets += offset - period * np.rint(offset / period)
    return (first + offsets / len(values)) % period


def find_interface(
    cell: npt.ArrayLike,
    positions: npt.ArrayLike,
    numbers: npt.ArrayLike,
    electrode: npt.ArrayLike | None = None,
    normal_axis: int | None = None,
) -> Interface:
    """Find the slab, its layers and its wet faces in one frame.

    The slab is the largest connected piece of metal; of an oxide, the oxygens with two or more
    metal neighbours belong to it. Dissolved cations are not connected and stay out.

    Parameters
    ----------
    cell : array_like (3, 3)
        A, of any orientation.
    positions : array_like (n_atoms, 3)
        A, in any period.
    numbers : array_like (n_atoms,)
        Atomic numbers.
    electrode : array_like of bool (n_atoms,) or of int, optional
        The slab's atoms, where the automatic choice is not what is wanted.
    normal_axis : int, optional
        Lattice vector that leads out of the surface; by default the one along which the slab
        leaves the widest gap.

    Raises
    ------
    InputError
        If there is no metal, or the slab fills the cell along every axis.
    """
    points = np.asarray(positions, dtype=np.float64)
    z = np.asarray(numbers, dtype=np.int64)
    slab = _given_slab(electrode, len(z)) if electrode is not None else None
    start = standardise_cell(cell)
    if slab is None:
        slab = find_slab(start.cell, start.turn(points), z)
    if normal_axis is None:
        normal_axis = _find_normal(np.asarray(cell, dtype=np.float64), points, slab)
    standard = standardise_cell(cell, normal_axis)
    points = standard.turn(points)
    heights, height = _unwrapped_heights(standard.cell, points, slab)
    metal = slab & (z != atomic_numbers["O"])
    metal = metal if metal.any() else slab
    layers = find_layers(heights, metal)
    bottom, top = heights[layers[0]].mean(), heights[layers[-1]].mean()
    above = (heights[~slab] - top) % height
    below = (bottom - heights[~slab]) % height
    wet = _wet_faces(np.array([(below < CONTACT).sum(), (above < CONTACT).sum()]))
    return Interface(slab, layers, wet, normal_axis, float(top - bottom))


def find_slab(cell: Array, positions: Array, numbers: Indices) -> Mask:
    """Atoms of the electrode, a mask (n_atoms,); the cell in standard orientation.

    Raises
    ------
    InputError
        If there is no metal.
    """
    is_metal = ~np.isin(numbers, [atomic_numbers[s] for s in NONMETALS])
    if not is_metal.any():
        found = sorted({chemical_symbols[k] for k in numbers})
        raise InputError(f"electrode: found no metal among {', '.join(found)}, expected a slab")
    metal = np.flatnonzero(is_metal)
    ionic = np.isin(numbers[metal], [atomic_numbers[s] for s in IONIC])
    metal = metal if ionic.all() else metal[~ionic]
    slab = np.zeros(len(numbers), dtype=bool)
    slab[metal[_largest_piece(cell, positions[metal], numbers[metal])]] = True
    oxygen = np.flatnonzero(numbers == atomic_numbers["O"])
    if len(oxygen):
        bonds = _bonds(cell, positions[oxygen], positions[slab], SLAB_OXYGEN_BOND)
        neighbours = np.bincount(bonds.first, minlength=len(oxygen))
        if (neighbours >= 3).sum() >= OXIDE_SHARE * slab.sum():
            slab[oxygen[neighbours >= 2]] = True
    return slab


def _largest_piece(cell: Array, positions: Array, numbers: Indices) -> Indices:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    radii = covalent_radii[numbers]
    pairs = _bonds(cell, positions, positions, METAL_BOND * 2.0 * radii.max())
    bound = pairs.distances < METAL_BOND * (radii[pairs.first] + radii[pairs.second])
    i, j = pairs.first[bound], pairs.second[bound]
    graph = coo_matrix((np.ones(len(i)), (i, j)), shape=(len(numbers), len(numbers)))
    _, labels = connected_components(graph, directed=False)
    return np.flatnonzero(labels == np.argmax(np.bincount(labels)))


def _bonds(cell: Array, first: Array, second: Array, cutoff: float) -> Pairs:
    """Pairs within a cutoff that may exceed half the width of a narrow cell, with all images."""
    repeats = np.ceil(2.0 * cutoff / widths_of(cell)).astype(np.int64)
    shifts = np.array(list(np.ndindex(*repeats))) @ cell
    images = (second + shifts[:, None]).reshape(-1, 3)
    pairs = find_pairs(cell * repeats[:, None], first, images, cutoff)
    return pairs._replace(second=pairs.second % len(second))


def find_layers(heights: Array, atoms: Mask) -> tuple[Indices, ...]:
    """Groups of atoms with nearly one height, ascending; adatoms are left out."""
    indices = np.flatnonzero(atoms)
    order = indices[np.argsort(heights[indices], kind="stable")]
    cuts = np.flatnonzero(np.diff(heights[order]) > LAYER_GAP) + 1
    groups = [np.sort(part) for group in np.split(order, cuts) for part in _slices(heights, group)]
    largest = max(map(len, groups))
    return tuple(group for group in groups if len(group) >= WHOLE_LAYER * largest)


def _slices(heights: Array, group: Indices) -> list[Indices]:
    """Atoms in order of height, cut where they are too thick for one layer."""
    h = heights[group]
    count = int(np.ceil((h[-1] - h[0]) / THICKEST_LAYER))
    if count < 2:
        return [group]
    edges = np.linspace(h[0], h[-1], count + 1)[1:-1]
    return [part for part in np.split(group, np.searchsorted(h, edges)) if len(part)]


def _given_slab(electrode: npt.ArrayLike, count: int) -> Mask:
    given = np.asarray(electrode)
    slab = np.zeros(count, dtype=bool)
    if given.dtype == bool:
        if given.shape != (count,):
            raise InputError(f"electrode: found a mask of shape {given.shape}, expected ({count},)")
        slab |= given
    elif given.ndim == 1 and given.size and np.issubdtype(given.dtype, np.integer):
        outside = given[(given < 0) | (given >= count)]
        if len(outside):
            raise InputError(f"electrode: found index {outside[0]}, expected 0 to {count - 1}")
        slab[given] = True
    if not slab.any():
        raise InputError("electrode: found no atoms, expected those of the slab")
    return slab


def _find_normal(cell: Array, positions: Array, slab: Mask) -> int:
    """The lattice vector along which the slab leaves the widest gap; the third if in doubt."""
    widths = widths_of(cell)
    fractions = (positions[slab] @ np.linalg.inv(cell)) % 1.0
    gaps = np.array([_widest_gap(fractions[:, k])[0] for k in range(3)]) * widths
    best = int(np.argmax(gaps))
    best = 2 if gaps[2] > gaps[best] - 0.5 else best
    if gaps[best] < 3.0:
        raise InputError(
            f"electrode: its atoms leave no gap wider than {gaps[best]:.2g} A along any axis, "
            "expected a slab with room for water"
        )
    return best


def _widest_gap(fractions: Array) -> tuple[float, float]:
    """Widest empty interval of [0, 1) on the circle, and where it ends."""
    ordered = np.sort(fractions)
    gaps = np.diff(np.append(ordered, ordered[0] + 1.0))
    k = int(np.argmax(gaps))
    return float(gaps[k]), float((ordered[k] + gaps[k]) % 1.0)


def _unwrapped_heights(cell: Array, positions: Array, slab: Mask) -> tuple[Array, float]:
    """Heights counted upwards from the lower end of the slab, and the period, A."""
    height = height_of(cell)
    fractions = positions[:, 2] / height
    gap, end = _widest_gap(fractions[slab] % 1.0)
    return ((fractions - end + 0.5 * gap) % 1.0) * height, height


def _wet_faces(contacts: npt.NDArray[np.int64]) -> tuple[bool, bool]:
    lower, upper = contacts > FEWEST_IN_CONTACT * max(int(contacts.max()), 1)
    return bool(lower), bool(upper)
