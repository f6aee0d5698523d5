"""Losses of PE-MACE: forces, force differences of one geometry, energies, conjugate variable."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.electrode import POTENTIAL_CENTRE
from ..models.graph import Graph
from ..models.pemace import Description, PEMACEModel
from .dataset import Batch


POTENTIAL_OUTLIER = 0.5
"""Error in V beyond which the loss of the conjugate variable is linear."""


@dataclass
class LossWeights:
    """Weight of each term; each is a mean square in its unit's natural scale.

    Attributes
    ----------
    forces : float
        Per (eV/A)^2.
    force_difference : float
        Per unit of squared relative error of the response to the electrode's charge.
    energy : float
        Per (eV/atom)^2.
    conjugate : float
        Per V^2; an error in n counts as the error in V that it makes through the capacitance.
    """

    forces: float = 100.0
    force_difference: float = 1.0
    energy: float = 1.0e4
    conjugate: float = 5.0


@dataclass
class Prediction:
    """Committee-weighted results for one label of each geometry.

    Attributes
    ----------
    energy : Tensor (n_graphs,)
        E or Omega in eV without atomic energies.
    forces : Tensor (n_atoms, 3)
    conjugate : Tensor (n_graphs,)
        Phi (V) or n (e).
    """

    energy: Tensor
    forces: Tensor
    conjugate: Tensor


def electrode_input(model: PEMACEModel, electrons: Tensor, potential: Tensor) -> Tensor:
    """The model's input, with harmless values where a label has none."""
    if model.config.embedding == "electrons":
        return torch.nan_to_num(electrons, nan=0.0)
    return torch.nan_to_num(potential, nan=POTENTIAL_CENTRE)


def conjugate_label(model: PEMACEModel, electrons: Tensor, potential: Tensor) -> Tensor:
    """What the model's conjugate variable is compared with; NaN where there is no label."""
    return potential if model.config.embedding == "electrons" else electrons


def predict(model: PEMACEModel, graph: Graph, inputs: list[Tensor], charged: list[Tensor],
            weights: Tensor, training: bool) -> list[Prediction]:  # fmt: skip
    """Energies, forces and conjugates at several charges (or potentials) of the same geometries.

    Parameters
    ----------
    model : PEMACEModel
    graph : Graph
    inputs : list of Tensor (n_graphs,)
    charged : list of Tensor (n_graphs,), bool
        False leaves out the electrode (a structure without a label: the uncharged one).
    weights : Tensor (n_members,)
        Of the committee members, summing to one.
    training : bool
        Keep the graph for a further derivative.
    """
    positions = graph.positions.detach().requires_grad_(True)
    graph.positions = positions
    description: Description | None = None
    results = []
    for k, value in enumerate(inputs):
        x = value.detach().requires_grad_(True)
        if description is None or not model.closed_form:
            description = model.describe(graph, x)
        energy = model.evaluate(graph, description, x) @ weights
        energy = torch.where(charged[k], energy, description.energy @ weights)
        keep = training or (model.closed_form and k + 1 < len(inputs))
        if model.closed_form:
            conjugate = model.conjugate(graph, description, x) @ weights
            (gradient,) = torch.autograd.grad(
                energy.sum(), positions, create_graph=training, retain_graph=keep
            )
        else:
            gradient, slope = torch.autograd.grad(
                energy.sum(), (positions, x), create_graph=training
            )
            conjugate = -slope if model.config.embedding == "electrons" else slope
        results.append(Prediction(energy, -gradient, conjugate))
    graph.positions = positions.detach()
    return results


def batch_loss(model: PEMACEModel, batch: Batch, member_weights: Tensor, weights: LossWeights,
               offsets: dict[str, float], capacitance: Tensor, response_scale: float
               ) -> tuple[Tensor, dict[str, float]]:  # fmt: skip
    """Loss of one batch and its parts.

    Parameters
    ----------
    model : PEMACEModel
    batch : Batch
    member_weights : Tensor (n_members,)
    weights : LossWeights
    offsets : dict
        Energy offset per atom of each config type in eV; updated in place by a running mean.
    capacitance : Tensor (n_domains,)
        Reference e/(V A^2) by which an error in n becomes one in V.
    response_scale : float
        Root mean square of d(force)/d(n / A) in the training set.
    """
    graph = batch.graph
    count = 2 if bool(batch.paired.any()) else 1
    inputs = [electrode_input(model, batch.electrons[k], batch.potential[k]) for k in range(count)]
    charged = [torch.isfinite(x) for x in (
        batch.electrons if model.config.embedding == "electrons" else batch.potential)]  # fmt: skip
    predictions = predict(model, graph, inputs, charged[:count], member_weights, training=True)
    first = predictions[0]
    parts = {"forces": ((first.forces - batch.forces[0]) ** 2).mean()}
    parts["energy"] = _energy_loss(model, batch, first.energy, offsets)
    area = graph.areas.new_zeros(graph.n_graphs).index_add(0, graph.face_graph, graph.areas)
    errors = []
    for k, prediction in enumerate(predictions):
        label = conjugate_label(model, batch.electrons[k], batch.potential[k])
        error = prediction.conjugate - label
        if model.config.embedding == "potential":
            error = error / (capacitance[graph.domain] * area)
        errors.append(error[torch.isfinite(label) & charged[k]])
    error = torch.cat(errors)
    if error.numel():
        parts["conjugate"] = _huber(error, POTENTIAL_OUTLIER)
    if count == 2:
        density = (batch.electrons[1] - batch.electrons[0]) / area
        density = torch.where(batch.paired, density, torch.ones_like(density))
        difference = (predictions[1].forces - first.forces) - (batch.forces[1] - batch.forces[0])
        relative = difference / (density[graph.batch].unsqueeze(1) * response_scale)
        parts["force_difference"] = (relative[batch.paired[graph.batch]] ** 2).mean()
    total = torch.stack([getattr(weights, name) * value for name, value in parts.items()]).sum()
    return total, {name: float(value.detach()) for name, value in parts.items()}


def _energy_loss(model: PEMACEModel, batch: Batch, energy: Tensor, offsets: dict[str, float]
                 ) -> Tensor:  # fmt: skip
    graph = batch.graph
    label = batch.energy[0]
    if model.config.embedding == "potential":
        grand = label + (batch.potential[0] * batch.electrons[0]).double()
        label = torch.where(torch.isfinite(grand), grand, label)
    atoms = torch.bincount(graph.batch, minlength=graph.n_graphs)
    residual = (label - model.reference_energy(graph)).to(energy.dtype) / atoms - energy / atoms
    losses = []
    for i, kind in enumerate(batch.config_types):
        if not bool(torch.isfinite(residual[i])):
            continue
        value = float(residual[i].detach())
        offset = offsets.setdefault(kind, value)
        offsets[kind] = offset + 0.05 * (value - offset)
        losses.append(_huber(residual[i] - offset, 0.01))
    return torch.stack(losses).mean() if losses else energy.new_zeros(())


def _huber(error: Tensor, delta: float) -> Tensor:
    return 2.0 * torch.nn.functional.huber_loss(error, torch.zeros_like(error), delta=delta)
