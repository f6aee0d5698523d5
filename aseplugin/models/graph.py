"""Tensors a model sees: atoms, edges, and the electrode faces they lie on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from voltase.aseplugin.models.fused import EdgeLayout

BLEND = 1.5
"""Half the height in A over which the metal passes from one of two wetted faces to the other."""


@dataclass
class InnerAtoms:
    """Electrode atoms between two wetted faces of a slab, which belong to both.

    A share that changes smoothly with the height keeps the energy continuous when an atom of the
    middle layer vibrates through the middle.

    Attributes
    ----------
    atoms : Tensor (n_inner,)
    first, second : Tensor (n_inner,)
        The two faces of each atom's slab.
    images : Tensor (n_inner, 3)
        Lattice vectors in A that move these atoms into one connected slab.
    """

    atoms: Tensor
    first: Tensor
    second: Tensor
    images: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> InnerAtoms:
        """Copy on another device and in another floating-point type."""
        return InnerAtoms(self.atoms.to(device), self.first.to(device), self.second.to(device),
                          self.images.to(device, dtype))  # fmt: skip

    def share(self, positions: Tensor, normals: Tensor) -> Tensor:
        """Share of the first face in each atom (n_inner,): one far above the middle, zero below."""
        height = ((positions[self.atoms] + self.images) * normals[self.first]).sum(1)
        total = height.new_zeros(normals.shape[0]).index_add(0, self.first, height)
        count = torch.bincount(self.first, minlength=normals.shape[0]).clamp(min=1)
        middle = (total / count)[self.first]
        x = torch.clamp(0.5 + (height - middle) / (2.0 * BLEND), 0.0, 1.0)
        return x**3 * (10.0 - 15.0 * x + 6.0 * x**2)


@dataclass
class Graph:
    """One or several structures as tensors.

    The geometry may have a higher precision than the model that reads it: energies are summed in
    the precision of the positions.

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
    inner : InnerAtoms, optional
        The metal of slabs with two faces; their entries in `face` do not count.
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
    inner: InnerAtoms | None = None
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

    def memberships(self) -> tuple[Tensor, Tensor, Tensor]:
        """Which atoms belong to which face, and how much of them, (n_memberships,) each.

        One entry an atom, two for `inner` atoms, whose shares add to one.
        """
        atoms = torch.arange(self.n_atoms, device=self.positions.device)
        if self.inner is None:
            return atoms, self.face, self.positions.new_ones(self.n_atoms)
        inner = self.inner
        outer = torch.ones_like(atoms, dtype=torch.bool)
        outer[inner.atoms] = False
        atoms = atoms[outer]
        share = inner.share(self.positions, self.normals)
        return (
            torch.cat([atoms, inner.atoms, inner.atoms]),
            torch.cat([self.face[atoms], inner.first, inner.second]),
            torch.cat([share.new_ones(atoms.shape[0]), share, 1.0 - share]),
        )

    def strained(self, strain: Tensor) -> Graph:
        """The graph after a homogeneous deformation, differentiable in the strain.

        Parameters
        ----------
        strain : Tensor (3, 3)
            Its symmetric part counts.
        """
        symmetric = 0.5 * (strain + strain.T)
        # A surface element a x b turns with the inverse transpose of the deformation.
        deformation = torch.eye(3, device=strain.device, dtype=strain.dtype) + symmetric
        cofactor = torch.linalg.det(deformation) * torch.linalg.inv(deformation).T
        elements = (self.normals * self.areas.unsqueeze(1)) @ cofactor.T
        areas = torch.linalg.vector_norm(elements, dim=1)
        inner = self.inner
        return replace(
            self,
            positions=self.positions + self.positions @ symmetric,
            shifts=self.shifts + self.shifts @ symmetric,
            areas=areas,
            normals=elements / areas.unsqueeze(1),
            inner=inner and replace(inner, images=inner.images + inner.images @ symmetric),
        )

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Graph:
        """Copy on another device and in another floating-point type, without the layout."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                target = dtype if value.is_floating_point() else value.dtype
                moved[field.name] = value.to(device=device, dtype=target)
        inner = None if self.inner is None else self.inner.to(device, dtype)
        return Graph(**moved, inner=inner)

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
        inner=_collate_inner(graphs, atoms, faces),
    )


def _collate_inner(graphs: Sequence[Graph], atoms: Sequence[int], faces: Sequence[int]
                   ) -> InnerAtoms | None:  # fmt: skip
    parts = [
        InnerAtoms(g.inner.atoms + a, g.inner.first + f, g.inner.second + f, g.inner.images)
        for g, a, f in zip(graphs, atoms, faces, strict=True)
        if g.inner is not None
    ]
    if not parts:
        return None
    return InnerAtoms(
        atoms=torch.cat([p.atoms for p in parts]),
        first=torch.cat([p.first for p in parts]),
        second=torch.cat([p.second for p in parts]),
        images=torch.cat([p.images for p in parts]),
    )


def _offsets(sizes: Sequence[int]) -> list[int]:
    total, out = 0, []
    for size in sizes:
        out.append(total)
        total += size
    return out
