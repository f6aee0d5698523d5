"""A run that was killed, stopped or extended goes on to the last bit as if it never had been."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ase.io import read
from typer.testing import CliRunner, Result

from voltase.aseplugin.potentiostat.recorder import Recorder, StepRecord
from voltase.cli import md

Run = Callable[..., Result]

# Kills the process, as kill -9 does, when a row of the log at a step has just been written, or in
# the middle of the checkpoint that follows it.
KILLED = """
import os, signal, sys
from voltase.aseplugin.potentiostat import checkpoint, dynamics
from voltase.aseplugin.potentiostat.recorder import Recorder
from voltase.cli import md

step, moment = int(sys.argv.pop(1)), sys.argv.pop(1)
reached = False

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def write(self, record):
    global reached
    _write(self, record)
    # A rehearsal of step 0 has no log.
    reached = self.logfile is not None and record.step >= step
    if reached and moment != "checkpoint":
        # The operating system has the row, the disk and the checkpoint do not.
        self.flush()
        die()

def replace(path, content):
    if reached and moment == "checkpoint":
        path.with_name(".half.partial").write_bytes(content[: len(content) // 2])
        die()
    _replace(path, content)

_write, Recorder.write = Recorder.write, write
_replace, checkpoint._replace = checkpoint._replace, replace
md.main()
"""


def outputs(folder: str | Path, trajectory: str = "md.traj") -> tuple[bytes, bytes]:
    return Path(folder, "md.csv").read_bytes(), Path(folder, trajectory).read_bytes()


def summary_of(folder: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((Path(folder) / "summary.yaml").read_text())
    return found


@pytest.fixture
def pe_md(fast_runs: None, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command; on one thread, as the killed processes do."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, status: int = 0) -> Result:
        result = CliRunner().invoke(md.app, [str(argument) for argument in arguments])
        assert result.exit_code == status, result.output
        return result

    return run


@pytest.fixture
def options(model: Path) -> list[object]:
    return ["--model", model, "--potential", "-0.3V", "--temp", 20, "--threads", 1,
            "--log-every", 1, "--traj-every", 2, "--checkpoint-every", 4]  # fmt: skip


def kill(step: int, moment: str, *arguments: object) -> None:
    """Run the command in a process of its own that is killed on the way."""
    code = [sys.executable, "-W", "ignore", "-c", KILLED, str(step), moment]
    child = subprocess.run([*code, *map(str, arguments)], capture_output=True, text=True,
                           check=False)  # fmt: skip
    assert child.returncode == -signal.SIGKILL, child.stderr


def test_a_killed_run_goes_on_to_the_last_bit(pe_md: Run, options: list[object]) -> None:
    pe_md(*options, "--steps", 12, "--out", "whole")
    kill(7, "step", *options, "--steps", 12, "--out", "killed")
    assert summary_of("killed")["status"] == "running"
    pe_md("--restart", "--out", "killed")
    assert outputs("killed") == outputs("whole")
    found = summary_of("killed")
    assert (found["status"], found["step"], found["restarts"]) == ("complete", 12, [4])
    assert found["averages"] == summary_of("whole")["averages"]


@pytest.mark.slow
@pytest.mark.parametrize("trajectory", ["md.traj", "md.extxyz"])
@pytest.mark.parametrize(
    ("step", "moment"), [(0, "step"), (3, "step"), (8, "checkpoint"), (9, "step")]
)
def test_a_run_may_be_killed_at_any_moment(
    pe_md: Run, options: list[object], step: int, moment: str, trajectory: str
) -> None:
    options = [*options, "--steps", 12, "--traj", trajectory]
    pe_md(*options, "--out", "whole")
    kill(step, moment, *options, "--out", "killed")
    pe_md("--restart", "--out", "killed")
    assert outputs("killed", trajectory) == outputs("whole", trajectory)


@pytest.mark.slow
def test_a_wide_model_killed_twice_in_processes_of_their_own(
    make_model: Any, make_interface: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Wide enough that a first call of TorchScript rounds differently from later ones.
    monkeypatch.chdir(tmp_path)
    wide = make_model(make_interface(side=3, layers=3, waters=9), channels=16, n_members=2)
    options = ["--model", wide, "--potential", "-0.3V", "--temp", 20, "--threads", 1, "--steps", 30,
               "--log-every", 1, "--traj-every", 5, "--checkpoint-every", 7]  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-m", "voltase.cli.md"]
    whole = [*command, *map(str, options), "--out", "whole"]
    subprocess.run(whole, check=True, capture_output=True)
    kill(12, "step", *options, "--out", "killed")
    kill(24, "step", *options, "--out", "killed", "--restart")
    restart = [*command, "--restart", "--out", "killed"]
    subprocess.run(restart, check=True, capture_output=True)
    assert summary_of("killed")["restarts"] == [7, 21]
    assert outputs("killed") == outputs("whole")


def test_a_run_that_is_taken_further_is_the_longer_run(pe_md: Run, options: list[object]) -> None:
    for method in ("newton", "thermopotentiostat"):
        some = [*options, "--method", method, "--thermostat", "svr"]
        pe_md(*some, "--steps", 9, "--out", f"{method}-whole")
        pe_md(*some, "--steps", 3, "--out", method)
        pe_md("--restart", "--out", method, "--steps", 9)
        assert outputs(method) == outputs(f"{method}-whole")


def interrupting(step: int, number: signal.Signals) -> Callable[[Recorder, StepRecord], None]:
    """A Recorder.write that sends this process a signal at a step."""
    write = Recorder.write

    def wrapped(self: Recorder, record: StepRecord) -> None:
        write(self, record)
        if record.step == step and self.logfile is not None:
            os.kill(os.getpid(), number)

    return wrapped


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_with_a_checkpoint(
    pe_md: Run,
    options: list[object],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    status: int,
) -> None:
    pe_md(*options, "--steps", 8, "--out", "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "write", interrupting(6, number))
        result = pe_md(*options, "--steps", 8, "--out", "stopped", status=status)
    assert "interrupted: pe-md --restart --out stopped goes on from here" in result.stderr
    found = summary_of("stopped")
    assert (found["status"], found["step"]) == ("interrupted", 6)
    pe_md("--restart", "--out", "stopped")
    assert outputs("stopped") == outputs("whole")
    assert summary_of("stopped")["restarts"] == [6]


def test_a_complete_run_stays_as_it_is(pe_md: Run, options: list[object]) -> None:
    pe_md(*options, "--steps", 2, "--out", "run")
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    for further in ([], ["--steps", 1], options):
        result = pe_md("--restart", "--out", "run", *further)
        assert result.stdout == "complete already: step 2 of the run in run\n"
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before


def test_a_summary_lost_to_a_kill_is_made_up_for(pe_md: Run, options: list[object]) -> None:
    pe_md(*options, "--steps", 4, "--out", "run")
    path = Path("run/summary.yaml")
    before = summary_of("run")
    # As it was while the run was going on.
    path.write_text(path.read_text().replace("status: complete", "status: running"))
    pe_md("--restart", "--out", "run")
    found = summary_of("run")
    assert (found["status"], found["averages"]) == ("complete", before["averages"])


def test_a_run_that_does_not_exist_yet_is_started(pe_md: Run, options: list[object]) -> None:
    result = pe_md(*options, "--steps", 2, "--out", "run", "--restart")
    assert "no run in run yet: starting it" in result.stderr
    assert summary_of("run")["status"] == "complete"


def test_the_only_run_here_need_not_be_named(pe_md: Run, options: list[object]) -> None:
    pe_md(*options, "--steps", 2)
    assert "complete already" in pe_md("--restart").stdout
    pe_md(*options, "--steps", 2, "--potential", "0V")
    assert "expected --out to name the run" in pe_md("--restart", status=2).stderr


def test_options_that_would_change_the_run_are_refused(
    pe_md: Run, options: list[object], model: Path, make_model: Any
) -> None:
    pe_md(*options, "--steps", 2, "--out", "run")
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}

    def refused(*arguments: object) -> str:
        result = pe_md("--restart", "--out", "run", "--steps", 4, *arguments, status=2)
        assert result.stderr.count("\n") == 1
        return result.stderr

    expected = "error: --timestep: got 1.0, but the run has 0.5, which a restart cannot change\n"
    assert refused("--timestep", 1) == expected
    assert "--potential: got -0.2V, but the run has -0.3V" in refused("--potential", "-0.2V")
    other = make_model(read(model / "interface.extxyz"), seed=1)
    assert "--model: got" in refused("--model", other)
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before
    # The same weights elsewhere are the same model.
    shutil.copytree(model, "copy")
    pe_md("--restart", "--out", "run", "--steps", 4, "--model", "copy")


def test_a_ramp_keeps_its_length(pe_md: Run, options: list[object]) -> None:
    pe_md(*options, "--potential", "-0.3V:0V", "--steps", 4, "--out", "run")
    result = pe_md("--restart", "--out", "run", "--steps", 8, status=2)
    assert "this ramp was laid out over 4 steps" in result.stderr


def test_another_number_of_threads_is_worth_a_warning(pe_md: Run, options: list[object]) -> None:
    import torch

    before = torch.get_num_threads()
    pe_md(*options, "--steps", 2, "--out", "run")
    result = pe_md("--restart", "--out", "run", "--steps", 3, "--threads", 2)
    assert "warning: the number of threads changed" in result.stderr
    torch.set_num_threads(before)


def test_a_damaged_checkpoint_is_reported(pe_md: Run, options: list[object]) -> None:
    pe_md(*options, "--steps", 2, "--out", "run")
    path = Path("run/checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:-20])
    result = pe_md("--restart", "--out", "run", "--steps", 4, status=2)
    assert "cannot be read as a checkpoint" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_lost_checkpoint_is_not_taken_for_a_run_that_has_just_begun(
    pe_md: Run, options: list[object]
) -> None:
    pe_md(*options, "--steps", 2, "--out", "run")
    Path("run/checkpoint.safetensors").unlink()
    summary = Path("run/summary.yaml")
    # Complete; killed on the way; and killed when no row of the log was on the disk yet.
    running = summary.read_text().replace("status: complete", "status: running")
    running = running.replace("\nstep: 2\n", "\nstep: 0\n")
    head = "".join(Path("run/md.csv").read_text().splitlines(keepends=True)[:2])
    for text, log in ((summary.read_text(), None), (running, None), (running, head)):
        summary.write_text(text)
        if log is not None:
            Path("run/md.csv").write_text(log)
        before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
        result = pe_md("--restart", "--out", "run", "--steps", 4, status=2)
        assert "--restart: run/checkpoint.safetensors is missing" in result.stderr
        assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("step: 2", "step: six", "has 'six' as 'step', expected a whole number"),
        ("model:\n", "models:\n", "has nothing as 'model'"),
        ("  temp: 20.0", "  temp: hot", "options.temp: found 'hot', expected a number"),
        ("  temp: 20.0", "  tempo: 20.0", "options: unknown key 'tempo'"),
        ("  temp: 20.0", "  temp: -20.0", "options: --temp: got -20.0, expected more than 0"),
    ],
)
def test_a_damaged_summary_is_reported(
    pe_md: Run, options: list[object], old: str, new: str, words: str
) -> None:
    pe_md(*options, "--steps", 2, "--out", "run")
    path = Path("run/summary.yaml")
    assert path.read_text().count(f"\n{old}") == 1
    path.write_text(path.read_text().replace(f"\n{old}", f"\n{new}"))
    result = pe_md("--restart", "--out", "run", "--steps", 4, status=2)
    assert result.stderr.startswith("error: --out: run/summary.yaml ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    # A damaged run may be replaced.
    pe_md(*options, "--steps", 2, "--out", "run", "--overwrite")


def test_a_summary_that_was_cut_off_is_reported(pe_md: Run, options: list[object]) -> None:
    pe_md(*options, "--steps", 2, "--out", "run")
    path = Path("run/summary.yaml")
    path.write_text(path.read_text().partition("\n  timestep")[0])
    result = pe_md("--restart", "--out", "run", "--steps", 4, status=2)
    assert "run/summary.yaml has nothing as 'model'" in result.stderr


def test_one_process_at_a_time(pe_md: Run, options: list[object]) -> None:
    from voltase.cli.md_folder import locked

    pe_md(*options, "--steps", 2, "--out", "run")
    with locked(Path("run")):
        result = pe_md("--restart", "--out", "run", "--steps", 4, status=2)
    assert "another process is running in run" in result.stderr
