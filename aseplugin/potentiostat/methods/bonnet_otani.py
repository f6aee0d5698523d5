"""Extended Lagrangian: n is a particle of its own, at the temperature of the ions."""

import math
from typing import Any

import numpy as np
from ase.units import fs

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.potentiostat.arguments import check_real
from voltase.aseplugin.potentiostat.methods.base import CanonicalPotentiostat, RunContext
from voltase.aseplugin.potentiostat.thermostats import Bath, NoThermostat, make_thermostat

# Fewer steps in a period than this and the splitting no longer resolves the motion of n.
_MIN_STEPS_PER_PERIOD = 10


class BonnetOtani(CanonicalPotentiostat):
    """M n'' = Phi(R, n) - Phi_t, in the same splitting as the ions; one evaluation a step.

    Samples the grand-canonical ensemble: at fixed positions n fluctuates with variance kT C.
    Bonnet et al., doi:10.1103/PhysRevLett.109.266101.

    Parameters
    ----------
    context : RunContext
    period : float
        Period of n at fixed positions, ASE units; the mass is (period/2 pi)^2/C, with the
        capacitance known at the start.
    thermostat : str, optional
        Of n: ``langevin`` (default), ``svr``, ``nose-hoover`` or ``nve``; ``nve`` is the default
        where the ions have none.
    tau : float, optional
        Time constant of that thermostat, ASE units; 200 fs by default.
    """

    name = "bonnet-otani"

    def __init__(
        self,
        context: RunContext,
        period: float = 150 * fs,
        thermostat: str | None = None,
        tau: float | None = None,
    ) -> None:
        super().__init__(context)
        check_real(period=period, optional=False)
        check_real(tau=tau)
        if not _MIN_STEPS_PER_PERIOD * context.timestep <= period < math.inf:
            raise InputError(
                f"period: got {period / fs:.4g} fs, expected {_MIN_STEPS_PER_PERIOD} time steps "
                f"of {context.timestep / fs:.4g} fs or more"
            )
        self.period = period
        self.thermostat_name = thermostat or ("nve" if context.constant_energy else "langevin")
        self.tau = 200 * fs if tau is None and self.thermostat_name != "nve" else tau
        self.momentum = np.zeros((1, 1))
        self._prepare(math.nan)

    def _prepare(self, mass: float) -> None:
        self.mass = mass
        context = self.context
        bath = Bath(np.full((1, 1), mass), 1, context.temperature_K, context.timestep, context.rng)
        self.thermostat = make_thermostat(self.thermostat_name, bath, self.tau)

    def start(self, target: float, excess_electrons: float | None) -> None:
        """First single point; the momentum of n is drawn at the temperature, if there is one."""
        super().start(target, excess_electrons)
        self._prepare((self.period / (2 * math.pi)) ** 2 / self.capacitance)
        if not isinstance(self.thermostat, NoThermostat):
            width = math.sqrt(self.mass * self.thermostat.bath.kT)
            self.momentum[:] = width * self.context.rng.standard_normal()

    @property
    def kinetic_energy(self) -> float:
        """M n'^2/2 in eV."""
        return 0.5 * self.momentum.item() ** 2 / self.mass

    def kick(self, h: float) -> None:
        """Advance the momentum of n by h."""
        self.momentum += h * (self.current.potential - self.target)

    def drift(self, h: float) -> None:
        """Advance n by h."""
        self.n += h * self.momentum.item() / self.mass

    def midpoint(self, target: float) -> None:
        """Adopt the target at the present n, then thermostat the momentum."""
        self.work += self.n * (target - self.target)
        self.target = target
        self.heat += self.thermostat.apply(self.momentum)

    @property
    def conserved_energy(self) -> float:
        """E + Phi_t n + M n'^2/2, less heat and work, eV."""
        return super().conserved_energy + self.kinetic_energy + self.thermostat.energy

    def state(self) -> dict[str, Any]:
        """Everything a restart needs."""
        own = {"momentum": self.momentum.item(), "mass": self.mass}
        return super().state() | own | {"thermostat": self.thermostat.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        super().load_state(state)
        self._prepare(float(state["mass"]))
        self.momentum[:] = float(state["momentum"])
        self.thermostat.load_state(state["thermostat"])
