"""From ASE atoms to the tensors that a density model sees."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms
from ase.data import atomic_numbers

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.faces import Faces, find_faces, slab_heights
from voltase.aseplugin.models.density.electrostatics import smeared_potential
from voltase.aseplugin.models.density.inputs import DensityInput
from voltase.aseplugin.models.density.model import DensityModel
from voltase.aseplugin.structures import build_graph, check_distances, neighbour_list

Array = npt.NDArray[np.float64]
PLANE_DEPTH = 0.7
"""Depth in A over which the weight of metal atoms falls off that make a face's outermost plane."""
BOND = (1.2, 1.8)
"""Distances in A between which a covalent bond fades."""


def density_input(atoms: Atoms, model: DensityModel) -> DensityInput:
    """What the model sees of a structure, on the CPU in float64.

    Parameters
    ----------
    atoms : Atoms
        A slab, wetted on one side or two.
    model : DensityModel

    Raises
    ------
    InputError
        If the structure is no slab, has no electrode, an element that the model does not know, or
        atoms that lie on one another.
    """
    trunk = model.trunk_config
    faces = find_faces(atoms, trunk.electrode_symbols)
    if not faces.has_electrode:
        raise InputError(
            f"atoms: found no {', '.join(trunk.electrode_symbols)}, expected a slab of it"
        )
    graph = build_graph(atoms, trunk, model.domain, faces=faces)
    edges, shifts = neighbour_list(atoms, model.config.r_max)
    offsets = shifts @ np.asarray(atoms.cell.complete().array)
    # From the receiver to its neighbour.
    vectors = atoms.positions[edges[0]] - atoms.positions[edges[1]] - offsets
    check_distances(atoms, edges, np.linalg.norm(vectors, axis=1))
    potential, field = smeared_potential(
        atoms.positions,
        formal_charges(atoms, edges, vectors, model.config.bond_charges),
        np.asarray(atoms.cell.complete().array),
        [bool(p) for p in atoms.pbc],
    )
    # The electrons of the electrode have one level: potentials count from the metal.
    potential -= potential[_is_metal(atoms, trunk.electrode_symbols)].mean()
    rows, row_faces, share = graph.memberships()
    return DensityInput(
        graph=graph,
        edge_index=torch.from_numpy(edges),
        edge_vectors=torch.from_numpy(vectors),
        electrostatics=torch.from_numpy(np.column_stack([potential, field])),
        atoms=rows,
        faces=row_faces,
        share=share,
        heights=torch.from_numpy(_above_faces(atoms, faces, trunk.electrode_symbols))[
            row_faces, rows
        ],
    )


def formal_charges(atoms: Atoms, edges: npt.NDArray[np.int64], vectors: Array,
                   bond_charges: dict[str, float]) -> Array:  # fmt: skip
    """Charges (n_atoms,) in e that the bonds of molecules make; they add to zero.

    Parameters
    ----------
    atoms : Atoms
    edges : ndarray (2, n_edges)
        Every pair in both directions.
    vectors : ndarray (n_edges, 3)
        A.
    bond_charges : dict
        Charge in e that a bond moves, keyed "O-H" (from, to).
    """
    charges = np.zeros(len(atoms))
    lengths = np.linalg.norm(vectors, axis=1)
    x = np.clip((lengths - BOND[0]) / (BOND[1] - BOND[0]), 0.0, 1.0)
    strength = 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
    for bond, charge in bond_charges.items():
        first, second = (atomic_numbers[symbol] for symbol in bond.split("-"))
        numbers = atoms.numbers[edges]
        chosen = (numbers[0] == first) & (numbers[1] == second)
        moved = charge * strength[chosen]
        np.add.at(charges, edges[0, chosen], -moved)
        np.add.at(charges, edges[1, chosen], moved)
    return charges


def _above_faces(atoms: Atoms, faces: Faces, metals: list[str]) -> Array:
    """Height (n_faces, n_atoms) in A of each atom above the outermost metal of each face."""
    metal = _is_metal(atoms, metals)
    found = []
    for normal in faces.normals:
        heights = slab_heights(atoms, normal)
        top = heights[metal]
        weight = np.exp((top - top.max()) / PLANE_DEPTH)
        found.append(heights - float(weight @ top / weight.sum()))
    return np.array(found)


def _is_metal(atoms: Atoms, metals: list[str]) -> npt.NDArray[np.bool_]:
    return np.isin(atoms.numbers, [atomic_numbers[symbol] for symbol in metals])
