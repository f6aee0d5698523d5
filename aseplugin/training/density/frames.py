"""Densities to train on: where they are, which electron number they have, which geometry."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from ase import Atoms

from voltase.aseplugin.density_grid import DensityGrid
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.training.density.config import DensityFile

Array = npt.NDArray[np.float64]
HDF5_SUFFIXES = (".h5", ".hdf5")
SAME_PLACE = 1e-3
"""Distance in A up to which two frames have one geometry."""

_LOGGER = logging.getLogger(__name__)


@dataclass
class DensityFrame:
    """One density, still on disk.

    Attributes
    ----------
    name : str
    path : Path
    group : str or None
        Of an HDF5 file.
    atoms : Atoms
    shape : tuple of int
        Points of the grid.
    cell : ndarray (3, 3)
        Of the grid, A.
    origin : ndarray (3,)
        A.
    excess_electrons : float
        e.
    potential : float or None
        Absolute, V.
    geometry : str
    """

    name: str
    path: Path
    group: str | None
    atoms: Atoms
    shape: tuple[int, ...]
    cell: Array
    origin: Array
    excess_electrons: float
    potential: float | None
    geometry: str

    def values(self) -> Array:
        """The density (nx, ny, nz) in e/A^3.

        Raises
        ------
        InputError
            If it is not one of finite numbers.
        """
        if self.group is None:
            return np.asarray(_read_grid(self.path)[1].values, dtype=np.float64)
        with h5py.File(self.path, "r") as file:
            values = np.asarray(file[self.group]["density"][()], dtype=np.float64)
        if not np.isfinite(values).all() or not values.any():
            raise InputError(
                f"data.files: {self.name} in {self.path} has values that are not finite, or only "
                "zeros, expected a density in e/A^3"
            )
        return values

    @property
    def volume_element(self) -> float:
        """Volume of one grid point, A^3."""
        return float(abs(np.linalg.det(self.cell)) / np.prod(self.shape))


@dataclass
class Geometry:
    """The frames of one arrangement of the atoms on one grid, by electron number.

    Attributes
    ----------
    name : str
    frames : list of DensityFrame
    """

    name: str
    frames: list[DensityFrame] = field(default_factory=list)

    @property
    def atoms(self) -> Atoms:
        """The arrangement."""
        return self.frames[0].atoms

    @property
    def electrons(self) -> Array:
        """n of each frame (n_frames,)."""
        return np.array([frame.excess_electrons for frame in self.frames])

    def key(self, salt: str) -> str:
        """Name of a file that keeps what was computed of it."""
        digest = hashlib.sha256(salt.encode())
        first = self.frames[0]
        for values in (first.atoms.numbers, first.atoms.positions, first.cell, first.origin):
            digest.update(np.ascontiguousarray(values).tobytes())
        for frame in self.frames:
            digest.update(f"{frame.path.name} {frame.name} {frame.excess_electrons}".encode())
        return digest.hexdigest()[:16]


def read_frames(files: Sequence[str], single: Sequence[DensityFile] = ()) -> list[DensityFrame]:
    """All frames, without their densities.

    Parameters
    ----------
    files : sequence of str
        HDF5 files as ``pe-label`` writes them, or folders with them (``densities.h5`` in any
        folder below).
    single : sequence of DensityFile

    Raises
    ------
    InputError
        If a file is not there, or is no such file.
    """
    frames = [frame for path in _hdf5_files(files) for frame in _read_hdf5(path)]
    frames += [_read_single(entry) for entry in single]
    if not frames:
        raise InputError("data.files: found no density, expected HDF5 files or single densities")
    return frames


def group_frames(frames: Iterable[DensityFrame]) -> list[Geometry]:
    """Frames by geometry and grid; a geometry whose atoms moved between charges is split."""
    found: list[Geometry] = []
    by_name: dict[tuple[str, str], list[Geometry]] = {}
    for frame in frames:
        same_name = by_name.setdefault((str(frame.path), frame.geometry), [])
        for geometry in same_name:
            if _alike(geometry.frames[0], frame):
                if frame.excess_electrons not in geometry.electrons:
                    geometry.frames.append(frame)
                break
        else:
            new = Geometry(f"{frame.path.parent.name}/{frame.geometry}", [frame])
            same_name.append(new)
            found.append(new)
    for geometry in found:
        geometry.frames.sort(key=lambda frame: frame.excess_electrons)
    return found


def _alike(first: DensityFrame, second: DensityFrame) -> bool:
    return (
        first.shape == second.shape
        and np.array_equal(first.atoms.numbers, second.atoms.numbers)
        and bool(np.allclose(first.cell, second.cell, rtol=0.0, atol=SAME_PLACE))
        and bool(np.allclose(first.origin, second.origin, rtol=0.0, atol=SAME_PLACE))
        and bool(np.allclose(first.atoms.positions, second.atoms.positions, rtol=0.0,
                             atol=SAME_PLACE))
    )  # fmt: skip


def _hdf5_files(files: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for name in files:
        path = Path(name)
        if path.is_dir():
            inside = sorted(path.glob("**/*.h5"))
            if not inside:
                raise InputError(f"data.files: found no .h5 file in the folder {name}")
            found += inside
        elif not path.is_file():
            raise InputError(f"data.files: found no file {name}")
        elif path.suffix not in HDF5_SUFFIXES:
            raise InputError(
                f"data.files: found {name}, expected .h5; other files need their electron number "
                "and stand under data.single"
            )
        else:
            found.append(path)
    return found


def _read_hdf5(path: Path) -> list[DensityFrame]:
    frames = []
    try:
        with h5py.File(path, "r") as file:
            for name, group in file.items():
                frames.append(_frame_of(path, name, group))
    except InputError as error:
        raise InputError(f"data.files: {name} in {path}: {error}") from error
    except (OSError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"data.files: {path} cannot be read as densities ({reason})") from error
    return frames


def _frame_of(path: Path, name: str, group: Any) -> DensityFrame:
    if not isinstance(group, h5py.Group):
        raise InputError("found a dataset, expected a group for each density")
    missing = [n for n in ("density", "cell", "numbers", "positions", "pbc") if n not in group]
    if missing:
        raise InputError(f"found no dataset '{missing[0]}', expected it beside the others")
    if "excess_electrons" not in group.attrs:
        raise InputError("found no attribute 'excess_electrons', expected that of pe-label, in e")
    density = group["density"]
    if density.ndim != 3 or density.dtype.kind not in "iuf" or not density.size:
        raise InputError(
            f"density: found shape {density.shape} of {density.dtype}, expected numbers on a grid"
        )
    cell = np.asarray(group["cell"][()], dtype=np.float64)
    atoms = Atoms(numbers=group["numbers"][()], positions=group["positions"][()], cell=cell,
                  pbc=group["pbc"][()])  # fmt: skip
    potential = group.attrs.get("electrode_potential")
    return DensityFrame(
        name=name,
        path=path,
        group=name,
        atoms=atoms,
        shape=tuple(density.shape),
        cell=cell,
        origin=np.asarray(group.attrs.get("origin", np.zeros(3)), dtype=np.float64),
        excess_electrons=_finite("excess_electrons", group.attrs["excess_electrons"]),
        potential=None if potential is None else _finite("electrode_potential", potential),
        geometry=str(group.attrs.get("geometry", name)),
    )


def _finite(name: str, value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = np.nan
    if not np.isfinite(found):
        raise InputError(f"{name}: found {value!r}, expected a finite number")
    return found


def _read_single(entry: DensityFile) -> DensityFrame:
    path = Path(entry.file)
    if not path.is_file():
        raise InputError(f"data.single: found no file {entry.file}")
    try:
        atoms, grid = _read_grid(path)
    except InputError as error:
        raise InputError(str(error).replace("path:", "data.single:", 1)) from error
    return DensityFrame(
        name=path.name,
        path=path,
        group=None,
        atoms=atoms,
        shape=tuple(grid.values.shape),
        cell=np.asarray(grid.cell),
        origin=np.asarray(grid.origin),
        excess_electrons=entry.excess_electrons,
        potential=entry.potential,
        geometry=entry.geometry or path.stem,
    )


def _read_grid(path: Path) -> tuple[Atoms, DensityGrid]:
    """Atoms and density of a file of another code."""
    grid = DensityGrid.read(path)
    if grid.atoms is None:
        raise InputError(f"data.single: {path} has no atoms, expected those of its cell")
    return grid.atoms, grid
