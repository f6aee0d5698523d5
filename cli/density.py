"""``pe-density``: electron densities along a trajectory at any potential, and Bader charges."""

from pathlib import Path
from typing import Annotated, Any

import typer

from voltase.cli import options
from voltase.cli.command import OneLineCommand, OneLineGroup
from voltase.cli.density_bader import bader
from voltase.cli.options import in_panel
from voltase.cli.terminal import log_warnings, one_line_errors

ELECTRODE, FRAMES, OUTPUT = "Electrode", "Frames and grid", "Output"


class _DefaultGroup(OneLineGroup):
    """A group whose first argument may be a structure: then it is ``predict``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the command's name where none was given."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "--version"):
            args = ["predict", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_DefaultGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Electron densities on a grid: pe-density TRAJ is short for pe-density predict TRAJ.",
)


@app.callback()
def _pe_density(version: options.Version = False) -> None:
    pass


@app.command(
    cls=OneLineCommand,
    epilog="Writes profiles.csv (of the last frame), profiles.npz (of all), states.csv, pictures "
    "and summary.yaml. Exit status: 0 done, 2 unusable input or outside the trained range, 130 "
    "and 143 if asked to stop, with the profiles of the frames that were done.",
)
def predict(
    structures: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TRAJ...",
            help="Files that ASE reads: all frames of each, or those of a slice, md.traj@-1.",
            show_default=False,
        ),
    ] = None,
    potential: Annotated[
        str | None,
        in_panel("Electrode potentials.", ELECTRODE, metavar="-0.5V,0V,0.5V"),
    ] = None,
    electrons: Annotated[
        str | None,
        in_panel("Instead, excess electrons n in e.", ELECTRODE, metavar="-0.3,0,0.3"),
    ] = None,
    reference: Annotated[
        str | None,
        in_panel("What potentials count from: SHE, absolute, RHE, Ag/AgCl or SCE.", ELECTRODE,
                 "SHE", metavar="NAME"),
    ] = None,
    ph: Annotated[
        float | None,
        typer.Option("--ph", help="pH, for --reference RHE.", show_default=False,
                     rich_help_panel=ELECTRODE),
    ] = None,
    model: Annotated[
        str | None,
        in_panel("Bundled model or checkpoint.", ELECTRODE, "pt111-water-edp", metavar="NAME"),
    ] = None,
    domain: Annotated[
        str | None,
        in_panel("Whose potentials are meant, of the reference codes of the model's trunk.",
                 ELECTRODE, "that of the training data", metavar="NAME"),
    ] = None,
    allow_extrapolation: Annotated[
        bool,
        typer.Option("--allow-extrapolation", rich_help_panel=ELECTRODE,
                     help="Answer outside the trained range of potential and charge."),
    ] = False,
    every: Annotated[
        int | None, in_panel("Take every N-th frame.", FRAMES, "1", metavar="N")
    ] = None,
    spacing: Annotated[
        float | None, in_panel("Largest distance of grid points, A.", FRAMES, "0.15")
    ] = None,
    threads: options.Threads = None,
    out: Annotated[
        Path | None, in_panel("Folder of the output.", OUTPUT, "density", metavar="DIR")
    ] = None,
    write: Annotated[
        str | None,
        in_panel("Also write each density: cube, chgcar or h5.", OUTPUT, "profiles only",
                 metavar="[cube|chgcar|h5]"),
    ] = None,
    response: Annotated[
        bool,
        typer.Option("--response", rich_help_panel=OUTPUT,
                     help="Also d rho/dU: its profile, and with --write its grid."),
    ] = False,
    windows: Annotated[
        str | None,
        in_panel("Windows of the macroscopic average, A: a layer of the metal and one more.",
                 OUTPUT, "2.29,0", metavar="W,W"),
    ] = None,
    no_pictures: Annotated[
        bool, typer.Option("--no-pictures", help="Draw nothing.", rich_help_panel=OUTPUT)
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", rich_help_panel=OUTPUT,
                     help="Replace the results of an earlier run in DIR."),
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
) -> None:  # fmt: skip
    """Predict densities along a trajectory at one or several potentials.

    For example: pe-density md.traj --potential -0.5V,0V,0.5V --every 10
    """
    # Not "in (None, False)", which zero would be.
    arguments = {k: v for k, v in locals().items() if v is not None and v is not False}
    if not quiet:
        log_warnings()
    with one_line_errors(debug):
        from voltase.cli.density_run import read_settings, run

        status = run(read_settings(arguments, config), quiet=quiet)
    if status:
        raise typer.Exit(status)


app.command("bader", cls=OneLineCommand)(bader)


def main() -> None:
    """Entry point of the ``pe-density`` command."""
    app(prog_name="pe-density")


if __name__ == "__main__":
    main()
