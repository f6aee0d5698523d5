"""The Coulomb matrix of Gaussian charges under open, bulk and slab boundary conditions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.kernels.coulomb import COULOMB
from voltase.aseplugin.models.electrostatics.boundary import Boundary, measure, normal
from voltase.aseplugin.models.electrostatics.operators import Array
from voltase.aseplugin.models.electrostatics.pairs import find_pairs
from voltase.aseplugin.models.electrostatics.splitting import Splitting, choose
from voltase.aseplugin.models.electrostatics.waves import make_waves

ROOT_PI = math.sqrt(math.pi)


def coulomb_matrix(
    positions: Tensor,
    cell: Tensor,
    pbc: Sequence[bool] | bool,
    width: Tensor,
    *,
    tolerance: float = 1e-10,
    alpha: float | None = None,
) -> Tensor:
    """Electrostatic interaction of spherical Gaussian charges, without any hardness.

    The energy of charges q is q . A . q / 2. Element (i, j) is k_e erf(r/sqrt(2 (s_i^2 + s_j^2)))/r
    for atoms at a distance r, summed over periodic images, and k_e/(sqrt(pi) s_i) for an atom with
    itself. Differentiable twice in positions, cell and width.

    What the potential (A q)_i of an atom is measured from:

    - open boundaries: zero far away;
    - bulk cells: the average over the cell is zero, with a uniform background if there is a net
      charge. That A is positive definite for any widths;
    - slabs (two periodic directions, in any position and orientation): a charged sheet has the
      potential -2 pi k_e |z| per charge and area. Then the vacuum levels of a neutral slab are
      +-2 pi k_e times its dipole per area, with zero between them, and a net charge needs no
      background. The energy is independent of where the atoms are along the normal. A is positive
      definite on charges that sum to zero.

    Parameters
    ----------
    positions : Tensor (n, 3)
        A; atoms need not be inside the cell.
    cell : Tensor (3, 3)
        Rows are lattice vectors, A; rows of directions that do not repeat are ignored.
    pbc : bool or sequence of 3 bool
    width : Tensor (n,)
        Standard deviations s_i of the Gaussians, A.
    tolerance : float
        Error of the force on a unit charge among others, eV/A, through the cut-offs.
    alpha : float, optional
        Ewald splitting parameter, 1/A; chosen by cost if not given. The result does not depend
        on it.

    Returns
    -------
    Tensor (n, n)
        eV/e^2, in the precision of `positions`; float64 inside.

    Raises
    ------
    InputError
        If a shape, value or boundary condition cannot be used, or two atoms coincide.
    """
    check_inputs(positions, width, tolerance)
    boundary = Boundary.of(cell, pbc)
    kind = positions.dtype
    positions, cell, width = positions.double(), cell.double(), width.double()
    if boundary.kind == "open":
        return _short_range(positions, cell, boundary, width, None).to(kind)
    lattice = cell[list(boundary.axes)]
    height = slab_height(positions, lattice) if boundary.kind == "slab" else 0.0
    splitting = split(positions, lattice, width, tolerance, alpha, height)
    matrix = make_waves(cell, boundary, splitting, height).matrix(positions)
    matrix = matrix + _short_range(positions, cell, boundary, width, splitting)
    if boundary.kind == "bulk":
        matrix = matrix - background(lattice, width, splitting.alpha)
    return matrix.to(kind)


def check_inputs(positions: Tensor, width: Tensor, tolerance: float) -> None:
    """Raise InputError unless shapes, widths and tolerance can be used."""
    if positions.ndim != 2 or positions.shape[1] != 3 or positions.shape[0] == 0:
        raise InputError(f"positions: got shape {tuple(positions.shape)}, expected (atoms, 3)")
    if not bool(torch.isfinite(positions.detach()).all()):
        raise InputError("positions: got a value that is not finite, expected finite ones")
    if tuple(width.shape) != (positions.shape[0],):
        raise InputError(
            f"width: got shape {tuple(width.shape)}, expected ({positions.shape[0]},) as positions"
        )
    if not bool((width.detach() > 0.0).all()) or not bool(torch.isfinite(width.detach()).all()):
        raise InputError(f"width: got {float(width.detach().min())} A, expected more than 0")
    if not 0.0 < tolerance < 1.0:
        raise InputError(f"tolerance: got {tolerance} eV/A, expected more than 0, less than 1")


def slab_height(positions: Tensor, lattice: Tensor) -> float:
    """Extent of the atoms along the normal of two lattice vectors, A."""
    heights = positions.detach() @ normal(lattice.detach())
    return float(heights.max() - heights.min())


def split(positions: Tensor, lattice: Tensor, width: Tensor, tolerance: float,
          alpha: float | None, height: float, matrix: bool = True) -> Splitting:  # fmt: skip
    """Splitting with the given `alpha`, or the cheapest one for a matrix or for products."""
    slowest = 0.5 / float(width.detach().max())
    if alpha is not None:
        if not alpha > 0.0:
            raise InputError(f"alpha: got {alpha} 1/A, expected more than 0")
        return Splitting.at(alpha, slowest, tolerance)
    size = float(measure(lattice.detach()))
    extent = height if lattice.shape[0] == 2 else None
    return choose(positions.shape[0], size, extent, slowest, tolerance, matrix)


def _short_range(positions: Tensor, cell: Tensor, boundary: Boundary, width: Tensor,
                 splitting: Splitting | None) -> Tensor:  # fmt: skip
    """Pairs and self terms, (n, n) in eV/e^2; the whole interaction without a splitting."""
    n = positions.shape[0]
    cutoff = math.inf if splitting is None else splitting.cutoff
    alpha = 0.0 if splitting is None else splitting.alpha
    lattice = cell[list(boundary.axes)]
    found = find_pairs(_numpy(positions), _numpy(lattice), cutoff)
    first, second = (torch.from_numpy(x).to(positions.device).long() for x in found[:2])
    shifts = torch.from_numpy(found.shifts).to(lattice)
    vectors = positions.index_select(0, second) - positions.index_select(0, first)
    distances = torch.linalg.vector_norm(vectors + shifts @ lattice, dim=1)
    square = width.square()
    gamma = torch.rsqrt(2.0 * (square.index_select(0, first) + square.index_select(0, second)))
    value = torch.erf(gamma * distances)
    if alpha > 0.0:
        value = value - torch.erf(alpha * distances)
    value = COULOMB * value / distances
    places = torch.cat([first * n + second, second * n + first])
    flat = value.new_zeros(n * n).index_add(0, places, torch.cat([value, value]))
    self_term = COULOMB / ROOT_PI * (1.0 / width - 2.0 * alpha)
    return flat.view(n, n) + torch.diag(self_term)


def _numpy(tensor: Tensor) -> Array:
    array: Array = np.ascontiguousarray(tensor.detach().cpu().numpy())
    return array


def background(lattice: Tensor, width: Tensor, alpha: float) -> Tensor:
    """Average over a bulk cell of the short-range part of the interaction, (n, n) in eV/e^2."""
    square = width.square()
    # pi (1/alpha^2 - 1/gamma^2)/V, with 1/gamma^2 = 2 (s_i^2 + s_j^2).
    spread = 1.0 / alpha**2 - 2.0 * (square.unsqueeze(0) + square.unsqueeze(1))
    return math.pi * COULOMB / measure(lattice) * spread
