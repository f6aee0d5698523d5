"""Nothing depends on how a structure is written down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from voltase.aseplugin import FQEqSolution

from .conftest import Array, Case

SAME = 1e-10


@pytest.fixture
def charged(case: Case) -> Case:
    """The small system with a net charge."""
    source = case.source_charge.copy()
    source[:4] += 0.1
    return replace(case, source_charge=source).with_options(charged=True)


def assert_same(found: FQEqSolution, expected: FQEqSolution) -> None:
    np.testing.assert_allclose(found.charges, expected.charges, atol=SAME)
    np.testing.assert_allclose(found.forces, expected.forces, atol=SAME)
    np.testing.assert_allclose(
        found.electrochemical_potential, expected.electrochemical_potential, atol=SAME
    )
    assert found.energy == pytest.approx(expected.energy, abs=SAME)


def test_rotation(charged: Case) -> None:
    turn = Rotation.from_euler("xyz", [0.4, -1.1, 2.0]).as_matrix()
    found = replace(charged, positions=charged.positions @ turn, cell=charged.cell @ turn).solve()
    expected = charged.solve()
    assert_same(replace(found, forces=found.forces @ turn.T), expected)
    if expected.stress is not None:
        np.testing.assert_allclose(turn @ found.stress @ turn.T, expected.stress, atol=SAME)


def test_reflection_gives_a_left_handed_cell(charged: Case) -> None:
    mirror = np.diag([1.0, -1.0, 1.0])
    found = replace(
        charged, positions=charged.positions @ mirror, cell=charged.cell @ mirror
    ).solve()
    assert_same(replace(found, forces=found.forces @ mirror), charged.solve())


def test_order_of_axes(charged: Case) -> None:
    """The normal of the slab on any axis; odd permutations are left-handed."""
    for order in ([1, 2, 0], [2, 0, 1], [2, 1, 0], [0, 2, 1]):
        pbc = tuple(charged.pbc[i] for i in order)
        assert_same(replace(charged, cell=charged.cell[order], pbc=pbc).solve(), charged.solve())


def test_order_of_atoms_and_bonds(charged: Case) -> None:
    rng = np.random.default_rng(1)
    order = rng.permutation(11)
    rank = np.argsort(order)
    bonds = rng.permutation(len(charged.bond_order))
    atomwise = ("positions", "electronegativity", "hardness", "width", "source_charge")
    found = replace(
        charged,
        **{name: getattr(charged, name)[order] for name in atomwise},
        bonds=rank[charged.bonds[::-1, bonds]],
        bond_order=charged.bond_order[bonds],
    ).solve()
    assert_same(
        replace(
            found,
            charges=found.charges[rank],
            forces=found.forces[rank],
            electrochemical_potential=found.electrochemical_potential[rank],
        ),
        charged.solve(),
    )


def test_translation(charged: Case) -> None:
    moved = charged.positions + [3.7, -2.2, 5.9]
    assert_same(replace(charged, positions=moved).solve(), charged.solve())


def test_wrapping(charged: Case) -> None:
    """Molecules and the metal cut by the cell's boundary, atoms far outside the cell."""
    rng = np.random.default_rng(2)
    images = rng.integers(-2, 3, (11, 3)) * np.array(charged.pbc)
    moved = charged.positions + images @ charged.cell
    assert_same(replace(charged, positions=moved).solve(), charged.solve())


def skewed(case: Case) -> Array:
    """Other vectors of the same lattice."""
    mix = {0: np.eye(3), 2: np.array([[1.0, 1, 0], [1, 2, 0], [0, 0, 1]]),
           3: np.array([[1.0, 1, 0], [0, 1, -1], [1, 0, 0]])}  # fmt: skip
    return np.asarray(mix[sum(case.pbc)] @ case.cell)


def test_choice_of_cell(charged: Case) -> None:
    found, expected = replace(charged, cell=skewed(charged)).solve(), charged.solve()
    assert_same(found, expected)
    if expected.stress is not None:
        np.testing.assert_allclose(found.stress, expected.stress, atol=SAME)


def test_vector_of_a_direction_that_does_not_repeat(charged: Case) -> None:
    cell = charged.cell.copy()
    cell[[not p for p in charged.pbc]] = 0.0
    found = replace(charged, cell=cell).solve()
    assert_same(found, charged.solve())
