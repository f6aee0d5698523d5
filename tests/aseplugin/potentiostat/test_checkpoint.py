"""The checkpoint file itself: values round-trip exactly, damage is refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from safetensors.numpy import save_file

from voltase.aseplugin.errors import CheckpointError
from voltase.aseplugin.potentiostat.checkpoint import (
    FORMAT,
    pack_atoms,
    pack_rng,
    read_checkpoint,
    unpack_atoms,
    unpack_rng,
    write_checkpoint,
)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    state = {
        "float": 0.1 + 0.2,
        "nan": math.nan,
        "big": 2**127 + 1,
        "numpy": np.float64(1 / 3),
        "none": None,
        "flag": True,
        "list": [1.5, "text", rng.normal(size=3)],
        "nested": {"scalar": np.array(2.5), "empty": np.zeros((0, 3)), "int": np.arange(4)},
        "transposed": rng.normal(size=(2, 3)).T,
    }
    path = tmp_path / "run.ckpt"
    write_checkpoint(path, state)
    back = read_checkpoint(path)
    assert list(back) == list(state)
    assert back["float"] == state["float"]
    assert math.isnan(back["nan"])
    assert back["big"] == state["big"]
    assert back["numpy"] == state["numpy"]
    assert back["none"] is None
    assert back["flag"] is True
    assert back["list"][:2] == [1.5, "text"]
    np.testing.assert_array_equal(back["list"][2], state["list"][2])
    for key, value in state["nested"].items():
        np.testing.assert_array_equal(back["nested"][key], value)
        assert back["nested"][key].shape == value.shape
        assert back["nested"][key].dtype == value.dtype
    np.testing.assert_array_equal(back["transposed"], state["transposed"])
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]
    write_checkpoint(tmp_path / "again.ckpt", state)
    assert (tmp_path / "again.ckpt").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_random_state_round_trip(tmp_path: Path, name: str) -> None:
    rng = np.random.Generator(getattr(np.random, name)(7))
    rng.standard_normal(13)
    write_checkpoint(tmp_path / "run.ckpt", {"rng": pack_rng(rng)})
    twin = unpack_rng(read_checkpoint(tmp_path / "run.ckpt")["rng"])
    np.testing.assert_array_equal(rng.standard_normal(5), twin.standard_normal(5))


def test_unknown_bit_generator() -> None:
    with pytest.raises(CheckpointError, match=r"^bit_generator: got 'os'"):
        unpack_rng({"bit_generator": "os"})


def test_atoms_round_trip(tmp_path: Path) -> None:
    atoms = Atoms("OH2", positions=np.random.default_rng(0).normal(size=(3, 3)), tags=[1, 2, 3])
    atoms.set_cell([[5, 0, 0], [1, 5, 0], [0, 0, 20]])
    atoms.pbc = (True, True, False)
    atoms.set_masses([15.9, 2.0, 2.0])
    atoms.set_momenta(np.random.default_rng(1).normal(size=(3, 3)))
    atoms.set_constraint([FixAtoms([0]), FixAtoms([2])])
    atoms.info = {"label": "Pt", "phi": 1 / 3, "grid": np.arange(3), "callback": print}
    write_checkpoint(tmp_path / "run.ckpt", pack_atoms(atoms))
    back = unpack_atoms(read_checkpoint(tmp_path / "run.ckpt"))
    assert set(back.arrays) == set(atoms.arrays)
    for name, values in atoms.arrays.items():
        np.testing.assert_array_equal(back.arrays[name], values)
    np.testing.assert_array_equal(back.cell.array, atoms.cell.array)
    np.testing.assert_array_equal(back.pbc, atoms.pbc)
    assert [list(c.index) for c in back.constraints] == [[0], [2]]
    assert back.info.keys() == {"label", "phi", "grid"}
    assert back.info["phi"] == 1 / 3


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.ckpt"
    write_checkpoint(path, {"step": 1})

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(CheckpointError, match="cannot be written: No space left"):
        write_checkpoint(path, {"step": 2})
    assert read_checkpoint(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    with pytest.raises(CheckpointError, match=r"run\.ckpt: not found"):
        read_checkpoint(path)
    path.write_bytes(b"\x80\x04pickled")
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        read_checkpoint(path)
    write_checkpoint(path, {"array": np.arange(100)})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        read_checkpoint(path)
    save_file({"a": np.zeros(1)}, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match="got another kind of file, expected voltase-md"):
        read_checkpoint(path)
    header = json.dumps({"format": FORMAT, "version": 99, "state": {}})
    save_file({"a": np.zeros(1)}, path, {"voltase": header})
    with pytest.raises(CheckpointError, match="got version 99, expected 2"):
        read_checkpoint(path)


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    write_checkpoint(path, {"step": 1, "heat": 0.125, "positions": np.ones((2, 3))})
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(CheckpointError, match=r"^/.*run\.ckpt: "):
                read_checkpoint(path)
