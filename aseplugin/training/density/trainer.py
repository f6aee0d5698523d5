"""The loop: some geometries at all their charges a step, on quadratic forms that are ready."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from voltase.aseplugin.errors import CheckpointError
from voltase.aseplugin.models.density.inputs import DensityInput, join
from voltase.aseplugin.models.density.model import DensityModel
from voltase.aseplugin.models.density.surroundings import Surroundings, join_surroundings
from voltase.aseplugin.training.density.config import DensityTrainingConfig
from voltase.aseplugin.training.density.losses import (
    Errors,
    Targets,
    errors_in_batch,
    mean_loss,
)
from voltase.aseplugin.training.state import read_meta, read_tensors, write_metrics, write_state

LOG = logging.getLogger(__name__)
Outcome = Literal["finished", "interrupted"]


class Example(NamedTuple):
    """A geometry ready for training: what the model sees of it and what it should say."""

    name: str
    structure: DensityInput
    surroundings: Surroundings
    targets: Targets


class DensityTrainer:
    """Trains the heads of a model.

    Parameters
    ----------
    model : DensityModel
    train, judged : sequence of Example
        What is trained on, and what the model is judged on in between.
    config : DensityTrainingConfig
    folder : Path
        Where state and metrics go.
    configuration : dict
        Plain values that a state must agree with.
    """

    def __init__(self, model: DensityModel, train: Sequence[Example], judged: Sequence[Example],
                 config: DensityTrainingConfig, folder: Path,
                 configuration: dict[str, Any]) -> None:  # fmt: skip
        self.model, self.train, self.judged = model, train, judged
        self.config, self.folder, self.configuration = config, folder, configuration
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.averages = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.step, self.seconds = 0, 0.0

    def resume(self) -> bool:
        """Take up the state in the folder, if there is one.

        Raises
        ------
        CheckpointError
            If it belongs to other settings or data.
        """
        meta = read_meta(self.folder)
        if meta is None:
            return False
        if meta["configuration"] != self.configuration:
            raise CheckpointError(
                f"restart: the state in {self.folder} is of other settings or data; choose another "
                "--out, or --no-restart to start afresh"
            )
        read_tensors(self.folder, self.parameters, self.averages, self.optimizer)
        self.step, self.seconds = int(meta["step"]), float(meta["seconds"])
        return True

    def run(self, on_step: Callable[[int, float], None] = lambda step, loss: None,
            on_record: Callable[[dict[str, Any]], None] = lambda record: None,
            stop: Callable[[], bool] = lambda: False) -> Outcome:  # fmt: skip
        """Train to the last step.

        Parameters
        ----------
        on_step : callable
            Given the number of steps done and the loss.
        on_record : callable
            Given each record of the metrics.
        stop : callable
            Asked after every step; True ends the training with its state on disk.
        """
        config, losses = self.config, []
        started = time.monotonic() - self.seconds
        while self.step < config.steps:
            losses.append(self._update(self._batch(self.step)))
            self.seconds = time.monotonic() - started
            on_step(self.step, losses[-1])
            last = self.step == config.steps
            if self.step % config.evaluate_every == 0 or last:
                record = {"epoch": self.step, "seconds": self.seconds,
                          "loss": float(np.mean(losses)), **self.judge()}  # fmt: skip
                losses = []
                write_metrics(self.folder, record)
                self._save()
                on_record(record)
            if stop() and not last:
                self._save()
                return "interrupted"
        return "finished"

    def judge(self) -> dict[str, float]:
        """Errors in percent of the averaged weights: on geometries held out, and trained on."""
        found = {}
        with self.averaged_model(), torch.no_grad():
            for name, examples in (("test", self.judged), ("train", self.train)):
                errors = [e for example in examples for e in self._errors([example])]
                if not errors:
                    continue
                for kind in ("density", "difference", "planar"):
                    values = torch.cat([getattr(e, kind) for e in errors]).clamp(min=0.0).sqrt()
                    if len(values):
                        found[f"{name}_{kind}"] = 100.0 * float(values.mean())
        return found

    @contextmanager
    def averaged_model(self) -> Iterator[DensityModel]:
        """The model with the moving average of its weights."""
        kept = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            for parameter, average in zip(self.parameters, self.averages, strict=True):
                parameter.copy_(average)
        try:
            yield self.model
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.parameters, kept, strict=True):
                    parameter.copy_(value)

    def _batch(self, step: int) -> list[Example]:
        """What a step sees: all geometries once in each pass, in another order each time."""
        size = min(self.config.batch, len(self.train))
        lap, place = divmod(step, -(-len(self.train) // size))
        order = np.random.default_rng([self.config.seed, lap]).permutation(len(self.train))
        return [self.train[i] for i in order[place * size : (place + 1) * size]]

    def _errors(self, examples: Sequence[Example]) -> list[Errors]:
        found = self.model.coefficients(
            join([example.structure for example in examples]),
            join_surroundings([example.surroundings for example in examples]),
        )
        return errors_in_batch(found, [example.targets for example in examples])

    def _update(self, examples: Sequence[Example]) -> float:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate(self.step)
        loss = mean_loss(self._errors(examples), config.loss)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, config.clip)
        self.optimizer.step()
        self.step += 1
        # Without the first weights, which a plain average would keep for long.
        decay = min(config.ema_decay, self.step / (self.step + 10.0))
        with torch.no_grad():
            for average, parameter in zip(self.averages, self.parameters, strict=True):
                average.lerp_(parameter, 1.0 - decay)
        return float(loss.detach())

    def _save(self) -> None:
        meta = {"step": self.step, "seconds": self.seconds, "configuration": self.configuration}
        write_state(self.folder, self.parameters, self.averages, self.optimizer, meta)
