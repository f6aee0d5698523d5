"""The last frame of a run that had to stop."""

import os
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.extxyz import write_extxyz
from numpy.typing import NDArray


def save_failed_frame(
    atoms: Atoms,
    step: int,
    beside: Path | None,
    positions: NDArray[np.float64] | None = None,
) -> Path:
    """Write the atoms, without results, as extended XYZ; return where.

    Parameters
    ----------
    atoms : Atoms
    step : int
    beside : Path or None
        An output of the run, next to which the frame goes; a temporary folder if None.
    positions : ndarray, shape (atoms, 3), optional
        Instead of the present ones, A; stored beside them as ``failed_positions`` if those are
        finite.
    """
    frame = atoms.copy()
    if positions is not None:
        if np.isfinite(atoms.positions).all():
            frame.set_array("failed_positions", atoms.positions)
        frame.arrays["positions"][:] = positions
    name = f"failed-step{step}.extxyz"
    if beside is None:
        path = Path(tempfile.mkdtemp(prefix="voltase-")) / name
    else:
        path = beside.with_name(f"{beside.stem}.{name}")
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        write_extxyz(file, frame)
    os.replace(partial, path)
    return path
