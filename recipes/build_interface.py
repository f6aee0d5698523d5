"""Build the interface that ships with a model: Pt(111) under a film of water, equilibrated.

Usage: python recipes/build_interface.py MODEL OUT.extxyz [--size 4 4 4] [--waters 32] [--steps N]

`build_interface` sets the molecules and samples them as rigid SPC/E water; then they are relaxed
with the model at the target potential and run with Langevin dynamics. The two lowest metal layers
are fixed.
"""

from __future__ import annotations

import argparse

import numpy as np
from ase.io import write
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import FIRE
from ase.units import fs

from voltase.aseplugin import PEMACE, ConstantPotentialMD, build_interface

LATTICE_CONSTANT = 3.976  # A, of the training data (PBE-D3)
CONTACT = 2.4  # A, from the metal to the film


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--size", type=int, nargs=3, default=(4, 4, 4))
    parser.add_argument("--waters", type=int, default=32)
    parser.add_argument("--potential", type=float, default=0.0, help="V vs SHE")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--sweeps", type=int, default=1500, help="of the classical start")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    atoms = build_interface(
        "Pt", "111", a=LATTICE_CONSTANT, layers=args.size[2], supercell=args.size[:2], fix=2,
        waters=args.waters, gap=CONTACT, vacuum=14.0, sweeps=args.sweeps, seed=args.seed,
    )  # fmt: skip
    calculator = PEMACE(args.model, allow_extrapolation=True)
    atoms.calc = calculator
    FIRE(atoms, logfile="-", maxstep=0.05).run(fmax=0.5, steps=150)
    thermalize_momenta(atoms, temperature_K=330, rng=rng)
    for timestep, tau, steps in ((0.25, 20.0, args.steps // 4), (0.5, 100.0, args.steps)):
        dynamics = ConstantPotentialMD(
            atoms, args.potential, timestep=timestep * fs, temperature_K=330, rng=rng,
            tau=tau * fs, allow_extrapolation=True,
        )  # fmt: skip
        dynamics.run(steps)
    relaxed = atoms.copy()
    relaxed.info = {"excess_electrons": calculator.excess_electrons}
    write(args.out, relaxed, format="extxyz", columns=["symbols", "positions", "momenta",
                                                       "move_mask"])  # fmt: skip


if __name__ == "__main__":
    main()
