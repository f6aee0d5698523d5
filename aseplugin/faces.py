"""Which sides of an electrode slab are wetted, and how the atoms divide between them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
MINIMUM_VACUUM = 6.0
"""Widest empty layer along the normal, in A, that does not count as vacuum."""
CONTACT = 5.0
"""Distance in A from the electrode's outermost atom up to which an atom wets a face; a molecule
that has evaporated does not."""
BOND = 1.25
"""Longest bond over the sum of the covalent radii."""
LONGEST_BOND = 3.0
"""In A, of an atom to the electrode's."""
LARGEST_EXTENT = 1e4
"""In A, of a cell vector or of the positions; searches for neighbours count cells across it."""
SMALLEST_AREA = 1e-3
"""In A^2; a face below it is a missing or degenerate cell."""
SMALLEST_VOLUME = 1e-3
"""In A^3, of a cell that is periodic in 3D."""


@dataclass
class Faces:
    """The wetted faces of an electrode.

    Attributes
    ----------
    normals : ndarray (n_faces, 3)
        Unit, pointing away from the electrode; of two faces the second is minus the first.
    areas : ndarray (n_faces,)
        In A^2.
    of_atom : ndarray (n_atoms,)
        Face of each atom.
    has_electrode : bool
        Whether there are electrode atoms.
    has_vacuum : bool
        False for a cell filled along the normal: there the electrode's potential has no
        reference and only the uncharged electrode is defined.
    inner : ndarray (n_inner,)
        Electrode atoms of a slab with two faces, which belong to both in smooth shares; empty for
        one face.
    images : ndarray (n_inner, 3)
        Lattice vectors in A that move these atoms into one connected slab.
    """

    normals: Array
    areas: Array
    of_atom: Indices
    has_electrode: bool
    has_vacuum: bool
    inner: Indices
    images: Array


def check_structure(atoms: Atoms) -> None:
    """Refuse what has no faces.

    Raises
    ------
    InputError
        If there are no atoms, a number is not finite or enormous, fewer than two axes are
        periodic, or the lattice vectors of the periodic axes span nothing.
    """
    if len(atoms) == 0:
        raise InputError("atoms: found none, expected a slab")
    for name, values in (("positions", atoms.positions), ("cell", atoms.cell.array)):
        if not np.isfinite(values).all():
            raise InputError(f"atoms: {name} not finite, expected numbers in A")
    extent = max(float(np.ptp(atoms.positions, axis=0).max()), float(abs(atoms.cell.array).max()))
    if extent > LARGEST_EXTENT:
        raise InputError(
            f"atoms: positions or cell extend over {extent:.3g} A, expected at most "
            f"{LARGEST_EXTENT:g} A"
        )
    pbc = np.asarray(atoms.pbc)
    if pbc.sum() < 2:
        raise InputError(
            f"atoms: periodic along {int(pbc.sum())} axes, expected a cell periodic along the "
            "surface (two axes) or in 3D"
        )
    vectors = atoms.cell.array[pbc]
    if pbc.all():
        volume = abs(float(np.linalg.det(vectors)))
        if volume < SMALLEST_VOLUME:
            raise InputError(f"atoms: the cell has a volume of {volume:.3g} A^3, expected a slab")
    elif (area := float(np.linalg.norm(np.cross(*vectors)))) < SMALLEST_AREA:
        raise InputError(f"atoms: the cell spans an area of {area:.3g} A^2, expected a slab cell")


def find_faces(atoms: Atoms, electrode_symbols: list[str]) -> Faces:
    """Find which sides of the slab are wetted.

    Parameters
    ----------
    atoms : Atoms
        Periodic along two or three axes.
    electrode_symbols : list of str

    Raises
    ------
    InputError
        See `check_structure`.
    """
    check_structure(atoms)
    axis = _normal_axis(atoms)
    normal, area = _normal(atoms, axis)
    heights, turns, gap = _heights(atoms, axis, normal)
    metal = np.isin(atoms.numbers, [atomic_numbers[s] for s in electrode_symbols])
    upper = np.ones(len(atoms), dtype=bool)
    if metal.any():
        # The mean, not the middle: one dissolved atom must not move it into the water.
        upper = heights >= heights[metal].mean()
    above, below = _wet_sides(atoms, axis, heights, turns, metal, upper)
    has_vacuum = bool(gap > MINIMUM_VACUUM)
    if above and below and has_vacuum:
        inner = np.flatnonzero(metal)
        return Faces(
            normals=np.array([normal, -normal]),
            areas=np.full(2, area),
            has_electrode=True,
            of_atom=np.where(upper, 0, 1).astype(np.int64),
            has_vacuum=has_vacuum,
            inner=inner.astype(np.int64),
            images=np.outer(turns[inner], atoms.cell.array[axis]),
        )
    outward = -normal if below and not above else normal
    return Faces(
        normals=outward[None],
        areas=np.array([area]),
        has_electrode=bool(metal.any()),
        of_atom=np.zeros(len(atoms), dtype=np.int64),
        has_vacuum=has_vacuum,
        inner=np.empty(0, dtype=np.int64),
        images=np.empty((0, 3)),
    )


def _wet_sides(atoms: Atoms, axis: int, heights: Array, turns: Array, metal: Mask, upper: Mask
               ) -> tuple[bool, bool]:  # fmt: skip
    """Whether the upper and the lower face are wetted, by more than the slab's own oxygen.

    Where there is nothing else, that oxygen counts.
    """
    sides = _wetted(heights, metal, upper)
    if not (metal.any() and all(sides)):
        return sides
    low, high = heights[metal].min() - LONGEST_BOND, heights[metal].max() + LONGEST_BOND
    near = ~metal & (heights > low) & (heights < high)
    if all(_wetted(heights, metal, upper, ~metal & ~near)):
        return sides
    whole = atoms.positions + np.outer(turns, atoms.cell.array[axis])
    loose = ~metal & ~_bridging(atoms, whole, axis, near, metal)
    return _wetted(heights, metal, upper, loose) if loose.any() else sides


def _wetted(heights: Array, metal: Mask, upper: Mask, film: Mask | None = None
            ) -> tuple[bool, bool]:  # fmt: skip
    """Whether the upper and the lower face are wetted, by a film or by all that is not metal."""
    film = ~metal if film is None else film
    if metal.any():
        low, high = heights[metal].min() - CONTACT, heights[metal].max() + CONTACT
        within = film & (heights > low) & (heights < high)
        film = within if within.any() else film
    return bool((upper & film).any()), bool((~upper & film).any())


def _bridging(atoms: Atoms, positions: Array, axis: int, candidates: Mask, metal: Mask) -> Mask:
    """Candidates bonded to two or more of the metal's atoms: of an oxide, or adsorbed between.

    The positions are those of one connected slab.
    """
    near = np.flatnonzero(candidates)
    along = np.delete(atoms.cell.array, axis, axis=0)
    apart = positions[near][:, None] - positions[metal]
    apart -= np.round(apart @ np.linalg.pinv(along)) @ along
    radii = covalent_radii[atoms.numbers]
    reach = BOND * (radii[near][:, None] + radii[metal])
    count = np.zeros(len(near), dtype=np.int64)
    for turns in product((-1, 0, 1), repeat=2):
        count += (np.linalg.norm(apart + np.array(turns) @ along, axis=2) < reach).sum(1)
    found = np.zeros(len(atoms), dtype=bool)
    found[near[count > 1]] = True
    return found


def _normal_axis(atoms: Atoms) -> int:
    """The axis that is not periodic, or in 3D the one with the widest vacuum (else the third)."""
    pbc = np.asarray(atoms.pbc)
    if not pbc.all():
        return int(np.flatnonzero(~pbc)[0])
    fractions = atoms.positions @ np.linalg.inv(atoms.cell.array)
    gaps = [_widest_gap(fractions[:, i])[0] * _height(atoms, i) for i in range(3)]
    best = int(np.argmax(gaps))
    return best if gaps[best] > MINIMUM_VACUUM else 2


def _normal(atoms: Atoms, axis: int) -> tuple[Array, float]:
    """Unit normal on the side of the cell's vector along `axis`, and the area in A^2."""
    # A missing vector is completed to a right-handed cell, so the normal turns with the cell.
    cell = atoms.cell.complete().array
    cross = np.cross(cell[axis - 2], cell[axis - 1])
    area = float(np.linalg.norm(cross))
    sign = 1.0 if cross @ cell[axis] >= 0 else -1.0
    return sign * cross / area, area


def _height(atoms: Atoms, axis: int) -> float:
    """Distance of opposite cell faces in A."""
    cell = atoms.cell.array
    area = np.linalg.norm(np.cross(cell[axis - 2], cell[axis - 1]))
    return float(abs(np.linalg.det(cell)) / area)


def _widest_gap(fractions: Array) -> tuple[float, float]:
    """Widest empty interval of fractional coordinates, and where it ends."""
    ordered = np.sort(fractions % 1.0)
    gaps = np.diff(np.append(ordered, ordered[0] + 1.0))
    k = int(np.argmax(gaps))
    return float(gaps[k]), float((ordered[k] + gaps[k]) % 1.0)


def _heights(atoms: Atoms, axis: int, normal: Array) -> tuple[Array, Array, float]:
    """Heights in A with the widest gap at the cell's boundary, cells moved to get there, the gap.

    The height of an atom is its position along the normal plus that many periods, less a constant.
    """
    heights = atoms.positions @ normal
    if not atoms.pbc[axis]:
        return heights, np.zeros(len(atoms)), np.inf
    period = _height(atoms, axis)
    gap, start = _widest_gap(heights / period)
    # Half a gap of margin: the atom at the gap's upper end must not fall to either side of it.
    start -= 0.5 * gap
    turns = -np.floor(heights / period - start)
    return heights + turns * period, turns, gap * period


def slab_heights(atoms: Atoms, outward: Array) -> Array:
    """Heights (n_atoms,) in A of one connected slab along a face's outward normal.

    Parameters
    ----------
    atoms : Atoms
        A slab, see `find_faces`.
    outward : ndarray (3,)
        A row of `Faces.normals`.
    """
    axis = _normal_axis(atoms)
    normal, _ = _normal(atoms, axis)
    heights = _heights(atoms, axis, normal)[0]
    return heights if normal @ outward > 0.0 else -heights
