"""Charge equilibration of one structure from arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from voltase.aseplugin.errors import AccuracyError, InputError
from voltase.aseplugin.models.charge_equilibration import bonds as bond
from voltase.aseplugin.models.charge_equilibration import inputs as check
from voltase.aseplugin.models.charge_equilibration.fragments import Fragments
from voltase.aseplugin.models.charge_equilibration.implicit import (
    System,
    solve_system,
    stationary_energy,
)
from voltase.aseplugin.models.charge_equilibration.inputs import Inputs
from voltase.aseplugin.models.charge_equilibration.interaction import LARGEST_CHARGE, Interaction
from voltase.aseplugin.models.charge_equilibration.saddle_point import Layout
from voltase.aseplugin.models.charge_equilibration.solution import FQEqSolution
from voltase.aseplugin.models.charge_equilibration.solvers import make_solver
from voltase.aseplugin.models.charge_equilibration.warm_start import WarmStart
from voltase.aseplugin.models.electrostatics.boundary import Boundary
from voltase.aseplugin.models.electrostatics.factory import Tier

NEUTRAL = 1e-8
"""Net charge of a bulk cell in e that counts as none."""

SINGULAR = 1e4
"""Charge in e that no sensible system has."""


def solve_fqeq(
    positions: Any,
    cell: Any,
    pbc: Sequence[bool] | bool,
    electronegativity: Any,
    hardness: Any,
    width: Any,
    source_charge: Any,
    bonds: Any,
    bond_order: Any,
    total_charge: Any = None,
    fixed_potential: Any = None,
    solver: Literal["fragment", "global"] = "fragment",
    *,
    charge_weights: Any = None,
    bond_hardness: Any = bond.BOND_HARDNESS,
    charged: bool = False,
    counter_plane: Any = None,
    tolerance: float = 1e-8,
    tier: Tier = "auto",
    warm_start: WarmStart | None = None,
) -> FQEqSolution:
    """Charges that minimise the energy while every fragment keeps its charge.

    See the package's docstring for the equations and signs. Arrays may be NumPy or torch; with
    tensors, charges, potentials and energies can be differentiated (twice) in every floating-point
    argument, within the nodes and bonds found: bonds of order exactly 0 or 1 have no gradient.

    Parameters
    ----------
    positions : array (n_atoms, 3)
        A; atoms need not be inside the cell.
    cell : array (3, 3)
        Rows are lattice vectors, A; those of directions that do not repeat are ignored.
    pbc : bool or sequence of 3 bool
        None (open), two (slab) or three directions (bulk).
    electronegativity : array (n_atoms,)
        chi, eV/e: the energy of a small charge on the atom by itself, per charge.
    hardness : array (n_atoms,)
        J > 0, eV/e^2, besides the self energy of the Gaussian.
    width : array (n_atoms,)
        Standard deviations of the Gaussians, A.
    source_charge : array (n_atoms,)
        q0, e: fragments have the charge of their atoms' source charges.
    bonds : array of int (2, n_bonds)
        Pairs of atoms, each bond once; the bonds of two atoms by several images add up.
    bond_order : array (n_bonds,)
        0 (nothing flows) to 1 (the atoms share one potential).
    total_charge : float, optional
        Q, e. Without `charge_weights`, it has to be the sum of the source charges.
    fixed_potential : tuple (atoms, potential), optional
        Nodes of these atoms are held at this electrochemical potential (V) and take what charge
        that needs. See `FixedPotential`.
    solver : "fragment" or "global"
        "global" lets charge flow between all atoms.
    charge_weights : array (n_atoms,), optional
        Shares of the atoms in what the source charges lack in the total charge, such as 1 on an
        electrode and 0 elsewhere; then dE/dQ is the weighted mean of the electrochemical potential.
    bond_hardness : float or array (n_bonds,)
        kappa0, eV/e^2.
    charged : bool
        Allow a bulk cell with a net charge (on a uniform background), or at a fixed potential.
    counter_plane : array (3,), optional
        A point of a plane, normal to a slab, that carries the opposite of its charge (A). Without
        it, a slab has in general no stable charge at a fixed potential.
    tolerance : float
        Bound of the error of the electrostatic forces, eV/A.
    tier : "auto", "dense", "ewald" or "mesh"
        A factorised matrix, or conjugate gradients with kept waves or on a mesh; "auto" goes by the
        size.
    warm_start : WarmStart, optional
        Shared by the successive structures of a trajectory, saves iterations.

    Returns
    -------
    FQEqSolution

    Raises
    ------
    InputError
        If an argument cannot be used; the message names it.
    AccuracyError
        If the tolerance is not met.
    """
    numpy_in = not isinstance(positions, Tensor)
    x, boundary = _checked(
        positions, cell, pbc, electronegativity, hardness, width, source_charge, bonds, bond_order,
        total_charge, fixed_potential, charge_weights, bond_hardness, counter_plane,
    )  # fmt: skip
    if boundary.kind == "bulk" and not charged:
        _check_neutral(x)
    _check_options(solver, tolerance, warm_start)
    if not numpy_in:
        return _cast(_solve(x, pbc, solver, tolerance, tier, warm_start)[0], positions.dtype)
    x, strain = _strained(x)
    found = _solve(x, pbc, solver, tolerance, tier, warm_start)
    return _to_numpy(*found, x, strain, boundary)


def _checked(positions: Any, cell: Any, pbc: Sequence[bool] | bool, electronegativity: Any,
             hardness: Any, width: Any, source: Any, bonds: Any, order: Any, total_charge: Any,
             fixed: Any, weights: Any, bond_hardness: Any, plane: Any
             ) -> tuple[Inputs, Boundary]:  # fmt: skip
    shape = tuple(check.numbers("positions", positions).shape)
    if len(shape) != 2 or shape[1] != 3 or shape[0] == 0:
        raise InputError(f"positions: got shape {shape}, expected (atoms, 3)")
    r = check.tensor("positions", positions, shape)
    n = r.shape[0]
    box = check.tensor("cell", cell, (3, 3), r)
    boundary = Boundary.of(box, pbc)
    pairs, values = check.checked_bonds(bonds, order, n, r)
    stiff = check.numbers("bond_hardness", bond_hardness)
    if stiff.ndim == 0:
        stiff = check.positive("bond_hardness", stiff, (), r, "eV/e^2").expand(values.shape)
    q0 = check.tensor("source_charge", source, (n,), r)
    held, potential = check.checked_potential(fixed, total_charge, n, r)
    return Inputs(
        positions=r,
        cell=box,
        electronegativity=check.tensor("electronegativity", electronegativity, (n,), r),
        hardness=check.positive("hardness", hardness, (n,), r, "eV/e^2"),
        width=check.checked_width(width, n, r),
        source=check.checked_source(q0, total_charge, weights),
        bonds=pairs,
        order=values,
        bond_hardness=check.positive("bond_hardness", stiff, values.shape, r, "eV/e^2"),
        held=held,
        potential=potential,
        counter_plane=None if plane is None else check.tensor("counter_plane", plane, (3,), r),
    ), boundary


def _check_options(solver: str, tolerance: float, warm_start: WarmStart | None) -> None:
    if solver not in ("fragment", "global"):
        raise InputError(f"solver: got {solver!r}, expected 'fragment' or 'global'")
    if not isinstance(tolerance, Real) or not 0.0 < tolerance < np.inf:
        raise InputError(f"tolerance: got {tolerance!r} eV/A, expected a number above 0")
    if not isinstance(warm_start, WarmStart | None):
        raise InputError(
            f"warm_start: got {type(warm_start).__name__}, expected a WarmStart or None"
        )


def _check_neutral(x: Inputs) -> None:
    charge = float(x.source.detach().sum())
    if abs(charge) > NEUTRAL:
        raise InputError(
            f"source_charge: got a net charge of {charge:g} e in a bulk cell, expected 0 or "
            "charged=True for a uniform background"
        )
    if x.held is not None:
        raise InputError(
            "fixed_potential: got one in a bulk cell, expected charged=True for the uniform "
            "background that takes up the charge"
        )


def _solve(x: Inputs, pbc: Sequence[bool] | bool, solver: str, tolerance: float, tier: Tier,
           warm_start: WarmStart | None) -> tuple[FQEqSolution, Tensor]:  # fmt: skip
    """Solution as tensors, and the energy its forces derive from."""
    fragments = (
        Fragments.of(x.positions.shape[0], x.bonds, x.order)
        if solver == "fragment"
        else Fragments.one(x.positions.shape[0], x.positions.device)
    )
    stiff, soft = fragments.stiff, fragments.soft
    kappa = bond.stiffness(x.order[stiff], x.bond_hardness[stiff])
    w = bond.compliance(x.order[soft], x.bond_hardness[soft])
    layout = Layout.of(fragments, x.held)
    chi = x.electronegativity if x.potential is None else x.electronegativity - x.potential
    rhs = layout.right_hand_side(chi, x.source)

    def attempt(largest: float) -> tuple[System, Tensor]:
        coulomb = Interaction(x.positions, x.cell, pbc, x.width, tolerance, tier, largest,
                              x.counter_plane, None if warm_start is None else warm_start.pairs
                              )  # fmt: skip
        method = make_solver(x, coulomb, fragments, layout, kappa, w, tolerance, warm_start)
        system = System(layout, coulomb, method)
        return system, solve_system(system, rhs, x.hardness, kappa, w)

    system, u = attempt(LARGEST_CHARGE)
    largest = _largest(u[: layout.n_atoms])
    if largest > LARGEST_CHARGE:
        # Errors of the forces grow with the square of the charges.
        system, u = attempt(2.0 * largest)
    energy = stationary_energy(system, u, chi, x.source, x.hardness, kappa, w)
    iterations = system.solver.iterations
    found = replace(_collect(x, fragments, system, u, energy), iterations=iterations)
    if warm_start is not None:
        charges, potentials = found.charges, found.electrochemical_potential
        warm_start.push(charges.detach().cpu().numpy(), potentials.detach().cpu().numpy())
    return found, energy


def _largest(charges: Tensor) -> float:
    """Largest charge in e.

    Raises
    ------
    AccuracyError
        If it is that of a system without a solution.
    """
    largest = float(charges.detach().abs().max())
    if not largest < SINGULAR:
        raise AccuracyError(f"charges: got {largest:g} e, expected less than {SINGULAR:g} e")
    return largest


def _collect(x: Inputs, fragments: Fragments, system: System, u: Tensor, energy: Tensor
             ) -> FQEqSolution:  # fmt: skip
    q, _, m = system.layout.parts(u)
    atoms = m[system.layout.membership]
    total = q.sum()
    canonical, capacitance = energy, None
    if x.potential is not None:
        atoms = atoms + x.potential
        canonical = energy + x.potential * total
        capacitance = _capacitance(system)
    first = torch.zeros(fragments.count, dtype=torch.int64, device=q.device)
    index = torch.arange(len(q), device=q.device)
    first.scatter_reduce_(0, fragments.membership, index, "amin", include_self=False)
    return FQEqSolution(
        charges=q,
        fragment_chemical_potentials=atoms[first],
        membership=fragments.membership,
        electrochemical_potential=atoms,
        energy=energy,
        canonical_energy=canonical,
        total_charge=total,
        capacitance=capacitance,
    )


def _capacitance(system: System) -> float:
    """dQ/dPhi in e/V, by one more solve.

    Raises
    ------
    InputError
        If it is not positive: no stable charge at a fixed potential.
    """
    layout = system.layout
    ones = torch.ones(layout.n_atoms, dtype=torch.float64, device=layout.membership.device)
    with torch.no_grad():
        rhs = layout.right_hand_side(-ones, torch.zeros_like(ones))
        capacitance = float(layout.parts(system.solver.solve(rhs))[0].sum())
    if not capacitance > 0.0:
        raise InputError(
            f"fixed_potential: got a capacitance of {capacitance:g} e/V, expected more than 0: the "
            "charge is not stable (a slab needs a counter_plane)"
        )
    return capacitance


def _cast(solution: FQEqSolution, dtype: torch.dtype) -> FQEqSolution:
    """Tensors of the solution in the precision of the input."""
    floats = ("charges", "fragment_chemical_potentials", "electrochemical_potential", "energy",
              "canonical_energy", "total_charge")  # fmt: skip
    return replace(solution, **{name: getattr(solution, name).to(dtype) for name in floats})


def _strained(x: Inputs) -> tuple[Inputs, Tensor]:
    """Positions to differentiate in, and a strain (3, 3) of them and the cell."""
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    deform = torch.eye(3, dtype=torch.float64) + strain
    positions = x.positions.detach().requires_grad_()
    plane = None if x.counter_plane is None else x.counter_plane @ deform
    return (
        replace(x, positions=positions @ deform, cell=x.cell @ deform, counter_plane=plane),
        strain,
    )


def _to_numpy(solution: FQEqSolution, energy: Tensor, x: Inputs, strain: Tensor,
              boundary: Boundary) -> FQEqSolution:  # fmt: skip
    """The solution as NumPy arrays, with forces and stress."""
    gradient, virial = torch.autograd.grad(energy, [x.positions, strain])
    volume = abs(float(torch.linalg.det(x.cell.detach())))
    periodic = boundary.kind != "open" and volume > 0.0
    return replace(
        solution,
        charges=solution.charges.detach().numpy(),
        fragment_chemical_potentials=solution.fragment_chemical_potentials.detach().numpy(),
        membership=solution.membership.numpy(),
        electrochemical_potential=solution.electrochemical_potential.detach().numpy(),
        energy=float(solution.energy.detach()),
        canonical_energy=float(solution.canonical_energy.detach()),
        total_charge=float(solution.total_charge.detach()),
        forces=-gradient.numpy(),
        stress=virial.numpy() / volume if periodic else None,
    )
