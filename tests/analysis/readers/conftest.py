"""Trajectories of a few atoms in cells of every kind, and their files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

CELLS = {
    "orthorhombic": [[7.0, 0.0, 0.0], [0.0, 8.0, 0.0], [0.0, 0.0, 20.0]],
    "hexagonal": [[8.0, 0.0, 0.0], [-4.0, 4.0 * 3**0.5, 0.0], [0.0, 0.0, 20.0]],
    "triclinic": [[8.0, 0.0, 0.0], [2.0, 7.0, 0.0], [1.0, -2.0, 18.0]],
    "rotated": [[0.0, 8.0, 1.0], [-7.0, 1.0, 2.0], [3.0, 1.0, 18.0]],
    "left-handed": [[0.0, 8.0, 0.0], [7.0, 0.0, 0.0], [0.0, 0.5, 19.0]],
}

MakeFrames = Callable[..., list[Atoms]]


@pytest.fixture(params=list(CELLS))
def cell(request: pytest.FixtureRequest) -> np.ndarray:
    return np.array(CELLS[request.param])


@pytest.fixture
def make_frames() -> MakeFrames:
    """Makes frames of Pt3OH2 with n, potential, time, momenta, charges, forces and energy."""

    def make(n_frames: int = 5, cell: object = None, timed: bool = True) -> list[Atoms]:
        rng = np.random.default_rng(7)
        frames = []
        for i in range(n_frames):
            atoms = Atoms(
                "Pt3OH2",
                # Eight decimals, as extended xyz stores them.
                positions=np.round(rng.uniform(-3.0, 9.0, (6, 3)), 8),
                cell=CELLS["hexagonal"] if cell is None else cell,
                pbc=(True, True, False),
            )
            atoms.set_momenta(np.round(rng.normal(size=(6, 3)), 8))
            atoms.info["excess_electrons"] = 0.1 * i - 0.2
            atoms.info["electrode_potential"] = 0.5 - 0.01 * i
            atoms.info["potential_reference"] = "SHE"
            if timed:
                atoms.info["time_fs"] = 50.0 + 2.5 * i
            atoms.calc = SinglePointCalculator(
                atoms,
                energy=-3.0 - i,
                forces=np.round(rng.normal(size=(6, 3)), 8),
                charges=np.round(rng.normal(size=6), 8),
                dipole=np.array([1.0, -2.0, 0.5]),
            )
            frames.append(atoms)
        return frames

    return make
