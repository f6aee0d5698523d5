"""A labelling run: what is missing in a folder is made, and merged with what is there."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from voltase.aseplugin.engines.base import Engine
from voltase.aseplugin.errors import EngineError, InputError
from voltase.aseplugin.labelling.engine_spec import EngineSpec, plain_settings
from voltase.aseplugin.labelling.lock import RunLock
from voltase.aseplugin.labelling.merge import merge_densities, merge_labels, write_failures
from voltase.aseplugin.labelling.points import Point
from voltase.aseplugin.labelling.runners import run_distributed, run_here
from voltase.aseplugin.labelling.schedule import Task
from voltase.aseplugin.labelling.settings_file import LabelSettings
from voltase.aseplugin.labelling.store import Failure, PointStore
from voltase.aseplugin.labelling.worker import SCRATCH, Job, Progress

logger = logging.getLogger(__name__)

TOLERANCE = 0.02
"""Of a label at a potential, V."""

Shown = Callable[[int, int, int], None]
"""Takes the numbers of points done with (failed ones included), asked for, and failed."""


@dataclass(frozen=True)
class LabelReport:
    """What a run found and made.

    Attributes
    ----------
    asked, found, made, failed : int
        Points that were asked for; those finished before this run, and by it; those that failed.
    labels : list of Point
        All labels in the folder, points on the way to a potential included.
    failures : list of Failure
        All failed points in the folder.
    densities : int
        Number of densities in the folder.
    interrupted : bool
        Whether points are left because the run was asked to stop; nothing is merged then.
    """

    asked: int
    found: int
    made: int
    failed: int
    labels: list[Point] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    densities: int = 0
    interrupted: bool = False


def label_structures(
    tasks: Sequence[Task],
    spec: EngineSpec,
    out: Path,
    *,
    config_type: str | None = None,
    densities: bool | None = None,
    keep_cell: bool = False,
    tolerance: float = TOLERANCE,
    workers: int = 1,
    scheduler: str | None = None,
    keep_files: bool = False,
    retry_failed: bool = False,
    shown: Shown = lambda done, asked, failed: None,
    stop: Callable[[], bool] = lambda: False,
) -> LabelReport:
    """Label structures; what the folder has already is not made again.

    Parameters
    ----------
    tasks : sequence of Task
        Structures, placed in their cells, with their points.
    spec : EngineSpec
    out : Path
        Folder of the labels; made if need be. Labels of other settings are refused, other
        structures and points are added.
    config_type : str, optional
        Of the frames; by default the engine's name.
    densities : bool, optional
        By default, if the engine gives them.
    keep_cell : bool
        How the structures were placed; recorded.
    tolerance : float
        On the potentials of the tasks, V.
    workers : int
        Processes on this machine; 0 is this one, without dask.
    scheduler : str, optional
        Address of a dask scheduler, whose workers share the folder.
    keep_files : bool
        Keep the code's own files of structures that are done.
    retry_failed : bool
        Try again what failed in earlier runs.
    shown : callable
        See `Shown`.
    stop : callable
        Answers True once the run shall end after the points that are being calculated.

    Raises
    ------
    InputError
        If the folder holds labels of other settings or another run works there, or a point cannot
        be asked of the engine.
    EngineError
        If the code is not installed, or cannot give what is asked.
    """
    if not tolerance > 0:
        raise InputError(f"tolerance: found {tolerance:g} V, expected more than 0 V")
    if workers < 0:
        raise InputError(f"workers: found {workers}, expected 0 or more")
    out = out.absolute()
    engine = spec.make()
    with_densities = _check_engine(engine, tasks, densities)
    kind = config_type or spec.name
    values = {
        "engine": spec.name,
        "engine_settings": plain_settings(engine),
        "keep_cell": keep_cell,
        "config_type": kind,
        "densities": with_densities,
    }
    _make(out)
    with RunLock(out) as lock:
        settings = _settings(out, values)
        names = settings.admit(tasks)
        settings.write(out)
        tasks = [replace(task, name=names[task.geometry]) for task in tasks]
        job = Job(spec, out, lock.run, kind, with_densities, tolerance, keep_files)
        store = PointStore(out)
        if retry_failed:
            for task in tasks:
                store.forget_failures(task.geometry)
        tally = _Tally(tasks, store, tolerance, shown)
        left = tally.unfinished()
        if left and workers == 0 and scheduler is None:
            run_here(left, job, tally.report, stop)
        elif left:
            run_distributed(left, job, tally.report, stop, lock.stop, workers=workers,
                            scheduler=scheduler)  # fmt: skip
        if tally.unfinished():
            if not stop():
                raise EngineError("workers: left points undone; the same command goes on")
            return tally.result(interrupted=True)
        return _merged(tally, list(settings.structures), with_densities)


def _check_engine(engine: Engine, tasks: Sequence[Task], densities: bool | None) -> bool:
    """Whether there will be densities; raises what a point would raise much later."""
    given = engine.capabilities
    for task in tasks:
        charged = next((n for n in task.electrons if n), None)
        if charged is not None:
            engine.excess_electrons = charged
            break
    if any(task.potentials for task in tasks) and (
        given.potential_reference is None or not given.charged
    ):
        raise EngineError(f"potential: {engine.code} gives no electrode potential of a charged "
                          f"surface in these settings{engine.charge_hint}")  # fmt: skip
    if densities and not given.density:
        raise EngineError(f"densities: {engine.code} gives none in these settings")
    return given.density if densities is None else densities


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out: {out} cannot be made ({error.strerror}), expected a folder to "
                         "write to") from error  # fmt: skip


def _settings(out: Path, values: Mapping[str, Any]) -> LabelSettings:
    found = LabelSettings.read(out)
    if found is None:
        return LabelSettings(values)
    found.check_same(values, out)
    return found


class _Tally:
    """How many of the points that were asked for are done with."""

    def __init__(self, tasks: Sequence[Task], store: PointStore, tolerance: float,
                 shown: Shown) -> None:  # fmt: skip
        self.tasks, self.store, self.tolerance, self.shown = tasks, store, tolerance, shown
        self.asked = sum(len(task.wanted) for task in tasks)
        done, failed = self._by_the_files()
        self.found = len(done)
        # Reports may come twice, from a task that was begun anew.
        self.done, self.failed = done | failed, failed
        self._show()

    def _by_the_files(self) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        """Geometries and keys of the points that are finished, and of those that failed."""
        done, failed = set(), set()
        for task in self.tasks:
            finished = self.store.finished(task, self.tolerance)
            done |= {(task.geometry, key) for key in finished}
            lost = self.store.failures(task.geometry).keys() & task.wanted.keys()
            failed |= {(task.geometry, key) for key in lost - finished}
        return done, failed

    def report(self, progress: Progress) -> None:
        """Count a point."""
        self.done.add((progress.geometry, progress.key))
        if progress.failed:
            self.failed.add((progress.geometry, progress.key))
        self._show()

    def _show(self) -> None:
        self.shown(len(self.done), self.asked, len(self.failed))

    def unfinished(self) -> list[Task]:
        """Tasks with points that are neither finished nor failed."""
        done, failed = self._by_the_files()
        return [
            task
            for task in self.tasks
            if any((task.geometry, key) not in done | failed for key in task.wanted)
        ]

    def result(self, **more: Any) -> LabelReport:
        """What there is now."""
        done, failed = self._by_the_files()
        return LabelReport(self.asked, self.found, len(done) - self.found, len(failed), **more)


def _merged(tally: _Tally, geometries: Sequence[str], densities: bool) -> LabelReport:
    store = tally.store
    points = merge_labels(store, geometries)
    count = merge_densities(store, points) if densities else 0
    failures = [each for geometry in geometries for each in store.failures(geometry).values()]
    write_failures(store.folder, failures)
    scratch = store.folder / SCRATCH
    if scratch.is_dir() and not any(scratch.iterdir()):
        shutil.rmtree(scratch)
    return tally.result(labels=points, failures=failures, densities=count)
