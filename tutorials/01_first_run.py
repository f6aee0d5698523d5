"""Tutorial 1: a first run at constant electrode potential.

    python tutorials/01_first_run.py

takes about a minute (VOLTASE_TUTORIAL_SHORT=1: seconds) and writes into ./tutorial_01. In a shell
the same run is

    pe-md --potential -0.5V --steps 400 --timestep 0.5 --temp 330 --seed 1

Pt(111) under a film of water is held at -0.5 V vs SHE. The force field knows how the energy of the
cell depends on its number of excess electrons n; the slope, Phi = -dE/dn, is the electrode
potential. The potentiostat moves electrons in and out, so that Phi fluctuates about its target as
it does on an electrode that is wired to one: with var(Phi) = kT / C.
"""

import csv
import os
from pathlib import Path

import numpy as np
from ase.io.trajectory import Trajectory
from ase.md.velocitydistribution import thermalize_momenta
from ase.units import fs, kB

from voltase.aseplugin import PEMACE, ConstantPotential, ConstantPotentialMD, read_interface

SHORT = bool(os.environ.get("VOLTASE_TUTORIAL_SHORT"))
FOLDER = Path("tutorial_01")
FOLDER.mkdir(exist_ok=True)

# --- 1. Atoms and a calculator -------------------------------------------------------------------
# Any slab with vacuum above the water will do; this one comes with the model, its two lowest layers
# fixed. The calculator is an ordinary ASE calculator of E(R, n).
atoms = read_interface("pt111-water")
atoms.calc = PEMACE("pt111-water")
for n in (0.0, 0.2):  # n > 0: more electrons, a more negative electrode
    atoms.calc.excess_electrons = n
    atoms.get_forces()
    print(f"n = {n:+.1f} e: Phi = {atoms.calc.results['electrode_potential']:.3f} V (absolute), "
          f"C = {atoms.calc.results['capacitance']:.3f} e/V")  # fmt: skip

# --- 2. A fixed geometry at a fixed potential ----------------------------------------------------
# ConstantPotential solves for n; it is a calculator of Omega(R, Phi) for any ASE optimiser.
still = atoms.copy()
still.calc = ConstantPotential(PEMACE("pt111-water"), potential="-0.5V", reference="SHE",
                               tolerance=1e-4)  # fmt: skip
still.get_potential_energy()
print(f"at -0.5 V this geometry has n = {still.calc.results['excess_electrons']:+.3f} e")

# --- 3. Dynamics at constant potential -----------------------------------------------------------
rng = np.random.default_rng(1)
thermalize_momenta(atoms, temperature_K=330, rng=rng)
dynamics = ConstantPotentialMD(
    atoms,
    potential=-0.5,
    reference="SHE",
    timestep=0.5 * fs,
    temperature_K=330,
    rng=rng,
    trajectory=FOLDER / "md.traj",
    trajectory_interval=10,
    logfile=FOLDER / "md.csv",
    loginterval=2,
    checkpoint=FOLDER / "checkpoint.npz",  # ConstantPotentialMD.from_checkpoint goes on from here
)
dynamics.run(20 if SHORT else 400)
dynamics.close()

# --- 4. What came out ----------------------------------------------------------------------------
# The log is CSV with units in the names of its columns; lines with # say what was run.
with (FOLDER / "md.csv").open() as stream:
    rows = list(csv.DictReader(line for line in stream if not line.startswith("#")))
potential, charge, conserved = (
    np.array([float(row[name]) for row in rows]) for name in ("U_V", "sigma_uC_cm2", "conserved_eV")
)
# In equilibrium U fluctuates by the root of kT / C, and so does the mean of a run this short.
expected = np.sqrt(330 * kB / atoms.calc.results["capacitance"])
print(f"U = {potential.mean():.2f} V, fluctuating by {potential.std():.2f} V "
      f"({expected:.2f} V in a long run); surface charge {charge.mean():.1f} uC/cm2")  # fmt: skip
print(f"conserved quantity: within {1e3 * np.ptp(conserved) / len(atoms):.2f} meV/atom")
assert abs(potential.mean() + 0.5) < 2.0 * expected

# n and Phi travel with every frame.
with Trajectory(str(FOLDER / "md.traj")) as trajectory:
    last = trajectory[-1]
print(f"last frame: n = {last.info['excess_electrons']:+.3f} e, "
      f"Phi = {last.info['electrode_potential']:.3f} V")  # fmt: skip
