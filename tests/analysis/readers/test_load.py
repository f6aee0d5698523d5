"""From a source of any kind to a Universe."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ase.io
import MDAnalysis as mda
import numpy as np
import pytest
from ase import Atoms
from MDAnalysis.coordinates.XYZ import XYZReader

from voltase.analysis.readers import ExtxyzReader, load
from voltase.aseplugin.errors import InputError

MakeFrames = Callable[..., list[Atoms]]


def test_universe_stays(make_frames: MakeFrames) -> None:
    universe = load(make_frames(2))
    assert load(universe, dt=3.0) is universe


def test_single_atoms(make_frames: MakeFrames) -> None:
    assert load(make_frames(1)[0]).trajectory.n_frames == 1


@pytest.mark.parametrize("name", ["md.xyz", "md.XYZ", "md.xyz.gz"])
def test_extended_xyz_by_another_name(make_frames: MakeFrames, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    ase.io.write(path, make_frames(3), format="extxyz")
    universe = load(str(path))
    assert isinstance(universe.trajectory, ExtxyzReader)
    assert universe.dimensions is not None


def test_plain_xyz_is_left_to_mdanalysis(make_frames: MakeFrames, tmp_path: Path) -> None:
    path = tmp_path / "md.xyz"
    ase.io.write(path, make_frames(3), format="xyz")
    universe = load(path, dt=0.5)
    assert isinstance(universe.trajectory, XYZReader)
    assert universe.trajectory.dt == 0.5


def test_other_formats(make_frames: MakeFrames, tmp_path: Path) -> None:
    universe = load(make_frames(3))
    gro, trr = tmp_path / "md.gro", tmp_path / "md.trr"
    universe.atoms.write(str(gro))
    universe.atoms.write(str(trr), frames="all")
    again = load(trr, topology=gro)
    assert again.trajectory.n_frames == 3
    assert np.allclose(again.atoms.positions, universe.atoms.positions, atol=1e-5)
    assert load(gro).atoms.n_atoms == 6


def test_topology_of_another_file(make_frames: MakeFrames, tmp_path: Path) -> None:
    frames = make_frames(2)
    universe = load(frames)
    gro, traj = tmp_path / "md.gro", tmp_path / "md.traj"
    universe.atoms.write(str(gro))
    ase.io.write(traj, frames)
    again = load(traj, topology=gro)
    assert again.residues.resnames.tolist() == ["SYSTE"]
    assert again.trajectory[1].data["excess_electrons"] == frames[1].info["excess_electrons"]


def test_topology_of_other_atoms(make_frames: MakeFrames, tmp_path: Path) -> None:
    frames = make_frames(2)
    gro = tmp_path / "md.gro"
    load(frames).select_atoms("element Pt").write(str(gro))
    with pytest.raises(InputError, match="MDAnalysis cannot read it: .*number of atoms") as error:
        load(frames, topology=gro)
    assert "\n" not in str(error.value)


def test_several_files(make_frames: MakeFrames, tmp_path: Path) -> None:
    frames = make_frames(5)
    names = [str(tmp_path / "a.traj"), str(tmp_path / "b.traj")]
    ase.io.write(names[0], frames[:2])
    ase.io.write(names[1], frames[2:])
    universe = mda.Universe(names[0], names)
    n = [ts.data["excess_electrons"] for ts in universe.trajectory]
    assert n == [atoms.info["excess_electrons"] for atoms in frames]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.traj: found no such file"):
        load(tmp_path / "none.traj")
    with pytest.raises(InputError, match=r"found a folder, expected a trajectory"):
        load(tmp_path)
    with pytest.raises(InputError, match="trajectory: found int, expected a path"):
        load(3)
    other = tmp_path / "notes.odt"
    other.write_text("no trajectory")
    with pytest.raises(InputError, match=r"notes.odt: MDAnalysis cannot read it"):
        load(other)
    broken = tmp_path / "md.xyz.gz"
    broken.write_text("not compressed")
    with pytest.raises(InputError, match=r"md.xyz.gz: cannot be read"):
        load(broken)


def test_import_needs_no_torch() -> None:
    code = "import voltase.analysis.readers, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
