"""``pe-train fqeq`` on bad settings, data and folders: one line, status 2, nothing written."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from safetensors.torch import save_file
from typer.testing import CliRunner

from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.checkpoint import save_checkpoint
from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel
from voltase.aseplugin.testing import pt111_water
from voltase.cli.train import app as train

MACE = {"r_max": 4.0, "channels": 4, "num_bessel": 6, "max_ell": 1, "correlation": 2,
        "radial_mlp": [8]}  # fmt: skip
SETTINGS: dict[str, Any] = {
    "data": {"files": ["frames.extxyz"], "test_fraction": 0.34, "valid_fraction": 0.0},
    "model": {
        "features": {"mace": MACE},
        "hidden": 8,
        "bond_ranges": {"H-O": [1.25, 2.0], "O-Pt": [1.6, 2.6], "Pt-Pt": [3.2, 3.6]},
    },
    "training": {"epochs": 2, "loss": {"forces": 0.0}},
    "out": "out",
}
Write = Callable[..., None]


def frames() -> list[Atoms]:
    """Three geometries at two electron numbers between plates."""
    rng, found = np.random.default_rng(1), []
    for number in range(3):
        atoms = pt111_water(size=(2, 2, 2), waters=1, seed=number)
        atoms.pbc = (True, True, False)
        for electrons in (-0.05, 0.05):
            frame = atoms.copy()
            charges = np.where(atoms.numbers == 8, -0.6, np.where(atoms.numbers == 1, 0.3, 0.0))
            frame.arrays["hirshfeld_charges"] = charges - charges.mean()
            frame.arrays["REF_forces"] = rng.normal(0.0, 0.1, (len(atoms), 3))
            frame.info = {"excess_electrons": electrons, "electrode_potential": 4.5 - electrons,
                          "config_type": "field", "source": f"{number:06d}.000"}  # fmt: skip
            found.append(frame)
    return found


def settings(changes: dict[str, Any]) -> None:
    """Write fqeq.yaml, with changes like ``{"training.epochs": 3}``."""
    tree = json.loads(json.dumps(SETTINGS))
    for name, value in changes.items():
        node, keys = tree, name.split(".")
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = value
    Path("fqeq.yaml").write_text(yaml.safe_dump(tree))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with frames in it."""
    monkeypatch.chdir(tmp_path)
    ase.io.write("frames.extxyz", frames())
    return tmp_path


def refusal(changes: dict[str, Any], *arguments: str) -> str:
    """The only line of a run that ends with status 2."""
    settings(changes)
    result = CliRunner().invoke(train, ["fqeq", "fqeq.yaml", *arguments])
    assert result.exit_code == 2, result.output
    lines = [text for text in result.stderr.splitlines() if text != "reading the data"]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.features.mace.channels": 0}, "model.features.mace.channels: found 0"),
        ({"model.features.mace.num_bessel": -1}, "model.features.mace.num_bessel: found -1"),
        ({"model.features.mace.correlation": 9}, "model.features.mace.correlation: found 9"),
        ({"model.features.mace.r_max": 1e9}, "r_max: found 1e+09 A, expected at most 20 A"),
        ({"model.features.mace.max_L": 5}, "max_L: found 5, expected 0 to max_ell = 1"),
        ({"model.features.mace.normalisation": [1.0]}, "normalisation: found [1.0], expected a"),
        ({"model.features.mace.pair_cutoffs": {"O-H": 3}}, "pair_cutoffs: found 'O-H'"),
        ({"model.bond_ranges": {"Au-Pt": [1, 2]}}, "model.bond_ranges: found 'Au-Pt'"),
        ({"model.bond_ranges": {"H-O": [2, 1]}}, "model.bond_ranges: found 2 and 1 A for H-O"),
        ({"model.charge": {"Au": 1.0}}, "model.charge: found 'Au', expected elements of"),
        ({"model.width": {"H": 1e6}}, "model.width: found 1e+06 A for H, expected 0.1 to 5 A"),
        ({"model.electrode_symbols": ["Au"]}, "model.electrode_symbols: found Au, expected some"),
        ({"model.symbols": ["X", "H", "O", "Pt"]}, "model.symbols: found X, which is no element"),
        ({"model.counter_height": 0.1}, "model.counter_height: found 0.1 A, below the outermost"),
        ({"model.counter_height": 1e9}, "model.counter_height: found 1e+09 A, expected at most"),
        ({"data.weights": {"sjm": 2}}, "data.weights: found 'sjm', expected a config type"),
        ({"data.weights": {"field": 0}}, "data.weights: found 0 for all that is trained on"),
        ({"data.energy_types": ["sjm"]}, "data.energy_types: found 'sjm'"),
        (
            {"training.loss": {"charges": 0, "response": 0, "electrode": 0, "potential": 0,
                               "forces": 0, "energy": 1}},
            "training.loss: found no label of a term with a weight",
        ),
        ({"threads": 10**30}, "threads: found 1000000000000000000000000000000, expected 1 to"),
        ({"threads": 0}, "threads: found 0, expected 1 to 1024"),
        ({"out": "frames.extxyz"}, "out: frames.extxyz is no folder to write to"),
        ({"out": "frames.extxyz/a"}, "frames.extxyz is no folder to write to"),
        ({"out": "x" * 300}, "cannot be made (File name too long)"),
        ({"init": "nothing"}, "init: nothing is neither a checkpoint folder nor"),
        ({"init": "pt111-water-edp"}, "is of kind 'pe-edp', expected 'soft-fqeq' or 'pe-mace'"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_used(folder: Path, changes: dict[str, Any], words: str) -> None:
    assert words in refusal(changes)
    assert sorted(path.name for path in folder.iterdir()) == ["fqeq.yaml", "frames.extxyz"]


def charges(values: Any) -> Write:
    def change(atoms: Atoms) -> None:
        atoms.arrays["hirshfeld_charges"] = np.array([values] * len(atoms))

    return change


def info(name: str, value: Any) -> Write:
    def change(atoms: Atoms) -> None:
        atoms.info[name] = value

    return change


def whole_cell(atoms: Atoms) -> None:
    atoms.pbc = True


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (charges("a"), "frame 2: 'hirshfeld_charges' are no numbers"),
        (charges(1.0), "frame 2: 'hirshfeld_charges' sum to 11 e, expected 0 e with charging"),
        (charges([0.0, 0.0]), "frame 2: 'hirshfeld_charges' has shape (11, 2)"),
        (whole_cell, "found pbc [True, True, False], expected that of the same geometry"),
        (info("excess_electrons", 9.0), "found 9 in 'excess_electrons' on 27.3 A^2"),
        (info("electrode_potential", 1e9), "found 1e+09 V in 'electrode_potential'"),
    ],
)
def test_a_frame_that_cannot_be_used(folder: Path, change: Write, words: str) -> None:
    found = frames()
    change(found[2])
    ase.io.write("frames.extxyz", found)
    assert words in refusal({})
    assert not (folder / "out").exists()


def nameless(atoms: Atoms) -> None:
    del atoms.info["excess_electrons"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (whole_cell, "in a periodic cell without a wetted face of Pt under vacuum, expected 0"),
        (nameless, "found 'electrode_potential' without 'excess_electrons', expected both"),
    ],
)
@pytest.mark.parametrize("charging", ["plates", "plane"])
def test_charges_that_the_model_cannot_give(
    folder: Path, charging: str, change: Write, words: str
) -> None:
    """In a cell that is periodic in 3D, also with a plane, which it has not."""
    found = frames()
    for atoms in found:
        change(atoms)
        n = atoms.info.get("excess_electrons", 0.0) if charging == "plane" else 0.0
        atoms.arrays["hirshfeld_charges"] -= n / len(atoms)
    ase.io.write("frames.extxyz", found)
    assert words in refusal({"data.charging": charging})
    assert not (folder / "out").exists()


def test_shifted_charges_are_one_warning(folder: Path) -> None:
    settings({"data.charging": "plane", "training.epochs": 1})
    result = CliRunner().invoke(train, ["fqeq", "fqeq.yaml"])
    assert result.exit_code == 0, result.output
    warnings = [text for text in result.stderr.splitlines() if text.startswith("warning")]
    assert len(warnings) == 1
    assert "'hirshfeld_charges' of 6 frames out of 6 miss the total charge" in warnings[0]


def test_a_training_that_diverges_is_one_line(folder: Path) -> None:
    settings({"training.learning_rate": 1e30, "training.warmup_steps": 0})
    result = CliRunner().invoke(train, ["fqeq", "fqeq.yaml"])
    assert result.exit_code == 2, result.output
    assert "error: training: " in result.stderr.splitlines()[-1]
    assert "learning_rate" in result.stderr.splitlines()[-1]
    assert not (folder / "out" / "model").exists()


@pytest.fixture
def networks(folder: Path) -> None:
    """PE-MACE checkpoints: one that fits, one of other elements."""
    backbone = BackboneConfig(**{**MACE, "radial_mlp": (8,)})  # type: ignore[arg-type]
    for name, symbols in (("fits", ["H", "O", "Pt"]), ("gold", ["H", "O", "Au"])):
        torch.manual_seed(0)
        config = PEMACEConfig(symbols=symbols, electrode_symbols=symbols[2:], backbone=backbone)
        save_checkpoint(folder / name, PEMACEModel(config), {})


@pytest.mark.usefixtures("networks")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"init": "gold"}, "model.symbols: found H, O, Au, expected Pt as in the frames too"),
        ({"init": "fits", "model.features.kind": "hipnn"}, "model.features.kind: found 'hipnn'"),
        (
            {"init": "fits", "model.features.mace.channels": 8},
            "model.features.mace.channels: found 8, expected 4 as in the network of init",
        ),
    ],
)
def test_a_network_that_does_not_fit(folder: Path, changes: dict[str, Any], words: str) -> None:
    assert words in refusal(changes)
    assert not (folder / "out").exists()


def test_states_and_checkpoints(folder: Path) -> None:
    """A finished training, gone on with, started from, and damaged."""
    settings({})
    assert CliRunner().invoke(train, ["fqeq", "fqeq.yaml"]).exit_code == 0
    again = CliRunner().invoke(train, ["fqeq", "fqeq.yaml"])
    assert again.exit_code == 0
    assert "nothing to train: 2 epochs are done, 2 asked for" in again.stderr
    assert "training.clip = 100.0, expected 3.0" in refusal({"training.clip": 3})
    # What is said of the features joins those of the checkpoint, which keep the rest.
    settings({"init": "out/model", "model.features": {"mace": {"avg_num_neighbors": 9.0}},
              "out": "second", "training.epochs": 1})  # fmt: skip
    second = CliRunner().invoke(train, ["fqeq", "fqeq.yaml"])
    assert second.exit_code == 0, second.output
    card = json.loads(Path("second/model/model.json").read_text())
    assert card["config"]["features"]["mace"]["channels"] == 4
    shutil.copytree("out/model", "damaged")
    card = json.loads(Path("damaged/model.json").read_text())
    card["data"]["split"] = 3
    Path("damaged/model.json").write_text(json.dumps(card))
    assert "init: the card's split" in refusal({"init": "damaged", "out": "third"})
    Path("damaged/model.json").write_bytes(bytes(range(128, 256)))
    assert "init: damaged/model.json cannot be read" in refusal({"init": "damaged"})
    Path("out/metrics.jsonl").write_text("{")
    assert "restart: out/metrics.jsonl cannot be read" in refusal({})
    save_file({"a": torch.zeros(1)}, "out/state.safetensors", {"state": "{}"})
    assert "restart: the state in out has no 'epoch'" in refusal({})
    shutil.rmtree("out")
    Path("out").mkdir()
    Path("out/model").write_text("")
    assert "out: out/model is a file, expected a folder" in refusal({})


def test_geometries_of_a_type_are_repeated(folder: Path) -> None:
    settings({"data.weights": {"field": 3}, "training.epochs": 1})
    result = CliRunner().invoke(train, ["fqeq", "fqeq.yaml"])
    assert result.exit_code == 0, result.output
    assert "2 geometries to train on" in result.stderr
    assert json.loads(Path("out/metrics.jsonl").read_text())["step"] == 6


def full_disk() -> None:
    """Let no file of this process grow beyond 9 kB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))


@pytest.mark.slow
def test_a_full_disk(folder: Path) -> None:
    settings({})
    command = [sys.executable, "-m", "voltase.cli.train", "fqeq", "fqeq.yaml", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120,
                          preexec_fn=full_disk)  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: out: out cannot be written to (")
    assert not list(folder.rglob("*.partial"))
    assert yaml.safe_load(Path("out/summary.yaml").read_text())["status"].startswith("failed")
