"""A whole training run: from settings to a checkpoint with its card and plots."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.allocator import keep_freed_memory
from voltase.aseplugin.models.checkpoint import (
    file_hash,
    load_checkpoint,
    read_card,
    save_checkpoint,
)
from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel
from voltase.aseplugin.training.atomic_energies import refit_atomic_energies
from voltase.aseplugin.training.card import check_free_entries, render_card
from voltase.aseplugin.training.config import DataConfig, TrainingConfig
from voltase.aseplugin.training.dataset import EarlierSplit, Sample, group_samples, split_samples
from voltase.aseplugin.training.first_guesses import labelled_ranges
from voltase.aseplugin.training.frames import check_electrode_states, read_frames
from voltase.aseplugin.training.model_setup import (
    build_model,
    defaults_from,
    derive_settings,
    settings_record,
    take_weights,
)
from voltase.aseplugin.training.parallel import resolve_device
from voltase.aseplugin.training.plots import plot_learning_curve, plot_parity
from voltase.aseplugin.training.resume import compare_configurations
from voltase.aseplugin.training.state import forget, read_meta, read_metrics
from voltase.aseplugin.training.trainer import Outcome, Progress, Trainer
from voltase.aseplugin.versions import installed_versions

LOG = logging.getLogger(__name__)
MOST_THREADS = 1024
"""Far more than a training can use; from some hundred thousand on, the process dies."""
MODEL = "model"
"""Folder of the checkpoint inside that of the run."""


@dataclass
class RunConfig:
    """Everything a training run is told.

    Attributes
    ----------
    data : DataConfig
    model : dict
        Fields of `PEMACEConfig`, and under "backbone" of `BackboneConfig`. What is absent follows
        from the data (elements, domains, first guesses) or has its default.
    training : TrainingConfig
    card : dict
        Free entries for the model card: source, DOI, licence, description, ``name``,
        ``default_domain``.
    out : str
        Folder of the run.
    device : str
    threads : int, optional
        Of torch; its own choice otherwise.
    init : str, optional
        Checkpoint whose weights the training starts from; what it held out is held out again.
    restart : bool
        Go on from the state in the folder, if there is one.
    split : EarlierSplit, optional
        What is held out of its config types, instead of what ``init`` held out.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: dict[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    card: dict[str, Any] = field(default_factory=dict)
    out: str = "training"
    device: str = "cpu"
    threads: int | None = None
    init: str | None = None
    restart: bool = True
    split: EarlierSplit | None = None


class TrainingRun:
    """A prepared training: data read, network built, nothing written yet.

    Parameters
    ----------
    config : RunConfig

    Raises
    ------
    InputError
        If a setting or the data cannot be used.
    CheckpointError
        If the state in the folder is unreadable or of another configuration, or ``init`` cannot
        be loaded.

    Attributes
    ----------
    trainer : Trainer
    folder : Path
    split : Split
    resumed : bool
        Whether a state is taken up, and after which epoch (``resumed_epoch``).
    taken : (int, int) or None
        Numbers of weights that came from ``init`` and that there are.
    errors : dict
        On the held-out snapshots, by config type; empty before `finish`.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.folder = Path(config.out)
        self._check()
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        keep_freed_memory()
        self.hashes = _hashes(config.data.files)
        start = None if config.init is None else load_checkpoint(config.init)
        given = config.model if start is None else defaults_from(start[0].config, config.model)
        self.configuration = {
            "data": {**asdict(config.data), "files": list(self.hashes.values())},
            "model": settings_record(given),
            "training": asdict(config.training),
            "init": None if start is None else start[1]["sha256"],
        }
        meta = read_meta(self.folder) if config.restart else None
        self.resumed = meta is not None
        self.resumed_epoch = 0 if meta is None else int(meta["epoch"])
        if meta is not None:
            compare_configurations(self.folder, meta.get("configuration"), self.configuration)
        frames = read_frames(config.data)
        self.frame_counts = Counter(frame.config_type for frame in frames)
        check_electrode_states(frames, str(given.get("embedding", "electrons")))
        settings = derive_settings(given, config.data, frames,
                                   None if start is None else start[0].config)  # fmt: skip
        check_free_entries(config.card, settings.domains)
        samples = group_samples(frames, config.data, settings)
        earlier = config.split
        if earlier is None and start is not None:
            earlier = EarlierSplit.of_card(start[1])
        self.split = split_samples(samples, config.data, earlier)
        stored = None if meta is None else meta.get("model")
        self.taken: tuple[int, int] | None = None
        self.errors: dict[str, dict[str, float]] = {}
        if stored is not None:
            model = PEMACEModel(PEMACEConfig.from_dict(stored))
        else:
            model = self._new_model(settings, given, None if start is None else start[0])
        self.trainer = Trainer(model, self.split, config.training, self.folder,
                               repeats=config.data.weights, device=config.device,
                               configuration=self.configuration)  # fmt: skip

    def _check(self) -> None:
        config = self.config
        if not config.data.files:
            raise InputError("files: found none, expected at least one file of frames")
        for path in (self.folder, *self.folder.parents):
            if path.exists():
                if not path.is_dir() or not os.access(path, os.W_OK):
                    raise InputError(f"out: {path} is no folder to write to, expected one")
                break
        if config.threads is not None and not 1 <= config.threads <= MOST_THREADS:
            raise InputError(f"threads: found {config.threads}, expected 1 to {MOST_THREADS}")
        resolve_device(config.device)

    def _new_model(self, settings: PEMACEConfig, given: dict[str, Any],
                   start: PEMACEModel | None) -> PEMACEModel:  # fmt: skip
        neighbours_given = "avg_num_neighbors" in given.get("backbone", {})
        model = build_model(settings, self.split.train, neighbours_given,
                            self.config.training.seed, start)  # fmt: skip
        if start is not None:
            self.taken = take_weights(model, start)
            refit_atomic_energies(model, self.split.train)
        return model

    def train(self, progress: Progress | None = None,
              on_epoch: Callable[[dict[str, Any]], None] | None = None,
              stop: Callable[[], bool] = lambda: False) -> Outcome:  # fmt: skip
        """Train; see `Trainer.run`."""
        first = self.trainer.group.rank == 0
        if first:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self.config.restart:
                forget(self.folder)
        self.trainer.group.wait()
        outcome = self.trainer.run(progress, on_epoch, stop, resume=self.config.restart)
        if first:
            self.plot()
        return outcome

    def finish(self, stop: Callable[[], bool] = lambda: False) -> Path | None:
        """Judge the averaged model on the held-out snapshots and write checkpoint, card and plots.

        Returns
        -------
        Path or None
            Folder of the checkpoint; None if asked to stop.
        """
        with self.trainer.averaged_model() as model:
            # Training leaves the offset of each config type's energies free, and they drift.
            refit_atomic_energies(model, self.split.train)
        evaluation = self.trainer.evaluate(self.split.test, stop)
        if evaluation is None:
            return None
        self.errors = evaluation.summary()
        target = self.folder / MODEL
        if self.trainer.group.rank == 0:
            card = self.card()
            with self.trainer.averaged_model() as model:
                save_checkpoint(target, model, card)
            _write_text(target / "README.md", render_card(read_card(target)))
            if evaluation.samples:
                plot_parity(evaluation, self.folder / "parity.png")
        self.trainer.group.wait()
        return target

    def plot(self) -> None:
        """Draw the learning curve, if an epoch has been finished."""
        records = read_metrics(self.folder)
        if records:
            plot_learning_curve(records, self.folder / "learning_curve.png")

    def resolved(self) -> dict[str, Any]:
        """All settings as plain values, defaults included."""
        config = self.config
        return {
            "out": config.out, "device": self.trainer.device, "threads": torch.get_num_threads(),
            "processes": self.trainer.group.world, "restart": config.restart, "init": config.init,
            "data": asdict(config.data), "model": self.configuration["model"],
            "training": asdict(config.training), "card": config.card,
        }  # fmt: skip

    def model_facts(self, folder: Path | None = None) -> dict[str, Any]:
        """Size of the network and, once it is written, where it is and its hash."""
        weights = sum(p.numel() for p in self.trainer.parameters)
        facts: dict[str, Any] = {"weights": weights}
        if folder is not None and self.trainer.group.rank == 0:
            facts.update(folder=str(folder), sha256=read_card(folder)["sha256"])
        return facts

    def card(self) -> dict[str, Any]:
        """What a user of the model must know."""
        config = self.config
        model = self.trainer.model.config
        potential, density = labelled_ranges(self.split.train)
        domain = config.data.domains.get("*", model.domains[0])
        card: dict[str, Any] = {
            "name": self.folder.resolve().name,
            "created": datetime.now(UTC).date().isoformat(),
            "default_domain": domain if domain in model.domains else model.domains[0],
            "reference": "potentials are absolute; U vs SHE = Phi - 4.44 V",
            "elements": model.symbols,
            "data": {
                "files": [{"name": Path(name).name, "sha256": digest}
                          for name, digest in self.hashes.items()],
                "frames": dict(self.frame_counts),
                "domains": config.data.domains,
                "ranges": dict(self._domain_ranges(model.domains)),
                "split": {
                    "seed": config.data.seed,
                    "geometries": {"train": len(self.split.train), "valid": len(self.split.valid),
                                   "test": len(self.split.test)},
                    "test_snapshots": _snapshots(self.split.test),
                    "valid_snapshots": _snapshots(self.split.valid),
                },
            },
            "errors": {"test": self.errors},
            "training": {
                **asdict(config.training),
                "epochs_done": self.trainer.epoch,
                "steps": self.trainer.step,
                "hours": round(sum(r["seconds"] for r in read_metrics(self.folder)) / 3600, 6),
                "processes": self.trainer.group.world,
                "device": self.trainer.device,
                "init": self.configuration["init"],
            },
            "versions": installed_versions(),
        }  # fmt: skip
        if potential is not None:
            card["potential_range"] = potential
        if density is not None:
            card["electrons_per_area_range"] = density
        return {**card, **config.card}

    def _domain_ranges(self, domains: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        for domain in domains:
            samples = [sample for sample in self.split.train if sample.domain == domain]
            potential, density = labelled_ranges(samples)
            yield domain, {"potential": potential, "electrons_per_area": density}


def _hashes(files: Sequence[str]) -> dict[str, str]:
    out = {}
    for name in files:
        path = Path(name)
        if not path.is_file():
            raise InputError(f"files: {path} not found, expected a file that ASE reads")
        if name in out:
            raise InputError(f"files: found {path} twice, expected each file once")
        try:
            out[name] = file_hash(path)
        except OSError as error:
            raise InputError(f"files: {path} cannot be read ({error.strerror})") from error
    return out


def _snapshots(samples: Sequence[Sample]) -> list[str]:
    return sorted({sample.snapshot for sample in samples})


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)
