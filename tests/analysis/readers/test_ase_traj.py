"""The reader of ASE's .traj files."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import ase.io
import MDAnalysis as mda
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import Trajectory

from voltase.analysis.readers import TrajReader, load
from voltase.aseplugin.errors import InputError

MakeFrames = Callable[..., list[Atoms]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "md.traj"


def _written(path: Path, frames: list[Atoms]) -> Path:
    with Trajectory(path, "w") as file:
        for atoms in frames:
            file.write(atoms)
    return path


def test_universe_reads_the_file(make_frames: MakeFrames, path: Path) -> None:
    frames = make_frames(50)
    _written(path, frames)
    universe = mda.Universe(str(path))
    assert isinstance(universe.trajectory, TrajReader)
    assert universe.trajectory.filename == str(path)
    n = [ts.data["excess_electrons"] for ts in universe.trajectory]
    assert n == [atoms.info["excess_electrons"] for atoms in frames]
    assert TrajReader.parse_n_atoms(str(path)) == 6


@pytest.mark.parametrize("writer", ["Trajectory", "write"])
def test_both_ways_of_writing(make_frames: MakeFrames, path: Path, writer: str) -> None:
    frames = make_frames(3)
    if writer == "write":
        ase.io.write(path, frames)
    else:
        _written(path, frames)
    universe = load(path)
    assert universe.trajectory.n_frames == 3
    assert np.array_equal(universe.trajectory.ts.data["pbc"], frames[0].pbc)


def test_appended_files_and_changed_headers(make_frames: MakeFrames, path: Path) -> None:
    frames = make_frames(5)
    _written(path, frames[:2])
    for atoms in frames[2:4]:
        atoms.pbc = True
        atoms.set_constraint(FixAtoms([0]))
        # The old one no longer counts, as the boundary conditions are others.
        atoms.calc = SinglePointCalculator(atoms, **atoms.calc.results)
    with Trajectory(path, "a") as file:
        for atoms in frames[2:]:
            file.write(atoms)
    universe = load(path)
    assert [bool(ts.data["pbc"][2]) for ts in universe.trajectory] == [
        False, False, True, True, False,
    ]  # fmt: skip
    # Forces are the calculator's, not those that constraints leave.
    assert universe.trajectory[2].forces[0].any()


def test_own_masses(make_frames: MakeFrames, path: Path) -> None:
    frames = make_frames(2)
    for atoms in frames:
        velocities = atoms.get_velocities()
        atoms.set_masses([195.0, 195.0, 195.0, 18.0, 2.014, 2.014])
        atoms.set_velocities(velocities)
    universe = load(_written(path, frames))
    assert universe.atoms.masses[4] == 2.014
    expected = frames[0].get_velocities()
    found = universe.trajectory[0].data["exact_velocities"]
    assert np.allclose(found / expected, found[0, 0] / expected[0, 0])


def test_pickle_carries_the_absolute_name(
    make_frames: MakeFrames, path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _written(path, make_frames(300))
    monkeypatch.chdir(path.parent)
    universe = load("md.traj")
    data = pickle.dumps(universe.trajectory)
    assert len(data) < 1000
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert pickle.loads(data).n_frames == 300


@pytest.mark.parametrize("n_frames", [3, 60])
def test_truncated_file(
    make_frames: MakeFrames, path: Path, caplog: pytest.LogCaptureFixture, n_frames: int
) -> None:
    _written(path, make_frames(n_frames))
    data = path.read_bytes()
    path.write_bytes(data[:-700])
    universe = load(path)
    assert universe.trajectory.n_frames == n_frames - 1
    assert f"truncated, the last 1 of {n_frames} frames are missing" in caplog.text
    assert [ts.frame for ts in universe.trajectory] == list(range(n_frames - 1))


def test_file_without_its_table(make_frames: MakeFrames, path: Path) -> None:
    _written(path, make_frames(3))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(InputError, match=r"md.traj: found 1500 bytes, truncated before the table"):
        load(path)


def test_unusable_files(make_frames: MakeFrames, path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"md.traj: found an empty file"):
        load(path)
    path.write_bytes(b"nothing of the kind" * 10)
    with pytest.raises(InputError, match=r"md.traj: found b'nothing.*expected an ASE trajectory"):
        load(path)
    with Trajectory(path, "w"):
        pass
    with pytest.raises(InputError, match=r"md.traj: found no frame, expected at least one"):
        load(path)
    with pytest.raises(InputError, match=r"no such file"):
        load(path.with_name("other.traj"))
    with pytest.raises(ValueError, match="found no frame"):
        mda.Universe(str(path))


def test_damaged_frame(make_frames: MakeFrames, path: Path) -> None:
    _written(path, make_frames(3))
    data = path.read_bytes()
    last = data.rfind(b'{"positions."')
    path.write_bytes(data[:last] + b"[" + data[last + 1 :])
    universe = load(path)
    with pytest.raises(InputError, match=r"frame 2: cannot be read"):
        universe.trajectory[2]


def test_file_that_disappears_while_reading(
    make_frames: MakeFrames, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    universe = load(_written(path, make_frames(3)))

    def fail(*_: object) -> bytes:
        raise OSError("stale file handle")

    monkeypatch.setattr("os.pread", fail)
    # MDAnalysis would take an OSError for the end of the trajectory.
    with pytest.raises(InputError, match="stale file handle"):
        list(universe.trajectory)
