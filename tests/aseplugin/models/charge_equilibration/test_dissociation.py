"""A proton passes from one water to another: smooth charges, energies and forces, and exact ones.

All inputs of the equilibration depend on the positions, as they do in a trained model.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from voltase.aseplugin import FQEqSolution, solve_fqeq
from voltase.aseplugin.models.charge_equilibration import FixedPotential, bond_order

from .conftest import BOUNDARIES, PARAMETERS

SYMBOLS = ["Pt", "Pt", "O", "H", "H", "O", "H", "H"]
POSITIONS = torch.tensor(
    [[0.3, 0.1, -2.6], [3.0, 0.2, -2.5], [0.0, 0.0, 0.0], [0.96, 0.1, 0.0], [-0.3, 0.9, 0.2],
     [4.4, 0.2, 0.1], [4.8, 1.0, 0.3], [4.9, -0.5, 0.6]], dtype=torch.float64
)  # fmt: skip
CELL = torch.tensor([[8.0, 0, 0], [1.0, 7.5, 0], [0.5, 0.3, 9.0]], dtype=torch.float64)
PROTON = 3
DIRECTION = torch.tensor([1.0, 0.03, 0.02], dtype=torch.float64)
LENGTHS = {"PtPt": 3.6, "OH": 1.65, "HO": 1.65, "HH": 0.6, "OO": 1.2, "OPt": 2.7, "PtO": 2.7,
           "PtH": 2.2, "HPt": 2.2}  # fmt: skip
PAIRS = torch.triu_indices(8, 8, 1)
REACH = torch.tensor([LENGTHS[SYMBOLS[i] + SYMBOLS[j]] for i, j in PAIRS.T.tolist()])
HELD = FixedPotential(atoms=[0, 1], potential=1.7)


def place(distance: float) -> Tensor:
    """Positions with the proton at some distance from its oxygen, A."""
    positions = POSITIONS.clone()
    positions[PROTON] = positions[2] + distance * DIRECTION / DIRECTION.norm()
    return positions


def equilibrate(positions: Tensor, cell: Tensor, boundary: str, held: bool) -> FQEqSolution:
    chi, hardness, width = torch.tensor(
        [PARAMETERS[s] for s in SYMBOLS], dtype=torch.float64
    ).unbind(1)
    vectors = positions[PAIRS[1]] - positions[PAIRS[0]]
    distance = vectors.norm(dim=1)
    near = torch.exp(-((distance / 1.5) ** 2))
    crowding = torch.zeros(8, dtype=torch.float64).index_add(0, PAIRS.flatten(), near.repeat(2))
    source = 0.3 * crowding * torch.tensor([0.0, 0, -1, 1, 1, -1, 1, 1], dtype=torch.float64)
    order = bond_order((REACH - distance) / 0.5 + 0.5, distance, 3.4, 4.2)
    return solve_fqeq(
        positions, cell, BOUNDARIES[boundary], chi + 2.0 * crowding, hardness + crowding, width,
        source, PAIRS, order, charged=True, tolerance=1e-12,
        **({"fixed_potential": HELD} if held else
           {"total_charge": 0.0, "charge_weights": torch.ones(8)}),
    )  # fmt: skip


@cache
def along_the_way(boundary: str, held: bool) -> list[tuple[float, float, float, int]]:
    """Distance, force along it by differentiation and by differences, and number of nodes."""
    out = []
    towards = torch.zeros(8, 3, dtype=torch.float64)
    towards[PROTON] = DIRECTION / DIRECTION.norm()
    for distance in (0.96, 1.35, 1.42, 1.5, 1.75, 1.9, 2.3, 2.6, 2.75, 2.9, 3.05, 3.2):
        positions = place(distance).requires_grad_()
        solution = equilibrate(positions, CELL, boundary, held)
        (gradient,) = torch.autograd.grad(solution.energy, positions)
        step = 2e-4

        def energy(at: float) -> float:
            return float(equilibrate(place(at), CELL, boundary, held).energy)  # noqa: B023

        values = [energy(distance + k * step) for k in (-2, -1, 1, 2)]
        slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
        nodes = len(solution.fragment_chemical_potentials)
        out.append((distance, float((gradient * towards).sum()), slope, nodes))
    return out


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_forces_are_the_slope_through_the_whole_way(boundary: str, held: bool) -> None:
    points = along_the_way(boundary, held)
    assert {nodes for *_, nodes in points} == {3, 4}
    for distance, force, slope, _ in points:
        assert force == pytest.approx(slope, abs=1e-8), f"at {distance:.2f} A"


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_all_forces_where_the_bond_breaks(boundary: str) -> None:
    positions = place(1.75).requires_grad_()
    (gradient,) = torch.autograd.grad(equilibrate(positions, CELL, boundary, False).energy,
                                      positions)  # fmt: skip
    numerical = torch.zeros_like(gradient)
    step = 2e-4
    for index in np.ndindex(8, 3):
        for sign, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
            moved = place(1.75)
            moved[index] += sign * step
            energy = equilibrate(moved, CELL, boundary, False).energy
            numerical[index] += weight * energy / (12 * step)
    torch.testing.assert_close(gradient, numerical, rtol=0, atol=1e-8)


@pytest.mark.parametrize("boundary", ["slab", "bulk"])
def test_stress_is_the_slope_in_the_strain(boundary: str) -> None:
    rows = [i for i in range(3) if BOUNDARIES[boundary][i]]
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)

    def energy(strain: Tensor) -> Tensor:
        deform = torch.eye(3, dtype=torch.float64) + 0.5 * (strain + strain.T)
        return equilibrate(place(1.75) @ deform, CELL @ deform, boundary, False).energy

    (gradient,) = torch.autograd.grad(energy(strain), strain)
    for i in rows:
        for j in rows:
            values = []
            for sign in (-2, -1, 1, 2):
                moved = torch.zeros(3, 3, dtype=torch.float64)
                moved[i, j] = sign * 2e-4
                values.append(float(energy(moved)))
            slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * 2e-4)
            assert float(gradient[i, j]) == pytest.approx(slope, abs=1e-8)


def test_charges_change_smoothly() -> None:
    """No jump in the charges, their slopes or the energy's where a node splits."""
    distances = np.arange(1.3, 3.4, 0.02)
    solutions = [equilibrate(place(d), CELL, "open", False) for d in distances]
    charges = np.array([s.charges.numpy() for s in solutions])
    energies = np.array([float(s.energy) for s in solutions])
    nodes = [len(s.fragment_chemical_potentials) for s in solutions]
    splits = np.flatnonzero(np.diff(nodes))
    assert len(splits) >= 2
    assert np.abs(charges.sum(1)).max() < 1e-12
    for values in (charges, energies[:, None]):
        bends = np.abs(np.diff(values, 2, axis=0)).max(1)
        # A jump in a value or its slope would stand out at a split against all other points.
        assert max(bends[max(k - 1, 0) : k + 2].max() for k in splits) < 0.5 * bends.max()


def test_protons_charge_at_both_ends() -> None:
    """In one node with its water at first, with the other one at the end, and alone between."""
    start, middle, end = (equilibrate(place(d), CELL, "open", False) for d in (0.96, 2.2, 3.45))
    assert start.membership[PROTON] == start.membership[2]
    assert end.membership[PROTON] == end.membership[5]
    assert middle.membership[PROTON] not in middle.membership[[2, 5]]
