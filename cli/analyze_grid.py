"""Planar averages and the potential of a density on a grid, of a cube or HDF5 file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from matplotlib.figure import Figure

from voltase.analysis.grid_density import (
    GridDensity,
    GridPotential,
    potential_from_density,
    read_cube,
    read_hdf5,
)
from voltase.aseplugin.errors import InputError
from voltase.cli.analyze_compare import files_header, start_summary
from voltase.cli.analyze_observables import parse_charges
from voltase.cli.analyze_output import checked_folder, png, write_tables, write_whole

HDF5 = (".h5", ".hdf5")


def analyse_grid(path: Path, options: Mapping[str, Any]) -> str:
    """Write ``grid.csv``, ``grid.npz`` and ``grid.png``.

    Parameters
    ----------
    path : Path
        Cube file (e/bohr^3), or HDF5 file with a group.
    options : mapping
        All options of the command line.

    Raises
    ------
    InputError
        If the file or an option cannot be used, or the cell is not neutral.
    """
    folder = checked_folder(options["out"] or f"pe-analyze_{path.stem}")
    density = _read(path, options["group"])
    ions = valence_charges(density, options["valence"])
    boundary = options["boundary"] or "periodic"
    smearing = {} if options["smearing"] is None else {"smearing": options["smearing"]}
    found = potential_from_density(
        density.values, density.cell, density.positions, ions, boundary=boundary, **smearing
    )
    table = {
        "z_A": found.z,
        "electrons_e_per_A3": found.electrons,
        "charge_e_per_A3": found.charge,
        "potential_V": found.potential,
    }
    header = files_header([path]) | {"boundary": boundary, "valence": options["valence"]}
    folder.mkdir(parents=True, exist_ok=True)
    summary = start_summary(folder, "grid", {"file": str(path)}, options)
    written = write_tables(folder, "grid", {"grid": table}, header)
    write_whole(folder / "grid.png", png(_figure(found)))
    names = [file.name for file in [*written, folder / "grid.png"]]
    summary.write("complete", files=names)
    return f"{density.values.size} points; in {folder}: {', '.join(names)}"


def valence_charges(density: GridDensity, text: str | None) -> np.ndarray:
    """Charge of each ion in e from a text such as ``Pt=10,O=6,H=1``.

    Raises
    ------
    InputError
        If there are no atoms, or an element is missing.
    """
    if not len(density.numbers):
        raise InputError("FILE: found no atoms beside the density, expected those of its cell")
    present = sorted({int(number) for number in density.numbers})
    if text is None:
        example = ",".join(f"{chemical_symbols[number]}=..." for number in present)
        raise InputError(f"--valence: found none, expected valence electrons, {example}")
    charges = parse_charges(text, "valence")
    unknown = [symbol for symbol in charges if symbol not in atomic_numbers]
    if unknown:
        raise InputError(f"--valence: found '{unknown[0]}', expected chemical symbols")
    given = {atomic_numbers[symbol]: charge for symbol, charge in charges.items()}
    missing = [chemical_symbols[number] for number in present if number not in given]
    if missing:
        raise InputError(f"--valence: found '{text}', expected {', '.join(missing)} too")
    return np.array([given[int(number)] for number in density.numbers], dtype=np.float64)


def _read(path: Path, group: str | None) -> GridDensity:
    try:
        if path.suffix not in HDF5:
            return read_cube(path)
        if group is None:
            raise InputError("--group: found none, expected the name of one in the HDF5 file")
        return read_hdf5(path, group)
    except InputError as error:
        raise InputError(str(error).replace("path:", "FILE:", 1)) from error
    except OSError as error:
        raise InputError(f"FILE: {path} cannot be read ({error})") from error


def _figure(found: GridPotential) -> Figure:
    figure = Figure(figsize=(7.0, 6.5), dpi=130, layout="constrained")
    axes = figure.subplots(3, sharex=True)
    values = (found.electrons, found.charge, found.potential)
    labels = ("electrons (e/Å$^3$)", "charge (e/Å$^3$)", "potential (V)")
    for ax, y, label in zip(axes, values, labels, strict=True):
        ax.plot(found.z, y)
        ax.set_ylabel(label)
    axes[-1].set_xlabel("z (Å)")
    return figure
