"""One protocol for electronic-structure codes: E(R, n), its forces and its electrode potential.

An engine is a canonical calculator in the sense of `voltase.aseplugin.potentiostat.contract`: it
has a settable ``excess_electrons`` and results ``energy`` = E(R, n), ``forces`` = -dE/dR at fixed n
and ``electrode_potential`` = -dE/dn. So `ConstantPotential` and `ConstantPotentialMD` drive it as
they drive a trained model.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

from voltase.aseplugin.density_grid import DensityGrid
from voltase.aseplugin.electrochemistry import grand_potential
from voltase.aseplugin.errors import EngineError, InputError
from voltase.aseplugin.potentiostat.contract import CANONICAL


@dataclass(frozen=True)
class Capabilities:
    """What a code gives in the settings of its engine.

    Attributes
    ----------
    potential_reference : str or None
        Where the potential is counted from: ``"vacuum"`` (a vacuum level on the wetted side),
        ``"electrolyte"`` (the potential deep in an implicit solvent that screens the charge),
        ``"counter electrode"`` (an ideal metal plate across the vacuum that carries the
        counter-charge; without charge and field its level is that of the vacuum), or None if the
        settings have no such level, so that no electrode potential can be given.
    charged : bool
        Whether n other than 0 is possible.
    density : bool
        Whether `Engine.density` works.
    charges : tuple of str
        Names of the atomic charges among the results, such as ``"hirshfeld_charges"``.
    """

    potential_reference: Literal["vacuum", "electrolyte", "counter electrode"] | None
    charged: bool = True
    density: bool = False
    charges: tuple[str, ...] = ()


@dataclass
class ElectronicState:
    """One single point of a code.

    Attributes
    ----------
    energy : float
        Canonical E(R, n), eV; the code's grand energy, if it prints that, goes through
        `voltase.aseplugin.electrochemistry.canonical_energy` first.
    forces : ndarray, shape (atoms, 3)
        -dE/dR at fixed n, eV/A.
    electrode_potential : float or None
        -dE/dn, absolute, V; None where the settings have no reference level.
    fermi_level : float or None
        On the code's own scale, eV.
    scf_iterations : int or None
    free_energy : float or None
        Of the smeared electrons, canonical, eV, where it is not the energy.
    arrays : dict
        Results per atom, such as ``hirshfeld_charges`` (e), shape (atoms,).
    """

    energy: float
    forces: NDArray[np.float64]
    electrode_potential: float | None
    fermi_level: float | None = None
    scf_iterations: int | None = None
    free_energy: float | None = None
    arrays: dict[str, NDArray[np.float64]] = field(default_factory=dict)


class Engine(Calculator):
    """A code with a settable number of electrons.

    Parameters
    ----------
    excess_electrons : float
        n in e, positive is more negative.

    Results
    -------
    ``energy`` (E(R, n), eV), ``free_energy`` (that of the smeared electrons, where the code gives
    both), ``forces`` (eV/A), ``electrode_potential``
    (absolute, V), ``grand_energy`` (Omega = E + Phi n, eV), ``fermi_level`` (eV),
    ``scf_iterations``, and the code's atomic charges (e).

    Raises
    ------
    EngineError
        From a calculation, if the code cannot give what is asked.
    ScfError
        From a calculation that did not converge.
    """

    code: ClassVar[str]
    """The code's name as its users write it."""

    charge_hint: ClassVar[str] = ""
    """Ends the message where the settings allow no charge: what would."""

    ensemble = CANONICAL

    potential_tolerance = 5e-3
    """What self-consistency lets through of a potential, V."""

    implemented_properties = [
        "energy",
        "free_energy",
        "forces",
        "electrode_potential",
        "grand_energy",
        "fermi_level",
        "scf_iterations",
    ]

    def __init__(self, excess_electrons: float = 0.0) -> None:
        super().__init__()
        self.excess_electrons = excess_electrons

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What the present settings give."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything that decides the results, in plain types, for labels and checkpoints."""

    @abstractmethod
    def version(self) -> str:
        """The code's version."""

    @abstractmethod
    def single_point(self, atoms: Atoms, excess_electrons: float) -> ElectronicState:
        """Run the code; starts from the last wave functions where it can.

        Raises
        ------
        EngineError, ScfError
        """

    def density(self) -> DensityGrid:
        """Electron density of the last single point, e/A^3; see `Capabilities.density`."""
        raise EngineError(f"density: {self.code} gives none in these settings")

    @property
    def excess_electrons(self) -> float:
        """n in e; setting another value invalidates the results."""
        return self._excess_electrons

    @excess_electrons.setter
    def excess_electrons(self, value: float) -> None:
        if isinstance(value, bool) or not math.isfinite(value):
            raise InputError(f"excess_electrons: found {value}, expected a finite number")
        if value and not self.capabilities.charged:
            raise EngineError(f"excess_electrons: found {value:g}, {self.code} takes 0 alone here"
                              f"{self.charge_hint}")  # fmt: skip
        if value != getattr(self, "_excess_electrons", None):
            self._excess_electrons = float(value)
            self.reset()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Run the code and check what it says; ASE calls this."""
        super().calculate(atoms, properties, system_changes)
        state = self.single_point(self.atoms, self.excess_electrons)
        self._check(state)
        self.results = {
            "energy": state.energy,
            "free_energy": state.energy if state.free_energy is None else state.free_energy,
            "forces": state.forces,
            **state.arrays,
        }
        phi = state.electrode_potential
        if phi is not None:
            self.results["electrode_potential"] = phi
            self.results["grand_energy"] = grand_potential(state.energy, self.excess_electrons, phi)
        for name in ("fermi_level", "scf_iterations"):
            if getattr(state, name) is not None:
                self.results[name] = getattr(state, name)

    def _check(self, state: ElectronicState) -> None:
        shape = (len(self.atoms), 3)
        if state.forces.shape != shape:
            raise EngineError(f"forces: found shape {state.forces.shape} from {self.code}, "
                              f"expected {shape}")  # fmt: skip
        numbers = [state.energy, *state.forces.ravel()]
        if state.electrode_potential is not None:
            numbers.append(state.electrode_potential)
        if not np.isfinite(numbers).all():
            raise EngineError(f"energy, forces: found values from {self.code} that are no numbers")
