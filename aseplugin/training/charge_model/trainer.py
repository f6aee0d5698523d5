"""Training loop of Soft-FQEq: resumable, with a moving average of the weights."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from voltase.aseplugin.errors import DynamicsError
from voltase.aseplugin.models.softfqeq import SoftFQEqModel
from voltase.aseplugin.training.charge_model.config import ChargeTrainingConfig
from voltase.aseplugin.training.charge_model.dataset import ChargeSample
from voltase.aseplugin.training.charge_model.equilibrate import FixedGeometry
from voltase.aseplugin.training.charge_model.losses import Loss, sample_loss
from voltase.aseplugin.training.charge_model.metrics import (
    ChargeErrors,
    ChargeEvaluation,
    evaluate_sample,
)
from voltase.aseplugin.training.dataset import Split
from voltase.aseplugin.training.state import read_meta, read_tensors, write_metrics, write_state

LOG = logging.getLogger(__name__)
OFFSET_RATE = 0.05
"""Share of a new residual in the running mean that is the energy offset of a config type."""
SAVE_EVERY = 60.0
"""Seconds between two states written in the middle of an epoch."""
Progress = Callable[[int, int, dict[str, float]], None]
Outcome = Literal["finished", "interrupted"]


class ChargeTrainer:
    """Trains a model on samples, one geometry at two of its electron numbers a step.

    Parameters
    ----------
    model : SoftFQEqModel
    split : Split
        Of `ChargeSample`.
    config : ChargeTrainingConfig
    folder : Path
        The state and ``metrics.jsonl`` go here.
    configuration : dict, optional
        Kept in the state, for a later run to compare with its own.
    repeats : mapping, optional
        Repetitions of a config type's geometries per epoch, 1 if absent.
    """

    def __init__(self, model: SoftFQEqModel, split: Split, config: ChargeTrainingConfig,
                 folder: Path, configuration: dict[str, Any] | None = None,
                 repeats: Mapping[str, int] | None = None) -> None:  # fmt: skip
        self.model, self.split, self.config, self.folder = model, split, config, folder
        self.configuration = configuration
        counts = [(repeats or {}).get(sample.config_type, 1) for sample in split.train]
        self._order = np.repeat(np.arange(len(counts)), counts)
        self.with_forces = config.loss.forces > 0.0
        self.offsets: dict[str, float] = {}
        self.epoch = self.batch = self.step = 0
        self.seconds = 0.0
        self._sums: dict[str, list[float]] = {}
        self._geometries: dict[int, FixedGeometry] = {}
        self._features: dict[int, Tensor] = {}
        frozen = config.features_rate == 0.0
        if frozen:
            for parameter in model.features.parameters():
                parameter.requires_grad_(False)
        self.keeps_features = frozen and not self.with_forces
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self.parameters]
        of_features = {id(p) for p in model.features.parameters()}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.parameters if id(p) not in of_features], "factor": 1.0},
            {"params": [p for p in self.parameters if id(p) in of_features],
             "factor": config.features_rate},
        ]  # fmt: skip
        self.optimizer = torch.optim.Adam([g for g in groups if g["params"]],
                                          lr=config.learning_rate, betas=(0.9, 0.99))  # fmt: skip

    # -- schedule ---------------------------------------------------------------------------------
    def learning_rate(self, progress: float) -> float:
        """Learning rate after a share ``progress`` of the run: warm-up, then a cosine."""
        low, high = self.config.final_learning_rate, self.config.learning_rate
        cosine = low + 0.5 * (high - low) * (1.0 + math.cos(math.pi * min(progress, 1.0)))
        return cosine * min(1.0, (self.step + 1) / max(self.config.warmup_steps, 1))

    def plan(self, epoch: int) -> list[tuple[ChargeSample, list[int]]]:
        """Geometries of one epoch, each with two of its labels; the same for the same seed."""
        rng = np.random.default_rng([self.config.seed, epoch])
        planned = []
        for index in rng.permutation(self._order):
            sample = cast(ChargeSample, self.split.train[index])
            count = len(sample.states)
            first = int(rng.integers(count))
            # The farthest: the response stands out best there.
            second = 0 if first >= count / 2 else count - 1
            planned.append((sample, [first] if first == second else [first, second]))
        return planned

    # -- loop -------------------------------------------------------------------------------------
    def run(self, progress: Progress | None = None,
            on_epoch: Callable[[dict[str, Any]], None] | None = None,
            stop: Callable[[], bool] = lambda: False, resume: bool = True) -> Outcome:  # fmt: skip
        """Train to the configured number of epochs.

        Parameters
        ----------
        progress : callable, optional
            Called after every step with its number, the number of steps of the epoch and the
            parts of the loss.
        on_epoch : callable, optional
            Called with the record of every finished epoch.
        stop : callable
            Asked after every step; if it says yes, the state is written and this returns.
        resume : bool
            Go on from the state in the folder, if there is one.

        Raises
        ------
        DynamicsError
            If the loss or its gradient is not finite, or the charges have no solution.
        """
        if resume:
            self.resume()
        while self.epoch < self.config.epochs:
            if not self._epoch(progress, stop):
                self._write_state()
                return "interrupted"
            record: dict[str, Any] = {
                "epoch": self.epoch + 1,
                "step": self.step,
                "seconds": self.seconds,
                "loss": {name: s / c for name, (s, c) in self._sums.items()},
            }
            last = self.epoch + 1 == self.config.epochs
            if self.split.valid and (last or (self.epoch + 1) % self.config.evaluate_every == 0):
                found = self.evaluate(self.split.valid, stop)
                if found is None:
                    self._write_state()
                    return "interrupted"
                record["valid"] = found.summary()
            self.epoch, self.batch, self.seconds, self._sums = self.epoch + 1, 0, 0.0, {}
            write_metrics(self.folder, record)
            self._write_state()
            if on_epoch is not None:
                on_epoch(record)
        return "finished"

    def _epoch(self, progress: Progress | None, stop: Callable[[], bool]) -> bool:
        """Train the rest of the running epoch; False if asked to stop."""
        plan = self.plan(self.epoch)
        self.model.train()
        saved = time.monotonic()
        for number in range(self.batch, len(plan)):
            if stop():
                return False
            started = time.perf_counter()
            sample, labels = plan[number]
            rate = self.learning_rate((self.epoch + number / len(plan)) / self.config.epochs)
            loss = self._update(sample, labels, rate)
            self.batch = number + 1
            self.seconds += time.perf_counter() - started
            for name, value in loss.parts.items():
                entry = self._sums.setdefault(name, [0.0, 0.0])
                entry[0] += value
                entry[1] += 1.0
            if progress is not None:
                progress(self.batch, len(plan), loss.parts)
            if time.monotonic() - saved > SAVE_EVERY:
                self._write_state()
                saved = time.monotonic()
        return True

    def _update(self, sample: ChargeSample, labels: list[int], rate: float) -> Loss:
        self.optimizer.zero_grad(set_to_none=False)
        with self._solvable():
            loss = sample_loss(self.model, sample, self.geometry(sample), labels, self.config.loss,
                               self.offsets, self.features(sample))  # fmt: skip
            self._require_finite("the loss", float(loss.total.detach()))
            loss.total.backward()
        if loss.residual is not None:
            offset = self.offsets.setdefault(sample.config_type, loss.residual)
            self.offsets[sample.config_type] = offset + OFFSET_RATE * (loss.residual - offset)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self._require_finite("the norm of its gradient", float(norm))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.optimizer.step()
        self.step += 1
        decay = min(self.config.ema_decay, (1.0 + self.step) / (10.0 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1.0 - decay)
        return loss

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise DynamicsError(
                f"training: {what} is {value} in step {self.step}, expected a finite number; "
                "unusable labels or too high a learning_rate do this", self.step
            )  # fmt: skip

    @contextmanager
    def _solvable(self) -> Iterator[None]:
        """Name the step at which the charges have no solution."""
        try:
            yield
        except RuntimeError as error:
            # Of a singular matrix torch has two kinds of error, one of them no more than this.
            if "linalg" not in str(error):
                raise
            raise DynamicsError(
                f"training: the charges have no solution in step {self.step}, expected one; too "
                "high a learning_rate does this", self.step
            ) from error  # fmt: skip

    # -- what stays the same from step to step ----------------------------------------------------
    def geometry(self, sample: ChargeSample) -> FixedGeometry:
        """Interaction of a sample's charges; kept unless the widths are trained."""
        key = id(sample)
        if key not in self._geometries or self.model.config.train_widths:
            width = self.model.log_width.detach().double().exp()[sample.graph.species]
            found = FixedGeometry.of(sample.structure, width, self.with_forces)
            self._geometries[key] = found
        return self._geometries[key]

    def features(self, sample: ChargeSample) -> Tensor | None:
        """Features of a sample, if the network that makes them stands still."""
        if not self.keeps_features:
            return None
        key = id(sample)
        if key not in self._features:
            with torch.no_grad():
                self._features[key] = self.model.features(sample.structure.graph).scalars
        return self._features[key]

    # -- evaluation -------------------------------------------------------------------------------
    @contextmanager
    def averaged_model(self) -> Iterator[SoftFQEqModel]:
        """The model with its averaged weights in place, for the length of a with block."""
        current = [p.detach() for p in self.parameters]
        kept = [p.clone() for p in current]
        torch._foreach_copy_(current, self.average)
        try:
            yield self.model.eval()
        finally:
            torch._foreach_copy_(current, kept)
            self.model.train()

    def evaluate(self, samples: Sequence[Any], stop: Callable[[], bool] = lambda: False
                 ) -> ChargeEvaluation | None:  # fmt: skip
        """Errors of the averaged model; None if asked to stop."""
        found: list[ChargeErrors] = []
        with self.averaged_model() as model:
            for sample in samples:
                if stop():
                    return None
                with self._solvable():
                    found.append(
                        evaluate_sample(model, sample, self.geometry(sample), self.with_forces)
                    )
        return ChargeEvaluation(self.model.config.symbols, found)

    # -- state ------------------------------------------------------------------------------------
    def _write_state(self) -> None:
        meta = {
            "epoch": self.epoch, "batch": self.batch, "step": self.step, "seconds": self.seconds,
            "sums": self._sums, "offsets": self.offsets, "configuration": self.configuration,
            "model": self.model.config.as_dict(),
        }  # fmt: skip
        write_state(self.folder, self.parameters, self.average, self.optimizer, meta)

    def resume(self) -> bool:
        """Take up the state in the folder, if there is one.

        Raises
        ------
        CheckpointError
            If it cannot be read or belongs to another model.
        """
        meta = read_meta(self.folder)
        if meta is None:
            return False
        read_tensors(self.folder, self.parameters, self.average, self.optimizer)
        self.epoch, self.batch, self.step = meta["epoch"], meta["batch"], meta["step"]
        self.seconds, self._sums = meta["seconds"], meta["sums"]
        self.offsets = dict(meta["offsets"])
        LOG.info("resumed at epoch %d, step %d of it", self.epoch, self.batch)
        return True
