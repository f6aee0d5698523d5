"""The electron number at which an electrode has a given potential, at fixed positions."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

from voltase.aseplugin.errors import ExtrapolationError, InputError, VoltaseError

logger = logging.getLogger(__name__)

# How far a slope measured between two close points may leave the one before it.
_SLOPE_LIMIT = 10.0


class ConvergenceError(VoltaseError):
    """An iteration that did not reach its tolerance."""


@dataclass(frozen=True)
class ChargeSolution:
    """Where the solver stopped.

    Attributes
    ----------
    excess_electrons : float
        n, e.
    potential : float
        Absolute Phi at n, V; within the tolerance of the target.
    capacitance : float
        Last estimate of -dn/dPhi, e/V.
    measured : bool
        Whether that estimate was measured here, rather than the guess passed in.
    evaluations : int
        Calls of ``potential_at``.
    """

    excess_electrons: float
    potential: float
    capacitance: float
    measured: bool
    evaluations: int


def solve_excess_electrons(
    potential_at: Callable[[float], tuple[float, float | None]],
    target: float,
    *,
    start: float,
    capacitance: float,
    tolerance: float,
    max_iterations: int = 30,
    max_step: float = math.inf,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> ChargeSolution:
    """Solve Phi(n) = target by Newton or secant steps kept inside a bracket.

    Phi falls with n, so each evaluation says on which side of it the solution lies. A step that
    would leave the interval known so far, or that fails to shrink it, is replaced by a bisection.

    Parameters
    ----------
    potential_at : callable
        n (e) -> Phi (absolute, V) and -dn/dPhi (e/V), or None for a secant estimate of it.
    target : float
        Absolute potential, V.
    start : float
        First n to try, e.
    capacitance : float
        Guess of -dn/dPhi, e/V, more than 0.
    tolerance : float
        On abs(Phi - target), V.
    max_iterations : int
        Most calls of ``potential_at``.
    max_step : float
        Largest change of n in one iteration, e.
    bounds : (float, float)
        n never leaves them.

    Raises
    ------
    ConvergenceError
        If the tolerance is not reached, or Phi is not finite.
    ExtrapolationError
        If the solution lies outside the bounds.
    """
    _check_positive(capacitance=capacitance, tolerance=tolerance, max_step=max_step)
    search = _Search(bounds, capacitance, max_step)
    n = min(max(start, bounds[0]), bounds[1])
    residual = math.nan
    for iteration in range(1, max_iterations + 1):
        phi, slope = potential_at(n)
        residual = phi - target
        if not math.isfinite(residual):
            raise ConvergenceError(f"electrode_potential: got {phi} V at n = {n:.6g} e")
        search.update(n, residual, slope)
        if abs(residual) <= tolerance:
            return ChargeSolution(n, phi, search.capacitance, search.measured, iteration)
        n = search.propose()
    raise ConvergenceError(
        f"electrode_potential: {abs(residual):.2g} V from {target:.6g} V after {max_iterations} "
        f"evaluations, expected {tolerance:.2g} V"
    )


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise InputError(f"{name}: got {value}, expected more than 0")


class _Search:
    """The points seen so far and where to go next."""

    def __init__(self, bounds: tuple[float, float], capacitance: float, max_step: float) -> None:
        self.bounds = bounds
        self.capacitance = capacitance
        self.measured = False
        self.max_step = max_step
        # Phi is above the target at the first and below it at the second.
        self.bracket = (-math.inf, math.inf)
        self.n = math.nan
        self.residual = math.nan
        self._improves = True

    def update(self, n: float, residual: float, slope: float | None) -> None:
        previous = (self.n, self.residual)
        self.n, self.residual = n, residual
        # A step that does not halve the residual had a slope that is no guide here.
        self._improves = not abs(residual) > 0.5 * abs(previous[1])
        if residual > 0:
            self.bracket = (n, self.bracket[1])
        else:
            self.bracket = (self.bracket[0], n)
        self._update_capacitance(previous, slope)

    def _update_capacitance(self, previous: tuple[float, float], slope: float | None) -> None:
        if slope is None and math.isfinite(previous[0]) and previous[1] != self.residual:
            slope = (self.n - previous[0]) / (previous[1] - self.residual)
            low, high = self.capacitance / _SLOPE_LIMIT, self.capacitance * _SLOPE_LIMIT
            slope = min(max(slope, low), high) if slope > 0 else slope
        if slope is not None and slope > 0 and math.isfinite(slope):
            self.capacitance, self.measured = slope, True

    def propose(self) -> float:
        step = min(max(self.capacitance * self.residual, -self.max_step), self.max_step)
        n = min(max(self.n + step, self.bounds[0]), self.bounds[1])
        if n == self.n and n in self.bounds:
            raise ExtrapolationError(
                f"excess_electrons: the potential asked for lies beyond {n:.6g} e, expected it "
                f"within {self.bounds[0]:.6g} to {self.bounds[1]:.6g} e"
            )
        low, high = self.bracket
        inside = low < n < high
        return n if inside and self._improves or math.isinf(high - low) else 0.5 * (low + high)
