"""Asked to stop: Ctrl-C and SIGTERM end a run at the next point where its state is whole."""

import signal
from types import FrameType
from typing import Any

from voltase.cli.terminal import say


class StopRequest:
    """Answers True once the process was asked to stop (Ctrl-C, or SIGTERM from a batch system).

    A second signal interrupts at once. Use as a context manager: the handlers are put back.

    Parameters
    ----------
    message : str
        Shown at the first signal.
    """

    def __init__(self, message: str) -> None:
        self.message = message
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """Status by which a shell tells that the process was ended by the signal."""
        return 128 + (self.signal or signal.SIGINT)

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        say(self.message)
