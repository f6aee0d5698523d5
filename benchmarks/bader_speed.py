"""Bader charges on about 1e6 points beside pybader and BaderKit, on one density. Prints JSON.

Usage: python benchmarks/bader_speed.py [--points 100] [--pybader-python PYTHON]
                                        [--baderkit-python PYTHON]

The density is of Gaussian atoms: two layers of Pt and water. Each peer runs in its own environment,
reads the same CHGCAR and is timed in its second run: CPU time, of all threads.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from voltase.aseplugin.density_grid import DensityGrid
from voltase.aseplugin.kernels.gaussian_density import GaussianBasis, evaluate

METHODS = ("on-grid", "near-grid", "weight")

PYBADER = """
import json, sys, time, contextlib, io, os
import numpy as np
with contextlib.redirect_stdout(io.StringIO()):
    from importlib.metadata import version
    from pybader.interface import Bader
    from pybader.io import vasp
    read = vasp.read(sys.argv[1])
found = {"version": version("pybader")}
for name, method in (("on-grid", "ongrid"), ("near-grid", "neargrid")):
    try:
        for _ in range(2):
            with contextlib.redirect_stdout(io.StringIO()):
                bader = Bader(*read)
                bader.method, bader.threads = method, 1
                started = time.process_time()
                bader.volumes_init()
                bader.bader_calc()
                bader.bader_to_atom_distance()
                if method == "neargrid":
                    bader.refine_volumes(bader.atoms_volumes)
                bader.sum_volumes(bader=False)
                seconds = time.process_time() - started
        found[name] = {"s": seconds, "electrons": np.asarray(bader.atoms_charge).tolist()}
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""

BADERKIT = """
import json, logging, sys, time
from importlib.metadata import version
from baderkit import Bader
logging.disable(logging.CRITICAL)
found = {"version": version("baderkit")}
for name, method in (("on-grid", "ongrid"), ("near-grid", "neargrid"), ("weight", "weight")):
    try:
        for _ in range(2):
            bader = Bader.from_vasp(sys.argv[1], method=method)
            started = time.process_time()
            charges = bader.atom_charges
            seconds = time.process_time() - started
        found[name] = {"s": seconds, "electrons": [float(c) for c in charges]}
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


def interface(points: int) -> DensityGrid:
    """Eight Pt and 24 water molecules in 8 x 8 x 16 A, each atom a Gaussian or two."""
    rng = np.random.default_rng(0)
    metal = [(x, y, z) for z, s in ((1.5, 0.0), (3.8, 1.9)) for x in (s, s + 4.0)
             for y in (s, s + 4.0)]  # fmt: skip
    symbols, positions = ["Pt"] * len(metal), [np.array(p, dtype=float) for p in metal]
    for ix in range(3):
        for iy in range(2):
            for iz in range(4):
                oxygen = np.array([2.6 * ix + 1.0, 4.0 * iy + 1.5, 2.4 * iz + 6.6])
                turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
                symbols += ["O", "H", "H"]
                positions += [oxygen, oxygen + np.array([0.76, 0.59, 0]) @ turn,
                              oxygen + np.array([-0.76, 0.59, 0]) @ turn]  # fmt: skip
    atoms = Atoms(symbols, positions, cell=[8.0, 8.0, 16.0], pbc=True)
    basis = GaussianBasis({"Pt": [(0, 1.6), (0, 0.8)], "O": [(0, 3.0), (0, 1.2)], "H": [(0, 5.0)]})
    amounts = {"Pt": [5.0, 5.0], "O": [4.5, 2.7], "H": [0.4]}
    coefficients = np.concatenate([amounts[s] for s in symbols])
    edge = round(points / 2 ** (1 / 3))
    values = evaluate(coefficients, atoms.numbers, atoms.positions, basis, atoms.cell.array,
                      (True, True, True), (edge, edge, 2 * edge))  # fmt: skip
    return DensityGrid(values, atoms.cell.array.copy(), atoms=atoms)


def ours(density: DensityGrid) -> dict[str, Any]:
    """Least of three runs after the first, which compiles."""
    found: dict[str, Any] = {}
    for method in METHODS:
        density.bader(method)
        seconds = []
        for _ in range(3):
            started = time.process_time()
            charges = density.bader(method)
            seconds.append(time.process_time() - started)
        found[method] = {"s": min(seconds), "electrons": charges.electrons.tolist()}
    return found


def ask(python: str, script: str, path: Path) -> dict[str, Any]:
    """What a script prints in another environment."""
    answer = subprocess.run([python, "-c", script, str(path)], check=True, capture_output=True,
                            text=True)  # fmt: skip
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100, help="cube root of their number")
    parser.add_argument("--pybader-python", help="interpreter with pybader")
    parser.add_argument("--baderkit-python", help="interpreter with baderkit")
    args = parser.parse_args()
    density = interface(args.points)
    peers = (
        ("pybader", args.pybader_python, PYBADER),
        ("baderkit", args.baderkit_python, BADERKIT),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "CHGCAR"
        density.write(path)
        # What the file's digits leave, in its order of the atoms.
        density = DensityGrid.read(path)
        found = {"points": density.values.size, "voltase": ours(density)}
        for name, python, script in peers:
            if python:
                found[name] = ask(python, script, path)
    for name, _, _ in peers:
        for method in METHODS:
            row = found.get(name, {}).get(method)
            if isinstance(row, dict):
                mine = found["voltase"][method]
                row["times_ours"] = row["s"] / mine["s"]
                apart = np.subtract(row.pop("electrons"), mine["electrons"])
                row["largest_difference_e"] = float(abs(apart).max())
    for row in found["voltase"].values():
        del row["electrons"]
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
