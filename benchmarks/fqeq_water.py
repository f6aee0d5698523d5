"""Time of charge equilibration in liquid water, beside other packages. Prints JSON.

Usage: python benchmarks/fqeq_water.py [--atoms 1536] [--peer lammps=PYTHON] [--peer torch_admp=...]

Energy, forces and charges of one structure: molecules on a lattice at random orientations, at the
density of the liquid. Every package runs on one thread, and its CPU time counts, so that other
programs on the machine matter little. A peer runs in the Python given for it, by the script
fqeq_peer_NAME.py beside this one; what each leaves out is said there and in its output.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ase.build import molecule

FOLDER = Path(__file__).resolve().parent
VOLUME = 29.9  # A^3 per molecule
ELECTRONEGATIVITY = (8.5, 4.5, 4.5)  # eV/e, of O, H, H
HARDNESS = (8.0, 9.0, 9.0)  # eV/e^2
WIDTH = (0.6, 0.45, 0.45)  # A
REPEATS = 5
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def water(n_atoms: int) -> dict[str, np.ndarray]:
    """Positions, cell and parameters of a cube of water; atoms in the order O, H, H."""
    rng = np.random.default_rng(0)
    n = n_atoms // 3
    edge = (n * VOLUME) ** (1.0 / 3.0)
    side = int(np.ceil(n ** (1.0 / 3.0)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    places = grid[rng.permutation(len(grid))[:n]] * edge / side
    positions = []
    for place in places:
        one = molecule("H2O")
        one.rotate(rng.uniform(0.0, 360.0), rng.normal(size=3))
        positions.append(one.positions + place)
    oxygen = 3 * np.repeat(np.arange(n), 2)
    return {
        "positions": np.concatenate(positions),
        "cell": edge * np.eye(3),
        "electronegativity": np.tile(ELECTRONEGATIVITY, n),
        "hardness": np.tile(HARDNESS, n),
        "width": np.tile(WIDTH, n),
        "bonds": np.stack([oxygen, oxygen + np.tile([1, 2], n)]),
    }


def measure(system: dict[str, np.ndarray], solver: str, tolerance: float, repeats: int,
            warm: bool = False) -> dict[str, object]:  # fmt: skip
    """Best CPU time of a calculation along a straight path, and what it found.

    Each step moves atoms by some 0.003 A, as in half a femtosecond of dynamics. With `warm` it
    starts from the steps before, as dynamics does.
    """
    from voltase.aseplugin.models.charge_equilibration import solve_fqeq
    from voltase.aseplugin.models.charge_equilibration.warm_start import WarmStart

    velocity = 0.003 * np.random.default_rng(1).normal(size=system["positions"].shape)
    memory = WarmStart() if warm else None
    times = []
    for step in range(repeats + 1):
        moved = system["positions"] + step * velocity
        started, started_wall = time.process_time(), time.perf_counter()
        found = solve_fqeq(
            moved,
            system["cell"],
            True,
            system["electronegativity"],
            system["hardness"],
            system["width"],
            np.zeros(len(moved)),
            system["bonds"],
            np.ones(system["bonds"].shape[1]),
            solver=solver,
            tolerance=tolerance,
            warm_start=memory,
        )
        times.append((time.process_time() - started, time.perf_counter() - started_wall))
    best = min(times[1:])  # the first compiles
    return {
        "cpu_s": best[0],
        "wall_s": best[1],
        "iterations": found.iterations,
        "mean_oxygen_charge": float(found.charges[::3].mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--atoms", type=int, default=1536)
    parser.add_argument("--tolerance", type=float, default=1e-6, help="of the forces, eV/A")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    args = parser.parse_args()
    if os.environ.get("NUMBA_NUM_THREADS") != "1":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    system = water(args.atoms)
    results: dict[str, object] = {"atoms": len(system["positions"]), "tolerance": args.tolerance}
    for solver in ("fragment", "global"):
        for warm in (False, True):
            name = f"voltase, {solver}{', warm' if warm else ''}"
            results[name] = measure(system, solver, args.tolerance, REPEATS, warm)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "water.npz"
        np.savez(path, **system)
        for peer in args.peer:
            name, _, python = peer.partition("=")
            script = FOLDER / f"fqeq_peer_{name}.py"
            # Wheels of MPI put their library beside the Python of the environment.
            libraries = str(Path(python).absolute().parent.parent / "lib")
            output = subprocess.run(
                [python, str(script), str(path)],
                capture_output=True,
                text=True,
                cwd=folder,
                env={**os.environ, "LD_LIBRARY_PATH": libraries},
            )
            if output.returncode != 0:
                raise SystemExit(f"{name}: {output.stderr.strip()[-2000:]}")
            results[name] = json.loads(output.stdout.splitlines()[-1])
    json.dump(results, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
