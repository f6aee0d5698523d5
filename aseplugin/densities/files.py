"""Densities in files: cube, CHGCAR, HDF5 and GPAW's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import Bohr

from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from voltase.aseplugin.density_grid import DensityGrid

HDF5 = (".h5", ".hdf5")


def read_density(path: str | os.PathLike[str], group: str | None) -> DensityGrid:
    """Read a density; see `DensityGrid.read`."""
    file = Path(path)
    if not file.is_file():
        raise InputError(f"path: found no file {file}")
    reader: Callable[[Path], DensityGrid] = _read_chgcar
    if file.suffix in HDF5:
        return _read_hdf5(file, group)
    if group is not None:
        raise InputError(f"group: found '{group}' for {file.name}, expected one for HDF5 alone")
    if file.suffix in (".cube", ".cub"):
        reader = _read_cube
    elif file.suffix == ".gpw":
        reader = _read_gpaw
    elif not _is_chgcar(file):
        raise InputError(f"path: found {file.name}, expected .cube, CHGCAR*, .h5 or .gpw")
    try:
        return reader(file)
    except (ValueError, IndexError, KeyError, StopIteration, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"path: {file} cannot be read as a density: {error}") from None


def write_density(density: DensityGrid, path: str | os.PathLike[str], group: str) -> None:
    """Write a density; see `DensityGrid.write`."""
    file = Path(path)
    partial = file.with_name(file.name + ".partial")
    if file.suffix in HDF5:
        # Other groups of the file stay.
        _write_hdf5(density, file, partial, group)
    elif file.suffix in (".cube", ".cub"):
        _write_cube(density, partial)
    elif _is_chgcar(file):
        _write_chgcar(density, partial)
    else:
        raise InputError(f"path: found {file.name}, expected .cube, CHGCAR* or .h5")
    os.replace(partial, file)


def _is_chgcar(path: Path) -> bool:
    return any(name in path.name for name in ("CHGCAR", "AECCAR", "PARCHG"))


def _atoms_of(density: DensityGrid) -> Any:
    if density.atoms is None:
        raise InputError("density: found no atoms, expected those of the cell for such a file")
    atoms = density.atoms.copy()
    atoms.cell, atoms.pbc = density.cell, density.pbc
    return atoms


def _read_cube(path: Path) -> DensityGrid:
    from ase.io.cube import read_cube

    from voltase.aseplugin.density_grid import DensityGrid

    with open(path, encoding="ascii") as file:
        found = read_cube(file)
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
    from ase.calculators.vasp import VaspChargeDensity

    from voltase.aseplugin.density_grid import DensityGrid

    found = VaspChargeDensity(str(path))
    if not found.chg:
        raise InputError(f"path: found no density in {path}, expected a CHGCAR file")
    atoms = found.atoms[-1]
    return DensityGrid(np.array(found.chg[-1]), np.array(atoms.cell.array), atoms=atoms)


def _write_chgcar(density: DensityGrid, path: Path) -> None:
    from ase.calculators.vasp import VaspChargeDensity

    if not np.allclose(density.origin, 0.0):
        raise InputError(f"origin: found {density.origin.tolist()}, expected 0 for a CHGCAR file")
    if density.values.dtype != np.float64:
        density = density.with_values(density.values.astype(np.float64))
    atoms = _atoms_of(density)
    order = np.argsort(atoms.numbers, kind="stable")
    file = VaspChargeDensity(None)
    file.atoms, file.chg = [atoms[order]], [density.values]
    file.write(str(path), format="chgcar")


def _read_hdf5(path: Path, group: str | None) -> DensityGrid:
    import h5py
    from ase import Atoms

    from voltase.aseplugin.density_grid import DensityGrid

    with h5py.File(path, "r") as file:
        names = [name for name in file if "density" in file[name]]
        if group is None and len(names) != 1:
            some = ", ".join(names[:3])
            raise InputError(f"group: found none, expected one of {len(names)}: {some}, ...")
        name = group or names[0]
        if name not in names:
            raise InputError(f"group: found no '{name}' with a density in {path}")
        found = {key: file[name][key][()] for key in file[name]}
    pbc = tuple(bool(p) for p in found.get("pbc", (True, True, True)))
    atoms = None
    if "numbers" in found:
        atoms = Atoms(numbers=found["numbers"], positions=found["positions"], cell=found["cell"],
                      pbc=pbc)  # fmt: skip
    return DensityGrid(
        np.asarray(found["density"], dtype=np.float64),
        np.asarray(found["cell"], dtype=np.float64),
        np.asarray(found.get("origin", np.zeros(3)), dtype=np.float64),
        pbc=(pbc[0], pbc[1], pbc[2]),
        atoms=atoms,
        valence=found.get("valence"),
        slope=found.get("slope"),
    )


def _write_hdf5(density: DensityGrid, path: Path, partial: Path, group: str) -> None:
    import shutil

    import h5py

    partial.unlink(missing_ok=True)
    if path.exists():
        shutil.copyfile(path, partial)
    with h5py.File(partial, "a") as file:
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
    return DensityGrid(
        np.asarray(calculator.get_pseudo_density(pad=True)),
        np.array(atoms.cell.array),
        pbc=(bool(atoms.pbc[0]), bool(atoms.pbc[1]), bool(atoms.pbc[2])),
        atoms=atoms,
        valence=np.array([float(setup.Nv) for setup in calculator.setups]),
    )
