"""Logs and trajectories: what they hold, and cutting them back byte for byte."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from voltase.aseplugin.electrochemistry import surface_charge_density
from voltase.aseplugin.errors import CheckpointError, InputError
from voltase.aseplugin.potentiostat.dynamics import ConstantPotentialMD
from voltase.aseplugin.potentiostat.output import LogFile, open_trajectory
from voltase.aseplugin.testing import CapacitorOscillators, oscillator_atoms

Factory = Callable[..., ConstantPotentialMD]


def read_log(path: Path) -> tuple[str, list[str], np.ndarray]:
    comment, header, *rows = path.read_text().splitlines()
    return comment, header.split(","), np.array([[float(x) for x in r.split(",")] for r in rows])


def test_log_holds_the_run(make_dynamics: Factory, tmp_path: Path) -> None:
    path = tmp_path / "md.csv"
    dynamics = make_dynamics("bonnet-otani", potential=-0.2, logfile=path, loginterval=5)
    exact = []
    dynamics.attach(lambda: exact.append([dynamics.conserved_energy, dynamics.excess_electrons]), 5)
    dynamics.run(10)
    dynamics.run(5)
    comment, columns, rows = read_log(path)
    assert comment.startswith(
        "# voltase constant-potential MD; U in V vs SHE, whose zero is at 4.44"
    )
    expected = "step time_fs T_K E_eV Omega_eV conserved_eV n_e sigma_uC_cm2 Phi_V U_V target_U_V"
    assert columns == [*expected.split(), "forces_spread_eV_A", "Phi_spread_V"]
    row = {name: rows[:, i] for i, name in enumerate(columns)}
    np.testing.assert_array_equal(row["step"], [0, 5, 10, 15])
    np.testing.assert_allclose(row["time_fs"], [0.0, 2.5, 5.0, 7.5], rtol=1e-14)
    # Every digit is there.
    np.testing.assert_array_equal(np.transpose([row["conserved_eV"], row["n_e"]]), exact)
    omega = row["E_eV"] + row["Phi_V"] * row["n_e"]
    np.testing.assert_allclose(row["Omega_eV"], omega, rtol=0, atol=1e-12)
    np.testing.assert_allclose(row["U_V"], row["Phi_V"] - 4.44, rtol=0, atol=1e-12)
    np.testing.assert_allclose(row["target_U_V"], -0.2, rtol=0, atol=1e-12)
    np.testing.assert_allclose(row["sigma_uC_cm2"], surface_charge_density(row["n_e"], 45.0))


def test_log_without_an_area(make_atoms: Callable[..., Atoms], tmp_path: Path) -> None:
    atoms = make_atoms()
    atoms.cell = None
    atoms.pbc = False
    path = tmp_path / "md.csv"
    options: dict[str, Any] = {"timestep": 0.05, "thermostat": "nve", "logfile": path}
    with pytest.raises(InputError, match=r"^capacitance: got none"):
        ConstantPotentialMD(atoms, 0.0, **options).run(1)
    ConstantPotentialMD(atoms, 0.0, capacitance=0.2, **options).run(1)
    _, columns, rows = read_log(path)
    assert np.isnan(rows[:, columns.index("sigma_uC_cm2")]).all()
    ConstantPotentialMD(atoms, 0.0, capacitance=0.2, area=45.0, **options).run(1)
    _, columns, rows = read_log(path)
    assert np.isfinite(rows[:, :-2]).all()
    assert np.isnan(rows[:, -2:]).all()


class Committee(CapacitorOscillators):
    """Reports the spread over a committee, that of the forces in every third calculation."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.results["electrode_potential_spread"] = self.evaluations / 8
        if self.evaluations % 3 == 1:
            self.results["forces_spread"] = np.array([0.0, self.evaluations / 4])


def test_spreads_are_logged(make_dynamics: Factory, tmp_path: Path) -> None:
    atoms = oscillator_atoms(2)
    atoms.calc = Committee(atoms.positions)
    path = tmp_path / "md.csv"
    make_dynamics("bonnet-otani", atoms=atoms, logfile=path, excess_electrons=0.0).run(4)
    _, columns, rows = read_log(path)
    row = {name: rows[:, i] for i, name in enumerate(columns)}
    np.testing.assert_array_equal(row["Phi_spread_V"] * 8, [1, 2, 3, 4, 5])
    # The last one known, the largest of the atoms.
    np.testing.assert_array_equal(row["forces_spread_eV_A"] * 4, [1, 1, 1, 4, 4])


@pytest.mark.parametrize("suffix", [".traj", ".extxyz", ".xyz"])
@pytest.mark.parametrize("method", ["bonnet-otani", "direct"])
def test_frames_hold_the_run(
    make_dynamics: Factory, tmp_path: Path, method: str, suffix: str
) -> None:
    path = tmp_path / f"md{suffix}"
    model = {"fixed": (0,)}
    options = {"potential": -0.2, "trajectory": path, "trajectory_interval": 2, "model": model}
    dynamics = make_dynamics(method, **options)
    dynamics.atoms.info["label"] = "Pt"
    energies = []

    def note() -> None:
        point = dynamics.point
        energies.append(point.energy if method == "bonnet-otani" else point.grand_energy)

    dynamics.attach(note, 2)
    dynamics.run(6)
    dynamics.close()
    frames = ase.io.read(path, index=":")
    assert len(frames) == 4
    last, point, info = frames[-1], dynamics.point, frames[-1].info
    exact = {"rtol": 0, "atol": 1e-12 if suffix == ".traj" else 1e-7}
    np.testing.assert_allclose(last.positions, dynamics.atoms.positions, **exact)
    np.testing.assert_allclose(last.get_momenta(), dynamics.atoms.get_momenta(), **exact)
    np.testing.assert_allclose(last.calc.results["forces"], point.forces, **exact)
    np.testing.assert_allclose([f.get_potential_energy() for f in frames], energies, **exact)
    assert isinstance(last.constraints[0], FixAtoms)
    assert info["label"] == "Pt"
    assert info["excess_electrons"] == pytest.approx(point.excess_electrons, abs=1e-12)
    assert info["electrode_potential"] == pytest.approx(point.potential, abs=1e-12)
    assert info["target_potential"] == pytest.approx(4.24, abs=1e-12)
    assert info["potential_reference"] == "V vs SHE"
    assert info["potential_reference_zero"] == 4.44
    omega = info.get("grand_energy", last.get_potential_energy())
    energy = info.get("canonical_energy", last.get_potential_energy())
    assert omega - energy == pytest.approx(point.potential * point.excess_electrons, abs=1e-9)


def test_info_without_a_file_form_is_left_out(
    make_dynamics: Factory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "md.traj"
    dynamics = make_dynamics("newton", trajectory=path)
    dynamics.atoms.info |= {"callback": print, "kept": [1, 2]}
    dynamics.run(1)
    assert "info: callback cannot be written" in caplog.text
    dynamics.close()
    assert set(ase.io.read(path).info) & {"callback", "kept"} == {"kept"}


def make_frame(index: int, frame: Atoms) -> Atoms:
    frame.positions[:] = index
    frame.info["index"] = index
    frame.calc = SinglePointCalculator(frame, energy=float(index), forces=np.ones((2, 3)))
    return frame


@pytest.mark.parametrize("suffix", [".traj", ".xyz"])
@pytest.mark.parametrize(
    ("cut", "written", "final"),
    [
        (0, 5, 8),
        (1, 1, 3),
        (1, 43, 50),
        (5, 41, 10),
        (5, 41, 90),
        (41, 42, 43),
        (42, 60, 42),
        (42, 90, 100),
        (50, 90, 51),
    ],
)
def test_trajectory_is_cut_back(
    tmp_path: Path, suffix: str, cut: int, written: int, final: int
) -> None:
    """Cut after ``cut`` frames of ``written``, go on to ``final``: as if nothing had happened.

    ASE's table of offsets grows at 1, 42 and 1764 frames.
    """
    frame = Atoms("H2", positions=np.zeros((2, 3)), constraint=FixAtoms([0]))
    plain = tmp_path / f"plain{suffix}"
    trajectory = open_trajectory(plain, frame)
    for index in range(final):
        trajectory.write(make_frame(index, frame))
    trajectory.close()
    resumed = tmp_path / f"resumed{suffix}"
    trajectory = open_trajectory(resumed, frame)
    mark = trajectory.mark() if cut == 0 else None
    for index in range(written):
        trajectory.write(make_frame(index, frame))
        if index + 1 == cut:
            mark = trajectory.mark()
    trajectory.close()
    with resumed.open("ab") as file:
        file.write(b"half a frame")
    other = Atoms("H2", positions=np.zeros((2, 3)), constraint=FixAtoms([0]))
    trajectory = open_trajectory(resumed, other, mark)
    assert trajectory.frames == cut
    for index in range(cut, final):
        trajectory.write(make_frame(index, other))
    assert trajectory.frames == final
    trajectory.close()
    assert resumed.read_bytes() == plain.read_bytes()
    assert [f.info["index"] for f in ase.io.read(resumed, ":")] == list(range(final))


def test_missing_or_short_files(tmp_path: Path) -> None:
    path = tmp_path / "md.csv"
    with pytest.raises(CheckpointError, match=r"md\.csv: not found"):
        LogFile(path, ["step"], "comment", size=10)
    path.write_text("short")
    with pytest.raises(CheckpointError, match=r"got 5 bytes, expected at least the 10"):
        LogFile(path, ["step"], "comment", size=10)
    assert path.read_text() == "short"


def test_unknown_trajectory_format(make_dynamics: Factory) -> None:
    with pytest.raises(InputError, match=r"^trajectory: got 'md\.dcd', expected a name ending in"):
        make_dynamics("newton", trajectory="md.dcd")
