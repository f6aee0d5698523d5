"""One geometry to a density model: its coefficients and its electrode, at any charge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms
from torch import Tensor

from voltase.aseplugin.densities.box import complete_cell
from voltase.aseplugin.density_grid import DensityGrid
from voltase.aseplugin.density_structures import density_input
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.faces import find_faces
from voltase.aseplugin.kernels.gaussian_density import evaluate, evaluate_points
from voltase.aseplugin.models.density.inputs import DensityInput
from voltase.aseplugin.models.density.model import Coefficients, DensityModel
from voltase.aseplugin.models.electrode import polynomial
from voltase.aseplugin.models.pemace import Description
from voltase.aseplugin.potentiostat.solver import solve_excess_electrons

Array = npt.NDArray[np.float64]
TOLERANCE = 1e-8
"""Of the potential at which the electron number is solved for, V."""


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


class DensityGeometry:
    """One geometry: coefficients and the electrode's energy as polynomials of its charge.

    Parameters
    ----------
    model : DensityModel
    atoms : Atoms

    Raises
    ------
    InputError
        If the model cannot describe the atoms.
    """

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
                "reference; expected a slab with vacuum (or n = 0)"
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
                     periodic_axes(atoms), list(shape), origin=origin)
        )  # fmt: skip

    def at_points(self, gaussians: Array, points: Array) -> Array:
        """Values (n_points,) of a density at points (n_points, 3)."""
        atoms = self.atoms
        return evaluate_points(points, gaussians, atoms.numbers, atoms.positions, self.model.basis,
                               complete_cell(atoms), periodic_axes(atoms))  # fmt: skip

    def slope(self, grid: DensityGrid, state: ElectrodeState) -> Array:
        """Derivative (nx, ny, nz) by the potential of the density on a grid, e/A^3/V.

        Raises
        ------
        InputError
            If the cell has no potential.
        """
        if state.capacitance is None:
            raise InputError(
                "response: found a cell without vacuum along the normal, which has no potential"
            )
        charges = self._face_charges(state.excess_electrons)
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


def periodic_axes(atoms: Atoms) -> tuple[bool, bool, bool]:
    """The atoms' periodicity as plain values."""
    a, b, c = (bool(p) for p in atoms.pbc)
    return a, b, c
