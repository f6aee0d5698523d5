"""``pe-train mace``: settings and options, refusals, signals, several processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.io import read, write
from typer.testing import CliRunner, Result

from voltase.aseplugin.models.checkpoint import zoo_models
from voltase.aseplugin.training.synthetic import synthetic_frames
from voltase.cli import train as cli

TINY = {
    "data": {"test_fraction": 0.25, "valid_fraction": 0.125},
    "model": {
        "n_members": 1,
        "backbone": {"r_max": 3.0, "channels": 4, "max_ell": 1, "correlation": 2,
                     "radial_mlp": [8], "num_bessel": 4},
    },
    "training": {"epochs": 1, "atoms_per_batch": 25, "warmup_steps": 2},
    "card": {"doi": "10.0/none", "licence": "none"},
}  # fmt: skip
Settings = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "frames.extxyz"
    write(path, synthetic_frames(8, waters=2))
    return path


@pytest.fixture
def config(frames: Path, tmp_path: Path) -> Settings:
    """A function that writes the tiny settings, with changes like ``training__epochs=3``."""

    def make(**changes: Any) -> Path:
        tree: dict[str, Any] = json.loads(json.dumps(TINY))
        tree["data"]["files"] = [str(frames)]
        tree["out"] = str(tmp_path / "out")
        for name, value in changes.items():
            node, keys = tree, name.split("__")
            for key in keys[:-1]:
                node = node.setdefault(key, {})
            node[keys[-1]] = value
        path = tmp_path / "settings.yaml"
        path.write_text(yaml.safe_dump(tree))
        return path

    return make


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["mace", *map(str, arguments)])


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (out / "metrics.jsonl").read_text().splitlines()]


def refusal(*arguments: object) -> str:
    """The line of a run that ends with status 2."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    lines = [text for text in result.stderr.splitlines() if text != "reading the data"]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from voltase.cli import train; "
        "r = CliRunner().invoke(train.app, ['mace', '--help']); assert r.exit_code == 0; "
        "assert '--learning-rate' in r.output; "
        "sys.exit(','.join({'torch', 'ase', 'matplotlib', 'scipy', 'numpy', 'rich.progress'} "
        "& {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_a_run_from_settings_and_options(config: Settings, tmp_path: Path) -> None:
    result = run(config(training__epochs=7), "--epochs", 2, "--seed", 3, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    out = tmp_path / "out"
    summary = yaml.safe_load((out / "summary.yaml").read_text())
    assert summary["status"] == "finished"
    assert summary["command"] == "pe-train mace"
    options = summary["options"]
    assert options["training"]["epochs"] == 2  # the command line wins
    assert options["training"]["seed"] == 3
    assert options["training"]["learning_rate"] == 5e-3  # a default, resolved
    assert options["model"]["backbone"]["channels"] == 4
    assert options["threads"] == 1
    assert summary["versions"]["torch"]
    card = json.loads((out / "model" / "model.json").read_text())
    assert summary["model"]["sha256"] == card["sha256"]
    assert summary["started"] <= summary["ended"]
    assert card["doi"] == "10.0/none"
    assert summary["errors"] == card["errors"]["test"]
    assert [record["epoch"] for record in records(out)] == [1, 2]
    log = (out / "train.log").read_text()
    assert "epoch 2/2" in log
    assert "Phi" in log
    assert "epoch 1/2" in result.stderr
    assert "finished; the model is in" in result.stderr
    assert not list(out.rglob("*.partial"))

    again = run(config(training__epochs=7), "--epochs", 2, "--seed", 3)
    assert again.exit_code == 0
    assert "nothing to train: 2 epochs are done, 2 asked for" in again.stderr
    line = refusal(config(), "--channels", 5, "--seed", 3, "--epochs", 2)
    assert "model.backbone.channels = 4, expected 5" in line
    assert yaml.safe_load((out / "summary.yaml").read_text())["status"] == "finished"


def test_options_alone_are_enough(frames: Path, tmp_path: Path) -> None:
    given = {"data.files": [str(frames)], "model.backbone.channels": 6, "out": str(tmp_path / "x")}
    settings = cli._settings(None, given)
    assert settings.data.files == [str(frames)]
    assert settings.model == {"backbone": {"channels": 6}}
    assert settings.training.epochs == 50
    assert settings.restart


OTHERS = {"fqeq", "edp", "loop", "labels"}
RECIPES = [
    p for p in sorted((ROOT / "recipes").glob("*.yaml")) if not OTHERS & set(p.stem.split("-"))
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.stem)
def test_recipes_are_valid_settings(recipe: Path) -> None:
    settings = cli._settings(recipe, {})
    assert settings.data.files
    assert {"name", "source"} <= set(settings.card)
    if recipe.stem in zoo_models():  # the last stage of a bundled model
        assert {"description", "doi", "licence", "method", "do_not_use_for"} <= set(settings.card)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training__epoch": 3}, "training: unknown key 'epoch', did you mean 'epochs'?"),
        ({"model__backbone__chanels": 3}, "unknown key 'chanels', did you mean 'channels'?"),
        ({"trainning": {}}, "config: unknown key 'trainning', did you mean 'training'?"),
        ({"training__learning_rate": "fast"}, "training.learning_rate: found 'fast'"),
        ({"training__epochs": 0}, "training.epochs: found 0, expected 1 or more"),
        ({"training__loss__forces": -1}, "training.loss.forces: found -1.0"),
        (
            {
                "training__loss": dict.fromkeys(
                    ("forces", "force_difference", "energy", "conjugate"), 0
                )
            },
            "found zero for all, expected one above zero",
        ),
        ({"out": " "}, "out: found an empty text"),
        ({"model__embedding": "charge"}, "model.embedding: found 'charge'"),
        ({"data__files": ["absent.extxyz"]}, "absent.extxyz not found"),
        ({"data__domains": {"*": "a", "sjm": "b"}}, "data.domains: found 'sjm'"),
        ({"model__domains": ["other"]}, "data.domains: found 'default'"),
        ({"data": 3}, "data: found 3, expected keys with values"),
        ({"device": "abacus"}, "device: found 'abacus'"),
        ({"restart": "maybe"}, "restart: found 'maybe', expected true or false"),
        ({"init": "no-such-model"}, "no-such-model is neither"),
    ],
)
def test_settings_that_cannot_be_used(
    config: Settings, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    assert words in refusal(config(**changes))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--embedding", "charge"], "model.embedding: found 'charge'"),
        (["--coupling", "loose"], "model.coupling: found 'loose'"),
        (["--epochs", "1.5"], "--epochs: got '1.5', expected a whole number"),
        (["--seed", "9" * 26], "training.seed: found 99999999999999999999999999, expected 0 to"),
        (["--threads", "100000"], "threads: found 100000, expected 1 to 1024"),
        (["--out="], "--out: got an empty text"),
        (["--out", "/proc/none/run"], "out: /proc/none/run"),
        (["--epochs", "-1"], "training.epochs: found -1"),
        (["--learning-rate", "nan"], "training.learning_rate: found nan"),
        (["--channels", "0"], "model.backbone.channels: found 0"),
        (["--device", "cuda:77"], "device: found 'cuda:77'"),
        (["--data", "absent.xyz"], "files: absent.xyz not found"),
    ],
)
def test_options_that_cannot_be_used(
    config: Settings, tmp_path: Path, arguments: list[str], words: str
) -> None:
    assert words in refusal(config(), *arguments)
    assert not (tmp_path / "out").exists()


def test_no_data_at_all(tmp_path: Path) -> None:
    assert "files: found none" in refusal("--out", tmp_path / "out")


def spoil(atoms: Any, how: str) -> None:
    if how == "no forces":
        del atoms.arrays["REF_forces"]
    elif how == "no electrons":
        del atoms.info["excess_electrons"], atoms.info["electrode_potential"]
    elif how == "strange element":
        atoms.symbols[0] = "Xx"
    elif how == "one axis":
        atoms.pbc = (True, False, False)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no forces", "frame 0: no array 'REF_forces'"),
        ("no electrons", "no frame with a label of the excess electrons"),
        ("one axis", "frame 0: atoms: periodic along 1 axes"),
    ],
)
def test_frames_that_cannot_be_used(
    config: Settings, frames: Path, tmp_path: Path, how: str, words: str
) -> None:
    spoiled = read(frames, ":")
    for atoms in spoiled:
        spoil(atoms, how)
    write(tmp_path / "spoiled.extxyz", spoiled)
    assert words in refusal(config(), "--data", tmp_path / "spoiled.extxyz")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_structure(config: Settings, tmp_path: Path) -> None:
    (tmp_path / "noise.extxyz").write_bytes(np.random.default_rng(0).bytes(300))
    assert "cannot be read" in refusal(config(), "--data", tmp_path / "noise.extxyz")
    assert not (tmp_path / "out").exists()


def test_debug_shows_where_an_error_arose(config: Settings) -> None:
    result = run(config(), "--data", "absent.xyz", "--debug")
    assert result.exit_code == 1
    assert result.exception is not None


def command(*arguments: object, processes: int = 1) -> list[str]:
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    return [*launcher, "-m", "voltase.cli.train", "mace", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on_and_does(
    config: Settings, tmp_path: Path, number: signal.Signals
) -> None:
    path = config(training__epochs=200, training__evaluate_every=200)
    process = subprocess.Popen(command(path), stderr=subprocess.PIPE, text=True, env=environment())
    metrics = tmp_path / "out" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number, errors
    assert "the same command goes on from there" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    summary = yaml.safe_load((tmp_path / "out" / "summary.yaml").read_text())
    assert summary["status"] == "interrupted"
    done = len(metrics.read_text().splitlines())
    assert not list((tmp_path / "out").rglob("*.partial"))
    result = run(path, "--epochs", done + 1)
    assert result.exit_code == 0, result.output
    assert f"goes on after epoch {done}" in result.stderr
    assert len(metrics.read_text().splitlines()) == done + 1


@pytest.mark.slow
def test_two_processes_average_what_one_would_see_together(
    config: Settings, tmp_path: Path
) -> None:
    """Two processes with a batch each take the step of the mean loss of both batches."""
    import torch

    from voltase.aseplugin.training.batches import make_batch, plan_epoch
    from voltase.aseplugin.training.losses import batch_loss
    from voltase.aseplugin.training.run import TrainingRun
    from voltase.aseplugin.training.state import read_tensors

    path = config(training__epochs=2)
    done = subprocess.run(command(path, processes=2), stderr=subprocess.PIPE, text=True,
                          env=environment(), check=False, timeout=280)  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    found_records = records(out)
    assert [record["epoch"] for record in found_records] == [1, 2]
    summary = yaml.safe_load((out / "summary.yaml").read_text())
    assert summary["options"]["processes"] == 2

    settings = cli._settings(path, {"out": str(tmp_path / "alone")})
    trainer = TrainingRun(settings).trainer
    steps, members = 0, torch.ones(1)
    for epoch in range(2):
        shares = [plan_epoch(trainer.split.train, trainer.config, {}, epoch, rank, 2)
                  for rank in (0, 1)]  # fmt: skip
        seen: list[float] = []
        for number, pair in enumerate(zip(*shares, strict=True)):
            losses = [batch_loss(trainer.model, make_batch(chosen), members, trainer.config.loss,
                                 trainer.offsets, trainer.scales) for chosen in pair]  # fmt: skip
            trainer.optimizer.zero_grad()
            (sum(loss.total for loss in losses) / 2).backward()
            trainer._exchange([r for loss in losses for r in loss.residuals], stopping=False)
            torch.nn.utils.clip_grad_norm_(trainer.parameters, trainer.config.clip)
            rate = trainer.learning_rate((epoch + number / len(shares[0])) / 2)
            for group in trainer.optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            trainer.optimizer.step()
            trainer.step = steps = steps + 1
            seen += [loss.parts["forces"] for loss in losses]
        assert found_records[epoch]["loss"]["forces"] == pytest.approx(np.mean(seen), rel=1e-4)
    assert found_records[-1]["step"] == steps
    expected = [p.detach().clone() for p in trainer.parameters]
    found = [torch.empty_like(p) for p in expected]
    read_tensors(out, found, [torch.empty_like(p) for p in expected], trainer.optimizer)
    for left, right in zip(found, expected, strict=True):
        assert torch.allclose(left, right, rtol=1e-4, atol=1e-6)
