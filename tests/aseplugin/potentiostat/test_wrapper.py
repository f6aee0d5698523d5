"""A canonical calculator at constant potential against the exact grand-canonical one."""

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from ase.vibrations import Vibrations

from voltase.aseplugin.errors import ExtrapolationError, InputError, PotentialError
from voltase.aseplugin.potentiostat.solver import ConvergenceError
from voltase.aseplugin.potentiostat.wrapper import ConstantPotential
from voltase.aseplugin.testing import CapacitorOscillators, GrandCanonicalCapacitorOscillators

SHE = 4.44


@pytest.fixture
def atoms(make_atoms: Callable[..., Atoms]) -> Atoms:
    """Displaced oscillators under ConstantPotential at -0.5 V vs SHE."""
    atoms = make_atoms()
    atoms.calc = ConstantPotential(atoms.calc, -0.5, tolerance=1e-10)
    atoms.positions += np.random.default_rng(2).normal(scale=0.1, size=(5, 3))
    return atoms


def exact(atoms: Atoms, phi: float) -> Atoms:
    """The same atoms with the exact Legendre transform."""
    twin = atoms.copy()
    anchors = atoms.calc.calculator.anchors
    twin.calc = GrandCanonicalCapacitorOscillators(anchors, potential=phi)
    return twin


@pytest.mark.parametrize("potential", [-1.2, -0.5, 0.0, 0.16, 0.9])
def test_matches_the_legendre_transform(atoms: Atoms, potential: float) -> None:
    atoms.calc.potential = potential
    twin = exact(atoms, potential + SHE)
    assert atoms.get_potential_energy() == pytest.approx(twin.get_potential_energy(), abs=1e-10)
    np.testing.assert_allclose(atoms.get_forces(), twin.get_forces(), rtol=0, atol=1e-10)
    results = atoms.calc.results
    n = twin.calc.results["excess_electrons"]
    assert results["excess_electrons"] == pytest.approx(n, abs=1e-10)
    assert results["electrode_potential"] == pytest.approx(potential + SHE, abs=1e-10)
    omega = results["canonical_energy"] + (potential + SHE) * results["excess_electrons"]
    assert omega == pytest.approx(results["energy"], abs=1e-12)
    assert atoms.get_potential_energy(force_consistent=True) == results["energy"]


def test_potential_derivative_is_the_electron_number(atoms: Atoms) -> None:
    step = 1e-3
    n = atoms.calc.get_property("excess_electrons", atoms)
    omegas = []
    for sign in (1, -1):
        atoms.calc.potential = -0.5 + sign * step
        omegas.append(atoms.get_potential_energy())
    assert (omegas[0] - omegas[1]) / (2 * step) == pytest.approx(n, abs=1e-8)


def test_grand_energy_is_concave(atoms: Atoms) -> None:
    grid = np.linspace(-1.5, 1.5, 13)
    omegas = []
    for potential in grid:
        atoms.calc.potential = potential
        omegas.append(atoms.get_potential_energy())
    second = np.diff(omegas, 2) / (grid[1] - grid[0]) ** 2
    np.testing.assert_allclose(second, -atoms.calc.calculator.capacitance, rtol=1e-6)


def test_setting_the_potential_invalidates(atoms: Atoms) -> None:
    before = atoms.get_potential_energy()
    atoms.calc.potential = "250 mV"
    assert atoms.calc.results == {}
    assert atoms.calc.absolute_potential == pytest.approx(0.25 + SHE)
    assert atoms.get_potential_energy() != before
    atoms.calc.absolute_potential = -0.5 + SHE
    assert atoms.calc.potential == pytest.approx(-0.5)
    assert atoms.get_potential_energy() == pytest.approx(before, abs=1e-10)


def test_moving_the_atoms_invalidates(atoms: Atoms) -> None:
    atoms.get_forces()
    evaluations = atoms.calc.calculator.evaluations
    atoms.get_forces()
    assert atoms.calc.calculator.evaluations == evaluations
    atoms.positions[0, 2] += 0.1
    twin = exact(atoms, -0.5 + SHE)
    np.testing.assert_allclose(atoms.get_forces(), twin.get_forces(), rtol=0, atol=1e-10)


def test_warm_start_saves_evaluations(atoms: Atoms) -> None:
    inner = atoms.calc.calculator
    atoms.get_forces()
    atoms.positions[0, 2] += 0.01
    before = inner.evaluations
    atoms.get_forces()
    assert inner.evaluations - before <= 2


def test_capacitance_of_the_calculator_is_used(make_atoms: Callable[..., Atoms]) -> None:
    atoms = make_atoms(report_capacitance=True)
    atoms.calc = ConstantPotential(atoms.calc, -0.5, capacitance=1.0)
    atoms.get_forces()
    # Newton on a parabola: one step with the true slope.
    assert atoms.calc.calculator.evaluations == 2
    assert atoms.calc.results["capacitance"] == 0.2


def test_references(make_atoms: Callable[..., Atoms]) -> None:
    energies = []
    for potential, reference in ((-0.5, "SHE"), (3.94, "absolute")):
        atoms = make_atoms()
        atoms.calc = ConstantPotential(atoms.calc, potential, reference)
        energies.append(atoms.get_potential_energy())
        assert atoms.calc.todict()["potential"] == potential
    assert energies[0] == pytest.approx(energies[1], abs=1e-10)


@pytest.mark.parametrize("optimizer", [BFGS, FIRE])
def test_relaxation(atoms: Atoms, optimizer: type) -> None:
    atoms.set_constraint(FixAtoms(indices=[0]))
    optimizer(atoms, logfile=None).run(fmax=1e-4, steps=300)
    twin = exact(atoms, -0.5 + SHE)
    twin.set_constraint(FixAtoms(indices=[0]))
    assert np.abs(twin.get_forces()).max() < 2e-4


def test_nudged_elastic_band(make_atoms: Callable[..., Atoms]) -> None:
    images = []
    for shift in np.linspace(-0.2, 0.2, 5):
        image = make_atoms()
        image.positions[1, 2] += shift
        image.calc = ConstantPotential(image.calc, -0.5, tolerance=1e-9)
        images.append(image)
    band = NEB(images, k=1.0, method="improvedtangent")
    FIRE(band, logfile=None).run(fmax=1e-3, steps=400)
    assert np.abs(band.get_forces()).max() < 1e-3
    for image in images:
        twin = exact(image, -0.5 + SHE)
        assert image.get_potential_energy() == pytest.approx(twin.get_potential_energy(), abs=1e-8)


def test_vibrations(make_atoms: Callable[..., Atoms], tmp_path: object) -> None:
    frequencies = []
    for grand in (False, True):
        atoms = make_atoms(grand=grand, anharmonicity=0.0)
        if grand:
            atoms.calc.potential = -0.5 + SHE
        else:
            atoms.calc = ConstantPotential(atoms.calc, -0.5, tolerance=1e-9)
        vibrations = Vibrations(atoms, indices=[0, 1], name=f"{tmp_path}/vib{grand}")
        vibrations.run()
        frequencies.append(np.sort(vibrations.get_frequencies().real))
    np.testing.assert_allclose(frequencies[0], frequencies[1], rtol=1e-4)


class Strained(CapacitorOscillators):
    """With a stress, which does not depend on n here."""

    implemented_properties = [*CapacitorOscillators.implemented_properties, "stress"]

    def calculate(self, *args: object, **kwargs: object) -> None:
        super().calculate(*args, **kwargs)
        self.results["stress"] = np.arange(6.0) * self.excess_electrons


def test_stress_is_that_of_the_solution(make_atoms: Callable[..., Atoms]) -> None:
    atoms = make_atoms()
    atoms.calc = ConstantPotential(Strained(atoms.positions), -0.5)
    forces = atoms.get_forces()
    evaluations = atoms.calc.calculator.evaluations
    np.testing.assert_allclose(atoms.get_stress(), np.arange(6.0) * atoms.calc.excess_electrons)
    assert atoms.calc.calculator.evaluations == evaluations
    np.testing.assert_array_equal(atoms.get_forces(), forces)


def test_state_round_trip(atoms: Atoms) -> None:
    atoms.get_forces()
    state = atoms.calc.checkpoint_state()
    twin = ConstantPotential(CapacitorOscillators(atoms.calc.calculator.anchors), -0.5)
    twin.restore_state(state)
    assert twin.excess_electrons == atoms.calc.excess_electrons
    assert twin.identity == atoms.calc.identity == atoms.calc.calculator.identity


class Flat(Calculator):
    """A calculator whose potential does not answer to n."""

    implemented_properties = ["energy", "forces", "electrode_potential"]
    excess_electrons = 0.0

    def calculate(self, atoms: Atoms, *args: object) -> None:
        super().calculate(atoms, *args)
        forces = np.zeros((len(atoms), 3))
        self.results = {"energy": 0.0, "forces": forces, "electrode_potential": 4.6}


def test_no_convergence_raises(make_atoms: Callable[..., Atoms]) -> None:
    atoms = make_atoms()
    atoms.calc = ConstantPotential(Flat(), -0.5, max_iterations=5)
    with pytest.raises(ConvergenceError, match="after 5 evaluations"):
        atoms.get_potential_energy()
    assert atoms.calc.results == {}


def test_training_range(make_atoms: Callable[..., Atoms], caplog: pytest.LogCaptureFixture) -> None:
    atoms = make_atoms()
    area = 45.0
    atoms.calc.excess_electrons_per_area_range = (-0.05 / area, 0.05 / area)
    inner = atoms.calc
    atoms.calc = ConstantPotential(inner, -0.5)
    with pytest.raises(ExtrapolationError, match=r"beyond 0\.05 e"):
        atoms.get_potential_energy()
    atoms.calc = ConstantPotential(inner, -0.5, allow_extrapolation=True)
    assert atoms.calc.get_property("excess_electrons", atoms) > 0.05
    atoms.positions[0, 2] += 0.01
    atoms.get_forces()
    # Once, not at every geometry.
    assert caplog.text.count("training range -0.05 to 0.05 e") == 1
    inner.potential_range = (4.0, 5.0)
    atoms.calc = ConstantPotential(inner, -0.5)
    with pytest.raises(ExtrapolationError, match=r"potential: got 3\.94 V"):
        atoms.get_potential_energy()


def test_unusable_arguments(make_atoms: Callable[..., Atoms]) -> None:
    canonical, grand = make_atoms().calc, make_atoms(grand=True).calc
    with pytest.raises(PotentialError, match="did you mean reference='absolute'"):
        ConstantPotential(canonical, 4.0)
    with pytest.raises(InputError, match="at constant potential already"):
        ConstantPotential(grand, 0.0)
    with pytest.raises(InputError, match="at constant potential already"):
        ConstantPotential(ConstantPotential(canonical, 0.0), 0.0)
    with pytest.raises(InputError, match=r"^tolerance: got 0"):
        ConstantPotential(canonical, 0.0, tolerance=0.0)
    with pytest.raises(InputError, match="expected one with a settable excess_electrons"):
        ConstantPotential(Calculator(), 0.0)
