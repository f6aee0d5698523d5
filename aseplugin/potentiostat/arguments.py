"""Checks of arguments that need nothing but the argument."""

import math
import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from voltase.aseplugin.errors import InputError


def check_real(*, optional: bool = True, **values: Any) -> None:
    """Raise :class:`InputError` unless every value is a real number, or None if optional."""
    for name, value in values.items():
        if optional and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise InputError(f"{name}: got {value!r}, expected a number")


def check_positive(*, optional: bool = True, **values: Any) -> None:
    """Raise :class:`InputError` unless every value is finite and above 0, or None if optional."""
    check_real(optional=optional, **values)
    for name, value in values.items():
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{name}: got {value}, expected more than 0")


def check_intervals(**values: Any) -> None:
    """Raise :class:`InputError` unless every value is a whole number of 1 or more."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise InputError(f"{name}: got {value!r}, expected a whole number of 1 or more")


def check_rng(rng: Any) -> None:
    """Raise :class:`InputError` unless it is a Generator, whose state a checkpoint can hold."""
    if not isinstance(rng, np.random.Generator):
        found = repr(rng) if isinstance(rng, int) else type(rng).__name__
        raise InputError(
            f"rng: got {found}, expected a numpy.random.Generator, as default_rng(seed) makes it"
        )


def check_distinct(paths: Mapping[str, Path | None]) -> None:
    """Raise :class:`InputError` if two arguments name one file."""
    seen: dict[Path, str] = {}
    for name, path in paths.items():
        if path is None:
            continue
        # Not of the path alone: a link and another spelling lead to the same file.
        other = seen.setdefault(path.resolve(), name)
        if other != name:
            raise InputError(f"{name}: got {str(path)!r}, expected another file than {other}")
