"""The folder of a run: what is in it, and that one process at a time writes there."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from voltase.aseplugin.errors import InputError
from voltase.cli.md_settings import (
    CHECKPOINT,
    OWN_FILES,
    PLOT,
    SERIES_FILES,
    SUMMARY,
    MDSettings,
)


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of the run or series in a folder; None if there is none.

    Its options have the types of `MDSettings`.

    Raises
    ------
    InputError
        If the file is there but is not one of ``pe-md``, or not a whole one.
    """
    from voltase.cli.config import check_section

    found = _own_summary(folder)
    if found is None:
        return None
    path = folder / SUMMARY
    found["options"] = check_section(MDSettings, found["options"], f"--out: {path} options")
    try:
        MDSettings(**found["options"])
    except InputError as error:
        raise InputError(f"--out: {path} options: {error}") from error
    # A file that was cut off lacks what comes last.
    expected = {"runs": dict} if "runs" in found else {"model": dict, "step": int}
    for name, kind in expected.items():
        if not isinstance(found.get(name), kind):
            what = "keys with values" if kind is dict else "a whole number"
            value = "nothing" if found.get(name) is None else repr(found[name])
            raise InputError(f"--out: {path} has {value} as {name!r}, expected {what}")
    if "model" in expected and not isinstance(found["model"].get("sha256"), str):
        raise InputError(f"--out: {path} has no 'sha256' of the model, expected it")
    if not isinstance(found.get("restarts") or [], list):
        raise InputError(f"--out: {path} has {found['restarts']!r} as 'restarts', expected a list")
    return found


def _own_summary(folder: Path) -> dict[str, Any] | None:
    """A summary as it is, however damaged."""
    from voltase.cli.config import read_yaml

    path = folder / SUMMARY
    if not path.is_file():
        return None
    found = read_yaml(path, "--out")
    if found.get("command") != "pe-md" or not isinstance(found.get("options"), dict):
        raise InputError(f"--out: {path} is not the summary of a pe-md run")
    return found


def make_folder(folder: Path) -> None:
    """Make the folder of a run, and those above it.

    Raises
    ------
    InputError
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out: {folder} cannot be made ({error.strerror}), expected a folder to write to"
        ) from error


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
    summary = _own_summary(folder) or {}
    for name in map(str, summary.get("runs") or {}):
        if Path(name).name == name and (folder / name).is_dir():
            remove_run(folder / name)
            if not any((folder / name).iterdir()):
                (folder / name).rmdir()
    options = summary.get("options", {})
    outputs = [options.get("traj", MDSettings.traj), options.get("log", MDSettings.log)]
    for name in (*SERIES_FILES, *outputs, PLOT, CHECKPOINT):
        (folder / Path(str(name)).name).unlink(missing_ok=True)
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
