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


def test_the_recipe_is_valid() -> None:
    settings = settings_of(ROOT / "recipes" / "pt111-water-edp.yaml", {})
    assert {"description", "source", "licence", "method", "do_not_use_for", "selection"} <= set(
        settings.card
    )
