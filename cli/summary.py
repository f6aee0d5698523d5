"""The YAML summary of a run: what it was told, with which versions, and how it ended."""

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from voltase.aseplugin.versions import installed_versions
from voltase.cli.terminal import process_rank


class RunSummary:
    """YAML file that says what a run was told and how it ended; rewritten whole each time.

    Parameters
    ----------
    path : Path
    command : str
    options : mapping
        Resolved, defaults included; plain values.
    """

    def __init__(self, path: Path, command: str, options: Mapping[str, Any]) -> None:
        self.path = path
        self._record: dict[str, Any] = {
            "command": command,
            "arguments": sys.argv[1:],
            "started": _now(),
            "ended": None,
            "status": "running",
            "versions": installed_versions(),
            "options": dict(options),
        }

    def write(self, status: str, **results: Any) -> None:
        """Write the file, with the results that are known by now; first process only."""
        self._record.update(results, status=status)
        self._record["ended"] = None if status == "running" else _now()
        if process_rank() > 0:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(self.path.name + ".partial")
        text = yaml.safe_dump(self._record, sort_keys=False, allow_unicode=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, self.path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
