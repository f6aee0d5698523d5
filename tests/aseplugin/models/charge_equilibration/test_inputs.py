"""Every input that cannot be used has its own error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from voltase.aseplugin import solve_fqeq
from voltase.aseplugin.errors import AccuracyError, InputError
from voltase.aseplugin.models.charge_equilibration import FixedPotential, WarmStart, bond_order

from .conftest import Case


@pytest.fixture
def open_case(build_case: Callable[[str], Case]) -> Case:
    return build_case("open")


def with_value(name: str, index: Any, value: float) -> Callable[[Case], dict[str, Any]]:
    """One value of an argument changed."""

    def change(case: Case) -> dict[str, Any]:
        array = getattr(case, name).copy()
        array[index] = value
        return {name: array}

    return change


def just(**changes: Any) -> Callable[[Case], dict[str, Any]]:
    return lambda case: changes


NUMBERS = ("positions", "electronegativity", "hardness", "width", "source_charge", "bond_order")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(open_case: Case, name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"^{name}: got {value}.*expected finite"):
        open_case.solve(**with_value(name, 1, value)(open_case))


def test_cell_that_is_not_finite(build_case: Callable[[str], Case]) -> None:
    case = build_case("slab")
    with pytest.raises(InputError, match=r"^cell: .*expected finite"):
        case.solve(**with_value("cell", (0, 0), np.nan)(case))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_value("hardness", 2, 0.0), "hardness: got 0 eV/e.*expected more than 0"),
        (with_value("hardness", 2, -1.0), "hardness: got -1 eV/e.*expected more than 0"),
        (with_value("width", 2, 0.0), r"width: got 0 A at \[2\], expected 0.02 to 100 A"),
        (with_value("width", 2, 1e-3), "width: got 0.001 A"),
        (with_value("width", 2, 1e200), "width: got 1e.200 .*expected finite"),
        (with_value("hardness", 2, 1e200), "hardness: got 1e.200 .*expected finite"),
        (with_value("bond_order", 2, 1.2), "bond_order: got 1.2, expected 0 to 1"),
        (with_value("bond_order", 2, -0.1), "bond_order: got -0.1, expected 0 to 1"),
        (with_value("bonds", (0, 0), 11), "bonds: got atoms 0 to 11, expected 0 to 10"),
        (with_value("bonds", (0, 0), -1), "bonds: got atoms -1 to 10, expected 0 to 10"),
        (lambda c: {"bonds": c.bonds.astype(float)}, "bonds: got .*float64, expected integers"),
        (lambda c: {"bonds": c.bonds.T}, r"bonds: got shape \(13, 2\), expected \(2, bonds\)"),
        (lambda c: {"bond_order": c.bond_order[:-1]}, r"bond_order: got shape \(12,\)"),
        (lambda c: {"width": c.width[:-1]}, r"width: got shape \(10,\), expected \(11,\)"),
        (just(hardness="hard"), "hardness: got 'hard', expected an array of numbers"),
        (just(hardness=np.ones(11, complex)), "hardness: got .*complex128, expected real"),
        (just(bonds=None), "bonds: got None, expected an array of numbers"),
        (just(bonds="all"), "bonds: got 'all', expected an array of numbers"),
        (just(bond_hardness="x"), "bond_hardness: got 'x', expected an array of numbers"),
        (just(positions=[[0.0], [0.0, 1.0]]), "positions: got a list, expected an array of num"),
        (just(positions=np.zeros((0, 3))), r"positions: got shape \(0, 3\)"),
        (just(positions=np.zeros((3, 2))), r"positions: got shape \(3, 2\)"),
        (just(cell=np.eye(2)), r"cell: got shape \(2, 2\), expected \(3, 3\)"),
        (just(pbc=(True, False, False)), "pbc: got one periodic direction"),
        (just(pbc=(True, True)), r"pbc: got shape \(2,\), expected one value or 3"),
        (just(pbc=None), "pbc: got None, expected True, False or three of them"),
        (just(pbc="yes"), "pbc: got 'yes', expected True, False"),
        (just(pbc=(2, 0, 0)), r"pbc: got \(2, 0, 0\), expected True, False"),
        (just(solver="local"), "solver: got 'local', expected 'fragment' or 'global'"),
        (just(tier="sparse"), "tier: got .*sparse"),
        (just(tolerance=0.0), "tolerance: got 0.0 eV/A, expected a number above 0"),
        (just(tolerance=np.nan), "tolerance: got nan"),
        (just(tolerance="tight"), "tolerance: got 'tight' eV/A"),
        (just(warm_start=3), "warm_start: got int, expected a WarmStart or None"),
        (just(bond_hardness=0.0), "bond_hardness: got 0 eV/e"),
        (just(total_charge=0.5), "total_charge: got 0.5 e, expected the .* or charge_weights"),
        (just(total_charge=np.nan), "total_charge: got nan"),
        (just(charge_weights=np.ones(11)), "charge_weights: got weights, expected none without"),
        (just(total_charge=0.5, charge_weights=np.zeros(11)), "charge_weights: got 0 to 0"),
        (just(total_charge=0.5, charge_weights=-np.ones(11)), "charge_weights: got -1 to -1"),
        (just(fixed_potential=4.0), r"fixed_potential: got float, expected a pair"),
        (just(fixed_potential=([], 4.0)), "fixed_potential: got no atoms"),
        (just(fixed_potential=(None, 4.0)), "fixed_potential atoms: got None, expected an array"),
        (just(fixed_potential=([11], 4.0)), "fixed_potential atoms: got atoms 11 to 11"),
        (just(fixed_potential=([0], np.nan)), "fixed_potential: got nan"),
        (just(fixed_potential=([0], 4.0), total_charge=0.0), "expected only one of them"),
    ],
)  # fmt: skip
def test_errors(open_case: Case, change: Callable[[Case], dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_case.solve(**change(open_case))
    assert "\n" not in str(caught.value)


def test_coincident_atoms(case: Case) -> None:
    positions = case.positions.copy()
    positions[7] = positions[2] + np.array(case.pbc) @ case.cell
    with pytest.raises(InputError, match=r"^positions: atoms 2 and 7 .*expected distinct places"):
        case.solve(positions=positions)


def test_flat_cell(build_case: Callable[[str], Case]) -> None:
    case = build_case("slab")
    cell = case.cell.copy()
    cell[1] = 2.0 * cell[0]
    with pytest.raises(InputError, match=r"^cell: .*linearly independent"):
        case.solve(cell=cell)


def test_charged_bulk_cell_only_on_request(build_case: Callable[[str], Case]) -> None:
    case = build_case("bulk")
    source = case.source_charge + 0.1
    with pytest.raises(InputError, match=r"^source_charge: got a net charge of 1.1 e in a bulk"):
        case.solve(source_charge=source)
    assert case.solve(source_charge=source, charged=True).total_charge == pytest.approx(1.1)


def test_fixed_potential_of_a_bulk_cell_only_on_request(build_case: Callable[[str], Case]) -> None:
    case, fixed = build_case("bulk"), FixedPotential([0], 1.0)
    with pytest.raises(InputError, match=r"^fixed_potential: got one in a bulk cell"):
        case.solve(fixed_potential=fixed)
    assert case.solve(fixed_potential=fixed, charged=True).capacitance > 0.0


@pytest.mark.parametrize("tier", ["dense", "ewald"])
def test_no_stable_charge_at_a_fixed_potential(
    tier: str, build_case: Callable[[str], Case]
) -> None:
    """A charged slab without its counter charge runs away."""
    fixed = FixedPotential([0], 1.0)
    with pytest.raises((InputError, AccuracyError), match=r"positive|\(a slab needs"):
        build_case("slab").solve(fixed_potential=fixed, tier=tier)


def test_counter_plane_of_anything_but_a_slab(build_case: Callable[[str], Case]) -> None:
    for boundary in ("open", "bulk"):
        with pytest.raises(InputError, match=r"^counter_plane: .* expected a slab"):
            build_case(boundary).solve(counter_plane=[0.0, 0.0, 8.0])


def test_no_convergence(open_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from voltase.aseplugin.models.charge_equilibration import conjugate_gradient

    monkeypatch.setattr(conjugate_gradient, "MOST_ITERATIONS", 2)
    with pytest.raises(AccuracyError, match=r"^charges: got an error of up to .* after 2"):
        open_case.solve(tier="ewald")


def test_a_system_without_solution(open_case: Case) -> None:
    with pytest.raises(AccuracyError, match=r"^charges: got .*, expected less than 10000 e"):
        open_case.solve(electronegativity=1e8 * open_case.electronegativity)


def test_warm_start_of_another_structure(open_case: Case) -> None:
    memory = WarmStart()
    memory.push(np.zeros(3), np.zeros(3))
    with pytest.raises(InputError, match=r"^warm_start: got solutions of 3 atoms, expected 11"):
        open_case.solve(tier="ewald", warm_start=memory)


def test_bond_order_needs_a_range() -> None:
    with pytest.raises(InputError, match=r"^onset, cutoff: got 3.0 and 2.0 A"):
        bond_order(torch.ones(1), torch.ones(1), 3.0, 2.0)


def test_single_precision_in_and_out(case: Case) -> None:
    """Inside it is double precision: only the input is rounded."""
    arguments = {
        name: value.float() if torch.is_tensor(value) and value.is_floating_point() else value
        for name, value in case.tensors().items()
    }
    found = solve_fqeq(**arguments, charged=True)
    assert found.charges.dtype == torch.float32
    np.testing.assert_allclose(found.charges.numpy(), case.solve().charges, atol=1e-5)
