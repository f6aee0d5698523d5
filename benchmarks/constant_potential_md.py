"""Long runs of the bundled model: does the dynamics hold what it promises? Prints JSON.

Usage: python benchmarks/constant_potential_md.py [--picoseconds 20] [--potentials=-0.5,0,0.5]
       [--timestep 0.5] [--out DIR] [--potential U]

For each potential: mean U and its block error, surface charge, drift of the conserved quantity, the
first peak of the O-O radial distribution, and whether every water is whole. With --potential only
that run is made (several can go side by side); without it, runs that lie in DIR are reported too.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.io import Trajectory, read
from ase.md.velocitydistribution import thermalize_momenta
from ase.units import fs
from vesin import NeighborList

from voltase.aseplugin import PEMACE, ConstantPotentialMD
from voltase.aseplugin.models.checkpoint import resolve_checkpoint
from voltase.aseplugin.statistics import block_average
from voltase.cli.md_molecules import count_molecules

EQUILIBRATION = 0.1
"""Share of each run left out of the means."""
RDF_BIN = 0.05  # A
RDF_RANGE = 6.0  # A


def run(folder: Path, potential: float, steps: int, args: argparse.Namespace) -> None:
    """One trajectory, continued if it was interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    calculator = PEMACE(args.model, committee_every=args.committee_every)
    checkpoint = folder / "checkpoint.npz"
    if checkpoint.is_file():
        dynamics = ConstantPotentialMD.from_checkpoint(checkpoint, calculator)
    else:
        rng = np.random.default_rng(args.seed)
        atoms = read(resolve_checkpoint(args.model) / "interface.extxyz")
        atoms.calc = calculator
        thermalize_momenta(atoms, temperature_K=330, rng=rng)
        dynamics = ConstantPotentialMD(
            atoms, potential, timestep=args.timestep * fs, temperature_K=330, rng=rng,
            trajectory=folder / "md.traj", trajectory_interval=40, logfile=folder / "md.csv",
            loginterval=4, checkpoint=checkpoint, checkpoint_interval=2000,
        )  # fmt: skip
    dynamics.run(steps - dynamics.nsteps)


def oxygen_histogram(frames: list[Atoms]) -> np.ndarray:
    """Counts of O-O distances in bins of `RDF_BIN`."""
    edges = np.arange(0.0, RDF_RANGE + 1e-9, RDF_BIN)
    total = np.zeros(len(edges) - 1)
    for atoms in frames:
        oxygen = atoms[atoms.numbers == 8]
        (distances,) = NeighborList(cutoff=RDF_RANGE, full_list=False).compute(
            oxygen.positions, oxygen.cell.complete().array, list(map(bool, atoms.pbc)), "d"
        )
        total += np.histogram(distances, edges)[0]
    return total


def first_peak(frames: list[Atoms]) -> float:
    """Position in A of the first maximum of counts / r^2, refined by a parabola."""
    counts = oxygen_histogram(frames)
    r = (np.arange(len(counts)) + 0.5) * RDF_BIN
    g = np.convolve(counts / r**2, [0.25, 0.5, 0.25], mode="same")
    window = np.flatnonzero((r > 2.4) & (r < 3.4))
    k = window[np.argmax(g[window])]
    a, b, c = g[k - 1 : k + 2]
    return float(r[k] + 0.5 * RDF_BIN * (a - c) / (a - 2 * b + c))


def report(folder: Path, potential: float) -> dict[str, Any]:
    """Observables of one run."""
    header = next(i for i, line in enumerate((folder / "md.csv").read_text().splitlines())
                  if not line.startswith("#"))  # fmt: skip
    log = np.genfromtxt(folder / "md.csv", delimiter=",", names=True, skip_header=header)
    log = np.atleast_1d(log)
    kept = log[int(EQUILIBRATION * len(log)) :]
    with Trajectory(str(folder / "md.traj")) as trajectory:
        frames = [trajectory[i] for i in range(len(trajectory))]
    settled = frames[int(EQUILIBRATION * len(frames)) :]
    atoms = frames[0]
    spacing = float(kept["time_fs"][1] - kept["time_fs"][0])
    u, sigma = (block_average(kept[k], spacing) for k in ("U_V", "sigma_uC_cm2"))
    slope = np.polyfit(log["time_fs"] / 1000.0, log["conserved_eV"], 1)[0]
    waters = [count_molecules(f)["H2O"] for f in frames[:: max(len(frames) // 50, 1)]]
    span = np.ptp(atoms.positions[:, 2])
    return {
        "target_U_V": potential,
        "picoseconds": float(log["time_fs"][-1]) / 1000.0,
        "mean_U_V": u.mean,
        "error_U_V": u.error,
        "sigmas_off_target": abs(u.mean - potential) / u.error,
        "surface_charge_uC_cm2": sigma.mean,
        "surface_charge_error": sigma.error,
        "mean_T_K": float(kept["T_K"].mean()),
        "drift_meV_per_atom_per_ps": float(1e3 * slope / len(atoms)),
        "O-O_peak_A": first_peak(settled),
        "waters": int((atoms.numbers == 8).sum()),
        "fewest_whole_waters": min(waters),
        "highest_atom_rise_A": float(max(np.ptp(f.positions[:, 2]) for f in frames) - span),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="pt111-water")
    parser.add_argument("--picoseconds", type=float, default=20.0)
    parser.add_argument("--timestep", type=float, default=0.5, help="fs")
    parser.add_argument("--potentials", default="-0.5,0,0.5", help="V vs SHE")
    parser.add_argument("--potential", type=float, help="make only this run")
    parser.add_argument("--committee-every", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmark_md"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    steps = round(1000.0 * args.picoseconds / args.timestep)
    wanted = [float(x) for x in args.potentials.split(",")]
    for potential in [args.potential] if args.potential is not None else wanted:
        run(args.out / f"{potential:+.2f}V", potential, steps, args)
    rows = [report(args.out / f"{u:+.2f}V", u) for u in wanted
            if (args.out / f"{u:+.2f}V" / "md.csv").is_file()]  # fmt: skip
    charges = [row["surface_charge_uC_cm2"] for row in rows]
    json.dump({"runs": rows, "surface_charge_monotonic": charges == sorted(charges)}, sys.stdout,
              indent=2)  # fmt: skip
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
