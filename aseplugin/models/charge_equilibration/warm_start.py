"""What one solution leaves for the next: a first guess, pairs and factors of a preconditioner."""

from __future__ import annotations

from collections import deque

import numpy as np

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.charge_equilibration.preconditioner import Array, BlockCache
from voltase.aseplugin.models.electrostatics import SkinPairs

EXTRAPOLATION = ((1.0,), (2.0, -1.0), (3.0, -3.0, 1.0))
"""Weights of the last one, two and three solutions, newest first."""

SKIN = 1.0
"""Extra cut-off in A with which pairs are kept."""


class WarmStart:
    """Memory of a trajectory for iterative solutions; they are not less accurate by it.

    Successive structures have to have the same atoms in the same order.
    """

    def __init__(self) -> None:
        self.blocks = BlockCache()
        self.pairs = SkinPairs(SKIN)
        self._history: deque[Array] = deque(maxlen=len(EXTRAPOLATION))

    def push(self, charges: Array, potentials: Array) -> None:
        """Remember charges (n_atoms,) in e and the atoms' potentials (n_atoms,) in V."""
        self._history.appendleft(np.stack([charges, potentials]))

    def guess(self, n_atoms: int) -> tuple[Array, Array] | None:
        """Charges and potentials of the atoms, extrapolated; None at first.

        Raises
        ------
        InputError
            If the solutions before had another number of atoms.
        """
        if not self._history:
            return None
        before = self._history[0].shape[1]
        if before != n_atoms:
            raise InputError(f"warm_start: got solutions of {before} atoms, expected {n_atoms}")
        weights = EXTRAPOLATION[len(self._history) - 1]
        found = sum(w * state for w, state in zip(weights, self._history, strict=True))
        charges, potentials = np.asarray(found)
        return charges, potentials
