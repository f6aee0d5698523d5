"""Density of a whole interface with the bundled model: time of each part, memory. Prints JSON.

Usage: python benchmarks/density_pipeline.py [--spacing 0.15] [--threads 2] [--points 1e7]

The interface is that bundled with the model, 160 atoms. Seconds are wall time of the second call,
once compiled, for other positions; the largest resident size of the process is given before and
after a density on a grid of so many points and its response.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

MODEL, INTERFACE, POTENTIAL = "pt111-water-edp", "pt111-water", -0.3


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and wall seconds."""
    started = time.perf_counter()
    found = run()
    return found, time.perf_counter() - started


def peak() -> float:
    """Largest resident size of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spacing", type=float, default=0.15, help="A")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--points", type=float, default=1e7, help="of the grid for the memory")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)

    import numba
    import torch

    from voltase.aseplugin import ElectronDensity, read_interface

    numba.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    atoms = read_interface(INTERFACE)
    model, load = timed(lambda: ElectronDensity(MODEL))
    seconds: dict[str, float] = {"load": load}
    for _ in range(2):
        atoms.positions += 1e-3
        grid, seconds["predict"] = timed(
            lambda: model.predict(atoms, potential=POTENTIAL, spacing=args.spacing)
        )
        _, seconds["planar_average"] = timed(grid.planar_average)
        _, seconds["response"] = timed(grid.response)
        _, seconds["potential"] = timed(
            lambda g=grid: g.electrostatic_potential("sheet", region=(0.97 * g.height,))
        )
        _, seconds["bader"] = timed(lambda g=grid: g.bader(reference="frozen-core"))
    found = {
        "atoms": len(atoms), "shape": grid.values.shape, "points": grid.values.size,
        "threads": args.threads, "seconds": seconds,
        "density_and_profile_s": seconds["predict"] + seconds["planar_average"],
        "electrons_error": grid.integral() - round(grid.integral() - grid.state.excess_electrons)
        - grid.state.excess_electrons,
        "memory": {"before_GB": peak()},
    }  # fmt: skip
    # At least so many: each number of points is rounded up to one that is fast to transform.
    spacing = float(np.cbrt(grid.volume / args.points))
    large = model.predict(atoms, potential=POTENTIAL, spacing=spacing)
    found["memory"] |= {"points": large.values.size, "density_GB": peak()}
    large.response()
    found["memory"]["density_and_response_GB"] = peak()
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
