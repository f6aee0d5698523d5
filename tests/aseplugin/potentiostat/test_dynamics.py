"""The dynamics' arguments, observers, constraints and annotations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLength
from ase.md.verlet import VelocityVerlet
from ase.units import fs

import voltase.aseplugin
from voltase.aseplugin.errors import InputError, PotentialError
from voltase.aseplugin.potential_schedule import PotentialSchedule
from voltase.aseplugin.potentiostat.contract import ensemble_of
from voltase.aseplugin.potentiostat.dynamics import ConstantPotentialMD
from voltase.aseplugin.potentiostat.wrapper import ConstantPotential
from voltase.aseplugin.testing import CapacitorOscillators, GrandCanonicalCapacitorOscillators

Factory = Callable[..., ConstantPotentialMD]


def test_public_names() -> None:
    assert voltase.aseplugin.ConstantPotentialMD is ConstantPotentialMD
    assert voltase.aseplugin.ConstantPotential is ConstantPotential


@pytest.mark.parametrize("grand", [False, True])
def test_defaults(make_atoms: Callable[..., Atoms], grand: bool) -> None:
    atoms = make_atoms(grand)
    dynamics = ConstantPotentialMD(atoms, -0.5, timestep=0.5 * fs, temperature_K=330)
    assert dynamics.potentiostat.name == ("direct" if grand else "bonnet-otani")
    assert dynamics.ions.thermostat.name == "langevin"
    dynamics.run(2)
    assert dynamics.target == pytest.approx(3.94)
    if not grand:
        assert dynamics.potentiostat.thermostat.name == "langevin"


def test_starts_at_the_target(make_dynamics: Factory) -> None:
    dynamics = make_dynamics("bonnet-otani", potential="-0.3V")
    dynamics.run(0)
    assert dynamics.point.potential == pytest.approx(4.14, abs=1e-3)
    # The solution measured the capacitance, and the mass follows from it.
    assert dynamics.potentiostat.capacitance == pytest.approx(0.2)
    assert dynamics.potentiostat.mass == pytest.approx((150 * fs / (2 * np.pi)) ** 2 / 0.2)
    given = make_dynamics("bonnet-otani", potential="-0.3V", excess_electrons=0.25)
    given.run(0)
    assert given.excess_electrons == 0.25


def test_first_capacitance(make_dynamics: Factory, make_atoms: Callable[..., Atoms]) -> None:
    guessed = make_dynamics("newton", excess_electrons=0.0)
    guessed.run(0)
    # 10 uF/cm2 over 45 A^2.
    assert guessed.potentiostat.capacitance == pytest.approx(0.28087, rel=1e-4)
    known = make_dynamics("newton", excess_electrons=0.0, atoms=make_atoms(report_capacitance=True))
    known.run(0)
    assert known.potentiostat.capacitance == 0.2
    clipped = make_dynamics("newton", capacitance=1.0)
    clipped.run(0)
    assert clipped.potentiostat.capacitance == pytest.approx(1 / 3)


def test_constant_energy_is_velocity_verlet(make_dynamics: Factory, make_atoms: Any) -> None:
    atoms = make_atoms(grand=True, fixed=(1,))
    dynamics = make_dynamics("direct", "nve", atoms=atoms, potential=0.0, temperature_K=None)
    dynamics.run(200)
    reference = make_atoms(grand=True, fixed=(1,))
    reference.calc.potential = 4.44
    VelocityVerlet(reference, 0.5 * fs).run(200)
    np.testing.assert_allclose(atoms.positions, reference.positions, rtol=0, atol=1e-11)
    np.testing.assert_allclose(atoms.get_momenta(), reference.get_momenta(), rtol=0, atol=1e-11)


def test_wrapped_calculator_follows_the_exact_one(make_dynamics: Factory, make_atoms: Any) -> None:
    exact = make_dynamics("direct", "nve", potential="-0.2V")
    exact.run(100)
    atoms = make_atoms()
    atoms.calc = ConstantPotential(atoms.calc, 0.0, tolerance=1e-10)
    wrapped = make_dynamics("direct", "nve", potential="-0.2V", atoms=atoms)
    wrapped.run(100)
    assert atoms.calc.potential == pytest.approx(-0.2)
    np.testing.assert_allclose(atoms.positions, exact.atoms.positions, rtol=0, atol=1e-8)
    assert wrapped.conserved_energy == pytest.approx(exact.conserved_energy, abs=1e-8)


def test_one_evaluation_a_step(make_dynamics: Factory) -> None:
    for method in ("bonnet-otani", "thermopotentiostat", "direct"):
        dynamics = make_dynamics(method, "langevin")
        dynamics.run(0)
        calculator = dynamics.atoms.calc
        before = calculator.evaluations
        dynamics.run(50)
        assert calculator.evaluations - before == 50


def test_observers(make_dynamics: Factory) -> None:
    class Writer:
        calls = 0

        def write(self) -> None:
            self.calls += 1

    dynamics = make_dynamics("newton")
    steps: list[tuple[str, int]] = []
    dynamics.attach(lambda name: steps.append((name, dynamics.nsteps)), 4, "a")
    dynamics.attach(lambda name: steps.append((name, dynamics.nsteps)), -5, name="once")
    writer = Writer()
    dynamics.attach(writer)
    for expected, step in enumerate(dynamics.irun(6), start=1):
        assert step.nsteps == expected
    dynamics.run(4)
    assert steps == [("a", 0), ("a", 4), ("once", 5), ("a", 8)]
    assert writer.calls == 11
    for function, interval, name in ((None, 1, "function"), (print, 0, "interval")):
        with pytest.raises(InputError, match=rf"^{name}: got "):
            dynamics.attach(function, interval)


def test_schedules(make_dynamics: Factory) -> None:
    def targets(potential: Any, runs: tuple[int, ...]) -> list[float]:
        dynamics = make_dynamics("newton", potential=potential)
        seen: list[float] = []
        dynamics.attach(lambda: seen.append(round(dynamics.target - 4.44, 12)))
        for steps in runs:
            dynamics.run(steps)
        return seen

    assert targets("0V:0.4V", (4, 1)) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.4]
    assert targets(PotentialSchedule("ramp", (0.0, 0.4), total_steps=8), (4,))[-1] == 0.2
    assert targets("0V@0,0.3V@2", (3,)) == [0.0, 0.0, 0.3, 0.3]
    assert targets([0.1, 0.2], (4,)) == [0.1, 0.1, 0.2, 0.2, 0.2]


def test_annotations(make_dynamics: Factory) -> None:
    dynamics = make_dynamics("bonnet-otani", "langevin", potential="-0.2V")
    seen = []
    dynamics.attach(lambda: seen.append(dict(dynamics.atoms.info)))
    dynamics.run(3)
    assert len({info["excess_electrons"] for info in seen}) == 4
    assert seen[-1]["excess_electrons"] == dynamics.excess_electrons
    assert seen[-1]["electrode_potential"] == dynamics.point.potential
    assert seen[-1]["target_potential"] == dynamics.target


def test_fixed_centre_of_mass(make_dynamics: Factory, make_atoms: Any) -> None:
    atoms = make_atoms(temperature_K=300.0)
    dynamics = make_dynamics("newton", "svr", atoms=atoms, fix_com=True)
    assert dynamics.ions.degrees_of_freedom == 12
    start = atoms.get_center_of_mass()
    dynamics.run(100)
    np.testing.assert_allclose(atoms.get_center_of_mass(), start, rtol=0, atol=1e-10)
    np.testing.assert_allclose(atoms.get_momenta().sum(axis=0), 0.0, atol=1e-10)
    with pytest.raises(InputError, match=r"^fix_com: got True with langevin"):
        make_dynamics("newton", "langevin", fix_com=True)
    with pytest.raises(InputError, match=r"^fix_com: got True with fixed atoms"):
        make_dynamics("newton", "svr", fix_com=True, model={"fixed": (0,)})


def test_free_system_is_warned_of(
    make_dynamics: Factory, make_atoms: Any, caplog: pytest.LogCaptureFixture
) -> None:
    make_dynamics("newton", "svr").run(1)
    assert caplog.text == ""
    atoms = make_atoms(
        stiffness=0.0, anharmonicity=0.0, coupling=[[0, 0, g] for g in (1, -1, 0, 2, -2)]
    )
    make_dynamics("newton", "svr", atoms=atoms, excess_electrons=0.1).run(1)
    assert "the centre of mass keeps its momentum" in caplog.text


def test_nothing_free(make_dynamics: Factory) -> None:
    for thermostat in ("nve", "langevin", "svr", "nose-hoover"):
        dynamics = make_dynamics("bonnet-otani", thermostat, model={"fixed": tuple(range(5))})
        dynamics.run(20)
        assert dynamics.temperature == 0.0
        np.testing.assert_array_equal(dynamics.atoms.positions, dynamics.atoms.calc.anchors)


def test_momenta_of_fixed_atoms_are_dropped(make_dynamics: Factory, make_atoms: Any) -> None:
    atoms = make_atoms()
    atoms.set_constraint(FixAtoms([2]))
    assert np.abs(atoms.get_momenta()[2]).max() > 0
    dynamics = make_dynamics("newton", atoms=atoms)
    dynamics.run(0)
    np.testing.assert_array_equal(atoms.get_momenta()[2], 0.0)
    assert dynamics.temperature == pytest.approx(atoms.get_temperature(), rel=1e-6)


def test_changes_between_runs_are_refused(make_dynamics: Factory) -> None:
    def change(what: str, atoms: Atoms) -> None:
        if what == "constraints":
            atoms.set_constraint(FixAtoms([0]))
        elif what == "calculator":
            atoms.calc = CapacitorOscillators(atoms.positions)
        elif what == "masses":
            atoms.set_masses([1.0] * len(atoms))
        elif what == "momenta":
            atoms.set_momenta(2 * atoms.get_momenta())
        elif what == "atoms":
            del atoms[0]
        else:
            getattr(atoms, what)[-1] += 1

    expected = {"atoms": "numbers"}
    for what in (
        *("positions", "momenta", "masses", "cell", "pbc", "numbers", "atoms"),
        *("constraints", "calculator"),
    ):
        for steps in (0, 2):
            dynamics = make_dynamics("newton")
            if steps > 0:
                dynamics.run(steps)
            if what == "pbc":
                dynamics.atoms.pbc = ~dynamics.atoms.pbc
            else:
                change(what, dynamics.atoms)
            name = expected.get(what, what)
            with pytest.raises(InputError, match=rf"^atoms: got other {name}, expected the {name}"):
                dynamics.run(1)


def test_moved_fixed_atom_is_refused(make_dynamics: Factory) -> None:
    dynamics = make_dynamics("newton", model={"fixed": (0,)})
    dynamics.run(2)
    dynamics.atoms.positions[0, 0] += 0.1
    with pytest.raises(InputError, match=r"^atoms: got other positions"):
        dynamics.run(1)


def test_ensembles(make_atoms: Callable[..., Atoms]) -> None:
    positions = np.zeros((1, 3))
    canonical = CapacitorOscillators(positions)
    assert ensemble_of(canonical) == "canonical"
    assert ensemble_of(GrandCanonicalCapacitorOscillators(positions)) == "grand-canonical"
    assert ensemble_of(ConstantPotential(canonical, 0.0)) == "grand-canonical"
    # One class with two modes: whichever is set.
    canonical.potential = None
    assert ensemble_of(canonical) == "canonical"
    canonical.potential = 4.4
    assert ensemble_of(canonical) == "grand-canonical"
    canonical.ensemble = "canonical"
    assert ensemble_of(canonical) == "canonical"
    with pytest.raises(InputError, match=r"^calculator: got EMT, expected one with a settable"):
        ensemble_of(EMT())
    with pytest.raises(InputError, match=r"^calculator: got none"):
        ensemble_of(None)


def test_incomplete_results(make_dynamics: Factory, make_atoms: Any) -> None:
    class Silent(CapacitorOscillators):
        missing = "electrode_potential"

        def calculate(self, *args: Any, **kwargs: Any) -> None:
            super().calculate(*args, **kwargs)
            del self.results[self.missing]

    atoms = make_atoms()
    atoms.calc = Silent(atoms.positions)
    with pytest.raises(InputError, match=r"^calculator: Silent reports no 'electrode_potential'"):
        make_dynamics("newton", atoms=atoms).run(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timestep_fs": 0.0}, r"^timestep: got 0"),
        ({"temperature_K": -1.0}, r"^temperature_K: got -1"),
        ({"temperature_K": None, "thermostat": "langevin"}, r"^temperature_K: got none"),
        ({"loginterval": 0}, r"^loginterval: got 0, expected a whole number"),
        ({"trajectory_interval": 2.5}, r"^trajectory_interval: got 2\.5"),
        ({"checkpoint_interval": True}, r"^checkpoint_interval: got True"),
        ({"area": 0.0}, r"^area: got 0"),
        ({"method": "fcp"}, r"^method: got 'fcp', expected one of bonnet-otani, newton, thermop"),
        ({"method": "direct", "atoms": True}, r"'direct' with a canonical calculator, expected"),
        (
            {"method_options": {"tau": 1.0}},
            r"^method_options: got 'tau' for newton, expected toler",
        ),
        ({"method_options": {"tolerance": 0}}, r"^tolerance: got 0 V"),
        (
            {"method": "bonnet-otani", "method_options": {"period": 3 * fs}},
            r"^period: got 3 fs, ex",
        ),
        (
            {"method": "bonnet-otani", "method_options": {"thermostat": "x"}},
            r"^thermostat: got 'x'",
        ),
        ({"method": "thermopotentiostat", "temperature_K": None}, r"^temperature_K: got none, exp"),
        (
            {"method": "thermopotentiostat", "method_options": {"tau": 0.1 * fs}},
            r"^tau: got 0\.1 fs, expected the time step of 0\.5 fs or more",
        ),
        ({"thermostat": "nve", "tau": 1.0}, r"^tau: got .* with nve"),
        ({"n_bounds": (1, -1)}, r"^n_bounds: got \(1, -1\), expected the lower bound first"),
        ({"thermostat": "svr", "tau": "a"}, r"^tau: got 'a', expected a number"),
        ({"thermostat": "svr", "tau": -1.0}, r"^tau: got -1"),
        ({"area": "a"}, r"^area: got 'a', expected a number"),
        ({"capacitance": "a"}, r"^capacitance: got 'a'"),
        ({"excess_electrons": "a"}, r"^excess_electrons: got 'a'"),
        ({"max_temperature_K": "a"}, r"^max_temperature_K: got 'a'"),
        ({"max_displacement": None}, r"^max_displacement: got None, expected a number"),
        ({"method_options": {"tolerance": "a"}}, r"^tolerance: got 'a'"),
        ({"method": "bonnet-otani", "method_options": {"period": "a"}}, r"^period: got 'a'"),
        ({"method": "bonnet-otani", "method_options": {"tau": "a"}}, r"^tau: got 'a'"),
        ({"method": "thermopotentiostat", "method_options": {"tau": "a"}}, r"^tau: got 'a'"),
        (
            {"trajectory": "z.traj", "logfile": "z.traj"},
            r"^logfile: got 'z\.traj', expected an",
        ),
        ({"logfile": "z", "checkpoint": "./z"}, r"^checkpoint: got 'z', .* file than logfile"),
        ({"n_bounds": 3}, r"^n_bounds: got 3, expected \(lowest, highest\)"),
    ],
)
def test_unusable_arguments(
    make_dynamics: Factory, make_atoms: Any, options: dict[str, Any], message: str
) -> None:
    if "atoms" in options:
        options = options | {"atoms": make_atoms()}
    with pytest.raises(InputError, match=message):
        make_dynamics(**({"method": "newton"} | options))


def test_more_unusable_arguments(make_dynamics: Factory, make_atoms: Any) -> None:
    with pytest.raises(PotentialError, match=r"did you mean reference='absolute'"):
        make_dynamics("newton", potential=4.4)
    with pytest.raises(InputError, match=r"^excess_electrons: got a value, but the calculator"):
        make_dynamics("direct", excess_electrons=0.1)
    with pytest.raises(InputError, match=r"^capacitance: got -1 e/V"):
        make_dynamics("newton", capacitance=-1).run(1)
    with pytest.raises(InputError, match=r"^steps: got 1\.5"):
        make_dynamics("newton").run(1.5)
    atoms = make_atoms()
    atoms.set_constraint(FixBondLength(0, 1))
    with pytest.raises(InputError, match=r"^constraint: got FixBondLengths?, expected FixAtoms"):
        make_dynamics("newton", atoms=atoms)
    atoms = make_atoms()
    atoms.set_masses([0.0, 1, 1, 1, 1])
    with pytest.raises(InputError, match=r"^masses: got some of zero"):
        make_dynamics("newton", atoms=atoms)
    atoms = make_atoms()
    atoms.set_momenta(np.zeros((5, 3)))
    with pytest.raises(InputError, match=r"^momenta: got all zero"):
        make_dynamics("newton", "svr", atoms=atoms, potential=0.16, excess_electrons=0.0).run(1)


@pytest.mark.parametrize("timestep", ["a", None, True])
def test_time_step_of_another_type(make_atoms: Callable[..., Atoms], timestep: Any) -> None:
    with pytest.raises(InputError, match=r"^timestep: got .*, expected a number"):
        ConstantPotentialMD(make_atoms(), 0.0, timestep=timestep, thermostat="nve")


@pytest.mark.parametrize(
    ("rng", "found"), [(3, "3"), (np.random.RandomState(0), "RandomState"), (np.random, "module")]
)
def test_other_random_generators(make_atoms: Callable[..., Atoms], rng: Any, found: str) -> None:
    with pytest.raises(InputError, match=rf"^rng: got {found}, expected a numpy\.random\.Gen"):
        ConstantPotentialMD(make_atoms(), 0.0, timestep=0.5 * fs, temperature_K=300, rng=rng)


def test_checkpoint_over_an_output(make_dynamics: Factory, tmp_path: Path) -> None:
    log = tmp_path / "md.csv"
    dynamics = make_dynamics("newton", logfile=log)
    dynamics.run(1)
    before = log.read_bytes()
    with pytest.raises(InputError, match=r"^path: got .*md\.csv', expected another file than logf"):
        dynamics.save_checkpoint(log)
    assert log.read_bytes() == before
