"""Pairs of Gaussian charges: the short-range part of their interaction, its matvec and adjoints.

For a pair at a distance r with gamma = 1/sqrt(2 (s_i^2 + s_j^2)),

    value = k_e (erf(gamma r) - erf(alpha r)) / r        (alpha = 0: the whole interaction)

Three linear or elementwise maps and their adjoints, on flat lists in which each pair stands once:

- `assemble` gives the values and, for the adjoint, their slopes (dvalue/dr)/r;
- `matvec` gives potentials y = A q of the symmetric matrix A those values fill off the diagonal;
- `matvec_adjoint` gives dL/dvalues of L = x . A y, `assemble_adjoint` carries dL/dvalues on to
  positions, strain and widths.

Lengths are in A, energies in eV, charges in e. Arrays are float64, indices int32. Arrays of CuPy
are worked on by the GPU, those of NumPy by the CPU (numba); `reference` has plain NumPy.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.electrochemistry import EPSILON_0

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int32]

COULOMB = 1.0 / (4.0 * math.pi * EPSILON_0)
"""e^2/(4 pi epsilon_0) in eV A."""


class PairList(NamedTuple):
    """Every pair once; NumPy or CuPy arrays.

    Attributes
    ----------
    first, second : int32 (n_pairs,)
        Atoms; the same atom twice for a pair with its own image.
    offsets : float64 (n_pairs, 3)
        Lattice vector from the image of `second` in the cell to the one meant, A.
    """

    first: Any
    second: Any
    offsets: Any


def lattice_offsets(shifts: Indices, lattice: Array) -> Array:
    """Offsets (n_pairs, 3) in A of a `PairList` from lattice vectors (n_axes, 3), on the CPU."""
    from voltase.aseplugin.kernels.coulomb import cpu

    return cpu.lattice_offsets(shifts, lattice)


def assemble(positions: Any, pairs: PairList, width: Any, alpha: float) -> tuple[Any, Any]:
    """Values and slopes of all pairs.

    Parameters
    ----------
    positions : array (n, 3)
    pairs : PairList
    width : array (n,)
        Standard deviations of the Gaussians.
    alpha : float
        Splitting parameter, 1/A; 0 for the whole interaction.

    Returns
    -------
    values, slopes : array (n_pairs,)
        eV/e^2 and eV/(e^2 A^2).
    """
    result: tuple[Any, Any] = _backend(positions).assemble(positions, pairs, width, float(alpha))
    return result


def matvec(values: Any, pairs: PairList, charges: Any) -> Any:
    """Potentials (n,) in V at the atoms, from the pairs alone.

    Parameters
    ----------
    values : array (n_pairs,)
    pairs : PairList
    charges : array (n,)
    """
    return _backend(values).matvec(values, pairs, charges)


def matvec_adjoint(pairs: PairList, x: Any, y: Any) -> Any:
    """Derivatives (n_pairs,) of x . A y by the values."""
    return _backend(x).matvec_adjoint(pairs, x, y)


def assemble_adjoint(weights: Any, slopes: Any, positions: Any, pairs: PairList, width: Any
                     ) -> tuple[Any, Any, Any]:  # fmt: skip
    """Derivatives of sum(weights * values).

    Parameters
    ----------
    weights, slopes : array (n_pairs,)
        `slopes` as `assemble` gave them.
    positions : array (n, 3)
    pairs : PairList
    width : array (n,)

    Returns
    -------
    by_positions : array (n, 3)
    by_strain : array (3, 3)
        Of a deformation r -> r (1 + strain) of positions and lattice; symmetric.
    by_width : array (n,)
    """
    result: tuple[Any, Any, Any] = _backend(weights).assemble_adjoint(
        weights, slopes, positions, pairs, width
    )
    return result


def _backend(array: Any) -> ModuleType:
    if isinstance(array, np.ndarray):
        from voltase.aseplugin.kernels.coulomb import cpu

        return cpu
    from voltase.aseplugin.kernels.coulomb import gpu

    return gpu
