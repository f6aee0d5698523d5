"""The next value of a series, by the fit that has foretold the last ones best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

FITS = ((1, 2), (0, 1), (1, 3), (2, 4), (1, 4), (2, 5), (2, 6))
"""Degree of the polynomial and number of last values it goes through or between.

A high degree and few values follow fast motion, many values average noise away.
"""
MOST_VALUES = max(points for _, points in FITS)
MEMORY = 0.97
"""Of a squared error, from one value to the next."""
TRIALS = 4
"""Errors known of a fit before it may replace the first."""


class Extrapolation:
    """Least-squares polynomials through the last values of an evenly spaced series.

    Each is judged by its past errors, recent ones counting most. The first of `FITS`, the straight
    line through two values, serves until another has done better, and the last value before that.
    """

    def __init__(self) -> None:
        # At one step after the last value, every power of the time is one.
        self._weights = [
            np.ones(degree + 1) @ np.linalg.pinv(np.vander(-np.arange(float(points)), degree + 1))
            for degree, points in FITS
        ]
        self._values: list[float] = []  # the latest first
        self._squares = [0.0] * len(FITS)
        self._trials = [0] * len(FITS)

    def append(self, value: float) -> None:
        """Take the next value, after judging what each fit would have said."""
        for k in range(len(FITS)):
            if self._knows_enough(k):
                square = (self._foretell(k) - value) ** 2
                self._squares[k] = MEMORY * self._squares[k] + (1.0 - MEMORY) * square
                self._trials[k] += 1
        self._values = [value, *self._values[: MOST_VALUES - 1]]

    def shift(self, change: float) -> None:
        """Move all values, as when what they answer to has moved."""
        self._values = [value + change for value in self._values]

    def predict(self) -> float:
        """The next value."""
        if len(self._values) == 1:
            return self._values[0]
        tried = [k for k in range(len(FITS)) if k == 0 or self._trials[k] >= TRIALS]
        return self._foretell(min(tried, key=self._mean_square))

    def _knows_enough(self, k: int) -> bool:
        return len(self._values) >= FITS[k][1]

    def _foretell(self, k: int) -> float:
        return float(self._weights[k] @ self._values[: FITS[k][1]])

    def _mean_square(self, k: int) -> float:
        # The weights of few errors add up to less than one.
        known = 1.0 - MEMORY ** self._trials[k]
        return self._squares[k] / known if known else 0.0

    def state(self) -> dict[str, Any]:
        """Everything a restart needs."""
        return {
            "values": list(self._values),
            "squares": list(self._squares),
            "trials": list(self._trials),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self._values = [float(x) for x in state["values"]]
        self._squares = [float(x) for x in state["squares"]]
        self._trials = [int(x) for x in state["trials"]]
