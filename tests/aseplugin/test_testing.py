"""The analytic models are what they say: gradients, Legendre transform, concavity."""

import numpy as np
import pytest
from ase import Atoms

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.testing import (
    CapacitorOscillators,
    GrandCanonicalCapacitorOscillators,
    oscillator_atoms,
)

STEP = 1e-4


@pytest.fixture
def atoms() -> Atoms:
    """Displaced oscillators, with all parameters different from zero."""
    atoms = oscillator_atoms(4)
    atoms.calc = CapacitorOscillators(atoms.positions, excess_electrons=0.3)
    atoms.positions += np.random.default_rng(1).normal(scale=0.2, size=(4, 3))
    return atoms


def energy_at(atoms: Atoms, atom: int, axis: int, shift: float) -> float:
    moved = atoms.copy()
    moved.calc = atoms.calc
    moved.positions[atom, axis] += shift
    return moved.get_potential_energy()


def numerical_forces(atoms: Atoms) -> np.ndarray:
    forces = np.zeros((len(atoms), 3))
    for atom, axis in np.ndindex(forces.shape):
        ends = [energy_at(atoms, atom, axis, sign * STEP) for sign in (1, -1)]
        forces[atom, axis] = -(ends[0] - ends[1]) / (2 * STEP)
    return forces


def test_canonical_gradients(atoms: Atoms) -> None:
    forces = atoms.get_forces()
    np.testing.assert_allclose(forces, numerical_forces(atoms), rtol=0, atol=1e-7)
    calculator = atoms.calc
    potential = calculator.get_property("electrode_potential", atoms)
    energies = []
    for sign in (1, -1):
        calculator.excess_electrons = 0.3 + sign * STEP
        energies.append(atoms.get_potential_energy())
    assert potential == pytest.approx(-(energies[0] - energies[1]) / (2 * STEP), abs=1e-8)


def test_grand_canonical_gradients(atoms: Atoms) -> None:
    atoms.calc = calculator = GrandCanonicalCapacitorOscillators(atoms.calc.anchors, potential=4.1)
    forces = atoms.get_forces()
    np.testing.assert_allclose(forces, numerical_forces(atoms), rtol=0, atol=1e-7)
    n = calculator.get_property("excess_electrons", atoms)
    omegas = []
    for sign in (1, -1):
        calculator.potential = 4.1 + sign * STEP
        omegas.append(atoms.get_potential_energy())
    assert n == pytest.approx((omegas[0] - omegas[1]) / (2 * STEP), abs=1e-8)


def test_legendre_round_trip(atoms: Atoms) -> None:
    canonical = atoms.calc
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    phi = canonical.get_property("electrode_potential", atoms)
    atoms.calc = grand = GrandCanonicalCapacitorOscillators(canonical.anchors, potential=phi)
    assert atoms.get_potential_energy() == pytest.approx(energy + phi * 0.3, abs=1e-12)
    assert grand.get_property("excess_electrons", atoms) == pytest.approx(0.3, abs=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), forces, rtol=0, atol=1e-12)


def test_identity_follows_the_parameters(atoms: Atoms) -> None:
    same = CapacitorOscillators(atoms.calc.anchors)
    other = CapacitorOscillators(atoms.calc.anchors, coupling=0.41)
    assert same.identity == atoms.calc.identity != other.identity


@pytest.mark.parametrize(
    ("argument", "parameters"),
    [("anchors", {"anchors": [1.0, 2.0, 3.0]}), ("capacitance", {"capacitance": 0.0})],
)
def test_unusable_parameters(argument: str, parameters: dict[str, object]) -> None:
    with pytest.raises(InputError, match=rf"^{argument}: got "):
        CapacitorOscillators(**({"anchors": np.zeros((1, 3))} | parameters))
    with pytest.raises(InputError, match=r"^count: got 0"):
        oscillator_atoms(0)
