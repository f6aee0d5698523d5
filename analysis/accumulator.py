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
        # Only the chunks that have frames: of a process that works on a few, little has to travel.
        self._sums: dict[str, dict[int, Array]] = {}
        self._kept: dict[str, list[tuple[int, Any]]] = {}

    def add(self, chunk: int, ordinal: int, summed: dict[str, Any], kept: dict[str, Any]) -> None:
        """Add one frame, the `ordinal`-th of those analysed."""
        self.lengths[chunk] += 1
        for name, value in summed.items():
            self._add(name, chunk, np.asarray(value, dtype=np.float64))
        for name, value in kept.items():
            self._kept.setdefault(name, []).append((ordinal, value))

    def _add(self, name: str, chunk: int, values: Array) -> None:
        by_chunk = self._sums.setdefault(name, {})
        if chunk in by_chunk:
            np.add(by_chunk[chunk], values, out=by_chunk[chunk])
        else:
            by_chunk[chunk] = values.copy()

    def sums(self, name: str) -> Array:
        """Sums (n_chunks, ...), zero in chunks without frames."""
        by_chunk = self._sums[name]
        total = np.zeros((self.chunks, *next(iter(by_chunk.values())).shape))
        for chunk, values in by_chunk.items():
            total[chunk] = values
        return total

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
            for name, by_chunk in part._sums.items():
                for chunk, values in by_chunk.items():
                    merged._add(name, chunk, values)
            for name, pairs in part._kept.items():
                merged._kept.setdefault(name, []).extend(pairs)
        return merged
