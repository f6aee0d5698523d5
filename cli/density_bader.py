"""``pe-density bader``: Bader charges of a density in a file, of any code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voltase.cli import options
from voltase.cli.options import in_panel
from voltase.cli.terminal import log_warnings, one_line_errors

DIVISION, OUTPUT = "Division", "Output"


def bader(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", show_default=False,
                       help="Cube (bohr^-3), CHGCAR, HDF5 or GPAW's .gpw."),
    ],
    method: Annotated[
        str, in_panel("near-grid, on-grid or weight.", DIVISION, "near-grid", metavar="NAME")
    ] = "near-grid",
    vacuum: Annotated[
        float | None,
        in_panel("Points below this density in e/A^3 belong to no atom.", DIVISION, "none"),
    ] = None,
    valence: Annotated[
        str | None,
        in_panel("Electrons of the neutral atoms, for charges.", DIVISION, metavar="Pt=10,O=6,H=1"),
    ] = None,
    reference: Annotated[
        Path | None,
        in_panel("Density on the same grid that divides the cell: AECCAR0 + AECCAR2 of VASP.",
                 DIVISION, metavar="FILE"),
    ] = None,
    frozen_core: Annotated[
        bool,
        typer.Option("--frozen-core", rich_help_panel=DIVISION,
                     help="Instead, the density with model cores added; needs --valence."),
    ] = False,
    group: Annotated[
        str | None, in_panel("Of an HDF5 file with several densities.", DIVISION, metavar="NAME")
    ] = None,
    out: Annotated[
        Path | None, in_panel("Folder of the output.", OUTPUT, "bader_FILE", metavar="DIR")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", rich_help_panel=OUTPUT,
                     help="Replace the results of an earlier run in DIR."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print errors only.", rich_help_panel=OUTPUT)
    ] = False,
    debug: options.Debug = False,
) -> None:  # fmt: skip
    """Divide a density between its atoms at surfaces of zero flux.

    Writes bader.csv and summary.yaml. For example: pe-density bader CHGCAR --valence Pt=10,O=6,H=1
    """
    settings = dict(locals())
    if not quiet:
        log_warnings()
    with one_line_errors(debug):
        from voltase.cli.density_bader_run import run

        report = run(settings)
        if not quiet:
            typer.echo(report)
