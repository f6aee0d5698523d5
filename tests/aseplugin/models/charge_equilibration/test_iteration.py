"""Conjugate gradients: as accurate as asked, and few iterations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from voltase.aseplugin.models.charge_equilibration import FixedPotential, WarmStart, preconditioner
from voltase.aseplugin.models.charge_equilibration.interaction import Interaction
from voltase.aseplugin.models.electrostatics import coulomb_matrix

from .conftest import PARAMETERS, WATER, Case, build

SPACING = 3.1


def water_box(n: int, *, metal_layers: int = 0, pbc: tuple[bool, bool, bool] = (True,) * 3) -> Case:
    """n^3 waters on a jittered grid, above layers of a metal; one bond in four waters is soft."""
    rng = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1).reshape(-1, 3)
    edge = n * SPACING
    metal = np.stack(np.meshgrid(np.arange(n), np.arange(n), np.arange(metal_layers),
                                 indexing="ij"), -1).reshape(-1, 3)  # fmt: skip
    waters = (grid * SPACING)[:, None] + WATER + rng.normal(0, 0.15, (n**3, 1, 3))
    positions = np.vstack([metal * [SPACING, SPACING, -2.4] - [0, 0, 3.0], waters.reshape(-1, 3)])
    m = len(metal)
    symbols = ["Pt"] * m + ["O", "H", "H"] * n**3
    chi, hardness, width = np.array([PARAMETERS[s] for s in symbols]).T
    oxygens = m + 3 * np.arange(n**3)
    bonds = np.hstack([[oxygens, oxygens + 1], [oxygens, oxygens + 2],
                       [np.arange(m - 1), np.arange(1, m)]]).astype(np.int64)  # fmt: skip
    order = np.ones(bonds.shape[1])
    order[: n**3 : 4] = rng.uniform(0.05, 0.95, len(order[: n**3 : 4]))
    return Case(
        positions=positions,
        cell=np.diag([edge, edge, edge + 2.4 * metal_layers + 3.0 * bool(metal_layers)]),
        pbc=pbc,
        electronegativity=chi + rng.normal(0, 0.1, len(chi)),
        hardness=hardness,
        width=width,
        source_charge=np.zeros(len(chi)),
        bonds=bonds,
        bond_order=order,
    )


@pytest.fixture
def interface() -> Case:
    """A metal and water, 135 atoms."""
    return water_box(3, metal_layers=6, pbc=(True, True, False))


@pytest.mark.parametrize("solver", ["fragment", "global"])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-7])
def test_tolerance_bounds_the_force_error(interface: Case, solver: str, tolerance: float) -> None:
    exact = interface.solve(solver=solver, tolerance=1e-12)
    found = interface.solve(solver=solver, tolerance=tolerance, tier="ewald")
    assert found.iterations > 0
    assert 0.0 < np.abs(found.forces - exact.forces).max() < tolerance
    assert found.energy == pytest.approx(exact.energy, abs=tolerance)
    np.testing.assert_allclose(found.stress, exact.stress, atol=tolerance)


def test_constraints_hold_whatever_the_tolerance(interface: Case) -> None:
    hard = replace(interface, bond_order=np.ceil(interface.bond_order))
    found = hard.solve(tolerance=1e-1, tier="ewald")
    assert np.abs(np.bincount(found.membership, found.charges)).max() < 1e-12


@pytest.mark.parametrize("tier", ["ewald", "mesh"])
def test_charged_fragments_and_soft_bonds(case: Case, tier: str) -> None:
    source = case.source_charge.copy()
    source[:4] += 0.2
    exact = case.solve(source_charge=source, charged=True, tolerance=1e-12)
    found = case.solve(source_charge=source, charged=True, tolerance=1e-9, tier=tier)
    np.testing.assert_allclose(found.charges, exact.charges, atol=1e-9)
    np.testing.assert_allclose(found.forces, exact.forces, atol=1e-9)
    np.testing.assert_allclose(
        found.fragment_chemical_potentials, exact.fragment_chemical_potentials, atol=1e-7
    )


def test_block_of_the_metal_saves_iterations(
    interface: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_block = interface.solve(tier="ewald").iterations
    monkeypatch.setattr(preconditioner, "SMALLEST_BLOCK", 10**6)
    assert with_block < 0.7 * interface.solve(tier="ewald").iterations


@pytest.mark.parametrize("held", [False, True])
def test_warm_start_saves_iterations_and_nothing_else(interface: Case, held: bool) -> None:
    options = {"counter_plane": [0.0, 0.0, 14.0]}
    if held:
        options["fixed_potential"] = FixedPotential([0], -2.0)
    interface = interface.with_options(tolerance=1e-5, tier="ewald", **options)
    velocity = np.random.default_rng(0).normal(0, 0.005, interface.positions.shape)
    memory, cold, warm = WarmStart(), [], []
    for step in range(4):
        moved = replace(interface, positions=interface.positions + step * velocity)
        found, reference = moved.solve(warm_start=memory), moved.solve()
        np.testing.assert_allclose(found.forces, reference.forces, atol=1e-5)
        cold.append(reference.iterations)
        warm.append(found.iterations)
    assert warm[0] == cold[0]
    assert max(warm[2:]) <= 0.75 * min(cold)
    assert len(memory.blocks.blocks) == 1


def test_start_from_the_solution_needs_no_iteration(interface: Case) -> None:
    memory = WarmStart()
    interface.solve(tolerance=1e-9, tier="ewald", warm_start=memory)
    assert interface.solve(tolerance=1e-6, tier="ewald", warm_start=memory).iterations == 0


@pytest.mark.slow
def test_iterations_do_not_grow_with_the_size_of_a_liquid() -> None:
    counts = [water_box(n).solve(tier="mesh", tolerance=1e-5).iterations for n in (4, 8)]
    assert counts[1] <= counts[0] + 1


@pytest.mark.parametrize("boundary", ["open", "slab", "bulk"])
def test_derivatives_in_torch_are_those_of_the_operator(boundary: str) -> None:
    case = build(boundary)
    x, y = np.random.default_rng(1).normal(size=(2, 11))
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    tensors = [torch.from_numpy(v).requires_grad_() for v in (case.positions, case.cell,
                                                              case.width)]  # fmt: skip
    interaction = Interaction(tensors[0], tensors[1], case.pbc, tensors[2], 1e-10, "auto", 1.0,
                              None)  # fmt: skip
    value = interaction.bilinear(a, b, *tensors)
    matrix = coulomb_matrix(tensors[0], tensors[1], case.pbc, tensors[2])
    torch.testing.assert_close(value, a @ matrix @ b, rtol=0, atol=1e-9)
    torch.testing.assert_close(interaction.matrix(), matrix.detach(), rtol=0, atol=1e-9)
    found = torch.autograd.grad(value, tensors)
    explicit = interaction.gradients(a, b)
    slope = torch.autograd.grad(a @ matrix @ b, tensors)
    for one, two, three in zip(found, explicit, slope, strict=True):
        torch.testing.assert_close(one, three, rtol=0, atol=1e-9)
        torch.testing.assert_close(two, three, rtol=0, atol=1e-9)
