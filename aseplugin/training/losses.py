"""Losses of PE-MACE: forces, force differences of one geometry, energies, conjugate variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from voltase.aseplugin.models.electrode import POTENTIAL_CENTRE
from voltase.aseplugin.models.graph import Graph
from voltase.aseplugin.models.pemace import Description, PEMACEModel
from voltase.aseplugin.training.batches import Batch
from voltase.aseplugin.training.config import LossWeights

POTENTIAL_OUTLIER = 0.5
"""Error in V beyond which the loss of the conjugate variable is linear."""
ENERGY_OUTLIER = 0.01
"""Error in eV/atom beyond which the loss of the energy is linear."""
SMALLEST_CHARGE = 1e-6
"""Charge difference in e/A^2 below which two labels say nothing about the response."""


@dataclass
class Prediction:
    """Committee-weighted results for one label of each geometry.

    Attributes
    ----------
    energy : Tensor (n_graphs,)
        E or Omega in eV without atomic energies.
    forces : Tensor (n_atoms, 3)
        eV/A.
    conjugate : Tensor (n_graphs,)
        Phi (V) or n (e).
    """

    energy: Tensor
    forces: Tensor
    conjugate: Tensor


class Loss(NamedTuple):
    """Loss of one batch.

    Attributes
    ----------
    total : Tensor ()
    parts : dict
        Each term without its weight; absent where the batch has no label for it.
    residuals : list of (config type, float)
        Energy label minus prediction in eV/atom, from which the offsets are updated.
    """

    total: Tensor
    parts: dict[str, float]
    residuals: list[tuple[str, float]]


class Scales(NamedTuple):
    """What makes the terms of the loss comparable.

    Attributes
    ----------
    capacitance : Tensor (n_domains,)
        Reference in e/(V A^2), by which an error in n becomes one in V.
    response : float
        Root mean square of d(force)/d(n / A) in the training set, eV/A per e/A^2.
    """

    capacitance: Tensor
    response: float


def electrode_input(model: PEMACEModel, electrons: Tensor, potential: Tensor
                    ) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The model's input with a harmless value where there is none, and where there is one."""
    if model.config.embedding == "electrons":
        known, filler = electrons, 0.0
    else:
        known, filler = potential, POTENTIAL_CENTRE
    return torch.nan_to_num(known, nan=filler), torch.isfinite(known)


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
        n in e, or Phi in V absolute.
    charged : list of Tensor (n_graphs,), bool
        False leaves out the electrode (a structure without a label: the uncharged one).
    weights : Tensor (n_members,) or (n_graphs, n_members)
        Of the committee members, each row summing to one.
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
        energy = (model.evaluate(graph, description, x) * weights).sum(1)
        energy = torch.where(charged[k], energy, (description.energy * weights).sum(1))
        if model.closed_form:
            conjugate = (model.conjugate(graph, description, x) * weights).sum(1)
            keep = training or k + 1 < len(inputs)
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
    if training:
        return results
    return [Prediction(p.energy.detach(), p.forces, p.conjugate.detach()) for p in results]


def batch_loss(model: PEMACEModel, batch: Batch, member_weights: Tensor, weights: LossWeights,
               offsets: dict[str, float], scales: Scales, electrode: bool = True
               ) -> Loss:  # fmt: skip
    """Loss of one batch and its parts.

    Parameters
    ----------
    model : PEMACEModel
    batch : Batch
    member_weights : Tensor (n_members,) or (n_graphs, n_members)
    weights : LossWeights
    offsets : dict
        Energy offset per atom of each config type in eV; the batch's own mean where absent.
    scales : Scales
    electrode : bool
        False trains the network without its electrode: on forces, as if nothing were charged, and
        on the energies of structures that are not.
    """
    graph = batch.graph
    count = 2 if electrode and bool(batch.paired.any()) else 1
    states = [electrode_input(model, batch.electrons[k], batch.potential[k]) for k in range(count)]
    charged = states[0][1]
    if not electrode:
        states = [(x, torch.zeros_like(known)) for x, known in states]
    predictions = predict(model, graph, [x for x, _ in states], [known for _, known in states],
                          member_weights, training=True)  # fmt: skip
    first = predictions[0]
    terms = {"forces": ((first.forces - batch.forces[0]) ** 2).mean()}
    residual = _energy_residual(model, batch, first.energy)
    if not electrode:
        residual = torch.where(charged, torch.nan, residual)
    residuals = [(kind, float(value)) for kind, value in
                 zip(batch.config_types, residual.detach(), strict=True)
                 if torch.isfinite(value)]  # fmt: skip
    if residuals:
        terms["energy"] = _energy_loss(residual, batch.config_types, residuals, offsets)
    capacitance = scales.capacitance[graph.domain] * _areas(graph)
    errors = []
    for k, prediction in enumerate(predictions):
        label = conjugate_label(model, batch.electrons[k], batch.potential[k])
        error = prediction.conjugate - label
        if model.config.embedding == "potential":
            error = error / capacitance
        errors.append(error[torch.isfinite(label) & states[k][1]])
    error = torch.cat(errors)
    if error.numel():
        terms["conjugate"] = _huber(error, POTENTIAL_OUTLIER)
    if count == 2:
        change = charge_difference(batch.electrons, batch.potential, capacitance) / _areas(graph)
        usable = batch.paired & (change.abs() > SMALLEST_CHARGE)
        atoms = usable[graph.batch]
        if bool(atoms.any()):
            difference = (predictions[1].forces - first.forces) - (
                batch.forces[1] - batch.forces[0])  # fmt: skip
            relative = difference[atoms] / (change[graph.batch[atoms]] * scales.response)[:, None]
            terms["force_difference"] = (relative**2).mean()
    total = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
    return Loss(total, {name: float(value.detach()) for name, value in terms.items()}, residuals)


def charge_difference(electrons: list[Tensor], potential: list[Tensor], capacitance: Tensor
                      ) -> Tensor:  # fmt: skip
    """Difference in n (e) of two labels; through the capacitance (e/V) where n is unknown."""
    change = electrons[1] - electrons[0]
    estimate = capacitance * (potential[0] - potential[1])
    return torch.nan_to_num(torch.where(torch.isfinite(change), change, estimate), nan=0.0)


def _areas(graph: Graph) -> Tensor:
    """Area in A^2 of all faces of each structure, (n_graphs,)."""
    zero = graph.areas.new_zeros(graph.n_graphs)
    return zero.index_add(0, graph.face_graph, graph.areas)


def _energy_residual(model: PEMACEModel, batch: Batch, energy: Tensor) -> Tensor:
    """Label minus prediction in eV/atom (n_graphs,), NaN where there is no label."""
    graph = batch.graph
    label = (batch.energy if model.config.embedding == "electrons" else batch.grand_energy)[0]
    atoms = torch.bincount(graph.batch, minlength=graph.n_graphs)
    # Total energies are large: subtract the atoms' in float64 before anything else.
    return (label - model.reference_energy(graph)).to(energy.dtype) / atoms - energy / atoms


def _energy_loss(residual: Tensor, kinds: list[str], residuals: list[tuple[str, float]],
                 offsets: dict[str, float]) -> Tensor:  # fmt: skip
    own: dict[str, list[float]] = {}
    for kind, value in residuals:
        own.setdefault(kind, []).append(value)
    shifts = residual.new_tensor(
        [offsets.get(kind, sum(own.get(kind, [0.0])) / len(own.get(kind, [0.0]))) for kind in kinds]
    )
    return _huber((residual - shifts)[torch.isfinite(residual)], ENERGY_OUTLIER)


def _huber(error: Tensor, delta: float) -> Tensor:
    return 2.0 * torch.nn.functional.huber_loss(error, torch.zeros_like(error), delta=delta)
