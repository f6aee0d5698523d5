"""What the density model sees of a structure, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from voltase.aseplugin.models.graph import Graph, collate


@dataclass
class DensityInput:
    """One structure, or several.

    Attributes
    ----------
    graph : Graph
        Of the trunk, with the electrode's faces.
    edge_index : Tensor (2, n_edges)
        Senders and receivers within the model's own cut-off.
    edge_vectors : Tensor (n_edges, 3)
        From receiver to sender, A.
    electrostatics : Tensor (n_atoms, 4)
        Long-range potential (V, from the metal's) and field (V/A) of the molecules' formal charges
        at each atom.
    atoms, faces : Tensor (n_rows,)
        Which atoms respond to the charge of which face.
    share : Tensor (n_rows,)
        How much of the atom belongs to the face.
    heights : Tensor (n_rows,)
        Of the atom above the outermost plane of metal of the face, A.
    """

    graph: Graph
    edge_index: Tensor
    edge_vectors: Tensor
    electrostatics: Tensor
    atoms: Tensor
    faces: Tensor
    share: Tensor
    heights: Tensor

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return self.graph.n_atoms

    def to(self, device: torch.device | str) -> DensityInput:
        """Copy on another device."""
        moved = {name: getattr(self, name).to(device)
                 for name in ("edge_index", "edge_vectors", "electrostatics", "atoms", "faces",
                              "share", "heights")}  # fmt: skip
        return replace(self, graph=self.graph.to(device, self.graph.positions.dtype), **moved)


def join(structures: Sequence[DensityInput]) -> DensityInput:
    """Several structures as one, without their edges: for what has been described already."""
    atoms, faces, n_atoms, n_faces = [], [], 0, 0
    for structure in structures:
        atoms.append(structure.atoms + n_atoms)
        faces.append(structure.faces + n_faces)
        n_atoms += structure.n_atoms
        n_faces += structure.graph.n_faces
    first = structures[0]
    return DensityInput(
        graph=collate([structure.graph for structure in structures]),
        edge_index=first.edge_index[:, :0],
        edge_vectors=first.edge_vectors[:0],
        electrostatics=torch.cat([structure.electrostatics for structure in structures]),
        atoms=torch.cat(atoms),
        faces=torch.cat(faces),
        share=torch.cat([structure.share for structure in structures]),
        heights=torch.cat([structure.heights for structure in structures]),
    )
