"""Energies, forces, stress and conjugate variable of one structure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .graph import Graph
from .pemace import PEMACEModel

Array = npt.NDArray[np.float64]


@dataclass
class Result:
    """One calculation.

    Attributes
    ----------
    energy : float
        E or Omega in eV, atomic energies included.
    forces : ndarray (n_atoms, 3)
        eV/A.
    conjugate, conjugate_spread : float or None
        Phi (V) or n (e) and its standard deviation over the committee; None without an electrode.
    capacitance : float or None
        -dn/dPhi at fixed geometry, e/V.
    stress : ndarray (3, 3) or None
        eV/A^3, positive under tension (ASE's sign).
    forces_spread : ndarray (n_atoms,) or None
        Standard deviation of the forces over the committee, eV/A.
    """

    energy: float
    forces: Array
    conjugate: float | None
    conjugate_spread: float | None
    capacitance: float | None
    stress: Array | None
    forces_spread: Array | None


class Evaluator:
    """Runs a model on one structure at a time.

    Parameters
    ----------
    model : PEMACEModel
    device : str
    dtype : torch.dtype
    """

    def __init__(self, model: PEMACEModel, device: str, dtype: torch.dtype) -> None:
        self.device, self.dtype = torch.device(device), dtype
        energies = model.atomic_energies
        self.model = model.to(device=self.device, dtype=dtype).eval()
        self.model.atomic_energies = energies.to(device=self.device, dtype=torch.float64)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)

    @property
    def canonical(self) -> bool:
        """Whether the model's energy is E(R, n)."""
        return self.model.config.embedding == "electrons"

    def __call__(self, graph: Graph, electrode: float, charged: bool, cell: Array | None = None,
                 spread: bool = False) -> Result:  # fmt: skip
        """Calculate.

        Parameters
        ----------
        graph : Graph
            In float64 on the CPU.
        electrode : float
            n in e, or Phi in V absolute.
        charged : bool
            False leaves the electrode out.
        cell : ndarray (3, 3), optional
            Wanted for the stress.
        spread : bool
            Also the committee's spread of the forces.
        """
        layout = graph.layout if self.device.type == "cpu" else None
        graph = graph.to(self.device, self.dtype)
        graph.layout = layout
        positions = graph.positions.requires_grad_(True)
        graph.positions = positions
        strain = None
        if cell is not None:
            strain = torch.zeros(3, 3, device=self.device, dtype=self.dtype, requires_grad=True)
            _deform(graph, strain, self._lattice(cell))
        x = torch.full((1,), electrode, device=self.device, dtype=self.dtype, requires_grad=True)
        description = self.model.describe(graph, x)
        members = description.energy
        if charged:
            members = self.model.evaluate(graph, description, x)
        energy = members.mean()
        conjugate = capacitance = width = None
        if charged:
            conjugate, width, capacitance = self._electrode_results(graph, description, x, members)
        inputs = [positions] if strain is None else [positions, strain]
        gradients = torch.autograd.grad(energy, inputs, retain_graph=spread)
        total = float(energy.detach()) + float(self.model.reference_energy(graph))
        stress = None
        if strain is not None and cell is not None:
            stress = _numpy(gradients[1]) / abs(float(np.linalg.det(cell)))
            stress = 0.5 * (stress + stress.T)
        return Result(
            energy=total,
            forces=-_numpy(gradients[0]),
            conjugate=conjugate,
            conjugate_spread=width,
            capacitance=capacitance,
            stress=stress,
            forces_spread=self._forces_spread(members, positions) if spread else None,
        )

    def _electrode_results(self, graph: Graph, description: object, x: Tensor, members: Tensor
                           ) -> tuple[float, float, float]:  # fmt: skip
        from .pemace import Description

        assert isinstance(description, Description)
        if self.model.closed_form:
            with torch.no_grad():
                values = self.model.conjugate(graph, description, x)[0]
                capacitance = self.model.capacitance(graph, description, x)[0]
            # The committee's energy is the mean of E at one n (or of Omega at one Phi), so its
            # stiffness (or capacitance) is the mean of theirs.
            if self.canonical:
                mean_capacitance = 1.0 / float((1.0 / capacitance).mean())
            else:
                mean_capacitance = float(capacitance.mean())
            return float(values.mean()), float(values.std(correction=0)), mean_capacitance
        slopes = [
            torch.autograd.grad(members[0, m], x, create_graph=True)[0][0]
            for m in range(members.shape[1])
        ]
        values = torch.stack(slopes)
        (curvature,) = torch.autograd.grad(values.mean(), x, retain_graph=True)
        second = float(curvature)
        capacitance = 1.0 / second if self.canonical else -second
        sign = -1.0 if self.canonical else 1.0
        detached = sign * values.detach()
        return float(detached.mean()), float(detached.std(correction=0)), capacitance

    def _forces_spread(self, members: Tensor, positions: Tensor) -> Array:
        count = members.shape[1]
        forces = torch.stack(
            [
                torch.autograd.grad(members[0, m], positions, retain_graph=m + 1 < count)[0]
                for m in range(count)
            ]
        )
        return _numpy(forces.std(dim=0, correction=0).square().sum(1).sqrt())

    def _lattice(self, cell: Array) -> Tensor:
        return torch.as_tensor(cell, device=self.device, dtype=self.dtype)


def _deform(graph: Graph, strain: Tensor, cell: Tensor) -> None:
    """Replace positions, shifts and face areas by their strained values, differentiably."""
    symmetric = 0.5 * (strain + strain.T)
    graph.positions = graph.positions + graph.positions @ symmetric
    graph.shifts = graph.shifts + graph.shifts @ symmetric
    # A surface element a x b turns with the inverse transpose of the deformation.
    deformation = torch.eye(3, device=cell.device, dtype=cell.dtype) + symmetric
    cofactor = torch.linalg.det(deformation) * torch.linalg.inv(deformation).T
    elements = (graph.normals * graph.areas.unsqueeze(1)) @ cofactor.T
    graph.areas = torch.linalg.vector_norm(elements, dim=1)
    graph.normals = elements / graph.areas.unsqueeze(1)


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().double().numpy()
