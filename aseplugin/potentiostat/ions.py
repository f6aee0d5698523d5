"""The mobile atoms: their momenta, their moves and their thermostat."""

import logging
import math
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from numpy.typing import NDArray

from voltase.aseplugin.electrochemistry import BOLTZMANN
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.potentiostat.thermostats import Bath, make_thermostat

logger = logging.getLogger(__name__)

# A net force below this share of the largest one means that nothing holds the system in place.
_NET_FORCE_SHARE = 1e-3


class Ions:
    """Positions and momenta of the atoms that FixAtoms leaves free, and their thermostat.

    Parameters
    ----------
    atoms : Atoms
        Read once; written back by :meth:`put_positions` and :meth:`put_momenta`.
    thermostat, tau
        See :func:`~voltase.aseplugin.potentiostat.thermostats.make_thermostat`.
    temperature_K : float or None
    timestep : float
        ASE units.
    rng : numpy.random.Generator
    fix_com : bool
        Keep the centre of mass at rest.

    Raises
    ------
    InputError
        If a constraint is not FixAtoms, or ``fix_com`` does not go with the rest.
    """

    def __init__(
        self,
        atoms: Atoms,
        *,
        thermostat: str,
        tau: float | None,
        temperature_K: float | None,
        timestep: float,
        rng: np.random.Generator,
        fix_com: bool,
    ) -> None:
        self.atoms = atoms
        self.free = free_atoms(atoms)
        self.masses = atoms.get_masses()[self.free][:, None]
        if not (self.masses > 0).all():
            raise InputError("masses: got some of zero or less, expected more than 0 for all atoms")
        self.positions = atoms.positions[self.free]
        self.momenta = atoms.get_momenta()[self.free]
        self._known = _fixed_quantities(atoms, self.free)
        self.heat = 0.0
        self._fix_com = fix_com
        everything_free = len(self.free) == len(atoms)
        if fix_com and not everything_free:
            raise InputError("fix_com: got True with fixed atoms, expected False, they hold it")
        self.degrees_of_freedom = 3 * len(self.free) - 3 * fix_com
        bath = Bath(self.masses, self.degrees_of_freedom, temperature_K, timestep, rng)
        self.thermostat = make_thermostat(thermostat, bath, tau)
        if fix_com and not self.thermostat.conserves_momentum:
            raise InputError(f"fix_com: got True with {thermostat}, which moves the centre of mass")
        self._may_drift = everything_free and self.thermostat.conserves_momentum and not fix_com

    def begin(self) -> None:
        """Before the first step of a run: stop the centre of mass, where it is to be held."""
        self._stop_com()
        self.put_momenta()

    def warn_if_adrift(self, forces: NDArray[np.float64]) -> None:
        """Log a warning if the total momentum is conserved but its temperature is counted."""
        largest = float(np.abs(forces).max(initial=0.0))
        net = float(np.abs(forces.sum(axis=0)).max())
        if self._may_drift and len(self.free) > 1 and net < _NET_FORCE_SHARE * largest:
            logger.warning(
                "no atom is fixed and the forces add up to zero: the centre of mass keeps its "
                "momentum, and 3 degrees of freedom too many are counted; see fix_com"
            )

    def kick(self, h: float, forces: NDArray[np.float64]) -> None:
        """Advance the momenta by h; forces on all atoms, eV/A."""
        self.momenta += h * forces[self.free]
        self._stop_com()

    def drift(self, h: float) -> None:
        """Advance the positions by h."""
        self.positions += h * self.momenta / self.masses

    def apply_thermostat(self) -> None:
        """One step of the thermostat; its heat is summed up."""
        self.heat += self.thermostat.apply(self.momenta)

    def _stop_com(self) -> None:
        if self._fix_com:
            velocity = self.momenta.sum(axis=0) / self.masses.sum()
            self.momenta -= self.masses * velocity

    def put_positions(self) -> NDArray[np.float64]:
        """Write the positions to the atoms; return how far each mobile one moved, A."""
        positions = self.atoms.arrays["positions"]
        moved: NDArray[np.float64] = self.positions - positions[self.free]
        positions[self.free] = self.positions
        return moved

    def put_momenta(self) -> None:
        """Write the momenta to the atoms; fixed ones get none."""
        momenta = np.zeros((len(self.atoms), 3))
        momenta[self.free] = self.momenta
        self.atoms.arrays["momenta"] = momenta

    def changed(self) -> str | None:
        """What of the atoms is no longer as it was read or last put there, or None."""
        atoms = self.atoms
        # First, as the others are of no meaning, nor of the same length, for other atoms.
        if not np.array_equal(atoms.numbers, self._known["numbers"]):
            return "numbers"
        if not np.array_equal(free_atoms(atoms), self.free):
            return "constraints"
        if not np.array_equal(atoms.get_momenta()[self.free], self.momenta):
            return "momenta"
        if not np.array_equal(atoms.positions[self.free], self.positions):
            return "positions"
        for name, value in _fixed_quantities(atoms, self.free).items():
            if not np.array_equal(value, self._known[name]):
                return name
        return None

    @property
    def kinetic_energy(self) -> float:
        """In eV."""
        return self.thermostat.bath.kinetic_energy(self.momenta)

    def temperature_of(self, kinetic_energy: float) -> float:
        """Temperature in K for a kinetic energy in eV; 0 if nothing is free to move."""
        if self.degrees_of_freedom == 0:
            return 0.0
        temperature = 2.0 * kinetic_energy / (self.degrees_of_freedom * BOLTZMANN)
        return temperature if not math.isnan(temperature) else math.inf


def _fixed_quantities(atoms: Atoms, free: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    """Copies of what a run does not change, by name."""
    return {
        "numbers": atoms.numbers.copy(),
        "masses": atoms.get_masses(),
        "cell": atoms.cell.array.copy(),
        "pbc": atoms.pbc.copy(),
        "positions": np.delete(atoms.positions, free, axis=0),
    }


def free_atoms(atoms: Atoms) -> NDArray[np.intp]:
    """Indices of the atoms that no FixAtoms holds.

    Raises
    ------
    InputError
        If there is a constraint of another kind.
    """
    mobile = np.ones(len(atoms), dtype=bool)
    for constraint in atoms.constraints:
        if not isinstance(constraint, FixAtoms):
            raise InputError(
                f"constraint: got {type(constraint).__name__}, expected FixAtoms, the only kind "
                "these integrators keep"
            )
        mobile[constraint.index] = False
    return np.flatnonzero(mobile)
