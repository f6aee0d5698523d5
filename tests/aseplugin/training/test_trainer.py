"""The loop: resuming bit by bit, stopping, schedule, offsets, averages."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from voltase.aseplugin.errors import CheckpointError, DynamicsError, InputError
from voltase.aseplugin.models.pemace import PEMACEModel
from voltase.aseplugin.training.config import TrainingConfig
from voltase.aseplugin.training.dataset import Split
from voltase.aseplugin.training.state import STATE, read_meta, read_metrics
from voltase.aseplugin.training.trainer import OFFSET_RATE, Trainer

Restored = Callable[[], PEMACEModel]


def settings(**changes: Any) -> TrainingConfig:
    return TrainingConfig(**{"epochs": 2, "warmup_steps": 4, "atoms_per_batch": 25, **changes})


def after(count: int) -> Callable[[], bool]:
    """True when asked for the n-th time."""
    asked = iter(range(count))
    return lambda: next(asked, None) is None


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [t.detach().clone() for t in (*trainer.parameters, *trainer.average)]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.fixture
def uninterrupted(fresh_model: Restored, split: Split, tmp_path: Path) -> Trainer:
    trainer = Trainer(fresh_model(), split, settings(), tmp_path / "whole")
    assert trainer.run() == "finished"
    return trainer


def losses(folder: Path) -> list[dict[str, float]]:
    return [record["loss"] for record in read_metrics(folder)]


def test_a_killed_run_goes_on_to_bitwise_the_same_weights(
    fresh_model: Restored, split: Split, tmp_path: Path, uninterrupted: Trainer
) -> None:
    expected = weights(uninterrupted)
    folder = tmp_path / "parts"

    class KilledError(BaseException):
        pass

    def kill(done: int, total: int, parts: dict[str, float]) -> None:
        if first.epoch == 1:
            raise KilledError  # in the middle of the second epoch: nothing is written

    first = Trainer(fresh_model(), split, settings(), folder)
    with pytest.raises(KilledError):
        first.run(kill)
    meta = read_meta(folder)
    assert meta is not None
    assert (meta["epoch"], meta["batch"]) == (1, 0)
    second = Trainer(fresh_model(), split, settings(), folder)
    assert second.run() == "finished"
    assert same(weights(second), expected)
    assert losses(folder) == losses(tmp_path / "whole")
    assert [r["epoch"] for r in read_metrics(folder)] == [1, 2]


@pytest.mark.parametrize("batches", [1, 3])
def test_a_stopped_run_goes_on_within_the_epoch(
    fresh_model: Restored, split: Split, tmp_path: Path, uninterrupted: Trainer, batches: int
) -> None:
    expected = weights(uninterrupted)
    assert len(uninterrupted.plan(0)) == 3
    folder = tmp_path / "parts"
    first = Trainer(fresh_model(), split, settings(), folder)
    # Asked once a batch and once a validation sample: the third batch is the epoch's last.
    assert first.run(stop=after(batches - 1)) == "interrupted"
    meta = read_meta(folder)
    assert meta is not None
    assert (meta["epoch"], meta["batch"]) == (0, batches)
    assert not read_metrics(folder)
    second = Trainer(fresh_model(), split, settings(), folder)
    assert second.run() == "finished"
    assert same(weights(second), expected)
    found, whole = losses(folder), losses(tmp_path / "whole")
    assert found[0] == pytest.approx(whole[0])  # sums are split, so rounding may differ
    assert found[1] == whole[1]


def test_a_stop_during_validation_keeps_the_epoch(
    fresh_model: Restored, split: Split, tmp_path: Path, uninterrupted: Trainer
) -> None:
    expected = weights(uninterrupted)
    first = Trainer(fresh_model(), split, settings(), tmp_path / "parts")
    assert first.run(stop=after(3)) == "interrupted"
    assert first.batch == 3
    second = Trainer(fresh_model(), split, settings(), tmp_path / "parts")
    assert second.run() == "finished"
    assert same(weights(second), expected)


def test_training_learns(uninterrupted: Trainer, tmp_path: Path) -> None:
    first, last = losses(tmp_path / "whole")
    assert last["forces"] < first["forces"]
    assert set(last) == {"forces", "energy", "conjugate", "force_difference"}
    record = read_metrics(tmp_path / "whole")[-1]
    assert record["step"] == 6
    assert record["valid"]["synthetic"]["frames"] == 3
    assert record["seconds"] > 0


def test_the_seed_decides_the_order(
    fresh_model: Restored, split: Split, tmp_path: Path, uninterrupted: Trainer
) -> None:
    expected = weights(uninterrupted)
    other = Trainer(fresh_model(), split, settings(seed=1), tmp_path / "other")
    other.run()
    assert not same(weights(other), expected)


def test_patience_ends_a_run_that_does_not_improve(
    fresh_model: Restored, split: Split, tmp_path: Path
) -> None:
    config = settings(epochs=9, patience=2, learning_rate=1e-30, final_learning_rate=0.0)
    trainer = Trainer(fresh_model(), split, config, tmp_path)
    assert trainer.run() == "no improvement"
    # The first evaluation is the best, the two after it are no better.
    assert trainer.epoch == 3
    again = Trainer(fresh_model(), split, config, tmp_path)
    assert again.run() == "no improvement"
    assert again.epoch == 3
    assert len(read_metrics(tmp_path)) == 3


def test_evaluations_are_as_far_apart_as_asked(
    fresh_model: Restored, split: Split, tmp_path: Path
) -> None:
    trainer = Trainer(fresh_model(), split, settings(epochs=3, evaluate_every=2), tmp_path)
    seen: list[int] = []
    trainer.run(on_epoch=lambda record: seen.append(record["epoch"]))
    assert ["valid" in record for record in read_metrics(tmp_path)] == [False, True, True]
    assert seen == [1, 2, 3]


def test_without_validation_there_is_no_early_stop(
    fresh_model: Restored, split: Split, tmp_path: Path
) -> None:
    split.valid = []
    trainer = Trainer(fresh_model(), split, settings(patience=1), tmp_path)
    assert trainer.run() == "finished"
    assert "valid" not in read_metrics(tmp_path)[-1]


def test_a_loss_that_is_no_number_ends_the_run_in_a_line(
    fresh_model: Restored, split: Split, tmp_path: Path
) -> None:
    trainer = Trainer(fresh_model(), split, settings(), tmp_path)
    with torch.no_grad():
        trainer.parameters[0].fill_(torch.nan)
    with pytest.raises(DynamicsError, match="loss is nan in step 0"):
        trainer.run()
    assert read_meta(tmp_path) is None


def test_the_state_of_another_model_is_refused(
    fresh_model: Restored, split: Split, tmp_path: Path, uninterrupted: Trainer
) -> None:
    tensors = load_file(tmp_path / "whole" / STATE)
    tensors["parameter.0"] = torch.zeros(3)
    with safe_open(tmp_path / "whole" / STATE, "pt") as handle:
        metadata = handle.metadata()
    (tmp_path / "other").mkdir()
    save_file(tensors, tmp_path / "other" / STATE, metadata=metadata)
    trainer = Trainer(fresh_model(), split, settings(), tmp_path / "other")
    before = weights(trainer)
    with pytest.raises(CheckpointError, match=r"parameter 0 has shape \(3,\)"):
        trainer.run()
    assert same(weights(trainer), before)
    (tmp_path / "other" / STATE).write_bytes(b"no state")
    with pytest.raises(CheckpointError, match="not the state of a training"):
        trainer.run()


def test_a_state_with_the_first_entries_only_is_taken_up(
    fresh_model: Restored, split: Split, tmp_path: Path, uninterrupted: Trainer
) -> None:
    """States written before batches, times and settings were part of them."""
    with safe_open(tmp_path / "whole" / STATE, "pt") as handle:
        meta = json.loads(handle.metadata()["state"])
    kept = {name: meta[name] for name in ("epoch", "step", "best", "stale", "offsets")}
    (tmp_path / "old").mkdir()
    save_file(load_file(tmp_path / "whole" / STATE), tmp_path / "old" / STATE,
              metadata={"state": json.dumps(kept)})  # fmt: skip
    trainer = Trainer(fresh_model(), split, settings(epochs=3), tmp_path / "old")
    assert trainer.resume()
    assert same(weights(trainer), weights(uninterrupted))
    assert (trainer.epoch, trainer.batch, trainer.step) == (2, 0, 6)


def test_learning_rates_warm_up_and_fall_to_the_last(
    fresh_model: Restored, split: Split, tmp_path: Path
) -> None:
    config = settings(learning_rate=1e-2, final_learning_rate=1e-4, warmup_steps=10,
                      electrode_rate=0.1)  # fmt: skip
    trainer = Trainer(fresh_model(), split, config, tmp_path)
    assert trainer.learning_rate(0.0) == pytest.approx(1e-3)
    trainer.step = 100
    assert trainer.learning_rate(0.0) == pytest.approx(1e-2)
    assert trainer.learning_rate(0.5) == pytest.approx(0.5 * (1e-2 + 1e-4))
    assert trainer.learning_rate(1.0) == pytest.approx(1e-4)
    trainer.run()
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    assert rates[1] == pytest.approx(0.1 * rates[0])
    electrode = {id(p) for p in trainer.model.electrode.parameters()}
    assert {id(p) for p in trainer.optimizer.param_groups[1]["params"]} == electrode


def test_energy_offsets_are_running_means(
    fresh_model: Restored, split: Split, tmp_path: Path
) -> None:
    trainer = Trainer(fresh_model(), split, settings(), tmp_path)
    trainer._exchange([("synthetic", 1.0), ("synthetic", 3.0)], stopping=False)
    assert trainer.offsets == {"synthetic": pytest.approx(2.0)}
    trainer._exchange([("synthetic", 4.0)], stopping=False)
    assert trainer.offsets["synthetic"] == pytest.approx(2.0 + OFFSET_RATE * 2.0)
    before = trainer.offsets["synthetic"]
    assert trainer._exchange([], stopping=True)
    trainer._exchange([("synthetic", 0.0)] * 2, stopping=False)
    assert trainer.offsets["synthetic"] == pytest.approx(before * (1 - OFFSET_RATE) ** 2)


def test_the_average_is_lent_and_given_back(uninterrupted: Trainer) -> None:
    own = weights(uninterrupted)[: len(uninterrupted.parameters)]

    def use_and_fail() -> None:
        with uninterrupted.averaged_model() as model:
            assert not model.training
            assert same([p.detach() for p in uninterrupted.parameters], uninterrupted.average)
            assert not same(own, uninterrupted.average)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use_and_fail()
    assert same([p.detach() for p in uninterrupted.parameters], own)
    assert uninterrupted.model.training


def test_judging_can_be_stopped(uninterrupted: Trainer) -> None:
    whole = uninterrupted.evaluate(uninterrupted.split.test)
    assert whole is not None
    assert [s.config_type for s in whole.samples] == ["synthetic", "synthetic"]
    assert uninterrupted.evaluate(uninterrupted.split.test, after(1)) is None


def test_too_few_structures_for_the_processes(
    fresh_model: Restored, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "plan", lambda self, epoch: [])
    with pytest.raises(InputError, match="too few training structures"):
        Trainer(fresh_model(), split, settings(), tmp_path)


@pytest.mark.parametrize(("device", "words"), [("tpu", "'tpu'"), ("cuda:99", "cuda:99")])
def test_devices_that_are_not_there(
    fresh_model: Restored, split: Split, tmp_path: Path, device: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        Trainer(fresh_model(), split, settings(), tmp_path, device=device)


@pytest.mark.parametrize(
    "change",
    [{"epochs": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"ema_decay": 1.0},
     {"bootstrap": -0.1}, {"patience": -1}, {"clip": 0.0}, {"atoms_per_batch": 0}],
)  # fmt: skip
def test_settings_out_of_range(change: dict[str, float]) -> None:
    [name] = change
    with pytest.raises(InputError, match=f"^{name}: found"):
        settings(**change)


def test_the_electrode_joins_when_it_is_told_to(
    fresh_model: Restored, split: Split, tmp_path: Path
) -> None:
    model = fresh_model()
    before = [p.detach().clone() for p in model.electrode.parameters()]
    trainer = Trainer(model, split, settings(electrode_start=0.5), tmp_path)
    unchanged: list[bool] = []

    def record(_: dict[str, Any]) -> None:
        unchanged.append(same(before, [p.detach() for p in model.electrode.parameters()]))

    assert trainer.run(on_epoch=record) == "finished"
    assert unchanged == [True, False]
    assert ["conjugate" in part for part in losses(tmp_path)] == [False, True]


def test_a_frozen_backbone_leaves_the_electrode_to_learn_alone(
    fresh_model: Restored, split: Split, tmp_path: Path
) -> None:
    model = fresh_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = Trainer(model, split, settings(backbone_rate=0.0), tmp_path)
    assert trainer.run() == "finished"
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed
    assert all(name.startswith("electrode.") for name in changed)
