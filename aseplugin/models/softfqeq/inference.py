"""Charges, potentials, energies, forces and stress of one structure, as NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.softfqeq.model import (
    ChargeState,
    Readouts,
    SoftFQEqModel,
    Solution,
    SolverKind,
)
from voltase.aseplugin.models.softfqeq.structure import Structure

Array = npt.NDArray[np.float64]


@dataclass
class ChargeResult:
    """One calculation.

    Attributes
    ----------
    energy : float
        E(R, n) in eV, atomic energies included.
    forces : ndarray (n_atoms, 3) or None
        eV/A, at fixed n or at fixed potential: they are the same.
    stress : ndarray (3, 3) or None
        eV/A^3, positive under tension (ASE's sign).
    charges : ndarray (n_atoms,)
        e.
    fragments : ndarray of int (n_atoms,)
    fragment_potentials : ndarray (n_fragments,)
        V.
    atom_potentials : ndarray (n_atoms,)
        V.
    excess_electrons : float
        e.
    electrode_potential : float or None
        V, from the plane of the counter charge.
    capacitance : float or None
        -dn/dPhi at fixed geometry, e/V.
    """

    energy: float
    forces: Array | None
    stress: Array | None
    charges: Array
    fragments: npt.NDArray[np.int64]
    fragment_potentials: Array
    atom_potentials: Array
    excess_electrons: float
    electrode_potential: float | None
    capacitance: float | None


class ChargeEvaluator:
    """Runs a model on one structure at a time.

    The network runs in the given precision, everything after its readouts in float64.

    Parameters
    ----------
    model : SoftFQEqModel
        Becomes the evaluator's own: it is moved and frozen.
    device : str
    dtype : torch.dtype
        Of the network.
    solver : "fragment" or "global"
    tolerance : float
        Of the forces, eV/A.
    """

    def __init__(self, model: SoftFQEqModel, device: str, dtype: torch.dtype, solver: SolverKind,
                 tolerance: float) -> None:  # fmt: skip
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.model.set_precision(dtype)
        self.model.freeze()
        self.solver: SolverKind = solver
        self.tolerance = tolerance

    def __call__(self, structure: Structure, state: ChargeState, with_stress: bool = False,
                 potential: float | None = None, with_forces: bool = True
                 ) -> ChargeResult:  # fmt: skip
        """Calculate.

        Parameters
        ----------
        structure : Structure
            On the CPU.
        state : ChargeState
        with_stress : bool
        potential : float, optional
            Electrode potential in V at which the electrode takes the charge that it needs, in
            place of the state's excess electrons.
        with_forces : bool

        Raises
        ------
        InputError
            If the structure cannot have that charge, or has no electrode to hold at a potential.
        """
        volume = float(torch.linalg.det(structure.cell).abs()) if with_stress else 0.0
        structure, leaves = structure.to(self.device).leaves(with_stress)
        readouts = self.model(structure)
        if potential is not None:
            state = self._state_at(structure, readouts, state, potential)
        total = structure.cell.new_tensor(-state.excess_electrons).requires_grad_()
        solution = self._solve(structure, readouts, state, total)
        capacitance = _capacitance(solution, total)
        forces = stress = None
        if with_forces or with_stress:
            gradients = torch.autograd.grad(solution.energy, leaves)
            forces = -_numpy(gradients[0])
        if with_stress:
            stress = _numpy(gradients[1]) / volume
            stress = 0.5 * (stress + stress.T)
        phi = solution.electrode_potential
        return ChargeResult(
            energy=float(solution.energy.detach()) + self.model.reference_energy(structure),
            forces=forces,
            stress=stress,
            charges=_numpy(solution.charges),
            fragments=solution.membership.cpu().numpy(),
            fragment_potentials=_numpy(solution.fragment_potential),
            atom_potentials=_numpy(solution.atom_potential),
            excess_electrons=state.excess_electrons,
            electrode_potential=None if phi is None else float(phi.detach()),
            capacitance=capacitance,
        )

    def _solve(self, structure: Structure, readouts: Readouts, state: ChargeState, total: Tensor
               ) -> Solution:  # fmt: skip
        return self.model.solve(structure, readouts, state, self.solver, total, self.tolerance)

    def _state_at(self, structure: Structure, readouts: Readouts, state: ChargeState,
                  potential: float) -> ChargeState:  # fmt: skip
        """State whose charge makes the electrode's potential the wanted one.

        The potential is linear in the charge, so that one step of Newton's method is exact.
        """
        if structure.planes == 0:
            raise InputError(
                "potential: found one in a structure without a wetted electrode face under "
                "vacuum, expected excess_electrons"
            )
        fixed = Readouts(*(value.detach() for value in readouts))
        still = replace(structure, graph=replace(structure.graph,
                        positions=structure.graph.positions.detach()))  # fmt: skip
        total = structure.cell.new_tensor(-state.excess_electrons).requires_grad_()
        solution = self._solve(still, fixed, state, total)
        capacitance, phi = _capacitance(solution, total), solution.electrode_potential
        assert capacitance is not None
        assert phi is not None
        if not capacitance > 0.0:
            raise InputError(
                f"potential: found a capacitance of {capacitance:g} e/V in this structure, "
                "expected more than zero"
            )
        change = capacitance * (potential - float(phi.detach()))
        return replace(state, excess_electrons=state.excess_electrons - change)


def _capacitance(solution: Solution, total: Tensor) -> float | None:
    """dQ/dPhi, e/V."""
    if solution.electrode_potential is None:
        return None
    (slope,) = torch.autograd.grad(solution.electrode_potential, total, retain_graph=True)
    return 1.0 / float(slope)


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().double().numpy()
