"""``pe-build``: an interface from a bulk crystal, a facet and water."""

from pathlib import Path
from typing import Annotated

import typer

from voltase.cli import options
from voltase.cli.command import OneLineCommand
from voltase.cli.options import in_panel
from voltase.cli.terminal import log_warnings, one_line_errors

SLAB, WATER, CELL, OUTPUT = "Slab", "Water", "Cell", "Output"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    "pe-build",
    cls=OneLineCommand,
    epilog="Exit status: 0 built; 2 unusable input, nothing written.",
)
def pe_build(
    crystal: Annotated[
        str | None,
        typer.Argument(
            help="An element, RuO2, IrO2, GeO2 or SnO2 (rutile), or any file with a crystal that "
            "ASE reads, such as a CIF.",
            show_default=False,
        ),
    ] = None,
    facet: Annotated[
        str | None,
        typer.Argument(
            help="Miller indices in the standard cell: 111, 1-10, (-110), 10-10.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        int | None,
        in_panel("Planes of atoms in metals; O-M2O2-O in rutile(110).", SLAB, "4"),
    ] = None,
    supercell: Annotated[
        str | None,
        in_panel("3x2, c(2x2), root3xroot3R30, 2xroot3rect or a matrix 2,1,-1,1.", SLAB, "1x1",
                metavar="CELL"),
    ] = None,
    termination: Annotated[
        str | None,
        in_panel("Index or name, see --list-terminations.", SLAB, "the first", metavar="NAME"),
    ] = None,
    whole_layers: Annotated[
        bool | None,
        typer.Option("--whole-layers", rich_help_panel=SLAB, show_default=False,
                     help="Whole layers, even if the faces then differ."),
    ] = None,
    a: Annotated[
        float | None, in_panel("Lattice constant in A.", SLAB, "the crystal's")
    ] = None,
    c: Annotated[
        float | None, in_panel("Lattice constant in A.", SLAB, "the crystal's")
    ] = None,
    fix: Annotated[
        int | None,
        in_panel("Layers held by FixAtoms: the lowest, or the middle ones if both faces are wet.",
                SLAB, "half of them"),
    ] = None,
    adsorb: Annotated[
        list[str] | None,
        in_panel("What sits on a kind of site, and how many times; see --list-sites. May be "
                "repeated.", SLAB, metavar="OH@top:2"),
    ] = None,
    thickness: Annotated[float | None, in_panel("Of each film of water in A.", WATER)] = None,
    waters: Annotated[int | None, in_panel("Molecules in each film.", WATER)] = None,
    density: Annotated[float | None, in_panel("In g/cm3.", WATER, "0.997")] = None,
    ions: Annotated[
        str | None,
        in_panel("In each film, in place of water.", WATER, metavar="Na+:1,ClO4-:1"),
    ] = None,
    water_on: Annotated[
        str | None,
        in_panel("top, both (films beyond both faces), or between (the faces of a cell without "
                "vacuum).", WATER, "top", metavar="[top|both|between]"),
    ] = None,
    gap: Annotated[
        float | None,
        in_panel("From the outermost atoms of the slab to the film, in A.", WATER, "2.3"),
    ] = None,
    sweeps: Annotated[
        int | None, in_panel("Attempts to move each molecule.", WATER, "500")
    ] = None,
    seed: options.Seed = None,
    vacuum: Annotated[float | None, in_panel("In A.", CELL, "12")] = None,
    out: Annotated[
        Path | None,
        in_panel("Any format that ASE writes; a summary, NAME.yaml, goes beside it.", OUTPUT,
                "CRYSTAL-FACET.extxyz", metavar="FILE"),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", help="ASE's name of the format.", rich_help_panel=OUTPUT,
                     show_default="by the name", metavar="NAME"),
    ] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw it, with its sites: NAME.png.",
                           rich_help_panel=OUTPUT),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files of these names.",
                           rich_help_panel=OUTPUT),
    ] = False,
    list_terminations: Annotated[
        bool, typer.Option("--list-terminations", help="Show how the facet may end, and leave.",
                           rich_help_panel=OUTPUT),
    ] = False,
    list_sites: Annotated[
        bool, typer.Option("--list-sites", help="Show the adsorption sites, and leave.",
                           rich_help_panel=OUTPUT),
    ] = False,
    config: Annotated[
        Path | None,
        in_panel("Any of these options from a YAML file; the command line wins.", OUTPUT,
                metavar="FILE"),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print errors only.", rich_help_panel=OUTPUT)
    ] = False,
    debug: options.Debug = False,
    version: options.Version = False,
) -> None:  # fmt: skip
    """Build a slab with a facet, under water with ions.

    For example: pe-build Pt 111 --supercell 4x4 --thickness 15 --ions Na+ --plot
    """
    arguments = {name: value for name, value in locals().items() if value is not None}
    if not quiet:
        log_warnings()
    with one_line_errors(debug):
        from voltase.cli.build_run import Output, list_of, read_settings, run

        settings, places = read_settings(arguments, config)
        if list_terminations or list_sites:
            typer.echo(list_of("terminations" if list_terminations else "sites", settings, places))
            return
        output = Output.resolve(places, settings, out, format_, plot=plot, overwrite=overwrite)
        report = run(settings, places, output, quiet=quiet)
        if not quiet:
            typer.echo(report)


def main() -> None:
    """Entry point of the ``pe-build`` command."""
    app(prog_name="pe-build")


if __name__ == "__main__":
    main()
