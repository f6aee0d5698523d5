"""Which directions repeat, and the lattice in which they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voltase.aseplugin.errors import InputError

MOST_REDUCTIONS = 100
"""Rounds after which a lattice is taken as it is; each shortens a vector, and few are needed."""
FLATTEST = 1e-3
"""Volume (or area) of a periodic cell over the product of its edges below which it is refused."""


@dataclass(frozen=True)
class Boundary:
    """Boundary condition of a cell.

    Attributes
    ----------
    kind : "open", "slab" or "bulk"
        No, two or three periodic directions.
    axes : tuple of int
        Rows of the cell that are lattice vectors.
    """

    kind: Literal["open", "slab", "bulk"]
    axes: tuple[int, ...]

    @classmethod
    def of(cls, cell: Tensor, pbc: Sequence[bool] | bool) -> Boundary:
        """Boundary condition of a cell, checked.

        Parameters
        ----------
        cell : Tensor (3, 3)
            Rows are lattice vectors in A; rows of directions that do not repeat are ignored.
        pbc : bool or sequence of 3 bool

        Raises
        ------
        InputError
            If one direction alone repeats, or the lattice is degenerate or not finite.
        """
        repeats = _repeats(pbc)
        axes = tuple(i for i in range(3) if repeats[i])
        if len(axes) == 1:
            raise InputError("pbc: got one periodic direction, expected none, two or three")
        if tuple(cell.shape) != (3, 3):
            raise InputError(f"cell: got shape {tuple(cell.shape)}, expected (3, 3)")
        if axes:
            _check_lattice(cell.detach()[list(axes)])
        return cls("open" if not axes else "slab" if len(axes) == 2 else "bulk", axes)


def _repeats(pbc: Sequence[bool] | bool) -> list[bool]:
    values = np.asarray(pbc)
    if values.dtype.kind not in "biu" or not np.isin(values, (0, 1)).all():
        raise InputError(f"pbc: got {pbc!r:.60}, expected True, False or three of them")
    if values.shape not in ((), (3,)):
        raise InputError(f"pbc: got shape {values.shape}, expected one value or 3")
    return [bool(p) for p in np.broadcast_to(values, 3)]


def _check_lattice(vectors: Tensor) -> None:
    if not bool(torch.isfinite(vectors).all()):
        raise InputError("cell: got a lattice vector that is not finite, expected finite ones")
    size = measure(vectors)
    edges = torch.linalg.vector_norm(vectors, dim=1)
    if not float(size) > FLATTEST * float(edges.prod()):
        raise InputError(
            f"cell: got periodic vectors of lengths {', '.join(f'{e:.4g}' for e in edges)} A that "
            f"span {float(size):.4g} A^{len(edges)}, expected linearly independent ones"
        )


def measure(vectors: Tensor) -> Tensor:
    """Area of two or volume of three lattice vectors (rows), positive for either handedness."""
    if vectors.shape[0] == 2:
        return torch.linalg.vector_norm(torch.linalg.cross(vectors[0], vectors[1]))
    return torch.linalg.det(vectors).abs()


def normal(vectors: Tensor) -> Tensor:
    """Unit normal (3,) of two lattice vectors (2, 3)."""
    element = torch.linalg.cross(vectors[0], vectors[1])
    return element / torch.linalg.vector_norm(element)


def reciprocal(vectors: Tensor) -> Tensor:
    """Reciprocal vectors (rows, in 1/A, with the factor 2 pi) in the span of `vectors`."""
    # The transposed pseudo-inverse, written so that it can be differentiated twice.
    gram = vectors @ vectors.T
    return 2.0 * torch.pi * torch.linalg.solve(gram, vectors)


def compact(lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same lattice by short vectors (rows): pairs are shortened until none gets shorter.

    Source: Semaev, Lect. Notes Comput. Sci. 2146, 181 (2001), doi:10.1007/3-540-44670-2_13.
    """
    vectors = lattice.copy()
    for _ in range(MOST_REDUCTIONS):
        shortened = False
        for i in range(len(vectors)):
            for j in range(len(vectors)):
                if i == j:
                    continue
                steps = np.rint(vectors[i] @ vectors[j] / (vectors[j] @ vectors[j]))
                trial = vectors[i] - steps * vectors[j]
                if trial @ trial < (1.0 - 1e-9) * (vectors[i] @ vectors[i]):
                    vectors[i], shortened = trial, True
        if not shortened:
            break
    return vectors
