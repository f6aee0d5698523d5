"""From ASE atoms to the structures of a Soft-FQEq model; neighbour lists are kept between calls."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.faces import Faces, find_faces
from voltase.aseplugin.models.softfqeq import SoftFQEqConfig, Structure
from voltase.aseplugin.structures import SkinNeighbours


class Structures:
    """Makes structures; neighbour lists outlive small moves of the atoms.

    Parameters
    ----------
    config : SoftFQEqConfig
    skin : float
        Extra radius of the neighbour lists in A.
    """

    def __init__(self, config: SoftFQEqConfig, skin: float) -> None:
        self.config = config
        self._neighbours = SkinNeighbours(config, 0, skin, faces=faces_of)

    def structure(self, atoms: Atoms) -> Structure:
        """The structure of some atoms.

        Raises
        ------
        InputError
            If it has an unknown element, coincident atoms, or a cell that cannot be used.
        """
        graph, faces = self._neighbours.graph(atoms)
        cell = torch.from_numpy(np.asarray(atoms.cell.array, dtype=np.float64).copy())
        pbc = (bool(atoms.pbc[0]), bool(atoms.pbc[1]), bool(atoms.pbc[2]))
        return Structure(graph, cell, pbc, planes_of(atoms, faces))


def planes_of(atoms: Atoms, faces: Faces) -> int:
    """Number of planes of counter charge; none in bulk cells, where potentials have no zero."""
    if not faces.has_electrode or not faces.has_vacuum or int(np.sum(atoms.pbc)) != 2:
        return 0
    return len(faces.areas)


def faces_of(atoms: Atoms, electrode_symbols: list[str]) -> Faces:
    """As `find_faces`; a molecule that is not periodic has none.

    Raises
    ------
    InputError
        See `find_faces`.
    """
    if any(atoms.pbc):
        return find_faces(atoms, electrode_symbols)
    if len(atoms) == 0:
        raise InputError("atoms: found none, expected a structure")
    if not np.isfinite(atoms.positions).all():
        raise InputError("atoms: positions not finite, expected numbers in A")
    return Faces(
        normals=np.array([[0.0, 0.0, 1.0]]),
        areas=np.ones(1),
        of_atom=np.zeros(len(atoms), dtype=np.int64),
        has_electrode=False,
        has_vacuum=False,
        inner=np.empty(0, dtype=np.int64),
        images=np.empty((0, 3)),
    )
