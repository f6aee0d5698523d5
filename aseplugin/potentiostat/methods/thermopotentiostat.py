"""Overdamped exchange of electrons with a bath at the target potential."""

import logging
import math

from ase.units import fs

from voltase.aseplugin.electrochemistry import thermal_energy
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.potentiostat.arguments import check_real
from voltase.aseplugin.potentiostat.methods.base import CanonicalPotentiostat, RunContext

logger = logging.getLogger(__name__)

# Above it, an error in the capacitance shows in the fluctuations of n.
_MAX_GAIN = 0.2


class Thermopotentiostat(CanonicalPotentiostat):
    """n += C (Phi - Phi_t)(1 - e^-x) + sqrt(kT C (1 - e^-2x)) xi, with x = dt/tau.

    One evaluation a step.

    Deissenbeck, Freysoldt, Todorova, Neugebauer and Wippermann,
    doi:10.1103/PhysRevLett.126.136803. C is that known at the start. With the right one the
    variance of n at fixed positions is kT C exactly; with an estimate c of it,
    var(n)/(kT C) = (c/C)(1 - e^-2x)/(1 - (1 - g)^2) with g = (c/C)(1 - e^-x).

    n moves between the half drifts, by the potential evaluated before them. The heat of that move,
    E + Phi_t n after it less before it, is taken by the trapezoid rule over the two evaluations
    around it, so it needs no capacitance and no evaluation of its own; its error is of second
    order in the time step and has no mean.

    Parameters
    ----------
    context : RunContext
        With a temperature, also where the ions have no thermostat.
    tau : float
        Relaxation time of n, ASE units.
    """

    name = "thermopotentiostat"

    def __init__(self, context: RunContext, tau: float = 100 * fs) -> None:
        super().__init__(context)
        check_real(tau=tau, optional=False)
        if context.temperature_K is None:
            raise InputError("temperature_K: got none, expected K for the thermopotentiostat")
        if not context.timestep <= tau < math.inf:
            raise InputError(
                f"tau: got {tau / fs:.4g} fs, expected the time step of "
                f"{context.timestep / fs:.4g} fs or more"
            )
        ratio = context.timestep / tau
        self._gain = -math.expm1(-ratio)
        self._noise = -math.expm1(-2.0 * ratio)
        if self._gain > _MAX_GAIN:
            logger.warning("tau: %.4g fs is short, n is damped by more than 1/5 a step", tau / fs)
        self._kT = thermal_energy(context.temperature_K)
        self._move = 0.0
        self._potential_before = math.nan

    def midpoint(self, target: float) -> None:
        """Adopt the target, then exchange electrons."""
        self.work += self.n * (target - self.target)
        self.target = target
        self._potential_before = self.current.potential
        drift = self.capacitance * self._gain * (self._potential_before - target)
        width = math.sqrt(self._kT * self.capacitance * self._noise)
        self._move = drift + width * float(self.context.rng.standard_normal())
        self.n += self._move

    def evaluate(self) -> None:
        """Single point at the present n, and the heat of the move that led there."""
        super().evaluate()
        mean_potential = 0.5 * (self._potential_before + self.current.potential)
        self.heat += (self.target - mean_potential) * self._move
