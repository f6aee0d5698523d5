"""A canonical calculator turned into one at constant potential by solving for n."""

import math
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

from voltase.aseplugin.electrochemistry import (
    Reference,
    check_plausible,
    grand_potential,
    parse_potential,
)
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.potentiostat.contract import (
    CANONICAL,
    GRAND_CANONICAL,
    electrode_area,
    ensemble_of,
    get_electrode_potential,
)
from voltase.aseplugin.potentiostat.limits import Limits, guess_capacitance
from voltase.aseplugin.potentiostat.solver import solve_excess_electrons

# Largest change of n in one iteration, as the change of potential it should cause.
_MAX_POTENTIAL_STEP = 2.0  # V

_INNER_PREFIX = "calculator/"


class ConstantPotential(Calculator):
    """Grand-canonical calculator: Omega(R, Phi) and its forces from a calculator of E(R, n).

    Each new geometry is solved for the n at which ``electrode_potential`` equals the target, so
    any ASE optimiser, NEB or vibration works at constant potential.

    Parameters
    ----------
    calculator : Calculator
        Canonical: settable ``excess_electrons``, result ``electrode_potential`` = -dE/dn. It is
        this object's alone from here on, as its ``excess_electrons`` keeps changing.
    potential : float or str
        U in V vs ``reference``; a text such as ``"-500 mV"`` will do.
    reference : str or Reference
    tolerance : float
        On the potential, V. Omega is stationary in n, so its error is of second order,
        C tolerance^2 / 2. A potential computed in float32 may need more.
    capacitance : float, optional
        First guess of -dn/dPhi, e/V; by default the calculator's own, or 10 uF/cm2.
    excess_electrons : float, optional
        First guess of n, e; by default the calculator's present value. Later geometries start
        from the last solution.
    n_bounds : (float, float), optional
        Hard bounds on n, e; over a calculator without a training range 0.1 e/A^2 by default.
    allow_extrapolation : bool
        Let n and the potential leave the calculator's training ranges, with a logged warning;
        also by the calculator's own ``allow_extrapolation``.
    max_iterations : int
        Most evaluations of one geometry.

    Results
    -------
    ``energy`` and ``free_energy`` (Omega = E + Phi n, eV, with the target Phi), ``forces``
    (-dOmega/dR at fixed Phi = -dE/dR at fixed n), ``excess_electrons`` (dOmega/dPhi, e),
    ``electrode_potential`` (absolute, V, as reached), ``canonical_energy`` (E, eV),
    ``capacitance`` (e/V, where the calculator gives it) and ``stress`` where it has one.

    Raises
    ------
    PotentialError
        If the potential cannot be read or is implausible for its reference.
    InputError
        If the calculator is not canonical, or an option is out of place.
    ConvergenceError
        From a calculation, if the tolerance is not reached.
    ExtrapolationError
        From a calculation, if n or the potential leaves its range.
    """

    ensemble = GRAND_CANONICAL

    def __init__(
        self,
        calculator: Any,
        potential: float | str,
        reference: str | Reference = "SHE",
        *,
        tolerance: float = 1e-6,
        capacitance: float | None = None,
        excess_electrons: float | None = None,
        n_bounds: tuple[float, float] | None = None,
        allow_extrapolation: bool = False,
        max_iterations: int = 30,
    ) -> None:
        super().__init__()
        if ensemble_of(calculator) != CANONICAL:
            raise InputError(
                f"calculator: got {type(calculator).__name__}, which is at constant potential "
                "already, expected one with a settable excess_electrons"
            )
        for name, value in (("tolerance", tolerance), ("capacitance", capacitance)):
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name}: got {value}, expected more than 0")
        self.calculator = calculator
        self.reference = Reference.parse(reference)
        self.tolerance = tolerance
        self.n_bounds = n_bounds
        self.allow_extrapolation = allow_extrapolation
        self.max_iterations = max_iterations
        self._capacitance = capacitance
        self._limits: Limits | None = None
        self._area: float | None = None
        self._n = float(
            excess_electrons if excess_electrons is not None else calculator.excess_electrons or 0.0
        )
        own = ["energy", "free_energy", "forces", "excess_electrons", "electrode_potential"]
        own += ["canonical_energy", "capacitance", "forces_spread", "electrode_potential_spread"]
        has_stress = "stress" in calculator.implemented_properties
        self.implemented_properties = own + ["stress"] * has_stress
        self.potential = potential

    @property
    def potential(self) -> float:
        """U in V vs ``reference``; setting it invalidates the results."""
        return self._potential

    @potential.setter
    def potential(self, value: float | str) -> None:
        potential = parse_potential(value)
        check_plausible(potential, self.reference)
        self._set(potential, self.reference.to_absolute(potential))

    @property
    def absolute_potential(self) -> float:
        """Phi in V on the absolute scale; setting it invalidates the results."""
        return self._absolute

    @absolute_potential.setter
    def absolute_potential(self, phi: float) -> None:
        self._set(self.reference.from_absolute(phi), phi)

    def _set(self, potential: float, absolute: float) -> None:
        self._potential = potential
        self._absolute = absolute
        self.parameters.update(potential=potential, reference=self.reference.label)
        self.reset()

    @property
    def excess_electrons(self) -> float:
        """n of the last solution, or the guess that the next one starts from, e."""
        return self._n

    @property
    def identity(self) -> str | None:
        """The inner calculator's."""
        identity = getattr(self.calculator, "identity", None)
        return None if identity is None else str(identity)

    @property
    def excess_electrons_per_area_range(self) -> tuple[float, float] | None:
        """The inner calculator's training range, e/A^2."""
        return getattr(self.calculator, "excess_electrons_per_area_range", None)

    @property
    def potential_range(self) -> tuple[float, float] | None:
        """The inner calculator's training range, absolute V."""
        return getattr(self.calculator, "potential_range", None)

    def electrode_area(self, atoms: Atoms) -> float | None:
        """Area that n spreads over, A^2."""
        return electrode_area(self.calculator, atoms)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Solve for n, then collect the results; ASE calls this."""
        properties = ["energy"] if properties is None else properties
        super().calculate(atoms, properties, system_changes)
        if "energy" not in self.results:
            self._solve()
            self._collect()
        if "stress" in properties:
            self.results["stress"] = self.calculator.get_property("stress", self.atoms)

    def _solve(self) -> None:
        area = electrode_area(self.calculator, self.atoms)
        if self._limits is None or area != self._area:
            self._area = area
            self._limits = Limits.of(self.calculator, area, self.n_bounds, self.allow_extrapolation)
        limits = self._limits
        limits.check_potential(self._absolute)
        if self._capacitance is None:
            self._capacitance = guess_capacitance(area)
        solution = solve_excess_electrons(
            self._potential_at,
            self._absolute,
            start=self._n,
            capacitance=self._capacitance,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            max_step=_MAX_POTENTIAL_STEP * self._capacitance,
            bounds=limits.solver_bounds,
        )
        limits.check_n(solution.excess_electrons)
        self._n = solution.excess_electrons
        self._capacitance = solution.capacitance

    def _potential_at(self, n: float) -> tuple[float, float | None]:
        self.calculator.excess_electrons = n
        phi = get_electrode_potential(self.calculator, self.atoms)
        capacitance = self.calculator.results.get("capacitance")
        return phi, None if capacitance is None else float(capacitance)

    def _collect(self) -> None:
        # The inner calculator holds the results of the last n tried, which is the solution.
        inner = self.calculator
        energy = float(inner.get_property("energy", self.atoms))
        omega = grand_potential(energy, self._n, self._absolute)
        self.results.update(
            energy=omega,
            free_energy=omega,
            forces=np.array(inner.get_property("forces", self.atoms)),
            excess_electrons=self._n,
            electrode_potential=get_electrode_potential(inner, self.atoms),
            canonical_energy=energy,
        )
        for name in ("capacitance", "forces_spread", "electrode_potential_spread"):
            if inner.results.get(name) is not None:
                self.results[name] = inner.results[name]

    def checkpoint_state(self) -> dict[str, NDArray[Any]]:
        """Where the next solution starts, and the inner calculator's own state."""
        state: dict[str, NDArray[Any]] = {"excess_electrons": np.array(self._n)}
        if self._capacitance is not None:
            state["capacitance"] = np.array(self._capacitance)
        if hasattr(self.calculator, "checkpoint_state"):
            inner = self.calculator.checkpoint_state()
            state |= {f"{_INNER_PREFIX}{name}": value for name, value in inner.items()}
        return state

    def restore_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Take back what :meth:`checkpoint_state` returned."""
        self.reset()
        self._n = float(state["excess_electrons"])
        if "capacitance" in state:
            self._capacitance = float(state["capacitance"])
        if hasattr(self.calculator, "restore_state"):
            inner = {k: v for k, v in state.items() if k.startswith(_INNER_PREFIX)}
            self.calculator.restore_state(
                {name.removeprefix(_INNER_PREFIX): value for name, value in inner.items()}
            )
