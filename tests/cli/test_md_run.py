"""What a run of ``pe-md`` leaves behind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.io import read, write
from typer.testing import CliRunner, Result

from voltase.cli import md
from voltase.cli.md_averages import read_log
from voltase.cli.md_settings import MDSettings

Run = Callable[..., Result]


@pytest.fixture
def pe_md(fast_runs: None, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command with the test model for a few steps, cold and often logged."""
    monkeypatch.chdir(tmp_path)
    few = ["--model", model, "--temp", 20, "--steps", 6, "--log-every", 1, "--traj-every", 2]

    def run(*arguments: object, status: int = 0) -> Result:
        result = CliRunner().invoke(md.app, [str(argument) for argument in (*few, *arguments)])
        assert result.exit_code == status, result.output
        return result

    return run


def summary_of(folder: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((Path(folder) / "summary.yaml").read_text())
    return found


def test_a_run_leaves_log_trajectory_checkpoint_and_summary(pe_md: Run, model: Path) -> None:
    result = pe_md("--potential", "-0.3V", "--out", "run")
    files = {path.name for path in Path("run").iterdir()}
    assert files == {"md.csv", "md.traj", "checkpoint.safetensors", "summary.yaml"}
    log = read_log(Path("run/md.csv"))
    np.testing.assert_array_equal(log["step"], range(7))
    np.testing.assert_allclose(log["time_fs"], 0.5 * np.arange(7))
    np.testing.assert_allclose(log["U_V"], log["Phi_V"] - 4.44)
    np.testing.assert_allclose(log["target_U_V"], -0.3)
    assert np.isfinite(log["Phi_spread_V"]).all()
    frames = read("run/md.traj", ":")
    assert len(frames) == 4
    start = read(model / "interface.extxyz")
    for step, frame in zip((0, 2, 4, 6), frames, strict=True):
        assert frame.info["excess_electrons"] == log["n_e"][step]
        assert frame.info["electrode_potential"] == log["Phi_V"][step]
        fixed = frame.constraints[0].index
        np.testing.assert_array_equal(fixed, start.constraints[0].index)
        np.testing.assert_allclose(frame.positions[fixed], start.positions[fixed], atol=1e-8)
    assert np.abs(frames[-1].positions - start.positions).max() > 1e-5
    assert "complete: step 6 of 6" in result.stdout
    assert "potential U" in result.stdout
    assert len(result.stdout.splitlines()) < 20


def test_the_summary_has_versions_hash_and_every_option(pe_md: Run, model: Path) -> None:
    pe_md("--potential", "-300 mV", "--out", "run")
    found = summary_of("run")
    assert found["status"] == "complete"
    assert (found["step"], found["problem"]) == (6, None)
    assert {"voltase", "torch", "ase", "numpy", "mace-torch"} <= set(found["versions"])
    card = yaml.safe_load((model / "model.json").read_text())
    assert found["model"]["sha256"] == card["sha256"]
    assert set(found["options"]) == set(MDSettings.__annotations__)
    expected = {"potential": "-0.3V", "method": "bonnet-otani", "period": 150.0, "tau": 100.0}
    expected |= {"potentiostat_tau": 200.0, "seed": 0, "thermostat": "langevin"}
    assert {key: found["options"][key] for key in expected} == expected
    assert found["options"]["threads"] >= 1
    assert found["reference"] == {"label": "V vs SHE", "zero_absolute_V": 4.44}
    assert found["system"]["mobile_atoms"] == 10
    log = read_log(Path("run/md.csv"))
    late = log["n_e"][log["step"] >= 1]
    assert found["averages"]["n_e"]["mean"] == pytest.approx(late.mean())
    assert found["performance"]["steps"] == 6
    assert found["performance"]["ns_per_day"] == pytest.approx(
        found["performance"]["steps_per_second"] * 0.5e-6 * 86400, rel=1e-2
    )


def test_the_summary_has_the_limits_of_the_domain_and_only_files_that_exist(
    pe_md: Run, model: Path, tmp_path: Path
) -> None:
    shutil.copytree(model, tmp_path / "narrow")
    path = tmp_path / "narrow" / "model.json"
    card = json.loads(path.read_text())
    ranges = {"default": {"potential": [3.5, 5.0], "electrons_per_area": [-0.01, 0.01]}}
    path.write_text(json.dumps(card | {"data": {"ranges": ranges}}))
    pe_md("--model", "narrow", "--potential", "-0.3V", "--out", "run")
    found = summary_of("run")
    assert found["model"]["potential_range_V_absolute"] == [3.5, 5.0]
    assert found["model"]["electrons_per_area_range_e_A2"] == [-0.01, 0.01]
    # Figures are off in these tests.
    assert found["files"] == ["md.traj", "md.csv", "checkpoint.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (["--potential=-0.3V"], -0.3),
        (["--potential", "\N{MINUS SIGN}300 mV"], -0.3),
        (["--potential", "4.14V", "--reference", "absolute"], 4.14),
        (["--potential", "-0.2V", "--reference", "rhe", "--ph", "0"], -0.2),
    ],
)
def test_forms_of_potential(pe_md: Run, arguments: list[str], target: float) -> None:
    pe_md(*arguments, "--out", "run", "--steps", 1)
    assert read_log(Path("run/md.csv"))["target_U_V"][0] == pytest.approx(target)


def test_a_ramp_and_steps(pe_md: Run) -> None:
    pe_md("--potential", "-0.3V:0V", "--out", "ramp")
    target = read_log(Path("ramp/md.csv"))["target_U_V"]
    np.testing.assert_allclose(target, -0.3 + 0.05 * np.arange(7), atol=1e-12)
    assert summary_of("ramp")["averages"] is None
    pe_md("--potential", "-0.3V@0,-0.1V@4", "--out", "steps")
    target = read_log(Path("steps/md.csv"))["target_U_V"]
    np.testing.assert_allclose(target, [-0.3] * 4 + [-0.1] * 3)


def test_equal_seeds_make_equal_runs(pe_md: Run) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        pe_md("--potential", "-0.3V", "--seed", seed, "--out", name, "--steps", 2)
    logs = {name: Path(name, "md.csv").read_bytes() for name in "abc"}
    assert logs["a"] == logs["b"]
    assert logs["a"] != logs["c"]


def test_momenta_of_the_structure_are_kept(pe_md: Run, model: Path) -> None:
    atoms = read(model / "interface.extxyz")
    momenta = np.random.default_rng(5).normal(scale=0.05, size=(len(atoms), 3))
    atoms.set_momenta(momenta)
    write("moving.traj", atoms)
    pe_md("moving.traj", "--potential", "-0.3V", "--out", "run", "--steps", 1)
    np.testing.assert_array_equal(read("run/md.traj@0").get_momenta(), atoms.get_momenta())
    assert summary_of("run")["system"]["momenta"] == "those of the structure"


def test_a_frame_of_a_trajectory_is_where_the_run_starts(pe_md: Run, model: Path) -> None:
    frames = [read(model / "interface.extxyz") for _ in range(3)]
    for k, frame in enumerate(frames):
        frame.positions[-1, 2] += 0.01 * k
    write("frames.extxyz", frames)
    for structure, expected in (("frames.extxyz", 2), ("frames.extxyz@1", 1)):
        pe_md(structure, "--potential", "-0.3V", "--out", "run", "--overwrite", "--steps", 1)
        start = read("run/md.traj@0")
        assert start.positions[-1, 2] == pytest.approx(frames[expected].positions[-1, 2])
        assert len(start.constraints[0].index) == 4


def test_nothing_that_is_there_is_overwritten_unasked(pe_md: Run) -> None:
    pe_md("--potential", "-0.3V", "--out", "run")
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    result = pe_md("--potential", "-0.2V", "--out", "run", status=2)
    assert "--restart goes on with it, --overwrite replaces it" in result.stderr
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before
    Path("run/notes.txt").write_text("mine")
    pe_md("--potential", "-0.2V", "--out", "run", "--overwrite", "--traj", "other.extxyz")
    assert Path("run/notes.txt").read_text() == "mine"
    assert not Path("run/md.traj").exists()
    assert len(read("run/other.extxyz", ":")) == 4


def test_a_file_of_settings_and_the_default_folder(pe_md: Run) -> None:
    Path("run.yaml").write_text("potential: -0.3\nmethod: thermopotentiostat\nseed: 3\n")
    pe_md("--config", "run.yaml", "--seed", 4)
    [folder] = Path().glob("pe-md_*_-0.3V")
    found = summary_of(folder)["options"]
    assert (found["method"], found["seed"]) == ("thermopotentiostat", 4)
    assert found["potentiostat_tau"] == 100.0


def test_an_explosion_names_step_and_frame(pe_md: Run) -> None:
    result = pe_md("--potential", "-0.3V", "--out", "run", "--max-temp", 25, "--steps", 400,
                   "--temp", 24, status=3)  # fmt: skip
    assert result.stderr.splitlines()[-1].startswith("error: step ")
    assert "max_temperature_K 25 K" in result.stderr
    frame = Path(result.stderr.rpartition("frame in ")[2].strip())
    assert frame.parent == Path("run")
    assert len(read(frame)) == 14
    found = summary_of("run")
    assert found["status"] == "failed"
    assert "temperature" in found["problem"]


def test_leaving_the_trained_range_stops_the_run_until_it_is_allowed(
    pe_md: Run, model: Path
) -> None:
    import json
    import shutil

    shutil.copytree(model, "narrow")
    path = Path("narrow/model.json")
    card = json.loads(path.read_text())
    # The run starts inside and is driven out.
    pe_md("--model", "narrow", "--out", "probe", "--potential", "-0.3V", "--steps", 1)
    density = -read_log(Path("probe/md.csv"))["sigma_uC_cm2"][0] / 1602.176634  # e/A^2
    path.write_text(json.dumps(card | {"electrons_per_area_range": [-0.02, density + 3e-4]}))
    options = ("--model", "narrow", "--out", "run", "--potential", "-0.3V@0,-1V@3")
    options += ("--method", "newton")
    result = pe_md(*options, status=3)
    assert "training range" in result.stderr
    assert "--restart --allow-extrapolation" in result.stderr
    assert summary_of("run")["status"] == "failed"
    result = pe_md("--restart", "--out", "run", "--allow-extrapolation", "--model", "narrow")
    assert summary_of("run")["status"] == "complete"
    assert "going on, as extrapolation is allowed" in result.stderr


def test_quiet_is_quiet(pe_md: Run) -> None:
    result = pe_md("--potential", "-0.3V", "--out", "run", "--quiet", "--steps", 1)
    assert (result.stdout, result.stderr) == ("", "")


def test_the_spread_of_the_forces_is_logged_when_asked_for(pe_md: Run) -> None:
    pe_md("--potential", "-0.3V", "--out", "run", "--committee-every", 3)
    spread = read_log(Path("run/md.csv"))["forces_spread_eV_A"]
    assert (spread[3:] > 0).all()
    assert len({*spread[3:]}) == 2


def test_a_model_that_takes_the_potential(pe_md: Run, make_model: Any, model: Path) -> None:
    grand = make_model(read(model / "interface.extxyz"), embedding="potential")
    pe_md("--model", grand, "--potential", "-0.3V", "--out", "run")
    log = read_log(Path("run/md.csv"))
    np.testing.assert_allclose(log["U_V"], -0.3, atol=1e-12)
    assert np.ptp(log["n_e"]) > 0
    assert summary_of("run")["options"]["method"] == "direct"
