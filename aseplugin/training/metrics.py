"""Errors of a PE-MACE model on samples: forces, potential, response to the electrode's charge."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from voltase.aseplugin.models.graph import Graph
from voltase.aseplugin.models.pemace import PEMACEModel
from voltase.aseplugin.training.dataset import Sample
from voltase.aseplugin.training.losses import conjugate_label, electrode_input, predict

LOG = logging.getLogger(__name__)
Array = npt.NDArray[np.float64]


@dataclass
class SampleErrors:
    """Labels and predictions of one sample.

    Attributes
    ----------
    config_type : str
    species : ndarray (n_atoms,)
        Index of each element in the model's list.
    forces : list of (label, prediction) arrays (n_atoms, 3)
        eV/A, one entry an electron number.
    potential : list of (label, prediction)
        Phi in V; a model of Omega(R, Phi) is inverted to give Phi at the label's n, NaN where that
        fails.
    energy : list of (label, prediction)
        eV/atom, the atoms' own energies left out.
    """

    config_type: str
    species: npt.NDArray[np.int64]
    forces: list[tuple[Array, Array]] = field(default_factory=list)
    potential: list[tuple[float, float]] = field(default_factory=list)
    energy: list[tuple[float, float]] = field(default_factory=list)

    @property
    def response(self) -> list[tuple[Array, Array]]:
        """Force differences of neighbouring electron numbers (label, prediction), eV/A."""
        return [(t1 - t0, p1 - p0) for (t0, p0), (t1, p1) in
                zip(self.forces, self.forces[1:], strict=False)]  # fmt: skip


@dataclass
class Evaluation:
    """Labels and predictions of a set.

    Attributes
    ----------
    symbols : list of str
        Elements of the model.
    samples : list of SampleErrors
    """

    symbols: list[str]
    samples: list[SampleErrors] = field(default_factory=list)

    def by_type(self) -> dict[str, list[SampleErrors]]:
        """Samples of each config type."""
        out: dict[str, list[SampleErrors]] = defaultdict(list)
        for sample in self.samples:
            out[sample.config_type].append(sample)
        return dict(out)

    def summary(self) -> dict[str, dict[str, float]]:
        """Errors of every config type; a quantity without a label is absent.

        Returns
        -------
        dict
            ``frames``; ``force_rmse_meV_A`` and the labels' own ``force_rms_meV_A``, over all
            components; ``potential_mae_V``, ``potential_bias_V`` and, if not zero,
            ``potential_unsolved`` frames; ``response_error``, the norm of the error of the force
            differences over the norm of the differences (1: nothing learned);
            ``energy_rmse_meV_atom`` about the mean error of the type.
        """
        return {kind: _summarise(samples) for kind, samples in self.by_type().items()}


def _summarise(samples: list[SampleErrors]) -> dict[str, float]:
    forces = [pair for sample in samples for pair in sample.forces]
    out: dict[str, float] = {
        "frames": len(forces),
        "force_rmse_meV_A": 1e3 * _norm(p - t for t, p in forces) / _root_count(forces),
        "force_rms_meV_A": 1e3 * _norm(t for t, _ in forces) / _root_count(forces),
    }
    errors = np.array([p - t for sample in samples for t, p in sample.potential])
    solved = errors[np.isfinite(errors)]
    if solved.size:
        out["potential_mae_V"] = float(np.abs(solved).mean())
        out["potential_bias_V"] = float(solved.mean())
    if solved.size < errors.size:
        out["potential_unsolved"] = errors.size - solved.size
    response = [pair for sample in samples for pair in sample.response]
    scale = _norm(t for t, _ in response)
    if scale > 0.0:
        out["response_error"] = _norm(p - t for t, p in response) / scale
    energies = np.array([p - t for sample in samples for t, p in sample.energy])
    if energies.size > 1:
        out["energy_rmse_meV_atom"] = 1e3 * float(energies.std())
    return out


def _norm(arrays: Iterable[Array]) -> float:
    return math.sqrt(sum(float(np.vdot(a, a)) for a in arrays))


def _root_count(pairs: list[tuple[Array, Array]]) -> float:
    return math.sqrt(sum(t.size for t, _ in pairs))


def evaluate_samples(model: PEMACEModel, samples: Sequence[Sample]) -> Evaluation:
    """Predict every label of every sample.

    Parameters
    ----------
    model : PEMACEModel
    samples : sequence of Sample
    """
    return Evaluation(model.config.symbols, [evaluate_sample(model, s) for s in samples])


def evaluate_sample(model: PEMACEModel, sample: Sample) -> SampleErrors:
    """Predict every label of one sample with the committee's mean."""
    reference = next(model.parameters())
    members = model.config.n_members
    weights = torch.full((members,), 1.0 / members, device=reference.device, dtype=reference.dtype)
    graph = _moved(sample.graph, reference)
    electrons, potential = sample.electrons.to(reference), sample.potential.to(reference)
    count = len(electrons)
    states = [electrode_input(model, electrons[k : k + 1], potential[k : k + 1])
              for k in range(count)]  # fmt: skip
    predictions = predict(model, graph, [x for x, _ in states], [known for _, known in states],
                          weights, training=False)  # fmt: skip
    result = SampleErrors(sample.config_type, sample.graph.species.cpu().numpy())
    labels = conjugate_label(model, electrons, potential)
    canonical = model.config.embedding == "electrons"
    energies = sample.energy if canonical else sample.grand_energy
    reference_energy = float(model.reference_energy(graph))
    for k, prediction in enumerate(predictions):
        target = sample.forces[k].double().numpy()
        result.forces.append((target, prediction.forces.cpu().double().numpy()))
        if bool(torch.isfinite(labels[k]) & states[k][1]):
            phi = prediction.conjugate if canonical else potential_at(
                model, graph, electrons[k : k + 1], potential[k : k + 1], weights)  # fmt: skip
            result.potential.append((float(potential[k]), float(phi)))
        label = float(energies[k])
        if math.isfinite(label):
            n_atoms = graph.n_atoms
            result.energy.append(
                ((label - reference_energy) / n_atoms, float(prediction.energy) / n_atoms)
            )
    return result


def potential_at(model: PEMACEModel, graph: Graph, electrons: Tensor, start: Tensor,
                 weights: Tensor) -> Tensor:  # fmt: skip
    """Potential at which a model of Omega(R, Phi) carries n electrons, by Newton's method.

    Parameters
    ----------
    model : PEMACEModel
    graph : Graph
        One structure.
    electrons, start : Tensor (1,)
        n in e; first guess of Phi in V absolute.
    weights : Tensor (n_members,)

    Returns
    -------
    Tensor (1,)
        In V absolute, NaN if the iteration does not converge.
    """
    phi = start.clone()
    for _ in range(30):
        x = phi.detach().requires_grad_(True)
        description = model.describe(graph, x)
        energy = (model.evaluate(graph, description, x) * weights).sum()
        (n,) = torch.autograd.grad(energy, x, create_graph=True)
        (slope,) = torch.autograd.grad(n.sum(), x)
        step = torch.clamp((electrons - n.detach()) / slope, -0.5, 0.5)
        phi = phi + step
        if float(step.abs().max()) < 1e-5:
            return phi
    LOG.warning("evaluation: no potential found at which n is %.4f", float(electrons))
    return torch.full_like(phi, float("nan"))


def _moved(graph: Graph, like: Tensor) -> Graph:
    """Copy with a parameter's device and type, keeping the neighbour layout on the CPU."""
    if graph.positions.device == like.device and graph.positions.dtype == like.dtype:
        return replace(graph)
    moved = graph.to(like.device, like.dtype)
    if like.device.type == "cpu":
        moved.layout = graph.layout
    return moved
