"""Geometries of IrO2(110) under water with Na+ and ClO4-, whole and split molecules, for labels.

Usage: python recipes/iro2_frames.py START TEMPERATURE OUT.extxyz [--seed 0] [--frames 5]
       [--every 60]; or --list

START is one of the interfaces below. It is relaxed a little and run with Langevin dynamics by
SevenNet-0, hot enough for protons to move; every so often a frame is kept. Then, for the labels,

    pe-label OUT.extxyz ... --engine gpaw --electrons 0 --config recipes/iro2-labels.yaml
        --config-type iro2 --no-densities

Needs `pip install sevenn` (see bond_frames.py), if need be beside this package in an environment
of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.io import write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import FIRE

from voltase.aseplugin import build_interface

TIMESTEP, FRICTION = 0.5 * units.fs, 0.02 / units.fs
STARTS: dict[str, dict[str, Any]] = {
    "w4-0": {"waters": 4, "density": 0.7, "seed": 0},
    "w4-1": {"waters": 4, "density": 0.7, "seed": 1},
    "split": {"waters": 3, "density": 0.5, "adsorb": ["OH@top_cus:1", "H@top_O:1"], "seed": 1},
    "oh": {"waters": 3, "density": 0.5, "adsorb": ["OH@top_cus:1"], "seed": 1},
    "na": {"waters": 3, "density": 0.45, "ions": "Na+:1", "seed": 1},
    "clo4": {"waters": 2, "density": 0.45, "ions": "ClO4-:1", "seed": 2},
    "naclo4": {"waters": 3, "density": 0.45, "ions": "Na+:1,ClO4-:1", "seed": 1},
}
"""Arguments of `build_interface` for two layers of a 2 x 1 cell."""


def interface(name: str) -> Atoms:
    """One of the interfaces."""
    return build_interface("IrO2", "110", layers=2, supercell="2x1", fix=1, **STARTS[name])


def sample(atoms: Atoms, name: str, temperature: float, frames: int, every: int, seed: int
           ) -> list[Atoms]:  # fmt: skip
    """Bare frames of a run."""
    from sevenn.calculator import SevenNetCalculator

    rng = np.random.default_rng(seed)
    atoms.calc = SevenNetCalculator("7net-0", device="cpu")
    FIRE(atoms, logfile=None).run(fmax=0.5, steps=40)
    thermalize_momenta(atoms, temperature_K=temperature, rng=rng)
    dynamics = Langevin(
        atoms, TIMESTEP, temperature_K=temperature, friction=FRICTION, fixcm=False, rng=rng
    )
    found = []
    for _ in range(frames):
        dynamics.run(every)
        frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        frame.info = {"source": f"{name}-{temperature:g}K-{dynamics.nsteps}"}
        found.append(frame)
    return found


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("start", nargs="?", choices=list(STARTS))
    parser.add_argument("temperature", nargs="?", type=float, default=600.0, help="K")
    parser.add_argument("out", nargs="?", type=Path, default=Path("iro2.extxyz"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--every", type=int, default=60, help="steps")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.list or arguments.start is None:
        for name, settings in STARTS.items():
            print(name, settings)
        return
    frames = sample(interface(arguments.start), arguments.start, arguments.temperature,
                    arguments.frames, arguments.every, arguments.seed)  # fmt: skip
    write(arguments.out, frames)


if __name__ == "__main__":
    main()
