"""``pe-density`` and ``pe-train density``, from densities to pictures."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase.io import write
from typer.testing import CliRunner

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.checkpoint import save_checkpoint
from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel
from voltase.aseplugin.training.density.synthetic import (
    SHELLS,
    synthetic_structure,
    write_synthetic,
)
from voltase.cli import density_output, density_run
from voltase.cli.density import app as density_app
from voltase.cli.density_run import read_settings
from voltase.cli.train import app as train_app
from voltase.cli.train_density import settings_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a trajectory and a model that ``pe-train density`` made."""
    folder = tmp_path_factory.mktemp("density")
    torch.manual_seed(0)
    backbone = BackboneConfig(r_max=4.0, channels=4, max_ell=1, correlation=2, radial_mlp=(8,),
                              num_bessel=4)  # fmt: skip
    trunk = PEMACEConfig(symbols=["H", "O", "Pt"], capacitance=[2e-3], backbone=backbone,
                         zero_charge_potential=[4.8])  # fmt: skip
    save_checkpoint(folder / "trunk", PEMACEModel(trunk), {"name": "t"})
    write_synthetic(folder / "densities.h5", 3)
    settings = {
        "data": {"files": [str(folder / "densities.h5")], "test_fraction": 0.34},
        "model": {"valence": {"H": 1, "O": 6, "Pt": 10}, "highest": 2, "r_max": 4.0,
                  "shells": SHELLS,
                  "n_radial": 3, "n_features": 4, "width": 4, "hidden": 8, "response_width": 3,
                  "response_hidden": 6},
        "training": {"steps": 8, "batch": 2, "evaluate_every": 4},
        "trunk": str(folder / "trunk"),
        "out": str(folder / "run"),
        "threads": 1,
        "card": {"name": "tiny"},
    }  # fmt: skip
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    result = CliRunner().invoke(train_app, ["density", str(folder / "settings.yaml")])
    assert result.exit_code == 0, result.output
    rng = np.random.default_rng(3)
    write(folder / "md.extxyz", [synthetic_structure(rng) for _ in range(3)])
    return folder


def test_training_leaves_a_model_and_its_story(workshop: Path) -> None:
    summary = yaml.safe_load((workshop / "run" / "summary.yaml").read_text())
    assert summary["status"] == "finished"
    assert summary["options"]["training"]["steps"] == 8
    assert (workshop / "run" / "model" / "model.safetensors").is_file()


def test_densities_along_a_trajectory(workshop: Path) -> None:
    out = workshop / "out"
    arguments = [str(workshop / "md.extxyz"), "--model", str(workshop / "run" / "model"),
                 "--electrons", "-0.05,0.05", "--every", "2", "--spacing", "0.3", "--write", "cube",
                 "--threads", "1",
                 "--response", "--out", str(out)]  # fmt: skip
    result = CliRunner().invoke(density_app, arguments)
    assert result.exit_code == 0, result.output
    with (out / "states.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["0", "0", "2", "2"]
    for row in rows:
        assert float(row["electrons_e"]) == pytest.approx(38.0 + float(row["n_e"]), abs=1e-6)
    with np.load(out / "profiles.npz") as arrays:
        profiles = dict(arrays)
    assert profiles["0/electrons"].shape == profiles["0/response"].shape
    z, area = profiles["2/z"], float(profiles["2/area"])
    moved = (profiles["2/electrons"][1] - profiles["2/electrons"][0]).sum() * (z[1] - z[0]) * area
    assert moved == pytest.approx(0.1, abs=1e-5)
    names = {path.name for path in out.iterdir()}
    assert {"profiles.png", "slice.png", "isosurface.png", "profiles.csv", "summary.yaml",
            "00000_n-0.05.cube", "00002_n+0.05_drho_dU.cube"} <= names  # fmt: skip


def test_a_potential_outside_the_range_is_one_line(workshop: Path) -> None:
    arguments = [str(workshop / "md.extxyz"), "--model", str(workshop / "run" / "model"),
                 "--potential", "-2.9V", "--out", str(workshop / "no")]  # fmt: skip
    result = CliRunner().invoke(density_app, arguments)
    assert result.exit_code == 2
    assert "potential: found -2.900 V vs SHE, expected" in result.output


def predict(workshop: Path, trajectory: str, out: str, *more: str) -> tuple[int, str]:
    arguments = [str(workshop / trajectory), "--model", str(workshop / "run" / "model"),
                 "--spacing", "0.4", "--no-pictures", "--out", str(workshop / out),
                 *more]  # fmt: skip
    result = CliRunner().invoke(density_app, arguments)
    return result.exit_code, result.output


def test_results_are_replaced_only_if_told(workshop: Path) -> None:
    both = ("--electrons", "0,0.05", "--write", "chgcar")
    assert predict(workshop, "md.extxyz@0", "twice", *both)[0] == 0
    before = (workshop / "twice" / "states.csv").read_bytes()
    status, text = predict(workshop, "md.extxyz@0", "twice")
    assert status == 2
    assert "has results in it (states.csv), expected a new folder or --overwrite" in text
    assert (workshop / "twice" / "states.csv").read_bytes() == before
    (workshop / "twice" / "mine.txt").write_text("kept")
    assert predict(workshop, "md.extxyz@1", "twice", "--overwrite")[0] == 0
    # Densities of the earlier run are gone, and nothing else.
    names = {path.name for path in (workshop / "twice").iterdir()}
    assert names == {"density.log", "mine.txt", "profiles.csv", "profiles.npz", "states.csv",
                     "summary.yaml"}  # fmt: skip


def test_what_was_done_before_a_failure_is_kept(workshop: Path) -> None:
    frames = [synthetic_structure(np.random.default_rng(k)) for k in range(2)]
    frames[1].positions[4] = frames[1].positions[3] + 0.05
    write(workshop / "bad.extxyz", frames)
    status, text = predict(workshop, "bad.extxyz", "failed")
    assert status == 2
    assert "error: TRAJ: frame 1: atoms: " in text
    summary = yaml.safe_load((workshop / "failed" / "summary.yaml").read_text())
    assert summary["status"].startswith("failed: TRAJ: frame 1")
    with (workshop / "failed" / "states.csv").open() as file:
        assert [row["frame"] for row in csv.DictReader(file)] == ["0"]


def test_an_interruption_leaves_whole_files(workshop: Path, monkeypatch: pytest.MonkeyPatch
                                            ) -> None:  # fmt: skip
    def interrupted(folder: Path, names: list[str], grid: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(density_run, "write_grids", interrupted)
    status, _ = predict(workshop, "md.extxyz", "stopped", "--write", "cube")
    assert status == 130
    assert {path.name for path in (workshop / "stopped").iterdir()} == {
        "density.log", "states.csv", "summary.yaml"}  # fmt: skip
    summary = yaml.safe_load((workshop / "stopped" / "summary.yaml").read_text())
    assert summary["status"] == "interrupted"


def test_frames_may_differ_in_their_atoms(workshop: Path) -> None:
    first = synthetic_structure(np.random.default_rng(5))
    write(workshop / "vary.extxyz", [first, first[:-3]])
    assert predict(workshop, "vary.extxyz", "vary")[0] == 0
    with (workshop / "vary" / "states.csv").open() as file:
        electrons = [float(row["electrons_e"]) for row in csv.DictReader(file)]
    assert electrons[0] - electrons[1] == pytest.approx(8.0, abs=1e-6)


def test_a_slab_across_the_end_has_no_potential(workshop: Path) -> None:
    """z = 0 lies in the metal there, so that no potential counts from it."""
    slab = synthetic_structure(np.random.default_rng(5))
    slab.pbc = True
    slab.positions[:, 2] -= slab.positions[slab.numbers == 78, 2].mean()
    slab.wrap()
    write(workshop / "across.extxyz", slab)
    status, text = predict(workshop, "across.extxyz", "across")
    assert status == 0
    assert "at the lower end of the cell, where vacuum has to be" in text
    with np.load(workshop / "across" / "profiles.npz") as arrays:
        assert np.isnan(arrays["0/potential"]).all()
        assert np.isfinite(arrays["0/electrons"]).all()


def test_pictures_do_without_scikit_image(workshop: Path, monkeypatch: pytest.MonkeyPatch
                                          ) -> None:  # fmt: skip
    """It is an extra; what it draws is left out, with a word."""
    monkeypatch.setattr(density_output, "find_spec", lambda name: None)
    arguments = [str(workshop / "md.extxyz@0"), "--model", str(workshop / "run" / "model"),
                 "--spacing", "0.4", "--out", str(workshop / "plain")]  # fmt: skip
    result = CliRunner().invoke(density_app, arguments)
    assert result.exit_code == 0, result.output
    assert "isosurface.png is left out: scikit-image is not installed" in result.output
    names = {path.name for path in (workshop / "plain").iterdir()}
    assert "slice.png" in names
    assert "isosurface.png" not in names


def test_a_slab_that_lies_on_its_side_is_refused(workshop: Path) -> None:
    slab = synthetic_structure(np.random.default_rng(5))
    slab.set_cell(slab.cell.array[[2, 0, 1]])
    slab.pbc = (False, True, True)
    write(workshop / "side.extxyz", slab)
    status, text = predict(workshop, "side.extxyz", "side")
    assert status == 2
    assert "expected such a slab for profiles along z" in text


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--electrons", "0,0.0"), "--electrons: got n+0 twice"),
        (("--every", "0"), "--every: got 0"),
        (("--threads", "0"), "--threads: got 0"),
        (("--spacing", "0"), "--spacing: got 0, expected 0.01 to 2 A"),
        (("--windows", "100,0"), "--windows: found 100 A, expected at most the height"),
        (("--windows=-1,0",), "--windows: got '-1,0'"),
        (("--ph", "0"), "pH: got pH=0.0 with reference SHE"),
    ],
)
def test_options_that_cannot_be_used(workshop: Path, more: tuple[str, ...], words: str) -> None:
    status, text = predict(workshop, "md.extxyz", "unused", *more)
    assert status == 2
    assert words in text
    assert not (workshop / "unused" / "states.csv").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "TRAJ: got none"),
        ({"structures": ["a"], "potential": "0V", "electrons": "0"}, "--potential: got"),
        ({"structures": ["a"], "every": 0}, "--every: got 0"),
        ({"structures": ["a"], "write": "png"}, "--write: got 'png'"),
    ],
)
def test_settings_that_cannot_be_used(given: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_settings(given, None)


def test_training_needs_valences() -> None:
    with pytest.raises(InputError, match="model.valence: found none"):
        settings_of(None, {"data.files": ["x.h5"]})
    found = settings_of(None, {"data.files": ["x.h5"], "model.valence": "Pt=10,O=6,H=1"})
    assert found.model["valence"] == {"Pt": 10, "O": 6, "H": 1}


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("training", "final_learning_rate", -1.0, "training.final_learning_rate: found -1.0"),
        ("training", "warmup_steps", -5, "training.warmup_steps: found -5"),
        ("training", "weight_decay", -0.1, "training.weight_decay: found -0.1"),
        ("data", "single", [{"excess_electrons": 0.1}], r"data.single\[0\].file: found none"),
        ("data", "fils", ["x.h5"], "data: unknown key 'fils', did you mean 'files'"),
    ],
)
def test_settings_of_a_training_that_cannot_be_used(tmp_path: Path, section: str, key: str,
                                                    value: object, words: str) -> None:  # fmt: skip
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump({section: {key: value}}))
    with pytest.raises(InputError, match=words):
        settings_of(path, {"model.valence": "Pt=10,O=6,H=1"})


def test_the_recipe_is_valid() -> None:
    settings = settings_of(ROOT / "recipes" / "pt111-water-edp.yaml", {})
    assert {"description", "source", "licence", "method", "do_not_use_for", "selection"} <= set(
        settings.card
    )
