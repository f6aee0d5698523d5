"""Charges of the atoms, and their density along the surface normal."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numba
import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers, chemical_symbols

from voltase.analysis.counting import EDGE
from voltase.analysis.scene import Scene
from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

REACH = 6.5
"""Standard deviations beyond which a Gaussian is over; 8e-11 of it lies outside."""


def fixed_charges(charges: Mapping[str, float] | None, numbers: Indices, slab: npt.NDArray[np.bool_]
                  ) -> Array | None:  # fmt: skip
    """Charges (n_atoms,) in e from those by element; None if none are given.

    Raises
    ------
    InputError
        If an element outside the slab has none, or what has one is no element.
    """
    if charges is None:
        return None
    for symbol, charge in charges.items():
        if symbol not in atomic_numbers or not np.isfinite(charge):
            raise InputError(f"charges: found {symbol!r}: {charge}, expected e by element")
    outside = {chemical_symbols[k] for k in np.unique(numbers[~slab])}
    missing = sorted(outside - set(charges))
    if missing:
        raise InputError(f"charges: found none of {', '.join(missing)}, expected one in e")
    by_number = np.zeros(len(chemical_symbols))
    for symbol, charge in charges.items():
        by_number[atomic_numbers[symbol]] = charge
    return by_number[numbers]


def frame_charges(scene: Scene, fixed: Array | None) -> Array:
    """Charges (n_atoms,) of a frame in e: the given ones, else the trajectory's.

    Raises
    ------
    InputError
        If there are none, or they do not fit the atoms.
    """
    if fixed is not None:
        return fixed
    stored = scene.ts.data.get("charges")
    if stored is None:
        raise InputError(
            f"charges: found none in frame {scene.frame} of the trajectory, expected them there or "
            "by element, such as {'O': -0.8476, 'H': 0.4238}"
        )
    charges = np.asarray(stored, dtype=np.float64)
    if charges.shape != scene.numbers.shape or not np.isfinite(charges).all():
        raise InputError(
            f"charges: found shape {charges.shape} or not finite in frame {scene.frame}, expected "
            f"one for each of {len(scene.numbers)} atoms"
        )
    return charges


def widest_gap(heights: Array, period: float) -> tuple[float, float]:
    """Width and middle of the widest interval without a point on a circle, A."""
    ordered = np.sort(heights % period)
    gaps = np.diff(np.append(ordered, ordered[0] + period))
    k = int(np.argmax(gaps))
    return float(gaps[k]), float((ordered[k] + 0.5 * gaps[k]) % period)


@numba.njit(cache=True)
def deposit(heights: Array, charges: Array, sigma: float, width: float, bins: int, periodic: bool
            ) -> tuple[Array, Array]:  # fmt: skip
    """Charge in every bin and its moment about the bin's right edge, of points or Gaussians.

    Of a Gaussian, the charge below x is P = (1 + erf((x - z)/(sigma sqrt 2)))/2, and the integral
    of P up to x is S = (x - z) P + sigma g, g the normal density; so both are exact.
    """
    charge = np.zeros(bins)
    moment = np.zeros(bins)
    for a in range(len(heights)):
        z, q = heights[a], charges[a]
        if q == 0.0:
            continue
        if sigma <= 0.0:
            k = int(np.floor((z + EDGE) / width))
            place = k % bins
            charge[place] += q
            moment[place] += q * ((k + 1) * width - z)
            continue
        low = int(np.floor((z - REACH * sigma) / width))
        high = int(np.ceil((z + REACH * sigma) / width))
        p0, s0 = 0.0, 0.0
        for k in range(low, high):
            x = (k + 1) * width - z
            if k == high - 1:
                p1, s1 = 1.0, x
            else:
                t = x / sigma
                p1 = 0.5 * math.erfc(-t * 0.7071067811865476)
                s1 = x * p1 + sigma * 0.3989422804014327 * math.exp(-0.5 * t * t)
            place = k % bins if periodic else min(max(k, 0), bins - 1)
            charge[place] += q * (p1 - p0)
            moment[place] += q * (s1 - s0 - width * p0)
            p0, s0 = p1, s1
    return charge, moment
