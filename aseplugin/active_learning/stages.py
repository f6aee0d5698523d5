"""The steps of one round, each of which leaves a file or folder that says it is done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from voltase.aseplugin.active_learning.config import LoopConfig
from voltase.aseplugin.active_learning.descriptors import structure_descriptors
from voltase.aseplugin.active_learning.evaluation import Errors, HeldOut
from voltase.aseplugin.active_learning.files import (
    frames_once,
    load_frames,
    read_record,
    write_record,
)
from voltase.aseplugin.active_learning.labelling import Labeller, at_offsets
from voltase.aseplugin.active_learning.progress import Progress, Stopped
from voltase.aseplugin.active_learning.sampling import FRAMES, CountMolecules, SampledRun, sample
from voltase.aseplugin.active_learning.selection import Selection, scaled_together, select
from voltase.aseplugin.calculators.pemace import PEMACE
from voltase.aseplugin.errors import DynamicsError, EngineError
from voltase.aseplugin.models.checkpoint import load_checkpoint, read_card, resolve_checkpoint
from voltase.aseplugin.training.frames import domain_of, read_frames
from voltase.aseplugin.training.run import MODEL, RunConfig, TrainingRun

SUMMARY = "summary.yaml"


@dataclass(frozen=True)
class Round:
    """One round to be done.

    Attributes
    ----------
    number : int
    folder : Path
    previous : Path
        Checkpoint to sample with and to train on from.
    labels : list of Path
        Files of the rounds before.
    """

    number: int
    folder: Path
    previous: Path
    labels: list[Path]

    @property
    def name(self) -> str:
        """Such as ``round-000``."""
        return self.folder.name

    @property
    def model(self) -> Path:
        """Folder of the checkpoint it makes."""
        return self.folder / MODEL


@dataclass(frozen=True)
class RoundResult:
    """What a round found and made.

    Attributes
    ----------
    round : int
    runs : list of dict
        See `SampledRun`.
    candidates, uncertain, duplicates, selected, labels : int
        Numbers of frames; see `Selection`. A selected frame may have several labels.
    max_spread : float
        Of the forces in all runs, eV/A.
    errors : dict or None
        On the held-out frames; None if nothing was selected.
    why : str
        Why nothing was.
    """

    round: int
    runs: list[dict[str, Any]]
    candidates: int
    uncertain: int
    duplicates: int
    selected: int
    labels: int
    max_spread: float
    errors: Errors | None = None
    why: str = field(default="")


class Stages:
    """Does rounds.

    Parameters
    ----------
    config : LoopConfig
    held_out : HeldOut
    structures : sequence of Atoms
    labeller : Labeller
    count_molecules : callable, optional
    """

    def __init__(self, config: LoopConfig, held_out: HeldOut, structures: Sequence[Atoms],
                 labeller: Labeller, count_molecules: CountMolecules | None) -> None:  # fmt: skip
        self.config = config
        self.held_out = held_out
        self.structures = structures
        self.labeller = labeller
        self.count_molecules = count_molecules

    def run(self, work: Round, progress: Progress) -> RoundResult:
        """Do what is left of a round.

        Raises
        ------
        Stopped
        VoltaseError
            If a step cannot be done.
        """
        done = read_record(work.folder / SUMMARY)
        if done is not None:
            return RoundResult(**done)
        work.folder.mkdir(parents=True, exist_ok=True)
        runs = self._sample(work, progress)
        candidates = frames_once(work.folder / "candidates.extxyz",
                                 lambda: self._candidates(work, len(runs)))  # fmt: skip
        if not candidates and all(run.failed for run in runs):
            raise DynamicsError(
                f"sampling: all {len(runs)} runs failed at the start, the first one so: "
                f"{runs[0].ended}"
            )
        selection = self._select(work, candidates, progress)
        selected = load_frames(work.folder / "selected.extxyz")
        labels: list[Atoms] = []
        errors = None
        if selected:
            labels = frames_once(work.folder / "labels.extxyz",
                                 lambda: self._label(work, selected, progress))  # fmt: skip
            self._train(work, progress)
            errors = self.judge(work.name, work.model, progress)
        result = RoundResult(
            work.number, [asdict(run) for run in runs], len(candidates), selection.uncertain,
            selection.duplicates, len(selected), len(labels),
            max(run.max_spread for run in runs), errors,
            "" if selected else _why_none(runs, selection),
        )  # fmt: skip
        write_record(work.folder / SUMMARY, asdict(result))
        return result

    # -- sampling ---------------------------------------------------------------------------------
    def _sample(self, work: Round, progress: Progress) -> list[SampledRun]:
        config = self.config
        calculator = PEMACE(
            work.previous,
            dtype=config.sampling.dtype,
            device=config.device,
            domain=domain_of(config.labelling.config_type, config.data),
            allow_extrapolation=config.sampling.allow_extrapolation,
        )
        runs: list[SampledRun] = []
        for structure, atoms in enumerate(self.structures):
            for potential in config.sampling.values:
                name = _run_name(len(runs))
                run = sample(
                    work.folder / name,
                    f"{work.name}-{name}",
                    atoms,
                    calculator,
                    config.sampling,
                    potential=potential,
                    structure=structure,
                    upper=config.selection.upper,
                    seed=[config.seed, work.number, len(runs)],
                    progress=progress,
                    count_molecules=self.count_molecules,
                )
                runs.append(run)
                progress.say(f"{work.name} {name}: {potential:+.2f} V, {run.steps} steps, "
                             f"{run.candidates} frames, spread up to {run.max_spread:.3g} eV/A, "
                             f"{run.ended}")  # fmt: skip
        return runs

    def _candidates(self, work: Round, runs: int) -> list[Atoms]:
        return [atoms for number in range(runs)
                for atoms in load_frames(work.folder / _run_name(number) / FRAMES)]  # fmt: skip

    # -- selection --------------------------------------------------------------------------------
    def _select(self, work: Round, candidates: Sequence[Atoms], progress: Progress) -> Selection:
        path = work.folder / "selection.yaml"
        done = read_record(path)
        if done is None or not (work.folder / "selected.extxyz").is_file():
            selection = self._selection(work, candidates, progress)
            write_record(path, asdict(selection))
            frames_once(work.folder / "selected.extxyz",
                        lambda: [candidates[k] for k in selection.picked])  # fmt: skip
            progress.say(f"{work.name}: picked {len(selection.picked)} of {selection.uncertain} "
                         f"frames between the thresholds, of {len(candidates)}")  # fmt: skip
            return selection
        return Selection(**done)

    def _selection(self, work: Round, candidates: Sequence[Atoms], progress: Progress
                   ) -> Selection:  # fmt: skip
        spreads = np.array([float(atoms.info["forces_spread"]) for atoms in candidates])
        model = load_checkpoint(work.previous)[0].to(self.config.device)
        known = self._labelled_before(work, candidates)

        def report(done: int, total: int) -> None:
            progress.show(f"{work.name}: descriptors", done, total)
            progress.check()

        described = structure_descriptors(model, [*candidates, *known], report)
        new, old = scaled_together(described[: len(candidates)], described[len(candidates) :])
        return select(spreads, new, old, self.config.selection)

    def _labelled_before(self, work: Round, candidates: Sequence[Atoms]) -> list[Atoms]:
        """Each labelled geometry once, of the elements that candidates have."""
        elements = {frozenset(atoms.numbers.tolist()) for atoms in candidates}
        data = self.held_out.with_labels([str(path) for path in work.labels])
        found: dict[bytes, Atoms] = {}
        for frame in read_frames(data):
            if frozenset(frame.atoms.numbers.tolist()) in elements:
                found.setdefault(np.round(frame.atoms.positions, 3).tobytes(), frame.atoms)
        return list(found.values())

    # -- labelling and training -------------------------------------------------------------------
    def _label(self, work: Round, selected: Sequence[Atoms], progress: Progress) -> list[Atoms]:
        asked = at_offsets(selected, self.config.labelling.offsets)
        folder = work.folder / "labelling"
        labels = self.labeller.label(asked, folder, progress.counter(f"{work.name}: labels"),
                                     progress.stop)  # fmt: skip
        if not labels:
            raise EngineError(
                f"labelling: none of {len(asked)} points has a label, the reasons are in {folder}; "
                "delete it to try again"
            )
        progress.say(f"{work.name}: {len(labels)} of {len(asked)} labels")
        return labels

    def _train(self, work: Round, progress: Progress) -> None:
        if work.model.is_dir():
            return
        config = self.config
        files = [str(path) for path in (*work.labels, work.folder / "labels.extxyz")]
        # Domains without frames stay too, or the readouts would not be those of the model before.
        domains = read_card(resolve_checkpoint(work.previous))["config"]["domains"]
        run = TrainingRun(RunConfig(
            data=self.held_out.with_labels(files),
            model={"domains": domains, **config.model},
            training=config.training,
            card={"name": f"{Path(config.out).resolve().name}-{work.name}", **config.card},
            out=str(work.folder / "training"),
            device=config.device,
            threads=config.threads,
            init=str(work.previous),
            split=self.held_out.split,
        ))  # fmt: skip
        epochs = config.training.epochs

        def show(done: int, total: int, parts: dict[str, float]) -> None:
            epoch = run.trainer.epoch
            forces = 1e3 * parts["forces"] ** 0.5
            progress.show(f"{work.name}: epoch {epoch + 1}, forces {forces:.0f} meV/A",
                          epoch * total + done, epochs * total)  # fmt: skip

        if run.train(show, stop=progress.stop) == "interrupted":
            raise Stopped
        target = run.finish(progress.stop)
        if target is None:
            raise Stopped
        os.replace(target, work.model)
        geometries = len(run.split.train)
        progress.say(f"{work.name}: trained on {geometries} geometries for {epochs} epochs")

    def judge(self, name: str, model: Path, progress: Progress) -> Errors:
        """Errors of a checkpoint on the held-out frames."""

        def report(done: int, total: int) -> None:
            progress.show(f"{name}: judging", done, total)
            progress.check()

        return self.held_out.errors(model, self.config.device, report)


def _run_name(number: int) -> str:
    return f"md-{number:03d}"


def _why_none(runs: Sequence[SampledRun], selection: Selection) -> str:
    """Why no frame was selected: it makes a difference whether the model knows them all."""
    if not any(run.candidates for run in runs):
        return f"every run ended before its first frame, the first one so: {runs[0].ended}"
    if not selection.uncertain:
        spread = max(run.max_spread for run in runs)
        return f"no spread of the forces between the thresholds, up to {spread:.3g} eV/A"
    return f"all {selection.duplicates} uncertain frames are near-duplicates of labelled ones"
