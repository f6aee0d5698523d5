"""What the direct fits to the training data say before anything is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.models.density.basis import Channels
from voltase.aseplugin.models.electrode import CHARGE_SCALE

Array = npt.NDArray[np.float64]
SMALLEST = 1e-3
"""Typical deviation of a combination of channels, over that of the largest, that counts."""


class Fit(NamedTuple):
    """Direct fit to the densities of one geometry.

    Attributes
    ----------
    numbers : ndarray (n_atoms,)
    coefficients : ndarray (k, n)
        Of the channels.
    density : ndarray (k,)
        Excess electrons per area, e/A^2.
    """

    numbers: npt.NDArray[np.int64]
    coefficients: Array
    density: Array


class Statistics(NamedTuple):
    """Per symbol: the atomic superposition, and typical deviations from it and in the response."""

    superposition: dict[str, Array]
    mix: dict[str, Array]
    response_mix: dict[str, Array]


def statistics_of(fits: Sequence[Fit], channels: dict[int, Channels], symbols: dict[int, str]
                  ) -> Statistics:  # fmt: skip
    """Mean spherical coefficients of each element, and principal deviations degree by degree.

    Parameters
    ----------
    fits : sequence of Fit
    channels : dict
        By atomic number.
    symbols : dict
        By atomic number.
    """
    found = Statistics({}, {}, {})
    for number, chosen in channels.items():
        symbol = symbols[number]
        neutral = [_rows(fit, number, chosen, channels, fit.coefficients[_middle(fit)])
                   for fit in fits]  # fmt: skip
        values = np.concatenate(neutral)
        response = [
            _rows(fit, number, chosen, channels, change) for fit in fits for change in _changes(fit)
        ]
        spherical = chosen.degrees() == 0
        mean = np.where(spherical, values.mean(0) if len(values) else 0.0, 0.0)
        found.superposition[symbol] = mean
        found.mix[symbol] = _principal(values - mean, chosen)
        changes = np.concatenate(response) if response else np.zeros((0, chosen.size))
        found.response_mix[symbol] = _principal(changes, chosen)
    return found


def _middle(fit: Fit) -> int:
    return int(np.argmin(np.abs(fit.density)))


def _changes(fit: Fit) -> list[Array]:
    """Changes of the coefficients with the charge, per `CHARGE_SCALE`."""
    middle = _middle(fit)
    return [
        (fit.coefficients[k] - fit.coefficients[middle])
        / ((fit.density[k] - fit.density[middle]) / CHARGE_SCALE)
        for k in range(len(fit.density))
        if k != middle
    ]


def _rows(fit: Fit, number: int, chosen: Channels, channels: dict[int, Channels],
          coefficients: Array) -> Array:  # fmt: skip
    """Coefficients (n_atoms of the element, size)."""
    starts = np.cumsum([0] + [channels[int(z)].size for z in fit.numbers])
    rows = [coefficients[starts[i] : starts[i + 1]] for i in np.flatnonzero(fit.numbers == number)]
    return np.array(rows).reshape(-1, chosen.size)


def _principal(values: Array, channels: Channels) -> Array:
    """Matrix (size, size): unit deviations to the coefficients they stand for."""
    matrix = np.zeros((channels.size, channels.size))
    start = 0
    for degree, count in enumerate(channels.counts):
        width = 2 * degree + 1
        block = values[:, start : start + count * width].reshape(len(values), count, width)
        # Mean over the components too: what turns with the surroundings has no preferred m.
        covariance = np.einsum("ncm,ndm->cd", block, block) / max(len(values) * width, 1)
        sizes, vectors = np.linalg.eigh(covariance)
        sizes = np.sqrt(np.clip(sizes, 0.0, None))
        sizes = np.where(sizes > SMALLEST * max(sizes.max(), 1e-30), sizes, 0.0)
        rows = sizes[:, None] * vectors.T
        for m in range(width):
            index = start + np.arange(count) * width + m
            matrix[np.ix_(index, index)] = rows
        start += count * width
    return matrix
