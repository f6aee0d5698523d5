"""GPAW's energy, potential and forces of Pt(111)/water against finite differences. Prints JSON.

Usage: python benchmarks/hydft_derivatives.py [--electrons 0.1] [--spacing 0.16] [--no-variational]

-dE/dn against the potential, and -dE/dR at fixed n against the force on each kind of atom, by
central differences of converged single points of `GPAWEngine`: those of ``variational=True``, whose
energy they are derivatives of; or, for comparison, those of the labels. The forces differ with the
spacing of the grid, whose points the atoms feel. The cell is that of hydft_vs_sjm.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from ase import Atoms
from ase.build import fcc111_root, molecule

from voltase.aseplugin.engines.gpaw import GPAWEngine
from voltase.aseplugin.engines.gpaw_settings import place_in_cell

SETTINGS: dict[str, Any] = {
    "kpts": (1, 1, 1),
    "basis": {"Pt": "sz(dzp)", "default": "dzp"},
    "mixer": {"backend": "pulay", "beta": 0.1, "nmaxold": 7, "weight": 50},
    "convergence": {"energy": 1e-6, "density": 1e-5},
}
ELECTRONS_STEP = 0.02  # e
DISTANCE_STEP = 0.01  # A
HEIGHT = 2


def cell() -> Atoms:
    """Pt(111) under one water molecule."""
    slab = fcc111_root("Pt", 3, (1, 1, 2), a=3.97, vacuum=5.0)
    water = molecule("H2O")
    water.rotate(60, "x")
    water.translate(slab.positions[-1] + [0.0, 0.0, 2.5] - water.positions[0])
    return place_in_cell(slab + water)


def state(engine: GPAWEngine, atoms: Atoms, n: float) -> Any:
    """One single point."""
    found = engine.single_point(atoms, n)
    sys.stderr.write(f"n = {n:+.3f}: E = {found.energy:.6f} eV, "
                     f"{found.scf_iterations} iterations\n")  # fmt: skip
    return found


def force_difference(engine: GPAWEngine, atoms: Atoms, n: float, atom: int, force: float) -> Any:
    """Force on an atom along z against the slope of the energy, meV/A."""
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[atom, HEIGHT] += sign * DISTANCE_STEP
        energies.append(state(engine, moved, n).energy)
    slope = -(energies[0] - energies[1]) / (2 * DISTANCE_STEP)
    return {"atom": atoms.symbols[atom], "force": force, "finite_difference": slope,
            "difference_meV_A": 1e3 * (force - slope)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--electrons", type=float, default=0.1)
    parser.add_argument("--spacing", type=float, default=0.16, help="of the grid, A")
    parser.add_argument("--variational", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    atoms, n = cell(), args.electrons
    engine = GPAWEngine(n, spacing=args.spacing, variational=args.variational, **SETTINGS)
    here = state(engine, atoms, n)
    more, fewer = (state(engine, atoms, n + s * ELECTRONS_STEP).energy for s in (1, -1))
    slope = -(more - fewer) / (2 * ELECTRONS_STEP)
    result = {
        "atoms": len(atoms),
        "excess_electrons": n,
        "spacing_A": args.spacing,
        "variational": args.variational,
        "potential_V": here.electrode_potential,
        "minus_dE_dn_V": slope,
        "difference_mV": 1e3 * (here.electrode_potential - slope),
        "forces_eV_A": [
            force_difference(engine, atoms, n, atom, float(here.forces[atom, HEIGHT]))
            for atom in (len(atoms) - 1, len(atoms) - 3, len(atoms) - 4)
        ],
    }
    json.dump(result, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
