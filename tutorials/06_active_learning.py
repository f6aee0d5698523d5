"""Tutorial 6: active learning, from a handful of frames to a model that knows its surroundings.

    python tutorials/06_active_learning.py

takes a few minutes on one core (VOLTASE_TUTORIAL_SHORT=1: under one) and writes into ./tutorial_06.

A model learns what is in its data. Molecular dynamics soon comes to structures that are not, and
there a committee disagrees: several readouts of one network, trained on different shares of the
frames. Active learning goes where they do:

    dynamics at several potentials -> the frames of the largest spread, no two alike -> labels ->
    training on everything so far -> errors on frames that no model ever trains on -> again

Labels come from density functional theory: `engine: gpaw` (or vasp, espresso, cp2k) under
`labelling`. Here they come from the analytic electrode of tutorial 3, which takes milliseconds; any
subclass of `voltase.aseplugin.engines.base.Engine` can be named like this.
"""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write
from ase.md.velocitydistribution import thermalize_momenta
from ase.units import fs

from voltase.aseplugin import ConstantPotentialMD
from voltase.aseplugin.training.synthetic import PointChargeEngine, synthetic_frames

SHORT = bool(os.environ.get("VOLTASE_TUTORIAL_SHORT"))
FOLDER = Path("tutorial_06")
FOLDER.mkdir(exist_ok=True)
TEMPERATURE, STEPS = 150, 40 if SHORT else 100

# --- 1. What there is at the start ---------------------------------------------------------------
# A few labelled frames, and the structures that dynamics shall start from.
write(FOLDER / "few.extxyz", synthetic_frames(geometries=6, charges=2, waters=1, seed=0))
starts = []
for k, frame in enumerate(synthetic_frames(geometries=2, charges=1, waters=1, seed=5)):
    starts.append(Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc))
    write(FOLDER / f"start-{k}.traj", starts[-1])

# Frames to judge by are best taken from where the model will be used: here from dynamics with the
# exact forces, at the two potentials of the loop. (Without such a file, `held_out`, a share of the
# first frames is held out: data.test_fraction.)
held_out = []
for k, start in enumerate(starts):
    for j, potential in enumerate((0.0, 0.6)):
        rng = np.random.default_rng([k, j])
        atoms = start.copy()
        atoms.calc = PointChargeEngine()
        thermalize_momenta(atoms, temperature_K=TEMPERATURE, rng=rng)
        dyn = ConstantPotentialMD(atoms, potential, timestep=0.5 * fs, temperature_K=TEMPERATURE,
                                  rng=rng)  # fmt: skip
        for i in range(5):
            dyn.run(STEPS // 5)
            frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            frame.info = {
                "config_type": "held-out",
                "geometry": f"{k}-{j}-{i}",
                "REF_energy": dyn.point.energy,
                "excess_electrons": dyn.point.excess_electrons,
                "electrode_potential": dyn.point.potential,
            }
            frame.arrays["REF_forces"] = dyn.point.forces
            held_out.append(frame)
write(FOLDER / "held_out.extxyz", held_out)

# --- 2. A first committee ------------------------------------------------------------------------
EPOCHS = 30 if SHORT else 80
TRAINING = f"""\
training:
  epochs: {EPOCHS}
  warmup_steps: 10
  learning_rate: 1e-2
  ema_decay: 0.95
  atoms_per_batch: 44
"""
(FOLDER / "first.yaml").write_text(f"""\
data: {{files: [{FOLDER}/few.extxyz], test_fraction: 0, valid_fraction: 0}}
model:
  n_members: 3
  backbone: {{r_max: 3.5, channels: 8, max_ell: 1, correlation: 2, radial_mlp: [16], num_bessel: 6}}
{TRAINING}""")
pe_train = [sys.executable, "-m", "voltase.cli.train"]
subprocess.run([*pe_train, "mace", str(FOLDER / "first.yaml"), "--out", str(FOLDER / "first"),
                "--threads", "1"], check=True)  # fmt: skip

# --- 3. The loop ---------------------------------------------------------------------------------
# Below `lower` a frame is known well enough; above `upper` it is no sensible structure any more,
# and the run ends there. Spreads are in eV/A. With `offsets` every picked frame is labelled at
# further electron numbers too: pairs of one geometry teach how the forces respond to charge.
(FOLDER / "loop.yaml").write_text(f"""\
init: {FOLDER}/first/model
structures: [{FOLDER}/start-0.traj, {FOLDER}/start-1.traj]
data: {{files: [{FOLDER}/few.extxyz], valid_fraction: 0}}
held_out: {FOLDER}/held_out.extxyz
sampling:
  potentials: [0V, 0.6V]      # vs SHE
  steps: {STEPS}
  every: {STEPS // 10}
  temp: {TEMPERATURE}
  allow_extrapolation: true
selection: {{lower: 0.02, upper: 5, per_round: {4 if SHORT else 8}}}
labelling:
  engine: voltase.aseplugin.training.synthetic:PointChargeEngine
  offsets: [0.03]
{TRAINING}stop: {{max_rounds: {2 if SHORT else 3}, force_rmse_meV_A: 10}}
""")
# In a shell: pe-train loop tutorial_06/loop.yaml --out tutorial_06/loop
# Killed at any moment, the same command goes on with the step it was in.
subprocess.run([*pe_train, "loop", str(FOLDER / "loop.yaml"), "--out", str(FOLDER / "loop"),
                "--threads", "1"], check=True)  # fmt: skip

# --- 4. What came out ----------------------------------------------------------------------------
# loop/rounds.png shows it; every round keeps its dynamics, its labels and its model.
with (FOLDER / "loop" / "rounds.csv").open() as file:
    rows = list(csv.DictReader(file))
print("round  labels  forces (meV/A)  Phi (V)")
for row in rows:
    print(f"{row['round']:>5}  {row['labels'] or '':>6}  {float(row['force_rmse_meV_A']):14.0f}"
          f"  {float(row['potential_mae_V']):7.3f}")  # fmt: skip
errors = [float(row["force_rmse_meV_A"]) for row in rows]
rms = 1e3 * np.sqrt(np.mean([frame.arrays["REF_forces"] ** 2 for frame in held_out]))
print(f"the forces themselves: {rms:.0f} meV/A")
labels = read(FOLDER / "loop" / "round-000" / "labels.extxyz", ":")
print(f"round 0 labelled {len(labels)} points, the first one {labels[0].info['source']}")
assert errors[-1] < 0.9 * errors[0]
