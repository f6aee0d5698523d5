"""Tutorial 5: molecular dynamics at constant potential on density-functional theory.

    python tutorials/05_hy_dft.py

takes about ten minutes (VOLTASE_TUTORIAL_SHORT=1: one or two) and writes into ./tutorial_05. It
needs GPAW (pip install voltase[gpaw]) and says so where there is none.

An engine is a calculator of E(R, n) that happens to be an electronic-structure code, so everything
that runs on a trained model runs on it: here GPAW with its solvated jellium. Each single point
costs seconds to hours; the method ``newton`` predicts the electron number of the next step, and
so mostly needs one.
"""

import csv
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
from ase.build import fcc111_root, molecule
from ase.constraints import FixAtoms
from ase.md.velocitydistribution import thermalize_momenta
from ase.units import fs

from voltase.aseplugin import ConstantPotentialMD
from voltase.aseplugin.engines import make_engine
from voltase.aseplugin.engines.gpaw_settings import place_in_cell

if importlib.util.find_spec("gpaw") is None:
    print("skipped: GPAW is not installed; pip install voltase[gpaw]")
    sys.exit(0)

SHORT = bool(os.environ.get("VOLTASE_TUTORIAL_SHORT"))
FOLDER = Path("tutorial_05")
FOLDER.mkdir(exist_ok=True)

# --- 1. A small cell -----------------------------------------------------------------------------
# Two layers of Pt(111) and one water molecule. place_in_cell leaves the room that the implicit
# solvent and the counter-charge need above the atoms.
slab = fcc111_root("Pt", 3, (1, 1, 1 if SHORT else 2), a=3.97, vacuum=5.0)
water = molecule("H2O")
water.rotate(60, "x")
water.translate(slab.positions[-1] + [0.0, 0.0, 2.5] - water.positions[0])
atoms = place_in_cell(slab + water)
atoms.set_constraint(FixAtoms(mask=atoms.positions[:, 2] < 4.5))

# --- 2. The engine -------------------------------------------------------------------------------
# Its defaults are the settings of our Pt(111)/water labels; these are coarser and faster. n = 0.05
# on the same geometry starts from the orbitals of n = 0 and takes fewer iterations.
atoms.calc = make_engine(
    "gpaw",
    kpts=(1, 1, 1),
    spacing=0.25,
    basis={"Pt": "sz(dzp)", "default": "sz(dzp)" if SHORT else "dzp"},
    mixer={"backend": "pulay", "beta": 0.1, "nmaxold": 7, "weight": 50},
    variational=True,
    txt=str(FOLDER / "gpaw.txt"),
)
potentials = []
for n in (0.0, 0.05):
    atoms.calc.excess_electrons = n
    atoms.get_forces()
    results = atoms.calc.results
    potentials.append(results["electrode_potential"])
    print(f"n = {n:+.2f} e: Phi = {potentials[-1]:.3f} V, E = {results['energy']:.3f} eV, "
          f"{results['scf_iterations']} iterations")  # fmt: skip
capacitance = -0.05 / (potentials[1] - potentials[0])
print(f"C = {capacitance:.3f} e/V")

# --- 3. Dynamics at the potential of that charge -------------------------------------------------
thermalize_momenta(atoms, temperature_K=330, rng=np.random.default_rng(1))
dynamics = ConstantPotentialMD(
    atoms,
    potential=potentials[1],
    reference="absolute",
    timestep=0.5 * fs,
    method="newton",
    method_options={"tolerance": 0.03},
    thermostat="nve",
    excess_electrons=0.05,
    capacitance=capacitance,
    trajectory=FOLDER / "md.traj",
    logfile=FOLDER / "md.csv",
    checkpoint=FOLDER / "checkpoint.npz",
    checkpoint_interval=5,
)
steps = 2 if SHORT else 20
dynamics.run(steps)
dynamics.close()

# --- 4. What it cost -----------------------------------------------------------------------------
with (FOLDER / "md.csv").open() as stream:
    rows = list(csv.DictReader(line for line in stream if not line.startswith("#")))
errors = np.array([float(row["Phi_V"]) for row in rows]) - potentials[1]
print(f"{dynamics.potentiostat.evaluations / steps:.2f} single points a step, "
      f"rms error of the potential {1e3 * np.sqrt(np.mean(errors**2)):.0f} mV")  # fmt: skip
assert abs(errors).max() < 0.3
