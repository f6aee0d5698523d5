"""Adiabatic: n follows the solution of Phi(R, n) = Phi_t, at about one evaluation a step."""

import math
from typing import Any

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.potentiostat.arguments import check_real
from voltase.aseplugin.potentiostat.methods.base import CanonicalPotentiostat, RunContext

# Largest change of n by one correction, as the change of potential it should cause.
_MAX_CORRECTION = 1.0  # V


class PredictorNewton(CanonicalPotentiostat):
    """Linear prediction of n, and one Newton step where it misses; never more within a step.

    After each evaluation n* = n + C (Phi - Phi_t) estimates the solution; the next n is
    2 n*_k - n*_(k-1). If abs(Phi - Phi_t) there exceeds the tolerance, one Newton step and a second
    evaluation follow. C is measured only from such pairs, which share their positions.

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
        # n*_k and n*_(k-1), both for the present target; the second is missing at the start.
        self._solutions: list[float] = []
        self._work_rate = 0.0

    def start(self, target: float, excess_electrons: float | None) -> None:
        """First single point."""
        super().start(target, excess_electrons)
        self._solutions = [self._solution()]

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
        self._solutions = [n - self.capacitance * change for n in self._solutions]
        last, before = self._solutions[0], self._solutions[-1]
        self.n = 2.0 * last - before

    def evaluate(self) -> None:
        """Single point at the predicted n, and a second one if the prediction missed."""
        self.evaluate_near(self.n)
        self.evaluations += 1
        self._adopt_capacitance()
        if abs(self.current.potential - self.target) > self.tolerance:
            self._correct()
        self.work += self.n * self._work_rate
        self._solutions = [self._solution(), self._solutions[0]]

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
        return super().state() | counts | {"solutions": list(self._solutions)}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        super().load_state(state)
        self.evaluations = int(state["evaluations"])
        self.corrections = int(state["corrections"])
        self._solutions = [float(n) for n in state["solutions"]]
