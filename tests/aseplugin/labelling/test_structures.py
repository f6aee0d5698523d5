"""Frames from files: slices, names, and which of them are one geometry."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.labelling.structures import Structure, read_structures
from voltase.aseplugin.testing import oscillator_atoms


@pytest.fixture
def file(tmp_path: Path) -> str:
    frames = []
    for k in range(6):
        atoms = oscillator_atoms(2)
        atoms.positions[0, 2] += 0.1 * (k % 5)
        atoms.info["excess_electrons"] = 0.1 * k
        frames.append(atoms)
    path = tmp_path / "a.b run.traj"
    write(path, frames)
    return str(path)


def test_all_frames_come_and_equal_ones_once(file: str) -> None:
    found = read_structures([file, file])
    assert [each.name for each in found] == [f"a-b-run-{k}" for k in range(5)]
    assert found[1].where == f"{file}@1"
    # Frames 0 and 5 are one geometry at two electron numbers; the second file repeats both.
    assert set(found[0].own_electrons) == {0.0, 0.5}
    assert found[0].atoms.info == {}


@pytest.mark.parametrize(
    ("index", "numbers"), [("1", [1]), ("-1", [5]), ("1:4:2", [1, 3]), ("-2:", [4, 5])]
)
def test_slices_keep_the_numbers_of_the_file(file: str, index: str, numbers: list[int]) -> None:
    found = read_structures([f"{file}@{index}"])
    assert [int(each.where.rpartition("@")[2]) for each in found] == numbers


def test_geometry_depends_on_what_decides_a_label() -> None:
    atoms = oscillator_atoms(2)

    def geometry(change: str = "") -> str:
        changed: Atoms = atoms.copy()
        if change == "noise":
            changed.positions += 1e-9
        elif change == "moved":
            changed.positions[0, 0] += 1e-3
        elif change == "spin":
            changed.set_initial_magnetic_moments([1.0, 0.0])
        elif change == "pbc":
            changed.pbc = True
        return Structure(changed, "", "").geometry

    assert geometry("noise") == geometry()
    assert len({geometry(change) for change in ("", "moved", "spin", "pbc")}) == 4


def test_unusable_files_are_refused(tmp_path: Path, file: str) -> None:
    broken = oscillator_atoms(2)
    broken.positions[0, 0] = np.nan
    write(tmp_path / "nan.traj", broken)
    (tmp_path / "no.xyz").write_text("what\n")
    for name, message in (
        ("absent.traj", "not found"),
        (f"{tmp_path}/no.xyz", "cannot be read"),
        (f"{tmp_path}/nan.traj", "not finite"),
        (f"{file}@7:", "has no frame"),
    ):
        with pytest.raises(InputError, match=message):
            read_structures([name])
