"""Build the interface that ships with a model: Pt(111) under a film of water, equilibrated.

Usage: python recipes/build_interface.py MODEL OUT.extxyz [--size 4 4 4] [--waters 32] [--steps N]

Molecules are set on a staggered lattice, sampled as rigid SPC/E water (doi:10.1021/j100308a038),
relaxed with the model at the target potential and run with Langevin dynamics. The two lowest metal
layers are fixed.
"""

from __future__ import annotations

import argparse

import numpy as np
from ase import Atoms
from ase.build import fcc111, molecule
from ase.constraints import FixAtoms
from ase.io import write
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import FIRE
from ase.units import fs
from scipy.spatial.transform import Rotation

from voltase.aseplugin import PEMACE, ConstantPotentialMD

LATTICE_CONSTANT = 3.976  # A, of the training data (PBE-D3)
CONTACT = 2.4  # A, lowest oxygen above the metal


def metal_slab(size: tuple[int, int, int]) -> Atoms:
    """Pt(111) with its two lowest layers fixed, vacuum to be set later."""
    slab = fcc111("Pt", size, a=LATTICE_CONSTANT, vacuum=4.0, orthogonal=False)
    slab.pbc = (True, True, False)
    layers = sorted(set(np.round(slab.positions[:, 2], 2)))
    slab.set_constraint(FixAtoms(mask=slab.positions[:, 2] < layers[1] + 0.1))
    return slab


def water_film(cell: np.ndarray, count: int, bottom: float, rng: np.random.Generator) -> Atoms:
    """Water molecules on a lattice, randomly turned."""
    per_side = 3
    sites = []
    layer = 0
    while len(sites) < count:
        shift = 0.5 * (layer % 2)
        for i in range(per_side):
            for j in range(per_side):
                f = np.array([(i + shift) / per_side, (j + shift) / per_side, 0.0])
                sites.append(f @ cell + np.array([0.0, 0.0, bottom + CONTACT + 2.55 * layer]))
        layer += 1
    film = Atoms()
    for site in sites[:count]:
        water = molecule("H2O")
        water.positions -= water.positions[0]
        water.positions = Rotation.random(rng=rng).apply(water.positions) + site
        film += water
    return film


def settle(film: Atoms, cell: np.ndarray, bottom: float, sweeps: int, rng: np.random.Generator
           ) -> None:  # fmt: skip
    """Metropolis sampling of rigid SPC/E water between a floor and a soft ceiling, cooling down."""
    period = cell.copy()
    period[2] = (0.0, 0.0, 200.0)
    inverse = np.linalg.inv(period)
    positions = film.positions.reshape(-1, 3, 3).copy()
    charges = np.array([-0.8476, 0.4238, 0.4238])
    ceiling = bottom + CONTACT + len(positions) * 29.9 / np.linalg.norm(np.cross(*cell[:2]))

    def energy(k: int, molecule_: np.ndarray) -> float:
        """Energy in eV of molecule k at given positions with all others and the walls."""
        others = np.delete(positions, k, axis=0)
        vectors = others[:, :, None] - molecule_[None, None]
        vectors -= np.round(vectors @ inverse) @ period
        distance = np.linalg.norm(vectors, axis=3)
        if distance.min() < 1.4:
            return np.inf
        coulomb = (14.3996 * charges[:, None] * charges[None] / distance).sum(axis=(1, 2))
        near = (3.166 / distance[:, 0, 0]) ** 6
        pairs = (coulomb * (distance[:, 0, 0] < 7.0)).sum()
        pairs += 4.0 * 0.00674 * (near**2 - near).sum()
        height = molecule_[:, 2]
        floor = (np.clip(bottom + 2.3 - height, 0.0, None) ** 2).sum()
        roof = (np.clip(height - ceiling, 0.0, None) ** 2).sum()
        return float(pairs + 5.0 * floor + 1.0 * roof)

    for sweep in range(sweeps):
        thermal = 8.617e-5 * (600.0 if sweep < sweeps // 2 else 330.0)
        for k in rng.permutation(len(positions)):
            old = positions[k]
            centre = old[0]
            turn = Rotation.from_rotvec(rng.normal(0.0, 0.35, 3))
            new = turn.apply(old - centre) + centre + rng.normal(0.0, 0.15, 3)
            change = energy(k, new) - energy(k, old)
            if not np.isfinite(change) and np.isfinite(energy(k, new)):
                change = -1.0
            if change <= 0 or rng.random() < np.exp(-change / thermal):
                positions[k] = new
    film.positions = positions.reshape(-1, 3)


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
    slab = metal_slab(tuple(args.size))
    film = water_film(slab.cell.array, args.waters, slab.positions[:, 2].max(), rng)
    settle(film, slab.cell.array, slab.positions[:, 2].max(), args.sweeps, rng)
    atoms = slab + film
    atoms.set_constraint(slab.constraints)
    atoms.cell[2] = (0.0, 0.0, atoms.positions[:, 2].max() + 10.0)
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
