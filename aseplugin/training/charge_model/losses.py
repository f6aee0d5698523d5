"""Losses of Soft-FQEq: charges, their response, potential, forces and energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from voltase.aseplugin.models.softfqeq import SoftFQEqModel
from voltase.aseplugin.models.softfqeq.model import Solution
from voltase.aseplugin.training.charge_model.config import ChargeLossWeights
from voltase.aseplugin.training.charge_model.dataset import ChargeSample
from voltase.aseplugin.training.charge_model.equilibrate import FixedGeometry, equilibrate

POTENTIAL_OUTLIER = 0.5
"""Error in V beyond which the loss of the potential is linear."""
ENERGY_OUTLIER = 0.01
"""Error in eV/atom beyond which the loss of the energy is linear."""
SMALLEST_CHARGE = 1e-3
"""Difference in e below which two labels say nothing about the response."""


@dataclass
class Prediction:
    """Results for some labels of one geometry.

    Attributes
    ----------
    solutions : list of Solution
    forces : Tensor (n_atoms, 3) or None
        For the first label, eV/A.
    """

    solutions: list[Solution]
    forces: Tensor | None


class Loss(NamedTuple):
    """Loss of one geometry.

    Attributes
    ----------
    total : Tensor ()
    parts : dict
        Each term without its weight; absent where there is no label for it.
    residual : float or None
        Energy label minus prediction in eV/atom, from which the type's offset is updated.
    """

    total: Tensor
    parts: dict[str, float]
    residual: float | None


def predict(model: SoftFQEqModel, sample: ChargeSample, geometry: FixedGeometry,
            labels: list[int], with_forces: bool, training: bool,
            features: Tensor | None = None) -> Prediction:  # fmt: skip
    """Charges, energies and potentials for some labels, and forces for the first.

    Parameters
    ----------
    model : SoftFQEqModel
    sample : ChargeSample
    geometry : FixedGeometry
    labels : list of int
    with_forces : bool
    training : bool
        Keep the graph for a further derivative.
    features : Tensor (n_atoms, width), optional
        If they are known already; not with forces.
    """
    structure, states = sample.structure, [sample.states[k] for k in labels]
    if not with_forces:
        readouts = model(structure, features)
        return Prediction(equilibrate(model, structure, geometry, readouts, states), None)
    structure, leaves = structure.leaves(with_strain=False)
    readouts = model(structure)
    solutions = equilibrate(model, structure, geometry, readouts, states)
    (gradient,) = torch.autograd.grad(solutions[0].energy, leaves, create_graph=training)
    return Prediction(solutions, -gradient)


def sample_loss(model: SoftFQEqModel, sample: ChargeSample, geometry: FixedGeometry,
                labels: list[int], weights: ChargeLossWeights, offsets: dict[str, float],
                features: Tensor | None = None) -> Loss:  # fmt: skip
    """Loss of one geometry at two (or one) of its labels.

    Parameters
    ----------
    model : SoftFQEqModel
    sample : ChargeSample
    geometry : FixedGeometry
    labels : list of int
        Two that differ for the terms of the response.
    weights : ChargeLossWeights
    offsets : dict
        Energy offset of each config type, eV/atom; updated by the caller.
    features : Tensor (n_atoms, width), optional
        If they are known already; not with forces.
    """
    with_forces = weights.forces > 0.0
    found = predict(model, sample, geometry, labels, with_forces, True, features)
    terms: dict[str, Tensor] = {}
    charges = [s.charges - sample.charges[k] for s, k in zip(found.solutions, labels, strict=True)]
    error = torch.stack(charges)
    labelled = bool(torch.isfinite(error).all())
    if labelled:
        terms["charges"] = error.square().mean()
    change = float(sample.electrons[labels[-1]] - sample.electrons[labels[0]])
    if labelled and abs(change) > SMALLEST_CHARGE:
        slope = (error[-1] - error[0]) / change
        terms["response"] = slope.square().mean()
        electrode = model.electrode(sample.structure)
        if bool(electrode.any()):
            terms["electrode"] = slope[electrode].sum().square()
    potential = _potential_error(found.solutions, sample, labels)
    if potential is not None:
        terms["potential"] = _huber(potential, POTENTIAL_OUTLIER)
    if found.forces is not None:
        terms["forces"] = (found.forces - sample.forces[labels[0]]).square().mean()
    residual = None
    if weights.energy > 0.0 and bool(torch.isfinite(sample.energy[labels[0]])):
        n_atoms = sample.graph.n_atoms
        label = sample.energy[labels[0]] - model.reference_energy(sample.structure)
        difference = (label - found.solutions[0].energy) / n_atoms
        residual = float(difference.detach())
        shift = offsets.get(sample.config_type, residual)
        terms["energy"] = _huber((difference - shift).reshape(1), ENERGY_OUTLIER)
    if not terms:
        # No label of what is trained on: nothing to learn from.
        return Loss(0.0 * found.solutions[0].energy, {}, residual)
    total = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
    return Loss(total, {name: float(v.detach()) for name, v in terms.items()}, residual)


def _potential_error(solutions: list[Solution], sample: ChargeSample, labels: list[int]
                     ) -> Tensor | None:  # fmt: skip
    errors = [
        solution.electrode_potential - sample.potential[k]
        for solution, k in zip(solutions, labels, strict=True)
        if solution.electrode_potential is not None and bool(torch.isfinite(sample.potential[k]))
    ]
    return torch.stack(errors) if errors else None


def _huber(error: Tensor, delta: float) -> Tensor:
    return 2.0 * torch.nn.functional.huber_loss(error, torch.zeros_like(error), delta=delta)
