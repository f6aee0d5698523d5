"""What every reader makes of a frame, wherever the frame came from."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from voltase.analysis.cells import StandardCell, standardise_cell
from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

RESERVED = frozenset(
    {
        "arrays",
        "cell",
        "charges",
        "dipole",
        "dt",
        "exact_positions",
        "exact_velocities",
        "pbc",
        "time",
        "time_known",
        "time_offset",
    }
)
"""Names in ``ts.data`` that an entry of ``atoms.info`` never takes."""

CHARGE_NAMES = ("charges", "charge", "REF_charges", "hirshfeld_charges")
"""Per-atom arrays taken as the charges, first found first; the initial charges come after them."""

SHORTEST_VECTOR = 1e-6
"""In A; a lattice vector below it is missing."""


@dataclass(slots=True)
class RawFrame:
    """A frame as its source has it: original orientation, ASE's units.

    Attributes
    ----------
    numbers : ndarray (n,)
    positions : ndarray (n, 3)
        In A.
    cell : ndarray (3, 3) or None
        Lattice vectors as rows in A.
    pbc : ndarray (3,) of bool
    masses : ndarray (n,)
        In u.
    velocities : ndarray (n, 3) or None
        In A/ps.
    forces : ndarray (n, 3) or None
        In eV/A.
    charges : ndarray (n,) or None
        In e.
    dipole : ndarray (3,) or None
        In e A.
    info : dict
        Numbers and strings of the whole frame.
    arrays : dict
        Per-atom arrays of floats, (n,) or (n, k), without a place of their own.
    """

    numbers: Integers
    positions: Array
    cell: Array | None
    pbc: npt.NDArray[np.bool_]
    masses: Array
    velocities: Array | None = None
    forces: Array | None = None
    charges: Array | None = None
    dipole: Array | None = None
    info: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)


class Placement(NamedTuple):
    """A cell in standard orientation, and as MDAnalysis has it.

    Attributes
    ----------
    standard : StandardCell
    dimensions : ndarray (6,) of float32
        Lengths in A and angles in degrees.
    """

    standard: StandardCell
    dimensions: npt.NDArray[np.float32]


class Factors(NamedTuple):
    """Factors from ASE's units to MDAnalysis's.

    Attributes
    ----------
    velocity : float
        From A per ASE time to A/ps.
    force : float
        From eV/A to kJ/(mol A).
    """

    velocity: float
    force: float


@functools.cache
def factors() -> Factors:
    """Factors from ASE's units to MDAnalysis's; ASE is imported on the first call."""
    from ase import units

    return Factors(1000.0 * units.fs, units.mol / units.kJ)


def standard_masses(numbers: npt.ArrayLike) -> Array:
    """ASE's mass of each element in u, (n,)."""
    from ase.data import atomic_masses

    return np.asarray(atomic_masses[np.asarray(numbers)], dtype=np.float64)


def velocities_of(momenta: npt.ArrayLike, masses: Array) -> Array:
    """Velocities (n, 3) in A/ps from ASE's momenta (n, 3) and masses (n,) in u."""
    values = np.asarray(momenta, dtype=np.float64)
    return values * (factors().velocity / masses)[:, None]


def charges_of(
    results: Mapping[str, Any], arrays: Mapping[str, Any], initial: npt.ArrayLike | None
) -> Array | None:
    """Charges (n,) in e: a result, else an array of that meaning, else initial ones not all 0."""
    for source in (results, arrays):
        for name in CHARGE_NAMES:
            if source.get(name) is not None:
                values = np.array(source[name], dtype=np.float64)
                if values.ndim == 1:
                    return values
    if initial is not None and np.any(initial):
        return np.array(initial, dtype=np.float64)
    return None


def scalars_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers and strings of ``atoms.info`` under their names."""
    kept: dict[str, Any] = {}
    for key, value in info.items():
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, str | bool | int | float):
            kept[str(key)] = value
    return kept


def cell_problem(cell: Array | None) -> str | None:
    """What is wrong with a cell, as "found ..., expected ..."; None if nothing is."""
    if cell is None or not np.any(cell):
        return "found no cell, expected three lattice vectors in A"
    lengths = np.sqrt((cell * cell).sum(axis=1))
    for length, name in zip(lengths, ("first", "second", "third"), strict=True):
        if length < SHORTEST_VECTOR:
            return (
                f"found a {name} lattice vector of length 0, expected three lattice vectors in A "
                "(give a slab its vacuum)"
            )
    try:
        standardise_cell(cell)
    except InputError as error:
        return str(error)
    return None


def place(cell: Array | None) -> Placement:
    """Turn a cell into the standard orientation.

    Raises
    ------
    InputError
        If there is no cell or it has no volume.
    """
    problem = cell_problem(cell)
    if problem is not None or cell is None:
        raise InputError(problem)
    standard = standardise_cell(cell)
    lengths = np.sqrt((standard.cell**2).sum(axis=1))
    angles = []
    for i, j in ((1, 2), (0, 2), (0, 1)):
        cosine = standard.cell[i] @ standard.cell[j] / (lengths[i] * lengths[j])
        angles.append(math.degrees(math.acos(max(-1.0, min(1.0, cosine)))))
    return Placement(standard, np.array([*lengths, *angles], dtype=np.float32))


def fill_timestep(ts: Any, frame: RawFrame, placement: Placement) -> None:
    """Put a frame, turned into standard orientation, into a ``Timestep``; time is left out.

    Everything in ``ts.data`` is new: an entry that this frame lacks does not stay from the last.
    """
    turn = placement.standard.turn
    data = {key: value for key, value in frame.info.items() if key not in RESERVED}
    data["cell"] = placement.standard.cell.copy()
    data["pbc"] = frame.pbc
    positions = turn(frame.positions)
    ts.positions = data["exact_positions"] = positions
    ts.dimensions = placement.dimensions
    ts.has_velocities = frame.velocities is not None
    if frame.velocities is not None:
        ts.velocities = data["exact_velocities"] = turn(frame.velocities)
    ts.has_forces = frame.forces is not None
    if frame.forces is not None:
        ts.forces = turn(frame.forces) * factors().force
    if frame.charges is not None:
        data["charges"] = frame.charges
    if frame.dipole is not None:
        data["dipole"] = turn(frame.dipole)
    if frame.arrays:
        data["arrays"] = {
            name: turn(values) if values.shape[1:] == (3,) else values
            for name, values in frame.arrays.items()
        }
    ts.data = data
