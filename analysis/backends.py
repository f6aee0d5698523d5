"""Where the frames of an analysis are worked on, with progress in every case."""

from __future__ import annotations

import functools
import importlib.util
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, NamedTuple

from MDAnalysis.analysis.backends import BackendBase

from voltase.analysis.base import InterfaceAnalysis
from voltase.aseplugin.errors import InputError

BACKENDS = ("serial", "multiprocessing", "dask")
PARTS_PER_WORKER = 8
"""Groups of frames for each process: enough for a progress bar, few enough to cost nothing."""
FEWEST_IN_PART = 25
"""Frames in a group below which starting it costs more than it saves."""
Progress = Callable[[int], None]
"""Takes the number of frames done."""


class _Part(NamedTuple):
    """What MDAnalysis reads of an analysis that comes back from a process."""

    frames: Any
    times: Any
    results: Any


_work: Callable[[Any], Any] | None = None


def _install(work: Callable[[Any], Any]) -> None:
    """Set up a process: it ends with Ctrl-C, without a word, and with the process it works for."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(job: Any) -> Any:
    assert _work is not None
    return _work(job)


def nothing() -> None:
    """What the calling process does meanwhile, by default."""


def map_in_processes(
    work: Callable[[Any], Any],
    jobs: Sequence[Any],
    workers: int,
    meanwhile: Callable[[], None] = nothing,
) -> Iterator[Any]:
    """Results of a function for each job, in their order, from several processes.

    Where no other threads run, the processes are forks: what the function refers to need not be
    sent to them.

    Parameters
    ----------
    work : callable
    jobs : sequence
    workers : int
        Processes.
    meanwhile : callable
        Called here once the processes have their work.

    Raises
    ------
    InputError
        If a process is killed.
    """
    # A fork copies the locks of other threads as they are; without any it starts at once.
    alone = threading.active_count() == 1
    context = multiprocessing.get_context("fork" if alone else "spawn")
    others, finished = set(multiprocessing.active_children()), False
    pool = ProcessPoolExecutor(min(workers, len(jobs)), context, _install, (work,))
    try:
        with _without_interrupts():
            found = pool.map(_call, jobs)
        meanwhile()
        yield from found
        finished = True
    except BrokenProcessPool as error:
        raise InputError(
            f"workers: one of {workers} processes was killed, expected all to finish; if memory "
            "ran out, take fewer"
        ) from error
    finally:
        if not finished:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
        pool.shutdown(cancel_futures=True)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Put off a Ctrl-C: it would show in processes that have not come to `_install` yet."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ReportingProcesses(BackendBase):
    """Hands groups of frames to processes and tells after each how many frames are done."""

    def __init__(
        self, n_workers: int, progress: Progress, meanwhile: Callable[[], None] = nothing
    ) -> None:
        super().__init__(n_workers=n_workers)
        self.progress = progress
        self.meanwhile = meanwhile

    def apply(self, func: Callable[[Any], Any], computations: list[Any]) -> list[Any]:
        """See `MDAnalysis.analysis.backends.BackendBase`."""
        results, done = [], 0
        work = functools.partial(_part, func)
        found = map_in_processes(work, computations, self.n_workers, self.meanwhile)
        for part, result in zip(computations, found, strict=True):
            results.append(result)
            done += len(part)
            self.progress(done)
        return results


def _part(work: Callable[[Any], Any], frames: Any) -> _Part:
    done = work(frames)
    return _Part(done.frames, done.times, done.results)


def run_with_progress(
    analysis: InterfaceAnalysis,
    *,
    backend: str = "serial",
    workers: int | None = None,
    progress: Progress = lambda done: None,
    meanwhile: Callable[[], None] = nothing,
    **frames: Any,
) -> InterfaceAnalysis:
    """Run an analysis on a backend and report progress.

    Parameters
    ----------
    analysis : InterfaceAnalysis
    backend : {"serial", "multiprocessing", "dask"}
    workers : int, optional
        Processes; by default as many as there are cores.
    progress : callable
        Called with the number of frames done; with dask only at the end.
    meanwhile : callable
        Called once in this process while others work, if others do.
    **frames
        ``start``, ``stop``, ``step`` or ``frames`` as in MDAnalysis.

    Raises
    ------
    InputError
        If the backend is unknown or dask is not installed.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend: found '{backend}', expected one of {', '.join(BACKENDS)}")
    if workers is not None and workers < 1:
        raise InputError(f"workers: found {workers}, expected 1 or more")
    count = workers or multiprocessing.cpu_count()
    total = len(analysis.chosen_frames(**frames))
    parts = max(min(total // FEWEST_IN_PART, PARTS_PER_WORKER * count), 1)
    if backend == "dask":
        _require_dask()
        analysis.run(backend="dask", n_workers=count, n_parts=max(parts, count), **frames)
        progress(total)
    elif backend == "serial" or parts < 2 or count == 1:
        analysis.progress = progress
        try:
            analysis.run(**frames)
        finally:
            analysis.progress = None
    else:
        processes = ReportingProcesses(min(count, parts), progress, meanwhile)
        analysis.run(backend=processes, n_parts=parts, unsupported_backend=True, **frames)
    return analysis


def _require_dask() -> None:
    if importlib.util.find_spec("dask") is None:
        raise InputError(
            "backend: found dask, which is not installed here; pip install dask, or take "
            "'multiprocessing'"
        )
