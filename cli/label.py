"""``pe-label``: labels from an electronic-structure code, at electron numbers or potentials."""

from pathlib import Path
from typing import Annotated

import typer

from voltase.cli import options
from voltase.cli.command import OneLineCommand
from voltase.cli.options import in_panel
from voltase.cli.terminal import log_warnings, one_line_errors

POINTS, CODE, MACHINE, OUTPUT = "Points", "Code", "Machine", "Output"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    "pe-label",
    cls=OneLineCommand,
    epilog="Killed or stopped with Ctrl-C, the same command goes on; other structures and points "
    "are added to what is there. Exit status: 0 labelled, failed points are listed; 1 if all "
    "failed; 2 unusable input; 130 and 143 if asked to stop.",
)
def pe_label(
    structures: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files that ASE reads: all frames of each, or those of a slice, md.traj@::10.",
            show_default=False,
        ),
    ] = None,
    electrons: Annotated[
        str | None,
        in_panel("Excess electrons n in e; own is the number that comes with each frame.", POINTS,
                metavar="-0.3,0,0.3"),
    ] = None,
    surface_charge: Annotated[
        str | None,
        in_panel("Instead, in uC/cm2 over the face of the cell.", POINTS, metavar="-10,0,10"),
    ] = None,
    potential: Annotated[
        str | None,
        in_panel("Potentials, whose n is solved for; the points on the way are labels too.", POINTS,
                metavar="-0.5V,0V,0.5V"),
    ] = None,
    reference: Annotated[
        str | None,
        in_panel("What potentials count from: SHE, absolute, RHE, Ag/AgCl or SCE.", POINTS, "SHE",
                metavar="NAME"),
    ] = None,
    ph: Annotated[
        float | None,
        typer.Option("--ph", help="pH, for --reference RHE.", show_default=False,
                     rich_help_panel=POINTS),
    ] = None,
    she_absolute: Annotated[
        float | None, in_panel("Absolute potential of the SHE in V.", POINTS, "4.44")
    ] = None,
    tolerance: Annotated[
        float | None, in_panel("On a potential that is solved for, V.", POINTS, "0.02")
    ] = None,
    engine: Annotated[
        str | None,
        in_panel("gpaw, vasp, espresso, cp2k, or module:Class of one of yours.", CODE,
                metavar="NAME"),
    ] = None,
    config: Annotated[
        Path | None,
        in_panel("Any of these options from a YAML file, and the engine's arguments under "
                "settings; the command line wins.", CODE, metavar="FILE"),
    ] = None,
    keep_cell: Annotated[
        bool | None,
        typer.Option("--keep-cell", help="For gpaw, which otherwise gets 4 A below the slab and "
                     "7.5 A above the topmost atom.", rich_help_panel=CODE, show_default=False),
    ] = None,
    densities: Annotated[
        bool | None,
        typer.Option("--densities/--no-densities", help="Keep the electron densities.",
                     rich_help_panel=CODE, show_default="where the code gives them"),
    ] = None,
    workers: Annotated[
        int | None,
        in_panel("Processes on this machine, each with a structure; 0 is this process itself, "
                "without dask.", MACHINE, "1"),
    ] = None,
    scheduler: Annotated[
        str | None,
        in_panel("Instead, the workers of this dask scheduler; they have to share the folder.",
                MACHINE, metavar="tcp://HOST:PORT"),
    ] = None,
    out: Annotated[
        Path | None,
        in_panel("Folder of the labels.", OUTPUT, "labels", metavar="DIR"),
    ] = None,
    config_type: Annotated[
        str | None, in_panel("Of the frames.", OUTPUT, "the engine's name", metavar="NAME")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed before.",
                           rich_help_panel=OUTPUT),
    ] = False,
    keep_files: Annotated[
        bool | None,
        typer.Option("--keep-files", help="Keep the code's own files of structures that are done.",
                     rich_help_panel=OUTPUT, show_default=False),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print errors only.", rich_help_panel=OUTPUT)
    ] = False,
    debug: options.Debug = False,
    version: options.Version = False,
) -> None:  # fmt: skip
    """Label structures with density functional theory, at electron numbers or potentials.

    For example: pe-label md.traj@::50 --engine gpaw --electrons -0.3,0,0.3 --workers 4
    """
    arguments = {name: value for name, value in locals().items() if value is not None}
    if not quiet:
        log_warnings()
    with one_line_errors(debug):
        from voltase.cli.label_run import read_settings, run

        settings = read_settings(arguments, config)
        status = run(settings, retry_failed=retry_failed, quiet=quiet)
    raise typer.Exit(status)


def main() -> None:
    """Entry point of the ``pe-label`` command."""
    app(prog_name="pe-label")


if __name__ == "__main__":
    main()
