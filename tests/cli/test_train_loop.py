"""``pe-train loop``: a short loop with labels from an analytic electrode."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ase import Atoms
from ase.io import write
from typer.testing import CliRunner, Result

from voltase.aseplugin.training.synthetic import synthetic_frames
from voltase.cli import train as cli

ENGINE = "voltase.aseplugin.training.synthetic:PointChargeEngine"
SETTINGS: dict[str, Any] = {
    "data": {"test_fraction": 0.4, "valid_fraction": 0.0},
    "sampling": {"potentials": ["0V", 0.5], "steps": 8, "every": 4, "temp": 50,
                 "allow_extrapolation": True},
    "selection": {"lower": 0.0, "upper": 100.0, "per_round": 2, "min_distance": 0.0},
    "labelling": {"engine": ENGINE, "offsets": [0.02]},
    "training": {"epochs": 1, "atoms_per_batch": 22, "warmup_steps": 2},
    "stop": {"max_rounds": 1},
}  # fmt: skip
Settings = Callable[..., Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    frames = synthetic_frames(5, charges=2, waters=1)
    write(folder / "frames.extxyz", frames)
    first = frames[0]
    write(folder / "start.xyz", Atoms(first.numbers, first.positions, cell=first.cell,
                                      pbc=first.pbc), format="extxyz")  # fmt: skip
    return folder


@pytest.fixture
def config(model: Path, data: Path, tmp_path: Path) -> Settings:
    """A function that writes the settings, with changes like ``stop__max_rounds=2``."""

    def make(**changes: Any) -> Path:
        tree = json.loads(json.dumps(SETTINGS))
        tree |= {"init": str(model), "structures": [str(data / "start.xyz")],
                 "out": str(tmp_path / "loop")}  # fmt: skip
        tree["data"]["files"] = [str(data / "frames.extxyz")]
        for name, value in changes.items():
            node, keys = tree, name.split("__")
            for key in keys[:-1]:
                node = node[key]
            node[keys[-1]] = value
        path = tmp_path / "settings.yaml"
        path.write_text(yaml.safe_dump(tree))
        return path

    return make


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["loop", *map(str, arguments)])


def refusal(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    lines = [text for text in result.stderr.splitlines() if text != "reading models and data"]
    assert len(lines) == 1, result.stderr
    return lines[0].removeprefix("error: ")


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from voltase.cli import train; "
        "r = CliRunner().invoke(train.app, ['loop', '--help']); assert r.exit_code == 0; "
        "assert '--max-rounds' in r.output; "
        "sys.exit(','.join({'torch', 'ase', 'matplotlib', 'scipy', 'numpy', 'rich.progress'} "
        "& {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_a_loop_from_settings_and_options(config: Settings, tmp_path: Path) -> None:
    result = run(config(stop__max_rounds=3), "--max-rounds", 1, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    loop = tmp_path / "loop"
    summary = yaml.safe_load((loop / "summary.yaml").read_text())
    assert summary["status"] == "all rounds done"
    assert summary["command"] == "pe-train loop"
    assert summary["options"]["stop"]["max_rounds"] == 1
    assert summary["options"]["selection"]["pool"] == 10  # a default, resolved
    assert [row["round"] for row in summary["rounds"]] == ["start", "0"]
    assert summary["model"] == str(loop / "round-000" / "model")
    assert "round 0: on held-out frames" in (loop / "loop.log").read_text()
    assert "round-000 md-001: +0.50 V, 8 steps" in result.stderr
    card = json.loads((loop / "round-000" / "model" / "model.json").read_text())
    assert card["name"] == "loop-round-000"
    assert len(card["data"]["split"]["test_snapshots"]) == 2
    # Two potentials from one structure, of whose frames two are picked, at two numbers each.
    assert card["data"]["frames"] == {"synthetic": 10, "active-learning": 4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labelling__engine": "gaussian"}, "labelling.engine: found 'gaussian', expected one of"),
        ({"labelling__engine": "vasp"}, "VASP takes 0 alone here"),
        ({"labelling__settings": {"a": 1}}, "labelling.engine voltase.aseplugin.training"),
        ({"init": "no-model"}, "model: no-model is neither"),
        ({"init": ""}, "config.init: found none"),
        ({"selection__upper": 0.0}, "config.selection.upper: found 0.0, expected more than lower"),
        ({"selection__speed": 1}, "config.selection: unknown key 'speed'"),
        ({"sampling__potentials": ["fast"]}, "fast"),
        ({"sampling__steps": "many"}, "config.sampling.steps: found 'many'"),
        ({"structures": ["nothing.xyz"]}, "STRUCTURE: nothing.xyz not found"),
        ({"data__files": ["nothing.xyz"]}, "data.files: nothing.xyz cannot be read"),
        ({"sampling": None}, "config.sampling.potentials: found none"),
        ({"device": "tpu"}, "device: found 'tpu'"),
    ],
)
def test_bad_input_is_one_line(config: Settings, changes: dict[str, Any], message: str) -> None:
    assert message in refusal(config(**changes))


def test_a_structure_with_an_unknown_element(config: Settings, tmp_path: Path) -> None:
    atoms = synthetic_frames(1, charges=1, waters=1)[0]
    atoms.symbols[0] = "Au"
    write(tmp_path / "gold.traj", atoms)
    found = refusal(config(structures=[str(tmp_path / "gold.traj")]))
    assert "element Au unknown to the model" in found


def start_process(settings: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "voltase.cli.train", "loop", str(settings), "--threads", "1"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.01)


@pytest.mark.slow
def test_kill_nine_and_ctrl_c(config: Settings, tmp_path: Path) -> None:
    settings = config(sampling__steps=40)
    done = tmp_path / "loop" / "round-000"
    process = start_process(settings)
    wait_for(done / "md-000", process)
    process.kill()
    process.communicate()
    kept = (done / "md-000" / "md.traj").stat()
    process = start_process(settings)
    wait_for(done / "selected.extxyz", process)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[0] is None
    assert process.returncode in (130, 0)
    process = start_process(settings)
    told = process.communicate()[1]
    assert process.returncode == 0, told
    assert "Traceback" not in told
    assert (done / "md-000" / "md.traj").stat().st_mtime_ns == kept.st_mtime_ns
    assert (done / "summary.yaml").is_file()
    assert not list((tmp_path / "loop").rglob("*.partial"))
