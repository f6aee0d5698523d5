"""What is held out stays held out."""

from pathlib import Path
from typing import Any

import pytest
from ase.io import read, write

from voltase.aseplugin.active_learning.evaluation import HeldOut
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.checkpoint import load_checkpoint
from voltase.aseplugin.models.pemace import PEMACEConfig
from voltase.aseplugin.training.config import DataConfig
from voltase.aseplugin.training.synthetic import synthetic_frames


@pytest.fixture(scope="module")
def network(first_model: Path) -> PEMACEConfig:
    return load_checkpoint(first_model)[0].config


def fixed(held_out: HeldOut, path: Path, network: PEMACEConfig, card: Any = None) -> HeldOut:
    held_out.fix(path, network, card or {}, "active-learning")
    return held_out


def test_a_file_is_held_out_with_all_frames_of_its_geometries(
    tmp_path: Path, files: Path, network: PEMACEConfig
) -> None:
    # One of the held-out geometries is among the other frames too, under another name.
    few = read(files / "few.extxyz", ":") + [read(files / "held.extxyz", 0)]
    few[-1].info.update(config_type="synthetic", geometry=99)
    write(tmp_path / "few.extxyz", few)
    data = DataConfig(files=[str(tmp_path / "few.extxyz")])
    held = fixed(HeldOut(data, [str(files / "held.extxyz")]), tmp_path / "split.yaml", network)
    assert held.split.test == {"held-out/0", "held-out/1", "held-out/2"}
    assert held.split.config_types == {"held-out", "synthetic", "active-learning"}
    samples = held.samples(network)
    assert sorted(sample.config_type for sample in samples) == ["held-out"] * 3 + ["synthetic"]
    assert held.split.use_of("active-learning/g0") == "train"


def test_a_share_is_held_out_once_for_all(tmp_path: Path, network: PEMACEConfig) -> None:
    write(tmp_path / "data.extxyz", synthetic_frames(8, charges=1, waters=1))
    data = DataConfig(files=[str(tmp_path / "data.extxyz")], test_fraction=0.25, valid_fraction=0.2)
    first = fixed(HeldOut(data, []), tmp_path / "split.yaml", network).split
    assert (len(first.test), len(first.valid)) == (2, 2)
    assert fixed(HeldOut(data, []), tmp_path / "split.yaml", network, {"data": {}}).split == first


def test_what_the_first_model_held_out_is_held_out(tmp_path: Path, network: PEMACEConfig) -> None:
    write(tmp_path / "data.extxyz", synthetic_frames(4, charges=1, waters=1))
    data = DataConfig(files=[str(tmp_path / "data.extxyz")], test_fraction=0.0, valid_fraction=0.0)
    card = {"data": {"frames": {"synthetic": 4}, "split": {"test_snapshots": ["synthetic/2"]}}}
    held = fixed(HeldOut(data, []), tmp_path / "split.yaml", network, card)
    assert held.split.test == {"synthetic/2"}


def test_nothing_held_out_is_refused(tmp_path: Path, files: Path, network: PEMACEConfig) -> None:
    data = DataConfig(files=[str(files / "few.extxyz")], test_fraction=0.0)
    with pytest.raises(InputError, match="held_out: found no files"):
        fixed(HeldOut(data, []), tmp_path / "split.yaml", network)


def test_errors_of_all_frames_together_and_by_type(
    tmp_path: Path, files: Path, first_model: Path, network: PEMACEConfig
) -> None:
    data = DataConfig(files=[str(files / "few.extxyz")])
    held = fixed(HeldOut(data, [str(files / "held.extxyz")]), tmp_path / "split.yaml", network)
    counts: list[tuple[int, int]] = []
    errors = held.errors(first_model, "cpu", lambda *seen: counts.append(seen))
    assert counts == [(1, 3), (2, 3), (3, 3)]
    assert errors["all"] == errors["held-out"]
    assert errors["all"]["frames"] == 6
    assert errors["all"]["force_rmse_meV_A"] > 0.0
