"""Batches: which samples and labels are seen together, and their joined tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from voltase.aseplugin.models.graph import Graph, collate
from voltase.aseplugin.training.config import TrainingConfig
from voltase.aseplugin.training.dataset import Sample

Choice = tuple[Sample, tuple[int, int]]
"""A sample and the two of its labels that are compared (equal: only one is used)."""


@dataclass
class Batch:
    """Several samples as one graph, with the labels chosen for this step.

    Attributes
    ----------
    graph : Graph
    electrons, potential, energy, grand_energy : list of two Tensor (n_graphs,)
        For the first and the second label of each geometry.
    forces : list of two Tensor (n_atoms, 3)
    paired : Tensor (n_graphs,)
        Whether the two labels differ.
    config_types : list of str
    """

    graph: Graph
    electrons: list[Tensor]
    potential: list[Tensor]
    energy: list[Tensor]
    grand_energy: list[Tensor]
    forces: list[Tensor]
    paired: Tensor
    config_types: list[str]

    def to(self, device: str, dtype: torch.dtype) -> Batch:
        """Copy on another device; the graph, n, Phi and forces in another floating-point type."""
        if device == "cpu" and self.graph.positions.dtype == dtype:
            return self
        moved = {
            name: [t.to(device=device, dtype=dtype) for t in getattr(self, name)]
            for name in ("electrons", "potential", "forces")
        }
        for name in ("energy", "grand_energy"):
            moved[name] = [t.to(device) for t in getattr(self, name)]
        graph = self.graph.to(device, dtype)
        return replace(self, graph=graph, paired=self.paired.to(device), **moved)


def make_batch(chosen: Sequence[Choice]) -> Batch:
    """Join samples with the labels chosen for each."""
    samples = [sample for sample, _ in chosen]
    graph = replace(samples[0].graph) if len(samples) == 1 else collate([s.graph for s in samples])

    def labels(name: str) -> list[Tensor]:
        return [torch.stack([getattr(s, name)[c[k]] for s, c in chosen]) for k in (0, 1)]

    return Batch(
        graph=graph,
        electrons=labels("electrons"),
        potential=labels("potential"),
        energy=labels("energy"),
        grand_energy=labels("grand_energy"),
        forces=[torch.cat([s.forces[c[k]] for s, c in chosen]) for k in (0, 1)],
        paired=torch.tensor([a != b for _, (a, b) in chosen]),
        config_types=[s.config_type for s in samples],
    )


def plan_epoch(samples: Sequence[Sample], config: TrainingConfig, repeats: dict[str, int],
               epoch: int, rank: int = 0, world: int = 1) -> list[list[Choice]]:  # fmt: skip
    """Batches that one process sees in one epoch; the same for the same seed and epoch.

    Parameters
    ----------
    samples : sequence of Sample
    config : TrainingConfig
    repeats : dict
        Repetitions of a config type.
    epoch : int
    rank, world : int
        Which of how many processes. All get the same number of batches: what is left over of the
        last round is left out.
    """
    rng = np.random.default_rng([config.seed, epoch])
    batches = _fill(samples, config.atoms_per_batch, repeats, rng)
    # Batches of like size run side by side, so that no process waits.
    window = 8 * world
    dealt: list[list[Choice]] = []
    usable = len(batches) - len(batches) % world
    for start in range(0, usable, window):
        chunk = sorted(batches[start : min(start + window, usable)], key=_cost)
        rounds = [chunk[i : i + world] for i in range(0, len(chunk), world)]
        dealt.extend(rounds[i][rank] for i in rng.permutation(len(rounds)))
    return dealt


def member_weights(chosen: Sequence[Choice], members: int, share: float, rng: np.random.Generator
                   ) -> Tensor:  # fmt: skip
    """Weight of every committee member in the prediction for each sample.

    Half the time a sample trains the mean of the members that may see its snapshot, else one of
    them: the mean alone would leave their differences free.

    Parameters
    ----------
    chosen : sequence of (sample, labels)
    members : int
    share : float
        Of the snapshots that a member never sees.
    rng : numpy.random.Generator

    Returns
    -------
    Tensor (n_graphs, n_members)
        Rows sum to one.
    """
    single = rng.random() >= 0.5
    draws = rng.random(len(chosen))
    rows = []
    for (sample, _), draw in zip(chosen, draws, strict=True):
        allowed = allowed_members(sample.snapshot, members, share)
        picked = [allowed[int(draw * len(allowed))]] if single else allowed
        row = torch.zeros(members)
        row[picked] = 1.0 / len(picked)
        rows.append(row)
    return torch.stack(rows)


def allowed_members(snapshot: str, members: int, share: float) -> list[int]:
    """Committee members that see a snapshot: a fixed choice by its name, never empty."""
    rng = np.random.default_rng([members, *snapshot.encode()])
    draws = rng.random(members)
    allowed = np.flatnonzero(draws >= share)
    return allowed.tolist() or [int(np.argmax(draws))]


def _fill(samples: Sequence[Sample], atoms_per_batch: int, repeats: dict[str, int],
          rng: np.random.Generator) -> list[list[Choice]]:  # fmt: skip
    pool: list[Sample] = []
    for sample in samples:
        pool.extend([sample] * repeats.get(sample.config_type, 1))
    batches: list[list[Choice]] = []
    filling: dict[str, list[Choice]] = {}
    for index in rng.permutation(len(pool)):
        sample = pool[index]
        current = filling.setdefault(sample.config_type, [])
        current.append((sample, _choose_labels(len(sample.electrons), rng)))
        if sum(s.graph.n_atoms for s, _ in current) >= atoms_per_batch:
            batches.append(filling.pop(sample.config_type))
    batches.extend(filling.values())
    return [batches[i] for i in rng.permutation(len(batches))]


def _choose_labels(count: int, rng: np.random.Generator) -> tuple[int, int]:
    """A random label and the one farthest from it (labels are sorted by n)."""
    first = int(rng.integers(count))
    return first, (0 if first >= count / 2 else count - 1)


def _cost(batch: list[Choice]) -> int:
    return sum(s.graph.n_atoms * (1 + (a != b)) for s, (a, b) in batch)
