"""Adsorption sites of an ideal surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay

from voltase.aseplugin.building.contacts import NONMETALS
from voltase.aseplugin.building.slab import Slab
from voltase.aseplugin.building.supercell import translations
from voltase.aseplugin.building.symmetry import Array, Indices, slab_operations
from voltase.aseplugin.errors import InputError

SAME = 0.05
"""In A, two points in one place."""
FREE = 2.0
"""In A, how near an oxygen on a site may come to the non-metal atoms of an oxide."""
_BOND = 2.4  # A, longest from a metal to its oxygen
_KINDS = {1: "top", 2: "bridge"}


@dataclass(frozen=True)
class Site:
    """All equivalent adsorption sites of the upper face.

    Attributes
    ----------
    name : str
        ``top``, ``bridge``, ``hollow``; ``fcc`` and ``hcp`` where two kinds of three-fold hollows
        differ; ``top_cus``, ``bridge_bri_bri`` and so on between metal atoms of fewer (cus) and
        more (bri) bonds to oxygen; ``top_O`` on an oxygen above the metal.
    points : ndarray (n, 2)
        In the plane, in A.
    """

    name: str
    points: Array


@dataclass(frozen=True)
class _Spot:
    point: Array  # (2,), A
    members: tuple[int, ...]  # atoms of the surface cell
    length: float  # A, between the first two members


def find_sites(slab: Slab) -> list[Site]:
    """Free adsorption sites of the upper face, equivalent ones together.

    Sites lie on, and between neighbours among, the outermost metal atoms (all atoms where there
    are none), and on the atoms above them. The symmetry of the slab, by spglib, says which are
    equivalent. Sites that the slab's own atoms occupy are left out.
    """
    unit = slab.unit
    layer, above = _outermost(unit)
    spots = [spot for spot in _between(unit, layer) if _is_free(unit, spot)]
    spots += [_Spot(unit.positions[k, :2].copy(), (int(k),), 0.0) for k in above]
    if not spots:
        return []
    classes = _orbits(unit, spots)
    names = _names(unit, layer, spots, classes)
    shifts = translations(slab.matrix) @ unit.cell.array[:2, :2]
    result = []
    for name in sorted(set(names), key=_rank):
        own = np.array([s.point for s, n in zip(spots, names, strict=True) if n == name])
        points = (shifts[:, None] + own).reshape(-1, 2)
        fractions = points @ np.linalg.inv(slab.atoms.cell.array[:2, :2])
        fractions -= np.floor(fractions + 1e-6)
        result.append(Site(name, fractions @ slab.atoms.cell.array[:2, :2]))
    return result


def _rank(name: str) -> tuple[int, str]:
    return (["top", "bridge"].index(name.split("_")[0].rstrip("0123456789"))
            if name.startswith(("top", "bridge")) else 2, name)  # fmt: skip


def _outermost(unit: Atoms) -> tuple[Indices, Indices]:
    """Atoms of the outermost plane of metal (or of any) atoms, and the others not below it."""
    heights = unit.positions[:, 2]
    metal = _is_metal(unit)
    if not metal.any():
        metal[:] = True
    top = heights[metal].max()
    layer = np.flatnonzero(metal & (heights > top - 0.5))
    above = np.flatnonzero(~metal & (heights > top + 0.3))
    return layer, above


def _grid(reach: int) -> Array:
    steps = np.arange(-reach, reach + 1.0)
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)


def _fold(lattice: Array, vectors: Array) -> Array:
    """Shortest images (..., 2) of vectors of a plane."""
    near = vectors - np.rint(vectors @ np.linalg.inv(lattice)) @ lattice
    images = near[..., None, :] + _grid(1) @ lattice
    index = np.argmin((images**2).sum(axis=-1), axis=-1)
    return np.asarray(np.take_along_axis(images, index[..., None, None], axis=-2)[..., 0, :])


def _between(unit: Atoms, layer: Indices) -> list[_Spot]:
    """Corners, edges and polygons of the Delaunay triangulation of a layer, one cell's worth."""
    lattice, grid = unit.cell.array[:2, :2], _grid(4)
    places = (unit.positions[layer, None, :2] + grid @ lattice).reshape(-1, 2)
    owner = np.repeat(layer, len(grid))
    found: list[_Spot] = []
    for members in _groups(places):
        point = places[members].mean(axis=0)
        fractions = point @ np.linalg.inv(lattice)
        inside = ((fractions > -1e-4) & (fractions < 1.0 - 1e-4)).all()
        same = [s for s in found if len(s.members) == len(members)
                and np.hypot(*_fold(lattice, s.point - point)) < SAME]  # fmt: skip
        if inside and not same:
            length = float(np.linalg.norm(places[members[0]] - places[members[-1]]))
            found.append(_Spot(point, tuple(int(owner[k]) for k in members), length))
    return found


def _groups(places: Array) -> list[list[int]]:
    """Points, edges and polygons; triangles with one circumcircle make one polygon."""
    triangles = Delaunay(places)
    corners = places[triangles.simplices]
    centres = np.array([_circumcentre(corner) for corner in corners])
    others = triangles.neighbors
    joined = np.linalg.norm(centres[:, None] - centres[others], axis=2) < SAME
    joined &= others >= 0
    first, second = np.nonzero(joined)
    count = len(centres)
    graph = coo_matrix((np.ones(len(first)), (first, others[first, second])), shape=(count, count))
    polygon = connected_components(graph, directed=False)[1]
    members: list[set[int]] = [set() for _ in range(int(polygon.max()) + 1)]
    edges = set()
    for k, simplex in enumerate(triangles.simplices):
        members[polygon[k]].update(int(n) for n in simplex)
        for corner in range(3):
            if not joined[k, corner]:
                edges.add(tuple(sorted(int(n) for n in np.delete(simplex, corner))))
    groups = [[k] for k in range(len(places))]
    return groups + [list(edge) for edge in sorted(edges)] + [sorted(group) for group in members]


def _circumcentre(corners: Array) -> Array:
    a, u, v = corners[0], corners[1] - corners[0], corners[2] - corners[0]
    cross = 2.0 * (u[0] * v[1] - u[1] * v[0])
    if abs(cross) < 1e-8:  # Three points of the hull on a line; no site comes of it.
        return np.full(2, np.inf)
    offset = np.array([v[1] * (u @ u) - u[1] * (v @ v), u[0] * (v @ v) - v[0] * (u @ u)])
    return np.asarray(a + offset / cross)


def probe_height(atoms: Atoms, point: Array, number: int) -> float:
    """Height in A at which an atom above a point of the plane touches the first atom below it.

    It touches at the sum of the covalent radii.
    """
    offsets = atoms.positions[:, None, :2] - point + _grid(2) @ atoms.cell.array[:2, :2]
    sums = covalent_radii[atoms.numbers] + covalent_radii[number]
    squares = sums[:, None] ** 2 - (offsets**2).sum(axis=2)
    reach = np.where(squares > 0.0, np.sqrt(np.maximum(squares, 0.0)), -np.inf)
    heights = atoms.positions[:, 2, None] + reach
    return float(max(heights.max(), atoms.positions[:, 2].max() - 3.0))


def _is_free(unit: Atoms, spot: _Spot) -> bool:
    """Whether an oxygen that touches the metal there keeps away from the slab's other atoms."""
    metal = _is_metal(unit)
    if not metal.any():
        return True
    height = probe_height(unit[metal], spot.point, atomic_numbers["O"])
    offsets = unit.positions[:, None, :2] - spot.point + _grid(2) @ unit.cell.array[:2, :2]
    squares = (offsets**2).sum(axis=2) + (unit.positions[:, 2, None] - height) ** 2
    return not (squares[~metal] < FREE**2).any()


def _is_metal(unit: Atoms) -> npt.NDArray[np.bool_]:
    return np.array([symbol not in NONMETALS for symbol in unit.get_chemical_symbols()])


def _orbits(unit: Atoms, spots: list[_Spot]) -> Indices:
    """Classes (n_spots,) of spots that operations of the slab map onto each other."""
    lattice = unit.cell.array[:2, :2]
    points = np.array([spot.point for spot in spots])
    sizes = np.array([len(spot.members) for spot in spots])
    fractions = points @ np.linalg.inv(lattice)
    rows, columns = [np.arange(len(spots))], [np.arange(len(spots))]
    for rotation, shift in slab_operations(unit.cell.array, unit.positions, unit.numbers, side=1):
        moved = fractions @ rotation[:2, :2].T + shift[:2]
        away = np.linalg.norm(_fold(lattice, (moved[:, None] - fractions) @ lattice), axis=2)
        away[sizes[:, None] != sizes] = np.inf
        hit = away.min(axis=1) < SAME
        rows.append(np.flatnonzero(hit))
        columns.append(away.argmin(axis=1)[hit])
    i, j = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.ones(len(i)), (i, j)), shape=(len(spots), len(spots)))
    return np.asarray(connected_components(graph, directed=False)[1])


def _names(unit: Atoms, layer: Indices, spots: list[_Spot], classes: Indices) -> list[str]:
    """Names of the spots, different for different classes."""
    labels = _labels(unit, layer)
    threefold = {int(c) for c, s in zip(classes, spots, strict=True) if len(s.members) == 3}
    names = []
    for spot in spots:
        name = _KINDS.get(len(spot.members), "hollow")
        if any(member in labels for member in spot.members):
            name = "_".join([name, *sorted(labels[member] for member in spot.members)])
        elif len(spot.members) == 3 and len(threefold) > 1:
            name = "hcp" if _over_second_layer(unit, layer, spot) else "fcc"
        names.append(name)
    return _numbered(names, classes, [spot.length for spot in spots])


def _labels(unit: Atoms, layer: Indices) -> dict[int, str]:
    """What tells the atoms of the surface apart: element, or bonds to oxygen."""
    symbols = unit.get_chemical_symbols()
    top = unit.positions[layer, 2].max()
    labels = {k: symbols[k] for k in range(len(unit)) if unit.positions[k, 2] > top + 0.3}
    if len({symbols[k] for k in layer}) > 1:
        return labels | {int(k): symbols[k] for k in layer}
    oxygen = np.flatnonzero(unit.numbers == atomic_numbers["O"])
    if len(oxygen) == 0 or symbols[layer[0]] == "O":
        return labels | ({int(k): symbols[k] for k in layer} if labels else {})
    counts = []
    for k in layer:
        offsets = unit.positions[oxygen] - unit.positions[k]
        planar = offsets[:, None, :2] + _grid(2) @ unit.cell.array[:2, :2]
        squares = (planar**2).sum(axis=2) + offsets[:, 2, None] ** 2
        counts.append(int((squares < _BOND**2).sum()))
    if len(set(counts)) == 1:
        return labels | ({int(k): symbols[k] for k in layer} if labels else {})
    names = {min(counts): "cus", max(counts): "bri"}
    return labels | {int(k): names.get(n, f"O{n}") for k, n in zip(layer, counts, strict=True)}


def _over_second_layer(unit: Atoms, layer: Indices, spot: _Spot) -> bool:
    """Whether the nearest atom straight below is in the second layer, as it is in an hcp hollow."""
    heights = unit.positions[:, 2]
    below = np.flatnonzero(heights < heights[layer].min() - 0.5)
    if len(below) == 0:
        return False
    second = below[heights[below] > heights[below].max() - 0.5]
    offsets = _fold(unit.cell.array[:2, :2], unit.positions[second, :2] - spot.point)
    return bool(np.linalg.norm(offsets, axis=1).min() < 0.5)


def _numbered(names: list[str], classes: Indices, lengths: list[float]) -> list[str]:
    """Names made different where the classes are: bridges by length, the rest by a number."""
    result = list(names)
    for name in set(names):
        own = [k for k in range(len(names)) if names[k] == name]
        size = {int(classes[k]): round(lengths[k], 3) for k in own}
        ranked = sorted(size, key=lambda c: (size[c], c))
        if len(ranked) < 2:
            continue
        ends = [str(n + 1) for n in range(len(ranked))]
        if name.startswith("bridge") and len(ranked) == 2 and size[ranked[0]] < size[ranked[1]]:
            ends = ["_short", "_long"]
        for k in own:
            result[k] = name + ends[ranked.index(int(classes[k]))]
    return result


def choose_site(sites: list[Site], wanted: str) -> Site:
    """The site of a name, or of a name's beginning where only one fits.

    Raises
    ------
    InputError
        If none does, or several.
    """
    exact = [site for site in sites if site.name == wanted]
    begun = [site for site in sites if site.name.startswith(wanted)]
    found = exact or begun
    if len(found) != 1:
        listed = ", ".join(f"{site.name} ({len(site.points)})" for site in sites) or "none"
        raise InputError(f"adsorb: got the site {wanted!r}, expected one of {listed}")
    return found[0]
