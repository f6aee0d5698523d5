"""Extrapolation of a series: exact where it can be, and no worse than a line elsewhere."""

import json

import numpy as np
import pytest

from voltase.aseplugin.potentiostat.extrapolation import FITS, MOST_VALUES, Extrapolation


def errors(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the predictions, and of the line through the last two values, from the third value on."""
    found, line, extrapolation = [], [], Extrapolation()
    for k, value in enumerate(series):
        if k >= 2:
            found.append(extrapolation.predict() - value)
            line.append(2.0 * series[k - 1] - series[k - 2] - value)
        extrapolation.append(float(value))
    return np.array(found), np.array(line)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def test_a_line_is_continued_from_its_second_value() -> None:
    found, _ = errors(0.3 + 0.02 * np.arange(12))
    assert abs(found).max() < 1e-14


def test_one_value_is_kept() -> None:
    extrapolation = Extrapolation()
    extrapolation.append(0.3)
    assert extrapolation.predict() == 0.3


def test_a_parabola_is_continued_once_it_is_known() -> None:
    t = np.arange(20.0)
    found, line = errors(0.1 - 0.02 * t + 0.003 * t**2)
    assert abs(found[-8:]).max() < 1e-12
    assert abs(line).min() > 5e-3


def test_a_vibration_is_followed_better_than_by_a_line() -> None:
    found, line = errors(np.sin(2.0 * np.pi * 0.5 / 10.0 * np.arange(200)))
    assert rms(found[20:]) < 0.7 * rms(line[20:])


def test_noise_is_averaged_away() -> None:
    noise = np.random.default_rng(0).standard_normal(2000)
    found, line = errors(noise)
    assert rms(line) == pytest.approx(np.sqrt(6.0), rel=0.05)
    # The mean of no more than the last four values leaves sqrt(1 + 1/4) at the best.
    assert np.sqrt(1.25) * 0.95 < rms(found[50:]) < np.sqrt(2.0) * 1.05


def test_values_move_with_what_they_answer_to() -> None:
    rng = np.random.default_rng(1)
    one, other = Extrapolation(), Extrapolation()
    for value in rng.standard_normal(30):
        one.append(value)
        other.append(value - 2.0)
    other.shift(2.0)
    assert other.predict() == pytest.approx(one.predict(), abs=1e-12)


def test_it_goes_on_from_its_state_to_the_last_bit() -> None:
    series = np.random.default_rng(2).standard_normal(60)
    one = Extrapolation()
    for value in series[:40]:
        one.append(float(value))
    other = Extrapolation()
    other.load_state(json.loads(json.dumps(one.state())))
    for value in series[40:]:
        assert other.predict() == one.predict()
        one.append(float(value))
        other.append(float(value))


def test_no_more_values_are_kept_than_a_fit_takes() -> None:
    extrapolation = Extrapolation()
    for value in range(50):
        extrapolation.append(float(value))
    assert len(extrapolation.state()["values"]) == MOST_VALUES == max(m for _, m in FITS)
