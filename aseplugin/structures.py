"""From ASE atoms to a model's graph: neighbour lists and electrode faces as tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from ase import Atoms
from vesin import NeighborList

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.faces import Array, Faces, Indices, find_faces
from voltase.aseplugin.models.backbone import BackboneConfig, cutoff_table
from voltase.aseplugin.models.graph import Graph, InnerAtoms

SMALLEST_DISTANCE = 0.5
"""Two atoms nearer than this, in A, are an error in the structure (H2 has 0.74 A)."""


class GraphSettings(Protocol):
    """What the settings of a model say about its graphs."""

    @property
    def symbols(self) -> list[str]:
        """Elements in ascending atomic number."""

    @property
    def electrode_symbols(self) -> list[str]:
        """Elements that make the electrode."""

    @property
    def backbone(self) -> BackboneConfig:
        """Cut-offs within which neighbours are needed."""


def neighbour_list(atoms: Atoms, cutoff: float) -> tuple[Indices, Array]:
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


def species_index(atoms: Atoms, symbols: list[str]) -> Indices:
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


def build_graph(atoms: Atoms, config: GraphSettings, domain: int = 0, skin: float = 0.0,
                faces: Faces | None = None) -> Graph:  # fmt: skip
    """Graph of one structure on the CPU in float64.

    Parameters
    ----------
    atoms : Atoms
    config : GraphSettings
    domain : int
    skin : float
        Extra radius in A, so that the list outlives small moves.
    faces : Faces, optional
        Found from the structure if not given.

    Raises
    ------
    InputError
        If the structure is no slab (see `find_faces`) or has an unknown element.
    """
    species = species_index(atoms, config.symbols)
    faces = faces or find_faces(atoms, config.electrode_symbols)
    edges, shifts = neighbour_list(atoms, config.backbone.r_max + skin)
    offsets = shifts @ _box(atoms)
    vectors = atoms.positions[edges[1]] - atoms.positions[edges[0]] + offsets
    radii = pair_radii(config.backbone, config.symbols)[species[edges[0]], species[edges[1]]]
    keep = np.linalg.norm(vectors, axis=1) < radii + skin
    return _with_faces(
        Graph(
            positions=torch.from_numpy(atoms.positions.astype(np.float64)),
            species=torch.from_numpy(species),
            edge_index=torch.from_numpy(edges[:, keep]),
            shifts=torch.from_numpy(offsets[keep]),
            batch=torch.zeros(len(atoms), dtype=torch.int64),
            domain=torch.tensor([domain]),
            face=torch.zeros(len(atoms), dtype=torch.int64),
            normals=torch.empty(0, 3, dtype=torch.float64),
            areas=torch.empty(0, dtype=torch.float64),
            face_graph=torch.empty(0, dtype=torch.int64),
        ),
        faces,
    )


def _with_faces(graph: Graph, faces: Faces) -> Graph:
    """The graph of one structure with other faces."""
    inner = None
    if len(faces.inner):
        atoms = torch.from_numpy(faces.inner)
        inner = InnerAtoms(
            atoms=atoms,
            first=torch.zeros_like(atoms),
            second=torch.ones_like(atoms),
            images=torch.from_numpy(faces.images),
        )
    return replace(
        graph,
        face=torch.from_numpy(faces.of_atom),
        normals=torch.from_numpy(faces.normals),
        areas=torch.from_numpy(faces.areas),
        face_graph=torch.zeros(len(faces.areas), dtype=torch.int64),
        inner=inner,
    )


class SkinNeighbours:
    """Neighbour lists that outlive small moves of the atoms.

    The list is built with an extra radius and cut down to the true radii in every call, and the
    faces are found in every call, so that what a model sees depends on the positions alone and not
    on when the list was built.

    Parameters
    ----------
    config : GraphSettings
    domain : int
    skin : float
        Extra radius in A.
    faces : callable
        Finds the faces of a structure, by default as in `find_faces`.

    Attributes
    ----------
    builds : int
        Number of neighbour lists built so far.
    """

    def __init__(self, config: GraphSettings, domain: int, skin: float,
                 faces: Callable[[Atoms, list[str]], Faces] = find_faces) -> None:  # fmt: skip
        self.config, self.domain, self.skin = config, domain, skin
        self.find_faces = faces
        self.radii = pair_radii(config.backbone, config.symbols)
        self.builds = 0
        self._atoms: Atoms | None = None
        self._graph: Graph | None = None
        self._edge_radii = torch.empty(0)

    def graph(self, atoms: Atoms) -> tuple[Graph, Faces]:
        """Graph and faces of a structure; a new list only when atoms have moved too far.

        Raises
        ------
        InputError
            If the structure is no slab, has an unknown element, or two atoms coincide.
        """
        faces = self.find_faces(atoms, self.config.electrode_symbols)
        graph = self._current(atoms, faces)
        positions = torch.from_numpy(atoms.positions.astype(np.float64))
        sender, receiver = graph.edge_index
        vectors = positions.index_select(0, receiver) - positions.index_select(0, sender)
        lengths = torch.linalg.vector_norm(vectors + graph.shifts, dim=1)
        check_distances(atoms, graph.edge_index.numpy(), lengths.numpy())
        keep = torch.nonzero(lengths < self._edge_radii).flatten()
        current = replace(
            _with_faces(graph, faces),
            positions=positions,
            edge_index=graph.edge_index.index_select(1, keep),
            shifts=graph.shifts.index_select(0, keep),
        )
        return current.with_layout(), faces

    def _current(self, atoms: Atoms, faces: Faces) -> Graph:
        """Graph with the extra edges of the skin, as built last if that is recent enough."""
        if self._graph is not None and self._valid(atoms):
            return self._graph
        graph = build_graph(atoms, self.config, self.domain, self.skin, faces)
        species, edges = graph.species.numpy(), graph.edge_index.numpy()
        self._edge_radii = torch.from_numpy(self.radii[species[edges[0]], species[edges[1]]])
        self._graph = graph
        self._atoms = atoms.copy()
        self.builds += 1
        return graph

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


def check_distances(atoms: Atoms, edges: Indices, lengths: Array) -> None:
    """Refuse atoms that lie on one another.

    Parameters
    ----------
    atoms : Atoms
    edges : ndarray (2, n_edges)
        Pairs of neighbours.
    lengths : ndarray (n_edges,)
        Their distances, A.

    Raises
    ------
    InputError
        If a distance is below `SMALLEST_DISTANCE`.
    """
    if lengths.size == 0 or float(lengths.min()) >= SMALLEST_DISTANCE:
        return
    nearest = int(lengths.argmin())
    first, second = sorted(int(i) for i in edges[:, nearest])
    raise InputError(
        f"atoms: {atoms.symbols[first]} {first} and {atoms.symbols[second]} {second} are "
        f"{float(lengths[nearest]):.3f} A apart, expected at least {SMALLEST_DISTANCE} A"
    )
