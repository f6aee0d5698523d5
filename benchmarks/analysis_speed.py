"""Frames a second of the analysis beside those of its peers, on one trajectory. Prints JSON.

Usage: python benchmarks/analysis_speed.py [TRAJ] [--frames 1000] [--pairs 5]
                                           [--peer-python PYTHON]
                                           [--ectoolkits-python PYTHON]

Without TRAJ a film of water of 597 atoms between two faces of Pt(111) is made up. Peers are
MDAnalysis's own analyses; with --peer-python (an environment with maicos, where MDAnalysis is
installed too) MAICoS; and with --ectoolkits-python (an environment with ectoolkits and numpy<2)
ECToolkits. The first two read a DCD file of the same frames, the last, which takes nothing else, an
xyz file. One core, CPU time.
Then the two-core speed-up of `pe-analyze all` and the cost against the number of atoms.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import MDAnalysis as mda
import numpy as np
from ase import Atoms
from ase.io import read, write
from MDAnalysis.analysis.lineardensity import LinearDensity
from MDAnalysis.analysis.rdf import InterRDF

from voltase.analysis import DensityProfile, SlabRDF, Together, WaterOrientation, load
from voltase.analysis.interface import LOWER, UPPER
from voltase.analysis.testing import film

PEER = """
import sys, time, json, warnings
warnings.filterwarnings("ignore")
import MDAnalysis as mda, maicos, numpy as np
topology, frames = sys.argv[1], sys.argv[2]
u = mda.Universe(topology, frames)
u.add_TopologyAttr("charges", np.where(u.atoms.names == "O", -0.8476, 0.4238))
water = u.select_atoms("name O H")
found = {"version": maicos.__version__}
for name, make in (
    ("density", lambda: maicos.DensityPlanar(water, bin_width=0.1, unwrap=False, pack=False)),
    ("rdf", lambda: maicos.PDFPlanar(u.select_atoms("name O"), u.select_atoms("name O"))),
    ("orientation", lambda: maicos.DiporderPlanar(water, bin_width=0.1, unwrap=False, pack=False)),
):
    try:
        analysis = make()
        started = time.process_time()
        analysis.run()
        found[name] = u.trajectory.n_frames / (time.process_time() - started)
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""

ECTOOLKITS = """
import sys, time, json, warnings
warnings.filterwarnings("ignore")
import logging
logging.disable(logging.CRITICAL)
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()):
    from importlib.metadata import version
    from ase.cell import Cell
    from MDAnalysis import Universe
    from ectoolkits.analysis.atom_density import AtomDensity
    from ectoolkits.analysis.water import WaterOrientation
path, given = sys.argv[1], json.loads(sys.argv[2])
cell, left, right = Cell(given["cell"]), given["left"], given["right"]
found = {"version": version("ectoolkits")}
def density(stop):
    u = Universe(path)
    u.atoms.dimensions = cell.cellpar()
    kinds = [{"element": e, "idx_method": "manual", "density_unit": "number", "name": e,
              "idx_list": u.select_atoms("name " + e).indices} for e in ("O", "H")]
    return AtomDensity(u.atoms, surf1=left, surf2=right, density_type=kinds, verbose=False)
def orientation(stop, strict):
    return WaterOrientation(path, cell, left, right, strict=strict, verbose=False)
for name, make, stop in (
    ("density", density, given["frames"]),
    ("orientation_fixed_molecules", lambda n: orientation(n, False), given["frames"]),
    ("orientation", lambda n: orientation(n, True), min(given["frames"], 100)),
):
    try:
        analysis = make(stop)
        started = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            analysis.run(stop=stop)
        found[name] = stop / (time.process_time() - started)
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


def made_up(frames: int) -> list[Atoms]:
    """A film of 163 molecules on three layers of Pt(111) 6 x 6, jiggling: 597 atoms."""
    rng = np.random.default_rng(0)
    start = film(rng, 163, height=36.0, size=6, thickness=22.0)
    images = []
    for _ in range(frames):
        atoms = start.copy()
        atoms.positions += 0.05 * rng.standard_normal(atoms.positions.shape)
        images.append(atoms)
    return images


def rate(make: Callable[[], Any], frames: int) -> float:
    """Frames a second of CPU time; compiled before the clock starts."""
    make().run(stop=5)
    best = np.inf
    for _ in range(3):
        started = time.process_time()
        make().run(stop=frames)
        best = min(best, time.process_time() - started)
    return frames / best


def ours(path: Path, frames: int) -> dict[str, float]:
    """Our observables, alone and together."""
    u = load(path)
    single: dict[str, Callable[[], Any]] = {
        "density": lambda: DensityProfile(u),
        "rdf": lambda: SlabRDF(u, ["O-O"], r_max=7.0),
        "orientation": lambda: WaterOrientation(u),
    }
    found = {name: rate(make, frames) for name, make in single.items()}
    found["all_three"] = rate(lambda: Together([make() for make in single.values()]), frames)
    return found


def mdanalysis(topology: Path, path: Path, frames: int) -> dict[str, float]:
    """MDAnalysis's own; its density is wrong in a hexagonal cell."""
    u = mda.Universe(str(topology), str(path))
    u.add_TopologyAttr("charges", np.zeros(len(u.atoms)))  # LinearDensity insists
    if not hasattr(u.atoms, "masses"):
        u.add_TopologyAttr("masses", np.ones(len(u.atoms)))
    oxygen = u.select_atoms("name O")
    return {
        "density": rate(lambda: LinearDensity(u.atoms, binsize=0.1), frames),
        "rdf": rate(lambda: InterRDF(oxygen, oxygen, nbins=140, range=(0.0, 7.0)), frames),
    }


def ectoolkits(python: str, path: Path, frames: int, folder: Path) -> dict[str, Any]:
    """ECToolkits on the same frames, with the faces that we have found."""
    u = load(path)
    density = DensityProfile(u)
    density.run(stop=1)
    assert density.interface is not None
    u.trajectory[0]
    plain = folder / "frames.xyz"
    with mda.Writer(str(plain), len(u.atoms)) as writer:
        for _ in u.trajectory[:frames]:
            writer.write(u.atoms)
    given = {
        "cell": u.trajectory.ts.data["cell"].tolist(),
        "left": density.interface.surface_layer(UPPER).tolist(),
        "right": density.interface.surface_layer(LOWER).tolist(),
        "frames": frames,
    }
    return _ask(python, ECTOOLKITS, str(plain), json.dumps(given))


def _ask(python: str, script: str, *arguments: str) -> dict[str, Any]:
    """What a script prints in another environment, on one core."""
    answer = subprocess.run([python, "-c", script, *arguments], check=True, capture_output=True,
                            text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def two_cores(path: Path, pairs: int) -> dict[str, Any]:
    """Wall time of `pe-analyze all` with one process and with two, in turns.

    The speed-up is that of the fastest runs, to which other work on the machine added least; the
    medians stand beside it.
    """
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for workers in [1, 2] * pairs:
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-m", "voltase.cli.analyze", "all", str(path), "--out", out,
                       "--backend", "multiprocessing", "--workers", str(workers), "--quiet",
                       "--dt", "0.01"]  # fmt: skip
            started = time.perf_counter()
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
                           stdout=subprocess.DEVNULL)  # fmt: skip
            seconds[workers].append(time.perf_counter() - started)
    one, two = np.array(seconds[1]), np.array(seconds[2])
    return {"workers_1_s": seconds[1], "workers_2_s": seconds[2],
            "speed_up": one.min() / two.min(),
            "speed_up_of_medians": float(np.median(one) / np.median(two))}  # fmt: skip


def scaling(path: Path) -> list[dict[str, float]]:
    """Cost of a frame against the number of atoms, the cell repeated along the surface."""
    start = read(path, 0)
    assert isinstance(start, Atoms)
    rows = []
    for repeat in ((1, 1, 1), (2, 1, 1), (2, 2, 1), (4, 2, 1), (4, 4, 1)):
        u = load([start.repeat(repeat)] * 20)
        analyses = lambda u=u: Together(  # noqa: E731
            [DensityProfile(u), SlabRDF(u, r_max=6.0), WaterOrientation(u)]
        )
        frames = rate(analyses, 20)
        rows.append({"atoms": len(u.atoms), "us_per_atom": 1e6 / frames / len(u.atoms)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trajectory", nargs="?", type=Path)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=5, help="of runs on one and two cores")
    parser.add_argument("--peer-python", help="interpreter with maicos")
    parser.add_argument("--ectoolkits-python", help="interpreter with ectoolkits")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("voltase").setLevel(logging.ERROR)  # a few frames have no errors
    with tempfile.TemporaryDirectory() as folder:
        path = args.trajectory or Path(folder) / "film.traj"
        if args.trajectory is None:
            write(path, made_up(args.frames))
        u = load(path)
        frames = min(args.frames, len(u.trajectory))
        topology, plain = Path(folder) / "top.gro", Path(folder) / "frames.dcd"
        u.atoms.write(str(topology))
        with mda.Writer(str(plain), len(u.atoms)) as writer:
            for _ in u.trajectory[:frames]:
                writer.write(u.atoms)
        result: dict[str, Any] = {"atoms": len(u.atoms), "frames": frames}
        result["voltase_fps"] = ours(path, frames)
        result["mdanalysis_fps"] = mdanalysis(topology, plain, frames)
        if args.peer_python:
            result["maicos_fps"] = _ask(args.peer_python, PEER, str(topology), str(plain))
        if args.ectoolkits_python:
            result["ectoolkits_fps"] = ectoolkits(args.ectoolkits_python, path, frames,
                                                  Path(folder))  # fmt: skip
        result["all_on_two_cores"] = two_cores(path, args.pairs)
        result["scaling"] = scaling(path)
    json.dump(result, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
