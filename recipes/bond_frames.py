"""Frames of Pt(111)/water with broken, shared and strained bonds, labelled by SevenNet-0.

Usage: python recipes/bond_frames.py OUT.extxyz.gz STRUCTURES... [--transfers 45] [--contacts 12]
       [--seed 0]

STRUCTURES are snapshots and trajectories (any file ASE reads) of Pt(111) under water. Of those
where every molecule is whole, copies are made in which protons have moved along hydrogen bonds,
part of the way or all of it, and copies with a molecule pushed against the metal. All are
labelled, the originals too: frames where a model has gone wrong teach it most. Needs
`pip install sevenn`, whose wheel holds the weights (doi:10.1021/acs.jctc.4c00190); an environment
of its own will do.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write
from sevenn.calculator import SevenNetCalculator

BOND = 1.3  # A, longest O-H distance within a molecule
HYDROGEN_BOND = 2.4  # A, longest H...O distance of a proton's next host
SHARES = (0.3, 0.5, 0.7, 1.0, 1.0)
"""Of the way to a bond of 1 A with its next host that a proton is moved."""
NOISE = {"transfer": 0.03, "contact": 0.06}  # A
VACUUM = 16.0  # A
LARGEST_FORCE = 25.0  # eV/A; beyond, a label teaches nothing


def bare(atoms: Atoms, source: str) -> Atoms:
    """Numbers, positions and cell alone, with a name."""
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=(True, True, False))
    frame.info = {"source": source, "config_type": "bonds"}
    return frame


def distances(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of O and of H, and their distances in A."""
    oxygen, hydrogen = np.flatnonzero(atoms.numbers == 8), np.flatnonzero(atoms.numbers == 1)
    table = atoms.get_all_distances(mic=True)[np.ix_(hydrogen, oxygen)]
    return oxygen, hydrogen, table


def is_whole(atoms: Atoms) -> bool:
    """Whether each oxygen has two hydrogens."""
    oxygen, _, table = distances(atoms)
    return bool((np.bincount(table.argmin(1), minlength=len(oxygen)) == 2).all())


def hydrogen_bonds(atoms: Atoms) -> list[tuple[int, int, int]]:
    """Donor, hydrogen and acceptor of each."""
    oxygen, hydrogen, table = distances(atoms)
    first, second = np.sort(table, axis=1)[:, :2].T
    order = oxygen[np.argsort(table, axis=1)[:, :2]]
    bonded = (first < BOND) & (second < HYDROGEN_BOND)
    return [(int(o[0]), int(h), int(o[1]))
            for o, h in zip(order[bonded], hydrogen[bonded], strict=True)]  # fmt: skip


def shake(atoms: Atoms, kind: str, rng: np.random.Generator) -> Atoms:
    """Displace all but the metal at random."""
    water = atoms.numbers != 78
    atoms.positions[water] += rng.normal(0.0, NOISE[kind], (int(water.sum()), 3))
    return atoms


def transferred(atoms: Atoms, source: str, near_metal: bool, rng: np.random.Generator) -> Atoms:
    """A copy with one to three protons moved; the first one next to the metal if so asked."""
    frame = bare(atoms, source)
    bonds = hydrogen_bonds(frame)
    top = frame.positions[frame.numbers == 78, 2].max()
    low = [bond for bond in bonds if frame.positions[bond[0], 2] < top + 3.0]
    touched: set[int] = set()
    for count in range(rng.integers(1, 4)):
        pool = low if near_metal and low and count == 0 else bonds
        donor, proton, acceptor = pool[rng.integers(len(pool))]
        if touched & {donor, acceptor}:
            continue
        touched |= {donor, acceptor}
        away = frame.get_distance(acceptor, proton, mic=True, vector=True)
        length = np.linalg.norm(away)
        frame.positions[proton] -= away / length * (length - 1.0) * rng.choice(SHARES)
    return shake(frame, "transfer", rng)


def pressed(atoms: Atoms, source: str, rng: np.random.Generator) -> Atoms:
    """A copy with one of the lowest molecules pushed towards the metal."""
    frame = bare(atoms, source)
    oxygen, hydrogen, table = distances(frame)
    chosen = np.argsort(frame.positions[oxygen, 2])[rng.integers(3)]
    molecule = [oxygen[chosen], *hydrogen[table[:, chosen] < BOND]]
    top = frame.positions[frame.numbers == 78, 2].max()
    factor = 1.0 if frame.positions[oxygen[chosen], 2] < top + 2.6 else 2.0
    frame.positions[molecule, 2] -= factor * rng.uniform(0.2, 0.5)
    return shake(frame, "contact", rng)


def label(frame: Atoms, calculator: SevenNetCalculator) -> bool:
    """Attach energy and forces; False if they are useless. The potential takes 3D cells alone."""
    heights = frame.positions[:, 2]
    frame.cell[2] = 0.0, 0.0, heights.max() - heights.min() + VACUUM
    periodic = frame.copy()
    periodic.pbc = True
    periodic.calc = calculator
    forces = periodic.get_forces()
    frame.info["REF_energy"] = float(periodic.get_potential_energy())
    frame.set_array("REF_forces", forces)
    return bool(np.abs(forces).max() < LARGEST_FORCE)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("structures", nargs="+")
    parser.add_argument("--transfers", type=int, default=45)
    parser.add_argument("--contacts", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    named = [(f"{Path(name).stem}-{k}", atoms) for name in args.structures
             for k, atoms in enumerate(read(name, ":"))]  # fmt: skip
    frames = [bare(atoms, name) for name, atoms in named]
    whole = [(name, atoms) for name, atoms in named if is_whole(atoms)]
    for count in range(args.transfers):
        name, atoms = whole[rng.integers(len(whole))]
        frames.append(transferred(atoms, f"transfer{count}-{name}", count % 2 == 0, rng))
    for count in range(args.contacts):
        name, atoms = whole[rng.integers(len(whole))]
        frames.append(pressed(atoms, f"contact{count}-{name}", rng))
    calculator = SevenNetCalculator("7net-0", device="cpu")
    kept = [frame for frame in frames if label(frame, calculator)]
    # ASE takes the format from the name, so ".partial" goes in front.
    partial = args.out.with_name(f"partial.{args.out.name}")
    write(partial, kept)
    os.replace(partial, args.out)
    print(f"{len(kept)} of {len(frames)} frames written to {args.out}")


if __name__ == "__main__":
    main()
