"""Charge equilibration of water from some hundred to 50,000 atoms: time, iterations, memory. JSON.

Usage: python benchmarks/fqeq_scaling.py [--sizes 648 3000 12000 50001]

Energy, forces, stress and charges on a mesh, each molecule a fragment. The exponent is the slope of
the time against the number of atoms on logarithmic scales; N log N has one of 1.1 in this range.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys

import numpy as np
from fqeq_water import ONE_THREAD, measure, water


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[648, 3000, 12000, 50001])
    parser.add_argument("--tolerance", type=float, default=1e-6, help="of the forces, eV/A")
    args = parser.parse_args()
    if os.environ.get("NUMBA_NUM_THREADS") != "1":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    rows = []
    for size in args.sizes:
        system = water(size)
        found = measure(system, "fragment", args.tolerance, 1 if size > 20000 else 3)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        n = len(system["positions"])
        cpu = float(str(found["cpu_s"]))
        rows.append({"atoms": n, **found, "us_per_atom": 1e6 * cpu / n, "peak_memory_GB": peak})
    times = [float(str(row["cpu_s"])) for row in rows]
    exponent = float(np.polyfit(np.log([row["atoms"] for row in rows]), np.log(times), 1)[0])
    json.dump(
        {"tolerance": args.tolerance, "sizes": rows, "exponent": exponent}, sys.stdout, indent=2
    )
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
