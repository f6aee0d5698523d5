"""Energies of the atoms by themselves, from which the network's energies count."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel
from voltase.aseplugin.training.dataset import Sample
from voltase.aseplugin.training.metrics import evaluate_sample

LOG = logging.getLogger(__name__)
MOST_SAMPLES = 8
"""Samples of each config type and composition that are looked at."""


def fit_atomic_energies(samples: Sequence[Sample], model: PEMACEConfig) -> list[list[float]]:
    """Least-squares energy of each element in each domain, eV (n_domains, n_elements).

    Zero in a domain without energies. Elements whose numbers do not vary independently share the
    energy by the smallest norm.
    """
    table = []
    n_elements = len(model.symbols)
    grand = model.embedding == "potential"
    for domain in model.domains:
        counts, energies = [], []
        for sample in samples:
            if sample.domain != domain:
                continue
            labels = sample.grand_energy if grand else sample.energy
            row = np.bincount(sample.graph.species.numpy(), minlength=n_elements)
            for energy in labels.tolist():
                if math.isfinite(energy):
                    counts.append(row)
                    energies.append(energy)
        if not counts:
            table.append([0.0] * n_elements)
            continue
        solution = np.linalg.lstsq(np.array(counts, dtype=float), np.array(energies), rcond=None)
        table.append([float(e) for e in solution[0]])
    return table


def refit_atomic_energies(model: PEMACEModel, samples: Sequence[Sample]) -> None:
    """Change the atomic energies by what a trained network leaves over.

    Energies of a config type count up to an offset per atom, which takes up no error that goes with
    the composition. A network whose interaction energies were learned with another reference code
    has such errors, of an eV per molecule; the network would be bent to mend them.

    Parameters
    ----------
    model : PEMACEModel
        Its ``atomic_energies`` are changed, the least that minimises the errors.
    samples : sequence of Sample
    """
    n_elements = len(model.config.symbols)
    for index, domain in enumerate(model.config.domains):
        found = _residuals(model, [s for s in samples if s.domain == domain])
        kinds = list(dict.fromkeys(kind for kind, _, _ in found))
        if not kinds:
            continue
        counts = np.array([row for _, row, _ in found], dtype=float)
        # The first config type has no offset: the atomic energies are its.
        offsets = [[row.sum() * (kind == other) for other in kinds[1:]] for kind, row, _ in found]
        left = np.array([energy for _, _, energy in found])
        equations = np.hstack([counts, np.reshape(offsets, (len(found), -1))])
        weights = 1.0 / counts.sum(1)
        solution = np.linalg.lstsq(equations * weights[:, None], left * weights, rcond=1e-8)[0]
        change = solution[:n_elements]
        LOG.info("domain %s: atomic energies changed by %s eV", domain,
                 ", ".join(f"{symbol} {value:+.3f}" for symbol, value in
                           zip(model.config.symbols, change, strict=True)))  # fmt: skip
        with torch.no_grad():
            model.atomic_energies[index] += torch.as_tensor(change).to(model.atomic_energies)
    model.config.atomic_energies = model.atomic_energies.tolist()


def _residuals(model: PEMACEModel, samples: Sequence[Sample]
               ) -> list[tuple[str, npt.NDArray[np.int64], float]]:  # fmt: skip
    """Config type, atoms of each element, and energy label minus prediction in eV."""
    grand = model.config.embedding == "potential"
    found = []
    seen: dict[tuple[str, bytes], int] = defaultdict(int)
    for sample in samples:
        row = np.bincount(sample.graph.species.numpy(), minlength=len(model.config.symbols))
        labels = sample.grand_energy if grand else sample.energy
        if not bool(torch.isfinite(labels).any()):
            continue
        if seen[sample.config_type, row.tobytes()] >= MOST_SAMPLES:
            continue
        seen[sample.config_type, row.tobytes()] += 1
        pairs = evaluate_sample(model, sample).energy
        mean = float(np.mean([label - predicted for label, predicted in pairs]))
        found.append((sample.config_type, row, mean * sample.graph.n_atoms))
    return found
