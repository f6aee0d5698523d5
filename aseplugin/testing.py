"""Analytic models of an electrode and small structures, for tests and tutorials.

``CapacitorOscillators`` gives E(R, n), ``GrandCanonicalCapacitorOscillators`` its exact Legendre
transform Omega(R, Phi); every quantity the potentiostats are checked against is known for them.
"""

import hashlib
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import fcc111, molecule
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import ArrayLike, NDArray

from voltase.aseplugin.errors import InputError


class _Oscillators(Calculator):
    """Anchored anharmonic oscillators whose displacements shift the potential of a capacitor.

    With u = R - anchors, the energy without charge is V = sum k u^2/2 + a u^4/4 and the potential
    at n = 0 is phi0 - G, with G = sum g u.

    Parameters
    ----------
    anchors : array_like, shape (atoms, 3)
        Positions of rest, A.
    stiffness : float or array_like, broadcast to (atoms, 3)
        k, eV/A^2.
    anharmonicity : float or array_like, broadcast to (atoms, 3)
        a, eV/A^4.
    coupling : float or array_like, broadcast to (atoms, 3)
        g, V/A: how far a displacement lowers the electrode potential.
    capacitance : float
        C, e/V.
    zero_charge_potential : float
        phi0, the absolute potential at n = 0 with all atoms at their anchors, V.
    report_capacitance : bool
        Whether the results contain ``capacitance``.
    """

    def __init__(
        self,
        anchors: ArrayLike,
        *,
        stiffness: ArrayLike = 2.0,
        anharmonicity: ArrayLike = 0.5,
        coupling: ArrayLike = 0.4,
        capacitance: float = 0.2,
        zero_charge_potential: float = 4.6,
        report_capacitance: bool = False,
    ) -> None:
        super().__init__()
        self.anchors = np.array(anchors, dtype=np.float64)
        if self.anchors.ndim != 2 or self.anchors.shape[1] != 3:
            raise InputError(f"anchors: got shape {self.anchors.shape}, expected (atoms, 3)")
        shape = self.anchors.shape
        self.stiffness = np.broadcast_to(np.asarray(stiffness, dtype=np.float64), shape)
        self.anharmonicity = np.broadcast_to(np.asarray(anharmonicity, dtype=np.float64), shape)
        self.coupling = np.broadcast_to(np.asarray(coupling, dtype=np.float64), shape)
        if not capacitance > 0:
            raise InputError(f"capacitance: got {capacitance}, expected more than 0")
        self.capacitance = float(capacitance)
        self.zero_charge_potential = float(zero_charge_potential)
        self.report_capacitance = report_capacitance
        self.evaluations = 0

    @property
    def identity(self) -> str:
        """Hash of the parameters."""
        values = (self.anchors, self.stiffness, self.anharmonicity, self.coupling)
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(v).tobytes() for v in values))
        digest.update(np.array([self.capacitance, self.zero_charge_potential]).tobytes())
        return digest.hexdigest()

    def displacements(self, atoms: Atoms) -> NDArray[np.float64]:
        """u = R - anchors, shape (atoms, 3), A."""
        return atoms.positions - self.anchors

    def potential_shift(self, u: NDArray[np.float64]) -> float:
        """G = sum g u, V."""
        return float(np.vdot(self.coupling, u))

    def uncharged_energy(self, u: NDArray[np.float64]) -> float:
        """V = sum k u^2/2 + a u^4/4, eV."""
        squared = u * u
        quadratic = 0.5 * np.vdot(self.stiffness, squared)
        return float(quadratic + 0.25 * np.vdot(self.anharmonicity, squared * squared))

    def uncharged_forces(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """-dV/dR, shape (atoms, 3), eV/A."""
        return -(self.stiffness + self.anharmonicity * u * u) * u


class CapacitorOscillators(_Oscillators):
    """Canonical: E(R, n) = V + n G + n^2/(2 C) - n phi0, so Phi = phi0 - G - n/C.

    See :class:`_Oscillators` for the parameters; ``excess_electrons`` is n, e.
    """

    implemented_properties = [
        "energy",
        "forces",
        "electrode_potential",
        "capacitance",
    ]

    def __init__(
        self, anchors: ArrayLike, *, excess_electrons: float = 0.0, **parameters: Any
    ) -> None:
        super().__init__(anchors, **parameters)
        self._n = float(excess_electrons)

    @property
    def excess_electrons(self) -> float:
        """n, e; setting it invalidates the results."""
        return self._n

    @excess_electrons.setter
    def excess_electrons(self, n: float) -> None:
        self._n = float(n)
        self.reset()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill the results; ASE calls this."""
        super().calculate(atoms, properties, system_changes)
        self.evaluations += 1
        u, n = self.displacements(self.atoms), self._n
        potential = self.zero_charge_potential - self.potential_shift(u) - n / self.capacitance
        # E = V - n phi0 + n G + n^2/(2C), written with Phi.
        electric = -n * potential - 0.5 * n * n / self.capacitance
        self.results = {
            "energy": self.uncharged_energy(u) + electric,
            "forces": self.uncharged_forces(u) - n * self.coupling,
            "electrode_potential": potential,
        }
        if self.report_capacitance:
            self.results["capacitance"] = self.capacitance


class GrandCanonicalCapacitorOscillators(_Oscillators):
    """Grand-canonical twin: Omega(R, Phi) = V - C (phi0 - G - Phi)^2/2, n = C (phi0 - G - Phi).

    See :class:`_Oscillators` for the parameters; ``potential`` is the absolute Phi, V.
    """

    implemented_properties = [
        "energy",
        "forces",
        "excess_electrons",
        "capacitance",
    ]

    def __init__(self, anchors: ArrayLike, *, potential: float = 4.44, **parameters: Any) -> None:
        super().__init__(anchors, **parameters)
        self._potential = float(potential)

    @property
    def potential(self) -> float:
        """Absolute Phi, V; setting it invalidates the results."""
        return self._potential

    @potential.setter
    def potential(self, phi: float) -> None:
        self._potential = float(phi)
        self.reset()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill the results; ASE calls this."""
        super().calculate(atoms, properties, system_changes)
        self.evaluations += 1
        u = self.displacements(self.atoms)
        offset = self.zero_charge_potential - self.potential_shift(u) - self._potential
        n = self.capacitance * offset
        self.results = {
            "energy": self.uncharged_energy(u) - 0.5 * n * offset,
            "forces": self.uncharged_forces(u) - n * self.coupling,
            "excess_electrons": n,
        }
        if self.report_capacitance:
            self.results["capacitance"] = self.capacitance


def oscillator_atoms(count: int = 5, symbol: str = "O", spacing: float = 3.0) -> Atoms:
    """Atoms in a row at rest, in a cell periodic along the surface and open along z.

    Parameters
    ----------
    count : int
        Number of atoms.
    symbol : str
        Chemical symbol.
    spacing : float
        Distance between neighbours, A.

    Returns
    -------
    Atoms
        Their positions serve as ``anchors``; the face of the cell is count spacing x spacing.
    """
    if count < 1:
        raise InputError(f"count: got {count}, expected at least 1")
    positions = np.zeros((count, 3))
    positions[:, 0] = spacing * np.arange(count)
    positions[:, 2] = 10.0
    cell = (count * spacing, spacing, 20.0)
    return Atoms(f"{symbol}{count}", positions=positions, cell=cell, pbc=(True, True, False))


def pt111_water(
    size: tuple[int, int, int] = (2, 2, 3),
    waters: int = 4,
    below: int = 0,
    vacuum: float = 9.0,
    displacement: float = 0.05,
    seed: int = 0,
) -> Atoms:
    """Pt(111) slab with water molecules at random orientations on its faces; normal along z.

    Parameters
    ----------
    size : tuple of int
        Surface cells along the first two axes, and layers.
    waters, below : int
        Molecules above and below the slab, one a surface cell before the next layer begins.
    vacuum : float
        Between the outermost atoms of neighbouring images, A.
    displacement : float
        Standard deviation of a random displacement of every coordinate, A.
    seed : int

    Returns
    -------
    Atoms
        Periodic in 3D.
    """
    rng = np.random.default_rng(seed)
    atoms = fcc111("Pt", size, a=3.97, vacuum=0.0)
    lattice = atoms.cell.array[:2].copy()
    bottom, top = atoms.positions[:, 2].min(), atoms.positions[:, 2].max()
    for count, surface, side in ((waters, top, 1.0), (below, bottom, -1.0)):
        for k in range(count):
            layer, cell = divmod(k, size[0] * size[1])
            fractions = np.array([(cell % size[0]) / size[0], (cell // size[0]) / size[1]])
            water = molecule("H2O")
            water.rotate(rng.uniform(0.0, 360.0), rng.normal(size=3))
            height = surface + side * (2.6 + 2.9 * layer)
            water.translate(fractions @ lattice + [0.0, 0.0, height] - water.positions[0])
            atoms += water
    atoms.positions += rng.normal(scale=displacement, size=atoms.positions.shape)
    heights = atoms.positions[:, 2]
    atoms.positions[:, 2] -= heights.min() - 0.5 * vacuum
    atoms.cell[2] = [0.0, 0.0, np.ptp(heights) + vacuum]
    atoms.pbc = True
    return atoms
