"""Tensors a model sees: atoms, edges, and the electrode faces they lie on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .fused import EdgeLayout


@dataclass
class Graph:
    """One or several structures as tensors.

    Attributes
    ----------
    positions : Tensor (n_atoms, 3)
        In A.
    species : Tensor (n_atoms,)
        Index of each element in the model's list.
    edge_index : Tensor (2, n_edges)
        Sender and receiver of each edge, sorted by receiver.
    shifts : Tensor (n_edges, 3)
        Cartesian lattice shift in A: edge vector = receiver - sender + shift.
    batch : Tensor (n_atoms,)
        Structure of each atom.
    domain : Tensor (n_graphs,)
        Which of the model's training domains (reference codes) each structure is read with.
    face : Tensor (n_atoms,)
        Electrode face whose normal and charge act on each atom.
    normals : Tensor (n_faces, 3)
        Unit outward normals of the wetted faces.
    areas : Tensor (n_faces,)
        In A^2.
    face_graph : Tensor (n_faces,)
        Structure of each face.
    layout : EdgeLayout, optional
        Padded neighbour lists, kept with a neighbour list that is used more than once.
    """

    positions: Tensor
    species: Tensor
    edge_index: Tensor
    shifts: Tensor
    batch: Tensor
    domain: Tensor
    face: Tensor
    normals: Tensor
    areas: Tensor
    face_graph: Tensor
    layout: EdgeLayout | None = None

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return int(self.positions.shape[0])

    @property
    def n_graphs(self) -> int:
        """Number of structures."""
        return int(self.domain.shape[0])

    @property
    def n_faces(self) -> int:
        """Number of electrode faces in all structures together."""
        return int(self.areas.shape[0])

    def edge_vectors(self) -> Tensor:
        """Edge vectors (n_edges, 3) in A, from sender to receiver."""
        sender, receiver = self.edge_index
        positions = self.positions
        return positions.index_select(0, receiver) - positions.index_select(0, sender) + self.shifts

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Graph:
        """Copy on another device and in another floating-point type."""
        moved = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                target = dtype if value.is_floating_point() else value.dtype
                value = value.to(device=device, dtype=target)
            moved[field.name] = None if field.name == "layout" else value
        return Graph(**moved)

    def with_layout(self) -> Graph:
        """The same graph with its padded neighbour lists prepared."""
        self.layout = EdgeLayout.build(self.edge_index[1], self.n_atoms)
        return self


def collate(graphs: Sequence[Graph]) -> Graph:
    """Join graphs into one, offsetting atom, structure and face indices."""
    atoms = _offsets([g.n_atoms for g in graphs])
    structures = _offsets([g.n_graphs for g in graphs])
    faces = _offsets([g.n_faces for g in graphs])
    return Graph(
        positions=torch.cat([g.positions for g in graphs]),
        species=torch.cat([g.species for g in graphs]),
        edge_index=torch.cat([g.edge_index + a for g, a in zip(graphs, atoms, strict=True)], 1),
        shifts=torch.cat([g.shifts for g in graphs]),
        batch=torch.cat([g.batch + s for g, s in zip(graphs, structures, strict=True)]),
        domain=torch.cat([g.domain for g in graphs]),
        face=torch.cat([g.face + f for g, f in zip(graphs, faces, strict=True)]),
        normals=torch.cat([g.normals for g in graphs]),
        areas=torch.cat([g.areas for g in graphs]),
        face_graph=torch.cat([g.face_graph + s for g, s in zip(graphs, structures, strict=True)]),
    )


def _offsets(sizes: Sequence[int]) -> list[int]:
    total, out = 0, []
    for size in sizes:
        out.append(total)
        total += size
    return out
