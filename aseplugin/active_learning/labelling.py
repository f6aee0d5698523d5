"""Labels for the picked frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from ase import Atoms

from voltase.aseplugin.active_learning.files import load_frames
from voltase.aseplugin.active_learning.progress import Stopped
from voltase.aseplugin.engines.gpaw_settings import place_in_cell
from voltase.aseplugin.labelling.engine_spec import EngineSpec
from voltase.aseplugin.labelling.merge import LABELS
from voltase.aseplugin.labelling.run import label_structures
from voltase.aseplugin.labelling.schedule import Task
from voltase.aseplugin.labelling.structures import Structure

Report = Callable[[int, int], None]
"""Takes the numbers of points done and asked for."""
Stop = Callable[[], bool]


class Labeller(Protocol):
    """Whoever turns structures into training data."""

    def label(self, frames: Sequence[Atoms], folder: Path, report: Report, stop: Stop
              ) -> list[Atoms]:  # fmt: skip
        """Label every frame at its own electron number.

        Parameters
        ----------
        frames : sequence of Atoms
            With ``excess_electrons`` (e) and a name, ``source``, in ``info``. Frames of one
            geometry at several electron numbers have the same ``source`` and follow one another.
        folder : Path
            For files of the labeller's own, such as finished points: a call that was killed is
            repeated with the same frames and folder.
        report : callable
        stop : callable
            Answers True once the labeller shall raise `Stopped`.

        Returns
        -------
        list of Atoms
            In ``info``: ``REF_energy`` (canonical E(R, n), eV), ``excess_electrons`` (e),
            ``electrode_potential`` (absolute, V), ``geometry`` (the same for frames of one
            geometry, otherwise different), ``config_type`` and ``source``; in ``arrays``:
            ``REF_forces`` (eV/A). Frames that could not be labelled are absent.

        Raises
        ------
        Stopped
        """


class EngineLabeller:
    """Labels from an electronic-structure code, by the library of ``pe-label``.

    Parameters
    ----------
    spec : EngineSpec
    config_type : str
        Of the labelled frames.
    densities : bool
        Keep the electron densities.
    workers : int
        Processes on this machine; 0 is this one.
    scheduler : str, optional
        Address of a dask scheduler instead.
    """

    def __init__(self, spec: EngineSpec, config_type: str, *, densities: bool = False,
                 workers: int = 0, scheduler: str | None = None) -> None:  # fmt: skip
        self.spec = spec
        self.config_type = config_type
        self.densities = densities
        self.workers = workers
        self.scheduler = scheduler

    def label(self, frames: Sequence[Atoms], folder: Path, report: Report, stop: Stop
              ) -> list[Atoms]:  # fmt: skip
        """Label; see `Labeller`."""
        outcome = label_structures(
            self._tasks(frames),
            self.spec,
            folder,
            config_type=self.config_type,
            densities=self.densities,
            workers=self.workers,
            scheduler=self.scheduler,
            shown=lambda done, asked, failed: report(done, asked),
            stop=stop,
        )
        if outcome.interrupted:
            raise Stopped
        return load_frames(folder / LABELS)

    def _tasks(self, frames: Sequence[Atoms]) -> list[Task]:
        electrons: dict[str, list[float]] = {}
        structures: dict[str, Structure] = {}
        for atoms in frames:
            name = str(atoms.info["source"])
            electrons.setdefault(name, []).append(float(atoms.info["excess_electrons"]))
            structures.setdefault(name, Structure(self._prepared(atoms), name, name))
        return [Task.of(structures[name], numbers) for name, numbers in electrons.items()]

    def _prepared(self, atoms: Atoms) -> Atoms:
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        return place_in_cell(bare) if self.spec.is_gpaw else bare


def at_offsets(frames: Sequence[Atoms], offsets: Sequence[float]) -> list[Atoms]:
    """Each frame at its own electron number and at that number plus each offset, in e."""
    out = []
    for atoms in frames:
        for offset in (0.0, *offsets):
            copy = atoms.copy()
            copy.info["excess_electrons"] = float(atoms.info["excess_electrons"]) + offset
            out.append(copy)
    return out
