"""An electrode held at a potential: the Legendre transform of the same at a given charge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from voltase.aseplugin import FQEqSolution, solve_fqeq
from voltase.aseplugin.models.charge_equilibration import FixedPotential

from .conftest import Case

EXACT = 1e-11
ELECTRODE = np.array([1.0] * 4 + [0.0] * 7)


@pytest.fixture
def charged(case: Case) -> Case:
    """Sources that do not sum to zero, as in an electrolyte with an excess of ions."""
    source = case.source_charge.copy()
    source[10] += 0.4
    options: dict[str, Any] = {"charged": True}
    if sum(case.pbc) == 2:
        options["counter_plane"] = [0.5, 0.2, 7.0]
    return replace(case, source_charge=source).with_options(**options)


@pytest.fixture
def potential(charged: Case) -> float:
    """One at which charges are small; it differs between boundary conditions."""
    return float(at_charge(charged, 0.1).electrochemical_potential[0])


def hold(case: Case, potential: float) -> FQEqSolution:
    return case.solve(fixed_potential=FixedPotential([0], potential))


def at_charge(case: Case, charge: float) -> FQEqSolution:
    return case.solve(total_charge=charge, charge_weights=ELECTRODE)


def test_the_electrode_has_the_potential_and_others_their_own(
    charged: Case, potential: float
) -> None:
    found = hold(charged, potential)
    np.testing.assert_allclose(found.electrochemical_potential[:4], potential, atol=EXACT)
    assert np.ptp(found.fragment_chemical_potentials) > 0.1


def test_same_as_at_the_charge_it_takes(charged: Case, potential: float) -> None:
    found = hold(charged, potential)
    assert found.total_charge == pytest.approx(0.1, abs=1e-9)
    same = at_charge(charged, found.total_charge)
    np.testing.assert_allclose(found.charges, same.charges, atol=EXACT)
    np.testing.assert_allclose(found.forces, same.forces, atol=EXACT)
    np.testing.assert_allclose(
        found.fragment_chemical_potentials, same.fragment_chemical_potentials, atol=1e-10
    )
    assert found.canonical_energy == pytest.approx(same.energy, abs=EXACT)
    # Omega = E + Phi n with n = -Q excess electrons.
    assert found.energy == pytest.approx(same.energy - potential * found.total_charge, abs=EXACT)


def test_slopes_in_the_potential(charged: Case, potential: float) -> None:
    step = 0.01  # everything is a polynomial in the potential
    up, down, found = (hold(charged, potential + d) for d in (step, -step, 0.0))
    slope = (up.energy - down.energy) / (2 * step)
    assert -slope == pytest.approx(found.total_charge, abs=1e-9)
    slope = (up.total_charge - down.total_charge) / (2 * step)
    assert slope == pytest.approx(found.capacitance, abs=1e-9)
    assert found.capacitance > 0.0


def test_differentiable_in_the_potential(charged: Case, potential: float) -> None:
    held = torch.tensor(potential, dtype=torch.float64, requires_grad=True)
    found = solve_fqeq(**charged.tensors(), fixed_potential=([2], held))
    (charge,) = torch.autograd.grad(found.energy, held, create_graph=True)
    torch.testing.assert_close(charge, -found.total_charge, rtol=0, atol=EXACT)
    (curvature,) = torch.autograd.grad(charge, held)
    assert float(curvature) == pytest.approx(-found.capacitance, abs=1e-10)


def test_several_electrodes(charged: Case, potential: float) -> None:
    found = charged.solve(fixed_potential=FixedPotential([0, 7], potential))
    fixed = np.isin(found.membership, found.membership[[0, 7]])
    np.testing.assert_allclose(found.electrochemical_potential[fixed], potential, atol=EXACT)
    assert np.ptp(found.electrochemical_potential[~fixed]) > 0.1


def test_all_at_one_potential_globally(charged: Case, potential: float) -> None:
    found = charged.solve(fixed_potential=FixedPotential([5], potential), solver="global")
    np.testing.assert_allclose(found.electrochemical_potential, potential, atol=EXACT)


@pytest.mark.parametrize("tier", ["ewald", "mesh"])
def test_iteration_gives_the_same(charged: Case, potential: float, tier: str) -> None:
    fixed = FixedPotential([0], potential)
    found = charged.solve(fixed_potential=fixed, tier=tier, tolerance=1e-9)
    expected = charged.solve(fixed_potential=fixed, tolerance=1e-12)
    np.testing.assert_allclose(found.charges, expected.charges, atol=1e-9)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-9)
    assert found.capacitance == pytest.approx(expected.capacitance, rel=1e-6)
