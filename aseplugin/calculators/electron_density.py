"""The electron density of an interface at any charge or potential, from a PE-EDP model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms

from voltase.aseplugin.calculators.density_geometry import (
    DensityGeometry,
    ElectrodeState,
    periodic_axes,
)
from voltase.aseplugin.densities.box import grid_box, grid_shape, scaled
from voltase.aseplugin.density_grid import DensityGrid
from voltase.aseplugin.electrochemistry import Reference, check_plausible, parse_potential
from voltase.aseplugin.errors import ExtrapolationError, InputError
from voltase.aseplugin.models.density.checkpoint import load_model

__all__ = ["ElectrodeState", "ElectronDensity", "PredictedDensity"]

Array = npt.NDArray[np.float64]


class PredictedDensity(DensityGrid):
    """A predicted density, which knows its electrode and how it answers the potential.

    Attributes
    ----------
    state : ElectrodeState
    """

    state: ElectrodeState
    _geometry: DensityGeometry

    def response(self) -> DensityGrid:
        """Derivative by the electrode potential at fixed atoms, in closed form, e/A^3/V.

        Its integral is dn/dU, minus the capacitance; `fukui` is the same for one electron.

        Raises
        ------
        InputError
            If the cell has no potential.
        """
        if self.slope is None:
            self.slope = self._geometry.slope(self, self.state)
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
        self._last: DensityGeometry | None = None

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

        Along an axis that is not periodic the grid spans the cell, or if the atoms come within 3 A
        of its ends, the atoms and 6 A around them. All values are scaled by the factor, near one,
        that makes their sum the number of electrons exactly.

        Parameters
        ----------
        atoms : Atoms
            A slab of the electrode, wetted on one side or two.
        potential : float or str, optional
            Electrode potential, V vs `reference`.
        excess_electrons : float, optional
            n in e per cell, positive is more negative. One of the two; neither is n = 0.
        spacing : float
            Largest distance of grid points along a lattice vector, A; 0.01 to 2.
        shape : (int, int, int), optional
            Number of points instead.

        Raises
        ------
        InputError
            If an argument does not fit the structure or the model, or the grid is too coarse to
            hold the electrons, or of more than 2e8 points.
        ExtrapolationError
            If the potential or the charge lies outside what the model was trained on.
        """
        geometry = self._of(atoms)
        state = self._state(geometry, potential, excess_electrons)
        cell, origin = grid_box(atoms)
        points = grid_shape(cell, spacing, shape)
        values = geometry.on_grid(geometry.coefficients_at(state), cell, origin, points)
        expected = geometry.neutral_electrons + state.excess_electrons
        valence = [float(self.model.config.valence[s]) for s in atoms.get_chemical_symbols()]
        grid = PredictedDensity(
            scaled(values, cell, expected),
            cell,
            origin,
            pbc=periodic_axes(atoms),
            atoms=geometry.atoms,
            valence=np.array(valence),
        )
        grid.state, grid._geometry = state, geometry
        return grid

    def evaluate(self, atoms: Atoms, points: npt.ArrayLike, potential: float | str | None = None,
                 excess_electrons: float | None = None) -> Array:  # fmt: skip
        """Density (n_points,) in e/A^3 at points (n_points, 3) in A, without a grid's scaling.

        See `predict` for the other arguments and what is raised.
        """
        places = _places(points)
        geometry = self._of(atoms)
        state = self._state(geometry, potential, excess_electrons)
        return geometry.at_points(geometry.coefficients_at(state), places)

    def state(self, atoms: Atoms, potential: float | str | None = None,
              excess_electrons: float | None = None) -> ElectrodeState:  # fmt: skip
        """The electrode's charge and potential, without a density; see `predict`."""
        return self._state(self._of(atoms), potential, excess_electrons)

    # -- parts ------------------------------------------------------------------------------------
    def _of(self, atoms: Atoms) -> DensityGeometry:
        """What the geometry fixes; kept until the atoms change."""
        if not isinstance(atoms, Atoms):
            raise InputError(f"atoms: found a {type(atoms).__name__}, expected ase.Atoms")
        if self._last is None or not self._last.belongs_to(atoms):
            self._last = DensityGeometry(self.model, atoms)
        return self._last

    def _state(self, geometry: DensityGeometry, potential: float | str | None,
               electrons: float | None) -> ElectrodeState:  # fmt: skip
        if potential is not None and electrons is not None:
            raise InputError("potential: found excess_electrons too, expected one of the two")
        if potential is None:
            n = 0.0 if electrons is None else _number("excess_electrons", electrons)
            if n and not geometry.has_potential:
                raise InputError(
                    f"excess_electrons: found {n:g} in a cell without vacuum along the normal, "
                    "where they have no place; expected a slab with vacuum (or n = 0)"
                )
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

    def _check_charge(self, geometry: DensityGeometry, n: float) -> None:
        limits, area = self.excess_electrons_per_area_range, geometry.area
        if self.allow_extrapolation or limits is None or limits[0] <= n / area <= limits[1]:
            return
        raise ExtrapolationError(
            f"excess_electrons: found {n:.4f} e on {area:.1f} A^2 ({n / area:.5f} e/A^2), "
            f"expected {limits[0]:.5f} to {limits[1]:.5f} e/A^2 as in training"
        )


def _places(points: npt.ArrayLike) -> Array:
    try:
        found = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"points: found no numbers ({error}), expected shape (n, 3)") from error
    if found.ndim != 2 or found.shape[1] != 3:
        raise InputError(f"points: found shape {found.shape}, expected (n, 3)")
    if not np.isfinite(found).all():
        raise InputError("points: found values that are not finite, expected A")
    return found


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: found {value!r}, expected a number") from error
    if not np.isfinite(number):
        raise InputError(f"{name}: found {value}, expected a finite number")
    return number
