"""Averages and fluctuations against the exact grand-canonical ensemble.

At fixed positions a capacitor has var(n) = kT C. Coupled to harmonic oscillators,
var(n) = kT C + C^2 var(Phi_0) = kT/(1/C - sum g^2/k), and d<n>/dPhi = -var(n)/kT.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.units import fs, kB

from voltase.aseplugin.electrochemistry import thermal_energy
from voltase.aseplugin.potentiostat.contract import CANONICAL, ChargedModel, SinglePoint
from voltase.aseplugin.potentiostat.dynamics import ConstantPotentialMD
from voltase.aseplugin.potentiostat.limits import Limits
from voltase.aseplugin.potentiostat.methods import RunContext, make_potentiostat
from voltase.aseplugin.statistics import block_average

Factory = Callable[..., ConstantPotentialMD]

TEMPERATURE = 300.0
KT = thermal_energy(TEMPERATURE)
CAPACITANCE = 0.2
TARGET = 4.44


class Capacitor(ChargedModel):
    """Phi = 4.6 - n/C and no ions, evaluated in a microsecond."""

    ensemble = CANONICAL

    def __init__(self) -> None:
        super().__init__(self)
        self.excess_electrons = 0.0

    def evaluate(self, atoms: Atoms, value: float) -> SinglePoint:
        energy = 0.5 * value * value / CAPACITANCE - 4.6 * value
        phi = 4.6 - value / CAPACITANCE
        return SinglePoint(energy, energy + phi * value, np.zeros((0, 3)), value, phi)


@dataclass
class FixedPositions:
    """A potentiostat on a bare capacitor; the calls are those of one step of the dynamics."""

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    capacitance: float = CAPACITANCE
    seed: int = 0
    timestep: float = fs

    def __post_init__(self) -> None:
        context = RunContext(
            atoms=Atoms(),
            model=Capacitor(),
            limits=Limits(),
            temperature_K=TEMPERATURE,
            timestep=self.timestep,
            rng=np.random.default_rng(self.seed),
            constant_energy=False,
            capacitance=self.capacitance,
        )
        self.electrode = make_potentiostat(self.method, context, self.options)
        # Given, so that the guess of the capacitance is not replaced by a measurement.
        self.electrode.start(TARGET, 0.032)

    def sample(self, steps: int, observe: Callable[[Any], complex]) -> np.ndarray:
        electrode, half = self.electrode, 0.5 * self.timestep
        values = np.empty(steps, dtype=complex)
        for i in range(steps):
            electrode.kick(half)
            electrode.drift(half)
            electrode.midpoint(TARGET)
            electrode.drift(half)
            electrode.evaluate()
            electrode.kick(half)
            values[i] = observe(electrode)
        return values


@pytest.mark.parametrize("thermostat", ["langevin", "svr"])
def test_variance_of_bonnet_otani_at_fixed_positions(thermostat: str) -> None:
    options = {"period": 20 * fs, "tau": 6 * fs, "thermostat": thermostat}
    run = FixedPositions("bonnet-otani", options)
    pairs = run.sample(120_000, lambda e: complex(e.n, e.kinetic_energy))
    n, kinetic = pairs.real, pairs.imag
    variance = block_average((n - 0.032) ** 2 / (KT * CAPACITANCE))
    assert variance.error < 0.02
    assert variance.mean == pytest.approx(1.0, abs=min(4 * variance.error, 0.05))
    assert n.mean() == pytest.approx(0.032, abs=4 * block_average(n).error)
    # At the ends of a step B A O A B has (omega dt)^2/4 = 2.5 % too little of it.
    half = block_average(2 * kinetic / KT)
    bias = (math.pi / 20) ** 2
    assert half.mean == pytest.approx(1.0 - bias, abs=4 * half.error)


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.3])
@pytest.mark.parametrize("relaxation", [2.0, 5.0])
def test_variance_of_thermopotentiostat_at_fixed_positions(ratio: float, relaxation: float) -> None:
    x = 1 / relaxation
    gain = ratio * (1 - math.exp(-x))
    exact = ratio * (1 - math.exp(-2 * x)) / (1 - (1 - gain) ** 2)
    assert (exact == pytest.approx(1.0)) == (ratio == 1.0)
    run = FixedPositions(
        "thermopotentiostat", {"tau": relaxation * fs}, capacitance=ratio * CAPACITANCE
    )
    n = run.sample(100_000, lambda e: e.n).real
    variance = block_average((n - 0.032) ** 2 / (KT * CAPACITANCE))
    assert variance.error < 0.0125 * exact
    assert variance.mean == pytest.approx(exact, abs=min(4 * variance.error, 0.05 * exact))


@dataclass
class Sample:
    """Series of one run of coupled harmonic oscillators."""

    n: np.ndarray
    phi: np.ndarray
    phi_at_zero_charge: np.ndarray
    electrode_kinetic: np.ndarray
    temperature: np.ndarray


COUPLED = {"stiffness": 2.0, "anharmonicity": 0.0, "coupling": (0.0, 0.0, 0.9), "symbol": "O"}
# Five oscillators with g = 0.9 V/A and k = 2 eV/A^2.
RENORMALISED = 1 / (1 / CAPACITANCE - 5 * 0.9**2 / 2.0)


def run_coupled(
    make: Factory, method: str, potential: float, steps: int, seed: int, **options: Any
) -> Sample:
    dynamics = make(
        method,
        "langevin",
        potential=potential,
        timestep_fs=3.0,
        tau=15 * fs,
        seed=seed,
        model=COUPLED,
        method_options=options,
    )
    electrode = dynamics.potentiostat
    rows = np.empty((steps, 5))
    for i, _ in enumerate(dynamics.irun(steps)):
        point = dynamics.point
        n, phi = point.excess_electrons, point.potential
        kinetic = getattr(electrode, "kinetic_energy", math.nan)
        rows[i] = (n, phi, phi + n / CAPACITANCE, kinetic, dynamics.temperature)
    return Sample(*rows[200:].T)


@pytest.fixture(scope="module")
def samples(make_dynamics: Factory) -> tuple[Sample, Sample]:
    """Bonnet-Otani runs at -0.3 and +0.3 V."""
    options = {"period": 60 * fs, "tau": 15 * fs}
    first = run_coupled(make_dynamics, "bonnet-otani", -0.3, 30_000, 1, **options)
    return first, run_coupled(make_dynamics, "bonnet-otani", 0.3, 30_000, 2, **options)


def check_variance(sample: Sample, tolerance: float) -> None:
    """var(n) against kTC + C^2 var(Phi_0), both sampled, and against the exact value."""
    variance = block_average((sample.n - sample.n.mean()) ** 2)
    assert variance.error < tolerance * variance.mean
    assert variance.mean == pytest.approx(KT * RENORMALISED, abs=4 * variance.error)
    shift = block_average((sample.phi_at_zero_charge - sample.phi_at_zero_charge.mean()) ** 2)
    sampled = KT * CAPACITANCE + CAPACITANCE**2 * shift.mean
    error = math.hypot(variance.error, CAPACITANCE**2 * shift.error)
    assert variance.mean == pytest.approx(sampled, abs=4 * error)


def test_coupled_variance(samples: tuple[Sample, Sample]) -> None:
    assert 1.6 < RENORMALISED / CAPACITANCE < 1.7
    for sample in samples:
        check_variance(sample, 0.06)


def test_mean_potential_is_the_target(samples: tuple[Sample, Sample]) -> None:
    for sample, potential in zip(samples, (-0.3, 0.3), strict=True):
        phi = block_average(sample.phi)
        assert phi.error < 0.01
        assert phi.mean == pytest.approx(potential + 4.44, abs=4 * phi.error)
        # The scatter itself is physics: sqrt(kT/C), whatever the ions do.
        assert sample.phi.std() == pytest.approx(math.sqrt(KT / CAPACITANCE), rel=0.05)


def test_electrode_kinetic_energy(samples: tuple[Sample, Sample]) -> None:
    for sample in samples:
        ratio = block_average(2 * sample.electrode_kinetic / KT)
        bias = (2 * math.pi * 3 / 60) ** 2 / 4
        assert ratio.error < 0.03
        assert ratio.mean == pytest.approx(1 - bias, abs=4 * ratio.error)


def test_response_is_the_fluctuation(samples: tuple[Sample, Sample]) -> None:
    means = [block_average(sample.n) for sample in samples]
    response = (means[1].mean - means[0].mean) / 0.6
    error = math.hypot(means[0].error, means[1].error) / 0.6
    variances = [block_average((sample.n - sample.n.mean()) ** 2) for sample in samples]
    fluctuation = 0.5 * (variances[0].mean + variances[1].mean) / KT
    error = math.hypot(error, 0.5 * math.hypot(*(v.error for v in variances)) / KT)
    assert error < 0.05 * fluctuation
    assert response == pytest.approx(-fluctuation, abs=4 * error)
    assert response == pytest.approx(-RENORMALISED, rel=0.05)


def test_coupled_variance_of_thermopotentiostat(make_dynamics: Factory) -> None:
    sample = run_coupled(make_dynamics, "thermopotentiostat", 0.0, 30_000, 3, tau=30 * fs)
    check_variance(sample, 0.08)
    phi = block_average(sample.phi)
    assert phi.mean == pytest.approx(4.44, abs=4 * phi.error)
    temperature = block_average(sample.temperature)
    # O at 2 eV/A^2 and 3 fs: the largest bias of the momenta is 0.3 %.
    assert temperature.mean == pytest.approx(TEMPERATURE, abs=4 * temperature.error + 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bonnet-otani", "thermopotentiostat"])
def test_coupled_variance_within_five_percent(make_dynamics: Factory, method: str) -> None:
    options = {"period": 60 * fs, "tau": 15 * fs} if method == "bonnet-otani" else {"tau": 30 * fs}
    sample = run_coupled(make_dynamics, method, 0.0, 400_000, 4, **options)
    check_variance(sample, 0.0125)
    assert np.var(sample.n) == pytest.approx(KT * RENORMALISED, rel=0.05)


@pytest.mark.parametrize("method", ["newton", "direct"])
def test_adiabatic_methods_lack_the_electronic_noise(make_dynamics: Factory, method: str) -> None:
    sample = run_coupled(make_dynamics, method, 0.0, 12_000, 5)
    # var(n) = C^2 var(Phi_0), with Phi_0 at the stiffness that constant potential leaves.
    variance = block_average((sample.n - sample.n.mean()) ** 2)
    exact = KT * (RENORMALISED - CAPACITANCE)
    assert variance.error < 0.1 * exact
    assert variance.mean == pytest.approx(exact, abs=4 * variance.error)


@pytest.mark.parametrize("thermostat", ["langevin", "svr", "nose-hoover"])
def test_temperature_with_fixed_atoms(make_dynamics: Factory, thermostat: str) -> None:
    model = {"fixed": (0, 3), "temperature_K": 500.0}
    dynamics = make_dynamics("direct", thermostat, timestep_fs=2.0, tau=20 * fs, model=model)
    anchors = dynamics.atoms.positions.copy()
    assert dynamics.ions.degrees_of_freedom == 9
    samples = np.array([(d.temperature, *d.atoms.positions[1]) for d in dynamics.irun(10_000)])
    temperature = block_average(samples[200:, 0])
    assert temperature.error < 0.03 * TEMPERATURE
    assert temperature.mean == pytest.approx(TEMPERATURE, abs=4 * temperature.error)
    # Nine modes: the kinetic energy has the variance of a canonical one.
    spread = block_average((samples[200:, 0] - TEMPERATURE) ** 2)
    assert spread.mean == pytest.approx(2 / 9 * TEMPERATURE**2, abs=4 * spread.error)
    np.testing.assert_array_equal(dynamics.atoms.positions[[0, 3]], anchors[[0, 3]])
    np.testing.assert_array_equal(dynamics.atoms.get_momenta()[[0, 3]], 0.0)
    assert dynamics.temperature == pytest.approx(
        dynamics.atoms.get_kinetic_energy() / (4.5 * kB), rel=1e-6
    )


def test_newton_follows_the_solution_at_one_evaluation_a_step(make_dynamics: Factory) -> None:
    # Frequencies of O-H bonds and a steep dependence of the potential on them.
    model = {"symbol": "H", "stiffness": 20.0, "coupling": 1.0}
    dynamics = make_dynamics("newton", "nve", model=model)
    deviations, lagged = [], []
    solution = None
    for _ in dynamics.irun(2000):
        point = dynamics.point
        deviations.append(point.potential - dynamics.target)
        now = point.excess_electrons + CAPACITANCE * deviations[-1]
        # What the last solution, without a prediction, would have been off by.
        lagged.append(0.0 if solution is None else (now - solution) / CAPACITANCE)
        solution = now
    evaluations = dynamics.potentiostat.evaluations / 2000
    rms = float(np.sqrt(np.mean(np.square(deviations))))
    assert 1.0 <= evaluations < 1.05
    assert 0.001 < rms < 0.004
    assert rms < 0.3 * np.sqrt(np.mean(np.square(lagged)))
    assert dynamics.potentiostat.corrections == dynamics.potentiostat.evaluations - 2000


def test_newton_finds_the_capacitance(make_dynamics: Factory) -> None:
    jumps = "0.0@0,0.5@20,-0.5@40"
    dynamics = make_dynamics("newton", potential=jumps, excess_electrons=0.0, capacitance=0.1)
    assert dynamics.schedule.at(20) == 0.5
    dynamics.run(60)
    assert dynamics.potentiostat.capacitance == pytest.approx(CAPACITANCE, rel=1e-6)
    assert dynamics.point.potential == pytest.approx(4.44 - 0.5, abs=0.01)
    # Far from the first guess, the estimate stays within its factor of three.
    dynamics = make_dynamics("newton", potential=jumps, excess_electrons=0.0, capacitance=0.01)
    dynamics.run(60)
    assert dynamics.potentiostat.capacitance == pytest.approx(0.03)
