"""From ASE atoms to a model's graph: electrode faces and neighbour lists."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms
from vesin import NeighborList

from .errors import InputError
from .models.backbone import BackboneConfig, cutoff_table
from .models.graph import Graph
from .models.pemace import PEMACEConfig

Array = npt.NDArray[np.float64]
MINIMUM_VACUUM = 6.0
"""Widest empty layer along the normal, in A, that does not count as vacuum."""


@dataclass
class Faces:
    """The wetted faces of an electrode.

    Attributes
    ----------
    normals : ndarray (n_faces, 3)
        Unit, pointing away from the electrode.
    areas : ndarray (n_faces,)
        In A^2.
    of_atom : ndarray (n_atoms,)
        Face of each atom.
    has_vacuum : bool
        False for a cell filled along the normal: there the electrode's potential has no
        reference and only the uncharged electrode is defined.
    """

    normals: Array
    areas: Array
    of_atom: npt.NDArray[np.int64]
    has_vacuum: bool


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
        If the structure is periodic along fewer than two axes or has no cell volume.
    """
    cell = atoms.cell.array
    axis = _normal_axis(atoms)
    others = [i for i in range(3) if i != axis]
    cross = np.cross(cell[others[0]], cell[others[1]])
    area = float(np.linalg.norm(cross))
    if area < 1e-6:
        raise InputError(f"atoms: the cell spans an area of {area:.3g} A^2, expected a slab cell")
    normal = cross / area
    if normal @ cell[axis] < 0:
        normal = -normal
    if not np.any(cell[axis]):
        axis_sum = normal.sum()
        normal = normal if axis_sum > 0 else -normal
    heights, gap = _heights(atoms, axis, normal)
    metal = np.isin(atoms.get_chemical_symbols(), electrode_symbols)
    upper = np.ones(len(atoms), dtype=bool)
    if metal.any():
        middle = 0.5 * (heights[metal].min() + heights[metal].max())
        upper = heights >= middle
    above, below = bool((upper & ~metal).any()), bool((~upper & ~metal).any())
    if above and below and gap > MINIMUM_VACUUM:
        normals, of_atom = np.array([normal, -normal]), np.where(upper, 0, 1)
    else:
        normals = np.array([-normal if below and not above else normal])
        of_atom = np.zeros(len(atoms), dtype=np.int64)
    areas = np.full(len(normals), area)
    return Faces(normals, areas, of_atom.astype(np.int64), gap > MINIMUM_VACUUM)


def _normal_axis(atoms: Atoms) -> int:
    pbc = np.asarray(atoms.pbc)
    if pbc.sum() < 2:
        raise InputError(
            f"atoms: periodic along {int(pbc.sum())} axes, expected a cell periodic along the "
            "surface (two axes) or in 3D"
        )
    if pbc.sum() == 2:
        return int(np.flatnonzero(~pbc)[0])
    gaps = [_widest_gap(atoms.get_scaled_positions(wrap=True)[:, i])[0] * _height(atoms, i)
            for i in range(3)]  # fmt: skip
    best = int(np.argmax(gaps))
    return best if gaps[best] > MINIMUM_VACUUM else 2


def _height(atoms: Atoms, axis: int) -> float:
    cell = atoms.cell.array
    a, b = (cell[i] for i in range(3) if i != axis)
    return float(abs(np.linalg.det(cell)) / np.linalg.norm(np.cross(a, b)))


def _widest_gap(fractions: Array) -> tuple[float, float]:
    """Widest empty interval of fractional coordinates, and where it ends."""
    ordered = np.sort(fractions % 1.0)
    gaps = np.diff(np.append(ordered, ordered[0] + 1.0))
    k = int(np.argmax(gaps))
    return float(gaps[k]), float((ordered[k] + gaps[k]) % 1.0)


def _heights(atoms: Atoms, axis: int, normal: Array) -> tuple[Array, float]:
    """Heights along the normal with the widest gap at the cell's boundary, and that gap (A)."""
    heights = atoms.positions @ normal
    if not atoms.pbc[axis]:
        return heights, np.inf
    period = _height(atoms, axis)
    gap, start = _widest_gap(heights / period)
    return (heights / period - start) % 1.0 * period, gap * period


def neighbour_list(atoms: Atoms, cutoff: float) -> tuple[npt.NDArray[np.int64], Array]:
    """Senders and receivers (2, n_edges), sorted by receiver, and lattice shifts (n_edges, 3).

    Parameters
    ----------
    atoms : Atoms
    cutoff : float
        In A. Image cells are followed as far as needed.
    """
    periodic = [bool(p) for p in atoms.pbc]
    sender, receiver, shift = NeighborList(cutoff=cutoff, full_list=True).compute(
        points=atoms.positions, box=_box(atoms), periodic=periodic, quantities="ijS"
    )
    sender, receiver = sender.astype(np.int64), receiver.astype(np.int64)
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], sender, receiver))
    return np.stack([sender[order], receiver[order]]), shift[order].astype(np.int64)


def _box(atoms: Atoms) -> Array:
    """Cell with the zero rows of non-periodic axes filled (vesin wants a full cell)."""
    return np.asarray(atoms.cell.complete().array, dtype=np.float64)


def species_index(atoms: Atoms, symbols: list[str]) -> npt.NDArray[np.int64]:
    """Index of every atom's element in a model's list.

    Raises
    ------
    InputError
        If the structure has an element the model does not know.
    """
    found = atoms.get_chemical_symbols()
    unknown = sorted(set(found) - set(symbols))
    if unknown:
        raise InputError(
            f"atoms: element {', '.join(unknown)} unknown to the model, expected only "
            f"{', '.join(symbols)}"
        )
    lookup = {s: i for i, s in enumerate(symbols)}
    return np.array([lookup[s] for s in found], dtype=np.int64)


def pair_radii(config: BackboneConfig, symbols: list[str]) -> Array:
    """Cut-off radii (n_elements, n_elements) in A as an array."""
    return cutoff_table(config, symbols).double().numpy()


def build_graph(atoms: Atoms, config: PEMACEConfig, domain: int = 0, skin: float = 0.0,
                faces: Faces | None = None) -> Graph:  # fmt: skip
    """Graph of one structure on the CPU in float64.

    Parameters
    ----------
    atoms : Atoms
    config : PEMACEConfig
    domain : int
    skin : float
        Extra radius in A, so that the list outlives small moves.
    faces : Faces, optional
        Found from the structure if not given.
    """
    species = species_index(atoms, config.symbols)
    edges, shifts = neighbour_list(atoms, config.backbone.r_max + skin)
    vectors = atoms.positions[edges[1]] - atoms.positions[edges[0]] + shifts @ _box(atoms)
    radii = pair_radii(config.backbone, config.symbols)[species[edges[0]], species[edges[1]]]
    keep = np.linalg.norm(vectors, axis=1) < radii + skin
    edges, shifts = edges[:, keep], shifts[keep]
    faces = faces or find_faces(atoms, config.electrode_symbols)
    n_faces = len(faces.areas)
    return Graph(
        positions=torch.from_numpy(atoms.positions.astype(np.float64)),
        species=torch.from_numpy(species),
        edge_index=torch.from_numpy(edges),
        shifts=torch.from_numpy(shifts @ _box(atoms)),
        batch=torch.zeros(len(atoms), dtype=torch.int64),
        domain=torch.tensor([domain]),
        face=torch.from_numpy(faces.of_atom),
        normals=torch.from_numpy(faces.normals),
        areas=torch.from_numpy(faces.areas),
        face_graph=torch.zeros(n_faces, dtype=torch.int64),
    )


class SkinNeighbours:
    """Neighbour lists that outlive small moves of the atoms.

    The list is built with an extra radius and cut down to the true radii in every call, so that
    what a model sees depends on the positions alone and not on when the list was built.

    Parameters
    ----------
    config : PEMACEConfig
    domain : int
    skin : float
        Extra radius in A.
    """

    def __init__(self, config: PEMACEConfig, domain: int, skin: float) -> None:
        self.config, self.domain, self.skin = config, domain, skin
        self.radii = pair_radii(config.backbone, config.symbols)
        self.builds = 0
        self._atoms: Atoms | None = None
        self._graph: Graph | None = None
        self._faces: Faces | None = None
        self._edge_radii: Array = np.empty(0)

    def graph(self, atoms: Atoms) -> tuple[Graph, Faces]:
        """Graph and faces of a structure; a new list only when atoms have moved too far."""
        if not self._valid(atoms):
            self._build(atoms)
        assert self._graph is not None and self._faces is not None
        old = self._graph
        positions = torch.from_numpy(atoms.positions.astype(np.float64))
        sender, receiver = old.edge_index
        vectors = positions[receiver] - positions[sender] + old.shifts
        inside = torch.linalg.vector_norm(vectors, dim=1) < torch.from_numpy(self._edge_radii)
        keep = torch.nonzero(inside).flatten()
        current = replace(
            old,
            positions=positions,
            edge_index=old.edge_index.index_select(1, keep),
            shifts=old.shifts.index_select(0, keep),
        )
        return current.with_layout(), self._faces

    def _valid(self, atoms: Atoms) -> bool:
        last = self._atoms
        if last is None or len(last) != len(atoms):
            return False
        if (
            not np.array_equal(last.numbers, atoms.numbers)
            or not np.array_equal(last.cell.array, atoms.cell.array)
            or not np.array_equal(last.pbc, atoms.pbc)
        ):
            return False
        moved = ((atoms.positions - last.positions) ** 2).sum(1).max()
        return bool(moved < (0.5 * self.skin) ** 2)

    def _build(self, atoms: Atoms) -> None:
        if not np.isfinite(atoms.positions).all():
            raise InputError("atoms: positions are not finite, expected numbers in A")
        self._faces = find_faces(atoms, self.config.electrode_symbols)
        self._graph = build_graph(atoms, self.config, self.domain, self.skin, self._faces)
        species = self._graph.species.numpy()
        edges = self._graph.edge_index.numpy()
        self._edge_radii = self.radii[species[edges[0]], species[edges[1]]]
        self._atoms = atoms.copy()
        self.builds += 1
