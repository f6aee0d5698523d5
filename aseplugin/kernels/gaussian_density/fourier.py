"""Interpolation between grids of one period by Fourier series, and its transpose.

Spectra are kept compact: of a grid of n points along an axis the frequencies 0 ... p, -p ... -1
with p below n/2 (the last axis has 0 ... p alone, values being real). The highest frequency of an
even n, which has no sign, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Shape = tuple[int, int, int]


def refine(grids: Sequence[Any], shape: Shape, extended: Shape, fft: Any, xp: Any) -> Any:
    """Sum of functions given on coarse grids, on the points of a fine one.

    Parameters
    ----------
    grids : sequence of array
        One period each, the finest first; no axis has more points than in the one before.
    shape : (int, int, int)
        Of the result.
    extended : (int, int, int)
        Points of the fine grid in a period, those beyond the shape not wanted.
    fft : module
        Like scipy.fft.
    xp : module
        Like numpy.
    """
    spectrum = None
    for grid in reversed(grids):
        finer = _compact(fft.rfftn(grid, norm="forward"), grid.shape, xp)
        if spectrum is not None:
            low = tuple((n + 1) // 2 for n in spectrum.shape[:2])
            _add_inside(finer, spectrum, low)
        spectrum = finer
    for axis in (0, 1):
        padded = _spread_out(spectrum, axis, extended[axis], xp)
        spectrum = _cut(fft.ifft(padded, axis=axis, norm="forward"), axis, shape[axis])
    return _cut(fft.irfft(spectrum, n=extended[2], axis=2, norm="forward"), 2, shape[2])


def coarsen(grid: Any, shapes: Sequence[Shape], extended: Shape, fft: Any, xp: Any) -> list[Any]:
    """Transpose of `refine`: for each coarse grid, of the shapes given, the finest first."""
    spectrum = fft.rfft(grid, n=extended[2], axis=2)[:, :, : (shapes[0][2] + 1) // 2]
    for axis in (1, 0):
        spectrum = fft.fft(spectrum, n=extended[axis], axis=axis)
        spectrum = _low(spectrum, axis, shapes[0][axis], xp)
    found = []
    for shape in shapes:
        for axis in (0, 1):
            spectrum = _low(spectrum, axis, shape[axis], xp)
        spectrum = spectrum[:, :, : (shape[2] + 1) // 2]
        full = spectrum
        for axis in (0, 1):
            full = _spread_out(full, axis, shape[axis], xp)
        found.append(fft.irfftn(full, s=shape))
    return found


def _compact(spectrum: Any, shape: Shape, xp: Any) -> Any:
    for axis in (0, 1):
        spectrum = _low(spectrum, axis, shape[axis], xp)
    return spectrum[:, :, : (shape[2] + 1) // 2]


def _low(spectrum: Any, axis: int, n: int, xp: Any) -> Any:
    """The frequencies along an axis that a grid of n points has."""
    highest = (n - 1) // 2
    if spectrum.shape[axis] == 2 * highest + 1:
        return spectrum
    before = _slice(axis, 0, highest + 1)
    after = _slice(axis, spectrum.shape[axis] - highest, spectrum.shape[axis])
    return xp.concatenate([spectrum[before], spectrum[after]], axis=axis)


def _spread_out(spectrum: Any, axis: int, n: int, xp: Any) -> Any:
    """A compact axis as the n frequencies of a finer grid, zeros between."""
    highest = spectrum.shape[axis] // 2
    shape = list(spectrum.shape)
    shape[axis] = n
    full = xp.zeros(shape, dtype=spectrum.dtype)
    full[_slice(axis, 0, highest + 1)] = spectrum[_slice(axis, 0, highest + 1)]
    full[_slice(axis, n - highest, n)] = spectrum[_slice(axis, highest + 1, 2 * highest + 1)]
    return full


def _add_inside(finer: Any, spectrum: Any, low: tuple[int, ...]) -> None:
    """Add a compact spectrum to one with more frequencies."""
    for i in _halves(low[0], spectrum.shape[0], finer.shape[0]):
        for j in _halves(low[1], spectrum.shape[1], finer.shape[1]):
            finer[i[1], j[1], : spectrum.shape[2]] += spectrum[i[0], j[0]]


def _halves(low: int, n: int, more: int) -> list[tuple[slice, slice]]:
    """The frequencies from 0 and those below 0, in a compact axis and in a longer one."""
    return [(slice(0, low), slice(0, low)), (slice(low, n), slice(more - n + low, more))]


def _cut(values: Any, axis: int, n: int) -> Any:
    return values[_slice(axis, 0, n)]


def _slice(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    return (slice(None),) * axis + (slice(start, stop),)
