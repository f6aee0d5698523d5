"""Density of Gaussians on a grid beside PySCF and GPAW, on one density. Prints JSON.

Usage: python benchmarks/density_kernel.py [--points 100] [--pyscf-python PYTHON] [--gpaw]

0.048 atoms/A^3, 81 functions an atom, 0.125 A: in an orthogonal cell. One core, CPU time, least of
several runs. PySCF evaluates the functions (pbc_eval_gto) and sums them; GPAW's localised functions
(LFC) are made of splines and are set up anew for the positions, as each frame of a trajectory asks.
Both are given fewer points, and the same cut-off where they take one. The error is that against the
sum over all images by definition, on 200 points.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numba
import numpy as np

from voltase.aseplugin.kernels.gaussian_density import (
    GaussianBasis,
    adjoint,
    evaluate,
    position_gradient,
    reference,
)

SPACING, ATOMS = 0.125, 0.048
BOHR = 0.529177210903
DEGREES = (4, 4, 3, 2, 1, 0, 0)
EXPONENTS = [0.12 * 2**k / BOHR**2 for k in range(7)]
PBC = (True, True, True)

PYSCF = """
import json, sys, time
from importlib.metadata import version
import numpy as np
from pyscf.pbc import gto
given = json.load(sys.stdin)
cell = gto.Cell()
cell.unit, cell.a, cell.verbose = "A", np.array(given["cell"]), 0
cell.atom = [("H", p) for p in given["positions"]]
cell.basis = {"H": [[l, [a, 1.0]] for l, a in given["shells"]]}
cell.spin, cell.precision = None, 1e-12
cell.build()
points = np.array(given["points"]) / given["bohr"]
c = np.random.default_rng(0).standard_normal(cell.nao)
best = np.inf
for _ in range(2):
    started = time.process_time()
    rho = cell.pbc_eval_gto("GTOval_sph", points) @ c
    best = min(best, time.process_time() - started)
print(json.dumps({"version": version("pyscf"), "points_per_s": len(points) / best}))
"""


def least(run: Callable[[], Any], repeats: int = 5) -> float:
    """CPU seconds of the fastest of several runs, compiled before."""
    run()
    best = np.inf
    for _ in range(repeats):
        started = time.process_time()
        run()
        best = min(best, time.process_time() - started)
    return best


def gpaw_lfc(cell: np.ndarray, positions: np.ndarray, n: int) -> dict[str, Any]:
    """Points a second of GPAW's LFC, its functions cut off where they are 1e-7 of their peak."""
    from gpaw.lfc import LFC
    from gpaw.old.grid_descriptor import GridDescriptor
    from gpaw.spline import Spline

    grid = GridDescriptor((n, n, n), cell / BOHR, pbc_c=(True, True, True))
    splines = []
    for degree, exponent in zip(DEGREES, EXPONENTS, strict=True):
        alpha = exponent * BOHR**2
        reach = min(np.sqrt(16.1 / alpha), 0.45 * cell[0, 0] / BOHR)
        r = np.linspace(0.0, reach, 200)
        for shell in range(degree + 1):
            f = np.exp(-alpha * r**2)
            f[-1] = 0.0
            splines.append(Spline.from_data(shell, reach, f))
    functions = LFC(grid, [splines] * len(positions))
    scaled = positions @ np.linalg.inv(cell) % 1.0
    rng = np.random.default_rng(0)
    size = sum(s.get_angular_momentum_number() * 2 + 1 for s in splines)
    coefficients = {a: rng.standard_normal(size) for a in range(len(positions))}
    out = grid.zeros()

    def run() -> None:
        functions.set_positions(scaled)
        functions.add(out, coefficients)

    seconds = least(run, 2)
    return {"points_per_s": n**3 / seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100, help="along each axis")
    parser.add_argument("--pyscf-python", help="interpreter with pyscf")
    parser.add_argument("--gpaw", action="store_true", help="time GPAW, of this environment")
    args = parser.parse_args()
    numba.set_num_threads(1)
    rng = np.random.default_rng(0)
    length = args.points * SPACING
    cell, number = np.eye(3) * length, round(ATOMS * length**3)
    positions, numbers = rng.uniform(0.0, length, (number, 3)), np.ones(number, dtype=np.int64)
    rows = [(shell, a) for highest, a in zip(DEGREES, EXPONENTS, strict=True)
            for shell in range(highest + 1)]  # fmt: skip
    basis = GaussianBasis({"H": rows})
    c = rng.standard_normal(int(basis.offsets(numbers)[-1]))
    shape, fixed = (args.points,) * 3, (numbers, positions, basis, cell, PBC)

    rho = evaluate(c, *fixed, shape)
    weights = rng.standard_normal(shape)
    projected = adjoint(weights, *fixed)
    chosen = tuple(rng.integers(0, args.points, 200) for _ in range(3))
    points = reference.grid_points(cell, shape)[chosen]
    exact = reference.evaluate_points(points, c, *fixed)
    seconds = {
        "evaluate": least(lambda: evaluate(c, *fixed, shape)),
        "adjoint": least(lambda: adjoint(weights, *fixed), 3),
        "position_gradient": least(lambda: position_gradient(weights, c, *fixed), 3),
    }
    found: dict[str, Any] = {
        "points": rho.size, "atoms": number, "functions": len(c),
        "voltase": {f"{name}_points_per_s": rho.size / s for name, s in seconds.items()},
        "largest_error": float(abs(rho[chosen] - exact).max()),
        "largest_value": float(abs(exact).max()),
        "adjoint_dot_error": float(abs(np.vdot(weights, rho) / (projected @ c) - 1.0)),
        "peak_memory_GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }  # fmt: skip
    speed = found["voltase"]["evaluate_points_per_s"]
    if args.pyscf_python:
        given = {"cell": cell.tolist(), "positions": positions.tolist(), "shells": rows,
                 "points": points.repeat(10, axis=0).tolist(), "bohr": BOHR}  # fmt: skip
        answer = subprocess.run([args.pyscf_python, "-c", PYSCF], input=json.dumps(given),
                                text=True, check=True, capture_output=True)  # fmt: skip
        found["pyscf"] = json.loads(answer.stdout.splitlines()[-1])
        found["pyscf"]["ours_is_faster"] = speed / found["pyscf"]["points_per_s"]
    if args.gpaw:
        found["gpaw"] = gpaw_lfc(cell, positions, args.points // 4 * 4)
        found["gpaw"]["ours_is_faster"] = speed / found["gpaw"]["points_per_s"]
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
