"""Finished points on disk, each a file of its own, so that nothing is lost or done twice.

``points/GEOMETRY/n+0.3.extxyz`` is the frame of a point and ``n+0.3.npz`` its density, there
before the frame is. ``KEY.failed.json`` says why a point failed, ``running.json`` which one began.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict
from numpy.typing import NDArray

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.labelling.lock import take_lock
from voltase.aseplugin.labelling.points import Point
from voltase.aseplugin.labelling.schedule import (
    Task,
    Wanted,
    electrons_key,
    potential_key,
)

POINTS = "points"
_FAILED, _RUNNING = ".failed.json", "running.json"


@dataclass(frozen=True)
class Failure:
    """A point that was asked for and could not be had.

    Attributes
    ----------
    geometry, name : str
        See `Task`.
    key : str
        See `Task.wanted`.
    excess_electrons : float or None
        e; None where a potential was asked for.
    potential : float or None
        Absolute, V.
    reason : str
    """

    geometry: str
    name: str
    key: str
    excess_electrons: float | None
    potential: float | None
    reason: str


class PointStore:
    """The points in a folder.

    Parameters
    ----------
    folder : Path
        Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / POINTS

    def frame_path(self, geometry: str, n: float) -> Path:
        """The frame of a point; it is there once the point is finished."""
        return self.root / geometry / f"{electrons_key(n)}.extxyz"

    def density_path(self, geometry: str, n: float) -> Path:
        """The density of a point."""
        return self.root / geometry / f"{electrons_key(n)}.npz"

    def read(self, geometry: str, n: float) -> Point | None:
        """A finished point."""
        path = self.frame_path(geometry, n)
        return _point(path) if path.is_file() else None

    def points(self, geometry: str) -> list[Point]:
        """Finished points of a geometry, by n."""
        found = [_point(path) for path in (self.root / geometry).glob("n*.extxyz")]
        return sorted(found, key=lambda point: point.excess_electrons)

    def write(self, frame: Atoms, density: Mapping[str, NDArray[Any]] | None) -> None:
        """Keep a finished point; the frame comes last, and whole."""
        geometry, n = frame.info["geometry"], frame.info["excess_electrons"]
        if density is not None:
            path = self.density_path(geometry, n)
            with _replacing(path) as partial, partial.open("wb") as handle:
                np.savez_compressed(handle, **density)  # type: ignore[arg-type]
                _flush(handle)
        with _replacing(self.frame_path(geometry, n)) as partial, partial.open("w") as handle:
            ase.io.write(handle, frame, format="extxyz")
            _flush(handle)

    def finished(self, task: Task, tolerance: float) -> set[str]:
        """Keys of the task's points that are there; a potential is within the tolerance, V."""
        points = self.points(task.geometry)
        numbers = {point.excess_electrons for point in points}
        potentials = [point.potential for point in points if point.potential is not None]
        keys = {electrons_key(n) for n in task.electrons if n in numbers}
        return keys | {potential_key(target) for target in task.potentials
                       if any(abs(phi - target) <= tolerance for phi in potentials)}  # fmt: skip

    def failures(self, geometry: str) -> dict[str, Failure]:
        """Failed points by their keys."""
        found = {}
        for path in sorted((self.root / geometry).glob(f"*{_FAILED}")):
            failure = Failure(**_read_json(path))
            found[failure.key] = failure
        return found

    def write_failure(self, task: Task, wanted: Wanted, reason: str) -> None:
        """Keep why a point failed."""
        failure = Failure(task.geometry, task.name, *wanted, reason)
        _write_json(self.root / task.geometry / f"{wanted.key}{_FAILED}", asdict(failure))

    def forget_failures(self, geometry: str) -> None:
        """Have the failed points tried again."""
        for path in (self.root / geometry).glob(f"*{_FAILED}"):
            path.unlink()

    @contextmanager
    def running(self, geometry: str, key: str, run: str) -> Iterator[None]:
        """Leave word of the point that is begun, which stays if the process dies."""
        path = self.root / geometry / _RUNNING
        _write_json(path, {"key": key, "run": run})
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    def died_at(self, geometry: str, run: str) -> str | None:
        """Key of the point at which a process of this run died, if any; then forgotten."""
        path = self.root / geometry / _RUNNING
        if not path.is_file():
            return None
        record = _read_json(path)
        path.unlink()
        # What an earlier run left was not the point's fault: that run was killed as a whole.
        return str(record["key"]) if record["run"] == run else None

    @contextmanager
    def held(self, geometry: str, wait: Callable[[], None]) -> Iterator[None]:
        """Hold a geometry; while another process does, ``wait`` is called, which may raise."""
        folder = self.root / geometry
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            while take_lock(handle) is False:
                wait()
            yield
        finally:
            os.close(handle)


def read_frame(path: Path) -> Atoms:
    """A labelled frame.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        (frame,) = ase.io.read(path, slice(None), format="extxyz")
    # The reader raises whatever it stumbles over.
    except Exception as error:
        raise _no_frame(path, error) from error
    return frame


def _point(path: Path) -> Point:
    """From the line of keys alone, which is ten times faster than the frame."""
    try:
        with path.open(encoding="utf-8") as handle:
            handle.readline()
            return Point.of(key_val_str_to_dict(handle.readline()))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _no_frame(path, error) from error


def _no_frame(path: Path, error: Exception) -> InputError:
    return InputError(
        f"out: {path} is no labelled frame ({error}); delete it to have it made again"
    )


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A name to write to, which becomes the path's content at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def _flush(handle: Any) -> None:
    """To the disk before the file gets its name, so that a power cut leaves no empty one."""
    handle.flush()
    os.fsync(handle.fileno())


def _write_json(path: Path, record: Mapping[str, Any]) -> None:
    with _replacing(path) as partial:
        partial.write_text(json.dumps(record), encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"out: {path} cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"out: {path} holds no mapping, expected one")
    return found
