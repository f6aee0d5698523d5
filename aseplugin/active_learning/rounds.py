"""The loop: rounds of sampling, selection, labelling, training and judging."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from ase import Atoms

from voltase.aseplugin.active_learning.config import LoopConfig
from voltase.aseplugin.active_learning.evaluation import ALL, Errors, HeldOut, settings_of
from voltase.aseplugin.active_learning.files import read_record, write_record
from voltase.aseplugin.active_learning.labelling import Labeller
from voltase.aseplugin.active_learning.progress import Progress, Stopped
from voltase.aseplugin.active_learning.reports import Row, plot_rounds, write_rows
from voltase.aseplugin.active_learning.sampling import CountMolecules
from voltase.aseplugin.active_learning.stages import Round, Stages
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.checkpoint import file_hash, load_checkpoint, resolve_checkpoint
from voltase.aseplugin.models.pemace import PEMACEConfig
from voltase.aseplugin.structures import build_graph
from voltase.aseplugin.training.frames import domain_of
from voltase.aseplugin.training.parallel import resolve_device

IDENTITY, SPLIT, START = "loop.yaml", "held_out.yaml", "start.yaml"
ROUNDS, PLOT = "rounds.csv", "rounds.png"
Status = Literal["target reached", "no candidates", "all rounds done", "interrupted"]


@dataclass
class LoopOutcome:
    """How a loop ended.

    Attributes
    ----------
    status : str
        "target reached", "no candidates", "all rounds done" or "interrupted".
    model : Path
        Checkpoint of the last round that trained one; that of the start, if none has.
    rows : list of Row
        One for the start and one a round.
    why : str
        More on the status; may be empty.
    """

    status: Status
    model: Path
    rows: list[Row] = field(default_factory=list)
    why: str = ""


class ActiveLearning:
    """A prepared loop; nothing is written before `run`.

    A round's folder ``round-000`` gets ``md-000``, ... (one a run), ``candidates.extxyz``,
    ``selected.extxyz``, ``labelling``, ``labels.extxyz``, ``training``, ``model`` and, last,
    ``summary.yaml``. What is there is taken as it is: a loop that was killed goes on with the step
    it was in.

    Parameters
    ----------
    config : LoopConfig
        Its ``structures`` and ``labelling.engine`` are read by the caller.
    structures : sequence of Atoms
        That every round starts from.
    labeller : Labeller
    count_molecules : callable, optional
        Numbers of molecules by kind; runs end when they change.

    Raises
    ------
    InputError
        If something does not fit together.
    CheckpointError
        If the first model cannot be loaded.
    """

    def __init__(self, config: LoopConfig, structures: Sequence[Atoms], labeller: Labeller,
                 count_molecules: CountMolecules | None = None) -> None:  # fmt: skip
        self.config = config
        self.folder = Path(config.out)
        resolve_device(config.device)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.start = resolve_checkpoint(config.init)
        network, self.card = load_checkpoint(self.start)
        self.network: PEMACEConfig = network.config
        self._check_model()
        self._check_structures(structures)
        self.held_out = HeldOut(config.data, config.held_out)
        self.identity = self._identify()
        self._check_identity()
        self.stages = Stages(config, self.held_out, structures, labeller, count_molecules)

    def _check_model(self) -> None:
        members = int(self.config.model.get("n_members", self.network.n_members))
        for found in (self.network.n_members, members):
            if found < 2:
                raise InputError(
                    f"init: {self.config.init} has {found} committee member, expected two or more, "
                    "whose spread tells what the model does not know"
                )
        domain = domain_of(self.config.labelling.config_type, self.config.data)
        if domain not in self.network.domains:
            raise InputError(
                f"data.domains: found {domain!r} for config_type "
                f"{self.config.labelling.config_type!r}, expected one of the model's domains "
                f"{', '.join(self.network.domains)}"
            )

    def _check_structures(self, structures: Sequence[Atoms]) -> None:
        if not structures:
            raise InputError("structures: found none, expected at least one to start from")
        for number, atoms in enumerate(structures):
            try:
                build_graph(atoms, self.network)
            except InputError as error:
                raise InputError(f"structures: number {number}: {error}") from error

    def _identify(self) -> dict[str, Any]:
        """What a loop is told apart by: its rounds are of no use to one that differs in these."""
        config = self.config
        return {
            "init": str(self.card["sha256"]),
            "data.files": [_hash("data.files", name) for name in config.data.files],
            "held_out": [_hash("held_out", name) for name in config.held_out],
            "data": settings_of(config.data),
            "labelling.config_type": config.labelling.config_type,
            "seed": config.seed,
        }

    def _check_identity(self) -> None:
        known = read_record(self.folder / IDENTITY)
        if known is None:
            return
        for name, value in self.identity.items():
            if known.get(name) != value:
                raise InputError(
                    f"out: the rounds in {self.folder} have another {name}, expected the same, or "
                    "another folder"
                )

    def run(self, progress: Progress | None = None) -> LoopOutcome:
        """Do what is left of the rounds.

        Raises
        ------
        VoltaseError
            If a step cannot be done.
        """
        progress = progress or Progress()
        outcome = LoopOutcome("all rounds done", self.start)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_record(self.folder / IDENTITY, self.identity)
        try:
            self._go(outcome, progress)
        except Stopped:
            outcome.status = "interrupted"
        return outcome

    def _go(self, outcome: LoopOutcome, progress: Progress) -> None:
        stop = self.config.stop
        self.held_out.fix(self.folder / SPLIT, self.network, self.card,
                          self.config.labelling.config_type)  # fmt: skip
        errors = self._start_errors(progress)
        self._report(outcome, Row.of_start(errors[ALL]), progress)
        for number in range(stop.max_rounds):
            if stop.reached(errors[ALL]):
                break
            labels = [self._folder(k) / "labels.extxyz" for k in range(number)]
            work = Round(number, self._folder(number), outcome.model, labels)
            done = self.stages.run(work, progress)
            if done.errors is None:
                outcome.status, outcome.why = "no candidates", done.why
                self._report(outcome, Row.of_round(done, {}), progress)
                return
            errors = done.errors
            outcome.model = work.model
            self._report(outcome, Row.of_round(done, errors[ALL]), progress)
        if stop.reached(errors[ALL]):
            outcome.status = "target reached"

    def _start_errors(self, progress: Progress) -> Errors:
        path = self.folder / START
        found = read_record(path)
        if found is None:
            errors = self.stages.judge("start", self.start, progress)
            write_record(path, errors)
            return errors
        return found

    def _report(self, outcome: LoopOutcome, row: Row, progress: Progress) -> None:
        outcome.rows.append(row)
        write_rows(outcome.rows, self.folder / ROUNDS)
        plot_rounds(outcome.rows, self.folder / PLOT)
        progress.say(row.line())

    def _folder(self, number: int) -> Path:
        return self.folder / f"round-{number:03d}"


def _hash(name: str, file: str) -> str:
    path = Path(file)
    if not path.is_file() or not os.access(path, os.R_OK):
        raise InputError(f"{name}: {path} cannot be read, expected a file that ASE reads")
    return file_hash(path)
