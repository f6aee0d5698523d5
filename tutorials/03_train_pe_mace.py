"""Tutorial 3: train a potential-dependent force field, from labelled frames to a calculator.

    python tutorials/03_train_pe_mace.py

takes a few minutes on one core (VOLTASE_TUTORIAL_SHORT=1: well under one, with a worse model) and
writes into ./tutorial_03.

What a PE-MACE model needs is frames of an electrode with forces, each at a known number of excess
electrons n and with the electrode potential Phi that goes with it; best of all the same geometry at
several n. Such frames come from density functional theory. Here they come from an electrode whose
energy is written down in one line,

    E(R, n) = V(R) - n phi0 + n^2 / (2 C) + n / (eps0 A) sum_i q_i z_i,

point charges on water molecules in the field of a charged slab. It is no model of any real
interface, but everything a network should find is known exactly: Phi = -dE/dn, the capacitance,
and the charges, which are the response of the forces to n.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from ase.io import read, write

from voltase.aseplugin.training.synthetic import CHARGES, PointChargeElectrode, synthetic_frames

SHORT = bool(os.environ.get("VOLTASE_TUTORIAL_SHORT"))
FOLDER = Path("tutorial_03")
FOLDER.mkdir(exist_ok=True)

# --- 1. Frames -----------------------------------------------------------------------------------
# Any file that ASE reads will do, extxyz as a rule. In atoms.info: excess_electrons (n > 0 is more
# negative), electrode_potential (absolute, V), REF_energy (eV); in atoms.arrays: REF_forces (eV/A).
# Other names can be given in the settings (data.energy_key and so on). Frames that repeat the Fermi
# level on every atom, as the array field_scalar, are understood as well.
frames = synthetic_frames(geometries=24 if SHORT else 160, charges=3, seed=0)
write(FOLDER / "frames.extxyz", frames)
potentials = np.array([atoms.info["electrode_potential"] for atoms in frames])
print(f"{len(frames)} frames of {len(frames[0])} atoms, Phi from {potentials.min():.1f} to "
      f"{potentials.max():.1f} V (absolute)")  # fmt: skip

# --- 2. Settings ---------------------------------------------------------------------------------
# One section for the data, the model and the training; what is absent has its default or follows
# from the data. The free section `card` goes into the model card: say where the data come from.
(FOLDER / "settings.yaml").write_text(f"""\
data:
  files: [{FOLDER / "frames.extxyz"}]
  test_fraction: 0.15
model:
  n_members: 2            # a committee: its spread says where the model is unsure
  backbone: {{r_max: 3.5, channels: {4 if SHORT else 16}, max_ell: {1 if SHORT else 2},
             correlation: 2, radial_mlp: [16]}}
training:
  epochs: {12 if SHORT else 40}
  warmup_steps: 20
  learning_rate: 1e-2
  ema_decay: 0.98
  atoms_per_batch: 68     # small structures are batched up to this number of atoms
card:
  description: An analytic electrode, for the tutorial.
  source: synthetic
  licence: MIT
""")

# --- 3. Training ---------------------------------------------------------------------------------
# In a shell: pe-train mace tutorial_03/settings.yaml --out tutorial_03/run
# Stop it with Ctrl-C and run the same command again: it goes on where it was.
# Two processes: torchrun --nproc_per_node 2 -m voltase.cli.train mace ...
command = [sys.executable, "-m", "voltase.cli.train", "mace", str(FOLDER / "settings.yaml"),
           "--out", str(FOLDER / "run"), "--threads", "1"]  # fmt: skip
subprocess.run(command, check=True)

# --- 4. What came out ----------------------------------------------------------------------------
# run/learning_curve.png and run/parity.png show how it went; run/model/README.md is the model card.
# Snapshots are held out whole, all charges of a geometry together; the card lists them.
card = json.loads((FOLDER / "run" / "model" / "model.json").read_text())
errors = card["errors"]["test"]["synthetic"]
held_out = set(card["data"]["split"]["test_snapshots"])
test = [atoms for atoms in read(FOLDER / "frames.extxyz", ":")
        if f"synthetic/{atoms.info['geometry']}" in held_out]  # fmt: skip
labels = np.array([atoms.info["electrode_potential"] for atoms in test])
spread = float(np.abs(labels - labels.mean()).mean())
print(f"held-out forces: RMSE {errors['force_rmse_meV_A']:.0f} meV/A of "
      f"{errors['force_rms_meV_A']:.0f} meV/A")  # fmt: skip
print(f"held-out Phi: MAE {errors['potential_mae_V']:.3f} V; the mean of all labels would give "
      f"{spread:.2f} V")  # fmt: skip
print(f"held-out force response: relative error {errors['response_error']:.2f} (1: not learned)")
assert errors["potential_mae_V"] < 0.5 * spread
assert errors["response_error"] < 0.8

# --- 5. The model as a calculator ----------------------------------------------------------------
from voltase.aseplugin import PEMACE, ConstantPotential  # noqa: E402  (the frames need no torch)

atoms = min(test, key=lambda a: abs(a.info["electrode_potential"] - 4.44)).copy()
calculator = PEMACE(FOLDER / "run" / "model")
atoms.calc = calculator
exact = PointChargeElectrode()
low, high = (0.8 * limit for limit in card["electrons_per_area_range"])
area = float(np.linalg.norm(np.cross(*atoms.cell.array[:2])))
print(" n (e)    Phi (V)  exact (V)")
for n in np.linspace(low, high, 5) * area:
    calculator.excess_electrons = exact.excess_electrons = n
    atoms.get_forces()
    exact.calculate(atoms)
    found = calculator.results["electrode_potential"]
    print(f"{n:+.3f}  {found:8.3f}  {exact.results['electrode_potential']:8.3f}")

# Phi is -dE/dn, by construction and not only on average:
step = 1e-3
energies = []
for n in (-step, step):
    calculator.excess_electrons = n
    energies.append(atoms.get_potential_energy())
slope = -(energies[1] - energies[0]) / (2 * step)
calculator.excess_electrons = 0.0
atoms.get_potential_energy()
print(f"-dE/dn = {slope:.4f} V by difference, {calculator.results['electrode_potential']:.4f} V "
      "reported")  # fmt: skip
assert abs(slope - calculator.results["electrode_potential"]) < 0.02

# How the forces respond to n gives every atom's charge: -eps0 A dF_z/dn.
EPSILON_0 = 5.526349e-3  # e/(V A)
forces = []
for n in (low * area, high * area):
    calculator.excess_electrons = n
    forces.append(atoms.get_forces()[:, 2])
charges = -EPSILON_0 * area * (forces[1] - forces[0]) / ((high - low) * area)
for symbol in ("O", "H"):
    mean = charges[[s == symbol for s in atoms.get_chemical_symbols()]].mean()
    print(f"charge of {symbol}: {mean:+.2f} e learned, {CHARGES[symbol]:+.2f} e in the data")

# At constant potential instead of constant charge (the reference travels with the number):
calculator.excess_electrons = 0.0
atoms.get_potential_energy()
target = calculator.results["electrode_potential"] - 0.3
atoms.calc = ConstantPotential(calculator, target, reference="absolute")
energy = atoms.get_potential_energy()
print(f"at Phi = {target:.2f} V: n = {atoms.calc.results['excess_electrons']:+.3f} e, "
      f"Omega = {energy:.3f} eV")  # fmt: skip
