"""Whether labels agree with one another: -dE/dn of canonical energies is the potential."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from voltase.aseplugin.labelling.points import Point

LEAST_STEP = 0.02
"""Two points nearer in n (e) say nothing: self-consistency leaves up to 1 meV in the energy."""


@dataclass(frozen=True)
class Slope:
    """Two neighbouring points of a geometry.

    Attributes
    ----------
    geometry : str
    potential : float
        Mean of the two absolute potentials, V.
    slope : float
        -(E2 - E1)/(n2 - n1), V; equals the mean up to third order in the step if the energies are
        canonical and the potentials are theirs.
    """

    geometry: str
    potential: float
    slope: float


def energy_slopes(points: Iterable[Point]) -> list[Slope]:
    """Slopes between neighbours in n of each geometry, those too close together left out."""
    found = []
    known = (point for point in points if point.potential is not None)
    ordered = sorted(known, key=lambda point: (point.geometry, point.excess_electrons))
    for geometry, group in groupby(ordered, key=lambda point: point.geometry):
        last: Point | None = None
        for point in group:
            if last is None:
                last = point
                continue
            step = point.excess_electrons - last.excess_electrons
            if step < LEAST_STEP:
                continue
            assert point.potential is not None
            assert last.potential is not None
            mean = 0.5 * (point.potential + last.potential)
            found.append(Slope(geometry, mean, -(point.energy - last.energy) / step))
            last = point
    return found


def rms_difference(slopes: Sequence[Slope]) -> float | None:
    """Root mean square of slope - potential, V; None without slopes."""
    if not slopes:
        return None
    return float(np.sqrt(np.mean([(each.slope - each.potential) ** 2 for each in slopes])))
