"""A crystal seen along a facet's normal: surface cell, atomic planes, layers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import gcd

import numpy as np
from ase.data import chemical_symbols
from ase.formula import Formula

from voltase.aseplugin.building.crystal import Crystal
from voltase.aseplugin.building.facet import Facet
from voltase.aseplugin.building.symmetry import SYMPREC, Array, Indices, operations
from voltase.aseplugin.errors import InputError

SAME_PLANE = 0.15
"""Atoms whose heights differ by less than this, in A, are one plane."""
MOST_ATOMS = 500
"""A surface cell of one period with more atoms is a slip in the indices."""


@dataclass(frozen=True)
class Stacking:
    """The planes of atoms parallel to a facet, over one period along its normal.

    A *layer* is the shortest repeat along the normal but for shifts and turns in the plane: a
    plane of atoms in fcc and bcc metals and in hcp(0001), a trilayer O-M2O2-O in rutile(110).
    Planes count on beyond a period: number p + m P is plane p, m periods further out.

    Attributes
    ----------
    cell : ndarray (3, 3)
        Surface cell in A: the first vector along x, the second in the plane, the third to the
        same lattice point one period higher, not upright in general.
    fractions : ndarray (n, 3)
        Atoms of one period, heights in [0, 1).
    numbers : ndarray (n,)
        Atomic numbers.
    planes : tuple of ndarray
        Atoms of each plane, from the lowest on.
    heights : ndarray (n_planes,)
        In A.
    period : float
        In A.
    layers : int
        Layers in a period.
    flips : ndarray
        Sums of heights in A, one for each kind of operation that exchanges up and down: it takes
        height z to the sum - z. Empty for polar facets.
    directions : tuple of str
        The vectors of the surface cell in the conventional cell, such as ``[1 -1 0]``.
    """

    cell: Array
    fractions: Array
    numbers: Indices
    planes: tuple[Indices, ...]
    heights: Array
    period: float
    layers: int
    flips: Array
    directions: tuple[str, str]

    @property
    def planes_per_layer(self) -> int:
        """Planes of atoms in a layer."""
        return len(self.planes) // self.layers

    @property
    def atoms_per_layer(self) -> int:
        """Atoms of a layer in one surface cell."""
        return len(self.numbers) // self.layers

    def height(self, plane: int) -> float:
        """Height of a plane in A, of any number."""
        turns, own = divmod(plane, len(self.planes))
        return float(self.heights[own] + turns * self.period)

    def size(self, plane: int) -> int:
        """Atoms of a plane, of any number."""
        return len(self.planes[plane % len(self.planes)])

    def count(self, lower: int, upper: int) -> Counter[str]:
        """Atoms of each element from one plane to another, both included."""
        found: Counter[str] = Counter()
        for plane in range(lower, upper + 1):
            atoms = self.planes[plane % len(self.planes)]
            found.update(chemical_symbols[n] for n in self.numbers[atoms])
        return found

    def formula(self, plane: int) -> str:
        """Formula of a plane in one surface cell, such as ``Ru2O2``."""
        return str(Formula.from_dict(dict(self.count(plane, plane))).format("metal"))

    def opposite(self, plane: int) -> int | None:
        """A plane that looks downwards as this one looks upwards; None on a polar facet."""
        if len(self.flips) == 0:
            return None
        target = float(self.flips[0]) - self.height(plane)
        turns, rest = divmod(target, self.period)
        away = np.abs(self.heights - rest)
        away = np.minimum(away, self.period - away)
        own = int(np.argmin(away))
        # A target a rounding error below a period belongs to the next one.
        turns += round((rest - self.heights[own]) / self.period)
        return own + int(turns) * len(self.planes)


def stack_planes(crystal: Crystal, facet: Facet) -> Stacking:
    """The stacking of a crystal along a facet's normal.

    Raises
    ------
    InputError
        If the planes cannot be told apart.
    """
    turns = _surface_vectors(crystal, facet)
    vectors = turns @ crystal.primitive
    normal = np.cross(vectors[0], vectors[1])
    normal /= np.linalg.norm(normal)
    x = vectors[0] / np.linalg.norm(vectors[0])
    cell = vectors @ np.array([x, np.cross(normal, x), normal]).T
    cell[np.abs(cell) < 1e-10] = 0.0
    period = float(cell[2, 2])
    fractions = crystal.fractions @ np.linalg.inv(turns)
    planes, heights = _group(fractions[:, 2] * period, period)
    # Planes count from the lowest height on; atoms of the first may lie just below zero.
    fractions = fractions.copy()
    for plane, height in zip(planes, heights, strict=True):
        fractions[plane, 2] -= np.rint(fractions[plane, 2] - height / period)
    fractions[:, :2] %= 1.0
    shifts, flips = _height_operations(cell, fractions, crystal.numbers)
    layers = len(shifts)
    if len(planes) % layers:
        raise InputError(f"facet: {len(planes)} planes of {crystal.name} do not divide into "
                         f"{layers} layers, expected a crystal whose planes are at least "
                         f"{SAME_PLANE} A apart")  # fmt: skip
    inside = turns @ crystal.primitive @ np.linalg.inv(crystal.cell)
    return Stacking(cell, fractions, crystal.numbers, planes, heights, period, layers,
                    flips * period, (_direction(inside[0]), _direction(inside[1])))  # fmt: skip


def _surface_vectors(crystal: Crystal, facet: Facet) -> Array:
    """Surface cell in whole numbers of primitive vectors (3, 3), determinant 1."""
    inside = crystal.primitive @ np.linalg.inv(crystal.cell)
    # In halves, thirds or sixths at most, by the centring of the conventional cell.
    scaled = np.rint(6.0 * inside @ np.array(facet)).astype(int)
    h, k, m = (int(n) for n in scaled // np.gcd.reduce(scaled))
    g, p, q = _bezout(h, k)
    _, r, s = _bezout(g, m)
    first = np.array([k // g, -h // g, 0]) if g else np.array([1, 0, 0])
    second = np.array([p * m, q * m, -g]) if g else np.array([0, 1, 0])
    third = np.array([r * p, r * q, s]) if g else np.array([0, 0, m])
    normal = np.linalg.solve(crystal.primitive, np.array([h, k, m], dtype=np.float64))
    first, second = _reduce(first, second, crystal.primitive, np.asarray(normal, np.float64))
    plane = np.stack([first, second]) @ crystal.primitive
    away = third @ crystal.primitive
    third = third - np.rint(np.linalg.lstsq(plane.T, away, rcond=None)[0]).astype(int) @ np.stack(
        [first, second]
    )
    turns = np.stack([first, second, third])
    assert round(float(np.linalg.det(turns))) == round(float(np.sign(np.linalg.det(
        crystal.primitive))))  # fmt: skip
    return turns.astype(np.float64)


def _bezout(a: int, b: int) -> tuple[int, int, int]:
    """Greatest common divisor g > 0 and x, y with a x + b y = g."""
    if b == 0:
        return abs(a), (1 if a >= 0 else -1), 0
    g, x, y = _bezout(b, a % b)
    return g, y, x - (a // b) * y


def _reduce(first: Indices, second: Indices, primitive: Array, normal: Array
            ) -> tuple[Indices, Indices]:  # fmt: skip
    """The shortest vectors of the plane, right-handed, at an acute angle where they can be."""
    while True:
        u, v = first @ primitive, second @ primitive
        if u @ u > v @ v + 1e-6:
            first, second = second, first
            continue
        turns = int(np.rint(u @ v / (u @ u) - 1e-6))
        if turns == 0:
            break
        second = second - turns * first
    u, v = first @ primitive, second @ primitive
    if u @ v < -1e-6:
        second, v = -second, -v
    if np.cross(u, v) @ normal < 0:
        if abs(u @ u - v @ v) < 1e-6 * (u @ u):
            return second, first
        return first, -second
    return first, second


def _group(heights: Array, period: float) -> tuple[tuple[Indices, ...], Array]:
    """Atoms of each plane and the planes' mean heights in [0, period)."""
    folded = heights % period
    order = np.argsort(folded, kind="stable")
    gaps = np.diff(np.append(folded[order], folded[order[0]] + period))
    if len(heights) > MOST_ATOMS:
        raise InputError(f"facet: a period along the normal has {len(heights)} atoms, expected at "
                         f"most {MOST_ATOMS}")  # fmt: skip
    ends = np.flatnonzero(gaps > SAME_PLANE)
    if len(ends) == 0:
        raise InputError("facet: no gap between the planes along the normal is wider than "
                         f"{SAME_PLANE} A, expected planes that can be told apart")  # fmt: skip
    order = np.roll(order, -(int(ends[-1]) + 1)) if ends[-1] + 1 < len(order) else order
    folded_order = folded[order]
    breaks = np.flatnonzero((np.diff(folded_order) % period) > SAME_PLANE) + 1
    groups = np.split(order, breaks)
    means = []
    for group in groups:
        base = folded[group[0]]
        offsets = (folded[group] - base + 0.5 * period) % period - 0.5 * period
        means.append(float((base + offsets.mean()) % period))
    # A plane at the height of a period, but for rounding, is that at zero.
    means = [0.0 if period - mean < 1e-6 else mean for mean in means]
    ranks = np.argsort(means, kind="stable")
    return tuple(np.sort(groups[k]) for k in ranks), np.array(means)[ranks]


def _height_operations(cell: Array, fractions: Array, numbers: Indices) -> tuple[Array, Array]:
    """Shifts along the normal of operations that keep up and down, and sums of those that do not.

    Both in periods, in [0, 1), sorted and distinct.
    """
    kept, flipped = [0.0], []
    for rotation, translation in operations(cell, fractions, numbers, SYMPREC):
        if (rotation[2] == (0, 0, 1)).all():
            kept.append(float(translation[2]))
        elif (rotation[2] == (0, 0, -1)).all():
            flipped.append(float(translation[2]))
    tolerance = min(SAME_PLANE / cell[2, 2], 0.05)
    return _distinct(kept, tolerance), _distinct(flipped, tolerance)


def _distinct(values: list[float], tolerance: float) -> Array:
    found: list[float] = []
    for value in sorted((value + 1e-6) % 1.0 - 1e-6 for value in values):
        if all(abs((value - other + 0.5) % 1.0 - 0.5) > tolerance for other in found):
            found.append(value)
    return np.array(found)


def _direction(vector: Array) -> str:
    """Direction in the conventional cell in smallest whole numbers."""
    whole = np.rint(6.0 * vector).astype(int)
    factor = gcd(*(int(n) for n in whole)) or 1
    return "[" + " ".join(str(n // factor) for n in whole) + "]"
