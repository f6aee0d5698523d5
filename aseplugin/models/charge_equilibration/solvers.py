"""The choice of a solver: factors of the matrix, or conjugate gradients on products."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from voltase.aseplugin.models.charge_equilibration.conjugate_gradient import (
    IterativeSolver,
    Unknowns,
)
from voltase.aseplugin.models.charge_equilibration.fragments import Fragments
from voltase.aseplugin.models.charge_equilibration.inputs import Inputs
from voltase.aseplugin.models.charge_equilibration.interaction import Interaction
from voltase.aseplugin.models.charge_equilibration.preconditioner import (
    Array,
    Indices,
    Preconditioner,
)
from voltase.aseplugin.models.charge_equilibration.saddle_point import DenseSolver, Layout, Solver
from voltase.aseplugin.models.charge_equilibration.warm_start import WarmStart


def make_solver(x: Inputs, interaction: Interaction, fragments: Fragments, layout: Layout,
                stiffness: Tensor, compliance: Tensor, tolerance: float,
                warm_start: WarmStart | None) -> Solver:  # fmt: skip
    """Solver of the size's tier.

    Parameters
    ----------
    x : Inputs
    interaction : Interaction
        Its operator decides.
    fragments : Fragments
    layout : Layout
    stiffness : Tensor (n_stiff,)
    compliance : Tensor (n_soft,)
    tolerance : float
        Of the forces, eV/A.
    warm_start : WarmStart, optional
    """
    with torch.no_grad():
        if interaction.direct:
            a = interaction.matrix() + torch.diag(x.hardness)
            return DenseSolver(layout.dense(a, stiffness, compliance))
    hardness = _numpy(x.hardness)
    memory = warm_start or WarmStart()

    def block(atoms: Indices) -> Array:
        return interaction.block(atoms) + np.diag(hardness[atoms])

    kappa, w = _numpy(stiffness), _numpy(compliance)
    blocks = memory.blocks.get(_numpy(fragments.membership), block)
    diagonal = interaction.diagonal() + hardness
    solver = IterativeSolver(
        layout, interaction, hardness,
        Preconditioner(layout, diagonal, blocks, kappa, w), kappa, w, tolerance,
    )  # fmt: skip
    guess = memory.guess(layout.n_atoms)
    if guess is not None:
        solver.start = _unknowns(layout, x, *guess)
    return solver


def _unknowns(layout: Layout, x: Inputs, charges: Array, potentials: Array) -> Unknowns:
    """A start from charges and potentials of the atoms."""
    if x.potential is not None:
        potentials = potentials - float(x.potential.detach())
    membership, n = _numpy(layout.membership), layout.n_nodes
    counts = np.maximum(np.bincount(membership, minlength=n + 1), 1)
    nodes = np.bincount(membership, potentials, n + 1) / counts
    nodes[n] = 0.0
    return Unknowns(charges, np.zeros(layout.n_stiff), nodes)


def _numpy(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.detach().numpy())
