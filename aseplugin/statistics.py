"""Means of correlated series with an honest error."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voltase.aseplugin.errors import InputError

# Fewer blocks than this say nothing about their own scatter.
_MIN_BLOCKS = 8


class BlockAverage(NamedTuple):
    """Mean of a series.

    ``error`` and ``correlation_time`` are not-a-number if the series is too short to tell them:
    an error is never guessed from too few independent samples.
    """

    mean: float
    error: float
    correlation_time: float

    @property
    def resolved(self) -> bool:
        """Whether the series was long enough for an error."""
        return not math.isnan(self.error)


def block_average(series: ArrayLike, spacing: float = 1.0) -> BlockAverage:
    """Mean, standard error and correlation time of a series by blocking.

    The series is averaged over blocks of 1, 2, 4, ... samples (Flyvbjerg and Petersen,
    doi:10.1063/1.457480). The length used is the shortest B with B^3 > 2 N r^4, where r is the
    error at B over the error at 1 (Lee et al., doi:10.1103/PhysRevE.83.066706).

    Parameters
    ----------
    series : array_like, shape (samples,)
    spacing : float
        Time between samples; the correlation time comes in its unit.

    Returns
    -------
    BlockAverage
        ``correlation_time`` is the integral of the normalised autocorrelation function over
        positive and half of zero time, spacing/2 for uncorrelated samples, so that
        error^2 = 2 correlation_time variance / (samples spacing).

    Raises
    ------
    InputError
        If the series is empty, not one-dimensional or not finite.
    """
    values = np.asarray(series, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise InputError(f"series: got shape {values.shape}, expected (samples,), not empty")
    if not np.isfinite(values).all():
        raise InputError(
            f"series: got {np.sum(~np.isfinite(values))} non-finite values of {values.size}"
        )
    mean = float(values.mean())
    if values.size < 2 * _MIN_BLOCKS:
        return BlockAverage(mean, math.nan, math.nan)
    naive = _standard_error(values)
    if naive == 0.0:
        return BlockAverage(mean, 0.0, 0.5 * spacing)
    length = 1
    while values.size // length >= _MIN_BLOCKS:
        error = _standard_error(_block_means(values, length))
        inefficiency = (error / naive) ** 2
        if length**3 > 2 * values.size * inefficiency**2:
            return BlockAverage(mean, error, 0.5 * inefficiency * spacing)
        length *= 2
    return BlockAverage(mean, math.nan, math.nan)


def _block_means(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    # What does not fill a block is left out at the start, the least equilibrated end.
    blocks = values.size // length
    return values[values.size - blocks * length :].reshape(blocks, length).mean(axis=1)


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) / math.sqrt(values.size)
