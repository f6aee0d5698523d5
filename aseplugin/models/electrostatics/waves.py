"""Plane waves and their weights: the long-range part of the sum in bulk cells and slabs.

The interaction erf(alpha r)/r is summed over the lattice as sum_k w_k cos(k . (r_i - r_j)). In a
bulk cell k runs over the reciprocal lattice. In a slab each lateral wave vector q has its own
period L along the normal:

- Where the potential of one layer of charges dies off over L, the bulk weights hold as they are.
- Otherwise the interaction is cut off at a height L/2 that no pair of atoms comes near, which has
  the weights (4 pi/k^2) exp(-k^2/(4 alpha^2)) (1 - (-1)^n exp(-q L/2)) for k_normal = 2 pi n/L
  and turns into -2 pi |z| for q = 0, so that images never meet.

Both are exact up to terms of the order of the tolerance. Sources: Rozzi et al., Phys. Rev. B 73,
205119 (2006), doi:10.1103/PhysRevB.73.205119 (the cut-off in slabs); Shamshirgar, Bagge and
Tornberg, J. Chem. Phys. 154, 164109 (2021), doi:10.1063/5.0044895 (a period for each lateral wave).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voltase.aseplugin.kernels.coulomb import COULOMB
from voltase.aseplugin.models.electrostatics.boundary import Boundary, measure, normal, reciprocal
from voltase.aseplugin.models.electrostatics.splitting import Splitting

SMALLEST_PERIOD = 2.0
"""Shortest period of a slab's waves along the normal, A."""


@dataclass
class Waves:
    """Wave vectors of half the reciprocal space and their weights.

    Attributes
    ----------
    vectors : Tensor (n_waves, 3)
        1/A, differentiable in the cell.
    weights : Tensor (n_waves,)
        eV/e^2, for both halves, differentiable in the cell.
    """

    vectors: Tensor
    weights: Tensor

    def matrix(self, positions: Tensor) -> Tensor:
        """Sum over waves of weight x cos(k . (r_i - r_j)), (n, n) in eV/e^2."""
        phases = positions @ self.vectors.T
        cosines, sines = torch.cos(phases), torch.sin(phases)
        return (cosines * self.weights) @ cosines.T + (sines * self.weights) @ sines.T


def make_waves(cell: Tensor, boundary: Boundary, splitting: Splitting, height: float) -> Waves:
    """Waves of a bulk cell or a slab.

    Parameters
    ----------
    cell : Tensor (3, 3)
    boundary : Boundary
    splitting : Splitting
    height : float
        Largest distance between two atoms along the normal of a slab, A.
    """
    vectors = cell[list(boundary.axes)]
    if boundary.kind == "bulk":
        return _bulk(vectors, splitting)
    return _slab(vectors, splitting, height)


def _bulk(lattice: Tensor, splitting: Splitting) -> Waves:
    integers = _half_lattice(lattice, splitting.wave_cutoff)
    vectors = _real(integers, lattice) @ reciprocal(lattice)
    square = vectors.square().sum(1)
    decay = torch.exp(-square / (4.0 * splitting.alpha**2))
    weights = 8.0 * math.pi * COULOMB / measure(lattice) * decay / square
    return Waves(vectors, weights)


def _slab(lattice: Tensor, splitting: Splitting, height: float) -> Waves:
    lateral = _half_lattice(lattice, splitting.wave_cutoff)
    axes, direction = reciprocal(lattice), normal(lattice)
    area = measure(lattice)
    plane = _real(lateral, lattice) @ axes
    numbers = torch.linalg.vector_norm(plane.detach(), dim=1).cpu().numpy()
    rows, orders, periods, cut = slab_orders(numbers, splitting, height)
    device = lattice.device
    along = torch.from_numpy(2.0 * math.pi * orders / periods).to(lattice)
    flat = plane.index_select(0, torch.from_numpy(rows).to(device))
    vectors = flat + along.unsqueeze(1) * direction
    square = vectors.square().sum(1)
    decay = torch.exp(-square / (4.0 * splitting.alpha**2))
    sign = torch.from_numpy(np.where(cut, 1.0 - 2.0 * (orders % 2), 0.0)).to(lattice)
    span = torch.from_numpy(0.5 * periods).to(lattice)
    images = sign * torch.exp(-torch.linalg.vector_norm(flat, dim=1) * span)
    weights = decay / square * (1.0 - images) / torch.from_numpy(periods).to(lattice)
    across, flat_weights = _normal_waves(splitting, height, lattice)
    return Waves(
        torch.cat([vectors, across.unsqueeze(1) * direction]),
        8.0 * math.pi * COULOMB / area * torch.cat([weights, flat_weights]),
    )


def _normal_waves(splitting: Splitting, height: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Wave numbers and weights (without 8 pi k_e/area) of the laterally averaged -2 pi |z|."""
    period = longest_period(splitting, height)
    highest = int(period * splitting.wave_cutoff / (2.0 * math.pi))
    k = 2.0 * math.pi * torch.arange(1, highest + 1, 2, device=like.device, dtype=like.dtype)
    k = k / period
    weights = 2.0 * torch.exp(-(k**2) / (4.0 * splitting.alpha**2)) / (k**2 * period)
    return torch.cat([k.new_zeros(1), k]), torch.cat([k.new_full((1,), -period / 16.0), weights])


def longest_period(splitting: Splitting, height: float) -> float:
    """Period along the normal in which images never meet a cut-off interaction, A."""
    # The cut-off edge at half the period is smeared over 1/alpha and as high as 2 pi L/2 instead
    # of one: one more unit of the exponent covers it.
    return 2.0 * (height + (splitting.exponent + 1.0) / splitting.alpha)


def slab_orders(numbers: NDArray[np.float64], splitting: Splitting, height: float
                ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64],
                           NDArray[np.bool_]]:  # fmt: skip
    """Waves along the normal for each lateral wave number.

    Parameters
    ----------
    numbers : ndarray (n_lateral,)
        Lengths of the lateral wave vectors, 1/A, none of them zero.
    splitting : Splitting
    height : float

    Returns
    -------
    rows, orders : ndarray of int (n_waves,)
        Lateral wave, and n in k_normal = 2 pi n/period.
    periods : ndarray (n_waves,)
        A.
    cut : ndarray of bool (n_waves,)
        Whether the interaction is cut off at half the period.
    """
    longest = longest_period(splitting, height)
    gaps = decay_length(numbers, splitting)
    periods = np.maximum(height + gaps, SMALLEST_PERIOD)
    cut = periods >= longest
    periods = np.where(cut, longest, periods)
    room = np.sqrt(np.maximum(splitting.wave_cutoff**2 - numbers**2, 0.0))
    highest = np.floor(room * periods / (2.0 * math.pi)).astype(np.int64)
    counts = 2 * highest + 1
    rows = np.repeat(np.arange(len(numbers)), counts)
    first = np.cumsum(counts) - counts
    orders = np.arange(counts.sum()) - first[rows] - highest[rows]
    return rows, orders, periods[rows], cut[rows]


def decay_length(numbers: NDArray[np.float64], splitting: Splitting) -> NDArray[np.float64]:
    """Distance over which the potential of a lateral wave has died off, A.

    It falls as exp(-q d) beyond d = q/(2 alpha^2), and as exp(-q^2/(4 alpha^2) - alpha^2 d^2)
    nearer by; the prefactor 4 pi k_e/(area q) of the first is covered by one more unit of the
    exponent.
    """
    alpha, square = splitting.alpha, (splitting.exponent + 1.0) ** 2
    inner = np.sqrt(np.maximum(square - (numbers / (2.0 * alpha)) ** 2, 0.0)) / alpha
    return np.where(inner <= numbers / (2.0 * alpha**2), inner, square / numbers)


def _real(integers: NDArray[np.int64], like: Tensor) -> Tensor:
    return torch.from_numpy(integers.astype(np.float64)).to(like)


def _half_lattice(lattice: Tensor, cutoff: float) -> NDArray[np.int64]:
    """Integer triples (or pairs) of half the reciprocal lattice within a sphere, without zero."""
    vectors = lattice.detach().double().cpu()
    limits = (torch.linalg.vector_norm(vectors, dim=1) * cutoff / (2.0 * math.pi)).long().numpy()
    ranges = [np.arange(0 if axis == 0 else -m, m + 1) for axis, m in enumerate(limits)]
    grid = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, len(limits))
    # One of each pair (k, -k): the first nonzero index is positive.
    leading = np.zeros(len(grid), dtype=np.int64)
    for axis in reversed(range(len(limits))):
        leading = np.where(grid[:, axis] != 0, grid[:, axis], leading)
    grid = grid[leading > 0]
    k = grid @ reciprocal(vectors).numpy()
    return np.ascontiguousarray(grid[(k**2).sum(1) <= cutoff**2])
