"""Errors of a PE-MACE model on samples: forces, potential, response to the electrode's charge."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..models.pemace import PEMACEModel
from .dataset import Sample
from .losses import conjugate_label, electrode_input, predict


@dataclass
class Evaluation:
    """Predictions beside labels, by config type.

    Attributes
    ----------
    forces : dict of list of (label, prediction) arrays (n_atoms, 3), eV/A
    conjugate : dict of list of (label, prediction)
        Phi in V; a model of Omega(R, Phi) is inverted to give Phi at the label's n.
    response : dict of list of (label, prediction) arrays (n_atoms, 3), eV/A
        Force differences of neighbouring electron numbers of one geometry.
    energy : dict of list of (label, prediction), eV/atom
    species : dict of list of arrays (n_atoms,)
    """

    forces: dict[str, list[tuple[np.ndarray, np.ndarray]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    conjugate: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    response: dict[str, list[tuple[np.ndarray, np.ndarray]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    energy: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def summary(self) -> dict[str, dict[str, float]]:
        """Errors of every config type: RMSE of forces, MAE of Phi, relative response error."""
        out: dict[str, dict[str, float]] = defaultdict(dict)
        for kind, pairs in self.forces.items():
            error = np.concatenate([(p - t).ravel() for t, p in pairs])
            label = np.concatenate([t.ravel() for t, _ in pairs])
            out[kind]["force_rmse_meV_A"] = 1e3 * float(np.sqrt(np.mean(error**2)))
            out[kind]["force_rms_meV_A"] = 1e3 * float(np.sqrt(np.mean(label**2)))
            out[kind]["frames"] = len(pairs)
        for kind, values in self.conjugate.items():
            error = np.array([p - t for t, p in values])
            out[kind]["potential_mae_V"] = float(np.abs(error).mean())
            out[kind]["potential_bias_V"] = float(error.mean())
        for kind, pairs in self.response.items():
            error = np.concatenate([(p - t).ravel() for t, p in pairs])
            label = np.concatenate([t.ravel() for t, _ in pairs])
            out[kind]["response_error"] = float(np.sqrt((error**2).sum() / (label**2).sum()))
        for kind, values in self.energy.items():
            error = np.array([p - t for t, p in values])
            if len(error) > 1:
                out[kind]["energy_rmse_meV_atom"] = 1e3 * float(error.std())
        return {k: dict(v) for k, v in out.items()}


def evaluate_samples(model: PEMACEModel, samples: list[Sample]) -> Evaluation:
    """Predict every label of every sample.

    Parameters
    ----------
    model : PEMACEModel
    samples : list of Sample
    """
    result = Evaluation()
    reference = next(model.parameters())
    members = model.config.n_members
    weights = torch.full((members,), 1.0 / members, device=reference.device, dtype=reference.dtype)
    for sample in samples:
        layout = sample.graph.layout
        graph = sample.graph.to(reference.device, reference.dtype)
        if reference.device.type == "cpu":
            graph.layout = layout
        forces = []
        for k in range(len(sample.electrons)):
            electrons = sample.electrons[k : k + 1].to(reference)
            potential = sample.potential[k : k + 1].to(reference)
            x = electrode_input(model, electrons, potential)
            label = conjugate_label(model, electrons, potential)
            charged = torch.isfinite(x if model.config.embedding == "potential" else electrons)
            charged &= torch.isfinite(
                potential if model.config.embedding == "potential" else electrons
            )
            [p] = predict(model, graph, [x], [charged], weights, training=False)
            predicted = p.forces.cpu().double().numpy()
            target = sample.forces[k].double().numpy()
            result.forces[sample.config_type].append((target, predicted))
            forces.append((target, predicted))
            if bool(torch.isfinite(label)):
                phi = p.conjugate if model.config.embedding == "electrons" else (
                    potential_at(model, graph, electrons, potential, weights))  # fmt: skip
                result.conjugate[sample.config_type].append(
                    (float(sample.potential[k]), float(phi))
                )
            energy = float(sample.energy[k])
            if np.isfinite(energy):
                if model.config.embedding == "potential" and bool(charged):
                    energy += float(sample.electrons[k] * sample.potential[k])
                energy -= float(model.reference_energy(graph))
                result.energy[sample.config_type].append(
                    (energy / graph.n_atoms, float(p.energy) / graph.n_atoms)
                )
        for (t0, p0), (t1, p1) in zip(forces, forces[1:], strict=False):
            result.response[sample.config_type].append((t1 - t0, p1 - p0))
    return result


def potential_at(model: PEMACEModel, graph: object, electrons: Tensor, start: Tensor,
                 weights: Tensor) -> Tensor:  # fmt: skip
    """Potential (V) at which a model of Omega(R, Phi) carries n electrons, by Newton's method."""
    from ..models.graph import Graph

    assert isinstance(graph, Graph)
    phi = start.clone()
    for _ in range(30):
        x = phi.detach().requires_grad_(True)
        description = model.describe(graph, x)
        energy = model.evaluate(graph, description, x) @ weights
        (n,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
        (slope,) = torch.autograd.grad(n.sum(), x)
        step = torch.clamp((electrons - n.detach()) / slope, -0.5, 0.5)
        phi = phi + step
        if float(step.abs().max()) < 1e-5:
            break
    return phi
