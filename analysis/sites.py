"""Adsorption sites of a surface, from its atoms and the symmetry of the slab."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers, chemical_symbols

from voltase.analysis.interface import SLAB_OXYGEN_BOND, Interface
from voltase.analysis.neighbours import find_pairs, largest_cutoff

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
LOG = logging.getLogger(__name__)

SAME_ATOM = 0.3
"""Over the distance of neighbours: how far an atom may be from its image by a translation."""
FIRST_SHARE = 0.7
"""Atoms that a translation must map before it is improved; then it must map all of them."""
SAME_SITE = 0.2
"""Likewise for two sites of a primitive cell, and for corners on one circle."""
SYMMETRY = 0.06
"""Likewise, spglib's tolerance for the mean primitive slab."""
SAME_LENGTH = 0.05
"""Likewise for the lengths of two kinds of bridges."""
MOST_CLASSES = 16
"""More are not symmetry but the lack of it; such sites are told apart by their neighbours."""
KINDS = {1: "top", 2: "bridge"}


@dataclass(frozen=True)
class Sites:
    """Adsorption sites of one face: points between surface atoms, which move with them.

    Attributes
    ----------
    atoms : ndarray (n_sites, most)
        Atoms of each site, counted within the surface layer; of short rows the first repeats.
    weights : ndarray (n_sites, most)
        Share of each; zero for repeats.
    vectors : ndarray (n_sites, most, 2)
        From the first atom to each, in the reference, A; in the plane.
    names : tuple of str
        Of the classes, such as ``top``, ``bridge``, ``fcc``, ``hcp``.
    classes : ndarray (n_sites,)
        Index into `names`.
    """

    atoms: Indices
    weights: Array
    vectors: Array
    names: tuple[str, ...]
    classes: Indices

    def places(self, cell: Array, positions: Array) -> Array:
        """Where the sites are (n_sites, 3), A, in the plane, by the layer's atoms (n_layer, 3)."""
        first = positions[self.atoms[:, 0]]
        vectors = positions[self.atoms] - first[:, None]
        # The image that the reference shows: right also where a cell is smaller than a site.
        turns = np.rint((vectors[..., :2] - self.vectors) @ np.linalg.inv(cell[:2, :2]))
        vectors[..., :2] -= turns @ cell[:2, :2]
        points = first + np.einsum("sk,skx->sx", self.weights, vectors)
        points[:, 2] = 0.0
        return np.asarray(points)


def find_sites(cell: Array, positions: Array, numbers: Indices, interface: Interface, face: int
               ) -> Sites:  # fmt: skip
    """Adsorption sites of a face and their classes, named as `SiteCoverage` says.

    The translations that map the slab onto itself give its primitive cell. The mean over them is
    nearly free of thermal displacements, and its symmetry operations that keep the face tell which
    sites are alike.

    Parameters
    ----------
    cell : ndarray (3, 3)
        In standard orientation, A.
    positions : ndarray (n_atoms, 3)
        Of the slab, best a mean over frames, A.
    numbers : ndarray (n_atoms,)
        Atomic numbers.
    interface : Interface
    face : {0, 1}
    """
    slab = _Slab.of(cell, positions, numbers, interface, face)
    corners, members = _corners(slab)
    points = np.array([c.mean(axis=0) for c in corners])
    sizes = np.array([len(c) for c in corners])
    classes = _orbits(slab, points, sizes)
    names = _names(slab, points, members, classes)
    if len(set(classes.tolist())) <= MOST_CLASSES:
        lengths = [float(np.hypot(*(c[-1] - c[0]))) for c in corners]
        names = _told_apart(names, classes, lengths, SAME_LENGTH * slab.spacing)
    else:
        LOG.warning("sites: the slab has hardly any symmetry, so that sites of one name differ")
    order = {"top": 0, "bridge": 1}
    distinct = tuple(sorted(set(names), key=lambda name: (order.get(name.split("_")[0].rstrip(
        "0123456789"), 2), name)))  # fmt: skip
    return slab.repeat(corners, distinct, np.array([distinct.index(name) for name in names]))


def nearest_site(cell: Array, points: Array, sites: Array) -> Indices:
    """The laterally nearest site of each point (n,); both (n, 3) with height zero."""
    reach = min(4.0, largest_cutoff(cell))
    pairs = find_pairs(cell, points, sites, reach)
    best = np.full(len(points), -1, dtype=np.int64)
    order = np.argsort(-pairs.distances, kind="stable")
    best[pairs.first[order]] = pairs.second[order]
    lost = np.flatnonzero(best < 0)
    if len(lost):  # In cells hardly larger than a site.
        vectors = points[lost, None, :2] - sites[None, :, :2]
        best[lost] = np.argmin((_fold(cell[:2, :2], vectors) ** 2).sum(axis=2), axis=1)
    return best


@dataclass(frozen=True)
class _Slab:
    """The mean primitive slab below one face."""

    cell: Array  # (3, 3), A: the trajectory's, upright
    primitive: Array  # (3, 3), A: with the same third vector
    points: Array  # (n, 3), A: atoms of the primitive cell
    numbers: Indices  # (n,)
    surface: Indices  # those of the surface layer
    second: Indices  # those of the layer below
    labels: dict[int, str]  # of the surface's atoms, if they differ
    layer: Array  # (n_layer, 3), A: the surface layer in the trajectory, in the plane
    spacing: float  # of nearest neighbours in the surface layer, A

    @classmethod
    def of(cls, cell: Array, positions: Array, numbers: Indices, interface: Interface,
           face: int) -> _Slab:  # fmt: skip
        layers = interface.layers[:: -1 if face else 1]
        metal = np.concatenate(layers)
        oxygen = np.flatnonzero(interface.slab & (numbers == atomic_numbers["O"]))
        atoms = np.concatenate([metal, np.setdiff1d(oxygen, metal)])
        lower, upper = interface.surfaces(cell, positions)
        gap, height = (lower - upper) % cell[2, 2], cell[2, 2]
        points, kinds, top = positions[atoms], numbers[atoms], len(layers[0])
        points = points - np.floor((points[:, 2:] - lower + 0.5 * gap) / height) * cell[2]
        points[:, 2] -= lower
        points[:, :2] -= np.floor(points[:, :2] @ np.linalg.inv(cell[:2, :2])) @ cell[:2, :2]
        # Upright: a tilt across the liquid is no matter of the slab's symmetry.
        upright = cell.copy()
        upright[2] = 0.0, 0.0, np.ptp(points[:, 2]) + 20.0
        spacing = _spacing(upright, points[:top])
        primitive = _primitive(upright, points, kinds, top, SAME_ATOM * spacing)
        orbit, means = _join_copies(primitive, points, kinds, SAME_ATOM * spacing)
        first = np.unique(orbit, return_index=True)[1]
        second = layers[1] if len(layers) > 1 else layers[0][:0]
        return cls(upright, primitive, means, kinds[first], np.unique(orbit[:top]),
                   np.unique(orbit[top : top + len(second)]),
                   _labels(upright, points, kinds, orbit[:top]),
                   _flat(points[:top, :2]), spacing)  # fmt: skip

    def repeat(self, corners: list[Array], names: tuple[str, ...], classes: Indices) -> Sites:
        """Sites of the whole cell from those of the primitive one."""
        most = max(map(len, corners))
        padded = np.stack([c[np.minimum(np.arange(most), len(c) - 1)] for c in corners])
        real = np.arange(most) < np.array([len(c) for c in corners])[:, None]
        padded = np.where(real[..., None], padded, padded[:, :1])
        weights = real / real.sum(axis=1, keepdims=True)
        shifts = _translations(self.cell[:2, :2], self.primitive[:2, :2])
        ideal = (shifts[:, None, None] + padded).reshape(-1, 2)
        atoms = nearest_site(self.cell, _flat(ideal), self.layer).reshape(-1, most)
        vectors = np.tile(padded - padded[:, :1], (len(shifts), 1, 1))
        return Sites(atoms, np.tile(weights, (len(shifts), 1)), vectors, names,
                     np.tile(classes, len(shifts)))  # fmt: skip


def _flat(points: Array) -> Array:
    """Points (n, 2) of the plane with height zero (n, 3)."""
    return np.column_stack([points, np.zeros(len(points))])


def _fold(lattice: Array, vectors: Array) -> Array:
    """Shortest images (..., 2) of vectors in a lattice (2, 2) that is not far from reduced."""
    near = vectors - np.rint(vectors @ np.linalg.inv(lattice)) @ lattice
    images = near[..., None, :] + _grid(1) @ lattice
    index = np.argmin((images**2).sum(axis=-1), axis=-1)
    return np.asarray(np.take_along_axis(images, index[..., None, None], axis=-2)[..., 0, :])


def _grid(reach: int) -> Array:
    """Pairs of whole numbers up to the reach (n, 2)."""
    steps = np.arange(-reach, reach + 1.0)
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)


def _spacing(cell: Array, layer: Array) -> float:
    """Median distance of nearest neighbours in a layer, A; periodic images are neighbours too."""
    vectors = layer[:, None, :2] - layer[None, :, :2]
    images = vectors[..., None, :] + _grid(2) @ cell[:2, :2]
    squares = (images**2).sum(axis=-1)
    squares[squares < 0.25] = np.inf
    return float(np.sqrt(np.median(squares.min(axis=(1, 2)))))


def _primitive(cell: Array, points: Array, kinds: Indices, top: int, tolerance: float) -> Array:
    """Primitive cell (3, 3) of a slab, of whose atoms the first `top` are the surface layer's."""
    lattice = cell[:2, :2]
    reach = min(tolerance, largest_cutoff(cell))
    found = [np.zeros(2)]
    for j in np.flatnonzero(kinds[1:top] == kinds[0]) + 1:
        shift = points[j] - points[0]
        shift[2] = 0.0
        # The first try is off by the displacements of two atoms, the second by those of none.
        for share in (FIRST_SHARE, 1.0):
            pairs = find_pairs(cell, points + shift, points, reach)
            alike = kinds[pairs.first] == kinds[pairs.second]
            matched = len(np.unique(pairs.first[alike])) >= share * len(points)
            if not matched:
                break
            shift[:2] += pairs.vectors[alike, :2].mean(axis=0)
        if matched:
            found.append(shift[:2])
    vectors = (np.array(found)[:, None] + _grid(2) @ lattice).reshape(-1, 2)
    vectors = vectors[np.argsort((vectors**2).sum(axis=1), kind="stable")]
    vectors = vectors[(vectors**2).sum(axis=1) > tolerance**2]
    first = vectors[0]
    areas = np.abs(first[0] * vectors[:, 1] - first[1] * vectors[:, 0])
    second = vectors[np.argmax(areas > 0.3 * np.hypot(*first) * np.hypot(*vectors.T))]
    if first[0] * second[1] < first[1] * second[0]:
        second = -second
    turns = np.rint(lattice @ np.linalg.inv(np.stack([first, second])))
    if abs(round(np.linalg.det(turns))) != len(found):
        turns = np.eye(2)  # They are no lattice: there is no symmetry to speak of.
    primitive = cell.copy()
    primitive[:2, :2] = np.linalg.inv(turns) @ lattice
    return primitive


def _join_copies(primitive: Array, points: Array, kinds: Indices, tolerance: float
                 ) -> tuple[Indices, Array]:  # fmt: skip
    """Which atom of the primitive cell each atom is (n,), and the mean places of those."""
    orbit = np.full(len(points), -1, dtype=np.int64)
    means: list[Array] = []
    while (orbit < 0).any():
        start = int(np.argmax(orbit < 0))
        offsets = points - points[start]
        offsets[:, :2] = _fold(primitive[:2, :2], offsets[:, :2])
        same = (orbit < 0) & (kinds == kinds[start])
        same &= (offsets**2).sum(axis=1) < tolerance**2
        orbit[same] = len(means)
        means.append(points[start] + offsets[same].mean(axis=0))
    return orbit, np.array(means)


def _labels(cell: Array, points: Array, kinds: Indices, orbit: Indices) -> dict[int, str]:
    """What tells the atoms of the surface layer apart, by their place in the primitive cell."""
    members = np.unique(orbit)
    kind = [int(kinds[np.argmax(orbit == member)]) for member in members]
    if len(set(kind)) > 1:
        return {int(m): chemical_symbols[k] for m, k in zip(members, kind, strict=True)}
    oxygen = points[kinds == atomic_numbers["O"]]
    if len(oxygen) == 0 or kind[0] == atomic_numbers["O"]:
        return {}
    reach = min(SLAB_OXYGEN_BOND, largest_cutoff(cell))
    bonds = find_pairs(cell, points[: len(orbit)], oxygen, reach)
    bound = np.bincount(bonds.first, minlength=len(orbit))
    mean = np.array([np.rint(bound[orbit == member].mean()) for member in members])
    if np.ptp(mean) == 0:
        return {}
    extremes = {float(mean.min()): "cus", float(mean.max()): "bri"}
    return {int(m): extremes.get(n, f"O{n:.0f}") for m, n in zip(members, mean, strict=True)}


def _corners(slab: _Slab) -> tuple[list[Array], list[Indices]]:
    """Corners (n_corners, 2) of the sites in a primitive cell, and which atoms they are.

    Polygons are Delaunay triangles, those with one circumcircle joined; edges are those of the
    polygons.
    """
    from scipy.spatial import Delaunay

    base = slab.points[slab.surface, :2]
    places = (base[:, None] + _grid(4) @ slab.primitive[:2, :2]).reshape(-1, 2)
    atom = np.repeat(slab.surface, len(_grid(4)))
    home = np.zeros(len(places), dtype=bool)
    home[len(_grid(4)) // 2 :: len(_grid(4))] = True
    triangles = Delaunay(places)
    group = _one_circle(places, triangles, SAME_SITE * slab.spacing)
    candidates = [(k,) for k in np.flatnonzero(home)]
    for simplex, neighbours, mine in zip(triangles.simplices, triangles.neighbors, group,
                                         strict=True):  # fmt: skip
        if home[simplex].any():
            candidates.append(tuple(np.unique(triangles.simplices[group == mine])))
            candidates += [
                tuple(np.delete(simplex, k)) for k in range(3) if group[neighbours[k]] != mine
            ]
    middles = np.array([places[list(site)].mean(axis=0) for site in candidates])
    sizes = np.array([len(site) for site in candidates])
    new = np.ones(len(candidates), dtype=bool)
    for k in range(len(candidates)):
        if new[k]:
            offsets = _fold(slab.primitive[:2, :2], middles[k + 1 :] - middles[k])
            same = np.hypot(*offsets.T) < 0.5 * SAME_SITE * slab.spacing
            new[k + 1 :] &= ~same | (sizes[k + 1 :] != sizes[k])
    chosen = [list(candidates[k]) for k in np.flatnonzero(new)]
    return [places[site] for site in chosen], [atom[site] for site in chosen]


def _one_circle(places: Array, triangles: Any, tolerance: float) -> Indices:
    """Groups (n_triangles,) of triangles of which neighbours share their circumcentre."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    a, b, c = np.moveaxis(places[triangles.simplices], 1, 0)
    u, v = b - a, c - a
    cross = 2.0 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    uu, vv = (u**2).sum(axis=1), (v**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = a + np.column_stack([v[:, 1] * uu - u[:, 1] * vv, u[:, 0] * vv - v[:, 0] * uu]
                                     ) / cross[:, None]  # fmt: skip
        near = [np.hypot(*(centre - centre[other]).T) < tolerance
                for other in triangles.neighbors.T]  # fmt: skip
    linked = np.stack(near, axis=1) & (triangles.neighbors >= 0)
    i, k = np.nonzero(linked)
    count = len(places[triangles.simplices])
    graph = coo_matrix((np.ones(len(i)), (i, triangles.neighbors[i, k])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def _orbits(slab: _Slab, points: Array, sizes: Indices) -> Indices:
    """Classes (n_sites,) of sites that symmetry operations of the slab map onto each other."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    inverse = np.linalg.inv(slab.primitive)
    i, j = [np.arange(len(points))], [np.arange(len(points))]
    for rotation, translation in _operations(slab, slab.points @ inverse):
        moved = points @ inverse[:2, :2] @ rotation.T + translation
        offsets = (moved @ slab.primitive[:2, :2])[:, None] - points
        far = np.hypot(*np.moveaxis(_fold(slab.primitive[:2, :2], offsets), -1, 0))
        far[sizes[:, None] != sizes] = np.inf
        matched = far.min(axis=1) < SAME_SITE * slab.spacing
        i.append(np.flatnonzero(matched))
        j.append(far.argmin(axis=1)[matched])
    row, column = np.concatenate(i), np.concatenate(j)
    graph = coo_matrix((np.ones(len(row)), (row, column)), shape=(len(points), len(points)))
    return np.asarray(connected_components(graph, directed=False)[1])


def _operations(slab: _Slab, fractions: Array) -> list[tuple[Array, Array]]:
    """Rotations (2, 2) and translations (2,) of fractions that keep the slab and its faces."""
    import spglib

    crystal: Any = (slab.primitive, fractions, slab.numbers)
    with warnings.catch_warnings():
        # Versions differ in how they announce errors, and say so on every call.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            found = spglib.get_symmetry(crystal, symprec=SYMMETRY * slab.spacing)
        except Exception as error:  # its class depends on the version
            LOG.warning("sites: spglib finds no symmetry (%s)", error)
            found = None
    if found is None:
        return []
    return [
        (rotation[:2, :2], translation[:2])
        for rotation, translation in zip(found["rotations"], found["translations"], strict=True)
        if rotation[2, 2] == 1 and not rotation[2, :2].any() and not rotation[:2, 2].any()
    ]


def _names(slab: _Slab, points: Array, members: list[Indices], classes: Indices) -> list[str]:
    """Name of each site by its neighbours; see `SiteCoverage`."""
    below = slab.points[slab.second, :2]
    hollow = [k for k in range(len(points)) if len(members[k]) == 3]
    several = len({int(classes[k]) for k in hollow}) > 1
    names = []
    for k, (point, around) in enumerate(zip(points, members, strict=True)):
        name = KINDS.get(len(around), "hollow")
        if slab.labels:
            name = "_".join([name, *sorted(slab.labels[int(atom)] for atom in around)])
        elif k in hollow and several and len(below):
            offsets = _fold(slab.primitive[:2, :2], below - point)
            over = np.hypot(*offsets.T).min() < SAME_ATOM * slab.spacing
            name = "hcp" if over else "fcc"
        names.append(name)
    return names


def _told_apart(names: list[str], classes: Indices, lengths: list[float], tolerance: float
                ) -> list[str]:  # fmt: skip
    """Names that differ where classes do: by length for two kinds of bridges, else by number."""
    result = list(names)
    for name in set(names):
        same = [k for k in range(len(names)) if names[k] == name]
        size = {int(classes[k]): lengths[k] for k in same}
        ranked = sorted(size, key=lambda c: (size[c], c))
        if len(ranked) < 2:
            continue
        by_length = name.startswith("bridge") and len(ranked) == 2
        by_length = by_length and size[ranked[1]] - size[ranked[0]] > tolerance
        ends = ["_short", "_long"] if by_length else [str(n + 1) for n in range(len(ranked))]
        for k in same:
            result[k] = name + ends[ranked.index(int(classes[k]))]
    return result


def _translations(lattice: Array, primitive: Array) -> Array:
    """Vectors (n, 2) from one primitive cell to each in a cell."""
    turns = np.rint(lattice @ np.linalg.inv(primitive))
    count = abs(round(np.linalg.det(turns)))
    grid = _grid(int(np.abs(turns).sum()))
    fractions = np.round(grid @ np.linalg.inv(turns), 6)
    inside = grid[((fractions >= 0.0) & (fractions < 1.0)).all(axis=1)]
    assert len(inside) == count
    return np.asarray(inside @ primitive)
