"""A charged slab and the plane that carries its counter charge."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from voltase.aseplugin.kernels.coulomb import COULOMB
from voltase.aseplugin.models.charge_equilibration import FixedPotential

from .conftest import Case


@pytest.fixture
def slab(build_case: Callable[[str], Case]) -> Case:
    case = build_case("slab")
    source = case.source_charge.copy()
    source[0] += 0.5
    return replace(case, source_charge=source)


def plane(height: float) -> NDArray[np.float64]:
    return np.array([0.3, -2.0, height])


def test_nothing_without_a_charge(build_case: Callable[[str], Case]) -> None:
    case = build_case("slab")
    with_plane, without = case.solve(counter_plane=plane(7.0)), case.solve()
    np.testing.assert_allclose(with_plane.charges, without.charges, atol=1e-12)
    np.testing.assert_allclose(with_plane.forces, without.forces, atol=1e-12)


def test_moving_a_plane_outside_is_a_plate_capacitor(slab: Case) -> None:
    """All of the field between slab and plane: Q^2/2 times 4 pi k_e/area for each A."""
    near, far = (slab.solve(counter_plane=plane(h)) for h in (6.0, 8.0))
    area = abs(np.linalg.det(slab.cell[:2, :2]))
    per_length = 4.0 * math.pi * COULOMB / area
    assert far.energy - near.energy == pytest.approx(0.5 * 0.25 * per_length * 2.0, abs=1e-9)
    np.testing.assert_allclose(far.charges, near.charges, atol=1e-12)
    np.testing.assert_allclose(
        far.electrochemical_potential - near.electrochemical_potential, 0.5 * per_length * 2.0,
        atol=1e-9,
    )  # fmt: skip


def test_capacitance_falls_with_the_distance(slab: Case) -> None:
    fixed = FixedPotential([0], 1.0)
    near, far = (slab.solve(counter_plane=plane(h), fixed_potential=fixed) for h in (6.0, 8.0))
    area = abs(np.linalg.det(slab.cell[:2, :2]))
    gap = 4.0 * math.pi * COULOMB * 2.0 / area
    assert 1.0 / far.capacitance - 1.0 / near.capacitance == pytest.approx(gap, abs=1e-9)


@pytest.mark.parametrize("height", [2.0, 7.0])
def test_forces_and_a_common_shift(slab: Case, height: float) -> None:
    """Also with atoms on both sides of the plane."""

    def energy(positions: NDArray[np.float64]) -> float:
        return float(slab.solve(positions=positions, counter_plane=plane(height)).energy)

    forces = slab.solve(counter_plane=plane(height)).forces
    for atom, axis in ((0, 2), (5, 2), (10, 1)):
        values = []
        for step in (-2e-4, -1e-4, 1e-4, 2e-4):
            positions = slab.positions.copy()
            positions[atom, axis] += step
            values.append(energy(positions))
        slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / 12e-4
        assert forces[atom, axis] == pytest.approx(-slope, abs=1e-8)
    shifted = slab.solve(positions=slab.positions + [0, 0, 3.0], counter_plane=plane(height + 3.0))
    np.testing.assert_allclose(shifted.forces, forces, atol=1e-10)
