"""A whole training run of Soft-FQEq: from settings to a checkpoint with its card and plots."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers
from safetensors import SafetensorError

from voltase.aseplugin.errors import CheckpointError, DynamicsError, InputError
from voltase.aseplugin.models.allocator import keep_freed_memory
from voltase.aseplugin.models.checkpoint import file_hash, read_card
from voltase.aseplugin.models.softfqeq import SoftFQEqConfig, SoftFQEqModel
from voltase.aseplugin.models.softfqeq.checkpoint import KIND, save_model
from voltase.aseplugin.training.charge_model.card import render_card
from voltase.aseplugin.training.charge_model.checks import (
    check_height,
    check_labels,
    earlier_state,
    held_out,
)
from voltase.aseplugin.training.charge_model.config import ChargeDataConfig, ChargeTrainingConfig
from voltase.aseplugin.training.charge_model.dataset import ChargeSample, charge_samples
from voltase.aseplugin.training.charge_model.first_guesses import set_first_guesses
from voltase.aseplugin.training.charge_model.model_setup import (
    read_start,
    resolve_model,
    take_weights,
)
from voltase.aseplugin.training.charge_model.plots import plot_learning_curve, plot_parity
from voltase.aseplugin.training.charge_model.trainer import ChargeTrainer, Outcome, Progress
from voltase.aseplugin.training.dataset import split_samples
from voltase.aseplugin.training.frames import Frame, read_frames
from voltase.aseplugin.training.resume import compare_configurations
from voltase.aseplugin.training.run import MOST_THREADS
from voltase.aseplugin.training.settings_checks import check_config_types
from voltase.aseplugin.training.state import forget, read_metrics
from voltase.aseplugin.versions import installed_versions

LOG = logging.getLogger(__name__)
MODEL = "model"
"""Folder of the checkpoint inside that of the run."""


@dataclass
class ChargeRunConfig:
    """Everything a training run is told.

    Attributes
    ----------
    data : ChargeDataConfig
    model : dict
        Fields of `SoftFQEqConfig`. What is absent follows from the data or has its default.
    training : ChargeTrainingConfig
    card : dict
        Free entries for the model card: source, DOI, licence, description, ``name``.
    out : str
        Folder of the run.
    threads : int, optional
        Of torch; its own choice otherwise.
    init : str, optional
        Soft-FQEq checkpoint whose weights the training starts from, or PE-MACE checkpoint whose
        feature network it takes over; what it held out is held out again.
    restart : bool
        Go on from the state in the folder, if there is one.
    """

    data: ChargeDataConfig = field(default_factory=ChargeDataConfig)
    model: dict[str, Any] = field(default_factory=dict)
    training: ChargeTrainingConfig = field(default_factory=ChargeTrainingConfig)
    card: dict[str, Any] = field(default_factory=dict)
    out: str = "training"
    threads: int | None = None
    init: str | None = None
    restart: bool = True


class ChargeTrainingRun:
    """A prepared training: data read, network built, nothing written yet.

    Parameters
    ----------
    config : ChargeRunConfig

    Raises
    ------
    InputError
        If a setting or the data cannot be used.
    CheckpointError
        If the state in the folder is unreadable or of another configuration, or ``init`` cannot
        be loaded.

    Attributes
    ----------
    trainer : ChargeTrainer
    folder : Path
    split : Split
    resumed_epoch : int or None
        Number of epochs that a state taken up has behind it.
    taken : (int, int) or None
        Numbers of weights that came from ``init`` and that there are.
    errors : dict
        On the held-out snapshots, by config type; empty before `finish`.
    """

    def __init__(self, config: ChargeRunConfig) -> None:
        self.config = config
        self.folder = Path(config.out)
        self._check()
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        keep_freed_memory()
        start = None if config.init is None else read_start(config.init)
        frames = read_frames(config.data)
        check_config_types(config.data, frames)
        self.frame_counts = Counter(frame.config_type for frame in frames)
        self.hashes = {name: file_hash(Path(name)) for name in config.data.files}
        settings = resolve_model(config.model, _symbols(frames), start)
        samples = charge_samples(frames, config.data, settings)
        if "counter_height" not in config.model and (start is None or start.kind != KIND):
            settings.counter_height = _mean_height(samples, settings.counter_height)
        check_height(samples, settings.counter_height)
        self.configuration = {
            "data": {**asdict(config.data), "files": list(self.hashes.values())},
            "model": settings.as_dict(),
            "training": asdict(config.training),
            "init": None if start is None else start.card["sha256"],
        }
        meta = earlier_state(self.folder) if config.restart else None
        self.resumed_epoch = None if meta is None else int(meta["epoch"])
        if meta is not None:
            compare_configurations(self.folder, meta.get("configuration"), self.configuration)
        earlier = None if start is None else held_out(start)
        self.split = split_samples(samples, config.data, earlier)
        check_labels(self.split.train, config.data, config.training.loss)
        self.taken: tuple[int, int] | None = None
        self.errors: dict[str, dict[str, float]] = {}
        torch.manual_seed(config.training.seed)
        if meta is not None:
            # With the normalisation of the features, which is read off the data once.
            settings = SoftFQEqConfig.from_dict(meta["model"])
        model = SoftFQEqModel(settings)
        if start is not None:
            self.taken = take_weights(model, start)
        elif meta is None:
            typical = max(samples, key=lambda s: (len(s.graph.species.unique()), s.graph.n_atoms))
            model.features.calibrate(typical.graph)
        self.trainer = ChargeTrainer(model, self.split, config.training, self.folder,
                                     self.configuration, config.data.weights)  # fmt: skip
        if meta is None and (start is None or start.kind != KIND):
            self._guess()

    def _check(self) -> None:
        config = self.config
        if not config.data.files:
            raise InputError("files: found none, expected at least one file of frames")
        try:
            there = next(path for path in (self.folder, *self.folder.absolute().parents)
                         if path.exists())  # fmt: skip
        except OSError as error:
            raise InputError(
                f"out: {self.folder} cannot be made ({error.strerror}), expected a folder"
            ) from error
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise InputError(f"out: {there} is no folder to write to, expected one")
        if (self.folder / MODEL).exists() and not (self.folder / MODEL).is_dir():
            raise InputError(f"out: {self.folder / MODEL} is a file, expected a folder or nothing")
        if config.threads is not None and not 1 <= config.threads <= MOST_THREADS:
            raise InputError(f"threads: found {config.threads}, expected 1 to {MOST_THREADS}")

    def _guess(self) -> None:
        train: Sequence[Any] = self.split.train
        usable = [s for s in train if bool(torch.isfinite(s.charges[0]).all())]
        trainer = self.trainer
        set_first_guesses(trainer.model, usable, trainer.geometry, trainer.features)
        for parameter, average in zip(self.trainer.parameters, self.trainer.average, strict=True):
            average.copy_(parameter.detach())

    def train(self, progress: Progress | None = None,
              on_epoch: Callable[[dict[str, Any]], None] | None = None,
              stop: Callable[[], bool] = lambda: False) -> Outcome:  # fmt: skip
        """Train; see `ChargeTrainer.run`.

        Raises
        ------
        CheckpointError
            If the folder cannot be written to, as on a full disk.
        """
        with _written(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self.config.restart:
                forget(self.folder)
            outcome = self.trainer.run(progress, on_epoch, stop, resume=self.config.restart)
            records = read_metrics(self.folder)
            if records:
                plot_learning_curve(records, self.folder / "learning_curve.png")
        return outcome

    def finish(self, stop: Callable[[], bool] = lambda: False) -> Path | None:
        """Judge the averaged model on the held-out snapshots and write checkpoint, card and plots.

        Returns
        -------
        Path or None
            Folder of the checkpoint; None if asked to stop.

        Raises
        ------
        CheckpointError
            If the folder cannot be written to.
        DynamicsError
            If a weight is not finite.
        """
        if not all(bool(average.isfinite().all()) for average in self.trainer.average):
            raise DynamicsError(
                "training: weights are not finite, expected numbers; too high a learning_rate does "
                "this", self.trainer.step
            )  # fmt: skip
        evaluation = self.trainer.evaluate(self.split.test, stop)
        if evaluation is None:
            return None
        self.errors = evaluation.summary()
        target = self.folder / MODEL
        with _written(self.folder):
            with self.trainer.averaged_model() as model:
                save_model(target, model, self.card())
            text = render_card(read_card(target, KIND))
            partial = target / "README.md.partial"
            partial.write_text(text)
            os.replace(partial, target / "README.md")
            if evaluation.samples:
                plot_parity(evaluation, self.folder / "parity.png")
        return target

    def resolved(self) -> dict[str, Any]:
        """All settings as plain values, defaults included."""
        config = self.config
        return {
            "out": config.out, "threads": torch.get_num_threads(), "restart": config.restart,
            "init": config.init, "data": asdict(config.data), "model": self.configuration["model"],
            "training": asdict(config.training), "card": config.card,
        }  # fmt: skip

    def model_facts(self, folder: Path | None = None) -> dict[str, Any]:
        """Size of the network and, once it is written, where it is and its hash."""
        facts: dict[str, Any] = {"weights": sum(p.numel() for p in self.trainer.model.parameters())}
        if folder is not None:
            facts.update(folder=str(folder), sha256=read_card(folder, KIND)["sha256"])
        return facts

    def card(self) -> dict[str, Any]:
        """What a user of the model must know."""
        config, trainer = self.config, self.trainer
        potential, density = _ranges(self.split.train)
        card: dict[str, Any] = {
            "name": self.folder.resolve().name,
            "created": datetime.now(UTC).date().isoformat(),
            "reference": "potentials are absolute; U vs SHE = Phi - 4.44 V",
            "elements": trainer.model.config.symbols,
            "data": {
                "files": [{"name": Path(name).name, "sha256": digest}
                          for name, digest in self.hashes.items()],
                "frames": dict(self.frame_counts),
                "charges": config.data.charges_key,
                "charging": config.data.charging,
                "split": {
                    "seed": config.data.seed,
                    "geometries": {use: len(getattr(self.split, use))
                                   for use in ("train", "valid", "test")},
                    "test_snapshots": sorted({s.snapshot for s in self.split.test}),
                    "valid_snapshots": sorted({s.snapshot for s in self.split.valid}),
                },
            },
            "errors": {"test": self.errors},
            "training": {
                **asdict(config.training),
                "epochs_done": trainer.epoch,
                "steps": trainer.step,
                "hours": round(sum(r["seconds"] for r in read_metrics(self.folder)) / 3600, 6),
                "init": self.configuration["init"],
            },
            "versions": installed_versions(),
        }  # fmt: skip
        if potential is not None:
            card["potential_range"] = potential
        if density is not None:
            card["electrons_per_area_range"] = density
        return {**card, **config.card}


def _symbols(frames: Sequence[Frame]) -> list[str]:
    found = {symbol for frame in frames for symbol in set(frame.atoms.get_chemical_symbols())}
    return sorted(found, key=lambda s: atomic_numbers[s])


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Name the folder that cannot be written to, and leave no half of a file in it."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        for partial in (*folder.glob("*.partial"), *(folder / MODEL).glob("*.partial")):
            with suppress(OSError):
                partial.unlink()
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise CheckpointError(
            f"out: {folder} cannot be written to ({reason}), expected a folder with room"
        ) from error


def _mean_height(samples: Sequence[ChargeSample], default: float) -> float:
    """Mean height of the planes from which the labelled potentials are measured, A."""
    heights = [state.counter_height for s in samples for state in s.states if state.counter_height]
    return round(float(np.mean(heights)), 1) if heights else default


def _ranges(samples: Sequence[Any]) -> tuple[list[float] | None, list[float] | None]:
    """Smallest and largest Phi (V absolute) and n / A (e/A^2) among the labels; None if absent."""
    potentials = np.concatenate([s.potential.numpy() for s in samples])
    densities = np.concatenate([s.electrons.numpy() / float(s.graph.areas.sum()) for s in samples])
    ranges: list[list[float] | None] = []
    for values in (potentials, densities):
        known = values[np.isfinite(values)]
        ranges.append([float(known.min()), float(known.max())] if known.size else None)
    return ranges[0], ranges[1]
