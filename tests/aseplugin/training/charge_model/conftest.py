"""Frames with charges that a small model can learn."""

from pathlib import Path

import numpy as np
import pytest
from ase.io import write

from voltase.aseplugin.testing import pt111_water

MODEL = {
    "features": {
        "mace": {"r_max": 4.0, "channels": 4, "num_bessel": 6, "correlation": 2,
                 "radial_mlp": [8], "num_interactions": 2},
    },
    "hidden": 8,
    "bond_ranges": {"H-O": [1.25, 2.0], "O-Pt": [1.6, 2.6], "Pt-Pt": [3.2, 3.6]},
}  # fmt: skip


@pytest.fixture(scope="session")
def charge_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six geometries at two electron numbers between plates."""
    rng = np.random.default_rng(2)
    frames = []
    for number in range(6):
        atoms = pt111_water(size=(2, 2, 2), waters=2, seed=number)
        atoms.pbc = (True, True, False)
        metal = atoms.numbers == 78
        heights = atoms.positions[:, 2]
        front = metal & (heights > heights[metal].mean())
        charges = np.where(metal, -0.05, np.where(atoms.numbers == 8, -0.6, 0.3))
        charges = charges + rng.normal(0.0, 0.01, len(atoms))
        charges -= charges.mean()
        for electrons in (-0.05, 0.05):
            frame = atoms.copy()
            shift = np.where(front, -electrons / front.sum(), 0.0)
            shift += np.where(metal & ~front, electrons / (metal & ~front).sum(), 0.0)
            frame.arrays["hirshfeld_charges"] = charges + shift
            frame.arrays["REF_forces"] = rng.normal(0.0, 0.3, (len(atoms), 3))
            frame.info = {"excess_electrons": electrons, "config_type": "field",
                          "electrode_potential": 4.5 - 8.0 * electrons,
                          "source": f"{number:06d}.000/{electrons}"}  # fmt: skip
            frames.append(frame)
    path = tmp_path_factory.mktemp("frames") / "charges.extxyz"
    write(path, frames)
    return path
