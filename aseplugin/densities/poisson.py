"""Planar averages and the electrostatic potential of charges in a cell, eps0 phi'' = -rho."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.fft

from voltase.aseplugin.electrochemistry import EPSILON_0
from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]


def solve_planar(charge: Array, height: float, boundary: str) -> Array:
    """Potential of a charge that depends on the height alone, exact for what the grid resolves.

    Parameters
    ----------
    charge : ndarray (nz,)
        e/A^3, at heights k/nz of a period.
    height : float
        Of the period, A.
    boundary : {"periodic", "open"}
        ``periodic``: no mean field, mean potential zero, the mean charge left out. ``open``: field
        and potential are zero at k = 0, which has to be in the vacuum; the field of a net charge
        leaves through the far end.

    Returns
    -------
    ndarray (nz,)
        V, of a positive test charge.

    Raises
    ------
    InputError
        If the boundary is unknown.
    """
    if boundary not in ("periodic", "open"):
        raise InputError(f"boundary: found '{boundary}', expected periodic or open")
    n = len(charge)
    k = 2.0 * np.pi / height * np.arange(n // 2 + 1)
    waves = np.fft.rfft(charge) / (EPSILON_0 * np.maximum(k, k[1] if n > 1 else 1.0) ** 2)
    waves[0] = 0.0
    potential = np.fft.irfft(waves, n)
    if boundary == "open":
        slope = 1j * k * waves
        slope[-1] = 0.0 if n % 2 == 0 else slope[-1]
        z = np.arange(n) * (height / n)
        # The mean charge, which the periodic solution leaves out, bends it like a parabola.
        potential -= potential[0] + np.fft.irfft(slope, n)[0] * z
        potential -= 0.5 * charge.mean() / EPSILON_0 * z**2
    return np.asarray(potential)


def solve_periodic(charge: Array, cell: Array) -> Array:
    """Periodic potential (nx, ny, nz) in V of a charge density in e/A^3, its mean zero.

    The mean charge is left out, as if a uniform background made the cell neutral.
    """
    recip = 2.0 * np.pi * np.linalg.inv(cell).T
    nx, ny, nz = charge.shape
    spectrum = scipy.fft.rfftn(charge)
    gx = np.fft.fftfreq(nx, 1.0 / nx)[:, None, None, None] * recip[0]
    gy = np.fft.fftfreq(ny, 1.0 / ny)[None, :, None, None] * recip[1]
    gz = np.arange(nz // 2 + 1)[:, None] * recip[2]
    for i in range(nx):
        square = ((gx[i] + gy[0] + gz) ** 2).sum(axis=-1)
        if i == 0:
            square[0, 0] = np.inf
        spectrum[i] /= EPSILON_0 * square
    return np.asarray(scipy.fft.irfftn(spectrum, charge.shape, overwrite_x=True))


def macroscopic_average(values: npt.ArrayLike, width: float, windows: tuple[float, float], *,
                        periodic: bool) -> Array:  # fmt: skip
    """Average over two windows in turn, which removes the oscillations of both materials.

    Baldereschi, Baroni and Resta, doi:10.1103/PhysRevLett.61.734, with a window of the period of
    each material (Junquera, Cohen and Rabe, doi:10.1088/0953-8984/19/21/213203). Exact for values
    that are linear between the points.

    Parameters
    ----------
    values : array_like (..., n + 1)
        At equally spaced points; of a periodic function the last is the first again.
    width : float
        Distance of the points, A.
    windows : (float, float)
        Widths of the windows, A; 0 for none.
    periodic : bool
        Otherwise the values go on as they end.

    Raises
    ------
    InputError
        If a window is negative or wider than the cell.
    """
    result = np.asarray(values, dtype=np.float64)
    n = result.shape[-1] - 1
    for window in windows:
        real = isinstance(window, int | float | np.number)
        if not (real and 0.0 <= window <= n * width):
            raise InputError(f"windows: found {window!r} A, expected 0 to {n * width:.4g} A")
        half = 0.5 * window / width
        if half == 0.0:
            continue
        pad = math.ceil(half) + 1
        if periodic:
            # The last point is the first of the next period.
            extended = result[..., np.arange(-pad, n + pad + 1) % n]
        else:
            extended = result[..., np.clip(np.arange(-pad, n + pad + 1), 0, n)]
        pieces = 0.5 * (extended[..., 1:] + extended[..., :-1])
        integral = np.concatenate(
            [np.zeros_like(pieces[..., :1]), np.cumsum(pieces, axis=-1)], axis=-1
        )

        def upto(x: Array, v: Array = extended, integral: Array = integral) -> Array:
            left = np.minimum(np.floor(x).astype(np.int64), v.shape[-1] - 2)
            t = x - left
            slope = v[..., left + 1] - v[..., left]
            return np.asarray(integral[..., left] + t * v[..., left] + 0.5 * t**2 * slope)

        middle = np.arange(n + 1) + float(pad)
        result = (upto(middle + half) - upto(middle - half)) / (2.0 * half)
    return result
