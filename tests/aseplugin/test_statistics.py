"""Blocking against series whose correlation time is known."""

import math

import numpy as np
import pytest

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.statistics import block_average


def autoregressive(decay: float, samples: int, seed: int) -> np.ndarray:
    """AR(1) noise of unit variance: x_(i+1) = decay x_i + noise."""
    from scipy.signal import lfilter

    noise = np.random.default_rng(seed).standard_normal(samples + 1000)
    return lfilter([math.sqrt(1 - decay**2)], [1.0, -decay], noise)[1000:]


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.98])
def test_correlation_time_of_ar1(decay: float) -> None:
    exact = 0.5 * (1 + decay) / (1 - decay)
    samples = 200_000
    averages = [block_average(autoregressive(decay, samples, seed)) for seed in range(8)]
    mean_time = np.mean([average.correlation_time for average in averages])
    assert mean_time == pytest.approx(exact, rel=0.1)
    exact_error = math.sqrt(2 * exact / samples)
    assert np.mean([average.error for average in averages]) == pytest.approx(exact_error, rel=0.1)


def test_error_covers_the_mean() -> None:
    deviations = []
    for seed in range(200):
        average = block_average(autoregressive(0.9, 4000, seed))
        deviations.append(average.mean / average.error)
    # A standard normal, if the error is right.
    assert np.std(deviations) == pytest.approx(1.0, abs=0.15)


def test_spacing_sets_the_unit_of_time() -> None:
    series = autoregressive(0.9, 50_000, 0)
    plain, scaled = block_average(series), block_average(series, spacing=0.5)
    assert scaled.correlation_time == pytest.approx(0.5 * plain.correlation_time)
    assert scaled[:2] == plain[:2]


def test_too_few_samples_are_flagged() -> None:
    short = block_average(np.arange(10.0))
    assert short.mean == 4.5
    assert math.isnan(short.error)
    assert not short.resolved
    # Long, but a single drift: no block length is longer than its correlation.
    drifting = block_average(np.linspace(0.0, 1.0, 256))
    assert math.isnan(drifting.error)


def test_constant_series_has_no_error() -> None:
    assert block_average(np.full(100, 3.0)) == (3.0, 0.0, 0.5)


@pytest.mark.parametrize("series", [[], [[1.0, 2.0]], [1.0, math.nan], [math.inf] * 20])
def test_unusable_series(series: list[float]) -> None:
    with pytest.raises(InputError, match=r"^series: got "):
        block_average(series)
