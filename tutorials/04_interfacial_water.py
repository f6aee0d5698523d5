"""Tutorial 4: from a trajectory to what the water does at the electrode.

    python tutorials/04_interfacial_water.py

takes some seconds, the first time half a minute for what is compiled then, and writes into
./tutorial_04. In a shell the same report is

    pe-analyze all tutorials/data/pt111_water.traj --charges O=-0.8476,H=0.4238,Pt=0

The trajectory comes from the bundled model: Pt(111) under water at 0 V vs SHE and 330 K, a frame
every 0.04 ps for 5 ps.
"""

import os
import subprocess
import sys
from pathlib import Path

import MDAnalysis
import numpy as np

from voltase.analysis import (
    DensityProfile,
    SiteCoverage,
    SlabRDF,
    Together,
    WaterOrientation,
)

SHORT = bool(os.environ.get("VOLTASE_TUTORIAL_SHORT"))
TRAJECTORY = Path(__file__).with_name("data") / "pt111_water.traj"
FOLDER = Path("tutorial_04")

# --- 1. A universe --------------------------------------------------------------------------------
# Since voltase.analysis is imported, MDAnalysis reads ASE trajectories, with the cell as it is, the
# electron number and the potential of each frame.
universe = MDAnalysis.Universe(str(TRAJECTORY))
print(f"{len(universe.atoms)} atoms, {len(universe.trajectory)} frames, "
      f"Phi = {universe.trajectory.ts.data['electrode_potential']:.2f} V in the first")  # fmt: skip

# --- 2. Observables, in one pass ------------------------------------------------------------------
# Each is an MDAnalysis analysis of its own: DensityProfile(universe).run(). Together they read each
# frame once. The slab, its layers and the wet face are found from the first frame.
density, rdf, orientation, coverage = analyses = (
    DensityProfile(universe),
    SlabRDF(universe, ["O-O"]),
    WaterOrientation(universe),
    SiteCoverage(universe),
)
Together(analyses).run(start=len(universe.trajectory) // 5)
interface = density.interface
assert interface is not None
print(f"slab: {interface.slab.sum()} atoms in {len(interface.layers)} layers")

# --- 3. What they found ---------------------------------------------------------------------------
rho = density.results.faces["both"]["O"]
distance = density.results.distance
print(f"highest density of oxygen {distance[np.argmax(rho)]:.2f} A above the surface; "
      f"{density.per_surface_atom('O', 2.7):.3f} oxygens per Pt within 2.7 A")  # fmt: skip
g = rdf.results.g_slab["O-O"]["both"]
beyond = rdf.results.r > 2.0
peak = rdf.results.r[beyond][np.nanargmax(g[beyond])]
last = rdf.results.r > 4.0  # the second shell: r ends at half the width of a small cell
print(f"first peak of g(O-O) at {peak:.2f} A; beyond 4 A g is {g[last].mean():.2f}, with the "
      f"ordinary normalisation {rdf.results.g_bulk['O-O']['both'][last].mean():.2f}")  # fmt: skip
assert 2.6 < peak < 2.95
layers = orientation.results.layers
shares = orientation.results.populations["both"]
for k, (low, high) in enumerate(layers):
    kinds = ", ".join(f"{kind} {share[k]:.2f}" for kind, share in shares.items())
    print(f"{low:g} to {high:g} A: {orientation.results.waters['both'][k]:.1f} waters; {kinds}")

# --- 4. The report --------------------------------------------------------------------------------
# Everything at once, with figures, CSV and NPZ files, and one HTML page to look at.
if not SHORT:
    subprocess.run(
        [sys.executable, "-m", "voltase.cli.analyze", "all", str(TRAJECTORY), "--out", str(FOLDER),
         "--charges", "O=-0.8476,H=0.4238,Pt=0"],
        check=True,
    )  # fmt: skip
    print(f"open {FOLDER / 'report.html'}")
