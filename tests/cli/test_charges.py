"""pe-charges and pe-train fqeq from the command line."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from typer.testing import CliRunner

from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.features import FeatureConfig
from voltase.aseplugin.models.softfqeq import SoftFQEqConfig, SoftFQEqModel
from voltase.aseplugin.models.softfqeq.checkpoint import save_model
from voltase.aseplugin.testing import pt111_water
from voltase.cli import train_fqeq
from voltase.cli.charges import app as charges
from voltase.cli.train import app as train

FEATURES = BackboneConfig(r_max=4.0, channels=4, num_bessel=6, correlation=2, radial_mlp=(8,))
RANGES = {"H-O": (1.25, 2.0), "O-Pt": (1.6, 2.6), "Pt-Pt": (3.2, 3.6)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = SoftFQEqConfig(["H", "O", "Pt"], features=FeatureConfig("mace", FEATURES), hidden=8,
                            bond_ranges=RANGES, charge={"H": 0.3, "O": -0.6},
                            counter_height=12.0)  # fmt: skip
    network = SoftFQEqModel(config)
    with torch.no_grad():
        network.electronegativity.element.copy_(torch.tensor([6.0, 9.0, 5.0]))
    return save_model(tmp_path_factory.mktemp("fqeq") / "model", network, {})


def frames() -> list[Atoms]:
    found = []
    for number, electrons in enumerate((-0.05, 0.05)):
        atoms = pt111_water(size=(2, 2, 2), waters=2, seed=number)
        atoms.pbc = (True, True, False)
        atoms.info["excess_electrons"] = electrons
        found.append(atoms)
    return found


def test_charges_of_a_trajectory(model: Path, tmp_path: Path) -> None:
    ase.io.write(tmp_path / "md.traj", frames())
    out = tmp_path / "out"
    result = CliRunner().invoke(
        charges, [str(tmp_path / "md.traj"), "--model", str(model), "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    summary = yaml.safe_load((out / "summary.yaml").read_text())
    assert summary["status"] == "complete"
    found = summary["results"]
    assert found["frames"] == 2
    # One fragment of metal has one potential; all atoms together have one by definition.
    assert found["fragment"]["std_in_electrode_V"] < 1e-9
    assert found["global"]["span_V"] < 1e-9 < found["fragment"]["span_V"]
    labelled = ase.io.read(out / "charges.extxyz", ":")
    for atoms, electrons in zip(labelled, (-0.05, 0.05), strict=True):
        assert atoms.arrays["fqeq_charges"].sum() == pytest.approx(-electrons, abs=1e-6)
    for name in summary["files"]:
        assert (out / name).stat().st_size > 0
    assert "fragment: electrochemical potential spans" in result.output


def test_a_frame_with_results_of_its_own(model: Path, tmp_path: Path) -> None:
    atoms = frames()[0]
    atoms.info = {}
    atoms.set_array("fqeq_charges", np.zeros((len(atoms), 3)))
    ase.io.write(tmp_path / "md.extxyz", atoms)
    options = ["--model", str(model), "--out", str(tmp_path / "out"), "--no-global"]
    result = CliRunner().invoke(charges, [str(tmp_path / "md.extxyz"), *options])
    assert result.exit_code == 0, result.output
    found = ase.io.read(tmp_path / "out" / "charges.extxyz").arrays["fqeq_charges"]
    assert found.shape == (len(atoms),)


def test_between_plates_the_atoms_are_neutral(model: Path, tmp_path: Path) -> None:
    ase.io.write(tmp_path / "md.traj", frames())
    options = ["--model", str(model), "--out", str(tmp_path / "out"), "--plates", "--no-global"]
    result = CliRunner().invoke(charges, [f"{tmp_path}/md.traj@1:", *options])
    assert result.exit_code == 0, result.output
    atoms = ase.io.read(tmp_path / "out" / "charges.extxyz")
    assert atoms.arrays["fqeq_charges"].sum() == pytest.approx(0.0, abs=1e-6)
    with np.load(tmp_path / "out" / "charges.npz") as found:
        assert "potential_fragment_V" in found
        assert "potential_global_V" not in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "TRAJ: got none"),
        (["none.traj"], "TRAJ: none.traj not found"),
        (["md.traj", "--bin", "0"], "--bin: got 0, expected a width of 0.001 to 100 A"),
        (["md.traj", "--bin", "-1"], "--bin: got -1"),
        (["md.traj", "--bin", "1e-12"], "--bin: got 1e-12"),
        (["md.traj", "--bin", "1e9"], "--bin: got 1e+09"),
        (["md.traj", "--electrons", "nan"], "--electrons: got nan"),
        (["md.traj", "--electrons", "1e10"], "--electrons: got 1e+10, expected -1000 to 1000"),
        (["md.traj", "--potential", "0V", "--electrons", "0.1"], "--potential: got one and"),
        (["md.traj", "--potential", "high"], "--potential: "),
        (["md.traj", "--reference", "SCE"], "--reference: got 'SCE' without --potential"),
        (["open.extxyz"], "TRAJ: frame 0: "),
        (["md.traj", "--out", "/proc/none"], "--out: /proc/none cannot be made"),
        (["md.traj", "--model", "nothing"], "model: nothing is neither"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ase.io.write("md.traj", frames())
    ase.io.write("open.extxyz", Atoms("Pt4", np.eye(4, 3) * 2.8))
    result = CliRunner().invoke(charges, arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("electrons", "message"),
    [
        ("many", "excess_electrons: found 'many', expected a number"),
        ([0.1, 0.2], "excess_electrons: found array([0.1, 0.2]), expected a number"),
        (float("nan"), "excess_electrons: found nan, expected a finite number"),
        (9.0, "excess_electrons: found 9.0000 e on"),
    ],
)
@pytest.mark.parametrize("plates", [[], ["--plates"]])
def test_a_frame_that_cannot_be_used_is_named(
    plates: list[str], electrons: object, message: str, tmp_path: Path
) -> None:
    """Beyond the trained range, too."""
    torch.manual_seed(0)
    config = SoftFQEqConfig(["H", "O", "Pt"], features=FeatureConfig("mace", FEATURES), hidden=8,
                            bond_ranges=RANGES, counter_height=20.0)  # fmt: skip
    card = {"electrons_per_area_range": [-0.01, 0.01]}
    model = save_model(tmp_path / "model", SoftFQEqModel(config), card)
    first, second = frames()
    for atoms in (first, second):
        atoms.info.pop("adsorbate_info", None)
    second.info["excess_electrons"] = electrons
    ase.io.write(tmp_path / "md.extxyz", [first, second])
    arguments = [f"{tmp_path}/md.extxyz", "--model", str(model), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(charges, [*arguments, *plates, "--no-global"])
    if plates and electrons == 9.0:
        message = "field: found"
    assert result.exit_code == 2
    assert f"TRAJ: frame 1: {message}" in result.output
    assert result.output.strip().count("\n") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["summary.yaml"]
    status = yaml.safe_load((tmp_path / "out" / "summary.yaml").read_text())["status"]
    assert status.startswith("failed: frame 1")


def test_train_fqeq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    labelled = []
    for number, atoms in enumerate(frames() + frames()):
        atoms.positions += rng.normal(0.0, 0.02, atoms.positions.shape)
        values = np.where(atoms.numbers == 8, -0.6, np.where(atoms.numbers == 1, 0.3, 0.0))
        atoms.arrays["hirshfeld_charges"] = values - values.mean()
        atoms.arrays["REF_forces"] = np.zeros((len(atoms), 3))
        n = atoms.info["excess_electrons"]
        atoms.info = {"excess_electrons": n, "source": f"{number:06d}.000"}
        labelled.append(atoms)
    ase.io.write("data.extxyz", labelled)
    settings = {
        "data": {"files": ["data.extxyz"], "test_fraction": 0.25, "valid_fraction": 0.0},
        "model": {
            "features": {"mace": {"r_max": 4.0, "channels": 4, "radial_mlp": [8]}},
            "hidden": 8,
            "bond_ranges": {pair: list(values) for pair, values in RANGES.items()},
        },
        "training": {"epochs": 1, "loss": {"forces": 0.0}},
    }
    Path("fqeq.yaml").write_text(yaml.safe_dump(settings))
    result = CliRunner().invoke(train, ["fqeq", "fqeq.yaml", "--out", "run"])
    assert result.exit_code == 0, result.output
    summary = yaml.safe_load(Path("run/summary.yaml").read_text())
    assert summary["status"] == "finished"
    assert "charge_mae_e" in summary["errors"]["default"]
    assert Path("run/model/model.safetensors").is_file()
    wrong = CliRunner().invoke(train, ["fqeq", "fqeq.yaml", "--features", "schnet"])
    assert wrong.exit_code == 2
    assert "kind: found 'schnet'" in wrong.output


def test_the_recipe_of_the_bundled_model_is_valid() -> None:
    recipe = Path(__file__).resolve().parents[2] / "recipes" / "pt111-water-fqeq.yaml"
    settings = train_fqeq._settings(recipe, {})
    assert settings.data.files
    wanted = {"name", "source", "description", "doi", "licence", "method", "do_not_use_for"}
    assert wanted <= set(settings.card)
