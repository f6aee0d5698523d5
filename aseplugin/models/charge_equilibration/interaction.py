"""The Coulomb interaction of one geometry: values by an operator, derivatives of any order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from voltase.aseplugin.kernels.coulomb import COULOMB
from voltase.aseplugin.models.charge_equilibration.counter_plane import CounterPlane
from voltase.aseplugin.models.charge_equilibration.preconditioner import Array, Indices
from voltase.aseplugin.models.charge_equilibration.structure_factors import Phases
from voltase.aseplugin.models.electrostatics import CoulombOperator, coulomb_matrix, make_operator
from voltase.aseplugin.models.electrostatics.boundary import Boundary, measure
from voltase.aseplugin.models.electrostatics.factory import LARGEST_DENSE, Tier
from voltase.aseplugin.models.electrostatics.matrix import slab_height
from voltase.aseplugin.models.electrostatics.pairs import SkinPairs, find_pairs
from voltase.aseplugin.models.electrostatics.splitting import Splitting
from voltase.aseplugin.models.electrostatics.waves import make_waves

LARGEST_CHARGE = 4.0
"""Charge in e up to which the first attempt meets the tolerance of the forces."""

BLOCK_TOLERANCE = 1e-3
"""Of forces from the blocks of a preconditioner, eV/A: it need not be exact."""

PAIR_PER_WAVE = 10.0
"""Cost of a pair, in that of an atom in a wave; measured with two derivatives."""


class Interaction:
    """Coulomb interaction of Gaussian charges.

    Values and first derivatives come from an operator of `electrostatics`. Where a graph is
    recorded, x . C . y is written in torch instead, at a cost of pairs + atoms x waves: no matrix
    is ever differentiated.

    Parameters
    ----------
    positions : Tensor (n, 3)
    cell : Tensor (3, 3)
    pbc : bool or sequence of 3 bool
    width : Tensor (n,)
    tolerance : float
        Of the forces, eV/A.
    tier : "auto", "dense", "ewald" or "mesh"
    largest_charge : float
        For which the tolerance holds, e.
    counter_plane : Tensor (3,), optional
        A point of the plane of counter charge.
    pairs : SkinPairs, optional
        Keeps the list of pairs from one structure to the next.
    """

    def __init__(self, positions: Tensor, cell: Tensor, pbc: Sequence[bool] | bool, width: Tensor,
                 tolerance: float, tier: Tier, largest_charge: float,
                 counter_plane: Tensor | None, pairs: SkinPairs | None = None
                 ) -> None:  # fmt: skip
        self.tensors: tuple[Tensor, ...] = (positions, cell, width)
        self.positions, self.cell, self.width = (t.detach() for t in self.tensors)
        self.pbc = pbc
        self.boundary = Boundary.of(cell, pbc)
        self.bound = tolerance / largest_charge**2
        self.direct = tier == "dense" or (tier == "auto" and len(positions) <= LARGEST_DENSE)
        self.operator: CoulombOperator | None = None
        if not positions.is_cuda:
            places, box, widths = (t.detach().numpy() for t in self.tensors)
            # The first compiled loop starts OpenMP with all cores, for torch as well. Small
            # operations would then wait for threads that have nothing to do.
            threads = torch.get_num_threads()
            self.operator = make_operator(
                places, box, pbc, widths, tier=tier, tolerance=tolerance,
                largest_charge=largest_charge, pairs=pairs,
            )  # fmt: skip
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
        self.plane: CounterPlane | None = None
        if counter_plane is not None:
            self.plane = CounterPlane(positions, cell, counter_plane, self.boundary)
            self.tensors = (*self.tensors, counter_plane)
        self._terms: _Terms | None = None

    def matrix(self) -> Tensor:
        """C (n, n) in eV/e^2, without gradients."""
        if self.operator is not None:
            out = torch.from_numpy(self.operator.matvec(np.eye(self.operator.n)))
        else:
            out = self._part(self.positions, self.width, self.bound)
        return out if self.plane is None else out + self.plane.matrix()

    def _part(self, positions: Tensor, width: Tensor, tolerance: float) -> Tensor:
        with torch.no_grad():
            return coulomb_matrix(positions, self.cell, self.pbc, width, tolerance=tolerance)

    def block(self, atoms: Indices) -> Array:
        """C for some atoms, well enough for a preconditioner, eV/e^2."""
        index = torch.from_numpy(atoms)
        out = self._part(self.positions[index], self.width[index], BLOCK_TOLERANCE).numpy()
        return out if self.plane is None else out + self.plane.block(atoms)

    def matvec(self, charges: Array) -> Array:
        """C q (n,) in V, on the CPU."""
        assert self.operator is not None
        out = self.operator.matvec(charges)
        return out if self.plane is None else out + self.plane.matvec(charges)

    def diagonal(self) -> Array:
        """Diagonal of C (n,), eV/e^2, on the CPU."""
        assert self.operator is not None
        out = self.operator.diagonal()
        if self.plane is not None:
            out = out + 2.0 * self.plane.scale * self.plane.heights.numpy()
        return out

    def gradients(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """Derivatives of x . C . y in `tensors`, without a graph."""
        if self.operator is None:
            return self._gradients(x, y, self.bilinear)
        found = self.operator.derivatives(x.numpy(), y.numpy())
        positions, strain, width = (torch.from_numpy(part) for part in found)
        out = [positions, self._by_cell(positions, strain), width]
        if self.plane is not None:
            plane = self._gradients(x, y, self._plane_part)
            out = [a + b for a, b in zip(out, plane, strict=False)] + plane[3:]
        return out

    def _gradients(self, x: Tensor, y: Tensor, form: Callable[..., Tensor]) -> list[Tensor]:
        with torch.enable_grad():
            inside = [t.detach().requires_grad_() for t in self.tensors]
            return list(
                torch.autograd.grad(
                    form(x, y, *inside), inside, allow_unused=True, materialize_grads=True
                )
            )

    def _plane_part(self, x: Tensor, y: Tensor, *tensors: Tensor) -> Tensor:
        assert self.plane is not None
        positions, cell, _, point = tensors
        return self.plane.bilinear(x, y, positions, cell, point)

    def _by_cell(self, by_positions: Tensor, by_strain: Tensor) -> Tensor:
        """Derivative in the cell at fixed positions, from that in a strain of both."""
        positions, cell = self.positions, self.cell
        out = torch.zeros_like(cell)
        axes = list(self.boundary.axes)
        if axes:
            rest = by_strain - positions.T @ by_positions
            out[axes] = torch.linalg.pinv(cell[axes].T) @ rest
        return out

    def bilinear(self, x: Tensor, y: Tensor, *tensors: Tensor) -> Tensor:
        """x . C . y in eV."""
        if self._terms is None:
            self._terms = _Terms(self.positions, self.cell, self.width, self.boundary, self.bound)
        value = self._terms.bilinear(x, y, *tensors[:3])
        return value if self.plane is None else value + self._plane_part(x, y, *tensors)


class _Terms:
    """Pairs and waves of x . C . y as torch operations."""

    def __init__(self, positions: Tensor, cell: Tensor, width: Tensor, boundary: Boundary,
                 bound: float) -> None:  # fmt: skip
        self.boundary = boundary
        lattice = cell[list(boundary.axes)]
        self.height = slab_height(positions, lattice) if boundary.kind == "slab" else 0.0
        self.splitting: Splitting | None = None
        self.phases: Phases | None = None
        if boundary.kind != "open":
            self.splitting = _split(positions, lattice, width, self.height, bound)
        cutoff = math.inf if self.splitting is None else self.splitting.cutoff
        first, second, shifts = find_pairs(positions.cpu().numpy(), lattice.cpu().numpy(), cutoff)
        self.first = torch.from_numpy(first.astype(np.int64)).to(positions.device)
        self.second = torch.from_numpy(second.astype(np.int64)).to(positions.device)
        self.shifts = torch.from_numpy(shifts.astype(np.float64)).to(positions.device)

    def bilinear(self, x: Tensor, y: Tensor, positions: Tensor, cell: Tensor, width: Tensor
                 ) -> Tensor:  # fmt: skip
        value = self._pairs(x, y, positions, cell, width)
        if self.splitting is None:
            return value
        waves = make_waves(cell, self.boundary, self.splitting, self.height)
        if self.phases is None:
            self.phases = Phases(positions, waves.vectors)
        c, s = self.phases.sums(torch.stack([x, y], 1), positions, waves.vectors)
        value = value + (c[:, 0] * c[:, 1] + s[:, 0] * s[:, 1]) @ waves.weights
        if self.boundary.kind == "bulk":
            value = value - self._background(x, y, cell, width)
        return value

    def _pairs(self, x: Tensor, y: Tensor, positions: Tensor, cell: Tensor, width: Tensor
               ) -> Tensor:  # fmt: skip
        alpha = 0.0 if self.splitting is None else self.splitting.alpha
        vectors = positions.index_select(0, self.second) - positions.index_select(0, self.first)
        vectors = vectors + self.shifts @ cell[list(self.boundary.axes)]
        distance = torch.linalg.vector_norm(vectors, dim=1)
        square = 2.0 * width.square()
        spread = square.index_select(0, self.first) + square.index_select(0, self.second)
        value = torch.erf(distance * torch.rsqrt(spread))
        if alpha > 0.0:
            value = value - torch.erf(alpha * distance)
        ends = [v.index_select(0, i) for v in (x, y) for i in (self.first, self.second)]
        pairs = torch.dot(value / distance, ends[0] * ends[3] + ends[1] * ends[2])
        own = torch.dot(x * y, 1.0 / width - 2.0 * alpha) / math.sqrt(math.pi)
        return COULOMB * (pairs + own)

    def _background(self, x: Tensor, y: Tensor, cell: Tensor, width: Tensor) -> Tensor:
        """Average over the cell of the short-range part (see `electrostatics.background`)."""
        assert self.splitting is not None
        square = width.square()
        spread = x.sum() * y.sum() / self.splitting.alpha**2
        spread = spread - 2.0 * ((square @ x) * y.sum() + (square @ y) * x.sum())
        return math.pi * COULOMB / measure(cell) * spread


def _split(positions: Tensor, lattice: Tensor, width: Tensor, height: float, bound: float
           ) -> Splitting:  # fmt: skip
    """The cheapest splitting for pairs and waves that are differentiated."""
    slowest = 0.5 / float(width.max())
    size = float(measure(lattice))
    n = len(positions)

    def cost(splitting: Splitting) -> float:
        reach = splitting.cutoff
        span, extent = 1.0, 1.0
        if len(lattice) == 2:
            extent = height + 2.0 * splitting.exponent / splitting.alpha
            span = max(height, 1.0)
            share = min(1.0, 0.75 * span / reach)
        else:
            share = 1.0
        pairs = 0.5 * n * n * share * 4.0 / 3.0 * math.pi * reach**3 / (size * span)
        waves = size * extent * splitting.wave_cutoff**3 / (12.0 * math.pi**2)
        return PAIR_PER_WAVE * pairs + n * waves

    trials = [Splitting.at(slowest * 0.92**step, slowest, bound) for step in range(40)]
    return min(trials, key=cost)
