"""Tutorial 2: the charging curve of an interface, and its differential capacitance.

    python tutorials/02_potential_series.py

takes some minutes (VOLTASE_TUTORIAL_SHORT=1: under one, with useless averages) and writes into
./tutorial_02. In a shell the same series is

    pe-md --potential -0.5V,0V,0.5V --steps 600 --method newton

Two ways lead to the capacitance. The slope of the surface charge against the potential, between
runs, contains everything that answers to the electrode: electrons and water. The slope at a frozen
geometry, -dn/dPhi of the force field itself, contains the electrons alone.
"""

import csv
import os
from pathlib import Path

import matplotlib
import numpy as np
from ase.md.velocitydistribution import thermalize_momenta
from ase.units import fs

from voltase.aseplugin import PEMACE, ConstantPotentialMD, read_interface
from voltase.aseplugin.electrochemistry import capacitance_to_areal
from voltase.aseplugin.statistics import block_average

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (after the choice of a backend)

SHORT = bool(os.environ.get("VOLTASE_TUTORIAL_SHORT"))
FOLDER = Path("tutorial_02")
FOLDER.mkdir(exist_ok=True)
POTENTIALS = (-0.5, 0.0, 0.5)  # V vs SHE
STEPS = 30 if SHORT else 600
EQUILIBRATION = 0.2  # share of each run that is left out of the means

# --- 1. One run at each potential ----------------------------------------------------------------
# The method "newton" keeps the potential on its target at every step, with one single point a step:
# its mean charge settles faster than that of a fluctuating one.
calculator = PEMACE("pt111-water")
area = calculator.electrode_area(read_interface("pt111-water"))
charges, errors, frozen = [], [], []
for potential in POTENTIALS:
    atoms = read_interface("pt111-water")
    atoms.calc = calculator
    rng = np.random.default_rng(7)  # the same start for all
    thermalize_momenta(atoms, temperature_K=330, rng=rng)
    log = FOLDER / f"U_{potential:+.1f}V.csv"
    dynamics = ConstantPotentialMD(atoms, potential, timestep=0.5 * fs, temperature_K=330, rng=rng,
                                   method="newton", logfile=log)  # fmt: skip
    dynamics.run(STEPS)
    dynamics.close()
    with log.open() as stream:
        rows = list(csv.DictReader(line for line in stream if not line.startswith("#")))
    sigma = np.array([float(row["sigma_uC_cm2"]) for row in rows])[int(EQUILIBRATION * len(rows)) :]
    mean = block_average(sigma, spacing=0.5)
    charges.append(mean.mean)
    errors.append(mean.error)
    frozen.append(capacitance_to_areal(calculator.results["capacitance"], area))
    print(f"U = {potential:+.1f} V: sigma = {mean.mean:+.2f} +- {mean.error:.2f} uC/cm2")

# --- 2. The capacitance --------------------------------------------------------------------------
slope = (charges[-1] - charges[0]) / (POTENTIALS[-1] - POTENTIALS[0])
print(f"capacitance from the charging curve: {slope:.1f} uF/cm2")
print(f"electronic capacitance at a frozen geometry: {np.mean(frozen):.1f} uF/cm2")
assert slope > 0.0

# --- 3. The figure -------------------------------------------------------------------------------
figure, axes = plt.subplots(figsize=(4.5, 3.4), layout="constrained")
axes.errorbar(POTENTIALS, charges, yerr=errors, fmt="o-", capsize=3)
axes.set(xlabel="U (V vs SHE)", ylabel="surface charge (µC/cm²)")
figure.savefig(FOLDER / "charging_curve.png", dpi=150)
print(f"figure: {FOLDER / 'charging_curve.png'}")
