"""Rounds from start to end: what they leave, how they go on, and that the errors fall."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.io import read

from voltase.aseplugin.active_learning.config import LoopConfig
from voltase.aseplugin.active_learning.labelling import EngineLabeller
from voltase.aseplugin.active_learning.progress import Progress
from voltase.aseplugin.active_learning.rounds import ActiveLearning, LoopOutcome
from voltase.aseplugin.active_learning.stages import Stages
from voltase.aseplugin.errors import EngineError, InputError
from voltase.aseplugin.training.run import TrainingRun

MakeConfig = Callable[..., LoopConfig]


class Killed(Exception):
    pass


@pytest.fixture
def go(start: Atoms, labeller: EngineLabeller) -> Callable[..., LoopOutcome]:
    def run(config: LoopConfig, progress: Progress | None = None, **changes: Any) -> LoopOutcome:
        parts: dict[str, Any] = {"structures": [start], "labeller": labeller}
        return ActiveLearning(config, **{**parts, **changes}).run(progress)

    return run


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "rounds.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_round_leaves_its_data_and_model(config: MakeConfig, go: Any, tmp_path: Path) -> None:
    said: list[str] = []
    outcome = go(config(), Progress(say=said.append))
    loop = tmp_path / "loop"
    done = loop / "round-000"
    assert outcome.status == "all rounds done"
    assert outcome.model == done / "model"
    for name in ("md-000/md.traj", "md-001/run.yaml", "candidates.extxyz", "labels.extxyz",
                 "selected.extxyz", "training/metrics.jsonl", "summary.yaml",
                 "model/model.json"):  # fmt: skip
        assert (done / name).is_file(), name
    assert (loop / "rounds.png").stat().st_size > 0
    labels = read(done / "labels.extxyz", ":")
    assert len(labels) == 4  # two picked, each at two electron numbers
    start, first = table(loop)
    assert (start["round"], first["round"]) == ("start", "0")
    assert first["selected"] == "2"
    assert float(first["force_rmse_meV_A"]) > 0.0
    assert said[-1].startswith("round 0: on held-out frames forces")
    assert not list(loop.rglob("*.partial"))


@pytest.mark.slow
def test_killed_between_any_two_steps_it_goes_on_with_the_same_frames(
    config: MakeConfig, go: Any, tmp_path: Path, labeller: EngineLabeller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole = go(config(out=str(tmp_path / "whole")))
    calls: list[int] = []
    original = labeller.label

    def label(frames: Sequence[Atoms], *rest: Any) -> list[Atoms]:
        calls.append(len(frames))
        return original(frames, *rest)

    monkeypatch.setattr(labeller, "label", label)
    for kind, name in ((Stages, "_selection"), (EngineLabeller, "label"), (TrainingRun, "finish"),
                       (Stages, "judge")):  # fmt: skip
        with monkeypatch.context() as patch:

            def die(*_: Any, **__: Any) -> None:
                raise Killed

            if kind is EngineLabeller:
                patch.setattr(labeller, "label", die)
            elif name == "judge":
                judge = Stages.judge

                def late(self: Stages, stage: str, *rest: Any, judge: Any = judge) -> Any:
                    return judge(self, stage, *rest) if stage == "start" else die()

                patch.setattr(Stages, "judge", late)
            else:
                patch.setattr(kind, name, die)
            with pytest.raises(Killed):
                go(config())
    resumed = go(config())
    assert calls == [4]
    for name in ("candidates.extxyz", "selected.extxyz", "model/model.safetensors"):
        files = [tmp_path / run / "round-000" / name for run in ("whole", "loop")]
        assert files[0].read_bytes() == files[1].read_bytes(), name
    assert resumed.rows == whole.rows
    # And a loop that is finished does nothing.
    assert go(config()).rows == whole.rows
    assert calls == [4]


def test_asked_to_stop_it_keeps_what_is_finished(
    config: MakeConfig, go: Any, tmp_path: Path
) -> None:
    said: list[str] = []
    stop = Progress(say=said.append, stop=lambda: any("md-000" in line for line in said))
    assert go(config(), stop).status == "interrupted"
    done = tmp_path / "loop" / "round-000"
    assert (done / "md-000").is_dir()
    assert not (done / "md-001").exists()
    assert not (done / "candidates.extxyz").exists()


def test_it_ends_without_candidates(config: MakeConfig, go: Any, tmp_path: Path) -> None:
    outcome = go(config(selection={"lower": 500.0}))
    assert outcome.status == "no candidates"
    assert "no spread of the forces between the thresholds" in outcome.why
    assert not (tmp_path / "loop" / "round-000" / "model").exists()
    assert len(table(tmp_path / "loop")) == 2


def test_it_ends_at_the_target(config: MakeConfig, go: Any, tmp_path: Path) -> None:
    outcome = go(config(stop={"force_rmse_meV_A": 1e6}))
    assert outcome.status == "target reached"
    assert not (tmp_path / "loop" / "round-000").exists()


class Refuses:
    """A labeller that has no label for anything."""

    def label(self, *_: Any) -> list[Atoms]:
        return []


def test_no_label_at_all_is_an_error(config: MakeConfig, go: Any) -> None:
    with pytest.raises(EngineError, match="none of 4 points has a label"):
        go(config(), labeller=Refuses())


def test_another_loop_in_the_folder_is_refused(config: MakeConfig, go: Any, files: Path) -> None:
    go(config(stop={"force_rmse_meV_A": 1e6}))
    with pytest.raises(InputError, match="another seed"):
        go(config(seed=1))
    with pytest.raises(InputError, match="another data.files"):
        go(config(data={"files": []}))


def test_what_the_model_cannot_do_is_refused_at_once(
    config: MakeConfig, labeller: EngineLabeller, start: Atoms
) -> None:
    gold = start.copy()
    gold.symbols[0] = "Au"
    with pytest.raises(InputError, match="structures: number 0.*Au unknown"):
        ActiveLearning(config(), [gold], labeller)
    with pytest.raises(InputError, match="committee"):
        ActiveLearning(config(model={"n_members": 1}), [start], labeller)
    with pytest.raises(InputError, match="data.domains: found 'sjm'"):
        ActiveLearning(config(data={"domains": {"*": "sjm"}}), [start], labeller)


@pytest.mark.slow
def test_held_out_errors_fall_over_two_rounds(config: MakeConfig, go: Any) -> None:
    settings = config(
        sampling={"steps": 20, "every": 5, "temp": 150.0},
        selection={"per_round": 6},
        training={"epochs": 20, "atoms_per_batch": 44, "learning_rate": 1e-2, "ema_decay": 0.9},
        stop={"max_rounds": 2},
    )
    outcome = go(settings)
    assert [row.round for row in outcome.rows] == ["start", "0", "1"]
    forces = [row.force_rmse_meV_A for row in outcome.rows]
    assert np.all(np.diff(forces) < 0.0), forces
    assert forces[-1] < 0.8 * forces[0]
