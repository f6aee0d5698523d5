"""The folder of a run: what is in it, and that one process at a time writes there."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from voltase.aseplugin.errors import InputError
from voltase.cli.md_settings import CHECKPOINT, OWN_FILES, PLOT, SUMMARY, MDSettings

SERIES_FILES = ("series.csv", "series.png")


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of the run or series in a folder; None if there is none.

    Raises
    ------
    InputError
        If the file is there but is not one of ``pe-md``.
    """
    from voltase.cli.config import read_yaml

    path = folder / SUMMARY
    if not path.is_file():
        return None
    found = read_yaml(path)
    if found.get("command") != "pe-md" or not isinstance(found.get("options"), dict):
        raise InputError(f"--out: {path} is not the summary of a pe-md run")
    return found


def check_free(folder: Path, settings: MDSettings, overwrite: bool) -> None:
    """Refuse a folder in which a new run would replace something.

    Raises
    ------
    InputError
        If there is a run, unless it is to be overwritten, or no folder can be there.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out: {folder} is a file, expected a folder")
    names = (*OWN_FILES, *SERIES_FILES, settings.traj, settings.log)
    found = next((name for name in names if (folder / name).exists()), None)
    if found is not None and not overwrite:
        raise InputError(
            f"--out: {folder} has a run in it ({found}); --restart goes on with it, "
            "--overwrite replaces it"
        )


def remove_run(folder: Path) -> None:
    """Delete the files of the run or series in a folder, and nothing else."""
    summary = read_summary(folder) or {}
    for name in summary.get("runs") or {}:
        if (folder / name).is_dir():
            remove_run(folder / name)
            if not any((folder / name).iterdir()):
                (folder / name).rmdir()
    options = summary.get("options", {})
    outputs = [options.get("traj", MDSettings.traj), options.get("log", MDSettings.log)]
    for name in (*SERIES_FILES, *outputs, PLOT, CHECKPOINT):
        (folder / Path(name).name).unlink(missing_ok=True)
    for frame in folder.glob("*.failed-step*.extxyz"):
        frame.unlink()
    # Last, so that what an interruption leaves can still be told for a run.
    (folder / SUMMARY).unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the lock ends with the process, however it ends.

    Raises
    ------
    InputError
        If another process holds it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # Some network file systems cannot lock a folder; that is no reason not to run.
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise InputError(f"--out: another process is running in {folder}") from None
        yield
    finally:
        os.close(handle)
