"""Where the frames of an analysis are worked on, with progress in every case."""

from __future__ import annotations

import importlib.util
import multiprocessing
import threading
from collections.abc import Callable
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
    global _work
    _work = work


def _run_part(frames: Any) -> _Part:
    assert _work is not None
    done = _work(frames)
    return _Part(done.frames, done.times, done.results)


class ReportingProcesses(BackendBase):
    """Hands groups of frames to processes and tells after each how many frames are done."""

    def __init__(self, n_workers: int, progress: Progress) -> None:
        super().__init__(n_workers=n_workers)
        self.progress = progress

    def apply(self, func: Callable[[Any], Any], computations: list[Any]) -> list[Any]:
        """See `MDAnalysis.analysis.backends.BackendBase`."""
        results, done = [], 0
        # A fork copies the locks of other threads as they are; without any it starts at once.
        alone = threading.active_count() == 1
        context = multiprocessing.get_context("fork" if alone else "spawn")
        with context.Pool(self.n_workers, _install, (func,)) as pool:
            for part, found in zip(computations, pool.imap(_run_part, computations), strict=True):
                results.append(found)
                done += len(part)
                self.progress(done)
        return results


def run_with_progress(
    analysis: InterfaceAnalysis,
    *,
    backend: str = "serial",
    workers: int | None = None,
    progress: Progress = lambda done: None,
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
    **frames
        ``start``, ``stop``, ``step`` or ``frames`` as in MDAnalysis.

    Raises
    ------
    InputError
        If the backend is unknown or dask is not installed.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend: found '{backend}', expected one of {', '.join(BACKENDS)}")
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
        processes = ReportingProcesses(min(count, parts), progress)
        analysis.run(backend=processes, n_parts=parts, unsupported_backend=True, **frames)
    return analysis


def _require_dask() -> None:
    if importlib.util.find_spec("dask") is None:
        raise InputError(
            "backend: found dask, which is not installed here; pip install dask, or take "
            "'multiprocessing'"
        )
