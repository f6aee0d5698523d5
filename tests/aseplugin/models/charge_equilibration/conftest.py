"""A small electrode with waters and an ion, in every boundary condition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from voltase.aseplugin import FQEqSolution, solve_fqeq

Array = NDArray[np.float64]

BOUNDARIES = {"open": (False,) * 3, "slab": (True, True, False), "bulk": (True,) * 3}

METAL = np.array([[0.0, 0, 0], [2.8, 0, 0.1], [1.4, 2.4, 0], [1.4, 0.8, -2.3]])
WATER = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
PARAMETERS = {  # electronegativity (eV/e), hardness (eV/e^2), width (A)
    "Pt": (1.2, 3.0, 0.9),
    "O": (5.0, 9.0, 0.55),
    "H": (-2.0, 11.0, 0.4),
    "Na": (-4.0, 6.0, 0.7),
}


@dataclass(frozen=True)
class Case:
    """Arguments of `solve_fqeq`."""

    positions: Array
    cell: Array
    pbc: tuple[bool, bool, bool]
    electronegativity: Array
    hardness: Array
    width: Array
    source_charge: Array
    bonds: NDArray[np.int64]
    bond_order: Array
    options: dict[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """As keywords."""
        names = ("positions", "cell", "pbc", "electronegativity", "hardness", "width",
                 "source_charge", "bonds", "bond_order")  # fmt: skip
        return {name: getattr(self, name) for name in names} | self.options

    def solve(self, **changes: Any) -> FQEqSolution:
        """The solution with some arguments changed."""
        return solve_fqeq(**(self.arguments() | changes))

    def tensors(self) -> dict[str, Any]:
        """Arguments as tensors."""
        return {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in self.arguments().items()
        }

    def with_options(self, **options: Any) -> Case:
        """The same case with more keywords."""
        return replace(self, options=self.options | options)


def build(boundary: str) -> Case:
    """Four metal atoms, two waters and a sodium ion: nodes of 4, 3, 2 + 1 and 1 atoms.

    One bond of the second water is half broken, the ion and the first water have soft bonds to
    the metal.
    """
    rng = np.random.default_rng(3)
    shifts = [METAL, WATER + [1.0, 1.0, 3.0], WATER + [4.6, 3.6, 2.2], [[5.2, 0.4, 4.4]]]
    positions = np.vstack(shifts) + rng.normal(0, 0.05, (11, 3))
    symbols = ["Pt"] * 4 + ["O", "H", "H"] * 2 + ["Na"]
    chi, hardness, width = np.array([PARAMETERS[s] for s in symbols]).T
    source = rng.normal(0, 0.1, 11)
    source -= source.mean()
    bonds = [(0, 1, 1.0), (0, 2, 1.0), (1, 2, 1.0), (0, 3, 1.0), (1, 3, 0.9), (4, 5, 1.0),
             (6, 4, 1.0), (7, 8, 1.0), (7, 9, 0.7), (2, 4, 0.2), (10, 1, 0.05), (9, 4, 0.6),
             (8, 10, 0.0)]  # fmt: skip
    return Case(
        positions=positions,
        cell=np.array([[9.0, 0.0, 0.0], [1.5, 8.5, 0.0], [0.7, -0.4, 11.0]]),
        pbc=BOUNDARIES[boundary],
        electronegativity=chi + rng.normal(0, 0.2, 11),
        hardness=hardness,
        width=width,
        source_charge=source,
        bonds=np.array([(i, j) for i, j, _ in bonds]).T,
        bond_order=np.array([b for _, _, b in bonds]),
    )


@pytest.fixture
def build_case() -> Callable[[str], Case]:
    """A function from "open", "slab" or "bulk" to the arguments of a small system."""
    return build


@pytest.fixture(params=list(BOUNDARIES))
def case(request: pytest.FixtureRequest) -> Case:
    """The small system in each boundary condition."""
    return build(request.param)


@pytest.fixture
def hard(case: Case) -> Case:
    """The same without soft bonds: metal, two molecules and an ion, each on its own."""
    return replace(case, bond_order=(case.bond_order > 0.65).astype(np.float64))
