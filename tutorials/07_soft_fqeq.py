"""Tutorial 7: charges of soft fragments, at a potential and along molecular dynamics.

    python tutorials/07_soft_fqeq.py

takes a minute and writes into ./tutorial_07. The bundled model pt111-water-fqeq was trained on
Hirshfeld charges of Pt(111)/water between plates (its card says how well). It is a model of
charges, so the atoms are moved by pt111-water here.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from ase.io import Trajectory
from ase.md.velocitydistribution import thermalize_momenta
from ase.units import fs

from voltase.aseplugin import PEMACE, ConstantPotentialMD, SoftFQEq, read_interface

SHORT = bool(os.environ.get("VOLTASE_TUTORIAL_SHORT"))
FOLDER = Path("tutorial_07")
FOLDER.mkdir(exist_ok=True)

# --- 1. Charges at a potential -------------------------------------------------------------------
# The metal is one fragment, each water another. Held at a potential, the metal takes the charge it
# needs; waters keep theirs but for what flows along hydrogen bonds and bonds to the metal.
atoms = read_interface("pt111-water")
metal = atoms.symbols == "Pt"
potentials = (0.0, 0.5) if SHORT else (-0.5, 0.0, 0.5, 1.0)
electrons = []
for potential in potentials:
    atoms.calc = SoftFQEq("pt111-water-fqeq", potential=potential, reference="SHE")
    atoms.calc.calculate(atoms, ["charges"])
    results = atoms.calc.results
    electrons.append(results["excess_electrons"])
    print(f"U = {potential:+.1f} V vs SHE: n = {electrons[-1]:+.3f} e, charge of the Pt atoms "
          f"{results['charges'][metal].sum():+.2f} e, {results['fragments'].max() + 1} "
          "fragments")  # fmt: skip
# The charge answers linearly while the atoms stand still: the slope is the capacitance.
capacitance = -np.polyfit(potentials, electrons, 1)[0]
print(f"capacitance at fixed atoms: {capacitance:.3f} e/V; by the calculator "
      f"{results['capacitance']:.3f} e/V")  # fmt: skip
assert abs(capacitance / results["capacitance"] - 1.0) < 1e-3

# --- 2. Fragment against global ------------------------------------------------------------------
# The same weights, with the charge free to go anywhere: one electrochemical potential for all.
for solver in ("fragment", "global"):
    atoms.calc = SoftFQEq("pt111-water-fqeq", solver=solver)
    atoms.calc.calculate(atoms, ["charges"])
    mu = atoms.calc.results["electrochemical_potential"]
    print(f"{solver}: from {mu[metal].mean():.2f} V in the metal to {mu[~metal].mean():.2f} V on "
          f"average in the water; range {np.ptp(mu):.2f} V")  # fmt: skip

# --- 3. Charges along MD at constant potential ---------------------------------------------------
rng = np.random.default_rng(0)
atoms.calc = PEMACE("pt111-water")
thermalize_momenta(atoms, temperature_K=330, rng=rng)
dynamics = ConstantPotentialMD(
    atoms,
    potential=0.5,
    reference="SHE",
    timestep=0.5 * fs,
    temperature_K=330,
    rng=rng,
    trajectory=FOLDER / "md.traj",
    trajectory_interval=5,
)
dynamics.run(10 if SHORT else 200)
dynamics.close()

# pe-charges reads the electron number of each frame; it writes tables, the frames with their
# charges, and the figure of fragment against global, tutorial_07/charges/charges.png.
command = [sys.executable, "-m", "voltase.cli.charges", str(FOLDER / "md.traj"),
           "--out", str(FOLDER / "charges")]  # fmt: skip
subprocess.run(command, check=True)
with Trajectory(str(FOLDER / "md.traj")) as trajectory:
    n = [frame.info["excess_electrons"] for frame in trajectory]
print(f"{len(n)} frames with n from {min(n):+.3f} to {max(n):+.3f} e")
