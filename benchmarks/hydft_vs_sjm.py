"""Constant-potential AIMD: predictor-Newton on GPAWEngine against SJM's own loop. Prints JSON.

Usage: python benchmarks/hydft_vs_sjm.py [--steps 40] [--part engine|sjm|both] [--potential 0.0]

Both start from the same positions, velocities and electron number, relaxed beforehand, with
the same settings of GPAW and without a thermostat, so that nothing but the way to the potential
differs. SJM's tolerance is
its default, 0.01 V. Per step: single points (each a converged self-consistency cycle), its
iterations, and the deviation of the potential at the end of the step.

The cell is small and the settings coarse: Pt(111) root3 x root3 of two layers, the lower one
fixed, and one water; the Gamma point; about ten CPU minutes for ours and twenty for SJM's.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import fcc111_root, molecule
from ase.constraints import FixAtoms
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.units import fs

from voltase.aseplugin import ConstantPotentialMD
from voltase.aseplugin.electrochemistry import Reference
from voltase.aseplugin.engines.gpaw import GPAWEngine, solvated_jellium
from voltase.aseplugin.engines.gpaw_settings import LABELS, WATER, grid_points, place_in_cell

TIMESTEP = 0.5 * fs
TEMPERATURE = 330.0  # K
SETTINGS: dict[str, Any] = {
    "kpts": (1, 1, 1),
    "spacing": 0.25,
    "basis": {"Pt": "sz(dzp)", "default": "dzp"},
    "mixer": {"backend": "pulay", "beta": 0.1, "nmaxold": 7, "weight": 50},
}


def relaxed(electrons: float) -> Atoms:
    """Pt(111) under one water molecule: its minimum at an electron number, with velocities."""
    slab = fcc111_root("Pt", 3, (1, 1, 2), a=3.97, vacuum=5.0)
    water = molecule("H2O")
    water.rotate(60, "x")
    water.translate(slab.positions[-1] + [0.0, 0.0, 2.5] - water.positions[0])
    atoms = place_in_cell(slab + water)
    atoms.set_constraint(FixAtoms(mask=atoms.positions[:, 2] < 4.5))
    atoms.calc = GPAWEngine(electrons, **SETTINGS)
    BFGS(atoms, logfile=sys.stderr).run(fmax=0.1, steps=20)
    atoms.calc = None
    thermalize_momenta(atoms, temperature_K=TEMPERATURE, rng=np.random.default_rng(3))
    return atoms


class CountingEngine(GPAWEngine):
    """Adds up single points and iterations."""

    single_points = 0
    iterations = 0

    def single_point(self, atoms: Atoms, excess_electrons: float) -> Any:
        """As GPAWEngine."""
        state = super().single_point(atoms, excess_electrons)
        self.single_points += 1
        self.iterations += state.scf_iterations or 0
        return state


def summary(points: list[int], iterations: list[int], deviations: list[float]) -> dict[str, Any]:
    """Means over the steps, the start not counted."""
    return {
        "steps": len(points),
        "single_points_per_step": float(np.mean(points)),
        "scf_iterations_per_step": float(np.mean(iterations)),
        "rms_potential_error_mV": 1e3 * math.sqrt(float(np.mean(np.square(deviations)))),
        "largest_potential_error_mV": 1e3 * float(np.max(np.abs(deviations))),
    }


def with_engine(atoms: Atoms, potential: float, n: float, steps: int, tolerance: float) -> Any:
    """Our run."""
    engine = atoms.calc = CountingEngine(**SETTINGS)
    dynamics = ConstantPotentialMD(
        atoms, potential, timestep=TIMESTEP, method="newton", thermostat="nve",
        method_options={"tolerance": tolerance}, excess_electrons=n,
    )  # fmt: skip
    counts, deviations, conserved = [], [], []
    for _ in dynamics.irun(steps):
        counts.append((engine.single_points, engine.iterations))
        deviations.append(dynamics.point.potential - dynamics.target)
        conserved.append(dynamics.conserved_energy)
        report("engine", len(counts), deviations[-1], counts[-1])
    # The first entry holds the start, which is not counted, beside the first step.
    points, iterations = np.diff(np.array(counts), axis=0).T
    drift = 1e3 * (conserved[-1] - conserved[0]) / len(atoms)
    result = summary(points.tolist(), iterations.tolist(), deviations[1:])
    return result | {"conserved_change_meV_per_atom": drift}


def with_sjm(atoms: Atoms, potential: float, n: float, steps: int, log: Path) -> Any:
    """GPAW's own loop over the electron number, in ASE's own dynamics."""
    target = Reference.parse("SHE").to_absolute(potential)
    settings = LABELS | SETTINGS
    atoms.calc = solvated_jellium(
        WATER,
        sj={"target_potential": target, "excess_electrons": n},
        gpts=grid_points(atoms, settings.pop("spacing")),
        txt=str(log),
        **settings,
    )
    deviations: list[float] = []
    counts: list[tuple[int, int]] = []

    def count() -> None:
        text = log.read_text()
        iterations = [int(x) for x in re.findall(r"Converged after (\d+) iterations", text)]
        counts.append((len(iterations), sum(iterations)))
        deviations.append(atoms.calc.results["electrode_potential"] - target)
        report("sjm", len(counts) - 1, deviations[-1], counts[-1])

    dynamics = VelocityVerlet(atoms, timestep=TIMESTEP)
    dynamics.attach(count)
    dynamics.run(steps)
    points, iterations = np.diff(np.array(counts), axis=0).T
    # As for ours: the start and the first step are left out.
    return summary(points[1:].tolist(), iterations[1:].tolist(), deviations[2:])


def report(part: str, step: int, deviation: float, counts: tuple[int, int]) -> None:
    """Progress, to the error stream."""
    points, iterations = counts
    sys.stderr.write(f"{part} step {step}: {1e3 * deviation:+.1f} mV, {points} single points, "
                     f"{iterations} iterations\n")  # fmt: skip
    sys.stderr.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=41)
    parser.add_argument("--part", choices=("engine", "sjm", "both"), default="both")
    parser.add_argument("--potential", type=float, default=0.0, help="V vs SHE")
    parser.add_argument("--electrons", type=float, default=0.0, help="n at the start")
    parser.add_argument("--tolerance", type=float, default=0.03, help="of a prediction, V")
    parser.add_argument("--log", type=Path, default=Path("hydft_vs_sjm.txt"), help="of GPAW")
    args = parser.parse_args()
    start = relaxed(args.electrons)
    results: dict[str, Any] = {
        "timestep_fs": TIMESTEP / fs,
        "potential_V_vs_SHE": args.potential,
        "newton_tolerance_V": args.tolerance,
        "atoms": len(start),
    }
    if args.part != "sjm":
        results["engine"] = with_engine(
            start.copy(), args.potential, args.electrons, args.steps, args.tolerance
        )
    if args.part != "engine":
        results["sjm"] = with_sjm(
            start.copy(), args.potential, args.electrons, args.steps, args.log
        )
    json.dump(results, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
