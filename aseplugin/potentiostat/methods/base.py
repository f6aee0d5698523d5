"""What every way of following the target potential has in common."""

import logging
import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from ase import Atoms

from voltase.aseplugin.errors import DynamicsError, InputError, ScfError
from voltase.aseplugin.potentiostat.contract import CANONICAL, ChargedModel, SinglePoint
from voltase.aseplugin.potentiostat.limits import Limits, guess_capacitance
from voltase.aseplugin.potentiostat.solver import solve_excess_electrons

logger = logging.getLogger(__name__)

# The estimate of the capacitance stays within this factor of the first one.
_CAPACITANCE_FACTOR = 3.0
# Of the solution for n before the first step, unless the user gives n or the calculator cannot
# tell potentials that close.
_START_TOLERANCE = 1e-3  # V
# Of a change of n at which a calculation did not converge, for the second try.
_RETRY_FRACTION = 0.5
_MAX_POTENTIAL_STEP = 2.0  # V


@dataclass
class RunContext:
    """What a potentiostat needs to know of its run.

    Attributes
    ----------
    atoms : Atoms
        Positions are current whenever the potentiostat is asked to evaluate.
    model : ChargedModel
    limits : Limits
    temperature_K : float or None
    timestep : float
        ASE units.
    rng : numpy.random.Generator
        Shared with the thermostat of the ions, in a fixed order of use.
    constant_energy : bool
        Whether the ions have no thermostat.
    capacitance : float or None
        The user's guess, e/V.
    area : float or None
        That n spreads over, to guess a capacitance by, A^2.
    """

    atoms: Atoms
    model: ChargedModel
    limits: Limits
    temperature_K: float | None
    timestep: float
    rng: np.random.Generator
    constant_energy: bool
    capacitance: float | None = None
    area: float | None = None


class Potentiostat(ABC):
    """Owner of n, of its momentum if it has one, and of the energy that goes through them.

    One step of the dynamics calls ``kick(dt/2)``, ``drift(dt/2)``, ``midpoint(target)``,
    ``drift(dt/2)``, ``evaluate()`` and ``kick(dt/2)``, each beside the same move of the ions; the
    target potential of the next step takes effect at the midpoint.

    Attributes
    ----------
    n : float
        Excess electrons, e.
    target : float
        Absolute potential, V.
    point : SinglePoint
        At the present positions and n.
    heat : float
        Energy given to the electrode by its thermostat, eV, summed up.
    work : float
        Energy given to the system by changes of the target, eV, summed up.
    """

    name: ClassVar[str]
    ensemble: ClassVar[str] = CANONICAL

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.n = 0.0
        self.target = 0.0
        self.heat = 0.0
        self.work = 0.0
        self.point: SinglePoint | None = None
        self.first_capacitance = math.nan
        self.capacitance = math.nan

    @abstractmethod
    def start(self, target: float, excess_electrons: float | None) -> None:
        """First single point, at step 0; sets n unless it is given."""

    def kick(self, h: float) -> None:  # noqa: B027
        """Advance the momentum of n by h, if it has one."""

    def drift(self, h: float) -> None:  # noqa: B027
        """Advance n by h, if it moves with the ions."""

    @abstractmethod
    def midpoint(self, target: float) -> None:
        """Half way through a step: adopt the next target, then what acts at fixed positions."""

    @abstractmethod
    def evaluate(self) -> None:
        """Single point at the end of the drift; sets ``point`` and ``n``."""

    @property
    def current(self) -> SinglePoint:
        """``point`` of a potentiostat that has been started."""
        if self.point is None:
            raise DynamicsError("the potentiostat has not been started")
        return self.point

    @property
    def conserved_energy(self) -> float:
        """The electrode's and the model's share of the conserved quantity, eV."""
        return self.current.energy + self.target * self.n - self.heat - self.work

    def state(self) -> dict[str, Any]:
        """Everything a restart needs, as scalars, lists and arrays."""
        return {
            "n": self.n,
            "target": self.target,
            "heat": self.heat,
            "work": self.work,
            "first_capacitance": self.first_capacitance,
            "capacitance": self.capacitance,
            "point": asdict(self.current),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        for name in ("n", "target", "heat", "work", "first_capacitance", "capacitance"):
            setattr(self, name, float(state[name]))
        self.point = SinglePoint(**state["point"])


class CanonicalPotentiostat(Potentiostat):
    """Base of those that move n themselves, over a calculator of E(R, n)."""

    def start(self, target: float, excess_electrons: float | None) -> None:
        """Single point at the given n, or at the n that has the target potential."""
        self.target = target
        if excess_electrons is not None:
            self.n = float(excess_electrons)
            self.evaluate_at(self.n)
            self._first_capacitance(self.current.capacitance)
            return
        self._first_capacitance(None)
        solution = solve_excess_electrons(
            self._potential_at,
            target,
            start=float(self.context.model.calculator.excess_electrons or 0.0),
            capacitance=self.capacitance,
            tolerance=max(_START_TOLERANCE, self._potential_tolerance()),
            max_step=_MAX_POTENTIAL_STEP * self.capacitance,
            bounds=self.context.limits.solver_bounds,
        )
        self.n = solution.excess_electrons
        known = self.current.capacitance
        if self.context.capacitance is None and known is not None:
            self._first_capacitance(known)
        elif solution.measured:
            self.update_capacitance(solution.capacitance)

    def _potential_tolerance(self) -> float:
        return float(getattr(self.context.model.calculator, "potential_tolerance", 0.0))

    def _potential_at(self, n: float) -> tuple[float, float | None]:
        self.evaluate_at(n)
        return self.current.potential, self.current.capacitance

    def _first_capacitance(self, known: float | None) -> None:
        guess = self.context.capacitance
        if guess is None:
            guess = known if known is not None else guess_capacitance(self.context.area)
        if not 0 < guess < math.inf:
            raise InputError(f"capacitance: got {guess} e/V, expected more than 0")
        self.first_capacitance = self.capacitance = float(guess)

    def update_capacitance(self, estimate: float) -> None:
        """Adopt an estimate of -dn/dPhi, e/V, within a factor of 3 of the first; refuse C <= 0."""
        if not 0 < estimate < math.inf:
            logger.warning(
                "capacitance: measured %.4g e/V, kept %.4g e/V", estimate, self.capacitance
            )
            return
        low = self.first_capacitance / _CAPACITANCE_FACTOR
        high = self.first_capacitance * _CAPACITANCE_FACTOR
        self.capacitance = min(max(estimate, low), high)

    def evaluate_at(self, n: float) -> None:
        """Single point at the present positions and ``n``, inside the limits of the run."""
        self.context.limits.check_n(n)
        self.point = self.context.model.evaluate(self.context.atoms, n)

    def evaluate_near(self, n: float) -> None:
        """Single point at ``n``, or nearer to the n of the last one, if it does not converge.

        Back to the last good state and half of the change of n, once: the ions' positions would
        be the same again, as they do not depend on it. Sets ``n`` to where the point is.

        Raises
        ------
        ScfError
            If the second try does not converge either.
        """
        last = self.current.excess_electrons
        try:
            self.evaluate_at(n)
        except ScfError as error:
            nearer = last + _RETRY_FRACTION * (n - last)
            logger.warning("%s at n = %.6g e; back to the last point, n = %.6g e, and half of the "
                           "change: n = %.6g e", error, n, last, nearer)  # fmt: skip
            self.evaluate_at(nearer)
            n = nearer
        self.n = n

    def evaluate(self) -> None:
        """Single point at the present n; see :meth:`evaluate_near`."""
        wanted = self.n
        self.evaluate_near(wanted)
        # What the change of n does to E + Phi_t n is not the dynamics' own.
        self.heat += (self.target - self.current.potential) * (self.n - wanted)
