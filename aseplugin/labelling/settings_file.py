"""What the labels in a folder were made with; labels of other settings do not join them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.labelling.schedule import Task

SETTINGS = "settings.yaml"
_FORMAT = 1


@dataclass
class LabelSettings:
    """Settings and structures of a folder of labels.

    Attributes
    ----------
    values : mapping
        What all labels have in common, in plain types: the engine, its settings with the code's
        version, the cell, the config type, and whether there are densities.
    structures : dict
        From geometries to ``name`` and ``where`` of those seen so far, which later runs add to.
    """

    values: Mapping[str, Any]
    structures: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Of the values."""
        return hashlib.sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()

    @classmethod
    def read(cls, folder: Path) -> LabelSettings | None:
        """What the folder says; None if it is no folder of labels yet.

        Raises
        ------
        InputError
            If the file is there and cannot be used.
        """
        path = folder / SETTINGS
        if not path.is_file():
            return None
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
            settings = cls(found["values"], found["structures"])
            whole = found["format"] == _FORMAT and found["hash"] == settings.hash
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
            raise InputError(f"out: {path} cannot be read ({' '.join(str(error).split())})"
                             ) from error  # fmt: skip
        if not whole:
            raise InputError(f"out: {path} has another format or was changed, expected it as "
                             "written")  # fmt: skip
        return settings

    def write(self, folder: Path) -> None:
        """Write the file, whole or not at all."""
        record = {
            "format": _FORMAT,
            "hash": self.hash,
            "values": dict(self.values),
            "structures": self.structures,
        }
        partial = folder / f"{SETTINGS}.partial"
        partial.write_text(yaml.safe_dump(record, sort_keys=False), encoding="utf-8")
        partial.replace(folder / SETTINGS)

    def check_same(self, other: Mapping[str, Any], folder: Path) -> None:
        """Refuse values that differ from these, which the folder has.

        Raises
        ------
        InputError
            Naming the first difference.
        """
        found = _difference(self.values, json.loads(json.dumps(other)), ())
        if found is not None:
            name, here, there = found
            raise InputError(f"out: the labels in {folder} have {name} = {here}, found {there}; "
                             "expected the same settings, or another folder")  # fmt: skip

    def admit(self, tasks: Sequence[Task]) -> dict[str, str]:
        """Add structures; names of new ones that are taken get a number.

        Returns
        -------
        dict
            From geometries to names.
        """
        taken = {known["name"] for known in self.structures.values()}
        for task in tasks:
            if task.geometry in self.structures:
                continue
            name, count = task.name, 1
            while name in taken:
                count += 1
                name = f"{task.name}-{count}"
            taken.add(name)
            self.structures[task.geometry] = {"name": name, "where": task.where}
        return {geometry: known["name"] for geometry, known in self.structures.items()}


def _difference(first: Any, second: Any, path: tuple[str, ...]) -> tuple[str, Any, Any] | None:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in (*first, *(key for key in second if key not in first)):
            found = _difference(first.get(key), second.get(key), (*path, str(key)))
            if found is not None:
                return found
        return None
    return None if first == second else (".".join(path), first, second)
