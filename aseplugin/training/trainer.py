"""Training loop of PE-MACE: data parallel, resumable, with a moving average of the weights."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import CheckpointError, DynamicsError
from ..models.pemace import PEMACEModel
from .dataset import Batch, Sample, Split, make_batch
from .losses import LossWeights, batch_loss
from .metrics import evaluate_samples

LOG = logging.getLogger(__name__)
Progress = Callable[[int, int, dict[str, float]], None]


@dataclass
class TrainingConfig:
    """How to train.

    Attributes
    ----------
    epochs : int
    learning_rate, final_learning_rate : float
        Ends of the cosine schedule.
    electrode_rate : float
        Learning rate of the electrode's own parameters over that of the others.
    warmup_steps : int
    atoms_per_batch : int
        Small structures of one config type are joined up to this number of atoms.
    ema_decay : float
        Of the moving average of the weights, which is what is evaluated and saved.
    clip : float
        Largest norm of the gradient.
    bootstrap : float
        Share of the snapshots that each committee member never sees.
    evaluate_every : int
        Epochs between evaluations of the validation set.
    patience : int
        Evaluations without improvement after which training stops (0: never).
    seed : int
    loss : LossWeights
    """

    epochs: int = 50
    learning_rate: float = 5e-3
    final_learning_rate: float = 5e-5
    electrode_rate: float = 0.1
    warmup_steps: int = 200
    atoms_per_batch: int = 200
    ema_decay: float = 0.995
    clip: float = 10.0
    bootstrap: float = 0.2
    evaluate_every: int = 1
    patience: int = 0
    seed: int = 0
    loss: LossWeights = field(default_factory=LossWeights)


class Trainer:
    """Trains a model on samples.

    Run under ``torchrun`` it joins the process group and averages gradients over the processes.

    Parameters
    ----------
    model : PEMACEModel
    split : Split
    config : TrainingConfig
    folder : Path
        State (``state.safetensors``, ``state.json``) and ``metrics.jsonl`` go here.
    repeats : dict
        Repetitions of a config type per epoch.
    device : str
    """

    def __init__(self, model: PEMACEModel, split: Split, config: TrainingConfig, folder: Path,
                 repeats: dict[str, int] | None = None, device: str = "cpu") -> None:  # fmt: skip
        self.rank, self.world = _join_process_group(device)
        self.device = device if device == "cpu" else f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        self.model = model.to(self.device)
        self.split = split
        self.config = config
        self.folder = folder
        self.repeats = repeats or {}
        self.offsets: dict[str, float] = {}
        self.epoch = 0
        self.step = 0
        self.best = math.inf
        self.stale = 0
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.ema = [p.detach().clone() for p in self.parameters]
        # The electrode's sums run over all atoms coherently: a step of ordinary size in one of its
        # weights moves the potential by volts.
        electrode = {id(p) for p in model.electrode.parameters()}
        groups = [
            {"params": [p for p in self.parameters if id(p) not in electrode], "factor": 1.0},
            {"params": [p for p in self.parameters if id(p) in electrode],
             "factor": config.electrode_rate},
        ]  # fmt: skip
        self.optimizer = torch.optim.Adam(
            groups, lr=config.learning_rate, amsgrad=True, betas=(0.9, 0.99)
        )
        self.capacitance = torch.tensor(
            model.config.capacitance or [2e-3] * len(model.config.domains), device=self.device
        )
        self.response_scale = response_scale(split.train)

    # -- schedule -------------------------------------------------------------------------------
    def learning_rate(self, progress: float) -> float:
        """Learning rate after a share ``progress`` of the run: warm-up, then a cosine."""
        config = self.config
        low, high = config.final_learning_rate, config.learning_rate
        cosine = low + 0.5 * (high - low) * (1.0 + math.cos(math.pi * min(progress, 1.0)))
        return cosine * min(1.0, (self.step + 1) / max(config.warmup_steps, 1))

    def plan(self, epoch: int) -> list[list[tuple[Sample, tuple[int, int]]]]:
        """Batches of this process for one epoch: samples with their two chosen labels."""
        rng = np.random.default_rng([self.config.seed, epoch])
        pool: list[Sample] = []
        for sample in self.split.train:
            pool.extend([sample] * self.repeats.get(sample.config_type, 1))
        order = rng.permutation(len(pool))
        batches: list[list[tuple[Sample, tuple[int, int]]]] = []
        open_batches: dict[str, list[tuple[Sample, tuple[int, int]]]] = {}
        for index in order:
            sample = pool[index]
            current = open_batches.setdefault(sample.config_type, [])
            current.append((sample, _choose_labels(len(sample.electrons), rng)))
            if sum(s.graph.n_atoms for s, _ in current) >= self.config.atoms_per_batch:
                batches.append(open_batches.pop(sample.config_type))
        batches.extend(open_batches.values())
        batches = [batches[i] for i in rng.permutation(len(batches))]
        # Batches of like size run side by side, so that no process waits.
        window = 8 * self.world
        dealt: list[list[tuple[Sample, tuple[int, int]]]] = []
        for start in range(0, len(batches) - len(batches) % self.world, window):
            chunk = batches[start : start + window]
            chunk = chunk[: len(chunk) - len(chunk) % self.world]
            chunk.sort(key=lambda b: sum(s.graph.n_atoms * (1 + (c[0] != c[1])) for s, c in b))
            groups = [chunk[i : i + self.world] for i in range(0, len(chunk), self.world)]
            dealt.extend(groups[i][self.rank] for i in rng.permutation(len(groups)))
        return dealt

    # -- loop -----------------------------------------------------------------------------------
    def run(self, progress: Progress | None = None) -> None:
        """Train to the configured number of epochs, from wherever the state stands.

        Raises
        ------
        DynamicsError
            If the loss is not finite.
        """
        self.resume()
        while self.epoch < self.config.epochs:
            started = time.perf_counter()
            losses = self._epoch(progress)
            self.epoch += 1
            record: dict[str, Any] = {
                "epoch": self.epoch,
                "step": self.step,
                "seconds": time.perf_counter() - started,
                "loss": losses,
            }
            last = self.epoch == self.config.epochs
            stop = False
            if self.split.valid and (self.epoch % self.config.evaluate_every == 0 or last):
                record["valid"], stop = self._validate()
            if self.rank == 0:
                self._write(record)
                self.save()
            if self.world > 1:
                dist.barrier()
            if stop:
                LOG.info("no improvement in %d evaluations: stopped", self.config.patience)
                break

    def _epoch(self, progress: Progress | None) -> dict[str, float]:
        self.model.train()
        plan = self.plan(self.epoch)
        rng = np.random.default_rng([self.config.seed, self.epoch, self.rank, 1])
        total: dict[str, list[float]] = {}
        for number, chosen in enumerate(plan):
            batch = make_batch([s for s, _ in chosen], [c for _, c in chosen])
            weights = self._member_weights(chosen, rng)
            rate = self.learning_rate((self.epoch + number / len(plan)) / self.config.epochs)
            parts = self._update(self._to_device(batch), weights, rate)
            for name, value in parts.items():
                total.setdefault(name, []).append(value)
            if progress is not None and self.rank == 0:
                progress(number + 1, len(plan), parts)
        return {name: float(np.mean(values)) for name, values in total.items()}

    def _update(self, batch: Batch, weights: Tensor, rate: float) -> dict[str, float]:
        self.optimizer.zero_grad(set_to_none=False)
        loss, parts = batch_loss(self.model, batch, weights, self.config.loss, self.offsets,
                                 self.capacitance, self.response_scale)  # fmt: skip
        loss.backward()
        if not math.isfinite(float(loss)):
            raise DynamicsError(f"training: loss is {float(loss)} in step {self.step}")
        self._average_gradients()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.optimizer.step()
        self.step += 1
        decay = min(self.config.ema_decay, (1.0 + self.step) / (10.0 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.ema, [p.detach() for p in self.parameters], 1.0 - decay)
        return parts

    def _average_gradients(self) -> None:
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p)
                     for p in self.parameters]  # fmt: skip
        if self.world == 1:
            return
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        start = 0
        for p in self.parameters:
            p.grad = flat[start : start + p.numel()].view_as(p).clone()
            start += p.numel()

    def _member_weights(self, chosen: list[tuple[Sample, tuple[int, int]]],
                        rng: np.random.Generator) -> Tensor:  # fmt: skip
        """Half the time the committee's mean, else one member that may see these snapshots."""
        members = self.model.config.n_members
        mean = torch.full((members,), 1.0 / members, device=self.device)
        if members == 1 or rng.random() < 0.5:
            return mean
        allowed = [m for m in range(members) if not any(
            _left_out(s.snapshot, m, self.config.bootstrap) for s, _ in chosen)]  # fmt: skip
        if not allowed:
            return mean
        return torch.nn.functional.one_hot(torch.tensor(rng.choice(allowed)), members).to(mean)

    def _to_device(self, batch: Batch) -> Batch:
        if self.device == "cpu":
            return batch
        batch.graph = batch.graph.to(self.device, torch.float32)
        for name in ("electrons", "potential", "energy", "forces"):
            setattr(batch, name, [t.to(self.device) for t in getattr(batch, name)])
        batch.paired = batch.paired.to(self.device)
        return batch

    # -- evaluation -----------------------------------------------------------------------------
    def averaged_model(self) -> _Swapped:
        """Context manager: the model with its averaged weights in place."""
        return _Swapped(self.parameters, self.ema)

    def _validate(self) -> tuple[dict[str, dict[str, float]], bool]:
        with self.averaged_model():
            self.model.eval()
            summary = evaluate_samples(self.model, self.split.valid)
        errors = summary.summary()
        score = float(np.mean([v["force_rmse_meV_A"] for v in errors.values()]))
        self.stale = 0 if score < self.best else self.stale + 1
        self.best = min(score, self.best)
        return errors, 0 < self.config.patience <= self.stale

    # -- state ----------------------------------------------------------------------------------
    def save(self) -> None:
        """Write the state of the run, atomically: weights last, so that a kill cannot split it."""
        tensors: dict[str, Tensor] = {}
        for i, (p, average) in enumerate(zip(self.parameters, self.ema, strict=True)):
            tensors[f"parameter.{i}"] = p.detach().cpu().clone()
            tensors[f"average.{i}"] = average.cpu().clone()
            for name, value in self.optimizer.state[p].items():
                tensors[f"adam.{i}.{name}"] = torch.as_tensor(value).cpu().clone()
        meta = {
            "epoch": self.epoch, "step": self.step, "best": self.best, "stale": self.stale,
            "offsets": self.offsets,
        }  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / "state.safetensors.partial"
        save_file(tensors, partial, metadata={"state": json.dumps(meta)})
        os.replace(partial, self.folder / "state.safetensors")

    def resume(self) -> bool:
        """Take up the state in the folder, if there is one.

        Raises
        ------
        CheckpointError
            If it belongs to another model.
        """
        from safetensors import safe_open

        path = self.folder / "state.safetensors"
        if not path.is_file():
            return False
        with safe_open(path, "pt") as handle:
            meta = json.loads(handle.metadata()["state"])
        tensors = load_file(path, device=self.device)
        for i, (p, average) in enumerate(zip(self.parameters, self.ema, strict=True)):
            saved = tensors.get(f"parameter.{i}")
            if saved is None or saved.shape != p.shape:
                raise CheckpointError(f"{path}: parameter {i} does not fit this model")
            with torch.no_grad():
                p.copy_(saved)
                average.copy_(tensors[f"average.{i}"])
            prefix = f"adam.{i}."
            self.optimizer.state[p] = {
                k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)
            }
        self.epoch, self.step = meta["epoch"], meta["step"]
        self.best, self.stale = meta["best"], meta["stale"]
        self.offsets = meta["offsets"]
        LOG.info("resumed at epoch %d", self.epoch)
        return True

    def _write(self, record: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "metrics.jsonl"
        kept = []
        if path.is_file():
            lines = path.read_text().splitlines()
            kept = [line for line in lines if json.loads(line)["epoch"] < record["epoch"]]
        partial = path.with_suffix(".partial")
        partial.write_text("\n".join([*kept, json.dumps(record)]) + "\n")
        os.replace(partial, path)


class _Swapped:
    """Puts other values into parameters for the length of a with block."""

    def __init__(self, parameters: list[torch.nn.Parameter], values: list[Tensor]) -> None:
        self.parameters, self.values = parameters, values

    def __enter__(self) -> None:
        self.kept = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            for p, v in zip(self.parameters, self.values, strict=True):
                p.copy_(v)

    def __exit__(self, *_: object) -> None:
        with torch.no_grad():
            for p, v in zip(self.parameters, self.kept, strict=True):
                p.copy_(v)


def response_scale(samples: list[Sample]) -> float:
    """Root mean square of d(force)/d(n / A) over same-geometry labels (eV/A per e/A^2)."""
    squares, count = 0.0, 0
    for sample in samples:
        area = float(sample.graph.areas.sum())
        for k in range(len(sample.electrons) - 1):
            change = float(sample.electrons[k + 1] - sample.electrons[k]) / area
            if math.isfinite(change) and change != 0.0:
                slope = (sample.forces[k + 1] - sample.forces[k]) / change
                squares += float((slope**2).sum())
                count += slope.numel()
    return math.sqrt(squares / count) if count else 1.0


def _choose_labels(count: int, rng: np.random.Generator) -> tuple[int, int]:
    """A random label and the one farthest from it (samples are sorted by n)."""
    first = int(rng.integers(count))
    return first, (0 if first >= count / 2 else count - 1)


def _left_out(snapshot: str, member: int, share: float) -> bool:
    """Whether a committee member never sees a snapshot: a fixed choice by name."""
    return bool(np.random.default_rng([*snapshot.encode(), member]).random() < share)


def _join_process_group(device: str) -> tuple[int, int]:
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("gloo" if device == "cpu" else "nccl")
    return dist.get_rank(), dist.get_world_size()
