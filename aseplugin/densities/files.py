"""Densities in files: cube, CHGCAR, HDF5 and GPAW's."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.units import Bohr

from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from voltase.aseplugin.density_grid import DensityGrid

HDF5 = (".h5", ".hdf5")
CUBE = (".cube", ".cub")
CHGCAR = ("CHGCAR", "AECCAR", "PARCHG")


def read_density(path: str | os.PathLike[str], group: str | None) -> DensityGrid:
    """Read a density; see `DensityGrid.read`."""
    file = _path_of(path)
    if not file.is_file():
        raise InputError(f"path: found no file {file}")
    reader: Callable[[Path], DensityGrid] = _read_chgcar
    if group is not None and file.suffix not in HDF5:
        raise InputError(f"group: found '{group}' for {file.name}, expected one for HDF5 alone")
    if file.suffix in HDF5:
        reader = partial(_read_hdf5, group=group)
    elif file.suffix in CUBE:
        reader = _read_cube
    elif file.suffix == ".gpw":
        reader = _read_gpaw
    elif not _is_chgcar(file):
        raise InputError(f"path: found {file.name}, expected .cube, CHGCAR*, .h5 or .gpw")
    try:
        return reader(file)
    # Readers of other packages raise whatever they stumble over.
    except Exception as error:
        text = str(error)
        if isinstance(error, InputError) and text.startswith(("path:", "group:")):
            raise
        reason = " ".join(text.split()) or type(error).__name__
        raise InputError(f"path: {file} cannot be read as a density ({reason})") from error


def write_density(density: DensityGrid, path: str | os.PathLike[str], group: str) -> None:
    """Write a density; see `DensityGrid.write`."""
    file = _path_of(path)
    if file.suffix not in (*HDF5, *CUBE) and not _is_chgcar(file):
        raise InputError(f"path: found {file.name}, expected .cube, CHGCAR* or .h5")
    half = file.with_name(file.name + ".partial")
    try:
        if file.suffix in HDF5:
            _write_hdf5(density, file, half, group)
        elif file.suffix in CUBE:
            _write_cube(density, half)
        else:
            _write_chgcar(density, half)
        os.replace(half, file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"path: {file} cannot be written ({reason})") from error
    finally:
        # Gone if all went well.
        with contextlib.suppress(OSError):
            half.unlink()


def _path_of(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path)
    except TypeError:
        raise InputError(f"path: found a {type(path).__name__}, expected a path") from None


def _is_chgcar(path: Path) -> bool:
    return any(name in path.name for name in CHGCAR)


def _check_end(path: Path) -> None:
    """Refuse a text file that ends inside its last number, such as 1.7e-0 of 1.7e-04."""
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - 200, 0))
        end = file.read().decode("ascii", "replace")
    if not end or end[-1].isspace():
        return
    before, last = (["", *end.upper().split()])[-2:]
    # All numbers of a format have as many digits in their exponents.
    if len(last.partition("E")[2]) < len(before.partition("E")[2]):
        raise InputError(f"path: {path} ends in '{last}', inside a number: it is cut short")


def _atoms_of(density: DensityGrid) -> Atoms:
    if density.atoms is None:
        raise InputError("density: found no atoms, expected those of the cell for such a file")
    # Velocities and constraints of a frame would go into a CHGCAR, where no program expects them.
    atoms = density.atoms
    return Atoms(atoms.numbers, atoms.positions, cell=density.cell, pbc=density.pbc)


def _read_cube(path: Path) -> DensityGrid:
    from ase.io.cube import read_cube

    from voltase.aseplugin.density_grid import DensityGrid

    with open(path, encoding="ascii") as file:
        rows = [file.readline().split() for _ in range(6)][3:]
        if any(not row or int(row[0]) < 1 for row in rows):
            raise ValueError("no numbers of points above zero; lengths are expected in bohr")
        file.seek(0)
        found = read_cube(file)
    _check_end(path)
    if len(found["datas"]) != 1:
        raise InputError(f"path: found {len(found['datas'])} values a point, expected a density")
    atoms = found["atoms"]
    # The program scales lattice vectors and values alike: voxels of bohr, density of bohr^-3.
    return DensityGrid(found["data"] / Bohr**3, np.array(atoms.cell.array),
                       np.array(found["origin"]), atoms=atoms)  # fmt: skip


def _write_cube(density: DensityGrid, path: Path) -> None:
    from ase.io.cube import write_cube

    with open(path, "w", encoding="ascii") as file:
        write_cube(file, _atoms_of(density), density.values * Bohr**3, origin=density.origin,
                   comment="electron density, bohr^-3")  # fmt: skip


def _read_chgcar(path: Path) -> DensityGrid:
    from ase.io.vasp import read_vasp_configuration

    from voltase.aseplugin.density_grid import DensityGrid

    with open(path, encoding="utf-8") as file:
        atoms = read_vasp_configuration(file)
        file.readline()
        shape = tuple(int(n) for n in file.readline().split())
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"found {shape}, expected three numbers of points")
        count = math.prod(shape)
        # Here the text may end, or go on with augmentation charges, which are no numbers.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            values = np.fromfile(file, count=count, sep=" ")
    if len(values) != count:
        raise InputError(f"path: found {len(values)} values in {path}, expected {count}")
    _check_end(path)
    # The first index runs fastest; values are electrons times points.
    values = np.ascontiguousarray(values.reshape(shape, order="F"))
    values /= atoms.get_volume()
    return DensityGrid(values, np.array(atoms.cell.array), atoms=atoms)


def _write_chgcar(density: DensityGrid, path: Path) -> None:
    from ase.calculators.vasp import VaspChargeDensity

    if not np.allclose(density.origin, 0.0):
        raise InputError(
            f"origin: found {density.origin.round(4).tolist()}, expected 0 for a CHGCAR file, "
            "which has none; write a cube or HDF5 file"
        )
    if density.values.dtype != np.float64:
        density = density.with_values(density.values.astype(np.float64))
    atoms = _atoms_of(density)
    order = np.argsort(atoms.numbers, kind="stable")
    file = VaspChargeDensity(None)
    file.atoms, file.chg = [atoms[order]], [density.values]
    file.write(str(path), format="chgcar")


def _read_hdf5(path: Path, group: str | None) -> DensityGrid:
    import h5py

    from voltase.aseplugin.density_grid import DensityGrid

    with h5py.File(path, "r") as file:
        names = [name for name, place in file.items()
                 if isinstance(place, h5py.Group) and "density" in place]  # fmt: skip
        if not names:
            raise InputError(f"path: found no group with a density in {path}")
        if group is None and len(names) != 1:
            some = ", ".join(names[:3])
            raise InputError(f"group: found none, expected one of {len(names)}: {some}, ...")
        name = group or names[0]
        if name not in names:
            raise InputError(f"group: found no '{name}' with a density in {path}")
        needed = ("cell", "positions") if "numbers" in file[name] else ("cell",)
        for dataset in needed:
            if dataset not in file[name]:
                raise InputError(f"group: found no dataset '{dataset}' in '{name}'")
        found = {key: value[()] for key, value in file[name].items()}
        # pe-label keeps the origin beside the datasets.
        found.setdefault("origin", file[name].attrs.get("origin", np.zeros(3)))
    pbc = np.asarray(found.get("pbc", (True, True, True)), dtype=np.bool_)
    if pbc.shape != (3,):
        raise InputError(f"pbc: found shape {pbc.shape}, expected (3,)")
    atoms = None
    if "numbers" in found:
        atoms = Atoms(found["numbers"], found["positions"], cell=found["cell"], pbc=pbc)
    return DensityGrid(
        np.asarray(found["density"], dtype=np.float64),
        np.asarray(found["cell"], dtype=np.float64),
        np.asarray(found["origin"], dtype=np.float64),
        pbc=(bool(pbc[0]), bool(pbc[1]), bool(pbc[2])),
        atoms=atoms,
        valence=found.get("valence"),
        slope=found.get("slope"),
    )


def _write_hdf5(density: DensityGrid, path: Path, half: Path, group: str) -> None:
    import h5py

    if not isinstance(group, str) or not group.strip(".") or "/" in group:
        raise InputError(f"group: found {group!r}, expected a name without /")
    half.unlink(missing_ok=True)
    # Other groups of the file stay.
    if path.exists():
        shutil.copyfile(path, half)
    with h5py.File(half, "a") as file:
        if group in file:
            del file[group]
        place = file.create_group(group)
        place["density"], place["cell"] = density.values, density.cell
        place["origin"], place["pbc"] = density.origin, np.array(density.pbc)
        if density.atoms is not None:
            place["numbers"] = density.atoms.numbers
            place["positions"] = density.atoms.positions
        for name, values in (("valence", density.valence), ("slope", density.slope)):
            if values is not None:
                place[name] = values


def _read_gpaw(path: Path) -> DensityGrid:
    try:
        from gpaw import GPAW
    except ImportError as error:
        raise InputError(f"path: found {path.name}, expected GPAW to read it ({error})") from None
    from voltase.aseplugin.density_grid import DensityGrid

    calculator: Any = GPAW(str(path), txt=None)
    atoms = calculator.get_atoms()
    atoms.calc = None
    # With the compensation charges: what integrates to the valence electrons.
    found = calculator.dft.densities().pseudo_densities().gather(broadcast=True).data
    return DensityGrid(
        # One component, two spins, or the density and a magnetisation of three.
        np.asarray(found[: len(found) % 3].sum(axis=0)),
        np.array(atoms.cell.array),
        pbc=(bool(atoms.pbc[0]), bool(atoms.pbc[1]), bool(atoms.pbc[2])),
        atoms=atoms,
        valence=np.array([float(setup.Nv) for setup in calculator.setups]),
    )
