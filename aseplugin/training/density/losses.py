"""Errors of predicted coefficients, as quadratic forms of each geometry's normal equations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from voltase.aseplugin.models.density.model import Coefficients
from voltase.aseplugin.training.density.config import DensityLossWeights
from voltase.aseplugin.training.density.normal import NormalEquations

DENSITY_SCALE = 1e-4
"""Unit of the squared error of the density: about what a direct fit in the basis has."""


class Targets:
    """The normal equations of a geometry as tensors.

    Parameters
    ----------
    equations : NormalEquations
    area : float
        Over which the excess electrons spread, A^2.
    """

    def __init__(self, equations: NormalEquations, area: float) -> None:
        self.gram = torch.from_numpy(equations.gram)
        self.best = torch.from_numpy(equations.best)
        self.residual = torch.from_numpy(equations.residual)
        self.floor = torch.from_numpy(equations.floor)
        self.planar = torch.from_numpy(equations.planar)
        self.density = torch.from_numpy(equations.electrons / area)
        middle = int(np.argmin(np.abs(equations.electrons)))
        self.middle = middle
        self.others = torch.tensor([k for k in range(len(self.best)) if k != middle],
                                   dtype=torch.int64)  # fmt: skip
        several = len(self.best) > 1
        self.response_gram = torch.from_numpy(equations.response_gram) if several else self.gram
        change = self.best[self.others] - self.best[middle]
        self.size = _square(change, self.response_gram)
        self.profile = torch.from_numpy(
            equations.profiles[self.others.numpy()] - equations.profiles[middle]
        )


class Errors(NamedTuple):
    """Squared errors of one geometry.

    Attributes
    ----------
    density : Tensor (k,)
        See `NormalEquations.gram`.
    difference, planar : Tensor (k - 1,)
        Relative, of the differences to the frame nearest to n = 0.
    """

    density: Tensor
    difference: Tensor
    planar: Tensor


def errors_in_batch(coefficients: Coefficients, batch: Sequence[Targets]) -> list[Errors]:
    """Squared errors of a prediction for several slabs with one wetted face each."""
    found, start = [], 0
    charges = max(len(targets.density) for targets in batch)
    density = torch.zeros(charges, len(batch), dtype=torch.float64)
    for column, targets in enumerate(batch):
        density[: len(targets.density), column] = targets.density
    values = coefficients.at(density)
    for targets in batch:
        stop = start + targets.best.shape[1]
        found.append(errors_of(values[: len(targets.density), start:stop], targets))
        start = stop
    return found


def errors_of(found: Tensor, targets: Targets) -> Errors:
    """Squared errors of coefficients (k, n) at the charges of a geometry."""
    error = found - targets.best
    density = _square(error, targets.gram) + 2.0 * (error * targets.residual).sum(1)
    change = error[targets.others] - error[targets.middle]
    predicted = (found[targets.others] - found[targets.middle]).float() @ targets.planar.T
    planar = (predicted - targets.profile).square().sum(1) / targets.profile.square().sum(1)
    return Errors(
        density=density + targets.floor,
        difference=_square(change, targets.response_gram) / targets.size,
        planar=planar,
    )


def mean_loss(errors: Sequence[Errors], weights: DensityLossWeights) -> Tensor:
    """Mean of `total_loss` over geometries."""
    return torch.stack([total_loss(e, weights) for e in errors]).mean()


def total_loss(errors: Errors, weights: DensityLossWeights) -> Tensor:
    """Weighted sum of the mean errors of a geometry."""
    loss = weights.density / DENSITY_SCALE * errors.density.mean()
    if len(errors.difference):
        loss = loss + weights.difference * errors.difference.mean()
        loss = loss + weights.planar * errors.planar.mean()
    return loss


def _square(values: Tensor, gram: Tensor) -> Tensor:
    """v^T G v of each row."""
    single = values.float()
    return ((single @ gram) * single).sum(1).double()
