"""What ``pe-density bader`` does: the density, its division, files and the report."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from voltase.analysis.grid_density import GridDensity
from voltase.aseplugin.densities.bader import BaderCharges
from voltase.aseplugin.density_grid import DensityGrid
from voltase.aseplugin.errors import InputError
from voltase.cli.analyze_grid import valence_charges
from voltase.cli.analyze_output import checked_folder, write_whole
from voltase.cli.density_output import check_free
from voltase.cli.summary import RunSummary

CHARGES = "bader.csv"
FAR = 0.5
"""A maximum farther than this from every atom, in A, is worth a word."""
SAME_CELL = 1e-2
"""In A, to which lattice vectors of two files agree."""
PEAK = 1e-3
"""Unless the density there is below this, e/A^3: it is the vacuum's."""


def run(settings: Mapping[str, Any]) -> str:
    """Write ``bader.csv`` and ``summary.yaml``, and return the report.

    Raises
    ------
    InputError
        If the file or an option cannot be used.
    """
    path: Path = settings["file"]
    folder = checked_folder(settings["out"] or f"bader_{path.name}")
    check_free(folder, [CHARGES], settings["overwrite"])
    density = _read(path, settings["group"], "FILE")
    if density.atoms is None:
        raise InputError(f"FILE: found no atoms in {path}, expected those of the density")
    _set_valence(density, density.atoms, settings["valence"])
    found = density.bader(settings["method"], vacuum=settings["vacuum"],
                          reference=_reference(settings, density))  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in settings.items()}
    summary = RunSummary(folder / "summary.yaml", "pe-density bader", plain)
    write_whole(folder / CHARGES, _table(found, density.atoms, density.valence).encode())
    total = density.integral()
    summary.write("complete", electrons=total, atoms=float(found.electrons.sum()),
                  vacuum=found.vacuum_electrons, maxima=len(found.maxima))  # fmt: skip
    return _report(found, density, density.atoms, folder)


def _read(path: Path, group: str | None, name: str) -> DensityGrid:
    try:
        return DensityGrid.read(path, group=group)
    except InputError as error:
        raise InputError(str(error).replace("path:", f"{name}:", 1)) from error


def _set_valence(density: DensityGrid, atoms: Atoms, text: str | None) -> None:
    if text is not None:
        grid = GridDensity(density.values, density.cell, atoms.numbers, atoms.positions)
        density.valence = valence_charges(grid, text)


def _reference(settings: Mapping[str, Any], density: DensityGrid) -> Any:
    if settings["reference"] is not None and settings["frozen_core"]:
        raise InputError("--frozen-core: found --reference too, expected one of them")
    if settings["frozen_core"]:
        if density.valence is None:
            raise InputError("--frozen-core: found no valences, expected --valence Pt=10,...")
        return "frozen-core"
    if settings["reference"] is None:
        return None
    found = _read(settings["reference"], None, "--reference")
    if not np.allclose(found.cell, density.cell, rtol=0.0, atol=SAME_CELL):
        raise InputError(
            f"--reference: found the cell {found.cell.round(4).tolist()}, expected that of FILE, "
            f"{density.cell.round(4).tolist()}"
        )
    return found.values


def _table(found: BaderCharges, atoms: Atoms, valence: np.ndarray | None) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    charge = [] if valence is None else ["charge_e"]
    writer.writerow(["atom", "symbol", "x_A", "y_A", "z_A", "electrons", *charge, "volume_A3"])
    for i, (symbol, place) in enumerate(zip(atoms.symbols, atoms.positions, strict=True)):
        row = [i, symbol, *(f"{x:.6f}" for x in place), f"{found.electrons[i]:.8f}"]
        if valence is not None:
            row.append(f"{valence[i] - found.electrons[i]:.8f}")
        writer.writerow([*row, f"{found.volumes[i]:.6f}"])
    return text.getvalue()


def _report(found: BaderCharges, density: DensityGrid, atoms: Atoms, folder: Path) -> str:
    lines = []
    for symbol in dict.fromkeys(atoms.symbols):
        mine = np.asarray(atoms.symbols == symbol)
        mean, low, high = (f(found.electrons[mine]) for f in (np.mean, np.min, np.max))
        lines.append(
            f"{symbol:>2} x{mine.sum():<5} {mean:9.4f} electrons ({low:.4f} to {high:.4f})"
        )
    high = found.peaks > PEAK
    far = int((high & (found.distances > FAR)).sum())
    if far:
        lines.append(f"{far} of {high.sum()} maxima are over {FAR} A from every atom; a "
                     "smooth valence density needs --reference or --frozen-core")  # fmt: skip
    lines.append(f"{density.integral():.6f} electrons, {found.vacuum_electrons:.6f} of them in the "
                 f"vacuum; in {folder}: bader.csv, summary.yaml")  # fmt: skip
    return "\n".join(lines)
