"""Functions called while a run goes on."""

from collections.abc import Callable
from typing import Any

from voltase.aseplugin.errors import InputError


class Observers:
    """Functions and the steps at which they are called."""

    def __init__(self) -> None:
        self._calls: list[tuple[Callable[..., Any], int, tuple[Any, ...], dict[str, Any]]] = []

    def attach(
        self, function: Callable[..., Any] | Any, interval: int, *args: Any, **kwargs: Any
    ) -> None:
        """Register a function, or an object with a method ``write``."""
        if isinstance(interval, bool) or not isinstance(interval, int) or interval == 0:
            raise InputError(f"interval: got {interval!r}, expected a whole number other than 0")
        called = function if callable(function) else getattr(function, "write", None)
        if called is None:
            raise InputError(f"function: got {function!r}, expected it callable or with a write()")
        self._calls.append((called, interval, args, kwargs))

    def call(self, step: int) -> None:
        """Call those whose turn it is."""
        for function, interval, args, kwargs in self._calls:
            if step == -interval if interval < 0 else step % interval == 0:
                function(*args, **kwargs)
