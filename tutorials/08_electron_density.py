"""Tutorial 8: the electron density at three potentials, where its charge goes, and pictures of it.

    python tutorials/08_electron_density.py

takes about a minute and writes into ./tutorial_08; the last picture needs scikit-image (the extra
``density``). In a shell the same is

    pe-density interface.extxyz --potential -0.3V,0V,0.3V

and `pe-density md.traj --potential 0V --every 10` goes along a trajectory.
"""

import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from voltase.analysis.density_pictures import (
    DensityProfile,
    draw_isosurface,
    draw_profiles,
    draw_slice,
)
from voltase.aseplugin import ElectronDensity, read_interface

SHORT = bool(os.environ.get("VOLTASE_TUTORIAL_SHORT"))
SPACING = 0.35 if SHORT else 0.2  # A; sharp features and Bader charges want 0.15 or less
FOLDER = Path("tutorial_08")
FOLDER.mkdir(exist_ok=True)

# --- 1. A structure and a model -------------------------------------------------------------------
# The densities are those of valence electrons (10 of Pt, 6 of O, 1 of H), smooth at the nuclei.
atoms = read_interface("pt111-water")
model = ElectronDensity("pt111-water-edp")
low, high = model.potential_range or (np.nan, np.nan)
print(f"{len(atoms)} atoms; the model was trained from {low - 4.44:+.2f} to {high - 4.44:+.2f} V")

# --- 2. Densities ---------------------------------------------------------------------------------
# Each has the electrons of the neutral atoms and n more, exactly.
potentials = (-0.3, 0.0, 0.3)
grids = [model.predict(atoms, potential=u, spacing=SPACING) for u in potentials]
for u, grid in zip(potentials, grids, strict=True):
    state = grid.state
    print(f"U = {u:+.1f} V: n = {state.excess_electrons:+.3f} e, integral {grid.integral():.4f} e, "
          f"C = {state.capacitance:.3f} e/V")  # fmt: skip

# --- 3. The response ------------------------------------------------------------------------------
# d rho / dU in closed form; its integral is minus the capacitance. The Fukui function is the same
# for one electron: where the next one goes.
response = grids[1].response()
print(f"integral of d rho/dU: {response.integral():+.3f} e/V")
fukui = grids[1].fukui().planar_average() * grids[1].volume / grids[1].height
z = grids[1].heights() + grids[1].origin[2]
top = atoms.positions[atoms.numbers == 78, 2].max()
share = fukui[z < top + 2.0].sum() * (z[1] - z[0])
print(f"of the next electron, {100 * share:.0f} % go to the metal")

# --- 4. Bader charges -----------------------------------------------------------------------------
# A smooth valence density has no maximum at a heavy nucleus: a frozen core is added to it for the
# division alone. At hydrogen in water it has none either (a warning says so), so that each oxygen
# counts with its molecule.
charges = [grid.bader(reference="frozen-core").electrons for grid in (grids[0], grids[-1])]
change = charges[0] - charges[1]
metal = atoms.numbers == 78
for name, members, count in (("Pt", metal, metal.sum()), ("water", ~metal, (~metal).sum() / 3)):
    each = charges[0][members].sum() / count
    print(f"{name}: {each:.3f} electrons each at {potentials[0]:+.1f} V, "
          f"{change[members].sum():+.3f} e more than at {potentials[-1]:+.1f} V")  # fmt: skip

# --- 5. Pictures ----------------------------------------------------------------------------------
area = grids[0].volume / grids[0].height
profiles = []
for u, grid in zip(potentials, grids, strict=True):
    # What the electrons leave open is closed by a sheet of charge above the water.
    region = (0.97 * grid.height,)
    smearing = 1.05 * float(max(np.linalg.norm(grid.cell, axis=1) / grid.values.shape))
    volts = grid.electrostatic_potential("sheet", region=region, smearing=max(smearing, 0.3))
    label = f"U = {u:+.1f} V"
    profiles.append(DensityProfile(label, grid.planar_average(), volts.mean(axis=(0, 1))))
figure = Figure(figsize=(7.0, 9.0), dpi=130, layout="constrained")
draw_profiles(figure, z, profiles, area, windows=(2.29, 0.0))  # the layers of Pt(111)
figure.savefig(FOLDER / "profiles.png")

difference = grids[0].values - grids[-1].values
places = (atoms.numbers, atoms.positions - grids[0].origin)
figure = Figure(figsize=(5.0, 7.0), dpi=130, layout="constrained")
draw_slice(figure.add_subplot(), difference, grids[0].cell, *places, signed=True)
figure.savefig(FOLDER / "slice.png")
figure = Figure(figsize=(6.0, 8.0), dpi=130, layout="constrained")
draw_isosurface(figure, difference, grids[0].cell, *places)
figure.savefig(FOLDER / "isosurface.png")

# --- 6. For other programs ------------------------------------------------------------------------
grids[1].write(FOLDER / "zero_volt.cube")
print("written:", ", ".join(sorted(path.name for path in FOLDER.iterdir())))
