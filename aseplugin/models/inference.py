"""Energies, forces, stress and conjugate variable of one structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from voltase.aseplugin.models.graph import Graph
from voltase.aseplugin.models.pemace import Description, PEMACEModel

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


class _Electrode(NamedTuple):
    """Conjugate variable, its spread over the committee, and the capacitance."""

    conjugate: float
    spread: float
    capacitance: float


class Evaluator:
    """Runs a model on one structure at a time.

    The network runs in the given precision; distances, sums over atoms and the electrode's
    polynomials are in float64, so that neither large cells nor atoms far from the origin cost
    digits.

    Parameters
    ----------
    model : PEMACEModel
        Becomes the evaluator's own: it is moved, frozen and its weights must not change later.
    device : str
    dtype : torch.dtype
        Of the network.
    """

    def __init__(self, model: PEMACEModel, device: str, dtype: torch.dtype) -> None:
        self.device = torch.device(device)
        energies = model.atomic_energies
        self.model = model.to(device=self.device, dtype=dtype).eval()
        self.model.atomic_energies = energies.to(device=self.device, dtype=torch.float64)
        self.model.freeze()

    @property
    def canonical(self) -> bool:
        """Whether the model's energy is E(R, n)."""
        return self.model.config.embedding == "electrons"

    def __call__(self, graph: Graph, electrode: float, charged: bool, volume: float | None = None,
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
        volume : float, optional
            Of the cell in A^3, if the stress is wanted.
        spread : bool
            Also the committee's spread of the forces.
        """
        graph, leaves = self._prepare(graph, with_strain=volume is not None)
        x = torch.full((1,), electrode, device=self.device, dtype=torch.float64, requires_grad=True)
        description = self.model.describe(graph, x)
        members = description.energy
        state = None
        if charged:
            members = self.model.evaluate(graph, description, x)
            state = self._electrode_state(graph, description, x, members)
        energy = members.mean()
        gradients = torch.autograd.grad(energy, leaves, retain_graph=spread)
        stress = None
        if volume is not None:
            stress = _numpy(gradients[1]) / volume
            stress = 0.5 * (stress + stress.T)
        return Result(
            energy=float(energy.detach()) + float(self.model.reference_energy(graph)),
            forces=-_numpy(gradients[0]),
            conjugate=None if state is None else state.conjugate,
            conjugate_spread=None if state is None else state.spread,
            capacitance=None if state is None else state.capacitance,
            stress=stress,
            forces_spread=self._forces_spread(members, leaves[0]) if spread else None,
        )

    def _prepare(self, graph: Graph, with_strain: bool) -> tuple[Graph, list[Tensor]]:
        """The graph on the device, and the leaves to differentiate by: positions, strain."""
        layout = graph.layout
        graph = graph.to(self.device, torch.float64)
        leaves = [graph.positions.requires_grad_(True)]
        if with_strain:
            strain = torch.zeros(3, 3, device=self.device, dtype=torch.float64, requires_grad=True)
            leaves.append(strain)
            graph = graph.strained(strain)
        graph.layout = None if layout is None else layout.to(self.device)
        return graph, leaves

    def _electrode_state(self, graph: Graph, description: Description, x: Tensor, members: Tensor
                         ) -> _Electrode:  # fmt: skip
        if not self.model.closed_form:
            return self._differentiated_state(x, members)
        with torch.no_grad():
            values = self.model.conjugate(graph, description, x)[0]
            capacitance = self.model.capacitance(graph, description, x)[0]
        # The committee's energy is the mean of E at one n (or of Omega at one Phi), so its
        # stiffness (or capacitance) is the mean of theirs.
        mean = 1.0 / (1.0 / capacitance).mean() if self.canonical else capacitance.mean()
        return _Electrode(float(values.mean()), float(values.std(correction=0)), float(mean))

    def _differentiated_state(self, x: Tensor, members: Tensor) -> _Electrode:
        slopes = torch.stack(
            [torch.autograd.grad(member, x, create_graph=True)[0][0] for member in members[0]]
        )
        (curvature,) = torch.autograd.grad(slopes.mean(), x, retain_graph=True)
        second = float(curvature)
        values = slopes.detach() * (-1.0 if self.canonical else 1.0)
        capacitance = 1.0 / second if self.canonical else -second
        return _Electrode(float(values.mean()), float(values.std(correction=0)), capacitance)

    def _forces_spread(self, members: Tensor, positions: Tensor) -> Array:
        last = members.shape[1] - 1
        forces = torch.stack(
            [
                torch.autograd.grad(member, positions, retain_graph=m < last)[0]
                for m, member in enumerate(members[0])
            ]
        )
        return _numpy(forces.std(dim=0, correction=0).square().sum(1).sqrt())


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().double().numpy()
