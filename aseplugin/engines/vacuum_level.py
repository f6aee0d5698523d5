"""The potential in the vacuum above a slab, from a potential on a grid."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from voltase.aseplugin.errors import EngineError

WINDOW = (0.24, 0.34)
"""Part of the vacuum, from the topmost atom on, over which the level is taken: beyond the tail of
the density, and short of the middle, where the step that compensates the dipole is."""
MINIMUM_VACUUM = 12.0
"""In A."""
FLATNESS = 0.05
"""Largest range of the planar average in the window, eV."""


def check_slab(atoms: Atoms) -> None:
    """Refuse what has no vacuum along z.

    Raises
    ------
    EngineError
        If the third cell vector is not along z, another one is not normal to it, or there is too
        little vacuum.
    """
    check_normal(atoms)
    _, gap = _vacuum(atoms)
    if gap < MINIMUM_VACUUM:
        raise EngineError(
            f"atoms: found {gap:.1f} A of vacuum along z, expected at least {MINIMUM_VACUUM:g} A "
            "for a vacuum level"
        )


def check_normal(atoms: Atoms) -> None:
    """Refuse a cell whose third vector is not along +z and normal to the others."""
    cell = atoms.cell.array
    off = max(abs(cell[2, 0]), abs(cell[2, 1]), abs(cell[0, 2]), abs(cell[1, 2]))
    if off > 1e-6 or cell[2, 2] <= 0:
        raise EngineError(
            "atoms: the third cell vector is not along z and normal to the other two, expected a "
            "slab with its normal along z"
        )


def vacuum_level(potential: NDArray[np.float64], atoms: Atoms) -> float:
    """Level of the vacuum above the topmost atom.

    Parameters
    ----------
    potential : ndarray, shape (nx, ny, nz)
        Potential energy of an electron, eV; plane k lies at z = k c / nz.
    atoms : Atoms
        A slab with its normal along z and a vacuum, see `check_slab`.

    Returns
    -------
    float
        eV.

    Raises
    ------
    EngineError
        If the planar average is not flat there: no dipole correction, or too little vacuum.
    """
    check_slab(atoms)
    top, gap = _vacuum(atoms)
    height = float(atoms.cell[2, 2])
    profile = potential.mean(axis=(0, 1))
    z = top + gap * np.linspace(*WINDOW, 25)
    points = np.arange(len(profile)) * height / len(profile)
    values = np.interp(z, points, profile, period=height)
    if np.ptp(values) > FLATNESS:
        raise EngineError(
            f"vacuum level: the potential varies by {np.ptp(values):.3f} eV between {z[0]:.1f} and "
            f"{z[-1]:.1f} A, expected at most {FLATNESS:g} eV (a dipole correction, more vacuum)"
        )
    return float(values.mean())


def vacuum_middle(atoms: Atoms) -> float:
    """Height of the middle of the vacuum, A, within the cell."""
    top, gap = _vacuum(atoms)
    return (top + 0.5 * gap) % float(atoms.cell[2, 2])


def _vacuum(atoms: Atoms) -> tuple[float, float]:
    """Height of the atom below the widest gap along z, and the gap, A."""
    height = float(atoms.cell[2, 2])
    z = np.sort(atoms.positions[:, 2] % height)
    gaps = np.diff(np.append(z, z[0] + height))
    widest = int(np.argmax(gaps))
    return float(z[widest]), float(gaps[widest])
