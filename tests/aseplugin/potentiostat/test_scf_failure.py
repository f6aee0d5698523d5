"""A calculation that does not converge costs one more try nearer to the last point, or the run."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from voltase.aseplugin.errors import DynamicsError, ExtrapolationError, ScfError
from voltase.aseplugin.potentiostat.dynamics import ConstantPotentialMD
from voltase.aseplugin.potentiostat.limits import RUNAWAY_PER_AREA
from voltase.aseplugin.testing import CapacitorOscillators

Factory = Callable[..., ConstantPotentialMD]
METHODS = ("newton", "bonnet-otani", "thermopotentiostat")


class Unconverged(CapacitorOscillators):
    """Fails from its sixth evaluation on, as often as it is told to; lists every n tried."""

    failures = 1

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        self.tried = [*getattr(self, "tried", []), self.excess_electrons]
        if 6 <= len(self.tried) < 6 + self.failures:
            raise ScfError("GPAW: Did not converge!")
        super().calculate(*args, **kwargs)


def unconverged(make_atoms: Callable[..., Atoms], failures: int) -> Atoms:
    atoms = make_atoms()
    atoms.calc = Unconverged(atoms.positions)
    atoms.calc.failures = failures
    return atoms


@pytest.mark.parametrize("method", METHODS)
def test_one_failure_is_tried_again_at_half_the_change(
    make_dynamics: Factory,
    make_atoms: Callable[..., Atoms],
    caplog: pytest.LogCaptureFixture,
    method: str,
) -> None:
    atoms = unconverged(make_atoms, failures=1)
    dynamics = make_dynamics(method, atoms=atoms, excess_electrons=0.05)
    with caplog.at_level(logging.WARNING):
        dynamics.run(20)
    last, failed, again = atoms.calc.tried[4:7]
    assert again == pytest.approx(0.5 * (last + failed), rel=1e-12)
    assert failed != last
    assert len([r for r in caplog.records if "Did not converge" in r.message]) == 1
    assert dynamics.nsteps == 20
    assert dynamics.excess_electrons == dynamics.point.excess_electrons


def test_the_second_try_keeps_the_conserved_energy(
    make_dynamics: Factory, make_atoms: Callable[..., Atoms]
) -> None:
    spans = []
    for failures in (0, 1):
        atoms = unconverged(make_atoms, failures)
        dynamics = make_dynamics("bonnet-otani", atoms=atoms, excess_electrons=0.05)
        spans.append(np.ptp([d.conserved_energy for d in dynamics.irun(40)]))
    assert spans[1] < 3.0 * spans[0]


@pytest.mark.parametrize("method", METHODS)
def test_two_failures_stop_the_run_at_the_last_good_step(
    make_dynamics: Factory, make_atoms: Callable[..., Atoms], tmp_path: Any, method: str
) -> None:
    atoms = unconverged(make_atoms, failures=1000)
    log = tmp_path / "md.csv"
    dynamics = make_dynamics(method, atoms=atoms, excess_electrons=0.05, logfile=log)
    with pytest.raises(DynamicsError, match=r"^step \d+: GPAW: Did not converge!; frame in "):
        dynamics.run(20)
    assert len(atoms.calc.tried) == 7
    assert len(list(tmp_path.glob("md.failed-step*.extxyz"))) == 1
    last = log.read_text().splitlines()[-1]
    assert int(last.split(",")[0]) == dynamics.nsteps - 1


class Runaway(CapacitorOscillators):
    """A calculator that has the potential of its electrode with the wrong sign."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.results["electrode_potential"] *= -1.0


def test_a_runaway_electron_number_is_stopped(
    make_dynamics: Factory, make_atoms: Callable[..., Atoms], caplog: pytest.LogCaptureFixture
) -> None:
    atoms = make_atoms()
    atoms.calc = Runaway(atoms.positions)
    dynamics = make_dynamics("newton", atoms=atoms, excess_electrons=0.0, area=20.0)
    with pytest.raises(ExtrapolationError, match=r"^step \d+: excess_electrons: got .* n_bounds"):
        dynamics.run(2000)
    assert abs(dynamics.point.excess_electrons) <= RUNAWAY_PER_AREA * 20.0
    # A capacitance below nothing is not learned from.
    assert any("capacitance: measured -" in record.message for record in caplog.records)


def test_newton_learns_from_one_geometry_and_evaluates_no_more_than_twice_a_step(
    make_dynamics: Factory, make_atoms: Callable[..., Atoms]
) -> None:
    atoms = make_atoms(capacitance=0.2)
    dynamics = make_dynamics(
        "newton", atoms=atoms, excess_electrons=0.0, capacitance=0.15, timestep_fs=3.0
    )
    before = 1
    for _ in dynamics.irun(60):
        assert 1 <= atoms.calc.evaluations - before <= 2
        before = atoms.calc.evaluations
    potentiostat = dynamics.potentiostat
    assert 0 < potentiostat.corrections < 60
    assert potentiostat.capacitance == pytest.approx(0.2, rel=1e-6)
    assert potentiostat.state()["capacitance"] == potentiostat.capacitance
