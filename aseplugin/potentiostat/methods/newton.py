"""Adiabatic: n follows the solution of Phi(R, n) = Phi_t, at about one evaluation a step."""

import math
from typing import Any

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.potentiostat.arguments import check_real
from voltase.aseplugin.potentiostat.extrapolation import Extrapolation
from voltase.aseplugin.potentiostat.methods.base import CanonicalPotentiostat, RunContext

# Largest change of n by one correction, as the change of potential it should cause.
_MAX_CORRECTION = 1.0  # V


class PredictorNewton(CanonicalPotentiostat):
    """Prediction of n, and one Newton step where it misses; never more within a step.

    After each evaluation n* = n + C (Phi - Phi_t) estimates the solution; the next n continues the
    last of them, at first along the line 2 n*_k - n*_(k-1), later by the polynomial that has
    foretold them best (:class:`~voltase.aseplugin.potentiostat.extrapolation.Extrapolation`):
    potentials of self-consistent calculations are noisy, which a line through two values doubles.
    If abs(Phi - Phi_t) there exceeds the tolerance, one Newton step and a second evaluation
    follow. C is measured only from such pairs, which share their positions.

    n has no fluctuations of its own: this samples Omega(R, Phi_t), without the kT C of an
    electrode that exchanges electrons with a bath.

    Parameters
    ----------
    context : RunContext
    tolerance : float
        Of a prediction, V.
    """

    name = "newton"

    def __init__(self, context: RunContext, tolerance: float = 0.01) -> None:
        super().__init__(context)
        check_real(tolerance=tolerance, optional=False)
        if not 0 < tolerance < math.inf:
            raise InputError(f"tolerance: got {tolerance} V, expected more than 0")
        self.tolerance = tolerance
        self.evaluations = 0
        self.corrections = 0
        # Of n*, for the present target.
        self._solutions = Extrapolation()
        self._work_rate = 0.0

    def start(self, target: float, excess_electrons: float | None) -> None:
        """First single point."""
        super().start(target, excess_electrons)
        self._solutions.append(self._solution())

    def _solution(self) -> float:
        return self.n + self._newton_step()

    def _newton_step(self) -> float:
        deviation = self.current.potential - self.target
        return self.capacitance * min(max(deviation, -_MAX_CORRECTION), _MAX_CORRECTION)

    def midpoint(self, target: float) -> None:
        """Adopt the target and predict n at the end of the step."""
        change = target - self.target
        # The rest of the trapezoid rule for n dPhi_t follows at the end of the step.
        self.work += 0.5 * self.n * change
        self._work_rate = 0.5 * change
        self.target = target
        self._solutions.shift(-self.capacitance * change)
        self.n = self._solutions.predict()

    def evaluate(self) -> None:
        """Single point at the predicted n, and a second one if the prediction missed."""
        self.evaluate_near(self.n)
        self.evaluations += 1
        self._adopt_capacitance()
        if abs(self.current.potential - self.target) > self.tolerance:
            self._correct()
        self.work += self.n * self._work_rate
        self._solutions.append(self._solution())

    def _correct(self) -> None:
        n, potential = self.n, self.current.potential
        self.evaluate_near(self._solution())
        self.evaluations += 1
        self.corrections += 1
        if self.current.capacitance is not None:
            self._adopt_capacitance()
        elif potential != self.current.potential:
            self.update_capacitance((self.n - n) / (potential - self.current.potential))

    def _adopt_capacitance(self) -> None:
        if self.current.capacitance is not None:
            self.update_capacitance(self.current.capacitance)

    def state(self) -> dict[str, Any]:
        """Everything a restart needs."""
        counts = {"evaluations": self.evaluations, "corrections": self.corrections}
        return super().state() | counts | {"solutions": self._solutions.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        super().load_state(state)
        self.evaluations = int(state["evaluations"])
        self.corrections = int(state["corrections"])
        self._solutions.load_state(state["solutions"])
