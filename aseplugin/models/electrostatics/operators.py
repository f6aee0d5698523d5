"""What a solver asks of an electrostatic interaction: products, not a matrix."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.errors import AccuracyError

Array = npt.NDArray[np.float64]


class Derivatives(NamedTuple):
    """Of a number that depends on the geometry.

    Attributes
    ----------
    positions : ndarray (n, 3)
        eV/A for an energy.
    strain : ndarray (3, 3)
        By a deformation r -> r (1 + strain) of positions and cell; symmetric.
    width : ndarray (n,)
    """

    positions: Array
    strain: Array
    width: Array

    def plus(self, other: Derivatives) -> Derivatives:
        """Sum, part by part."""
        return Derivatives(*(a + b for a, b in zip(self, other, strict=True)))


class CoulombOperator(ABC):
    """The matrix A of `coulomb_matrix` as a linear map at one geometry; float64 NumPy arrays.

    Attributes
    ----------
    tier : str
        "dense", "ewald" or "mesh".
    n : int
        Number of atoms.
    periodic : int
        Number of periodic directions: 0, 2 or 3.
    tolerance : float
        Bound on the error of a force, eV/A, while no charge exceeds `largest_charge`.
    largest_charge : float
        e.
    """

    tier: ClassVar[str]

    def __init__(self, n: int, periodic: int, tolerance: float, largest_charge: float) -> None:
        self.n, self.periodic = n, periodic
        self.tolerance, self.largest_charge = tolerance, largest_charge

    @abstractmethod
    def matvec(self, charges: Array) -> Array:
        """Potentials A q (n,) in V, for charges (n,) in e."""

    @abstractmethod
    def diagonal(self) -> Array:
        """Diagonal of A (n,), eV/e^2."""

    @abstractmethod
    def derivatives(self, x: Array, y: Array) -> Derivatives:
        """Of x . A y at fixed x and y (n,)."""

    def energy(self, charges: Array) -> float:
        """q . A . q / 2 in eV."""
        return 0.5 * float(charges @ self.matvec(charges))

    def gradients(self, charges: Array) -> tuple[Array, Array | None]:
        """Derivatives of the energy at fixed charges.

        Parameters
        ----------
        charges : ndarray (n,)
            e.

        Returns
        -------
        positions : ndarray (n, 3)
            eV/A; the negative forces.
        strain : ndarray (3, 3) or None
            eV; None under open boundaries.

        Raises
        ------
        AccuracyError
            If a charge exceeds what the tolerance was set for.
        """
        largest = float(np.abs(charges).max())
        if largest > self.largest_charge:
            raise AccuracyError(
                f"charges: got {largest:.3g} e, for which the force error may exceed "
                f"{self.tolerance:g} eV/A; expected at most {self.largest_charge:g} e "
                "(largest_charge of make_operator)"
            )
        positions, strain, _ = self.derivatives(charges, charges)
        return 0.5 * positions, 0.5 * strain if self.periodic else None
