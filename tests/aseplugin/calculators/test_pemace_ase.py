"""The calculator at work: caching, optimiser, dynamics, constant potential, committee."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE

from voltase.aseplugin import ConstantPotential
from voltase.aseplugin.calculators.pemace import PEMACE
from voltase.aseplugin.models.inference import Evaluator
from voltase.aseplugin.models.pemace import PEMACEModel
from voltase.aseplugin.structures import build_graph
from voltase.aseplugin.testing import pt111_water

ELECTRODE = {True: "excess_electrons", False: "absolute_potential"}


def count_evaluations(calculator: PEMACE, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A list that grows by the electrode's state in every evaluation of the network."""
    calls: list[float] = []
    evaluator = calculator.evaluator

    class Counting(Evaluator):
        def __init__(self) -> None:
            self.__dict__.update(evaluator.__dict__)

        def __call__(self, graph, electrode, *args, **kwargs):  # type: ignore[no-untyped-def]
            calls.append(electrode)
            return evaluator(graph, electrode, *args, **kwargs)

    monkeypatch.setattr(calculator, "evaluator", Counting())
    return calls


def test_results_are_kept_until_something_changes(
    calculator: PEMACE, interface: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_evaluations(calculator, monkeypatch)
    interface.calc = calculator
    first = interface.get_potential_energy()
    interface.get_forces()
    interface.get_potential_energy()
    assert len(calls) == 1
    name = ELECTRODE[calculator.canonical]
    value = getattr(calculator, name)
    setattr(calculator, name, value)
    assert interface.get_potential_energy() == first
    assert len(calls) == 1
    setattr(calculator, name, value + 0.05)
    assert calculator.results == {}
    assert interface.get_potential_energy() != first
    assert calls == [value, value + 0.05]
    setattr(calculator, name, value)
    assert interface.get_potential_energy() == first
    interface.positions[0, 0] += 1e-6
    assert interface.get_potential_energy() != first
    assert len(calls) == 4


def test_stress_on_demand(
    calculator: PEMACE, interface: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_evaluations(calculator, monkeypatch)
    interface.calc = calculator
    energy = interface.get_potential_energy()
    assert "stress" not in calculator.results
    assert np.abs(interface.get_stress()).max() > 1e-5
    assert interface.get_potential_energy() == energy
    assert len(calls) == 2
    interface.positions[0, 0] += 0.01
    interface.get_potential_energy()
    assert "stress" not in calculator.results


def test_direct_calculation_forgets_the_last_structure(
    pemace: Callable[..., PEMACE], interface: Atoms
) -> None:
    calculator = pemace()
    calculator.calculate(interface, ["energy", "stress"])
    other = pt111_water(seed=9)
    calculator.calculate(other)
    assert "stress" not in calculator.results
    calculator.calculate(other, None)
    assert calculator.results["energy"] == calculator.get_potential_energy(other)


def test_optimiser(calculator: PEMACE, interface: Atoms) -> None:
    interface.calc = calculator
    before = interface.get_potential_energy()
    with FIRE(interface, logfile=None, maxstep=0.02) as optimiser:
        optimiser.run(fmax=0.01, steps=5)
    assert interface.get_potential_energy() < before - 0.1


@pytest.mark.parametrize("below", [0, 2])
def test_dynamics_conserves_energy_and_keeps_its_list(
    pemace: Callable[..., PEMACE], below: int
) -> None:
    # With two faces the middle layer vibrates through the middle.
    atoms = pt111_water(waters=3, below=below, seed=3)
    atoms.calc = pemace(dtype="float32", skin=0.5)
    with FIRE(atoms, logfile=None, maxstep=0.02) as optimiser:
        optimiser.run(fmax=0.5, steps=200)
    noise = np.random.default_rng(0).standard_normal((len(atoms), 3))
    atoms.set_momenta(noise * np.sqrt(atoms.get_masses() * units.kB * 100.0)[:, None])
    started, builds = atoms.copy(), atoms.calc.neighbours.builds
    errors = []
    for step in (0.1, 0.05):  # fs
        run = started.copy()
        run.calc = atoms.calc
        before = run.get_total_energy()
        VelocityVerlet(run, timestep=step * units.fs).run(round(6.0 / step))
        errors.append(abs(run.get_total_energy() - before))
    kinetic = started.get_kinetic_energy()
    assert errors[0] < 0.3 * kinetic
    # The error of the integrator, which falls as the square of the time step.
    assert errors[1] < 0.35 * errors[0] + 1e-3 * kinetic
    assert atoms.calc.neighbours.builds <= builds + 2


def test_single_precision(calculator: PEMACE, pemace: Callable[..., PEMACE]) -> None:
    atoms = pt111_water(waters=3, below=1)
    config = calculator.evaluator.model.config
    single = pemace(config.embedding, config.coupling, "float32")
    exact = calculator.get_property("forces", atoms)
    np.testing.assert_allclose(single.get_property("forces", atoms), exact, rtol=1e-5, atol=2e-4)
    for name in calculator.results.keys() - {"forces"}:
        assert single.results[name] == pytest.approx(
            calculator.results[name], rel=2e-5, abs=1e-6
        ), name


def test_single_precision_far_from_the_origin(
    pemace: Callable[..., PEMACE], interface: Atoms
) -> None:
    calculator = pemace(dtype="float32")
    before = calculator.get_property("forces", interface)
    interface.positions += 2.0**17
    np.testing.assert_allclose(calculator.get_property("forces", interface), before, atol=1e-4)


def test_single_precision_of_a_large_cell(pemace: Callable[..., PEMACE], interface: Atoms) -> None:
    calculator = pemace(dtype="float32")
    energy = calculator.get_potential_energy(interface)
    potential = calculator.results["electrode_potential"]
    calculator.excess_electrons *= 100
    assert calculator.get_potential_energy(interface.repeat((10, 10, 1))) == pytest.approx(
        100 * energy, rel=5e-7
    )
    assert calculator.results["electrode_potential"] == pytest.approx(potential, abs=1e-5)


def test_constant_potential_and_back(pemace: Callable[..., PEMACE], interface: Atoms) -> None:
    inner = pemace()
    n = inner.excess_electrons
    energy = inner.get_potential_energy(interface)
    forces, phi = inner.results["forces"], inner.results["electrode_potential"]
    outer = ConstantPotential(inner, phi, "absolute", excess_electrons=0.0, tolerance=1e-10)
    omega = outer.get_potential_energy(interface)
    assert outer.results["excess_electrons"] == pytest.approx(n, abs=1e-9)
    assert outer.results["canonical_energy"] == pytest.approx(energy, abs=1e-9)
    assert omega == pytest.approx(energy + n * phi, abs=1e-9)
    np.testing.assert_allclose(outer.results["forces"], forces, atol=1e-8)
    energies = []
    for step in (1e-3, -1e-3):
        outer.potential = phi + step
        energies.append(outer.get_potential_energy(interface))
    assert (energies[0] - energies[1]) / 2e-3 == pytest.approx(n, abs=1e-6)


def member_forces(model: PEMACEModel, atoms: Atoms, state: float) -> np.ndarray:
    graph = build_graph(atoms, model.config)
    graph.positions.requires_grad_(True)
    electrode = torch.tensor([state], dtype=torch.float64)
    energies = model.evaluate(graph, model.describe(graph, electrode), electrode)[0]
    gradients = [torch.autograd.grad(e, graph.positions, retain_graph=True)[0] for e in energies]
    return -torch.stack(gradients).numpy()


def test_committee(
    calculator: PEMACE, pemace_model: Callable[..., PEMACEModel], interface: Atoms
) -> None:
    state = getattr(calculator, ELECTRODE[calculator.canonical])
    config = calculator.evaluator.model.config
    members = member_forces(pemace_model(config.embedding, config.coupling), interface, state)
    spread = calculator.get_property("atomic_forces_spread", interface)
    np.testing.assert_allclose(calculator.results["forces"], members.mean(0), atol=1e-9)
    np.testing.assert_allclose(spread, np.linalg.norm(members.std(0), axis=1), atol=1e-9)
    assert spread.min() > 1e-4
    assert calculator.results["forces_spread"] == spread.max()


def test_spread_of_the_potential(pemace: Callable[..., PEMACE], interface: Atoms) -> None:
    calculator = pemace()
    calculator.get_potential_energy(interface)
    assert calculator.results["electrode_potential_spread"] > 1e-3
    head = calculator.evaluator.model.electrode
    kept = {name: value.clone() for name, value in head.state_dict().items()}
    with torch.no_grad():
        head.vector_mix[1] = head.vector_mix[0]
        for layer, copies in ((head.gate[2], 2), (head.scalar[2], 4)):
            for parameter in (layer.weight, layer.bias):
                parts = parameter.view(copies, -1)
                parts[1] = parts[0]
                parts[-1] = parts[-2]
    calculator.reset()
    calculator.get_potential_energy(interface)
    head.load_state_dict(kept)
    assert calculator.results["electrode_potential_spread"] == pytest.approx(0.0, abs=1e-9)


def test_committee_every_few_calculations(pemace: Callable[..., PEMACE], interface: Atoms) -> None:
    calculator = pemace()
    calculator.committee_every = 3
    calculator.restore_state({"calls": np.array(0)})
    found, states = [], []
    for _ in range(7):
        states.append(calculator.checkpoint_state())
        interface.positions[0, 0] += 0.01
        calculator.get_potential_energy(interface)
        found.append("forces_spread" in calculator.results)
    assert found == [True, False, False, True, False, False, True]
    calculator.restore_state(states[3])
    calculator.get_potential_energy(interface)
    assert "forces_spread" in calculator.results


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gpu_equals_cpu(
    pemace_checkpoint: Callable[..., Path], pemace: Callable[..., PEMACE], dtype: str
) -> None:
    atoms = pt111_water(waters=3, below=1)
    expected = pemace(dtype=dtype)
    calculator = PEMACE(pemace_checkpoint("electrons", "dipole"), dtype=dtype, device="cuda",
                        excess_electrons=expected.excess_electrons)  # fmt: skip
    tolerance = 1e-9 if dtype == "float64" else 1e-3
    forces = calculator.get_property("forces", atoms)
    np.testing.assert_allclose(forces, expected.get_property("forces", atoms), atol=tolerance)
    for name in ("energy", "electrode_potential", "capacitance"):
        assert calculator.results[name] == pytest.approx(expected.results[name], rel=1e-5)
