"""Gaussian charges in cells of every kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from voltase.aseplugin.models.electrostatics import coulomb_matrix

PBC = {"open": (False,) * 3, "bulk": (True,) * 3, "slab": (True, True, False)}


@dataclass
class Charges:
    """A neutral set of Gaussian charges in a skewed cell.

    Attributes
    ----------
    positions, cell, width, charges : Tensor
    pbc : tuple of 3 bool
    """

    positions: Tensor
    cell: Tensor
    pbc: tuple[bool, bool, bool]
    width: Tensor
    charges: Tensor

    def matrix(self, tolerance: float = 1e-11, alpha: float | None = None) -> Tensor:
        """Their Coulomb matrix."""
        return coulomb_matrix(
            self.positions, self.cell, self.pbc, self.width, tolerance=tolerance, alpha=alpha
        )

    def energy(self) -> Tensor:
        """Their energy in eV."""
        return 0.5 * self.charges @ self.matrix() @ self.charges

    def moved(self, **changes: Tensor | tuple[bool, bool, bool]) -> Charges:
        """The same with other fields."""
        return replace(self, **changes)


@pytest.fixture
def make_charges() -> Callable[..., Charges]:
    def make(kind: str, n: int = 8, seed: int = 0, edge: float = 6.0) -> Charges:
        rng = np.random.default_rng(seed)
        cell = np.diag([edge, edge + 1.0, edge + 2.0]) + rng.uniform(-1.0, 1.0, (3, 3))
        # Places on a jittered grid, so that no two charges come close.
        side = int(np.ceil(n ** (1 / 3)))
        grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
        places = (grid[rng.permutation(len(grid))[:n]] + rng.uniform(0.25, 0.75, (n, 3))) / side
        charges = rng.normal(size=n)
        return Charges(
            positions=torch.from_numpy(places @ cell),
            cell=torch.from_numpy(cell),
            pbc=PBC[kind],
            width=torch.from_numpy(rng.uniform(0.4, 1.2, n)),
            charges=torch.from_numpy(charges - charges.mean()),
        )

    return make
