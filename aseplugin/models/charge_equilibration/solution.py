"""What the equilibration returns, in the kind of arrays it was given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


class FixedPotential(NamedTuple):
    """Atoms held at an electrochemical potential.

    Attributes
    ----------
    atoms : array of int (n,)
        One atom of each fragment is enough: the whole node of an atom is held.
    potential : float or Tensor
        m = Phi in V, on the scale of the interaction's potentials and the electronegativities.
    """

    atoms: Any
    potential: Any


@dataclass(frozen=True)
class FQEqSolution:
    """Equilibrated charges; NumPy arrays or torch tensors as the input, tensors differentiable.

    Attributes
    ----------
    charges : array (n_atoms,)
        e, positive where electrons lack.
    fragment_chemical_potentials : array (n_nodes,)
        m = dE/dQ of each node, eV/e. Two nodes joined by an unsaturated bond are two entries.
    membership : array of int (n_atoms,)
        Node of each atom.
    electrochemical_potential : array (n_atoms,)
        dE/dq_i = m of the atom's node, eV/e.
    energy : float or Tensor
        eV; what the forces derive from: E at given charges, Omega = E - Phi Q where a potential is
        fixed.
    canonical_energy : float or Tensor
        E, eV, the same as `energy` unless a potential is fixed.
    total_charge : float or Tensor
        Q, e.
    capacitance : float, optional
        dQ/dPhi in e/V, where a potential is fixed.
    forces : ndarray (n_atoms, 3), optional
        eV/A at fixed parameters and bond orders; only for NumPy input. Differentiate `energy` in
        the case of tensors.
    stress : ndarray (3, 3), optional
        Derivative of the energy in the strain over the volume, eV/A^3, as `forces`; periodic cells
        with a volume only.
    iterations : int
        Of the solver; 0 for a direct one.
    """

    charges: Any
    fragment_chemical_potentials: Any
    membership: Any
    electrochemical_potential: Any
    energy: Any
    canonical_energy: Any
    total_charge: Any
    capacitance: float | None = None
    forces: Any = None
    stress: Any = None
    iterations: int = 0
