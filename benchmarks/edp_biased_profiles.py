"""Charge that a bias induces, of PE-EDP and of the plate calculations it was not trained on.

    python benchmarks/edp_biased_profiles.py --data ../shared/data/pt111_water --geometries 4

For some geometries of the CP2K set (water on Pt(111) between plates, a geometry at two to five
voltages; doi:10.5281/zenodo.13761449) the planar average of the charge at the highest voltage, less
that at the lowest, is compared with the model's at the same electron numbers. The model, trained on
GPAW densities, answers only for the face under water: the integrals run upwards from the middle of
the slab, whose other face carries the opposite charge of the plates' field.
"""

import argparse
import gzip
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from voltase.aseplugin import ElectronDensity

FACE = 1.6
"""Height in A above the outermost plane of metal up to which charge counts as the face's."""


def pairs(folder: Path, count: int) -> list[tuple[Atoms, Atoms]]:
    """The two ends of the voltages of each geometry, of those furthest apart in time."""
    with gzip.open(folder / "biased.extxyz.gz", "rt") as file:
        frames = read(file, ":", format="extxyz")
    by_geometry = defaultdict(list)
    for frame in frames:
        by_geometry[frame.info["source"].rsplit("/", 1)[0]].append(frame)
    found = []
    for members in by_geometry.values():
        members.sort(key=lambda frame: frame.info["excess_electrons"])
        if members[-1].info["excess_electrons"] - members[0].info["excess_electrons"] > 0.15:
            found.append((members[0], members[-1]))
    every = max(len(found) // count, 1)
    return found[::every][:count]


def reference_change(profiles: np.lib.npyio.NpzFile, low: Atoms, high: Atoms
                     ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Heights (A) and the electrons per A that the bias adds."""
    area = abs(np.linalg.det(low.cell.array)) / low.cell.array[2, 2]
    z = profiles[f"{low.info['source']}/z"]
    charge = [profiles[f"{atoms.info['source']}/charge_density"] for atoms in (low, high)]
    # The grid of the second may end elsewhere by rounding; both have the same spacing.
    return z, -(charge[1] - charge[0]) * area


def predicted_change(model: ElectronDensity, low: Atoms, high: Atoms, spacing: float
                     ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The same of the model."""
    grids = [model.predict(low, excess_electrons=atoms.info["excess_electrons"], spacing=spacing)
             for atoms in (low, high)]  # fmt: skip
    area = grids[0].volume / grids[0].height
    change = (grids[1].planar_average() - grids[0].planar_average()) * area
    return grids[0].heights() + grids[0].origin[2], change


def main() -> None:
    """Print a table and draw a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pt111_water"))
    parser.add_argument("--model", default="pt111-water-edp")
    parser.add_argument("--geometries", type=int, default=4)
    parser.add_argument("--spacing", type=float, default=0.25)
    parser.add_argument("--figure", type=Path, default=Path("edp_biased_profiles.png"))
    options = parser.parse_args()
    model = ElectronDensity(options.model)
    profiles = np.load(options.data / "biased_profiles.npz")
    chosen = pairs(options.data, options.geometries)
    figure = Figure(figsize=(10.0, 2.6 * len(chosen)), layout="constrained")
    axes = figure.subplots(len(chosen), 2, squeeze=False, sharex=True)
    print("geometry, change of n (e), on the metal face (e) CP2K and model, over displaced charge")
    for (left, right), (low, high) in zip(axes, chosen, strict=True):
        start = time.perf_counter()
        z, reference = reference_change(profiles, low, high)
        own_z, own = predicted_change(model, low, high, options.spacing)
        seconds = time.perf_counter() - start
        metal = low.positions[low.numbers == 78, 2]
        middle = 0.5 * (metal.min() + metal.max())
        predicted = np.interp(z, own_z, own, left=0.0, right=0.0)
        above = z > middle
        width = z[1] - z[0]
        sums = [np.cumsum(np.where(above, values, 0.0)) * width
                for values in (reference, predicted)]  # fmt: skip
        edge = int(np.searchsorted(z, metal.max() + FACE))
        wrong = np.abs(predicted - reference)[above].sum() / np.abs(reference)[above].sum()
        n = high.info["excess_electrons"] - low.info["excess_electrons"]
        name = low.info["source"].rsplit("/", 1)[0].split("/", 1)[1]
        print(f"{name}: {n:+.3f}, {sums[0][edge]:+.3f}, {sums[1][edge]:+.3f}, {wrong:.2f} "
              f"({seconds:.1f} s)")  # fmt: skip
        for values, total, label, style in ((reference, sums[0], "CP2K", "-"),
                                            (predicted, sums[1], "PE-EDP", "--")):  # fmt: skip
            left.plot(z, values, style, lw=1.1, label=label)
            right.plot(z, total, style, lw=1.3, label=label)
        left.set(title=f"{name}, {n:+.3f} e", ylabel="electrons per Å")
        right.set(title="integrated from the middle of the slab", ylabel="electrons")
        right.axhline(n, color="0.6", lw=0.7)
        left.set_xlim(metal.min() - 3.0, low.positions[:, 2].max() + 4.0)
        left.legend(frameon=False)
    for axis in axes[-1]:
        axis.set_xlabel("z (Å)")
    FigureCanvasAgg(figure)
    figure.savefig(options.figure, dpi=130)


if __name__ == "__main__":
    main()
