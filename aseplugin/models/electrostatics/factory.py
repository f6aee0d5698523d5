"""The choice between the ways to apply the interaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.electrostatics.boundary import Boundary, compact, measure
from voltase.aseplugin.models.electrostatics.ewald import DenseOperator, EwaldOperator
from voltase.aseplugin.models.electrostatics.matrix import check_inputs, slab_height, split
from voltase.aseplugin.models.electrostatics.mesh import MeshOperator, choose_mesh
from voltase.aseplugin.models.electrostatics.operators import Array, CoulombOperator
from voltase.aseplugin.models.electrostatics.pairs import SkinPairs, find_pairs
from voltase.aseplugin.models.electrostatics.short_range import FindPairs

Tier = Literal["auto", "dense", "ewald", "mesh"]

LARGEST_DENSE = 400
"""Number of atoms up to which "auto" takes the matrix; beyond, it takes the mesh.

Measured in water at 1e-6 eV/A with twelve products: matrix, waves and mesh take 34, 30 and 30 ms at
300 atoms, and 145, 100 and 36 ms at 600.
"""


def make_operator(
    positions: npt.ArrayLike,
    cell: npt.ArrayLike,
    pbc: Sequence[bool] | bool,
    width: npt.ArrayLike,
    *,
    tier: Tier = "auto",
    tolerance: float = 1e-8,
    largest_charge: float = 1.0,
    pairs: SkinPairs | None = None,
) -> CoulombOperator:
    """The matrix A of `coulomb_matrix` as a linear map, in a form that suits the size.

    Parameters
    ----------
    positions : array_like (n, 3)
        A; atoms need not be inside the cell.
    cell : array_like (3, 3)
        Rows are lattice vectors, A; rows of directions that do not repeat are ignored.
    pbc : bool or sequence of 3 bool
    width : array_like (n,)
        Standard deviations of the Gaussians, A.
    tier : "auto", "dense", "ewald" or "mesh"
        The matrix; pairs and waves that are kept; pairs and a mesh. "auto" goes by the size. Forces
        add to zero exactly but on the mesh, where they do to the tolerance.
    tolerance : float
        Error of the force on any atom, eV/A.
    largest_charge : float
        Largest charge in e for which that holds.
    pairs : SkinPairs, optional
        Keeps the list of pairs from one step of a dynamics to the next.

    Returns
    -------
    CoulombOperator

    Raises
    ------
    InputError
        If a shape, value or boundary condition cannot be used, or two atoms coincide.
    """
    places = np.ascontiguousarray(positions, dtype=np.float64)
    box = np.ascontiguousarray(cell, dtype=np.float64)
    widths = np.ascontiguousarray(width, dtype=np.float64)
    tensors = torch.from_numpy(places), torch.from_numpy(box), torch.from_numpy(widths)
    check_inputs(tensors[0], tensors[2], tolerance)
    if not largest_charge > 0.0:
        raise InputError(f"largest_charge: got {largest_charge} e, expected more than 0")
    boundary = Boundary.of(tensors[1], pbc)
    n, find = len(places), find_pairs if pairs is None else pairs
    if tier == "auto":
        tier = "dense" if n <= LARGEST_DENSE else "mesh"
    bound = tolerance / largest_charge**2
    if tier == "mesh":
        lattice = compact(box[list(boundary.axes)])
        return _mesh(places, lattice, widths, bound, tolerance, largest_charge, find)
    if tier not in ("dense", "ewald"):
        raise InputError(f'tier: got "{tier}", expected "auto", "dense", "ewald" or "mesh"')
    splitting, height = None, 0.0
    if boundary.kind != "open":
        vectors = tensors[1][list(boundary.axes)]
        height = slab_height(tensors[0], vectors) if boundary.kind == "slab" else 0.0
        splitting = split(tensors[0], vectors, tensors[2], bound, None, height, tier == "dense")
    kind = DenseOperator if tier == "dense" else EwaldOperator
    return kind(places, box, boundary, widths, splitting, height, tolerance, largest_charge, find)


def _mesh(positions: Array, lattice: Array, width: Array, bound: float, tolerance: float,
          largest_charge: float, find: FindPairs) -> MeshOperator:  # fmt: skip
    slowest = 0.5 / float(width.max())
    if len(lattice) == 3:
        volume = float(measure(torch.from_numpy(lattice)))
    else:
        # Atoms in open directions fill about their own extent.
        spans = np.ptp(positions, axis=0)
        if len(lattice) == 2:
            normal = np.cross(lattice[0], lattice[1])
            area = float(np.linalg.norm(normal))
            volume = area * max(float(np.ptp(positions @ normal)) / area, 3.0)
        else:
            volume = float(np.prod(np.maximum(spans, 3.0)))
    splitting, spacing, order = choose_mesh(len(positions), volume, slowest, bound)
    return MeshOperator(positions, lattice, width, splitting, spacing, order, tolerance,
                        largest_charge, find)  # fmt: skip
