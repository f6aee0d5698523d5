"""Thermostats on free momenta: the canonical distribution, heat and reversibility."""

import numpy as np
import pytest
from ase.units import fs

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.potentiostat.thermostats import THERMOSTATS, Bath, make_thermostat
from voltase.aseplugin.statistics import block_average

TEMPERATURE = 300.0


def make_bath(particles: int, timestep_fs: float = 2.0, seed: int = 0) -> Bath:
    rng = np.random.default_rng(seed)
    masses = rng.uniform(1.0, 30.0, size=(particles, 1))
    return Bath(masses, 3 * particles, TEMPERATURE, timestep_fs * fs, rng)


def draw_momenta(bath: Bath, rng: np.random.Generator) -> np.ndarray:
    return np.sqrt(bath.masses * bath.kT) * rng.standard_normal((len(bath.masses), 3))


@pytest.mark.parametrize("name", ["langevin", "svr"])
@pytest.mark.parametrize("particles", [1, 4])
def test_kinetic_energy_is_gamma_distributed(name: str, particles: int) -> None:
    bath = make_bath(particles)
    momenta = 0.1 * draw_momenta(bath, bath.rng)
    thermostat = make_thermostat(name, bath, 4 * fs)
    kinetic = np.empty(30_000)
    for i in range(len(kinetic)):
        thermostat.apply(momenta)
        kinetic[i] = bath.kinetic_energy(momenta)
    kinetic = kinetic[20:] / bath.kT
    half = 1.5 * particles
    mean = block_average(kinetic)
    assert abs(mean.mean - half) < 4 * mean.error < 0.1 * half
    square = block_average((kinetic - half) ** 2)
    assert abs(square.mean - half) < 4 * square.error < 0.2 * half


def test_svr_on_one_degree_of_freedom_changes_sign() -> None:
    rng = np.random.default_rng(3)
    bath = Bath(np.ones((1, 1)), 1, TEMPERATURE, 2 * fs, rng)
    thermostat = make_thermostat("svr", bath, 4 * fs)
    momentum = np.full((1, 1), 0.1)
    trace = np.empty(20_000)
    for i in range(len(trace)):
        thermostat.apply(momentum)
        trace[i] = momentum.item()
    mean = block_average(trace)
    assert abs(mean.mean) < 4 * mean.error
    assert np.mean(trace**2) == pytest.approx(bath.kT, rel=0.06)


@pytest.mark.parametrize("name", ["langevin", "svr"])
def test_heat_is_the_change_of_kinetic_energy(name: str) -> None:
    bath = make_bath(3)
    momenta = draw_momenta(bath, bath.rng)
    before = bath.kinetic_energy(momenta)
    heat = make_thermostat(name, bath).apply(momenta)
    assert heat != 0.0
    assert before + heat == pytest.approx(bath.kinetic_energy(momenta), rel=1e-12)


@pytest.mark.parametrize("name", ["svr", "nose-hoover", "nve"])
def test_total_momentum_direction_is_kept(name: str) -> None:
    bath = make_bath(3)
    momenta = draw_momenta(bath, bath.rng)
    before = momenta.sum(axis=0)
    make_thermostat(name, bath).apply(momenta)
    after = momenta.sum(axis=0)
    np.testing.assert_allclose(np.cross(before, after), 0.0, atol=1e-12)


def test_nose_hoover_conserves_in_second_order() -> None:
    errors = []
    for timestep_fs in (2.0, 1.0):
        bath = make_bath(4, timestep_fs)
        momenta = 2.0 * draw_momenta(bath, np.random.default_rng(1))
        chain = make_thermostat("nose-hoover", bath, 20 * fs)
        kinetic, energies = [bath.kinetic_energy(momenta)], []
        for _ in range(round(1000 / timestep_fs)):
            chain.apply(momenta)
            kinetic.append(bath.kinetic_energy(momenta))
            energies.append(kinetic[-1] + chain.energy)
        assert np.ptp(kinetic) > 0.3 * kinetic[0]
        errors.append(np.ptp(energies))
    assert errors[1] < 0.3 * errors[0] < 3e-3 * energies[0]


def test_nose_hoover_reverses() -> None:
    bath = make_bath(4)
    momenta = 2.0 * draw_momenta(bath, np.random.default_rng(1))
    start = momenta.copy()
    chain = make_thermostat("nose-hoover", bath, 20 * fs)
    for _ in range(500):
        chain.apply(momenta)
    assert bath.kinetic_energy(momenta) != pytest.approx(bath.kinetic_energy(start), rel=0.01)
    state = chain.state()
    chain.load_state(state | {"velocities": [-v for v in state["velocities"]]})
    for _ in range(500):
        chain.apply(momenta)
    np.testing.assert_allclose(momenta, start, rtol=1e-9)


def test_state_round_trip() -> None:
    bath = make_bath(2)
    chain = make_thermostat("nose-hoover", bath)
    momenta = draw_momenta(bath, bath.rng)
    chain.apply(momenta)
    twin = make_thermostat("nose-hoover", bath)
    twin.load_state(chain.state())
    copy = momenta.copy()
    chain.apply(momenta)
    twin.apply(copy)
    np.testing.assert_array_equal(momenta, copy)
    assert chain.energy == twin.energy


@pytest.mark.parametrize("name", ["svr", "nose-hoover"])
def test_nothing_to_thermostat(name: str) -> None:
    bath = Bath(np.ones((0, 1)), 0, TEMPERATURE, fs, np.random.default_rng(0))
    assert make_thermostat(name, bath).apply(np.zeros((0, 3))) == 0.0


def test_unusable_arguments() -> None:
    bath = make_bath(1)
    with pytest.raises(InputError, match=r"^thermostat: got 'berendsen', expected one of nve"):
        make_thermostat("berendsen", bath)
    with pytest.raises(InputError, match=r"^tau: got 10 fs with nve"):
        make_thermostat("nve", bath, 10 * fs)
    cold = Bath(bath.masses, 3, None, fs, bath.rng)
    for name in THERMOSTATS:
        if name == "nve":
            continue
        with pytest.raises(InputError, match=r"^tau: got 1 fs, expected more than the time step"):
            make_thermostat(name, bath, 1 * fs)
        with pytest.raises(InputError, match=r"^temperature_K: got none"):
            make_thermostat(name, cold)
    with pytest.raises(InputError, match=r"^momenta: got all zero"):
        make_thermostat("svr", bath).apply(np.zeros((1, 3)))
