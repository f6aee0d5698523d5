"""The electron density of an interface at any charge or potential, from a PE-EDP model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms
from scipy.fft import next_fast_len
from torch import Tensor

from voltase.aseplugin.density_grid import DensityGrid
from voltase.aseplugin.density_structures import density_input
from voltase.aseplugin.electrochemistry import Reference, check_plausible, parse_potential
from voltase.aseplugin.errors import ExtrapolationError, InputError
from voltase.aseplugin.kernels.gaussian_density import evaluate, evaluate_points
from voltase.aseplugin.models.density.checkpoint import load_model
from voltase.aseplugin.models.density.inputs import DensityInput
from voltase.aseplugin.models.density.model import Coefficients, DensityModel
from voltase.aseplugin.models.electrode import polynomial
from voltase.aseplugin.models.pemace import Description
from voltase.aseplugin.potentiostat.solver import solve_excess_electrons

Array = npt.NDArray[np.float64]
LOG = logging.getLogger(__name__)
MARGIN = 6.0
"""Room in A that a grid leaves around the atoms along an axis that is not periodic."""
TOLERANCE = 1e-8
"""Of the potential at which the electron number is solved for, V."""
COARSE = 2e-3
"""Share of the electrons that a grid may lose between its points before there is a warning."""


@dataclass(frozen=True)
class ElectrodeState:
    """The electrode at one geometry.

    Attributes
    ----------
    excess_electrons : float
        n, e.
    potential : float or None
        Absolute, V; None where the cell leaves no vacuum to refer it to.
    capacitance : float or None
        -dn/dPhi at fixed geometry, e/V.
    """

    excess_electrons: float
    potential: float | None
    capacitance: float | None


class PredictedDensity(DensityGrid):
    """A predicted density, which knows its electrode and how it answers the potential.

    Attributes
    ----------
    state : ElectrodeState
    """

    state: ElectrodeState
    _geometry: _Geometry

    def response(self) -> DensityGrid:
        """Derivative by the electrode potential at fixed atoms, in closed form, e/A^3/V.

        Its integral is dn/dU, minus the capacitance; `fukui` is the same for one electron.

        Raises
        ------
        InputError
            If the cell has no potential.
        """
        if self.slope is None:
            self.slope = self._geometry.slope(self)
        return self.with_values(self.slope)

    def with_values(self, values: Array) -> DensityGrid:
        """Other values on the same points, without a slope."""
        return DensityGrid(values, self.cell, self.origin, self.pbc, self.atoms, self.valence)


class ElectronDensity:
    """Electron density at a given electron number or electrode potential.

    Parameters
    ----------
    model : str or Path
        Name of a bundled model or a checkpoint folder.
    reference : str or Reference
        What potentials count from.
    domain : str, optional
        Whose potentials are meant, of the reference codes of the model's trunk; that of the
        training data if not given.
    allow_extrapolation : bool
        Answer outside the trained range of the potential and the charge.

    Raises
    ------
    CheckpointError
        If the model cannot be loaded.
    InputError
        If an argument does not fit.

    Notes
    -----
    Electron number density, in e/A^3, positive; of valence electrons, smooth at the nuclei like
    the densities that the model was trained on. The electrode's potential at a charge is that of
    the PE-MACE model inside (arXiv 2604.07322 for the embedding).
    """

    def __init__(self, model: str | Path = "pt111-water-edp", reference: str | Reference = "SHE",
                 domain: str | None = None, allow_extrapolation: bool = False) -> None:  # fmt: skip
        self.model, self.card = load_model(model)
        self.reference = Reference.parse(reference)
        self.allow_extrapolation = allow_extrapolation
        if domain is not None:
            self.model.config.domain = domain
        _ = self.model.domain  # refuses an unknown one
        self._last: _Geometry | None = None

    # -- ranges -----------------------------------------------------------------------------------
    @property
    def potential_range(self) -> tuple[float, float] | None:
        """Trained range of the absolute potential, V."""
        return self._range("potential_range")

    @property
    def excess_electrons_per_area_range(self) -> tuple[float, float] | None:
        """Trained range of n per area of a face, e/A^2."""
        return self._range("electrons_per_area_range")

    def _range(self, name: str) -> tuple[float, float] | None:
        found = self.card.get(name)
        return None if found is None else (float(found[0]), float(found[1]))

    # -- densities --------------------------------------------------------------------------------
    def predict(self, atoms: Atoms, potential: float | str | None = None,
                excess_electrons: float | None = None, spacing: float = 0.15,
                shape: Sequence[int] | None = None) -> PredictedDensity:  # fmt: skip
        """Density on a grid that fills the cell.

        Along an axis that is not periodic the grid spans the cell, or if the atoms come near its
        ends, the atoms and `MARGIN` around them.

        Parameters
        ----------
        atoms : Atoms
            A slab of the electrode, wetted on one side or two.
        potential : float or str, optional
            Electrode potential, V vs `reference`.
        excess_electrons : float, optional
            n in e per cell, positive is more negative. One of the two; neither is n = 0.
        spacing : float
            Largest distance of grid points along a lattice vector, A.
        shape : (int, int, int), optional
            Number of points instead.

        Raises
        ------
        InputError
            If an argument does not fit the structure or the model.
        ExtrapolationError
            If the potential or the charge lies outside what the model was trained on.
        """
        geometry = self._of(atoms)
        state = self._state(geometry, potential, excess_electrons)
        cell, origin = grid_box(atoms)
        points = _shape(cell, spacing, shape)
        values = geometry.on_grid(geometry.coefficients_at(state), cell, origin, points)
        expected = geometry.neutral_electrons + state.excess_electrons
        valence = [float(self.model.config.valence[s]) for s in atoms.get_chemical_symbols()]
        grid = PredictedDensity(
            _scaled(values, cell, expected),
            cell,
            origin,
            pbc=_periodic(atoms),
            atoms=geometry.atoms,
            valence=np.array(valence),
        )
        grid.state, grid._geometry = state, geometry
        return grid

    def evaluate(self, atoms: Atoms, points: npt.ArrayLike, potential: float | str | None = None,
                 excess_electrons: float | None = None) -> Array:  # fmt: skip
        """Density (n_points,) in e/A^3 at points (n_points, 3) in A.

        See `predict` for the other arguments and what is raised.
        """
        places = np.asarray(points, dtype=np.float64)
        if places.ndim != 2 or places.shape[1] != 3:
            raise InputError(f"points: found shape {places.shape}, expected (n, 3)")
        geometry = self._of(atoms)
        state = self._state(geometry, potential, excess_electrons)
        gaussians = geometry.coefficients_at(state)
        return np.asarray(
            evaluate_points(places, gaussians, atoms.numbers, atoms.positions, self.model.basis,
                            _complete(atoms), _periodic(atoms))
        )  # fmt: skip

    def state(self, atoms: Atoms, potential: float | str | None = None,
              excess_electrons: float | None = None) -> ElectrodeState:  # fmt: skip
        """The electrode's charge and potential, without a density; see `predict`."""
        return self._state(self._of(atoms), potential, excess_electrons)

    # -- parts ------------------------------------------------------------------------------------
    def _of(self, atoms: Atoms) -> _Geometry:
        """What the geometry fixes; kept until the atoms change."""
        if self._last is None or not self._last.belongs_to(atoms):
            self._last = _Geometry(self.model, atoms)
        return self._last

    def _state(self, geometry: _Geometry, potential: float | str | None, electrons: float | None
               ) -> ElectrodeState:  # fmt: skip
        if potential is not None and electrons is not None:
            raise InputError("potential: found excess_electrons too, expected one of the two")
        if potential is None:
            n = 0.0 if electrons is None else _number("excess_electrons", electrons)
            self._check_charge(geometry, n)
            return geometry.state(n)
        value = parse_potential(potential)
        check_plausible(value, self.reference)
        absolute = self.reference.to_absolute(value)
        self._check_potential(absolute)
        n = geometry.electrons_at(absolute)
        self._check_charge(geometry, n)
        return geometry.state(n)

    def _check_potential(self, absolute: float) -> None:
        limits = self.potential_range
        if self.allow_extrapolation or limits is None or limits[0] <= absolute <= limits[1]:
            return
        low, high = (self.reference.from_absolute(x) for x in limits)
        raise ExtrapolationError(
            f"potential: found {self.reference.from_absolute(absolute):.3f} V vs "
            f"{self.reference.name}, expected {low:.2f} to {high:.2f} V as in training"
        )

    def _check_charge(self, geometry: _Geometry, n: float) -> None:
        limits, area = self.excess_electrons_per_area_range, geometry.area
        if self.allow_extrapolation or limits is None or limits[0] <= n / area <= limits[1]:
            return
        raise ExtrapolationError(
            f"excess_electrons: found {n:.4f} e on {area:.1f} A^2 ({n / area:.5f} e/A^2), "
            f"expected {limits[0]:.5f} to {limits[1]:.5f} e/A^2 as in training"
        )


class _Geometry:
    """One geometry: coefficients and the electrode's energy as polynomials of its charge."""

    def __init__(self, model: DensityModel, atoms: Atoms) -> None:
        self.model, self.atoms = model, atoms.copy()
        self.structure: DensityInput = density_input(atoms, model)
        with torch.no_grad():
            self.coefficients: Coefficients = model(self.structure)
            self.description: Description = model.trunk.describe(self.structure.graph)
        self.area = float(self.structure.graph.areas.sum())
        symbols = atoms.get_chemical_symbols()
        self.neutral_electrons = float(sum(model.config.valence[s] for s in symbols))

    def belongs_to(self, atoms: Atoms) -> bool:
        """Whether this is about these atoms as they are now."""
        mine = self.atoms
        return bool(
            len(atoms) == len(mine)
            and np.array_equal(atoms.numbers, mine.numbers)
            and np.array_equal(atoms.positions, mine.positions)
            and np.array_equal(atoms.cell.array, mine.cell.array)
            and np.array_equal(atoms.pbc, mine.pbc)
        )

    @property
    def has_potential(self) -> bool:
        """Whether the electrode's potential has a reference."""
        from voltase.aseplugin.faces import find_faces

        return find_faces(self.atoms, self.model.trunk_config.electrode_symbols).has_vacuum

    def state(self, n: float) -> ElectrodeState:
        """Potential and capacitance at n electrons."""
        if not self.has_potential:
            return ElectrodeState(n, None, None)
        potential, capacitance = self._potential(n)
        return ElectrodeState(n, potential, capacitance)

    def electrons_at(self, absolute: float) -> float:
        """Excess electrons (e) at an absolute potential (V)."""
        if not self.has_potential:
            raise InputError(
                "potential: found a cell without vacuum along the normal, where it has no "
                "reference; expected a slab with vacuum, or excess_electrons"
            )
        _, capacitance = self._potential(0.0)
        found = solve_excess_electrons(self._potential, absolute, start=0.0, tolerance=TOLERANCE,
                                       capacitance=capacitance)  # fmt: skip
        return found.excess_electrons

    def coefficients_at(self, state: ElectrodeState) -> Array:
        """Gaussian coefficients (n_functions,)."""
        density = self._face_charges(state.excess_electrons)
        return self._gaussians(self.coefficients.at(density.unsqueeze(0))[0])

    def on_grid(self, gaussians: Array, cell: Array, origin: Array, shape: Sequence[int]) -> Array:
        """Values (nx, ny, nz) of a density on a grid."""
        atoms = self.atoms
        return np.asarray(
            evaluate(gaussians, atoms.numbers, atoms.positions, self.model.basis, cell,
                     _periodic(atoms), list(shape), origin=origin)
        )  # fmt: skip

    def slope(self, grid: PredictedDensity) -> Array:
        """Derivative (nx, ny, nz) of a density by the potential, e/A^3/V."""
        if grid.state.capacitance is None:
            raise InputError(
                "response: found a cell without vacuum along the normal, which has no potential"
            )
        charges = self._face_charges(grid.state.excess_electrons)
        change = self._charge_slopes(charges)
        gaussians = self._gaussians(self.coefficients.along(charges, change))
        values = self.on_grid(gaussians, grid.cell, grid.origin, grid.values.shape)
        per_volt = float((change * self.structure.graph.areas).sum())  # dn/dPhi
        return values * (per_volt / (values.sum() * grid.volume_element))

    def _potential(self, n: float) -> tuple[float, float]:
        """Absolute potential (V) and capacitance (e/V) at n electrons, of the trunk's committee."""
        trunk, graph = self.model.trunk, self.structure.graph
        x = torch.tensor([n], dtype=torch.float64)
        with torch.no_grad():
            potential = trunk.conjugate(graph, self.description, x)[0].mean()
            capacitance = trunk.capacitance(graph, self.description, x)[0]
        # The mean of the members' potentials at one n has the mean of their inverse capacitances.
        return float(potential), float(1.0 / (1.0 / capacitance).mean())

    def _face_charges(self, n: float) -> Tensor:
        """Charge per area (n_faces,) of the faces, which share n electrons at one potential."""
        x = torch.tensor([n], dtype=torch.float64)
        with torch.no_grad():
            found = self.model.trunk.face_input(self.structure.graph, self.description, x)
        return found.double().mean(1)

    def _charge_slopes(self, density: Tensor) -> Tensor:
        """Derivative (n_faces,) of the faces' charges per area by the potential, e/(A^2 V)."""
        members = self.description.coefficients.shape[1]
        x = density.unsqueeze(1).expand(-1, members)
        curvature = polynomial(self.description.coefficients.double(), x, order=2)
        return -self.structure.graph.areas / curvature.mean(1)

    def _gaussians(self, coefficients: Tensor) -> Array:
        return self.model.to_gaussians(self.structure.graph.species, coefficients)


def grid_box(atoms: Atoms) -> tuple[Array, Array]:
    """Cell (3, 3) and origin (3,) in A of a grid that holds the density of the atoms."""
    cell, origin = _complete(atoms), np.zeros(3)
    for axis in range(3):
        if atoms.pbc[axis]:
            continue
        normal = np.cross(cell[axis - 2], cell[axis - 1])
        normal /= np.linalg.norm(normal)
        heights = atoms.positions @ normal
        height = float(cell[axis] @ normal)
        # Half the margin is kept where there is a cell: who made it knows where its vacuum ends.
        fits = heights.min() > 0.5 * MARGIN and heights.max() < height - 0.5 * MARGIN
        if fits and height > 0.0:
            continue
        low, high = heights.min() - MARGIN, heights.max() + MARGIN
        origin = origin + (low - float(origin @ normal)) * normal
        cell[axis] = (high - low) * normal
    return cell, origin


def _complete(atoms: Atoms) -> Array:
    return np.array(atoms.cell.complete().array, dtype=np.float64)


def _shape(cell: Array, spacing: float, shape: Sequence[int] | None) -> tuple[int, ...]:
    if shape is not None:
        found = tuple(int(n) for n in shape)
        if len(found) != 3 or min(found) < 1:
            raise InputError(f"shape: found {shape}, expected three numbers of points")
        return found
    if not (np.isfinite(spacing) and 0.01 <= spacing <= 2.0):
        raise InputError(f"spacing: found {spacing}, expected 0.01 to 2 A")
    lengths = np.linalg.norm(cell, axis=1)
    return tuple(int(next_fast_len(int(np.ceil(x / spacing - 1e-9)), real=True)) for x in lengths)


def _scaled(values: Array, cell: Array, electrons: float) -> Array:
    """The values times what the sum over the grid lacks of the electrons that there are."""
    total = float(values.sum()) * abs(float(np.linalg.det(cell))) / values.size
    lost = 1.0 - total / electrons
    if abs(lost) > COARSE:
        LOG.warning(
            "the grid misses %.2g of the electrons between its points; a smaller spacing is needed",
            lost,
        )
    return values * (electrons / total)


def _periodic(atoms: Atoms) -> tuple[bool, bool, bool]:
    a, b, c = (bool(p) for p in atoms.pbc)
    return a, b, c


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: found {value!r}, expected a number") from error
    if not np.isfinite(number):
        raise InputError(f"{name}: found {value}, expected a finite number")
    return number
