"""Equilibration of a fixed geometry, step after step, without assembling its interaction again.

The positions of the training set do not change: its Coulomb matrices, and their gradients for the
forces, are computed once. A loss on forces needs the interaction to first order in the positions,
which is all that is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from voltase.aseplugin.models.charge_equilibration.bonds import compliance, stiffness
from voltase.aseplugin.models.charge_equilibration.coulomb import Coulomb
from voltase.aseplugin.models.charge_equilibration.fragments import Fragments
from voltase.aseplugin.models.charge_equilibration.implicit import (
    System,
    solve_system,
    stationary_energy,
)
from voltase.aseplugin.models.charge_equilibration.saddle_point import DenseSolver, Layout
from voltase.aseplugin.models.charge_equilibration.solution import FQEqSolution
from voltase.aseplugin.models.electrostatics import coulomb_matrix
from voltase.aseplugin.models.softfqeq import ChargeState, Readouts, SoftFQEqModel, Structure
from voltase.aseplugin.models.softfqeq.model import Solution

TOLERANCE, GRADIENT_TOLERANCE = 1e-7, 1e-5
"""Of the forces on unit charges, eV/A, in the matrix and in its gradient."""
STEP = 5e-3
"""Displacement in A by which gradients are differenced; their error is of second order in it."""


@dataclass
class FixedGeometry:
    """Interaction of a geometry and, for forces, its gradient.

    Attributes
    ----------
    positions : Tensor (n_atoms, 3)
    matrix : Tensor (n_atoms, n_atoms)
        eV/e^2.
    gradient : Tensor (3, n_atoms, n_atoms), optional
        Derivative of element (i, j) in the position of atom i; minus that in the position of j.
    """

    positions: Tensor
    matrix: Tensor
    gradient: Tensor | None

    @classmethod
    def of(cls, structure: Structure, width: Tensor, with_gradient: bool) -> FixedGeometry:
        """Assemble.

        Parameters
        ----------
        structure : Structure
        width : Tensor (n_atoms,)
            A.
        with_gradient : bool
        """
        positions, width = structure.graph.positions.detach(), width.detach()
        cell, pbc = structure.cell, structure.pbc
        matrix = coulomb_matrix(positions, cell, pbc, width, tolerance=TOLERANCE)
        if not with_gradient:
            return cls(positions, matrix, None)
        n = len(positions)
        components = []
        for step in STEP * torch.eye(3, dtype=positions.dtype):
            # Between the atoms and displaced copies of them: (i, j) is at r_i - r_j - step, and
            # (j, i), the interaction being even, at r_i - r_j + step.
            places = torch.cat([positions, positions + step])
            both = coulomb_matrix(places, cell, pbc, torch.cat([width, width]),
                                  tolerance=GRADIENT_TOLERANCE)  # fmt: skip
            block = both[:n, n:]
            components.append((block.T - block) / (2.0 * STEP))
        return cls(positions, matrix, torch.stack(components).float())


class LinearCoulomb:
    """Interaction around fixed positions, to first order in where the atoms are.

    Parameters
    ----------
    geometry : FixedGeometry
        With a gradient.
    positions : Tensor (n_atoms, 3)
        Those of the geometry, to differentiate in.
    """

    def __init__(self, geometry: FixedGeometry, positions: Tensor) -> None:
        self.geometry = geometry
        self.tensors: tuple[Tensor, ...] = (positions,)

    def bilinear(self, x: Tensor, y: Tensor, *tensors: Tensor) -> Tensor:
        """x . C . y in eV."""
        geometry = self.geometry
        assert geometry.gradient is not None
        moved = tensors[0] - geometry.positions
        kind = geometry.gradient.dtype
        fields = [(g @ torch.stack([x, y], 1).to(kind)).to(x) for g in geometry.gradient]
        slope = torch.stack([x * field[:, 1] + y * field[:, 0] for field in fields], 1)
        return torch.dot(x, geometry.matrix @ y) + (moved * slope).sum()


class ConstantCoulomb:
    """An interaction that nothing is differentiated in.

    Parameters
    ----------
    matrix : Tensor (n_atoms, n_atoms)
    """

    tensors: tuple[Tensor, ...] = ()

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    def bilinear(self, x: Tensor, y: Tensor, *tensors: Tensor) -> Tensor:
        """x . C . y in eV."""
        return torch.dot(x, self.matrix @ y)


def equilibrate(model: SoftFQEqModel, structure: Structure, geometry: FixedGeometry,
                readouts: Readouts, states: Sequence[ChargeState]) -> list[Solution]:  # fmt: skip
    """`SoftFQEqModel.solve` for several charges of a geometry, from one factorisation.

    Parameters
    ----------
    model : SoftFQEqModel
    structure : Structure
        Its positions may ask for gradients.
    geometry : FixedGeometry
        Of the same positions, and of the model's widths.
    readouts : Readouts
    states : sequence of ChargeState
    """
    positions = structure.graph.positions
    forces = positions.requires_grad and geometry.gradient is not None
    coulomb: Coulomb = ConstantCoulomb(geometry.matrix)
    if forces:
        coulomb = LinearCoulomb(geometry, positions)
    fragments = Fragments.of(len(positions), readouts.bonds, readouts.order)
    layout = Layout.of(fragments, None)
    hardness = torch.full_like(readouts.order, model.config.bond_hardness)
    kappa = stiffness(readouts.order[fragments.stiff], hardness[fragments.stiff])
    w = compliance(readouts.order[fragments.soft], hardness[fragments.soft])
    with torch.no_grad():
        matrix = layout.dense(geometry.matrix + torch.diag(readouts.hardness), kappa, w)
        system = System(layout, coulomb, DenseSolver(matrix))
    weights = model.source_weights(structure)

    def solve(state: ChargeState) -> FQEqSolution:
        total = positions.new_tensor(-state.excess_electrons)
        source = readouts.source_charge
        source = source + weights * (total - source.sum())
        chi = readouts.electronegativity + model.plane_potential(structure, state, total)
        u = solve_system(system, layout.right_hand_side(chi, source), readouts.hardness, kappa, w)
        energy = stationary_energy(system, u, chi, source, readouts.hardness, kappa, w)
        q, _, m = layout.parts(u)
        return FQEqSolution(
            charges=q,
            fragment_chemical_potentials=m[:-1],
            membership=fragments.membership,
            electrochemical_potential=m[layout.membership],
            energy=energy,
            canonical_energy=energy,
            total_charge=total,
        )

    neutral = model.config.network_energy == "neutral"
    uncharged = solve(ChargeState()).energy if neutral else None
    return [model.collect(structure, readouts, s, solve(s), uncharged) for s in states]
