"""Files of a run: each is written whole or not at all, so that its presence says it is finished."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ase.io
import yaml
from ase import Atoms
from ase.io.extxyz import write_extxyz

from voltase.aseplugin.errors import InputError


def save_frames(path: Path, frames: Sequence[Atoms]) -> None:
    """Write an extxyz file; an empty one without frames."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        if frames:
            write_extxyz(file, list(frames))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def load_frames(path: Path) -> list[Atoms]:
    """What `save_frames` wrote.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        if path.stat().st_size == 0:
            return []
        frames = list(ase.io.iread(path, ":", format="extxyz"))
    # The reader raises whatever it stumbles over.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"out: {path} cannot be read ({reason}); delete it to have it made again"
        ) from error
    return frames


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write plain values as YAML."""
    # Through JSON, so that NumPy's numbers are refused here and not read back as something else.
    plain = json.loads(json.dumps(record))
    write_text(path, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def read_record(path: Path) -> dict[str, Any] | None:
    """What `write_record` wrote; None if it is not there.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    if not path.is_file():
        return None
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"out: {path} cannot be read ({reason})") from error
    if not isinstance(found, dict):
        raise InputError(f"out: {path} holds no keys with values, expected some")
    return found


def frames_once(path: Path, make: Callable[[], Sequence[Atoms]]) -> list[Atoms]:
    """The frames of a file, which is made first if it is not there.

    They are read back in either case: a run that was interrupted goes on from the same digits.
    """
    if not path.is_file():
        save_frames(path, make())
    return load_frames(path)
