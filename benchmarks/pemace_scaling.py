"""Time of a PE-MACE step from 160 to about 5,000 atoms. Prints JSON.

Usage: python benchmarks/pemace_scaling.py [--threads 1] [--model NAME]

The bundled interface is repeated along the surface; the charge per area stays the same.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time

import numpy as np
import torch

from voltase.aseplugin import PEMACE, read_interface

REPEATS = ((1, 1), (2, 1), (2, 2), (3, 3), (4, 4), (6, 5))
ELECTRONS_PER_AREA = 1e-3  # e/A^2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="pt111-water")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    interface = read_interface(args.model)
    rng = np.random.default_rng(0)
    rows = []
    for repeat in REPEATS:
        atoms = interface.repeat((*repeat, 1))
        calculator = PEMACE(args.model)
        calculator.excess_electrons = ELECTRONS_PER_AREA * calculator.electrode_area(atoms)
        times = []
        for _ in range(5 if len(atoms) < 2000 else 3):
            atoms.positions += 0.002 * rng.standard_normal(atoms.positions.shape)
            started = time.perf_counter()
            calculator.calculate(atoms, ["energy", "forces"])
            times.append(time.perf_counter() - started)
        best = min(times[1:])  # the first builds the neighbour list
        rows.append(
            {
                "atoms": len(atoms),
                "step_s": best,
                "us_per_atom": 1e6 * best / len(atoms),
                "peak_memory_GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
            }
        )
    sizes, steps = (np.log([row[name] for row in rows]) for name in ("atoms", "step_s"))
    exponent = float(np.polyfit(sizes, steps, 1)[0])
    json.dump({"threads": args.threads, "sizes": rows, "exponent": exponent}, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
