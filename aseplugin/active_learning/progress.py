"""What the stages of a round tell, and how they are asked to stop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

LOG = logging.getLogger("voltase.aseplugin.active_learning")


class Stopped(Exception):
    """Asked to stop: what is finished is kept, and the same call goes on from there."""


def _nothing(text: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Progress:
    """Ears of a run.

    Attributes
    ----------
    show : callable
        Gets a text, the number done and the number there are, often.
    say : callable
        Gets a line on every finished step.
    stop : callable
        Answers True once the run shall end at the next point where nothing is lost.
    """

    show: Callable[[str, int, int], None] = _nothing
    say: Callable[[str], None] = LOG.info
    stop: Callable[[], bool] = lambda: False

    def check(self) -> None:
        """Raise `Stopped` if asked to stop."""
        if self.stop():
            raise Stopped

    def counter(self, text: str) -> Callable[[int, int], None]:
        """A function of the numbers done and there are, under a text."""
        return lambda done, total: self.show(text, done, total)
