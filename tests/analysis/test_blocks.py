"""Errors of blocked means: series whose correlation time is known."""

import numpy as np
import pytest

from voltase.analysis.blocks import (
    FEWEST_BLOCKS,
    estimate_mean,
    estimate_ratio,
    estimate_series,
)
from voltase.aseplugin.errors import InputError


def correlated(rng: np.random.Generator, frames: int, runs: int, memory: float) -> np.ndarray:
    """AR(1) series of unit variance (frames, runs), started in equilibrium."""
    noise = rng.standard_normal((frames, runs)) * np.sqrt(1.0 - memory**2)
    series = np.empty((frames, runs))
    series[0] = rng.standard_normal(runs)
    for k in range(1, frames):
        series[k] = memory * series[k - 1] + noise[k]
    return series


def error_of_mean(frames: int, memory: float) -> float:
    """Exact standard error of the mean of an AR(1) series of unit variance."""
    lag = np.arange(1, frames)
    total = 1.0 + 2.0 * ((1.0 - lag / frames) * memory**lag).sum()
    return float(np.sqrt(total / frames))


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8, 0.9])
def test_error_of_correlated_series(memory: float, rng: np.random.Generator) -> None:
    frames, runs = 4000, 60
    series = correlated(rng, frames, runs, memory)
    found = [estimate_series(series[:, k]) for k in range(runs)]
    exact = error_of_mean(frames, memory)
    errors = np.array([e.error for e in found])
    assert np.sqrt((errors**2).mean()) == pytest.approx(exact, rel=0.2)
    # Individually they scatter, but not wildly.
    assert errors.min() > 0.4 * exact
    assert errors.max() < 2.0 * exact
    # The means themselves scatter as claimed.
    assert series.mean(axis=0).std(ddof=1) == pytest.approx(exact, rel=0.3)
    time = np.mean([e.correlation_frames for e in found])
    assert time == pytest.approx(0.5 * (1.0 + memory) / (1.0 - memory), rel=0.3)


@pytest.mark.parametrize("memory", [0.0, 0.9])
@pytest.mark.parametrize("chunks", [128, 100])
def test_error_of_chunked_sums(memory: float, chunks: int, rng: np.random.Generator) -> None:
    """Uneven chunks, as a run makes them of a number of frames that they do not divide."""
    frames, runs = 3333, 60
    series = correlated(rng, frames, runs, memory)
    chunk = np.arange(frames) * chunks // frames
    lengths = np.bincount(chunk)
    assert lengths.min() < lengths.max()
    sums = np.zeros((chunks, runs))
    np.add.at(sums, chunk, series)
    errors = []
    for k in range(runs):
        found = estimate_mean(sums[:, k], lengths)
        assert found.mean == pytest.approx(series[:, k].mean())
        errors.append(float(found.error))
    exact = error_of_mean(frames, memory)
    # Some scatter too much to tell; most must not.
    assert np.isfinite(errors).mean() > 0.85
    assert np.sqrt(np.nanmean(np.square(errors))) == pytest.approx(exact, rel=0.2)


def test_very_uneven_chunks_weigh_by_their_frames(rng: np.random.Generator) -> None:
    runs, lengths = 200, np.tile([1, 9], 64)
    exact = 1.0 / np.sqrt(lengths.sum())
    sums = rng.standard_normal((128, runs)) * np.sqrt(lengths)[:, None]
    errors = [float(estimate_mean(sums[:, k], lengths).error) for k in range(runs)]
    assert np.isfinite(errors).mean() > 0.95
    assert np.sqrt(np.nanmean(np.square(errors))) == pytest.approx(exact, rel=0.1)


def test_ratio(rng: np.random.Generator) -> None:
    """A mean over varying numbers of molecules: the error is that of the molecules pooled."""
    frames, runs = 512, 100
    counts = rng.integers(0, 8, (frames, runs))
    sums = counts * 2.0 + np.sqrt(counts) * rng.standard_normal((frames, runs))
    lengths = np.ones(frames, dtype=np.int64)
    found = [estimate_ratio(sums[:, k], counts[:, k], lengths) for k in range(runs)]
    means = np.array([e.mean for e in found])
    exact = 1.0 / np.sqrt(3.5 * frames)
    assert means.mean() == pytest.approx(2.0, abs=5.0 * exact / np.sqrt(runs))
    assert means.std(ddof=1) == pytest.approx(exact, rel=0.25)
    errors = np.array([e.error for e in found])
    assert np.sqrt((errors**2).mean()) == pytest.approx(exact, rel=0.1)


def test_constant_ratio_of_varying_sums_has_no_error(rng: np.random.Generator) -> None:
    counts = rng.integers(1, 9, 64)
    found = estimate_ratio(3.0 * counts, counts, np.ones(64, dtype=np.int64))
    assert found.mean == 3.0
    assert found.error == pytest.approx(0.0, abs=1e-14)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1.0 / 3.0, 1e6 + 0.1, -7.3e-9])
@pytest.mark.parametrize("frames", [8, 100, 137, 1000])
def test_constant(value: float, frames: int) -> None:
    found = estimate_series(np.full(frames, value))
    assert found.mean == pytest.approx(value)
    assert found.error == pytest.approx(0.0, abs=1e-12 * abs(value))
    assert found.resolved


@pytest.mark.parametrize("value", [0.1, 1.0 / 3.0, 1e6 + 0.1])
def test_constant_in_uneven_chunks(value: float) -> None:
    lengths = np.bincount(np.arange(1000) * 128 // 1000)
    found = estimate_mean(value * lengths, lengths)
    assert found.error == pytest.approx(0.0, abs=1e-12 * value)
    assert found.resolved


@pytest.mark.parametrize("frames", [1, 2, FEWEST_BLOCKS - 1])
def test_too_few_frames_have_no_error(frames: int, rng: np.random.Generator) -> None:
    found = estimate_series(rng.standard_normal((frames, 3)))
    assert np.isfinite(found.mean).all()
    assert np.isnan(found.error).all()
    assert np.isnan(found.correlation_frames)
    assert found.blocks == 0
    assert not found.resolved


def test_a_drift_has_no_error() -> None:
    found = estimate_series(np.linspace(0.0, 1.0, 400))
    assert found.mean == pytest.approx(0.5)
    assert np.isnan(found.error)


def test_empty_chunks_and_bins() -> None:
    values = np.arange(20.0)[:, None] * [1.0, 0.0]
    counts = np.ones((20, 2)) * [1.0, 0.0]
    lengths = np.ones(20, dtype=np.int64)
    found = estimate_ratio(values, counts, lengths)
    assert found.mean[0] == 9.5
    assert np.isnan(found.mean[1])
    assert np.isnan(found.error[1])
    gaps = np.insert(lengths, [3, 10], 0)
    padded = estimate_ratio(np.insert(values, [3, 10], 0.0, axis=0),
                            np.insert(counts, [3, 10], 0.0, axis=0), gaps)  # fmt: skip
    np.testing.assert_array_equal(padded.mean, found.mean)
    np.testing.assert_array_equal(padded.error, found.error)
    with pytest.raises(InputError, match="frames: found none"):
        estimate_ratio(values, counts, np.zeros(20, dtype=np.int64))


def test_shapes(rng: np.random.Generator) -> None:
    found = estimate_series(rng.standard_normal((64, 3, 5)))
    assert found.mean.shape == found.error.shape == (3, 5)
    assert np.shape(estimate_series(rng.standard_normal(64)).mean) == ()
