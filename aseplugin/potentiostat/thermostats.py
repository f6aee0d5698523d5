"""Thermostats, as the middle step of a splitting: each advances momenta at fixed positions.

All of them act between the two half drifts of a step (B A O A B), on the atoms or on the electron
number. Heat is energy given to the momenta.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from ase.units import fs
from numpy.typing import NDArray

from voltase.aseplugin.electrochemistry import thermal_energy
from voltase.aseplugin.errors import InputError

DEFAULT_TAU = 100 * fs


@dataclass
class Bath:
    """What a thermostat acts on.

    Attributes
    ----------
    masses : ndarray, shape (particles, 1)
        Of the mobile particles; any unit in which p^2/(2 m) is in eV.
    degrees_of_freedom : int
        Of their momenta.
    temperature_K : float or None
    timestep : float
        Interval of one application, ASE units.
    rng : numpy.random.Generator
    """

    masses: NDArray[np.float64]
    degrees_of_freedom: int
    temperature_K: float | None
    timestep: float
    rng: np.random.Generator

    def kinetic_energy(self, momenta: NDArray[np.float64]) -> float:
        """Sum p^2/(2 m) in eV."""
        return 0.5 * float(np.sum(momenta * momenta / self.masses))

    @property
    def kT(self) -> float:
        """In eV."""
        if self.temperature_K is None:
            raise InputError("temperature_K: got none, expected K, as a thermostat needs it")
        return thermal_energy(self.temperature_K)


class Thermostat(ABC):
    """Base of the thermostats."""

    name: ClassVar[str]
    conserves_momentum: ClassVar[bool]

    def __init__(self, bath: Bath) -> None:
        self.bath = bath

    @abstractmethod
    def apply(self, momenta: NDArray[np.float64]) -> float:
        """Advance the momenta in place by one time step; return the heat, eV."""

    @property
    def energy(self) -> float:
        """Energy of the thermostat's own variables, eV."""
        return 0.0

    def state(self) -> dict[str, Any]:
        """Its own variables, for a checkpoint."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:  # noqa: B027
        """The inverse of :meth:`state`."""


class NoThermostat(Thermostat):
    """Constant energy: with it, a step is velocity Verlet."""

    name = "nve"
    conserves_momentum = True

    def apply(self, momenta: NDArray[np.float64]) -> float:
        """Do nothing."""
        return 0.0


class _CoupledThermostat(Thermostat):
    """A thermostat with a time constant.

    Parameters
    ----------
    bath : Bath
    tau : float
        Relaxation time, ASE units.
    """

    def __init__(self, bath: Bath, tau: float = DEFAULT_TAU) -> None:
        super().__init__(bath)
        if not bath.timestep < tau < math.inf:
            raise InputError(
                f"tau: got {tau / fs:.4g} fs, expected more than the time step of "
                f"{bath.timestep / fs:.4g} fs"
            )
        self.tau = tau
        self.kT = bath.kT


class LangevinThermostat(_CoupledThermostat):
    """Exact Ornstein-Uhlenbeck step, friction 1/tau; with the drifts, BAOAB.

    Leimkuhler and Matthews, doi:10.1093/amrx/abs010.
    """

    name = "langevin"
    conserves_momentum = False

    def __init__(self, bath: Bath, tau: float = DEFAULT_TAU) -> None:
        super().__init__(bath, tau)
        self._decay = math.exp(-bath.timestep / tau)
        self._noise = np.sqrt((1.0 - self._decay**2) * self.kT * bath.masses)

    def apply(self, momenta: NDArray[np.float64]) -> float:
        """Damp and kick every momentum."""
        before = self.bath.kinetic_energy(momenta)
        momenta *= self._decay
        momenta += self._noise * self.bath.rng.standard_normal(momenta.shape)
        return self.bath.kinetic_energy(momenta) - before


class RescalingThermostat(_CoupledThermostat):
    """Stochastic velocity rescaling: the kinetic energy alone is thermostatted.

    Bussi, Donadio and Parrinello, doi:10.1063/1.2408420; the sign of the factor, which matters for
    few degrees of freedom, after Bussi and Parrinello, doi:10.1016/j.cpc.2008.01.006.
    """

    name = "svr"
    conserves_momentum = True

    def __init__(self, bath: Bath, tau: float = DEFAULT_TAU) -> None:
        super().__init__(bath, tau)
        self._decay = math.exp(-bath.timestep / tau)

    def apply(self, momenta: NDArray[np.float64]) -> float:
        """Rescale all momenta by one factor."""
        count = self.bath.degrees_of_freedom
        if count == 0:
            return 0.0
        before = self.bath.kinetic_energy(momenta)
        if before == 0.0:
            raise InputError("momenta: got all zero, expected some motion for svr to rescale")
        rng, decay = self.bath.rng, self._decay
        ratio = (1.0 - decay) * 0.5 * self.kT / before
        along = float(rng.standard_normal())
        across = float(rng.chisquare(count - 1)) if count > 1 else 0.0
        square = decay + ratio * (along**2 + across) + 2.0 * along * math.sqrt(decay * ratio)
        factor = math.copysign(math.sqrt(square), along + math.sqrt(decay / ratio))
        momenta *= factor
        return (square - 1.0) * before


class NoseHooverThermostat(_CoupledThermostat):
    """Chain of three Nose-Hoover thermostats; deterministic and time-reversible.

    Martyna et al., doi:10.1080/00268979600100761, with third-order Suzuki-Yoshida weights. Its heat
    is not summed up: ``energy`` is that of the chain, which enters the conserved quantity.

    Parameters
    ----------
    bath : Bath
    tau : float
        Period of the first thermostat over 2 pi, ASE units.
    """

    name = "nose-hoover"
    conserves_momentum = True
    _LENGTH = 3
    _WEIGHTS = (
        1.0 / (2.0 - 2.0 ** (1.0 / 3.0)),
        1.0 - 2.0 / (2.0 - 2.0 ** (1.0 / 3.0)),
        1.0 / (2.0 - 2.0 ** (1.0 / 3.0)),
    )

    def __init__(self, bath: Bath, tau: float = DEFAULT_TAU) -> None:
        super().__init__(bath, tau)
        count = max(bath.degrees_of_freedom, 1)
        scale = self.kT * tau**2
        self._masses = [count * scale] + [scale] * (self._LENGTH - 1)
        self._targets = [count * self.kT] + [self.kT] * (self._LENGTH - 1)
        self._positions = [0.0] * self._LENGTH
        self._velocities = [0.0] * self._LENGTH

    def apply(self, momenta: NDArray[np.float64]) -> float:
        """Advance the chain and rescale all momenta by what it asks for."""
        if self.bath.degrees_of_freedom == 0:
            return 0.0
        twice_kinetic = 2.0 * self.bath.kinetic_energy(momenta)
        total = 1.0
        for weight in self._WEIGHTS:
            step = weight * self.bath.timestep
            self._kick_chain(0.5 * step, twice_kinetic, inwards=True)
            factor = math.exp(-step * self._velocities[0])
            total *= factor
            twice_kinetic *= factor * factor
            for i in range(self._LENGTH):
                self._positions[i] += step * self._velocities[i]
            self._kick_chain(0.5 * step, twice_kinetic, inwards=False)
        momenta *= total
        return 0.0

    def _kick_chain(self, h: float, twice_kinetic: float, *, inwards: bool) -> None:
        """Advance the chain's velocities by h, from its end to the particles or back."""
        v, q = self._velocities, self._masses
        last = self._LENGTH - 1
        for i in reversed(range(last + 1)) if inwards else range(last + 1):
            driver = twice_kinetic if i == 0 else q[i - 1] * v[i - 1] ** 2
            kick = h * (driver - self._targets[i]) / q[i]
            drag = math.exp(-0.5 * h * v[i + 1]) if i < last else 1.0
            # Half of the drag on either side of the kick keeps the step reversible.
            v[i] = (v[i] * drag + kick) * drag

    @property
    def energy(self) -> float:
        """Kinetic and potential energy of the chain, eV."""
        kinetic = sum(q * v * v for q, v in zip(self._masses, self._velocities, strict=True))
        potential = sum(t * x for t, x in zip(self._targets, self._positions, strict=True))
        return 0.5 * kinetic + potential

    def state(self) -> dict[str, Any]:
        """Positions and velocities of the chain."""
        return {"positions": list(self._positions), "velocities": list(self._velocities)}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self._positions = [float(x) for x in state["positions"]]
        self._velocities = [float(v) for v in state["velocities"]]


THERMOSTATS: dict[str, type[Thermostat]] = {
    thermostat.name: thermostat
    for thermostat in (NoThermostat, LangevinThermostat, RescalingThermostat, NoseHooverThermostat)
}


def make_thermostat(name: str, bath: Bath, tau: float | None = None) -> Thermostat:
    """Thermostat by name, with its default time constant if ``tau`` (ASE units) is None.

    Raises
    ------
    InputError
        If the name is unknown, or a time constant comes with ``nve``.
    """
    if name not in THERMOSTATS:
        raise InputError(f"thermostat: got {name!r}, expected one of {', '.join(THERMOSTATS)}")
    kind = THERMOSTATS[name]
    if issubclass(kind, _CoupledThermostat):
        return kind(bath) if tau is None else kind(bath, tau)
    if tau is not None:
        raise InputError(f"tau: got {tau / fs:.4g} fs with nve, expected none")
    return kind(bath)
