"""Metropolis sampling of rigid molecules above a surface, to turn and place them sensibly.

Water is rigid SPC/E (doi:10.1021/j100308a038), ions carry point charges, the surface only takes up
room. That is a start for a force field or for density functional theory, no result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
from ase.data import atomic_numbers
from scipy.spatial.transform import Rotation

from voltase.aseplugin.building.contacts import contact_table
from voltase.aseplugin.building.molecules import Body
from voltase.aseplugin.building.symmetry import Array, Indices
from voltase.aseplugin.electrochemistry import thermal_energy

COULOMB = 14.399645
"""e^2 / (4 pi eps0) in eV A."""
CUTOFF = 7.0
"""Between the centres of two molecules, in A."""
SPCE = (0.0067397, 3.16557)
"""Depth in eV and size in A of the interaction of two oxygen atoms."""
OVERLAP = (3.0, 40.0)
"""Energy of two atoms nearer than their contact distance: eV, and eV/A^2 on the square of what is
missing."""
ROOM = 0.4
"""In A, beyond the contact distance, where the attraction of other pairs is strongest."""
DEPTH = 0.005
"""Of that attraction, in eV."""
WALL = 4.0
"""How much stronger it is to atoms of the slab."""
HOT, COLD = 600.0, 330.0
"""K, in the first and the second half of the sampling."""
TURN, STEP = 0.35, 0.15
"""Standard deviation of the rotation in rad and of the move in A of one attempt."""


@dataclass(frozen=True)
class Region:
    """Where the centres of molecules may be.

    Attributes
    ----------
    lattice : ndarray (2, 2)
        Vectors of the periodic plane, A.
    lower, upper : float
        Heights in A.
    """

    lattice: Array
    lower: float
    upper: float

    @property
    def area(self) -> float:
        """In A^2."""
        return float(abs(np.linalg.det(self.lattice)))

    @property
    def thickness(self) -> float:
        """In A."""
        return self.upper - self.lower


class Sampler:
    """Rigid bodies in a region, among atoms that stay where they are.

    Parameters
    ----------
    bodies : list of Body
        Those that are to start away from the faces, as ions, come first.
    region : Region
    walls : tuple
        Positions (n, 3) in A and atomic numbers (n,) of the other atoms; every one within reach
        of the region is there, but for images along the plane.
    rng : numpy.random.Generator
    """

    def __init__(self, bodies: list[Body], region: Region, walls: tuple[Array, Indices],
                 rng: np.random.Generator) -> None:  # fmt: skip
        self.bodies, self.region, self._rng = bodies, region, rng
        self.starts = np.cumsum([0, *(len(body.numbers) for body in bodies)])
        numbers = np.concatenate([body.numbers for body in bodies])
        elements = np.unique(np.concatenate([numbers, walls[1]]))
        kinds = np.searchsorted(elements, numbers)
        wall_kinds = np.searchsorted(elements, walls[1])
        margins = np.array([body.reach for body in bodies])
        bounds = np.column_stack([region.lower + margins, region.upper - margins])
        self.positions = self._lattice_start(bounds)
        contact = contact_table(elements.tolist())
        between = _pair_table(elements, contact)
        self._fixed = (
            self.starts, kinds, np.concatenate([body.partial_charges for body in bodies]),
            np.ascontiguousarray(walls[0]), wall_kinds, contact, between,
            np.ascontiguousarray(region.lattice), np.linalg.inv(region.lattice),
            _images(region.lattice), bounds,
        )  # fmt: skip

    def run(self, sweeps: int, report: Callable[[int], None] | None = None) -> None:
        """Attempt to move every body once a sweep; hot at first, cold in the second half."""
        for sweep in range(sweeps):
            self.sweep(HOT if 2 * sweep < sweeps else COLD)
            if report is not None:
                report(sweep + 1)

    def sweep(self, temperature_K: float) -> None:
        """Attempt to move every body once."""
        count = len(self.bodies)
        order = self._rng.permutation(count)
        turns = Rotation.from_rotvec(self._rng.normal(0.0, TURN, (count, 3))).as_matrix()
        steps = self._rng.normal(0.0, STEP, (count, 3))
        chances = self._rng.random(count)
        _sweep(self.positions, order, turns, steps, chances, thermal_energy(temperature_K),
               *self._fixed)  # fmt: skip

    def energy(self, body: int) -> float:
        """Energy in eV of a body with all others, with its own images and with the walls."""
        first, last = self.starts[body], self.starts[body + 1]
        return float(_energy(body, self.positions[first:last], self.positions, *self._fixed))

    def overlapping(self) -> bool:
        """Whether atoms of two bodies, or of a body and a wall, are below contact distance."""
        blocks = zip(self.starts[:-1], self.starts[1:], strict=True)
        return any(_touches(k, self.positions[first:last], self.positions, *self._fixed)
                   for k, (first, last) in enumerate(blocks))  # fmt: skip

    def _lattice_start(self, bounds: Array) -> Array:
        """Bodies on a grid, randomly turned, the first ones (ions) in its middle."""
        region, count = self.region, len(self.bodies)
        heights = np.array([region.area / np.linalg.norm(v) for v in region.lattice[::-1]])
        lengths = np.array([*heights, region.thickness])
        spacing = (region.area * region.thickness / count) ** (1.0 / 3.0)
        cells = np.maximum(np.rint(lengths / spacing), 1).astype(int)
        while np.prod(cells) < count:
            cells[np.argmax(lengths / cells)] += 1
        grid = np.stack(np.meshgrid(*map(np.arange, cells), indexing="ij"), -1).reshape(-1, 3)
        plane = (grid[:, :2] + 0.5 * (grid[:, 2:] % 2)) / cells[:2]
        z = region.lower + (grid[:, 2] + 0.5) * region.thickness / cells[2]
        places = np.column_stack([plane @ region.lattice, z])
        chosen = self._rng.permutation(len(places))[:count]
        chosen = self._ions_apart(places, chosen)
        turns = Rotation.random(count, rng=self._rng).as_matrix()
        placed = []
        for k, (body, turn) in enumerate(zip(self.bodies, turns, strict=True)):
            centre = places[chosen[k]]
            centre[2] = np.clip(centre[2], *bounds[k])
            placed.append(body.positions @ turn.T + centre)
        return np.concatenate(placed)

    def _ions_apart(self, places: Array, chosen: Indices) -> Indices:
        """Places in an order that sets ions far from the faces and from each other."""
        region, ions = self.region, sum(body.name != "H2O" for body in self.bodies)
        inverse = np.linalg.inv(region.lattice)
        middle = 0.5 * (region.lower + region.upper)
        away = -np.abs(places[chosen, 2] - middle)
        order: list[int] = []
        for _ in range(ions):
            away[order] = -np.inf
            order.append(int(np.argmax(away)))
            vectors = places[chosen] - places[chosen[order[-1]]]
            vectors[:, :2] -= np.rint(vectors[:, :2] @ inverse) @ region.lattice
            distance = np.linalg.norm(vectors, axis=1)
            # A place near a face is near the ion's image on its other side.
            room = np.minimum(distance, 2.0 * (0.5 * region.thickness
                                               - np.abs(places[chosen, 2] - middle)))  # fmt: skip
            away = room if len(order) == 1 else np.minimum(away, room)
        rest = [k for k in range(len(chosen)) if k not in set(order)]
        return np.asarray(chosen[order + rest])


def _images(lattice: Array) -> Array:
    """Lattice vectors (n, 2) that a folded vector may be off its images within the cut-off."""
    area = abs(np.linalg.det(lattice))
    reach = [int(np.ceil(CUTOFF * np.linalg.norm(v) / area + 0.5)) for v in lattice[::-1]]
    i, j = (np.arange(-n, n + 1) for n in reach)
    steps = np.stack(np.meshgrid(i, j, indexing="ij"), axis=-1).reshape(-1, 2)
    # The vector itself comes first: it tells a body from its images.
    steps = steps[np.argsort(np.abs(steps).sum(axis=1), kind="stable")]
    return np.ascontiguousarray(steps @ lattice)


def _pair_table(elements: Indices, contact: Array) -> Array:
    """A and B of A/r^12 - B/r^6 (2, n, n) of the elements; none for hydrogen."""
    size = (contact + ROOM) / 2.0 ** (1.0 / 6.0)
    depth = np.where((elements[:, None] > 1) & (elements > 1), DEPTH, 0.0)
    oxygen = elements == atomic_numbers["O"]
    both = oxygen[:, None] & oxygen
    size, depth = np.where(both, SPCE[1], size), np.where(both, SPCE[0], depth)
    return np.array([4.0 * depth * size**12, 4.0 * depth * size**6])


@numba.njit(cache=True)
def _wall_energy(molecule, own, walls, wall_kinds, contact, between, lattice, inverse, images):  # type: ignore[no-untyped-def]
    total, lowest = 0.0, 0.0
    for a in range(len(molecule)):
        for b in range(len(walls)):
            z = walls[b, 2] - molecule[a, 2]
            if abs(z) > CUTOFF:
                continue
            x, y = _fold(walls[b] - molecule[a], lattice, inverse)
            limit = contact[own[a], wall_kinds[b]]
            for image in images:
                square = (x + image[0]) ** 2 + (y + image[1]) ** 2 + z * z
                if square < CUTOFF**2:
                    if square < limit * limit:
                        missing = limit - np.sqrt(square)
                        total += OVERLAP[0] + OVERLAP[1] * missing * missing
                        lowest = max(lowest, missing)
                        square = limit * limit
                    sixth = 1.0 / (square * square * square)
                    table = between[:, own[a], wall_kinds[b]]
                    total += WALL * sixth * (table[0] * sixth - table[1])
    return total, lowest


@numba.njit(cache=True)
def _fold(vector, lattice, inverse):  # type: ignore[no-untyped-def]
    """The vector's x and y, less the lattice vector that brings its fractions near zero."""
    i = np.rint(vector[0] * inverse[0, 0] + vector[1] * inverse[1, 0])
    j = np.rint(vector[0] * inverse[0, 1] + vector[1] * inverse[1, 1])
    return (vector[0] - i * lattice[0, 0] - j * lattice[1, 0],
            vector[1] - i * lattice[0, 1] - j * lattice[1, 1])  # fmt: skip


@numba.njit(cache=True)
def _pair_energy(molecule, own, charges, other, kinds, other_charges, shift, contact, between):  # type: ignore[no-untyped-def]
    """Energy of two bodies, the second one shifted, and by how much they overlap at most."""
    total, lowest = 0.0, 0.0
    for a in range(len(molecule)):
        for b in range(len(other)):
            x = other[b, 0] + shift[0] - molecule[a, 0]
            y = other[b, 1] + shift[1] - molecule[a, 1]
            z = other[b, 2] - molecule[a, 2]
            square = x * x + y * y + z * z
            limit = contact[own[a], kinds[b]]
            if square < limit * limit:
                missing = limit - np.sqrt(square)
                total += OVERLAP[0] + OVERLAP[1] * missing * missing
                lowest = max(lowest, missing)
                # As at contact: opposite charges must not pay for an overlap.
                square = limit * limit
            total += COULOMB * charges[a] * other_charges[b] / np.sqrt(square)
            sixth = 1.0 / (square * square * square)
            total += sixth * (between[0, own[a], kinds[b]] * sixth - between[1, own[a], kinds[b]])
    return total, lowest


@numba.njit(cache=True)
def _interactions(  # type: ignore[no-untyped-def]
    k, molecule, positions, starts, kinds, charges, walls, wall_kinds, contact, between, lattice,
    inverse, images, bounds,
):  # fmt: skip
    """Energy of body k at given positions, and the largest overlap."""
    own, mine = kinds[starts[k] : starts[k + 1]], charges[starts[k] : starts[k + 1]]
    total, lowest = _wall_energy(
        molecule, own, walls, wall_kinds, contact, between, lattice, inverse, images
    )
    shift = np.zeros(2)
    for j in range(len(starts) - 1):
        first, last = starts[j], starts[j + 1]
        other = molecule if j == k else positions[first:last]
        z = other[0, 2] - molecule[0, 2]
        if abs(z) > CUTOFF:
            continue
        x, y = _fold(other[0] - molecule[0], lattice, inverse)
        x0, y0 = other[0, 0] - molecule[0, 0], other[0, 1] - molecule[0, 1]
        for n in range(len(images)):
            if j == k and n == 0:
                continue
            dx, dy = x + images[n, 0], y + images[n, 1]
            if dx * dx + dy * dy + z * z < CUTOFF**2:
                shift[0], shift[1] = dx - x0, dy - y0
                pair, overlap = _pair_energy(
                    molecule, own, mine, other, kinds[first:last], charges[first:last], shift,
                    contact, between,
                )  # fmt: skip
                # An image and its opposite are one pair, met twice.
                total += 0.5 * pair if j == k else pair
                lowest = max(lowest, overlap)
    return total, lowest


@numba.njit(cache=True)
def _energy(k, molecule, positions, *fixed):  # type: ignore[no-untyped-def]
    return _interactions(k, molecule, positions, *fixed)[0]


@numba.njit(cache=True)
def _touches(k, molecule, positions, *fixed):  # type: ignore[no-untyped-def]
    return _interactions(k, molecule, positions, *fixed)[1] > 0.0


@numba.njit(cache=True)
def _sweep(positions, order, turns, steps, chances, thermal, *fixed):  # type: ignore[no-untyped-def]
    starts, bounds = fixed[0], fixed[10]
    for k in order:
        old = positions[starts[k] : starts[k + 1]]
        centre = old[0] + steps[k]
        if centre[2] < bounds[k, 0] or centre[2] > bounds[k, 1]:
            continue
        new = np.empty_like(old)
        for a in range(len(old)):
            for i in range(3):
                new[a, i] = centre[i]
                for j in range(3):
                    new[a, i] += turns[k, i, j] * (old[a, j] - old[0, j])
        change = _energy(k, new, positions, *fixed) - _energy(k, old, positions, *fixed)
        if change <= 0.0 or chances[k] < np.exp(-change / thermal):
            positions[starts[k] : starts[k + 1]] = new
