"""``pe-label``: files, resumption, exit statuses, and what it refuses in one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.io import read, write
from typer.testing import CliRunner, Result

from voltase.aseplugin.testing import oscillator_atoms
from voltase.cli import label

Run = Callable[..., Result]

ENGINES = Path(__file__).resolve().parents[1] / "data" / "engines"
ENGINE = ("--engine", "capacitor_engine:CapacitorEngine", "--workers", 0)


@pytest.fixture
def pe_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in a folder with two structures, on an analytic engine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ENGINES)
    frames = []
    for k in range(2):
        atoms = oscillator_atoms(3)
        atoms.positions[0, 2] += 0.1 * k
        atoms.info["excess_electrons"] = 0.05 * (k + 1)
        frames.append(atoms)
    write("s.traj", frames)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(label.app, [str(argument) for argument in arguments])

    return run


def test_files_and_report_and_a_second_run(pe_label: Run, tmp_path: Path) -> None:
    command = ("s.traj", *ENGINE, "--electrons", "-0.1,0,own", "--potential", "-0.2V", "--out", "l")
    result = pe_label(*command)
    assert result.exit_code == 0, result.output
    assert "8 points asked for: 0 were there, 8 made, 0 failed" in result.stdout
    assert "check: -dE/dn against the potential, rms 0.0 mV" in result.stdout
    written = {path.name for path in (tmp_path / "l").iterdir()}
    assert written == {"labels.extxyz", "densities.h5", "labels.png", "label.log", "settings.yaml",
                       "summary.yaml", "points", "lock"}  # fmt: skip
    frames = read("l/labels.extxyz", ":")
    numbers = {(f.info["structure"], f.info["excess_electrons"]) for f in frames}
    assert {("s.traj@0", 0.05), ("s.traj@1", 0.1), ("s.traj@1", -0.1)} <= numbers
    assert min(abs(f.info["electrode_potential"] - 4.24) for f in frames) < 0.02
    summary = yaml.safe_load(Path("l/summary.yaml").read_text())
    assert summary["status"] == "finished"
    assert summary["options"]["reference"]["name"] == "SHE"
    assert summary["labels"] == len(frames)
    assert summary["energy_slope_against_potential"]["rms_V"] < 1e-9
    assert Path("l/labels.png").read_bytes().startswith(b"\x89PNG")
    before = Path("l/labels.extxyz").read_bytes()
    again = pe_label(*command)
    assert "8 points asked for: 8 were there, 0 made" in again.stdout
    assert Path("l/labels.extxyz").read_bytes() == before


def test_settings_from_a_file_and_exit_status(pe_label: Run) -> None:
    Path("c.yaml").write_text(
        "engine: capacitor_engine:CapacitorEngine\nworkers: 0\nstructures: [s.traj@0]\n"
        "surface-charge: [-5, 5]\nsettings: {diverges_at: [0.0], density: false}\n"
    )
    result = pe_label("--config", "c.yaml", "--out", "l", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.output == ""
    # 27 A2 at 5 uC/cm2.
    numbers = [frame.info["excess_electrons"] for frame in read("l/labels.extxyz", ":")]
    np.testing.assert_allclose(numbers, [-0.0842608, 0.0842608], atol=1e-6)
    result = pe_label("--config", "c.yaml", "--out", "l", "--electrons", "0")
    assert result.exit_code == 0
    assert "1 of 3 points failed, see l/failed.csv; --retry-failed tries them" in result.stderr
    assert "s-0,0.0,,Capacitor: no convergence in 1 step" in Path("l/failed.csv").read_text()
    Path("c.yaml").write_text(Path("c.yaml").read_text().replace("surface-charge: [-5, 5]\n", ""))
    result = pe_label("--config", "c.yaml", "--out", "m", "--electrons", "0")
    assert result.exit_code == 1
    assert "all of 1 points failed" in result.stderr
    result = pe_label("--config", "c.yaml", "--out", "l", "--electrons", "0", "--no-densities",
                      "--config", "d.yaml")  # fmt: skip
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "STRUCTURES: got none"),
        (["s.traj"], "--engine: got none, expected gpaw, vasp"),
        (["s.traj", "--engine", "abinit", "--electrons", "0"], "--engine: found 'abinit'"),
        (["s.traj", *ENGINE], "--electrons: got none"),
        (["no.traj", *ENGINE, "--electrons", "0"], "STRUCTURES: no.traj not found"),
        (["s.traj@9:", *ENGINE, "--electrons", "0"], "STRUCTURES: s.traj@9: has no frame"),
        (["s.traj", *ENGINE, "--electrons", "0,x"], "--electrons: got 'x', expected numbers"),
        (["s.traj", *ENGINE, "--electrons", "0,,1"], "--electrons: got '0,,1'"),
        (["s.traj", *ENGINE, "--electrons", "9"], "--electrons: got 9 e for s.traj@0, expected at"),
        (["s.traj", *ENGINE, "--potential", "4.5V"], "did you mean reference='absolute'?"),
        (["s.traj", *ENGINE, "--potential", "0V", "--reference", "rhe"], "--ph: got none"),
        (["s.traj", *ENGINE, "--potential", "0V", "--tolerance", "0"], "--tolerance: found 0 V"),
        (["s.traj", *ENGINE, "--electrons", "0", "--out", "s.traj"], "--out:"),
        (["s.traj", *ENGINE, "--electrons", "0", "--config", "c.yaml"], "unknown key 'kpts'"),
        (["s.traj", "--engine", "espresso", "--electrons", "0"], "engine espresso: missing"),
    ],
)
def test_refused_in_one_line(
    pe_label: Run, tmp_path: Path, arguments: list[object], message: str
) -> None:
    Path("c.yaml").write_text("kpts: [2, 2, 1]\n")
    result = pe_label(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"s.traj", "c.yaml"}


def test_without_distributed(pe_label: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = pe_label("s.traj", "--engine", "capacitor_engine:CapacitorEngine", "--electrons", "0")
    assert result.exit_code == 2
    assert "--workers: needs dask.distributed, which is not installed here" in result.stderr
