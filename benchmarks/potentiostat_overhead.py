"""Share of a step that potentiostat, thermostat, log, trajectory and checkpoint take. Prints JSON.

Usage: python benchmarks/potentiostat_overhead.py [--steps 500] [--threads 1] [--model NAME]

Everything is written as `pe-md` writes it by default; what is not spent in the force field counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.md.velocitydistribution import thermalize_momenta
from ase.units import fs

from voltase.aseplugin import PEMACE, ConstantPotentialMD, read_interface


class TimedPEMACE(PEMACE):
    """Adds up the time of its calculations."""

    seconds = 0.0

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        """As PEMACE."""
        started = time.perf_counter()
        super().calculate(*args, **kwargs)
        self.seconds += time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="pt111-water")
    parser.add_argument("--method", default="bonnet-otani")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    atoms = read_interface(args.model)
    atoms.calc = TimedPEMACE(args.model)
    rng = np.random.default_rng(0)
    thermalize_momenta(atoms, temperature_K=330, rng=rng)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        dynamics = ConstantPotentialMD(
            atoms, -0.5, timestep=0.5 * fs, temperature_K=330, rng=rng, method=args.method,
            trajectory=out / "md.traj", trajectory_interval=20, logfile=out / "md.csv",
            loginterval=5, checkpoint=out / "checkpoint.npz", checkpoint_interval=500,
        )  # fmt: skip
        dynamics.run(10)
        atoms.calc.seconds, started = 0.0, time.perf_counter()
        dynamics.run(args.steps)
        total = time.perf_counter() - started
        dynamics.close()
    rest = total - atoms.calc.seconds
    result = {
        "atoms": len(atoms),
        "method": args.method,
        "steps": args.steps,
        "step_ms": 1e3 * total / args.steps,
        "outside_the_force_field_ms": 1e3 * rest / args.steps,
        "share_percent": 100.0 * rest / total,
    }
    json.dump(result, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
