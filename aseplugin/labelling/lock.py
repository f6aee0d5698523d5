"""One run at a time on a folder of labels, and how its workers learn that it has stopped."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from voltase.aseplugin.errors import InputError

LOCK, RUN = "lock", "run.json"
_BUSY = (errno.EWOULDBLOCK, errno.EACCES)


class RunLock:
    """Holds a folder for this process, as a context manager.

    The lock is the kernel's and ends with the process, however it ends. On file systems that have
    none, the process that the folder's file ``run.json`` names is looked for instead.

    Parameters
    ----------
    folder : Path
        There already.

    Attributes
    ----------
    run : str
        Name of this run, which its workers compare with the file.

    Raises
    ------
    InputError
        On entering, if another process holds the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = uuid.uuid4().hex
        self._handle: int | None = None

    def __enter__(self) -> RunLock:
        handle = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            taken = take_lock(handle)
            if taken is False:
                raise _refusal(self.folder, _read(self.folder))
            if taken is None:
                _check_by_process(self.folder)
            self._write(stopping=False)
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return self

    def __exit__(self, *_: object) -> None:
        (self.folder / RUN).unlink(missing_ok=True)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def stop(self) -> None:
        """Ask the workers to return after the point they are at."""
        self._write(stopping=True)

    def _write(self, stopping: bool) -> None:
        record = {
            "run": self.run,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "stopping": stopping,
        }
        partial = self.folder / f"{RUN}.partial"
        partial.write_text(json.dumps(record), encoding="utf-8")
        partial.replace(self.folder / RUN)


def may_go_on(folder: Path, run: str) -> bool:
    """Whether the run still wants labels: it has not stopped, and no other took its place."""
    record = _read(folder)
    return record.get("run") == run and not record.get("stopping")


def is_here(folder: Path, run: str) -> bool:
    """Whether this process sees the folder of a run."""
    return _read(folder).get("run") == run


def _read(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def take_lock(handle: int) -> bool | None:
    """Take the kernel's lock of an open file.

    Returns
    -------
    bool or None
        False if another process has it, None if the file system has no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _BUSY else None
    return True


def _check_by_process(folder: Path) -> None:
    record = _read(folder)
    if not record:
        return
    if record.get("host") == socket.gethostname() and not _alive(record.get("pid")):
        return
    raise _refusal(folder, record, f"; if that has ended, delete {folder / RUN}")


def _alive(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, TypeError, ValueError):
        return False
    except PermissionError:
        pass
    return True


def _refusal(folder: Path, record: dict[str, Any], hint: str = "") -> InputError:
    who = "another process"
    if record:
        who = f"process {record.get('pid')} on {record.get('host')}"
    return InputError(f"out: {who} is labelling in {folder}{hint}")
