"""A run that goes wrong stops at once, says where and why, and leaves a frame."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms

from voltase.aseplugin.errors import DynamicsError, ExtrapolationError, InputError
from voltase.aseplugin.potentiostat.dynamics import ConstantPotentialMD
from voltase.aseplugin.potentiostat.wrapper import ConstantPotential
from voltase.aseplugin.testing import CapacitorOscillators, oscillator_atoms

Factory = Callable[..., ConstantPotentialMD]


class Failing(CapacitorOscillators):
    """Changes one result at the sixth evaluation."""

    broken: dict[str, Any] = {}

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        if self.evaluations == 6:
            self.results |= self.broken


def failing_atoms(make_atoms: Callable[..., Atoms], **broken: Any) -> Atoms:
    atoms = make_atoms()
    atoms.calc = Failing(atoms.positions)
    atoms.calc.broken = broken
    return atoms


def frame_in(error: Exception) -> Atoms:
    """The frame that a message names."""
    path = re.search(r"; frame in (\S+)$", str(error))
    assert path is not None
    assert not list(Path(path[1]).parent.glob("*.partial"))
    return ase.io.read(path[1])


def nan_forces() -> np.ndarray:
    forces = np.zeros((5, 3))
    forces[3, 2] = np.nan
    return forces


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"energy": np.nan}, "energy: got nan"),
        ({"electrode_potential": -np.inf}, "electrode_potential: got -inf"),
        ({"forces": nan_forces()}, r"forces: got \[ ?0\. +0\. +nan\] on atom 3"),
    ],
)
def test_not_a_number(
    make_dynamics: Factory,
    make_atoms: Callable[..., Atoms],
    tmp_path: Path,
    broken: dict[str, Any],
    message: str,
) -> None:
    atoms = failing_atoms(make_atoms, **broken)
    log = tmp_path / "md.csv"
    dynamics = make_dynamics("bonnet-otani", atoms=atoms, excess_electrons=0.0, logfile=log)
    with pytest.raises(
        DynamicsError, match=rf"^step 5: {message}; frame in .*md\.failed-step5\.ex"
    ) as caught:
        dynamics.run(10)
    assert caught.value.step == 5
    frame = frame_in(caught.value)
    assert np.isfinite(frame.positions).all()
    assert frame.info["excess_electrons"] == dynamics.atoms.info["excess_electrons"]
    # The last good step is in the log; nothing after it is.
    assert log.read_text().splitlines()[-1].startswith("4,")
    with pytest.raises(DynamicsError, match="ended within a step"):
        dynamics.run(1)
    with pytest.raises(DynamicsError, match="ended within a step"):
        dynamics.save_checkpoint(tmp_path / "run.ckpt")


def test_not_a_number_at_the_start(make_dynamics: Factory, make_atoms: Any) -> None:
    atoms = make_atoms()
    atoms.calc.coupling = np.full((5, 3), np.nan)
    with pytest.raises(DynamicsError, match=r"^step 0: energy: got nan") as caught:
        make_dynamics("bonnet-otani", atoms=atoms, excess_electrons=0.1).run(1)
    assert len(frame_in(caught.value)) == 5


def test_explosion_by_displacement(make_dynamics: Factory, make_atoms: Any) -> None:
    atoms = failing_atoms(make_atoms, forces=np.full((5, 3), 1e5))
    dynamics = make_dynamics(
        "bonnet-otani", atoms=atoms, excess_electrons=0.0, max_temperature_K=1e30
    )
    with pytest.raises(DynamicsError, match=r"^step 6: positions: an atom moved [\d.e+]+ A in") as (
        caught
    ):
        dynamics.run(10)
    frame = frame_in(caught.value)
    # The frame is the last good one, with where the atoms would have gone.
    assert np.abs(frame.positions - atoms.calc.anchors).max() < 0.2
    moved = np.abs(frame.arrays["failed_positions"] - frame.positions)
    assert moved.max() > 1.0


def test_explosion_by_temperature(make_dynamics: Factory, make_atoms: Any) -> None:
    atoms = failing_atoms(make_atoms, forces=np.full((5, 3), 200.0))
    dynamics = make_dynamics("bonnet-otani", atoms=atoms, excess_electrons=0.0)
    assert dynamics.guards.max_temperature_K == 3000.0
    with pytest.raises(DynamicsError, match=r"^step 5: temperature: got \S+ K, expected max_temp"):
        dynamics.run(10)
    assert make_dynamics("newton", temperature_K=500.0).guards.max_temperature_K == 5000.0


def leaving_atoms(make_atoms: Callable[..., Atoms]) -> Atoms:
    atoms = make_atoms(stiffness=0.0, anharmonicity=0.0, coupling=0.0)
    atoms.positions[2, 2] = 19.9
    atoms.calc.anchors = atoms.positions.copy()
    momenta = np.zeros((5, 3))
    momenta[2, 2] = 2.0
    atoms.set_momenta(momenta)
    return atoms


def test_lost_atom(make_dynamics: Factory, make_atoms: Callable[..., Atoms]) -> None:
    dynamics = make_dynamics("bonnet-otani", atoms=leaving_atoms(make_atoms))
    with pytest.raises(DynamicsError, match=r"positions: atom 2 \(O\) left the cell at an open"):
        dynamics.run(100)
    dynamics = make_dynamics("bonnet-otani", atoms=leaving_atoms(make_atoms), confine=False)
    dynamics.run(100)
    assert dynamics.atoms.positions[2, 2] > 20


def test_atoms_may_cross_periodic_faces(make_dynamics: Factory, make_atoms: Any) -> None:
    atoms = leaving_atoms(make_atoms)
    atoms.pbc = True
    make_dynamics("bonnet-otani", atoms=atoms).run(100)
    assert atoms.positions[2, 2] > 20
    with pytest.raises(InputError, match=r"^confine: got a cell without a non-periodic axis"):
        make_dynamics("bonnet-otani", atoms=atoms, confine=True)


def test_atoms_outside_from_the_start(make_dynamics: Factory, make_atoms: Any) -> None:
    atoms = make_atoms()
    atoms.positions[:, 2] -= 15.0
    atoms.calc.anchors = atoms.positions.copy()
    assert not make_dynamics("newton", atoms=atoms).guards.confines
    with pytest.raises(InputError, match=r"^confine: got atom 0 outside the cell"):
        make_dynamics("newton", atoms=atoms, confine=True)


@pytest.mark.parametrize("method", ["bonnet-otani", "newton", "thermopotentiostat"])
def test_bounds_on_n(make_dynamics: Factory, method: str) -> None:
    dynamics = make_dynamics(method, potential="0V@0,-1V@10", n_bounds=(-0.3, 0.1))
    with pytest.raises(
        ExtrapolationError, match=r"^step \d+: excess_electrons: got .* n_bounds"
    ) as (caught):
        dynamics.run(200)
    assert len(frame_in(caught.value)) == 5
    assert -0.3 <= dynamics.atoms.info["excess_electrons"] <= 0.1


@pytest.mark.parametrize("method", ["bonnet-otani", "direct"])
def test_training_range_of_n(
    make_dynamics: Factory, make_atoms: Any, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    for allow in (False, True):
        atoms = make_atoms(grand=method == "direct")
        atoms.calc.excess_electrons_per_area_range = (-0.3 / 45, 0.1 / 45)
        dynamics = make_dynamics(
            method, atoms=atoms, potential="0V@0,-1V@10", allow_extrapolation=allow
        )
        if allow:
            dynamics.run(200)
            assert dynamics.excess_electrons > 0.1
            # Once, not at every step.
            assert caplog.text.count("training range -0.3 to 0.1 e") == 1
        else:
            with pytest.raises(ExtrapolationError, match=r"range -0\.3 to 0\.1 e for this area"):
                dynamics.run(200)


def test_calculator_may_waive_its_range(make_dynamics: Factory, make_atoms: Any) -> None:
    atoms = make_atoms()
    atoms.calc.excess_electrons_per_area_range = (0.0, 0.01 / 45)
    atoms.calc.allow_extrapolation = True
    make_dynamics("newton", atoms=atoms).run(1)


@pytest.mark.parametrize("wrapped", [False, True])
def test_calculator_knows_its_area(
    make_dynamics: Factory, make_atoms: Any, tmp_path: Path, wrapped: bool
) -> None:
    # n is 0.072 e: too much for one face of 45 A^2, not for two.
    for faces in (1, 2):
        atoms = make_atoms()
        atoms.calc.excess_electrons_per_area_range = (-0.05 / 45, 0.05 / 45)
        atoms.calc.electrode_area = lambda atoms, faces=faces: faces * 45.0
        method = "bonnet-otani"
        if wrapped:
            method, atoms.calc = "direct", ConstantPotential(atoms.calc, -0.2)
        log = tmp_path / f"{faces}.csv"
        dynamics = make_dynamics(method, atoms=atoms, potential="-0.2V", logfile=log)
        if faces == 1:
            with pytest.raises(ExtrapolationError, match=r"beyond 0\.05 e, expected it within"):
                dynamics.run(1)
            continue
        dynamics.run(1)
        sigma = float(log.read_text().splitlines()[2].split(",")[7])
        n = atoms.info["excess_electrons"]
        assert sigma == pytest.approx(-0.072 / 90 * 1602.18, rel=0.05)
        assert n == pytest.approx(0.072, rel=0.05)


def test_training_range_of_the_potential(make_dynamics: Factory, make_atoms: Any) -> None:
    atoms = make_atoms(grand=True)
    atoms.calc.potential_range = (4.0, 4.8)
    make_dynamics("direct", atoms=atoms, potential=0.3).run(1)
    with pytest.raises(ExtrapolationError, match=r"potential: got 3\.94 V .* range 4 to 4\.8 V"):
        make_dynamics("direct", atoms=atoms, potential="0.3V:-0.5V")
    make_dynamics("direct", atoms=atoms, potential="-0.5V", allow_extrapolation=True).run(1)


def test_the_potential_of_a_frame_ends_a_run_outside_the_training_range(
    make_dynamics: Factory, make_atoms: Any, caplog: pytest.LogCaptureFixture
) -> None:
    # At 330 K the potential swings by sqrt(kT/C), far more than this range, around its middle.
    for allow in (False, True):
        atoms = make_atoms()
        atoms.calc.potential_range = (4.43, 4.45)
        dynamics = make_dynamics(
            "bonnet-otani", atoms=atoms, potential="0V", allow_extrapolation=allow
        )
        if allow:
            dynamics.run(200)
            assert caplog.text.count("electrode_potential: got") == 1
            continue
        message = r"^step \d+: electrode_potential: got .* training range 4\.43 to 4\.45 V"
        with pytest.raises(ExtrapolationError, match=message):
            dynamics.run(200)


def test_range_per_area_needs_an_area(make_dynamics: Factory, make_atoms: Any) -> None:
    atoms = make_atoms()
    atoms.calc.excess_electrons_per_area_range = (-1.0, 1.0)
    atoms.cell = None
    with pytest.raises(InputError, match=r"^cell: got no area"):
        make_dynamics("newton", atoms=atoms)


def test_error_of_the_calculator(make_dynamics: Factory, make_atoms: Any) -> None:
    class Refusing(CapacitorOscillators):
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            super().calculate(*args, **kwargs)
            if self.evaluations == 6:
                raise InputError("atoms: O 0 and O 1 are 0.1 A apart")

    atoms = make_atoms()
    atoms.calc = Refusing(oscillator_atoms(5).positions)
    dynamics = make_dynamics("bonnet-otani", atoms=atoms, excess_electrons=0.0)
    with pytest.raises(DynamicsError, match=r"^step 5: atoms: O 0 and O 1 are 0\.1 A") as caught:
        dynamics.run(10)
    assert isinstance(caught.value.__cause__ or caught.value.__context__, InputError)
    assert len(frame_in(caught.value)) == 5


def test_failed_evaluation_ends_the_run(make_dynamics: Factory, make_atoms: Any) -> None:
    class Crashing(CapacitorOscillators):
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            super().calculate(*args, **kwargs)
            if self.evaluations == 6:
                raise KeyboardInterrupt

    atoms = make_atoms()
    atoms.calc = Crashing(oscillator_atoms(5).positions)
    dynamics = make_dynamics("newton", atoms=atoms, excess_electrons=0.0)
    with pytest.raises(KeyboardInterrupt):
        dynamics.run(10)
    with pytest.raises(DynamicsError, match="ended within a step"):
        dynamics.run(1)


@pytest.mark.parametrize("name", ["max_temperature_K", "max_displacement"])
def test_unusable_limits(make_dynamics: Factory, name: str) -> None:
    with pytest.raises(InputError, match=rf"^{name}: got 0\.0"):
        make_dynamics("newton", **{name: 0.0})
