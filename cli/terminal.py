"""What commands show at the terminal: errors in one line, warnings, a log file, a progress bar."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from voltase.aseplugin.errors import VoltaseError

BAD_INPUT = 2
REFRESH = 0.1
"""Seconds between two pictures of a progress bar without a thread."""
SAID_EVERY = 60.0
"""Seconds between two lines on progress where there is no terminal."""
INTERRUPTED = 130
Bar = Callable[..., None]
"""Takes the number done and, by keyword, ``total`` and ``text``."""


def process_rank() -> int:
    """Rank given by torch's launcher; 0 without one."""
    return int(os.environ.get("RANK", "0"))


def say(message: str) -> None:
    """A line for the person at the terminal, from the first process only."""
    if process_rank() == 0:
        typer.echo(message, err=True)


@contextmanager
def one_line_errors(debug: bool) -> Iterator[None]:
    """Turn this package's exceptions into a line and exit status 2, Ctrl-C into status 130.

    Parameters
    ----------
    debug : bool
        Let exceptions through, with their traceback.
    """
    rank = process_rank()
    prefix = "error" if rank == 0 else f"error in process {rank}"
    try:
        yield
    except VoltaseError as error:
        if debug:
            raise
        typer.echo(f"{prefix}: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    except OSError as error:
        if debug:
            raise
        typer.echo(f"{prefix}: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    except KeyboardInterrupt:
        say("interrupted")
        raise typer.Exit(INTERRUPTED) from None


def log_warnings() -> None:
    """Show the package's warnings on the terminal, from the first process only."""
    logger = logging.getLogger("voltase")
    if process_rank() > 0:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Append the package's messages to a file, for the length of a with block."""
    if process_rank() > 0:
        yield
        return
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("voltase")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def progress_bar(
    description: str,
    total: int | None,
    *,
    shown: bool = True,
    threads: bool = True,
    window: float = 30.0,
) -> Iterator[Bar]:
    """Progress bar on a terminal, a line now and then elsewhere, from the first process only.

    Parameters
    ----------
    description : str
    total : int or None
    shown : bool
        False for no bar at all.
    threads : bool
        Whether a thread may keep the bar moving; False where processes are forked meanwhile.
    window : float
        Seconds over which the speed is averaged, for the time left.
    """
    if not shown or process_rank() > 0:
        yield lambda done, total=None, text=None: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    shown = console.is_terminal
    said = [time.monotonic()]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, disable=not shown, auto_refresh=threads,
                  speed_estimate_period=window) as progress:  # fmt: skip
        task = progress.add_task(description, total=total)
        last = [0.0]

        def update(done: float, total: float | None = None, text: str | None = None) -> None:
            if not shown and time.monotonic() > said[0] + SAID_EVERY:
                said[0] = time.monotonic()
                last_one = progress.tasks[0].total if total is None else total
                of = "" if last_one is None else f" of {last_one:g}"
                say(f"{text or description}: {done:g}{of}")
            progress.update(task, completed=done, total=total, description=text or description)
            if not threads and shown and time.monotonic() > last[0] + REFRESH:
                last[0] = time.monotonic()
                progress.refresh()

        yield update
