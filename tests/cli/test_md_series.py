"""Independent runs at several potentials."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from voltase.cli import md, md_series
from voltase.cli.stopping import StopRequest

Run = Callable[..., Result]
FOLDERS = ("U_-0.4V", "U_-0.3V", "U_-0.1V")


@pytest.fixture
def pe_md(fast_runs: None, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    few = ["--model", model, "--temp", 20, "--log-every", 1, "--traj-every", 2]

    def run(*arguments: object, status: int = 0) -> Result:
        result = CliRunner().invoke(md.app, [str(argument) for argument in (*few, *arguments)])
        assert result.exit_code == status, result.output
        return result

    return run


def summary_of(folder: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((Path(folder) / "summary.yaml").read_text())
    return found


def test_a_series_is_a_run_for_each_potential_and_their_charging_curve(pe_md: Run) -> None:
    result = pe_md("--potential", "-0.1V,-0.4V,-0.3V", "--steps", 4, "--out", "series")
    found = summary_of("series")
    assert found["status"] == "complete"
    assert found["runs"] == dict.fromkeys(("U_-0.1V", "U_-0.4V", "U_-0.3V"), "complete")
    lines = Path("series/series.csv").read_text().splitlines()
    assert "V vs SHE" in lines[0]
    rows = np.genfromtxt(lines[1:], delimiter=",", names=True)
    np.testing.assert_allclose(rows["target_U_V"], [-0.4, -0.3, -0.1])
    for row, folder in zip(rows, FOLDERS, strict=True):
        own = summary_of(Path("series", folder))["averages"]
        assert row["n_e"] == own["n_e"]["mean"]
        assert row["sigma_uC_cm2"] == own["sigma_uC_cm2"]["mean"]
    slopes = [slope["capacitance"] for slope in found["capacitance_uF_cm2"]]
    expected = np.diff(rows["sigma_uC_cm2"]) / np.diff(rows["target_U_V"])
    np.testing.assert_allclose(slopes, expected)
    assert "capacitance at -0.35 V" in result.stdout
    # A member is the run one would make of its settings alone.
    seed = summary_of("series/U_-0.3V")["options"]["seed"]
    pe_md("--potential", "-0.3V", "--steps", 4, "--seed", seed, "--out", "alone")
    assert Path("alone/md.csv").read_bytes() == Path("series/U_-0.3V/md.csv").read_bytes()


def test_a_stopped_series_goes_on_where_it_was(pe_md: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--potential", "-0.4V,-0.3V,-0.1V", "--steps", 3)
    pe_md(*options, "--out", "whole")
    start = md_series.start_run

    def stop_in_second(settings: Any, folder: Path, stop: StopRequest, **further: Any) -> Any:
        if folder.name == FOLDERS[1]:
            stop.signal = signal.SIGINT
        return start(settings, folder, stop, **further)

    with monkeypatch.context() as patch:
        patch.setattr(md_series, "start_run", stop_in_second)
        result = pe_md(*options, "--out", "series", status=130)
    assert "pe-md --restart --out series goes on" in result.stderr
    states = summary_of("series")["runs"]
    assert list(states.values()) == ["complete", "interrupted", "waiting"]
    first = Path("series", FOLDERS[0], "summary.yaml")
    before = first.read_bytes()
    pe_md("--restart", "--out", "series")
    assert first.read_bytes() == before
    for folder in FOLDERS:
        for name in ("md.csv", "md.traj"):
            assert Path("series", folder, name).read_bytes() == (
                Path("whole", folder, name).read_bytes()
            )
    assert Path("series/series.csv").read_bytes() == Path("whole/series.csv").read_bytes()


def test_a_series_is_taken_further(pe_md: Run) -> None:
    pe_md("--potential", "-0.4V,-0.1V", "--steps", 2, "--out", "series")
    pe_md("--restart", "--out", "series", "--steps", 4)
    assert [summary_of(Path("series", name))["step"] for name in ("U_-0.4V", "U_-0.1V")] == [4, 4]
    result = pe_md("--restart", "--out", "series", "--potential", "0V,1V", status=2)
    assert "--potential: got 0.0V,1.0V, but the run has -0.4V,-0.1V" in result.stderr


def test_a_run_that_fails_leaves_the_others_alone(pe_md: Run) -> None:
    # The last potential is outside the trained range.
    result = pe_md("--potential", "-0.4V,-0.1V,-1.5V", "--steps", 2, "--out", "series", status=3)
    assert "U_-1.5V: " in result.stderr
    assert list(summary_of("series")["runs"].values()) == ["complete", "complete", "failed"]
    assert len(Path("series/series.csv").read_text().splitlines()) == 4
    assert not Path("series/U_-1.5V").exists()


def test_a_series_is_not_overwritten_unasked_and_leaves_nothing_behind(pe_md: Run) -> None:
    pe_md("--potential", "-0.4V,-0.1V", "--steps", 1, "--out", "series")
    assert "--overwrite" in pe_md("--potential", "0V", "--out", "series", status=2).stderr
    pe_md("--potential", "-0.3V", "--steps", 1, "--out", "series", "--overwrite")
    left = {path.name for path in Path("series").iterdir()}
    assert left == {"md.csv", "md.traj", "checkpoint.safetensors", "summary.yaml"}
