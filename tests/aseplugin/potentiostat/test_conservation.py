"""The conserved quantity: its fluctuation and drift vanish as the square of the time step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase.units import fs

from voltase.aseplugin.potential_schedule import PotentialSchedule
from voltase.aseplugin.potentiostat.dynamics import ConstantPotentialMD

Factory = Callable[..., ConstantPotentialMD]

DURATION_FS = 1000.0
TIMESTEPS_FS = (1.0, 2.0, 4.0)
RAMP = PotentialSchedule("ramp", (0.4, -0.4))


def conserved(dynamics: ConstantPotentialMD, timestep_fs: float) -> np.ndarray:
    """The conserved quantity at every step, relative to step 0, eV."""
    steps = round(DURATION_FS / timestep_fs)
    values = []
    dynamics.run(0)
    start = dynamics.conserved_energy
    for _ in dynamics.irun(steps):
        values.append(dynamics.conserved_energy - start)
    return np.array(values)


def order_in_timestep(make: Factory, method: str, **options: Any) -> tuple[float, list[float]]:
    """Exponent of the rms deviation in the time step, and the deviations in eV."""
    deviations = []
    for timestep_fs in TIMESTEPS_FS:
        dynamics = make(method, timestep_fs=timestep_fs, **options)
        deviations.append(float(np.sqrt(np.mean(conserved(dynamics, timestep_fs) ** 2))))
    return float(np.polyfit(np.log(TIMESTEPS_FS), np.log(deviations), 1)[0]), deviations


@pytest.mark.parametrize("method", ["bonnet-otani", "direct"])
def test_constant_energy(make_dynamics: Factory, method: str) -> None:
    order, deviations = order_in_timestep(make_dynamics, method)
    assert order == pytest.approx(2.0, abs=0.1)
    assert deviations[0] < 1e-4


@pytest.mark.parametrize("method", ["bonnet-otani", "direct"])
def test_work_of_a_ramp(make_dynamics: Factory, method: str) -> None:
    deviations = []
    for timestep_fs in TIMESTEPS_FS:
        ramp = RAMP.bind(round(DURATION_FS / timestep_fs))
        dynamics = make_dynamics(method, timestep_fs=timestep_fs, potential=ramp)
        values = conserved(dynamics, timestep_fs)
        deviations.append(float(np.sqrt(np.mean(values**2))))
        # Without it, the quantity would be off by 30 meV at every time step.
        assert dynamics.potentiostat.work == pytest.approx(-0.034, abs=0.003)
    order = float(np.polyfit(np.log(TIMESTEPS_FS), np.log(deviations), 1)[0])
    assert order == pytest.approx(2.0, abs=0.15)
    assert deviations[0] < 1e-4


def test_work_of_a_jump_is_exact_for_the_extended_system(make_dynamics: Factory) -> None:
    jumps = PotentialSchedule("steps", (0.4, -0.4, 0.2), (0, 100, 200))
    values = conserved(make_dynamics("bonnet-otani", potential=jumps, timestep_fs=2.0), 2.0)
    calm = conserved(make_dynamics("bonnet-otani", potential=0.4, timestep_fs=2.0), 2.0)
    # 0.8 V at n of about 0.04 e: 30 meV of work, against an unchanged fluctuation.
    assert np.sqrt(np.mean(values**2)) < 20 * np.sqrt(np.mean(calm**2))
    assert np.abs(values).max() < 1e-3


@pytest.mark.parametrize("thermostat", ["langevin", "svr", "nose-hoover"])
@pytest.mark.parametrize("method", ["bonnet-otani", "thermopotentiostat", "direct"])
def test_heat_is_accounted_for(make_dynamics: Factory, method: str, thermostat: str) -> None:
    deviations = []
    for timestep_fs in (1.0, 4.0):
        samples = []
        for seed in range(3):
            dynamics = make_dynamics(method, thermostat, timestep_fs=timestep_fs, seed=seed)
            exchanged = []
            dynamics.attach(lambda d=dynamics, out=exchanged: out.append(heat_of(d)))
            samples.append(np.sqrt(np.mean(conserved(dynamics, timestep_fs) ** 2)))
            assert np.abs(exchanged).max() > 50 * samples[-1]
        deviations.append(np.mean(samples))
    # Second order would be 16; the noise differs between the two.
    assert deviations[1] > 5 * deviations[0]
    assert deviations[0] < 3e-4


def heat_of(dynamics: ConstantPotentialMD) -> float:
    """Energy that came in through the thermostats, eV."""
    return dynamics.ions.heat - dynamics.ions.thermostat.energy + dynamics.potentiostat.heat


def test_thermopotentiostat_under_a_ramp(make_dynamics: Factory) -> None:
    values = conserved(
        make_dynamics("thermopotentiostat", "langevin", potential=RAMP.bind(1000), timestep_fs=1.0),
        1.0,
    )
    assert np.abs(values).max() < 1e-3


def test_adiabatic_drift_is_bounded_by_the_tolerance(make_dynamics: Factory) -> None:
    # Hydrogen-like frequencies, where the prediction matters.
    model = {"symbol": "H", "stiffness": 20.0, "coupling": 1.0}
    drifts = {}
    for tolerance in (0.05, 1e-6):
        options = {"tolerance": tolerance}
        dynamics = make_dynamics("newton", model=model, method_options=options)
        values = conserved(dynamics, 0.5)
        drifts[tolerance] = abs(np.polyfit(np.arange(len(values)) * 0.5e-3, values * 1e3, 1)[0])
    assert drifts[1e-6] < 0.5  # meV/ps
    assert drifts[0.05] < 20


def test_nose_hoover_with_electrode_is_reversible(make_dynamics: Factory) -> None:
    options = {"thermostat": "nose-hoover", "tau": 50 * fs}
    dynamics = make_dynamics("bonnet-otani", "nose-hoover", method_options=options)
    dynamics.run(0)
    ions, electrode = dynamics.ions, dynamics.potentiostat
    start = (ions.positions.copy(), electrode.n)
    dynamics.run(300)
    assert np.abs(ions.positions - start[0]).max() > 0.05
    ions.momenta *= -1
    ions.put_momenta()
    electrode.momentum *= -1
    for thermostat in (ions.thermostat, electrode.thermostat):
        state = thermostat.state()
        thermostat.load_state(state | {"velocities": [-v for v in state["velocities"]]})
    dynamics.run(300)
    np.testing.assert_allclose(ions.positions, start[0], rtol=0, atol=1e-9)
    assert electrode.n == pytest.approx(start[1], abs=1e-9)
