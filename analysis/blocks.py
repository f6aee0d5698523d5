"""Means and errors of observables whose contributions were summed over blocks of frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]

FEWEST_BLOCKS = 8
"""Fewer say nothing about their own scatter."""


class Estimate(NamedTuple):
    """A mean with its error.

    Attributes
    ----------
    mean : ndarray
        Not a number where nothing was counted.
    error : ndarray
        Standard error, of the same shape; not a number if the frames are too few to tell.
    correlation_frames : float
        Correlation time in frames that the error accounts for: the integral of the normalised
        autocorrelation, half a frame for independent ones. Frames within a chunk count as fully
        correlated, so of long runs it is an upper bound. Not a number without an error.
    blocks : int
        Number of blocks behind the error; 0 without an error.
    """

    mean: Array
    error: Array
    correlation_frames: float
    blocks: int

    @property
    def resolved(self) -> bool:
        """Whether the frames were enough for an error."""
        return self.blocks > 0


def estimate_ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike, lengths: npt.ArrayLike
                   ) -> Estimate:  # fmt: skip
    """Ratio of sums with its error by blocking.

    The sums over consecutive chunks of frames are joined to ever longer blocks until the error
    stands still: at the shortest length B (frames) with B^3 > 2 N r^4, where r^2 is the growth of
    the squared error, pooled over all entries (Flyvbjerg and Petersen, doi:10.1063/1.457480; Lee
    et al., doi:10.1103/PhysRevE.83.066706). The error of a ratio is that of its linearisation,
    (numerator - ratio * denominator) / mean denominator.

    Parameters
    ----------
    numerator, denominator : array_like (n_chunks, ...)
        Sums over chunks of frames, in order of time.
    lengths : array_like (n_chunks,)
        Number of frames in each chunk; chunks without frames are left out.

    Raises
    ------
    InputError
        If no chunk has a frame.
    """
    lengths = np.asarray(lengths)
    kept = lengths > 0
    if not kept.any():
        raise InputError("frames: found none, expected at least one")
    a = np.asarray(numerator, dtype=np.float64)
    b = np.broadcast_to(np.asarray(denominator, dtype=np.float64), a.shape)
    if not kept.all():
        a, b = a[kept], b[kept]
    total = b.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(total != 0.0, a.sum(axis=0) / total, np.nan)
        residual = mean * b  # maps are large: no more copies than this one
        np.subtract(a, residual, out=residual)
        residual /= total
    residual[:, total == 0.0] = 0.0
    error, correlation, blocks = _block_error(residual, lengths[kept])
    error = np.where(total != 0.0, error, np.nan)
    return Estimate(np.asarray(mean), np.asarray(error), correlation, blocks)


def estimate_mean(sums: npt.ArrayLike, lengths: npt.ArrayLike) -> Estimate:
    """Mean per frame of quantities summed over chunks of frames; see `estimate_ratio`."""
    values = np.asarray(sums, dtype=np.float64)
    frames = np.asarray(lengths, dtype=np.float64)
    return estimate_ratio(values, frames.reshape(-1, *(1,) * (values.ndim - 1)), lengths)


def estimate_series(values: npt.ArrayLike) -> Estimate:
    """Mean of a series, one value (or array) a frame; see `estimate_ratio`."""
    series = np.asarray(values, dtype=np.float64)
    return estimate_mean(series, np.ones(len(series), dtype=np.int64))


def _block_error(residual: Array, lengths: npt.NDArray[np.int64]) -> tuple[Array, float, int]:
    """Standard error of the sum of residuals that add up to zero, correlation time, blocks."""
    failed = np.full(residual.shape[1:], np.nan), float("nan"), 0
    chunks, frames = len(residual), int(lengths.sum())
    if chunks < FEWEST_BLOCKS:
        return failed
    first = _scatter(residual, 1)
    naive = float((first**2).sum())
    if naive == 0.0:
        return first, 0.5, chunks
    per_chunk = frames / chunks
    most = chunks // FEWEST_BLOCKS
    steps = range(2 * most.bit_length() + 1)
    for length in sorted({min(most, round(2.0 ** (0.5 * k))) for k in steps}):
        error = _scatter(residual, length)
        growth = float((error**2).sum()) / naive
        # Noise that makes the growth small must not end the search too early.
        if length**3 > 2.0 * chunks * max(growth, 1.0) ** 2:
            return error, 0.5 * growth * per_chunk, chunks // length
    return failed


def _scatter(residual: Array, length: int) -> Array:
    """Error of the total from the scatter of blocks of so many chunks."""
    blocks = len(residual) // length
    # What does not fill a block is left out at the start, the least equilibrated end.
    kept = residual[len(residual) - blocks * length :]
    sums = kept
    if length > 1:
        sums = kept.reshape(blocks, length, *residual.shape[1:]).sum(axis=1)
    deviations = sums - sums.mean(axis=0)
    variance = np.einsum("i...,i...->...", deviations, deviations) / (blocks - 1)
    scale = len(residual) / (blocks * length)
    return np.asarray(np.sqrt(blocks * scale * variance))
