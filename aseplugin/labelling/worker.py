"""The points of one structure, one after the other, in whatever process."""

from __future__ import annotations

import logging
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voltase.aseplugin.errors import InputError, ScfError, VoltaseError
from voltase.aseplugin.labelling.engine_spec import EngineSpec
from voltase.aseplugin.labelling.lock import is_here, may_go_on
from voltase.aseplugin.labelling.points import Point, density_arrays, labelled_frame
from voltase.aseplugin.labelling.schedule import (
    Task,
    Wanted,
    electrons_key,
    first_guess,
    order_outwards,
    potential_key,
    rounded,
)
from voltase.aseplugin.labelling.store import PointStore

if TYPE_CHECKING:
    from voltase.aseplugin.engines.base import Engine

logger = logging.getLogger(__name__)

SCRATCH = "scratch"
"""Folder in which codes write their own files, by geometry."""

_MOST_EVALUATIONS = 12
_BUSY_WAIT = 1.0  # s between two looks at a geometry that another process holds


@dataclass(frozen=True)
class Job:
    """What all tasks of a run have in common.

    Attributes
    ----------
    spec : EngineSpec
    folder : Path
        Of the run, absolute.
    run : str
        Name of the run; see `RunLock`.
    config_type : str
    densities : bool
    tolerance : float
        On a potential that was asked for, V.
    keep_files : bool
        Whether the code's own files stay after a structure is done.
    """

    spec: EngineSpec
    folder: Path
    run: str
    config_type: str
    densities: bool
    tolerance: float
    keep_files: bool = False


@dataclass(frozen=True)
class Progress:
    """One point that was asked for is done with, or has failed."""

    geometry: str
    key: str
    failed: bool


class _Stopped(Exception):
    """The run wants no more points."""


class _PointFailed(Exception):
    """A point has no result; the message says why."""


def label_structure(
    task: Task,
    job: Job,
    report: Callable[[Progress], None],
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Make all points of a structure that are neither finished nor failed.

    Parameters
    ----------
    task : Task
    job : Job
    report : callable
        Gets a `Progress` for each point that was asked for.
    stop : callable
        Asked before each single point.

    Raises
    ------
    InputError
        If the folder of the run is not to be seen from here.
    """
    if not is_here(job.folder, job.run) and not stop():
        raise InputError(
            f"out: {job.folder} on {socket.gethostname()} is not the folder of a run, expected "
            "one that all workers share"
        )
    worker = _StructureWorker(task, job, report, stop)
    try:
        with worker.store.held(task.geometry, worker.wait):
            worker.run()
    except _Stopped:
        return


class _StructureWorker:
    """One structure, and the engine with the wave functions of its last point."""

    def __init__(self, task: Task, job: Job, report: Callable[[Progress], None],
                 stop: Callable[[], bool]) -> None:  # fmt: skip
        self.task, self.job = task, job
        self.store = PointStore(job.folder)
        self.report, self.stop = report, stop
        self.engine: Engine | None = None
        self.scratch = job.folder / SCRATCH / task.geometry

    def wait(self) -> None:
        """Between two looks at a geometry that another process holds."""
        self._check_wanted()
        time.sleep(_BUSY_WAIT)

    def run(self) -> None:
        """All points; the order is that of the wave functions."""
        task = self.task
        self._check_wanted()
        wanted, failed = task.wanted, set(self.store.failures(task.geometry))
        for n in order_outwards(task.electrons):
            self._attempt(wanted[electrons_key(n)], failed)
        for phi in self._ordered_potentials():
            self._attempt(wanted[potential_key(phi)], failed)
        if not self.job.keep_files and not self.store.failures(task.geometry):
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _ordered_potentials(self) -> Sequence[float]:
        """From the one nearest the potential at n nearest 0, as far as that is known."""
        known = sorted(self._known(), key=lambda point: abs(point[0]))
        if known:
            return order_outwards(self.task.potentials, known[0][1])
        return self.task.potentials

    def _known(self) -> list[tuple[float, float]]:
        points = self.store.points(self.task.geometry)
        return [(p.excess_electrons, p.potential) for p in points if p.potential is not None]

    def _attempt(self, wanted: Wanted, failed: set[str]) -> None:
        """Make a point that was asked for, unless it is there, or keep why that failed."""
        key, n, phi = wanted
        if key in failed or key in self.store.finished(self.task, self.job.tolerance):
            return
        reason = ""
        try:
            if n is not None:
                self._point(key, n)
            elif phi is not None:
                self._solve(key, phi)
        except _PointFailed as error:
            reason = " ".join(str(error).split())
            logger.warning("%s %s: %s", self.task.name, key, reason)
            self.store.write_failure(self.task, wanted, reason)
        self.report(Progress(self.task.geometry, key, bool(reason)))

    def _solve(self, key: str, phi: float) -> None:
        """Find n at a potential; every point on the way is kept."""
        from voltase.aseplugin.potentiostat.contract import electrode_area
        from voltase.aseplugin.potentiostat.limits import Limits, guess_capacitance
        from voltase.aseplugin.potentiostat.solver import solve_excess_electrons

        def potential_at(n: float) -> tuple[float, None]:
            potential = self._point(key, rounded(n)).potential
            if potential is None:
                raise _PointFailed("the code gives no potential")
            return potential, None

        try:
            engine = self._warm_engine()
            area = electrode_area(engine, self.task.atoms)
            limits = Limits.of(engine, area)
            start, capacitance = first_guess(self._known(), phi, guess_capacitance(area))
            solve_excess_electrons(
                potential_at, phi, start=start, capacitance=capacitance,
                tolerance=self.job.tolerance, max_iterations=_MOST_EVALUATIONS,
                bounds=limits.solver_bounds,
            )  # fmt: skip
        except VoltaseError as error:
            raise _PointFailed(str(error)) from error

    def _point(self, key: str, n: float) -> Point:
        """A point at n, made unless it is there."""
        found = self.store.read(self.task.geometry, n)
        if found is not None:
            return found
        self._check_wanted()
        with self.store.running(self.task.geometry, key, self.job.run):
            try:
                frame, density = self._calculate(n)
            except VoltaseError as error:
                self.engine = None
                raise _PointFailed(str(error)) from error
            # Codes raise whatever they stumble over; the other points go on.
            except Exception as error:
                self.engine = None
                logger.debug("%s %s failed", self.task.name, key, exc_info=True)
                raise _PointFailed(f"{type(error).__name__}: {error}") from error
            self.store.write(frame, density)
        return Point.of(frame.info)

    def _calculate(self, n: float) -> tuple[Any, Any]:
        from voltase.aseplugin.engines.files import FileEngine

        warm = self.engine is not None
        try:
            return self._single_point(n)
        except ScfError as error:
            # Engines that work through files have tried that themselves.
            if not warm or isinstance(self.engine, FileEngine):
                raise
            logger.info("%s n = %g e: %s; once more from no wave functions", self.task.name, n,
                        error)  # fmt: skip
            self.engine = None
            return self._single_point(n)

    def _single_point(self, n: float) -> tuple[Any, Any]:
        from voltase.aseplugin.potentiostat.contract import get_forces

        engine = self._warm_engine()
        started = time.monotonic()
        engine.excess_electrons = n
        forces = get_forces(engine, self.task.atoms)
        elapsed = time.monotonic() - started
        frame = labelled_frame(self.task, engine, forces, self.job.config_type, elapsed)
        return frame, density_arrays(engine) if self.job.densities else None

    def _warm_engine(self) -> Engine:
        if self.engine is None:
            self.engine = self.job.spec.make(self.scratch)
        return self.engine

    def _check_wanted(self) -> None:
        if self.stop() or not may_go_on(self.job.folder, self.job.run):
            raise _Stopped
