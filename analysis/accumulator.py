"""Sums over chunks of frames and what is kept frame by frame, mergeable across processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]


class Accumulator:
    """Collects the contributions of frames.

    Parameters
    ----------
    chunks : int
        Number of groups of consecutive frames whose sums are kept apart.
    """

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks
        self.lengths = np.zeros(chunks, dtype=np.int64)
        self._sums: dict[str, Array] = {}
        self._kept: dict[str, list[tuple[int, Any]]] = {}

    def add(self, chunk: int, ordinal: int, summed: dict[str, Any], kept: dict[str, Any]) -> None:
        """Add one frame, the `ordinal`-th of those analysed."""
        self.lengths[chunk] += 1
        for name, value in summed.items():
            array = np.asarray(value, dtype=np.float64)
            if name not in self._sums:
                self._sums[name] = np.zeros((self.chunks, *array.shape))
            self._sums[name][chunk] += array
        for name, value in kept.items():
            self._kept.setdefault(name, []).append((ordinal, value))

    def sums(self, name: str) -> Array:
        """Sums (n_chunks, ...)."""
        return self._sums[name]

    def series(self, name: str) -> list[Any]:
        """What was kept, in order of the frames."""
        return [value for _, value in sorted(self._kept[name], key=lambda pair: pair[0])]

    @staticmethod
    def merge(parts: Sequence[Accumulator]) -> Accumulator:
        """One accumulator of those of several groups of frames."""
        if len({part.chunks for part in parts}) != 1:
            raise InputError("accumulators: found different numbers of chunks")
        merged = Accumulator(parts[0].chunks)
        for part in parts:
            merged.lengths += part.lengths
            for name, value in part._sums.items():
                merged._sums[name] = merged._sums.get(name, 0.0) + value
            for name, pairs in part._kept.items():
                merged._kept.setdefault(name, []).extend(pairs)
        return merged
