"""Densities on a grid, of cube and HDF5 files: planar averages and the potential they make."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase.units import Bohr

from voltase.analysis.cells import area_of, height_of, standardise_cell
from voltase.aseplugin.densities.poisson import macroscopic_average, solve_planar
from voltase.aseplugin.electrochemistry import EPSILON_0
from voltase.aseplugin.errors import InputError

__all__ = [
    "GridDensity",
    "GridPotential",
    "integrate_poisson",
    "macroscopic_average",
    "planar_average",
    "potential_from_density",
    "read_cube",
    "read_hdf5",
]

Array = npt.NDArray[np.float64]

NEUTRAL = 0.02
"""Net charge of a grid in e that its spacing may leave."""


class GridDensity(NamedTuple):
    """A density on a regular grid that fills a cell.

    Attributes
    ----------
    values : ndarray (nx, ny, nz)
        Electrons per A^3, as stored (single or double precision). Point (i, j, k) lies at
        (i/nx, j/ny, k/nz) in cell coordinates.
    cell : ndarray (3, 3)
        Lattice vectors as rows, A.
    numbers : ndarray (n_atoms,)
        Atomic numbers.
    positions : ndarray (n_atoms, 3)
        A, from the first point of the grid.
    """

    values: npt.NDArray[Any]
    cell: Array
    numbers: npt.NDArray[np.int64]
    positions: Array


class GridPotential(NamedTuple):
    """Planar averages on the points of a grid.

    Attributes
    ----------
    z : ndarray (nz,)
        Heights in A above the plane of the first points.
    electrons : ndarray (nz,)
        Density in e/A^3.
    charge : ndarray (nz,)
        Charge density of electrons and ions in e/A^3.
    potential : ndarray (nz,)
        Electrostatic potential in V, of a positive test charge.
    """

    z: Array
    electrons: Array
    charge: Array
    potential: Array


# -- readers -------------------------------------------------------------------------------------


def read_cube(path: str | os.PathLike[str], unit: str = "e/bohr3") -> GridDensity:
    """Read a density from a Gaussian cube file, without a second copy of it in memory.

    Parameters
    ----------
    path : path
    unit : {"e/bohr3", "e/A3"}
        Of the values. Most programs write atomic units; ASE's `write_cube` writes what it is given.

    Raises
    ------
    InputError
        If the file cannot be read, is cut short or holds more than one value a point.
    """
    if unit not in ("e/bohr3", "e/A3"):
        raise InputError(f"unit: found '{unit}', expected e/bohr3 or e/A3")
    try:
        with open(path, encoding="ascii") as file:
            shape, cell, numbers, positions = _cube_header(file)
            values = _numbers(file, math.prod(shape)).reshape(shape)
    except (OSError, ValueError, IndexError, StopIteration) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"path: {os.fspath(path)} cannot be read as a cube file: {error}"
        ) from None
    if unit == "e/bohr3":
        values /= Bohr**3
    return GridDensity(values, cell, numbers.astype(np.int64), positions)


def _cube_header(file: IO[str]) -> tuple[tuple[int, ...], Array, Array, Array]:
    """Shape, cell (A), atomic numbers (n,) and positions (n, 3) from the first grid point (A)."""
    next(file), next(file)
    first = next(file).split()
    count = int(first[0])
    if count < 0 or (len(first) > 4 and int(first[4]) != 1):
        raise InputError("path: found a cube file with several values a point, expected a density")
    axes = [next(file).split() for _ in range(3)]
    points = [int(axis[0]) for axis in axes]
    # A negative number of points says that lengths are in A.
    unit = 1.0 if points[0] < 0 else Bohr
    shape = tuple(map(abs, points))
    cell = np.array([axis[1:4] for axis in axes], dtype=np.float64) * np.array(shape)[:, None]
    rows = [next(file).split() for _ in range(count)]
    atoms = np.array(rows, dtype=np.float64).reshape(count, 5)
    positions = atoms[:, 2:] - np.array(first[1:4], dtype=np.float64)
    return shape, cell * unit, atoms[:, 0], positions * unit


def _numbers(file: IO[str], count: int) -> Array:
    """The next numbers of a text file (count,)."""
    values = np.empty(count)
    filled = 0
    while filled < count:
        text = file.read(1 << 20) + file.readline()
        if not text:
            raise InputError(f"path: found {filled} values, expected {count}")
        piece = np.array(text.split(), dtype=np.float64)
        if filled + len(piece) > count:
            raise InputError(f"path: found more values than the {count} of the grid")
        values[filled : filled + len(piece)] = piece
        filled += len(piece)
    return values


def read_hdf5(path: str | os.PathLike[str], group: str) -> GridDensity:
    """Read a density from a group of an HDF5 file.

    Parameters
    ----------
    path : path
    group : str
        With the datasets ``density`` (nx, ny, nz) in e/A^3 and ``cell`` (3, 3) in A, and those of
        the atoms if it has them: ``numbers`` (n,), ``positions`` (n, 3) in A.

    Raises
    ------
    InputError
        If the file, the group or one of the first two datasets is not there.
    """
    import h5py

    if not Path(path).is_file():
        raise InputError(f"path: found no file {os.fspath(path)}")
    with h5py.File(path, "r") as file:
        found = file.get(group)
        if not isinstance(found, h5py.Group):
            some = ", ".join(list(file)[:3])
            raise InputError(f"group: found no '{group}', expected one of those there: {some}, ...")
        missing = [name for name in ("density", "cell") if name not in found]
        if missing:
            raise InputError(f"group: found no dataset '{missing[0]}' in '{group}'")
        values, cell = found["density"][()], np.asarray(found["cell"][()], dtype=np.float64)
        numbers = found["numbers"][()] if "numbers" in found else np.empty(0)
        positions = found["positions"][()] if "positions" in found else np.empty((0, 3))
    _check_grid(values, cell)
    return GridDensity(values, cell, np.asarray(numbers, dtype=np.int64),
                       np.asarray(positions, dtype=np.float64))  # fmt: skip


# -- averages and potentials ---------------------------------------------------------------------


def planar_average(values: npt.ArrayLike, cell: npt.ArrayLike) -> tuple[Array, Array]:
    """Average over the planes that the first two lattice vectors span.

    Parameters
    ----------
    values : array_like (nx, ny, nz)
        Of any kind; single precision is summed in double. An open HDF5 dataset is read in slices.
    cell : array_like (3, 3)
        A.

    Returns
    -------
    z, profile : ndarray (nz,)
        Heights in A above the plane k = 0, and the average in the unit of the values. Its integral
        over the period is the sum over the cell: area times height times the mean.
    """
    grid: Any = values if hasattr(values, "shape") else np.asarray(values)
    box = np.asarray(cell, dtype=np.float64)
    _check_grid(grid, box)
    total = np.zeros(grid.shape[2])
    for i in range(grid.shape[0]):
        total += np.asarray(grid[i]).sum(axis=0, dtype=np.float64)
    profile = total / (grid.shape[0] * grid.shape[1])
    z = np.arange(len(profile)) * (height_of(box) / len(profile))
    return np.asarray(z), np.asarray(profile)


def potential_from_density(
    values: npt.ArrayLike,
    cell: npt.ArrayLike,
    positions: npt.ArrayLike,
    charges: npt.ArrayLike,
    *,
    smearing: float = 0.3,
    boundary: str = "periodic",
) -> GridPotential:
    """Planar average of the electrostatic potential of electrons and ions.

    eps0 phi'' = -rho, solved in Fourier space, which is exact for what the grid resolves. No
    dielectric is there but the electrons. `macroscopic_average` takes the result if its first
    value is added at its end.

    Parameters
    ----------
    values : array_like (nx, ny, nz)
        Electrons per A^3.
    cell : array_like (3, 3)
        A.
    positions : array_like (n_atoms, 3)
        A, from the first point of the grid, in any period.
    charges : array_like (n_atoms,)
        Of the ions, e; of valence electrons, the numbers of these.
    smearing : float
        Standard deviation in A of the Gaussians that the ions are, which changes nothing outside
        of them; one or more spacings of the grid.
    boundary : {"periodic", "open"}
        ``periodic``: no mean field, mean potential zero; refuses a cell that is not neutral to
        0.02 e. ``open``: field and potential are zero at z = 0, which has to be in the vacuum; a
        net charge is kept, and its field leaves through the far end.

    Raises
    ------
    InputError
        If an argument does not fit, or a periodic cell is charged.
    """
    z, electrons = planar_average(values, cell)
    box = standardise_cell(cell)
    points = box.turn(np.asarray(positions, dtype=np.float64).reshape(-1, 3))
    q = np.asarray(charges, dtype=np.float64)
    n, height, area = len(z), height_of(box.cell), area_of(box.cell)
    if q.shape != (len(points),):
        raise InputError(f"charges: found shape {q.shape}, expected one for each of {len(points)}")
    if boundary not in ("periodic", "open"):
        raise InputError(f"boundary: found '{boundary}', expected periodic or open")
    if not height / n * 0.999 <= smearing <= 0.25 * height:
        raise InputError(
            f"smearing: found {smearing:g} A, expected from the spacing of the grid, "
            f"{height / n:.3g} A, to a quarter of the cell"
        )
    net = float(q.sum() - electrons.mean() * area * height)
    if boundary == "periodic" and abs(net) > NEUTRAL:
        raise InputError(f"charges: found {net:+.4g} e in the cell, expected none if periodic")
    k = 2.0 * np.pi / height * np.arange(n // 2 + 1)
    phases = np.exp(-1j * np.outer(k, points[:, 2]))
    ions = n / (area * height) * (phases @ q) * np.exp(-0.5 * (k * smearing) ** 2)
    spectrum = ions - np.fft.rfft(electrons)
    charge = np.fft.irfft(spectrum, n)
    potential = solve_planar(charge, height, boundary)
    return GridPotential(z, electrons, charge, potential)


def _check_grid(values: Any, cell: Array) -> None:
    if len(values.shape) != 3 or min(values.shape) < 1:
        raise InputError(f"values: found shape {tuple(values.shape)}, expected three axes")
    if cell.shape != (3, 3) or not abs(np.linalg.det(cell)) > 1e-3:
        raise InputError(f"cell: found {cell.tolist()}, expected three lattice vectors in A")


# -- electrostatics in one dimension -------------------------------------------------------------


def integrate_poisson(charge: Array, moment: Array, width: float, periodic: bool
                      ) -> tuple[Array, Array]:  # fmt: skip
    """Field and potential at the edges of bins, exactly, from eps0 phi'' = -rho.

    Parameters
    ----------
    charge : ndarray (..., n_bins)
        Charge per area in each bin, e/A^2.
    moment : ndarray (..., n_bins)
        Integral of (right edge - z) rho(z) over the bin, e/A.
    width : float
        Of the bins, A.
    periodic : bool
        Whether the potential is; else the field is zero at the first edge.

    Returns
    -------
    field, potential : ndarray (..., n_bins + 1)
        V/A and V; the potential is zero at the first edge.
    """
    below = np.concatenate([np.zeros_like(charge[..., :1]), np.cumsum(charge, axis=-1)], axis=-1)
    # The integral of the charge below, over each bin.
    rise = below[..., :-1] * width + moment
    if periodic:
        mean = rise.sum(axis=-1, keepdims=True) / (rise.shape[-1] * width)
        below = below - mean
        rise = rise - mean * width
    fall = np.concatenate([np.zeros_like(charge[..., :1]), np.cumsum(rise, axis=-1)], axis=-1)
    return below / EPSILON_0, -fall / EPSILON_0
