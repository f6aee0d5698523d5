"""A small labelled data set from an analytic electrode, for tests and tutorials.

Water molecules with fixed atomic charges stand on a metal slab in the field of its excess charge,

    E(R, n) = V(R) - n phi0 + n^2 / (2 C) + n / (eps0 A) sum_i q_i z_i,

so that the exact potential -dE/dn, forces and force responses are known. V is a sum of Morse
potentials; the molecules' charges do not act on each other. It is no model of any real interface.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.build import fcc111, molecule
from ase.calculators.calculator import Calculator, all_changes
from scipy.spatial.transform import Rotation

from voltase.aseplugin.electrochemistry import EPSILON_0
from voltase.aseplugin.engines.base import Capabilities, ElectronicState, Engine
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.structures import neighbour_list

Array = npt.NDArray[np.float64]
# Depth (eV), steepness (1/A), minimum (A) and ends of the cut-off (A), by alphabetical pair.
_MORSE = {
    "H-O": (4.0, 2.2, 0.97, 1.3, 1.7),
    "H-H": (0.5, 2.0, 1.53, 1.7, 2.1),
    "O-O": (0.1, 1.8, 2.80, 3.2, 3.5),
    "O-Pt": (0.2, 1.6, 2.40, 3.0, 3.5),
    "H-Pt": (0.05, 1.6, 2.60, 3.0, 3.5),
    "Pt-Pt": (0.5, 1.6, 2.77, 3.1, 3.5),
}
_CUTOFF = 3.5
_CONTACT = 1.75  # A, between molecules as they are placed
CHARGES = {"H": 0.40, "O": -0.80, "Pt": 0.0}
"""Atomic charges in e; not those that a new network starts from."""


class PointChargeElectrode(Calculator):
    """The energy of the module's docstring.

    Parameters
    ----------
    excess_electrons : float
        n in e, positive is more negative.
    capacitance : float
        C / A in e/(V A^2).
    zero_charge_potential : float
        phi0 in V, absolute.

    Notes
    -----
    Results: ``energy`` E, ``forces`` and ``electrode_potential`` -dE/dn in V, absolute.
    """

    implemented_properties = ["energy", "forces", "electrode_potential"]

    def __init__(self, excess_electrons: float = 0.0, capacitance: float = 2e-3,
                 zero_charge_potential: float = 4.8) -> None:  # fmt: skip
        super().__init__()
        self._electrons = float(excess_electrons)
        self.capacitance = capacitance
        self.zero_charge_potential = zero_charge_potential

    @property
    def excess_electrons(self) -> float:
        """n in e; setting it invalidates the results."""
        return self._electrons

    @excess_electrons.setter
    def excess_electrons(self, value: float) -> None:
        self._electrons = float(value)
        self.reset()

    def calculate(self, atoms: Atoms | None = None, properties: list[str] | None = None,
                  system_changes: list[str] = all_changes) -> None:  # fmt: skip
        """Fill ``results``."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        area = float(np.linalg.norm(np.cross(*self.atoms.cell.array[:2])))
        charges = np.array([CHARGES[s] for s in self.atoms.get_chemical_symbols()])
        n = self._electrons
        total = self.capacitance * area
        shift = float(charges @ self.atoms.positions[:, 2]) / (EPSILON_0 * area)
        energy, forces = _morse(self.atoms)
        forces[:, 2] -= n * charges / (EPSILON_0 * area)
        self.results = {
            "energy": energy - n * self.zero_charge_potential + 0.5 * n * n / total + n * shift,
            "forces": forces,
            "electrode_potential": self.zero_charge_potential - n / total - shift,
        }


class PointChargeEngine(Engine):
    """`PointChargeElectrode` in the place of an electronic-structure code.

    Parameters
    ----------
    excess_electrons, capacitance, zero_charge_potential : float
        As there.
    """

    code = "point charges"

    def __init__(self, excess_electrons: float = 0.0, capacitance: float = 2e-3,
                 zero_charge_potential: float = 4.8) -> None:  # fmt: skip
        self._electrode = PointChargeElectrode(0.0, capacitance, zero_charge_potential)
        super().__init__(excess_electrons)

    @property
    def capabilities(self) -> Capabilities:
        """Everything but densities."""
        return Capabilities(potential_reference="vacuum")

    @property
    def settings(self) -> dict[str, Any]:
        """The two constants of the electrode."""
        electrode = self._electrode
        return {
            "capacitance": electrode.capacitance,
            "zero_charge_potential": electrode.zero_charge_potential,
        }

    def version(self) -> str:
        """There is one only."""
        return "1"

    def single_point(self, atoms: Atoms, excess_electrons: float) -> ElectronicState:
        """Evaluate the formula."""
        electrode = self._electrode
        electrode.excess_electrons = excess_electrons
        electrode.calculate(atoms)
        found = electrode.results
        return ElectronicState(found["energy"], found["forces"], found["electrode_potential"])


def synthetic_frames(geometries: int, charges: int = 3, largest: float = 0.003, waters: int = 3,
                     seed: int = 0, **electrode: Any) -> list[Atoms]:  # fmt: skip
    """Labelled frames, each geometry at several electron numbers.

    Parameters
    ----------
    geometries : int
    charges : int
        Electron numbers of each geometry, evenly spaced about a random centre.
    largest : float
        Bound of abs(n) / A in e/A^2.
    waters : int
        Molecules on the 2 x 2 surface, at most 4.
    seed : int
    electrode
        Further arguments of `PointChargeElectrode`.

    Returns
    -------
    list of Atoms
        With ``REF_energy``, ``excess_electrons``, ``electrode_potential``, ``config_type`` and
        ``geometry`` in ``info`` and ``REF_forces`` in ``arrays``.

    Raises
    ------
    InputError
        If there is no room for the molecules.
    """
    if not 0 <= waters <= 4:
        raise InputError(f"waters: found {waters}, expected 0 to 4")
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(geometries):
        atoms = _interface(waters, rng)
        area = float(np.linalg.norm(np.cross(*atoms.cell.array[:2])))
        centre = rng.uniform(-0.5, 0.5)
        for offset in np.linspace(-0.5, 0.5, charges) if charges > 1 else (0.0,):
            calculator = PointChargeElectrode(largest * area * (centre + offset), **electrode)
            calculator.calculate(atoms)
            frame = atoms.copy()
            frame.info = {
                "config_type": "synthetic",
                "geometry": number,
                "REF_energy": calculator.results["energy"],
                "excess_electrons": calculator.excess_electrons,
                "electrode_potential": calculator.results["electrode_potential"],
            }
            frame.arrays["REF_forces"] = calculator.results["forces"]
            frames.append(frame)
    return frames


def _interface(waters: int, rng: np.random.Generator) -> Atoms:
    """Two layers of 2 x 2 Pt(111) with molecules above, all atoms displaced at random."""
    atoms = fcc111("Pt", (2, 2, 2), a=3.92, vacuum=8.0)
    atoms.pbc = (True, True, False)
    top = atoms.positions[:, 2].max()
    cell = atoms.cell.array
    sites = rng.permutation([(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)])[:waters]
    for along, across in sites:
        foot = along * cell[0] + across * cell[1] + (0.0, 0.0, top)
        atoms += _molecule(atoms, foot, rng)
    atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
    return atoms


def _molecule(atoms: Atoms, foot: Array, rng: np.random.Generator) -> Atoms:
    """A molecule above a point, turned at random until it touches no other."""
    water = molecule("H2O")
    own = water.positions - water.positions[0]
    while True:
        # Flat on the surface and tilted a little: upright molecules would shift Phi by volts.
        angles = (0.5 * np.pi + rng.uniform(-0.35, 0.35), rng.uniform(0.0, 2.0 * np.pi))
        water.positions = Rotation.from_euler("xz", angles).apply(own) + foot
        water.positions[:, 2] += rng.uniform(2.4, 3.4)
        whole = atoms + water
        distances = whole.get_all_distances(mic=True)[len(atoms) :, : len(atoms)]
        if distances.min() > _CONTACT:
            return water


def _morse(atoms: Atoms) -> tuple[float, Array]:
    """Energy (eV) and forces (eV/A) of the Morse potentials, smoothly cut off."""
    (sender, receiver), shifts = neighbour_list(atoms, _CUTOFF)
    vectors = atoms.positions[receiver] - atoms.positions[sender]
    vectors = vectors + shifts @ np.asarray(atoms.cell.complete().array)
    symbols = atoms.get_chemical_symbols()
    pairs = ["-".join(sorted((symbols[i], symbols[j])))
             for i, j in zip(sender, receiver, strict=True)]  # fmt: skip
    depth, steep, rest, start, end = np.array([_MORSE[pair] for pair in pairs]).reshape(-1, 5).T
    distance = np.linalg.norm(vectors, axis=1)
    decay = np.exp(-steep * (distance - rest))
    value = depth * (decay**2 - 2.0 * decay)
    slope = 2.0 * depth * steep * (decay - decay**2)
    x = np.clip((distance - start) / (end - start), 0.0, 1.0)
    switch = 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
    switch_slope = -30.0 * x**2 * (1.0 - x) ** 2 / (end - start)
    slope = slope * switch + value * switch_slope
    forces = np.zeros((len(atoms), 3))
    # Each pair is listed in both directions: the sender takes its own half of it twice.
    np.add.at(forces, sender, (slope / distance)[:, None] * vectors)
    return 0.5 * float((value * switch).sum()), forces
