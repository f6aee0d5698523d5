"""Where tasks are worked on: in this process, in others beside it, or on a cluster."""

from __future__ import annotations

import importlib.util
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from voltase.aseplugin.errors import EngineError, InputError, VoltaseError
from voltase.aseplugin.labelling.schedule import Task
from voltase.aseplugin.labelling.store import PointStore
from voltase.aseplugin.labelling.worker import Job, Progress, label_structure

logger = logging.getLogger(__name__)

Report = Callable[[Progress], None]
Stop = Callable[[], bool]

_TOPIC = "voltase-labelling"
_POLL = 0.2  # s
_CONNECT = 30.0  # s
_WITHOUT_WORKERS = 90.0  # s; dask takes some to restart one
_MOST_CLUSTERS = 3
_MOST_DEATHS = 5
"""Of workers outside any single point, for one structure."""
_DIED = "the process died: killed, out of memory, or a crash of the code"


def run_here(tasks: Sequence[Task], job: Job, report: Report, stop: Stop) -> None:
    """Work on the tasks one after the other, in this process."""
    for task in tasks:
        if stop():
            return
        label_structure(task, job, report, stop)


def run_distributed(
    tasks: Sequence[Task],
    job: Job,
    report: Report,
    stop: Stop,
    ask_to_stop: Callable[[], None],
    *,
    workers: int = 1,
    scheduler: str | None = None,
) -> None:
    """Work on the tasks with dask.distributed.

    Parameters
    ----------
    tasks : sequence of Task
    job : Job
    report, stop : callable
        As in `label_structure`; ``report`` is called from another thread.
    ask_to_stop : callable
        Called once ``stop`` answers True; has the workers return after the point they are at.
    workers : int
        Processes on this machine, each with one thread.
    scheduler : str, optional
        Address of a running scheduler, whose workers are taken instead.

    Raises
    ------
    InputError
        If dask.distributed is not installed, or the scheduler does not answer.
    """
    if importlib.util.find_spec("distributed") is None:
        raise InputError("workers: needs dask.distributed, which is not installed here; "
                         "pip install voltase[dask], or take 0 workers")  # fmt: skip
    for _ in range(_MOST_CLUSTERS):
        with _client(min(workers, len(tasks)), scheduler) as client:
            client.subscribe_topic(_TOPIC, lambda event: _forward(event[1], report))
            try:
                _Campaign(client, job, report, local=scheduler is None).run(
                    tasks, stop, ask_to_stop
                )
                return
            except _NoWorkers:
                # What is finished is skipped by the next ones.
                logger.warning("all worker processes are gone; starting new ones")
            finally:
                client.unsubscribe_topic(_TOPIC)
    raise EngineError(f"workers: all were gone {_MOST_CLUSTERS} times; the same command goes on")


class _NoWorkers(Exception):
    """Dask gave up restarting the processes on this machine."""


class _Campaign:
    """Tasks on the workers of a client."""

    def __init__(self, client: Any, job: Job, report: Report, *, local: bool) -> None:
        self.client, self.job, self.report, self.local = client, job, report, local
        self.store = PointStore(job.folder)
        self.attempts: Counter[str] = Counter()
        self.deaths: Counter[str] = Counter()

    def run(self, tasks: Sequence[Task], stop: Stop, ask_to_stop: Callable[[], None]) -> None:
        """Until all are done, or have returned after a stop."""
        pending = {self._submit(task): task for task in tasks}
        stopping = False
        alive = time.monotonic()
        while pending:
            if stop() and not stopping:
                stopping = True
                ask_to_stop()
            for future in [future for future in pending if future.done()]:
                task = pending.pop(future)
                if self._died(future) and not stopping:
                    self._blame(task)
                    pending[self._submit(task)] = task
            time.sleep(_POLL)
            # A cluster's workers may come later; those on this machine do not.
            if not self.local or self.client.nthreads():
                alive = time.monotonic()
            elif stopping or time.monotonic() > alive + _WITHOUT_WORKERS:
                if stopping:
                    return
                raise _NoWorkers

    def _submit(self, task: Task) -> Any:
        self.attempts[task.geometry] += 1
        key = f"label-{self.job.run}-{task.geometry}-{self.attempts[task.geometry]}"
        return self.client.submit(_label_on_worker, task, self.job, key=key, pure=False)

    def _died(self, future: Any) -> bool:
        """Whether a task took its workers with it; other errors are raised."""
        from distributed import KilledWorker

        if future.status == "finished":
            return False
        if future.status != "error":
            raise InputError(f"scheduler: a task was {future.status}; the same command goes on")
        error = future.exception()
        if isinstance(error, KilledWorker):
            return True
        if isinstance(error, VoltaseError | OSError):
            raise error
        raise RuntimeError(f"a worker failed: {type(error).__name__}: {error}") from error

    def _blame(self, task: Task) -> None:
        """List the point at which the worker of a task died as failed, so that it is skipped."""
        key = self.store.died_at(task.geometry, self.job.run)
        if key is not None:
            self.store.write_failure(task, task.wanted[key], _DIED)
            self.report(Progress(task.geometry, key, True))
            return
        # It died of another task, or before it began.
        self.deaths[task.geometry] += 1
        if self.deaths[task.geometry] > _MOST_DEATHS:
            raise EngineError(f"workers: died {_MOST_DEATHS} times with {task.name}, at no point "
                              "of it; see whether the memory is enough")  # fmt: skip


def _forward(message: Mapping[str, Any], report: Report) -> None:
    """Pass on what a worker logged; dask adds keys of its own."""
    report(Progress(message["geometry"], message["key"], message["failed"]))


def _label_on_worker(task: Task, job: Job) -> None:
    from distributed import get_worker

    worker = get_worker()

    def report(progress: Progress) -> None:
        worker.log_event(_TOPIC, {"geometry": progress.geometry, "key": progress.key,
                                  "failed": progress.failed})  # fmt: skip

    label_structure(task, job, report)


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster, WorkerPlugin

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=_CONNECT, set_as_default=False)
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"scheduler: {scheduler} does not answer ({reason})") from error
        with client:
            yield client
        return

    class LeaveInterrupts(WorkerPlugin):
        """Ctrl-C reaches all processes of a terminal; this one here decides what it means."""

        name = "voltase-interrupts"

        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    settings = {
        # A code may keep a worker from answering for long.
        "distributed.scheduler.worker-ttl": None,
        # What killed its process is not tried again.
        "distributed.scheduler.allowed-failures": 0,
        # No task waits on a worker that is busy, and dies with it.
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.admin.tick.limit": "1h",
        # On a busy machine processes take long to start.
        "distributed.comm.timeouts.connect": "300s",
    }
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, memory_limit=0,
                     dashboard_address=":0", death_timeout=300,
                     silence_logs=logging.CRITICAL) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        client.register_plugin(LeaveInterrupts())
        yield client
