"""What the equilibration must be in its limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from voltase.aseplugin import FQEqSolution, solve_fqeq
from voltase.aseplugin.models.charge_equilibration.bonds import BOND_HARDNESS
from voltase.aseplugin.models.electrostatics import coulomb_matrix

from .conftest import Array, Case

EXACT = 1e-12


def interaction(case: Case) -> Array:
    """A = diag(J) + C."""
    positions, cell, width = map(torch.from_numpy, (case.positions, case.cell, case.width))
    return coulomb_matrix(positions, cell, case.pbc, width).numpy() + np.diag(case.hardness)


def energy_of(case: Case, charges: Array) -> float:
    """Energy of charges without that of the bonds."""
    return float(case.electronegativity @ charges + 0.5 * charges @ interaction(case) @ charges)


def node_charges(solution: FQEqSolution, charges: Array) -> Array:
    return np.bincount(solution.membership, weights=charges)


def test_charges_minimise_the_energy_of_flows_along_bonds(case: Case) -> None:
    """Against q = q0 + D p with every bond's flow as an unknown, no nodes and no potentials."""
    kept = case.bond_order > 0.0
    order, (first, second) = case.bond_order[kept], case.bonds[:, kept]
    incidence = np.zeros((len(case.positions), len(order)))
    incidence[first, np.arange(len(order))] = -1.0
    incidence[second, np.arange(len(order))] = 1.0
    a = interaction(case)
    kappa = BOND_HARDNESS * (1.0 - order) / order
    slope = incidence.T @ (case.electronegativity + a @ case.source_charge)
    curvature = incidence.T @ a @ incidence + np.diag(kappa)
    flows = np.linalg.lstsq(curvature, -slope, rcond=1e-13)[0]
    charges = case.source_charge + incidence @ flows
    solution = case.solve()
    np.testing.assert_allclose(solution.charges, charges, atol=1e-11)
    energy = energy_of(case, charges) + 0.5 * kappa @ flows**2
    assert solution.energy == pytest.approx(energy, abs=1e-10)


def test_one_fragment_is_global(case: Case) -> None:
    ring = np.array([np.arange(11), np.roll(np.arange(11), 1)])
    joined = case.solve(bonds=ring, bond_order=np.ones(11))
    free = case.solve(solver="global")
    assert len(joined.fragment_chemical_potentials) == 1
    np.testing.assert_allclose(joined.charges, free.charges, atol=EXACT)
    np.testing.assert_allclose(joined.forces, free.forces, atol=EXACT)
    assert joined.energy == pytest.approx(free.energy, abs=EXACT)
    np.testing.assert_allclose(
        joined.fragment_chemical_potentials, free.fragment_chemical_potentials, atol=EXACT
    )


def test_global_is_the_constrained_minimum(case: Case) -> None:
    a, ones = interaction(case), np.ones(11)
    inverse = np.linalg.inv(a)
    total = case.source_charge.sum()
    potential = (total + ones @ inverse @ case.electronegativity) / (ones @ inverse @ ones)
    charges = inverse @ (potential - case.electronegativity)
    solution = case.solve(solver="global")
    np.testing.assert_allclose(solution.charges, charges, atol=1e-11)
    np.testing.assert_allclose(solution.electrochemical_potential, potential, atol=1e-10)
    assert solution.energy == pytest.approx(energy_of(case, charges), abs=1e-10)


def test_hard_fragments_keep_their_charge(hard: Case) -> None:
    solution = hard.solve()
    assert np.bincount(solution.membership).tolist() == [4, 3, 3, 1]
    np.testing.assert_allclose(
        node_charges(solution, solution.charges),
        node_charges(solution, hard.source_charge),
        atol=EXACT,
    )


def test_soft_bonds_keep_the_total_charge(case: Case) -> None:
    solution = case.solve()
    assert solution.charges.sum() == pytest.approx(case.source_charge.sum(), abs=EXACT)
    moved = node_charges(solution, solution.charges - case.source_charge)
    assert np.abs(moved).max() > 1e-3


def test_potential_of_atoms_is_that_of_their_node(case: Case) -> None:
    solution = case.solve()
    local = case.electronegativity + interaction(case) @ solution.charges
    np.testing.assert_allclose(solution.electrochemical_potential, local, atol=1e-10)
    np.testing.assert_allclose(
        solution.electrochemical_potential,
        solution.fragment_chemical_potentials[solution.membership],
        atol=0,
    )


@pytest.mark.parametrize("node", range(4))
def test_chemical_potential_is_the_slope_in_the_charge_of_a_fragment(hard: Case, node: int) -> None:
    hard = hard.with_options(charged=True)
    atom = int(np.argmax(hard.solve().membership == node))
    step = 0.01  # the energy is quadratic in the charges

    def energy(charge: float) -> float:
        source = hard.source_charge.copy()
        source[atom] += charge
        return float(hard.solve(source_charge=source).energy)

    slope = (energy(step) - energy(-step)) / (2.0 * step)
    assert slope == pytest.approx(hard.solve().fragment_chemical_potentials[node], abs=1e-9)


def test_source_charge_may_be_anywhere_in_a_fragment(hard: Case) -> None:
    source = hard.source_charge.copy()
    source[[0, 3, 4, 6]] += [0.3, -0.3, -0.2, 0.2]
    moved, solution = hard.solve(source_charge=source), hard.solve()
    np.testing.assert_allclose(moved.charges, solution.charges, atol=EXACT)
    assert moved.energy == pytest.approx(solution.energy, abs=EXACT)


def test_representation_of_a_bond_does_not_show(case: Case) -> None:
    """Bonds just below and above order 1/2 are in different blocks of the system."""
    order = np.where(case.bond_order == 0.6, 0.5, case.bond_order)
    below = case.solve(bond_order=order)
    above = case.solve(bond_order=np.where(order == 0.5, 0.5 + 1e-13, order))
    np.testing.assert_allclose(above.charges, below.charges, atol=EXACT)
    assert above.energy == pytest.approx(below.energy, abs=EXACT)


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_saturated_bonds_are_the_limit(case: Case, limit: float) -> None:
    index = case.bond_order.tolist().index(0.6)

    def charges(order: float) -> Array:
        values = case.bond_order.copy()
        values[index] = order
        return np.asarray(case.solve(bond_order=values).charges)

    near, nearer = (charges(abs(limit - e)) - charges(limit) for e in (1e-5, 1e-9))
    assert np.abs(near).max() > 1e-9
    np.testing.assert_allclose(nearer, 1e-4 * near, atol=1e-12)


def test_several_images_of_a_bond_add_up(case: Case) -> None:
    index = case.bond_order.tolist().index(0.6)
    halves = np.hstack([case.bonds, case.bonds[::-1, [index]]])
    single, double = case.bond_order.copy(), np.append(case.bond_order, 0.6)
    single[index] = 0.75  # w = b/(1 - b): 3 = 2 x 1.5
    np.testing.assert_allclose(
        case.solve(bonds=halves, bond_order=double).charges,
        case.solve(bond_order=single).charges,
        atol=EXACT,
    )


def test_a_cell_repeated_has_the_same_charges(build_case: Callable[[str], Case]) -> None:
    case = build_case("slab")
    twice = replace(
        case,
        positions=np.vstack([case.positions, case.positions + case.cell[0]]),
        cell=case.cell * [[2.0], [1.0], [1.0]],
        **{
            name: np.tile(getattr(case, name), 2)
            for name in ("electronegativity", "hardness", "width", "source_charge", "bond_order")
        },
        bonds=np.hstack([case.bonds, case.bonds + 11]),
    )
    one, two = case.solve(), twice.solve()
    np.testing.assert_allclose(two.charges, np.tile(one.charges, 2), atol=1e-10)
    assert two.energy == pytest.approx(2.0 * one.energy, abs=1e-9)
    np.testing.assert_allclose(two.stress, one.stress, atol=1e-10)


def test_weights_share_out_the_total_charge(build_case: Callable[[str], Case]) -> None:
    case = build_case("slab")
    weights = np.array([2.0, 1.0] + [0.0] * 9)
    solution = case.solve(total_charge=0.5, charge_weights=weights)
    source = case.source_charge + 0.5 * weights / 3.0
    np.testing.assert_allclose(
        solution.charges, case.solve(source_charge=source).charges, atol=EXACT
    )
    assert solution.total_charge == pytest.approx(0.5, abs=EXACT)


def test_slope_in_the_total_charge_is_the_electrode_potential(case: Case) -> None:
    arguments = case.with_options(charged=True).tensors()
    charge = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    weights = torch.zeros(11, dtype=torch.float64)
    weights[0] = 1.0
    solution = solve_fqeq(**arguments, total_charge=charge, charge_weights=weights)
    (slope,) = torch.autograd.grad(solution.energy, charge)
    potential = solution.electrochemical_potential.detach()[0]
    assert float(slope) == pytest.approx(float(potential), abs=EXACT)


@pytest.mark.parametrize("boundary", ["open", "slab", "bulk"])
def test_a_single_atom_keeps_its_charge(boundary: str, build_case: Callable[[str], Case]) -> None:
    case = build_case(boundary)
    solution = replace(
        case,
        positions=case.positions[-1:],
        electronegativity=np.array([-4.0]),
        hardness=np.array([6.0]),
        width=np.array([0.7]),
        source_charge=np.array([1.0]),
        bonds=np.empty((2, 0), dtype=np.int64),
        bond_order=np.empty(0),
    ).solve(charged=True)
    np.testing.assert_allclose(solution.charges, [1.0], atol=EXACT)
    np.testing.assert_allclose(solution.forces, 0.0, atol=1e-9)


def test_no_bonds_leave_the_source_charges(case: Case) -> None:
    solution = case.solve(bonds=[], bond_order=[])
    np.testing.assert_allclose(solution.charges, case.source_charge, atol=EXACT)
    assert solution.energy == pytest.approx(energy_of(case, case.source_charge), abs=1e-10)


def test_large_charges_have_no_larger_errors(build_case: Callable[[str], Case]) -> None:
    case = build_case("slab")
    source = 200.0 * case.source_charge
    found, exact = (case.solve(source_charge=source, tolerance=t) for t in (1e-4, 1e-12))
    assert np.abs(exact.charges).max() > 10.0
    assert np.abs(found.forces - exact.forces).max() < 1e-4
