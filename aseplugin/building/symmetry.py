"""spglib, asked about crystals and slabs given as plain arrays."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Operation = tuple[Indices, Array]
"""Rotation (3, 3) and translation (3,) of fractional coordinates: x' = W x + w."""

SYMPREC = 1e-2
"""Distance in A within which two atoms are the same to spglib."""


def ask(question: Callable[..., Any], cell: Array, fractions: Array, numbers: Indices,
        **options: Any) -> Any:  # fmt: skip
    """Answer of a function of spglib about a crystal, None if it finds no symmetry."""
    with warnings.catch_warnings():
        # Versions differ in how they announce errors, and say so on every call.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return question((cell, fractions, numbers), **options)
        except Exception as error:
            # The class of spglib's own exceptions depends on the version, too.
            if type(error).__module__.partition(".")[0] in ("spglib", "_spglib"):
                return None
            raise


def operations(cell: Array, fractions: Array, numbers: Indices,
               symprec: float = SYMPREC) -> list[Operation]:  # fmt: skip
    """Symmetry operations of a crystal; none at all if spglib finds no symmetry."""
    import spglib

    found = ask(spglib.get_symmetry, cell, fractions, numbers, symprec=symprec)
    if found is None:
        return []
    return [(w.astype(np.int64), t)
            for w, t in zip(found["rotations"], found["translations"], strict=True)]  # fmt: skip


def slab_operations(cell: Array, positions: Array, numbers: Indices, side: int,
                    symprec: float = SYMPREC) -> list[Operation]:  # fmt: skip
    """Operations of a slab that keep (side 1) or exchange (side -1) its faces.

    Parameters
    ----------
    cell : ndarray (3, 3)
        In A; only the first two vectors, in the xy plane, count.
    positions : ndarray (n, 3)
        In A.
    numbers : ndarray (n,)
    side : {1, -1}
    symprec : float
        In A.

    Returns
    -------
    list of Operation
        In fractions of `tall_cell`, the simplest first (an inversion before others).
    """
    tall = tall_cell(cell, positions)
    found = operations(tall, positions @ np.linalg.inv(tall), numbers, symprec)
    plane = np.array([0, 0, side])
    kept = [(w, t) for w, t in found if (w[2] == plane).all() and not w[:2, 2].any()]
    return sorted(kept, key=lambda o: (-side * int(np.trace(o[0])), o[0].tolist(),
                                       np.round(o[1] % 1.0, 4).tolist()))  # fmt: skip


def tall_cell(cell: Array, positions: Array) -> Array:
    """Upright cell of a slab with so much vacuum that nothing maps across it."""
    upright = np.array(cell, dtype=np.float64)
    upright[2] = 0.0, 0.0, 2.0 * np.ptp(positions[:, 2]) + 30.0
    return upright


def has_equivalent_faces(cell: Array, positions: Array, numbers: Indices) -> bool:
    """Whether an inversion, a mirror, a glide or a two-fold axis exchanges the faces of a slab."""
    return bool(slab_operations(cell, positions, numbers, side=-1))
