"""Draw the figures of these pages from a trajectory.

    python docs/analysis/make_figures.py [TRAJ] [--dynamic TRAJ] [--vdos TRAJ] [--series DIR]

The vibrational spectrum needs velocities every femtosecond or so, and the series a folder with a
run at each potential; both are drawn only if they are named, and alone if TRAJ is not.
"""

from __future__ import annotations

import argparse
import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from PIL import Image

from voltase import analysis as water
from voltase.analysis.compare import compare

if TYPE_CHECKING:
    from voltase.analysis.base import InterfaceAnalysis

HERE = Path(__file__).resolve().parent
DEFAULT = HERE.parents[1] / "tutorials" / "data" / "pt111_water.traj"

CHARGES = {"O": -0.8476, "H": 0.4238, "Li": 1.0, "Na": 1.0, "K": 1.0, "Cs": 1.0}
"""SPC/E water (doi:10.1021/j100308a038) and cations; the metal is neutral but for the rest."""
COLOURS = 128  # Few enough for small PNG files.

Maker = Callable[[Any], "InterfaceAnalysis"]
STATIC: dict[str, Maker] = {
    "profile": water.DensityProfile,
    "rdf": lambda u: water.SlabRDF(u, ["O-O", "O-H"]),
    "orientation": lambda u: water.WaterOrientation(u, width=0.2, cosines=20),
    "hbonds": water.HydrogenBonds,
    "coverage": water.SiteCoverage,
    "dipole": water.NetDipole,
    "potential": lambda u: water.ChargeProfile(u, charges=CHARGES, net_charge="electrode"),
    "species": water.SpeciesCounts,
}
DYNAMIC: dict[str, Maker] = {
    "residence": water.Residence,
    "reorientation": water.Reorientation,
    "diffusion": water.InPlaneMSD,
}


def save(name: str, draw: Callable[[Figure], None], height: float = 5.6) -> None:
    """Draw a figure and write it as a PNG file with few colours."""
    figure = Figure(figsize=(8.0, height), dpi=90, layout="constrained")
    draw(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    image = Image.open(buffer).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(HERE / "figures" / f"{name}.png", optimize=True)


def draw_all(universe: Any, makers: dict[str, Maker]) -> None:
    """Run analyses in one pass and draw each."""
    analyses = {name: make(universe) for name, make in makers.items()}
    water.Together(list(analyses.values())).run()
    for name, analysis in analyses.items():
        save(name, analysis.draw)


def draw_comparison(universe: Any) -> None:
    """Densities in the two halves of one trajectory."""
    middle = len(universe.trajectory) // 2
    halves = {"first half": (0, middle), "second half": (middle, None)}
    found = {name: water.DensityProfile(universe, width=0.2).run(start=start, stop=stop)
             for name, (start, stop) in halves.items()}  # fmt: skip
    save("compare", compare(found).draw, height=8.0)


def draw_series(folder: Path) -> None:
    """Runs in the folders of a folder against their potential, the first fifth of each left out."""
    from voltase.analysis.potential_series import PotentialSeries

    series = PotentialSeries("SHE")
    for path in sorted(folder.glob("*/*.traj")):
        universe = water.load(path)
        series.run(path.parent.name, universe, start=len(universe.trajectory) // 5)
    save("series", series.draw, height=7.0)


def draw_pages(trajectory: Path, dynamic: Path | None, dt: float | None) -> None:
    """Figures of the pages that one trajectory is enough for, or two."""
    universe = water.load(trajectory, dt=None if dynamic else dt)
    draw_all(universe, STATIC if dynamic else STATIC | DYNAMIC)
    if dynamic is not None:
        draw_all(water.load(dynamic, dt=dt), DYNAMIC)
    draw_comparison(universe)


def main() -> None:
    """Read the arguments and draw."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("trajectory", nargs="?", type=Path)
    parser.add_argument("--dt", type=float, help="ps between frames, where they do not tell")
    parser.add_argument("--dynamic", type=Path, help="another trajectory for what needs times")
    parser.add_argument("--vdos", type=Path, help="trajectory for the vibrational spectrum")
    parser.add_argument("--series", type=Path, help="folder of runs at several potentials")
    given = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("voltase").setLevel(logging.ERROR)
    if given.trajectory is not None or (given.vdos is None and given.series is None):
        draw_pages(given.trajectory or DEFAULT, given.dynamic, given.dt)
    if given.vdos is not None:
        draw_all(water.load(given.vdos, dt=given.dt), {"vdos": water.VibrationalDOS})
    if given.series is not None:
        draw_series(given.series)


if __name__ == "__main__":
    main()
