"""Signs that a run has gone wrong, checked after every step."""

import math
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.potentiostat.contract import SinglePoint

_HOTTEST_K = 3000.0
_HOTTEST_FACTOR = 10.0


def default_max_temperature(temperature_K: float | None) -> float:
    """3000 K, or ten times the target temperature where that is more."""
    return max(_HOTTEST_K, _HOTTEST_FACTOR * (temperature_K or 0.0))


@dataclass(frozen=True)
class Guards:
    """Limits of a healthy run; each check returns what is wrong, or None.

    Parameters
    ----------
    max_temperature_K : float
        Of the ions.
    max_displacement : float
        Of one atom in one step, A.
    open_faces : ndarray, shape (3, axes)
        Positions times it are fractional coordinates along the axes atoms may not leave.
    """

    max_temperature_K: float
    max_displacement: float
    open_faces: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        atoms: Atoms,
        temperature_K: float | None,
        max_temperature_K: float | None,
        max_displacement: float,
        confine: bool | None,
    ) -> "Guards":
        """Guards of a run of ``atoms``; for ``confine`` see ConstantPotentialMD.

        Raises
        ------
        InputError
            If a limit is not positive, or atoms to be confined are outside the cell already.
        """
        if max_temperature_K is None:
            max_temperature_K = default_max_temperature(temperature_K)
        limits = {"max_temperature_K": max_temperature_K, "max_displacement": max_displacement}
        for name, value in limits.items():
            if not value > 0:
                raise InputError(f"{name}: got {value}, expected more than 0")
        faces = _open_faces(atoms)
        outside = _first_outside(atoms, faces)
        if confine and faces.shape[1] == 0:
            raise InputError("confine: got a cell without a non-periodic axis, expected one")
        if confine and outside is not None:
            raise InputError(f"confine: got atom {outside} outside the cell, expected all inside")
        if confine is False or outside is not None:
            faces = faces[:, :0]
        return cls(max_temperature_K, max_displacement, faces)

    @property
    def confines(self) -> bool:
        """Whether atoms are held to the cell."""
        return self.open_faces.shape[1] > 0

    def check_point(self, point: SinglePoint) -> str | None:
        """Whether energy, potential, n and forces are numbers."""
        scalars = {
            "energy": point.energy,
            "electrode_potential": point.potential,
            "excess_electrons": point.excess_electrons,
        }
        for name, value in scalars.items():
            if not math.isfinite(value):
                return f"{name}: got {value}"
        if not np.isfinite(point.forces).all():
            atom = int(np.flatnonzero(~np.isfinite(point.forces).all(axis=1))[0])
            return f"forces: got {point.forces[atom]} on atom {atom}"
        return None

    def check_displacement(self, displacements: NDArray[np.float64]) -> str | None:
        """Whether an atom jumped; displacements of one step, shape (mobile atoms, 3), A."""
        if displacements.size == 0:
            return None
        longest = math.sqrt(float(np.max(np.einsum("ij,ij->i", displacements, displacements))))
        if longest <= self.max_displacement:
            return None
        return (
            f"positions: an atom moved {longest:.3g} A in one step, expected "
            f"max_displacement {self.max_displacement:.3g} A or less"
        )

    def check_temperature(self, temperature_K: float) -> str | None:
        """Whether the ions are too hot."""
        if temperature_K <= self.max_temperature_K:
            return None
        return (
            f"temperature: got {temperature_K:.4g} K, expected max_temperature_K "
            f"{self.max_temperature_K:.4g} K or less"
        )

    def check_confined(self, atoms: Atoms) -> str | None:
        """Whether an atom left the cell through an open axis."""
        atom = _first_outside(atoms, self.open_faces)
        if atom is None:
            return None
        return f"positions: atom {atom} ({atoms.symbols[atom]}) left the cell at an open face"


def _open_faces(atoms: Atoms) -> NDArray[np.float64]:
    if atoms.cell.rank < 3:
        return np.zeros((3, 0))
    return np.linalg.inv(atoms.cell.array)[:, ~atoms.pbc]


def _first_outside(atoms: Atoms, faces: NDArray[np.float64]) -> int | None:
    if faces.shape[1] == 0:
        return None
    fractional = atoms.positions @ faces
    outside = (fractional < 0.0) | (fractional > 1.0)
    return int(np.flatnonzero(outside.any(axis=1))[0]) if outside.any() else None
