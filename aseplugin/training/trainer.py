"""Training loop of PE-MACE: data parallel, resumable, with a moving average of the weights."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from voltase.aseplugin.errors import DynamicsError, InputError
from voltase.aseplugin.models.electrode import DIPOLE_PARAMETERS
from voltase.aseplugin.models.pemace import PEMACEModel
from voltase.aseplugin.training.batches import Choice, make_batch, member_weights, plan_epoch
from voltase.aseplugin.training.config import TrainingConfig
from voltase.aseplugin.training.dataset import Sample, Split
from voltase.aseplugin.training.first_guesses import DEFAULT_CAPACITANCE, response_scale
from voltase.aseplugin.training.losses import Scales, batch_loss
from voltase.aseplugin.training.metrics import Evaluation, SampleErrors, evaluate_sample
from voltase.aseplugin.training.parallel import ProcessGroup, resolve_device
from voltase.aseplugin.training.state import read_meta, read_tensors, write_metrics, write_state

LOG = logging.getLogger(__name__)
OFFSET_RATE = 0.05
"""Share of a new residual in the running mean that is the energy offset of a config type."""
Progress = Callable[[int, int, dict[str, float]], None]
Outcome = Literal["finished", "no improvement", "interrupted"]


class Trainer:
    """Trains a model on samples.

    Run under ``torchrun`` it joins the process group and averages gradients over the processes.

    Parameters
    ----------
    model : PEMACEModel
    split : Split
    config : TrainingConfig
    folder : Path
        The state and ``metrics.jsonl`` go here.
    repeats : dict, optional
        Repetitions of a config type per epoch.
    device : str
        "cpu", "cuda" or "cuda:N".
    configuration : dict, optional
        Kept in the state, for a later run to compare with its own.

    Raises
    ------
    InputError
        If there are fewer batches than processes, or the device is absent.
    """

    def __init__(self, model: PEMACEModel, split: Split, config: TrainingConfig, folder: Path,
                 repeats: dict[str, int] | None = None, device: str = "cpu",
                 configuration: dict[str, Any] | None = None) -> None:  # fmt: skip
        self.device = resolve_device(device)
        self.group = ProcessGroup(self.device)
        self.model = model.to(self.device)
        self.split = split
        self.config = config
        self.folder = folder
        self.repeats = repeats or {}
        self.configuration = configuration
        self.offsets: dict[str, float] = {}
        self.epoch = 0
        self.batch = 0
        self.step = 0
        self.best = math.inf
        self.stale = 0
        self._running = _Running()
        self._kinds = sorted({sample.config_type for sample in split.train})
        if config.backbone_rate == 0.0:
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name.startswith("electrode."))
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.group.share_first([p.detach() for p in self.parameters])
        self.average = [p.detach().clone() for p in self.parameters]
        self.dtype = self.parameters[0].dtype
        self.optimizer = self._make_optimizer()
        capacitance = model.config.capacitance or [DEFAULT_CAPACITANCE] * len(model.config.domains)
        self.scales = Scales(
            torch.tensor(capacitance, device=self.device, dtype=self.dtype),
            response_scale(split.train, capacitance, model.config.domains),
        )
        if not self.plan(0):
            raise InputError(
                f"files: found too few training structures for {self.group.world} processes, "
                "expected at least one batch for each"
            )

    def _make_optimizer(self) -> torch.optim.Adam:
        # The electrode's sums run over all atoms coherently: a step of ordinary size in one of its
        # weights moves the potential by volts. Dipoles point all ways, and stand more.
        factors = {"electrode": self.config.electrode_rate, "dipoles": self.config.dipole_rate}
        rates: dict[int, float] = {}
        for name, parameter in self.model.electrode.named_parameters():
            kind = "dipoles" if name.split(".")[0] in DIPOLE_PARAMETERS else "electrode"
            rates[id(parameter)] = factors[kind]
        rest = self.config.backbone_rate
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.parameters if rates.get(id(p), rest) == factor],
             "factor": factor}
            for factor in dict.fromkeys([rest, *rates.values()])
        ]  # fmt: skip
        groups = [group for group in groups if group["params"]]
        return torch.optim.Adam(
            groups, lr=self.config.learning_rate, amsgrad=True, betas=(0.9, 0.99)
        )

    # -- schedule ---------------------------------------------------------------------------------
    def learning_rate(self, progress: float) -> float:
        """Learning rate after a share ``progress`` of the run: warm-up, then a cosine."""
        config = self.config
        low, high = config.final_learning_rate, config.learning_rate
        cosine = low + 0.5 * (high - low) * (1.0 + math.cos(math.pi * min(progress, 1.0)))
        return cosine * min(1.0, (self.step + 1) / max(config.warmup_steps, 1))

    def plan(self, epoch: int) -> list[list[Choice]]:
        """Batches of this process for one epoch."""
        return plan_epoch(self.split.train, self.config, self.repeats, epoch, self.group.rank,
                          self.group.world)  # fmt: skip

    # -- loop -------------------------------------------------------------------------------------
    def run(self, progress: Progress | None = None,
            on_epoch: Callable[[dict[str, Any]], None] | None = None,
            stop: Callable[[], bool] = lambda: False, resume: bool = True) -> Outcome:  # fmt: skip
        """Train to the configured number of epochs.

        Parameters
        ----------
        progress : callable, optional
            Called in the first process after every batch with its number, the number of batches
            and the parts of its loss.
        on_epoch : callable, optional
            Called in the first process with the record of every finished epoch.
        stop : callable
            Asked after every batch; if any process says yes, all write the state and return.
        resume : bool
            Go on from the state in the folder, if there is one.

        Returns
        -------
        {"finished", "no improvement", "interrupted"}

        Raises
        ------
        DynamicsError
            If the loss is not finite.
        """
        if resume:
            self.resume()
        while self.epoch < self.config.epochs:
            if self._gave_up:
                LOG.info("no improvement in %d evaluations: stopped", self.config.patience)
                return "no improvement"
            if not self._epoch(progress, stop):
                self._save()
                return "interrupted"
            record: dict[str, Any] = {
                "epoch": self.epoch + 1,
                "step": self.step,
                "seconds": self._running.seconds,
                "loss": self._mean_loss(),
            }
            due = (self.epoch + 1) % self.config.evaluate_every == 0
            if self.split.valid and (due or self.epoch + 1 == self.config.epochs):
                started = time.perf_counter()
                errors = self.evaluate(self.split.valid, stop)
                if errors is None:
                    self._save()
                    return "interrupted"
                record["valid"] = errors.summary()
                record["seconds"] += time.perf_counter() - started
                self._score(record["valid"])
            self._close_epoch(record, on_epoch)
        return "no improvement" if self._gave_up else "finished"

    @property
    def _gave_up(self) -> bool:
        return 0 < self.config.patience <= self.stale

    @property
    def _with_electrode(self) -> bool:
        # Without atomic terms the electrode's state is embedded in the network itself.
        late = self.epoch >= self.config.electrode_start * self.config.epochs
        return late or not self.model.closed_form

    def _epoch(self, progress: Progress | None, stop: Callable[[], bool]) -> bool:
        """Train the rest of the running epoch; False if asked to stop."""
        self.model.train()
        plan = self.plan(self.epoch)
        rng = np.random.default_rng([self.config.seed, self.epoch, self.group.rank, 1])
        for number, chosen in enumerate(plan):
            # Drawn also for batches that an interrupted run has done, to stay in step.
            weights = member_weights(chosen, self.model.config.n_members, self.config.bootstrap,
                                     rng)  # fmt: skip
            if number < self.batch:
                continue
            started = time.perf_counter()
            rate = self.learning_rate((self.epoch + number / len(plan)) / self.config.epochs)
            parts, stopping = self._update(chosen, weights, rate, stop())
            self.batch = number + 1
            self._running.add(parts, time.perf_counter() - started)
            if progress is not None and self.group.rank == 0:
                progress(self.batch, len(plan), parts)
            if stopping:
                return False
        return True

    def _update(self, chosen: list[Choice], weights: Tensor, rate: float, stopping: bool
                ) -> tuple[dict[str, float], bool]:  # fmt: skip
        batch = make_batch(chosen).to(self.device, self.dtype)
        self.optimizer.zero_grad(set_to_none=False)
        loss = batch_loss(self.model, batch, weights.to(self.scales.capacitance),
                          self.config.loss, self.offsets, self.scales,
                          self._with_electrode)  # fmt: skip
        value = float(loss.total.detach())
        if not math.isfinite(value):
            raise DynamicsError(f"training: loss is {value} in step {self.step}", self.step)
        loss.total.backward()
        stopping = self._exchange(loss.residuals, stopping)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.optimizer.step()
        self.step += 1
        decay = min(self.config.ema_decay, (1.0 + self.step) / (10.0 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1.0 - decay)
        return loss.parts, stopping

    def _exchange(self, residuals: list[tuple[str, float]], stopping: bool) -> bool:
        """Average gradients over the processes and update the energy offsets from all of them."""
        sums, counts = np.zeros(len(self._kinds)), np.zeros(len(self._kinds))
        for kind, value in residuals:
            sums[self._kinds.index(kind)] += value
            counts[self._kinds.index(kind)] += 1
        if self.group.world > 1:
            extra = torch.tensor([float(stopping), *sums, *counts])
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad
                         for p in self.parameters]  # fmt: skip
            flat = torch.cat([g.flatten() for g in gradients] + [extra.to(gradients[0])])
            self.group.sum(flat)
            start = 0
            for p in self.parameters:
                p.grad = (flat[start : start + p.numel()] / self.group.world).view_as(p)
                start += p.numel()
            flag, *rest = flat[start:].tolist()
            stopping = flag > 0.0
            sums, counts = np.array(rest[: len(sums)]), np.array(rest[len(sums) :])
        for kind, total, count in zip(self._kinds, sums, counts, strict=True):
            if count:
                mean = float(total / count)
                offset = self.offsets.setdefault(kind, mean)
                share = 1.0 - (1.0 - OFFSET_RATE) ** int(count)
                self.offsets[kind] = offset + share * (mean - offset)
        return stopping

    def _mean_loss(self) -> dict[str, float]:
        return _Running.merged(self.group.gather(self._running)).means()

    # -- evaluation -------------------------------------------------------------------------------
    @contextmanager
    def averaged_model(self) -> Iterator[PEMACEModel]:
        """The model with its averaged weights in place, for the length of a with block."""
        current = [p.detach() for p in self.parameters]
        kept = [p.clone() for p in current]
        training = self.model.training
        torch._foreach_copy_(current, self.average)
        try:
            yield self.model.eval()
        finally:
            torch._foreach_copy_(current, kept)
            self.model.train(training)

    def evaluate(self, samples: Sequence[Sample], stop: Callable[[], bool] = lambda: False
                 ) -> Evaluation | None:  # fmt: skip
        """Errors of the averaged model, the samples shared out over the processes.

        Returns
        -------
        Evaluation or None
            The same in every process; None if one was asked to stop.
        """
        mine: list[SampleErrors] = []
        stopping = False
        with self.averaged_model() as model:
            for sample in samples[self.group.rank :: self.group.world]:
                stopping = stop()
                if stopping:
                    break
                mine.append(evaluate_sample(model, sample))
        shares = self.group.gather((stopping, mine))
        if any(stopped for stopped, _ in shares):
            return None
        world = self.group.world
        merged = [shares[i % world][1][i // world] for i in range(len(samples))]
        return Evaluation(self.model.config.symbols, merged)

    def _score(self, errors: dict[str, dict[str, float]]) -> None:
        score = float(np.mean([values["force_rmse_meV_A"] for values in errors.values()]))
        self.stale = 0 if score < self.best else self.stale + 1
        self.best = min(score, self.best)

    # -- state ------------------------------------------------------------------------------------
    def _close_epoch(self, record: dict[str, Any],
                     on_epoch: Callable[[dict[str, Any]], None] | None) -> None:  # fmt: skip
        self.epoch += 1
        self.batch = 0
        self._running = _Running()
        if self.group.rank == 0:
            write_metrics(self.folder, record)
            self._write_state()
            if on_epoch is not None:
                on_epoch(record)
        self.group.wait()

    def _save(self) -> None:
        """Write the state in the middle of an epoch; all processes must call it."""
        self._running = _Running.merged(self.group.gather(self._running))
        if self.group.rank == 0:
            self._write_state()
        self.group.wait()

    def _write_state(self) -> None:
        meta = {
            "epoch": self.epoch, "batch": self.batch, "step": self.step, "best": self.best,
            "stale": self.stale, "offsets": self.offsets, "running": self._running.as_dict(),
            "world": self.group.world, "configuration": self.configuration,
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
        self.epoch, self.step = meta["epoch"], meta["step"]
        self.best, self.stale = meta["best"], meta["stale"]
        self.offsets = dict(meta["offsets"])
        self.batch = meta.get("batch", 0)
        if self.batch and meta["world"] != self.group.world:
            # The batches are dealt differently: the running epoch starts again.
            self.batch = 0
        elif self.batch and self.group.rank == 0:
            self._running = _Running(**meta["running"])
        LOG.info("resumed at epoch %d, batch %d", self.epoch, self.batch)
        return True


class _Running:
    """Sums of the loss over the batches of the running epoch, and the time they took."""

    def __init__(self, seconds: float = 0.0, sums: dict[str, float] | None = None,
                 counts: dict[str, int] | None = None) -> None:  # fmt: skip
        self.seconds = seconds
        self.sums = sums or {}
        self.counts = counts or {}

    def add(self, parts: dict[str, float], seconds: float) -> None:
        self.seconds += seconds
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        return {name: total / self.counts[name] for name, total in self.sums.items()}

    def as_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "sums": self.sums, "counts": self.counts}

    @staticmethod
    def merged(parts: Sequence[_Running]) -> _Running:
        """Sums of all processes; their times run side by side."""
        out = _Running(max(part.seconds for part in parts))
        for part in parts:
            for name, value in part.sums.items():
                out.sums[name] = out.sums.get(name, 0.0) + value
                out.counts[name] = out.counts.get(name, 0) + part.counts[name]
        return out
