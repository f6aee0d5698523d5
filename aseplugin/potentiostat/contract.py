"""What the dynamics asks of a calculator, and adapters that give both kinds one face.

A canonical calculator has a settable ``excess_electrons`` and results ``energy`` (E, eV),
``forces`` (-dE/dR at fixed n, eV/A) and ``electrode_potential`` (-dE/dn, absolute, V). A
grand-canonical one has a settable potential and results ``energy`` (Omega, eV), ``forces``
(-dOmega/dR at fixed Phi) and ``excess_electrons`` (dOmega/dPhi, e).

Optional on either: the results ``capacitance`` (-dn/dPhi, e/V), ``forces_spread`` (eV/A; of an
array the largest counts; not necessarily at every step) and ``electrode_potential_spread`` (V);
the attributes ``excess_electrons_per_area_range`` (e/A^2) and ``potential_range`` (absolute V),
the ranges a model was trained on, with ``allow_extrapolation`` to waive them; the method
``electrode_area(atoms)``, the area n spreads over (A^2, both faces of a slab that is charged on
both); ``potential_tolerance``, how close (V) it can tell potentials, if that is more than rounding;
``identity``, a text that changes with the model; and
``checkpoint_state() -> dict[str, ndarray]`` with ``restore_state(dict)``, for a calculator whose
next result depends on its past, to the last bit.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from numpy.typing import NDArray

from voltase.aseplugin.electrochemistry import canonical_energy, grand_potential
from voltase.aseplugin.errors import InputError

CANONICAL = "canonical"
GRAND_CANONICAL = "grand-canonical"


@dataclass(frozen=True)
class SinglePoint:
    """One force evaluation.

    Attributes
    ----------
    energy, grand_energy : float
        E and Omega = E + Phi n, eV.
    forces : ndarray, shape (atoms, 3)
        eV/A, without the effect of constraints.
    excess_electrons : float
        n, e.
    potential : float
        Absolute electrode potential Phi, V.
    capacitance : float or None
        -dn/dPhi, e/V, where the calculator knows it.
    forces_spread, potential_spread : float or None
        Spread over a committee, eV/A and V, where the calculator is one and it was evaluated.
    """

    energy: float
    grand_energy: float
    forces: NDArray[np.float64]
    excess_electrons: float
    potential: float
    capacitance: float | None = None
    forces_spread: float | None = None
    potential_spread: float | None = None


def ensemble_of(calculator: Any) -> str:
    """``"canonical"`` or ``"grand-canonical"``.

    A calculator may say so in an attribute ``ensemble``. Without it, one whose
    ``absolute_potential`` or ``potential`` is set counts as grand-canonical, and one that has
    ``excess_electrons`` as canonical.

    Raises
    ------
    InputError
        If it is neither.
    """
    if calculator is None:
        raise InputError("calculator: got none, expected atoms.calc or the argument to be set")
    declared = getattr(calculator, "ensemble", None)
    if declared in (CANONICAL, GRAND_CANONICAL):
        return str(declared)
    names = ("absolute_potential", "potential")
    if any(getattr(calculator, name, None) is not None for name in names):
        return GRAND_CANONICAL
    if hasattr(calculator, "excess_electrons"):
        return CANONICAL
    raise InputError(
        f"calculator: got {type(calculator).__name__}, expected one with a settable "
        "excess_electrons (canonical) or potential (grand-canonical)"
    )


class ChargedModel(ABC):
    """A calculator seen through the contract; ``calculator`` is the one it wraps."""

    ensemble: str

    def __init__(self, calculator: Any) -> None:
        self.calculator = calculator

    @abstractmethod
    def evaluate(self, atoms: Atoms, value: float) -> SinglePoint:
        """Single point at ``value``: n (e) if canonical, absolute Phi (V) if grand-canonical."""

    @property
    def identity(self) -> str | None:
        """Text that changes with the model, if the calculator offers one."""
        identity = getattr(self.calculator, "identity", None)
        return None if identity is None else str(identity)

    def checkpoint_state(self) -> dict[str, NDArray[Any]]:
        """What the calculator needs back after a restart; empty if it keeps no history."""
        get_state = getattr(self.calculator, "checkpoint_state", None)
        return {} if get_state is None else dict(get_state())

    def restore_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Give a calculator back what :meth:`checkpoint_state` returned."""
        if not state and not hasattr(self.calculator, "restore_state"):
            return
        if not hasattr(self.calculator, "restore_state"):
            raise InputError(
                f"calculator: got {type(self.calculator).__name__} without restore_state(), "
                "expected the one that wrote the state"
            )
        self.calculator.restore_state(state)


class CanonicalModel(ChargedModel):
    """A calculator of E(R, n)."""

    ensemble = CANONICAL

    def evaluate(self, atoms: Atoms, value: float) -> SinglePoint:
        """Single point at ``value`` excess electrons."""
        self.calculator.excess_electrons = value
        forces = get_forces(self.calculator, atoms)
        energy = float(_with_forces(self.calculator, "energy", atoms))
        potential = float(_with_forces(self.calculator, "electrode_potential", atoms))
        return SinglePoint(
            energy=energy,
            grand_energy=grand_potential(energy, value, potential),
            forces=forces,
            excess_electrons=value,
            potential=potential,
            **_optional_results(self.calculator),
        )


class GrandCanonicalModel(ChargedModel):
    """A calculator of Omega(R, Phi).

    One with an attribute ``absolute_potential`` is set through it
    (:class:`~voltase.aseplugin.potentiostat.wrapper.ConstantPotential`, whose ``potential`` counts
    from a reference); any other has its absolute potential in ``potential``.
    """

    ensemble = GRAND_CANONICAL

    def __init__(self, calculator: Any) -> None:
        super().__init__(calculator)
        has_absolute = hasattr(calculator, "absolute_potential")
        self._attribute = "absolute_potential" if has_absolute else "potential"

    def evaluate(self, atoms: Atoms, value: float) -> SinglePoint:
        """Single point at the absolute potential ``value``, in V."""
        if getattr(self.calculator, self._attribute) != value:
            setattr(self.calculator, self._attribute, value)
        forces = get_forces(self.calculator, atoms)
        omega = float(_with_forces(self.calculator, "energy", atoms))
        n = float(_with_forces(self.calculator, "excess_electrons", atoms))
        return SinglePoint(
            energy=canonical_energy(omega, n, value),
            grand_energy=omega,
            forces=forces,
            excess_electrons=n,
            potential=value,
            **_optional_results(self.calculator),
        )


def charged_model(calculator: Any) -> ChargedModel:
    """The adapter that fits the calculator; see :func:`ensemble_of`."""
    if ensemble_of(calculator) == CANONICAL:
        return CanonicalModel(calculator)
    return GrandCanonicalModel(calculator)


def electrode_area(calculator: Any, atoms: Atoms) -> float | None:
    """Area that n spreads over, A^2: the calculator's own, or the cell's face.

    The face is the one normal to the only axis that is not periodic, else to the third. None if
    the cell has no such face.
    """
    own = getattr(calculator, "electrode_area", None)
    area = None if own is None else own(atoms)
    if area is not None:
        return float(area)
    open_axes = np.flatnonzero(~atoms.pbc)
    normal = int(open_axes[0]) if len(open_axes) == 1 else 2
    face = float(np.linalg.norm(np.cross(atoms.cell[normal - 2], atoms.cell[normal - 1])))
    return face if face > 0 else None


def get_forces(calculator: Any, atoms: Atoms) -> NDArray[np.float64]:
    """Forces in float64, eV/A, before constraints act on them."""
    forces = np.array(calculator.get_property("forces", atoms), dtype=np.float64)
    if forces.shape != (len(atoms), 3):
        raise InputError(f"forces: got shape {forces.shape}, expected {(len(atoms), 3)}")
    return forces


def get_electrode_potential(calculator: Any, atoms: Atoms) -> float:
    """Absolute electrode potential of a canonical calculator at its present n, in V."""
    return float(get_result(calculator, "electrode_potential", atoms))


def get_result(calculator: Any, name: str, atoms: Atoms) -> Any:
    """A result ASE has no name for, computed if need be.

    Raises
    ------
    InputError
        If the calculator does not report it.
    """
    try:
        return calculator.get_property(name, atoms)
    except PropertyNotImplementedError:
        # Not listed in implemented_properties: it may still come with the energy.
        calculator.get_property("energy", atoms)
    if name not in calculator.results:
        kind = type(calculator).__name__
        raise InputError(f"calculator: {kind} reports no {name!r}, expected it in its results")
    return calculator.results[name]


def _with_forces(calculator: Any, name: str, atoms: Atoms) -> Any:
    """A result right after the forces, of the same state; ASE would compare all atoms again."""
    if name in calculator.results:
        return calculator.results[name]
    return get_result(calculator, name, atoms)


def _optional_results(calculator: Any) -> dict[str, float | None]:
    names = {
        "capacitance": "capacitance",
        "forces_spread": "forces_spread",
        "electrode_potential_spread": "potential_spread",
    }
    results = calculator.results
    return {
        field: float(np.max(results[name])) if results.get(name) is not None else None
        for name, field in names.items()
    }
