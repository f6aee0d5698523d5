"""What the trainings of ``pe-train`` share: settings from a file and options, and the session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import typer

from voltase.aseplugin.errors import InputError, VoltaseError
from voltase.cli.config import build, check_keys, check_section, coerce, put, read_yaml
from voltase.cli.stopping import StopRequest
from voltase.cli.summary import RunSummary
from voltase.cli.terminal import log_file, process_rank, say

SECTIONS = ("data", "model", "training", "card")


class Run(Protocol):
    """A training that is set up."""

    @property
    def folder(self) -> Path:
        """Where it writes."""

    def resolved(self) -> dict[str, Any]:
        """Its settings."""


def read_settings(
    path: Path | None,
    given: Mapping[str, Any],
    run_keys: Mapping[str, Any],
    texts: Sequence[str],
    sections: Mapping[str, type],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a file, overridden by the options that were given.

    Parameters
    ----------
    path : Path or None
    given : mapping
        Values by name, "training.seed" for one in a section; None where not given.
    run_keys : mapping
        Keys beside the sections, and their types.
    texts : sequence of str
        Those of them that must not be empty.
    sections : mapping
        Dataclasses of sections that need no torch: a slip there is reported at once.

    Returns
    -------
    dict, dict
        All as a tree, and what is checked of it: ``run_keys``, ``sections`` and the card.

    Raises
    ------
    InputError
    """
    tree = {} if path is None else read_yaml(path)
    check_keys(tree, [*SECTIONS, *run_keys], "config")
    for name, value in given.items():
        if value is not None:
            put(tree, name.split("."), value)
    values: dict[str, Any] = {
        name: coerce(tree[name], kind, name) for name, kind in run_keys.items() if name in tree
    }
    for name in texts:
        if values.get(name) is not None and not values[name].strip():
            raise InputError(f"{name}: found an empty text, expected a value")
    for name, kind in sections.items():
        values[name] = build(kind, check_section(kind, tree.get(name), name), name)
    values["card"] = coerce(tree.get("card") or {}, dict[str, Any], "card")
    return tree, values


def hold_session(
    command: str,
    run: Run,
    work: Callable[[StopRequest, RunSummary], bool],
    *,
    restart: bool,
    unit: str = "step",
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Train with a log, a summary that tells how it ended, and Ctrl-C held until it is safe.

    Parameters
    ----------
    command : str
        For the summary.
    run : Run
    work : callable
        Trains and finishes; False if it was asked to stop.
    restart : bool
        Whether the same command goes on by itself.
    unit : str
        What is finished before it stops.
    facts : mapping, optional
        For the summary while it runs.

    Raises
    ------
    typer.Exit
        If it was asked to stop.
    """
    first = process_rank() == 0
    if first:
        _make(run.folder)
    log = log_file(run.folder / "train.log") if first else nullcontext()
    summary = RunSummary(run.folder / "summary.yaml", command, run.resolved())
    stop = StopRequest(f"stopping after this {unit}; once more to give up what it has done")
    with log, stop:
        summary.write("running", **(facts or {}))
        try:
            ended = work(stop, summary)
        except VoltaseError as error:
            summary.write(f"failed: {error}")
            raise
        except KeyboardInterrupt:
            summary.write("interrupted")
            raise
    if not ended:
        again = "the same command" if restart else "the same command without --no-restart"
        say(f"interrupted; the state is in {run.folder}, {again} goes on from there")
        raise typer.Exit(stop.exit_code)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"out: {folder} cannot be made ({error.strerror}), expected a folder to write to"
        ) from error
