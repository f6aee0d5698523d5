"""Forces, stress, conjugate variable and capacitance are derivatives of the energy."""

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms

from voltase.aseplugin.calculators.pemace import PEMACE
from voltase.aseplugin.testing import pt111_water

STEP = 1e-4
Structure = Callable[[], Atoms]


def set_electrode(calculator: PEMACE, value: float) -> None:
    name = "excess_electrons" if calculator.canonical else "absolute_potential"
    setattr(calculator, name, value)


def electrode(calculator: PEMACE) -> float:
    if calculator.canonical:
        return calculator.excess_electrons
    return calculator.absolute_potential


def result(calculator: PEMACE, atoms: Atoms, name: str = "energy") -> float:
    return float(calculator.get_property(name, atoms))


def central_difference(function: Callable[[float], float], step: float = STEP) -> float:
    """First derivative at zero, of fourth order in the step."""
    near, far = (function(k * step) - function(-k * step) for k in (1, 2))
    return (8 * near - far) / (12 * step)


def check_forces(calculator: PEMACE, atoms: Atoms, directions: int = 3) -> None:
    forces = calculator.get_property("forces", atoms)
    assert np.abs(forces).max() > 0.01
    rng = np.random.default_rng(7)
    for _ in range(directions):
        direction = rng.normal(size=forces.shape)
        direction /= np.linalg.norm(direction)

        def moved(step: float, direction: np.ndarray = direction) -> float:
            copy = atoms.copy()
            copy.positions += step * direction
            return result(calculator, copy)

        expected = -np.vdot(forces, direction)
        assert central_difference(moved) == pytest.approx(expected, abs=1e-7, rel=1e-7)


def check_stress(calculator: PEMACE, atoms: Atoms, directions: int = 3) -> None:
    xx, yy, zz, yz, xz, xy = calculator.get_property("stress", atoms)
    stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    rng = np.random.default_rng(8)
    for _ in range(directions):
        strain = rng.normal(size=(3, 3))
        strain = 0.05 * (strain + strain.T)

        def strained(step: float, strain: np.ndarray = strain) -> float:
            copy = atoms.copy()
            copy.set_cell(atoms.cell.array @ (np.eye(3) + step * strain), scale_atoms=True)
            return result(calculator, copy)

        expected = atoms.get_volume() * np.vdot(stress, strain)
        assert central_difference(strained) == pytest.approx(expected, abs=1e-6, rel=1e-6)


def check_electrode(calculator: PEMACE, atoms: Atoms) -> None:
    value = electrode(calculator)

    def at(name: str) -> Callable[[float], float]:
        def shifted(step: float) -> float:
            set_electrode(calculator, value + step)
            return result(calculator, atoms, name)

        return shifted

    slope = central_difference(at("energy"))
    name = "electrode_potential" if calculator.canonical else "excess_electrons"
    response = central_difference(at(name))
    set_electrode(calculator, value)
    sign = -1.0 if calculator.canonical else 1.0
    assert result(calculator, atoms, name) == pytest.approx(sign * slope, abs=1e-7, rel=1e-7)
    capacitance = -1.0 / response if calculator.canonical else -response
    assert result(calculator, atoms, "capacitance") == pytest.approx(capacitance, rel=1e-6)


STRUCTURES = {
    "one face": pt111_water,
    "two faces": lambda: pt111_water(waters=3, below=1, seed=2),
    "dry": lambda: pt111_water(waters=0, displacement=0.15),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_forces(calculator: PEMACE, name: str) -> None:
    check_forces(calculator, STRUCTURES[name]())


@pytest.mark.parametrize("name", STRUCTURES)
def test_stress(calculator: PEMACE, name: str) -> None:
    check_stress(calculator, STRUCTURES[name]())


@pytest.mark.parametrize("name", STRUCTURES)
def test_conjugate_and_capacitance(calculator: PEMACE, name: str) -> None:
    check_electrode(calculator, STRUCTURES[name]())


@pytest.mark.parametrize("coupling", ["dipole", "scalar"])
def test_gradients_without_charge(pemace: Callable[..., PEMACE], coupling: str) -> None:
    calculator = pemace("electrons", coupling)
    calculator.excess_electrons = 0.0
    check_forces(calculator, pt111_water())
    check_stress(calculator, pt111_water())
    check_electrode(calculator, pt111_water())


@pytest.mark.parametrize("coupling", ["dipole", "scalar"])
def test_gradients_in_a_filled_cell(pemace: Callable[..., PEMACE], coupling: str) -> None:
    calculator = pemace("electrons", coupling)
    calculator.excess_electrons = 0.0
    filled = pt111_water(vacuum=2.5)
    check_forces(calculator, filled)
    check_stress(calculator, filled)


def test_the_potential_changes_the_forces(calculator: PEMACE, interface: Atoms) -> None:
    before = calculator.get_property("forces", interface)
    set_electrode(calculator, electrode(calculator) - 0.3)
    assert np.abs(calculator.get_property("forces", interface) - before).max() > 1e-3


def test_the_two_energies(calculator: PEMACE, interface: Atoms) -> None:
    other = "grand_energy" if calculator.canonical else "canonical_energy"
    energies = result(calculator, interface), result(calculator, interface, other)
    omega, canonical = reversed(energies) if calculator.canonical else energies
    if calculator.canonical:
        n, phi = electrode(calculator), result(calculator, interface, "electrode_potential")
    else:
        n, phi = result(calculator, interface, "excess_electrons"), electrode(calculator)
    assert omega == pytest.approx(canonical + n * phi, abs=1e-12)
