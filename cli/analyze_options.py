"""Options of ``pe-analyze``, each described once."""

from pathlib import Path
from typing import Annotated, Any

import typer

INPUT, FRAMES, OBSERVABLE, OUTPUT, MACHINE = "Input", "Frames", "Observable", "Output", "Machine"

Trajectory = Annotated[
    Path,
    typer.Argument(
        metavar="TRAJ",
        help="ASE .traj, extended xyz (plain or .gz) or any trajectory that MDAnalysis reads.",
        show_default=False,
    ),
]


def option(type_: Any, help_: str, panel: str, default: str | None = None, **more: Any) -> Any:
    """An optional option with a panel and a word on its default."""
    return Annotated[
        type_ | None,
        typer.Option(help=help_, rich_help_panel=panel, show_default=default or False, **more),
    ]


COMMON: dict[str, Any] = {
    "out": option(Path, "Folder of the results.", OUTPUT, "pe-analyze_TRAJ", metavar="DIR"),
    "topology": option(Path, "Topology, for formats without names.", INPUT, metavar="FILE"),
    "electrode": option(
        str, "Selection of the slab's atoms in MDAnalysis's language, such as 'name Pt'.", INPUT,
        "the largest piece of metal", metavar="SELECTION",
    ),
    "dt": option(float, "Time between frames in ps, where the trajectory does not say.", INPUT),
    "skip_bad": Annotated[bool, typer.Option(
        "--skip-bad", rich_help_panel=INPUT,
        help="Leave out frames with other atoms or without a cell, and say how many.",
    )],
    "start": option(int, "First frame.", FRAMES, "0"),
    "stop": option(int, "Frame to stop before.", FRAMES, "the end"),
    "step": option(int, "Every so many frames.", FRAMES, "1"),
    "backend": option(
        str, "serial, multiprocessing or dask.", MACHINE, "serial", metavar="NAME"
    ),
    "workers": option(int, "Processes of a parallel backend.", MACHINE, "all cores"),
    "quiet": Annotated[bool, typer.Option("--quiet", help="Print errors only.",
                                          rich_help_panel=MACHINE)],
    "debug": Annotated[bool, typer.Option("--debug", help="Show where in the code an error arose.",
                                          rich_help_panel=MACHINE)],
}  # fmt: skip
FLAGS = ("quiet", "debug", "skip_bad", "bonds")

SPECIFIC: dict[str, Any] = {
    "pairs": option(str, "Pairs of elements, such as O-O,O-H.", OBSERVABLE, "O-O,O-H"),
    "r_max": option(float, "Range in A.", OBSERVABLE, "8, or half the cell's smallest width"),
    "width": option(float, "Of the bins, A.", OBSERVABLE, "0.1 (rdf: 0.05, hbonds: 0.2)"),
    "region": option(
        str, "Distances from the surface in A between which the first atom lies: 0:4.5.",
        OBSERVABLE, "everywhere", metavar="FROM:TO",
    ),
    "layers": option(
        str, "Outer ends of the layers, A from the surface.", OBSERVABLE, "2.7,4.5,7.5",
        metavar="A,B,...",
    ),
    "pointing": option(
        float, "Cosine to the normal beyond which an O-H bond points up or down.", OBSERVABLE, "0.5"
    ),
    "distance": option(float, "Longest O...O of a hydrogen bond, A.", OBSERVABLE, "3.5"),
    "angle": option(float, "Limit in degrees.", OBSERVABLE, "30 for HOO, 150 for DHA"),
    "definition": option(
        str, "Angle of a hydrogen bond: HOO (at most) or DHA (at least).", OBSERVABLE, "HOO"
    ),
    "o_distance": option(
        float, "Height in A up to which an oxygen is adsorbed.", OBSERVABLE, "2.7"
    ),
    "h_distance": option(
        float, "Height in A up to which a hydrogen without oxygen is adsorbed.", OBSERVABLE, "2.0"
    ),
    "tolerance": option(
        float, "Longest absence from a layer in ps that does not count.", OBSERVABLE, "2"
    ),
    "bonds": Annotated[bool, typer.Option(
        "--bonds", rich_help_panel=OBSERVABLE, help="Reorientation of the O-H bonds too."
    )],
    "fit": option(
        str, "Window of the fits in ps, such as 1:10.", OBSERVABLE,
        "from 1, or where residence begins, to the longest lag", metavar="FROM:TO",
    ),
    "max_lag": option(float, "Longest lag in ps.", OBSERVABLE, "a part of the run"),
    "charges": option(
        str, "Charges in e by element, such as O=-0.8476,H=0.4238,Pt=0.", OBSERVABLE,
        "the trajectory's own", metavar="X=Q,...",
    ),
    "net_charge": option(
        str, "A cell that is not neutral: refuse it, give the rest to the electrode or to a "
        "background, or keep it.", OBSERVABLE, "refuse",
        metavar="refuse|electrode|background|keep",
    ),
    "boundary": option(
        str, "Of Poisson's equation: open (vacuum) or periodic.", OBSERVABLE, "auto",
        metavar="auto|open|periodic",
    ),
    "smearing": option(float, "Width of Gaussian charges, A.", OBSERVABLE, "0"),
    "temp": option(
        float, "Temperature in K, for the capacitance from fluctuations.", OBSERVABLE
    ),
}  # fmt: skip

GRID: dict[str, Any] = {
    "valence": option(
        str, "Electrons of each element in the density, such as Pt=10,O=6,H=1.", INPUT,
        metavar="X=N,...",
    ),
    "group": option(str, "Group of an HDF5 file.", INPUT),
    "boundary": option(
        str, "Of Poisson's equation: periodic, or open with vacuum at z = 0.", OBSERVABLE,
        "periodic", metavar="open|periodic",
    ),
    "smearing": option(float, "Width of the Gaussian ions, A.", OBSERVABLE, "0.3"),
}  # fmt: skip
