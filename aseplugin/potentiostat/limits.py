"""Ranges of the electron number and of the potential that a run may not leave."""

import logging
import math
from dataclasses import dataclass
from typing import Any

from voltase.aseplugin.electrochemistry import capacitance_from_areal
from voltase.aseplugin.errors import ExtrapolationError, InputError

logger = logging.getLogger(__name__)

# First guess of a metal-water interface, as GPAW's SJM takes it.
DEFAULT_AREAL_CAPACITANCE = 10.0  # uF/cm2

# Far beyond any electrode, 160 uC/cm2: n has run away.
RUNAWAY_PER_AREA = 0.1  # e/A^2

UNBOUNDED = (-math.inf, math.inf)


def guess_capacitance(area: float | None) -> float:
    """10 uF/cm2 over an area in A^2, in e/V.

    Raises
    ------
    InputError
        If there is no area.
    """
    if area is None:
        raise InputError("capacitance: got none, expected e/V, as the cell has no area to guess by")
    return capacitance_from_areal(DEFAULT_AREAL_CAPACITANCE, area)


@dataclass
class Limits:
    """Hard bounds on n and a calculator's training ranges.

    Parameters
    ----------
    n_bounds : (float, float)
        n in e; never waived.
    n_range : (float, float)
        The calculator's ``excess_electrons_per_area_range`` times the area, e.
    potential_range : (float, float)
        The calculator's ``potential_range``, absolute V.
    allow_extrapolation : bool
        Log a warning, once, instead of raising where only a training range is left.
    """

    n_bounds: tuple[float, float] = UNBOUNDED
    n_range: tuple[float, float] = UNBOUNDED
    potential_range: tuple[float, float] = UNBOUNDED
    allow_extrapolation: bool = False
    _warned: bool = False

    @classmethod
    def of(
        cls,
        calculator: Any,
        area: float | None,
        n_bounds: tuple[float, float] | None = None,
        allow_extrapolation: bool = False,
    ) -> "Limits":
        """Limits of a run of ``calculator`` whose n spreads over ``area``, A^2.

        Without bounds and without a training range, n is stopped at 0.1 e/A^2, as it has run away.
        """
        per_area = getattr(calculator, "excess_electrons_per_area_range", None)
        low, high = UNBOUNDED
        if n_bounds is not None:
            low, high = _interval("n_bounds", n_bounds)
        elif per_area is None and area is not None:
            low, high = -RUNAWAY_PER_AREA * area, RUNAWAY_PER_AREA * area
        n_range = UNBOUNDED
        if per_area is not None:
            if area is None:
                raise InputError(
                    "cell: got no area, expected two cell vectors along the surface, as the "
                    "calculator is trained on a range of electrons per area"
                )
            first, last = _interval("excess_electrons_per_area_range", per_area)
            n_range = (first * area, last * area)
        potential = getattr(calculator, "potential_range", None)
        potential_range = UNBOUNDED
        if potential is not None:
            potential_range = _interval("potential_range", potential)
        allow_extrapolation |= bool(getattr(calculator, "allow_extrapolation", False))
        return cls((low, high), n_range, potential_range, allow_extrapolation)

    @property
    def solver_bounds(self) -> tuple[float, float]:
        """Interval of n to search for a solution in, e."""
        if self.allow_extrapolation:
            return self.n_bounds
        (low, high), (first, last) = self.n_bounds, self.n_range
        return (max(low, first), min(high, last))

    def check_n(self, n: float) -> None:
        """Raise :class:`ExtrapolationError` if n is out of bounds."""
        low, high = self.n_bounds
        # Written so that not-a-number counts as outside; a few comparisons on most steps.
        if not low <= n <= high:
            raise ExtrapolationError(
                f"excess_electrons: got {n:.6g} e, expected n_bounds {low:.6g} to {high:.6g} e"
            )
        low, high = self.n_range
        if not low <= n <= high:
            self._report(
                f"excess_electrons: got {n:.6g} e, expected the model's training range "
                f"{low:.6g} to {high:.6g} e for this area"
            )

    def check_potential(self, phi: float, name: str = "potential") -> None:
        """Raise :class:`ExtrapolationError` if a Phi (absolute, V) is out of range."""
        low, high = self.potential_range
        if not low <= phi <= high:
            self._report(
                f"{name}: got {phi:.6g} V (absolute), expected the model's training range "
                f"{low:.6g} to {high:.6g} V (absolute)"
            )

    def _report(self, message: str) -> None:
        if not self.allow_extrapolation:
            raise ExtrapolationError(f"{message}; allow_extrapolation=True waives this")
        if not self._warned:
            logger.warning("%s; going on, as extrapolation is allowed", message)
            self._warned = True


def _interval(name: str, value: Any) -> tuple[float, float]:
    try:
        low, high = (float(bound) for bound in value)
    except (TypeError, ValueError):
        raise InputError(f"{name}: got {value!r}, expected (lowest, highest)") from None
    if not low < high:
        raise InputError(f"{name}: got {value!r}, expected the lower bound first")
    return low, high
