"""Long-range potential and field of point charges seen from far away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.electrochemistry import EPSILON_0

Array = npt.NDArray[np.float64]
SMEARING = 2.0
"""Standard deviation in A of the Gaussians that the charges are: what is nearer than about that
the model sees for itself."""
CUTOFF = 3.7
"""Wave vectors up to this over the smearing: exp(-cutoff^2 / 2) is 1e-3."""
PADDING = 3.0
"""Height of the cell in which a slab is summed, over that of the charges."""


def smeared_potential(positions: Array, charges: Array, cell: Array, pbc: Sequence[bool],
                      smearing: float = SMEARING) -> tuple[Array, Array]:  # fmt: skip
    """Potential (n,) in V and field (n, 3) in V/A at charges that are Gaussians.

    A sum over reciprocal space; axes that are not periodic are padded with vacuum, and the field
    that a slab's periodic images make is taken off (Yeh and Berkowitz, doi:10.1063/1.479595).

    Parameters
    ----------
    positions : ndarray (n, 3)
        A.
    charges : ndarray (n,)
        e; they should add to zero.
    cell : ndarray (3, 3)
        A, complete.
    pbc : (bool, bool, bool)
    smearing : float
        A.
    """
    if not np.any(charges):
        return np.zeros(len(charges)), np.zeros((len(charges), 3))
    box, open_axes = _padded(positions, cell, pbc, smearing)
    volume = abs(float(np.linalg.det(box)))
    waves = _waves(box, CUTOFF / smearing)
    squares = (waves**2).sum(1)
    phases = np.exp(1j * positions @ waves.T)
    amplitude = np.exp(-0.5 * squares * smearing**2) / (squares * EPSILON_0 * volume)
    # Half of the wave vectors stand for both signs.
    spectrum = 2.0 * amplitude * (phases.conj().T @ charges)
    potential = np.real(phases @ spectrum)
    field = -np.real(phases @ (1j * waves * spectrum[:, None]))
    for axis in open_axes:
        normal = box[axis] / np.linalg.norm(box[axis])
        moment = float(charges @ (positions @ normal))
        potential += moment / (EPSILON_0 * volume) * ((positions - positions.mean(0)) @ normal)
        field -= moment / (EPSILON_0 * volume) * normal
    return potential, field


def _padded(positions: Array, cell: Array, pbc: Sequence[bool], smearing: float
            ) -> tuple[Array, list[int]]:  # fmt: skip
    """The cell with its open axes made perpendicular and high, and these axes."""
    box = cell.copy()
    axes = [axis for axis in range(3) if not pbc[axis]]
    for axis in axes:
        normal = np.cross(box[axis - 2], box[axis - 1])
        normal /= np.linalg.norm(normal)
        extent = float(np.ptp(positions @ normal))
        lateral = max(np.linalg.norm(box[axis - 2]), np.linalg.norm(box[axis - 1]))
        box[axis] = normal * max(PADDING * extent, extent + 2.0 * lateral, 10.0 * smearing)
    return box, axes


def _waves(box: Array, longest: float) -> Array:
    """Reciprocal vectors (n, 3) up to a length, one of each pair of opposite ones."""
    reciprocal = 2.0 * np.pi * np.linalg.inv(box).T
    counts = np.floor(longest * np.linalg.norm(box, axis=1) / (2.0 * np.pi)).astype(int)
    ranges = [np.arange(-n, n + 1) for n in counts]
    grid = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    half = grid[len(grid) // 2 + 1 :]
    waves = half @ reciprocal
    return np.asarray(waves[(waves**2).sum(1) <= longest**2])
