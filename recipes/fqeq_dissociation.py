"""A proton leaves a water molecule of the film: energy, charges and forces of pt111-water-fqeq.

    python recipes/fqeq_dissociation.py [--model NAME] [--out fqeq_dissociation.png]

The hydrogen is drawn out of the film's surface, along its bond. Says how much charge the cell loses
(nothing but rounding), the largest jump of the charges and the largest difference between the force
and the slope of the energy. The model's short-range energy is zero: the curve is that of the
charges alone.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from ase import Atoms
from matplotlib.figure import Figure

from voltase.aseplugin import SoftFQEq, read_interface

STEP = 1e-4
"""For the slope of the energy, A."""


def outermost_water(atoms: Atoms) -> tuple[int, int, np.ndarray]:
    """Oxygen and hydrogen of the bond that points out of the film most, and its direction."""
    best = (-np.inf, 0, 0, np.zeros(3))
    hydrogens = np.flatnonzero(atoms.numbers == 1)
    for oxygen in np.flatnonzero(atoms.numbers == 8):
        vectors = atoms.get_distances(oxygen, hydrogens, mic=True, vector=True)
        lengths = np.linalg.norm(vectors, axis=1)
        for k in np.argsort(lengths)[:2]:
            direction = vectors[k] / lengths[k]
            score = atoms.positions[oxygen, 2] + 4.0 * direction[2]
            best = max(best, (score, int(oxygen), int(hydrogens[k]), direction), key=lambda b: b[0])
    return best[1], best[2], best[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pt111-water-fqeq")
    parser.add_argument("--out", type=Path, default=Path("fqeq_dissociation.png"))
    parser.add_argument("--points", type=int, default=61)
    arguments = parser.parse_args()
    atoms = read_interface("pt111-water")
    atoms.set_constraint()
    atoms.calc = calculator = SoftFQEq(arguments.model, dtype="float64", tolerance=1e-9)
    oxygen, proton, direction = outermost_water(atoms)
    start = atoms.positions[oxygen].copy()
    distances = np.linspace(0.9, 3.0, arguments.points)
    rows = []
    for distance in distances:
        atoms.positions[proton] = start + distance * direction
        force = atoms.get_forces()[proton] @ direction
        results = dict(calculator.results)
        slope = 0.0
        for sign in (1.0, -1.0):
            atoms.positions[proton] = start + (distance + sign * STEP) * direction
            calculator.calculate(atoms, ["charges"])  # the energy comes with them
            slope += sign * calculator.results["energy"] / (2.0 * STEP)
        rows.append((results["energy"], force, results["charges"][proton],
                     results["charges"][oxygen], results["charges"].sum(),
                     results["fragments"].max() + 1, abs(force + slope)))  # fmt: skip
    energy, forces, proton_charge, oxygen_charge, total, fragments, error = np.array(rows).T
    print(f"fragments: {fragments[0]:.0f} to {fragments[-1]:.0f}")
    print(f"largest |sum of charges|: {np.abs(total).max():.1e} e")
    print(f"largest jump of the proton's charge between points: "
          f"{np.abs(np.diff(proton_charge)).max():.3f} e")  # fmt: skip
    print(f"largest |force + slope of the energy|: {error.max():.1e} eV/A")
    figure = Figure(figsize=(6.0, 7.0), dpi=130, layout="constrained")
    axes = figure.subplots(3, sharex=True)
    axes[0].plot(distances, energy - energy.min())
    axes[0].set_ylabel("energy (eV)")
    axes[1].plot(distances, forces)
    axes[1].set_ylabel("force on the proton (eV/Å)")
    axes[2].plot(distances, proton_charge, label="proton")
    axes[2].plot(distances, oxygen_charge, label="its oxygen")
    axes[2].set_ylabel("charge (e)")
    axes[2].set_xlabel("distance from the oxygen (Å)")
    axes[2].legend(frameon=False)
    partial = arguments.out.with_name(arguments.out.name + ".partial")
    figure.savefig(partial, format="png")
    os.replace(partial, arguments.out)


if __name__ == "__main__":
    main()
