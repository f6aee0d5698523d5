"""``pe-charges``: charges and electrochemical potentials of the fragments in a trajectory."""

from pathlib import Path
from typing import Annotated

import typer

from voltase.cli import options
from voltase.cli.command import OneLineCommand
from voltase.cli.options import in_panel
from voltase.cli.terminal import log_warnings, one_line_errors

MODEL, CHARGE, OUTPUT = "Model", "Charge", "Output"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    "pe-charges",
    cls=OneLineCommand,
    epilog="Files in DIR: charges.extxyz (frames with charges, potentials and fragments), "
    "frames.csv, profile.csv, charges.npz, charges.png, summary.yaml. Exit status: 0 written; 2 "
    "unusable input.",
)
def pe_charges(
    trajectory: Annotated[
        str | None,
        typer.Argument(
            metavar="TRAJ",
            help="File that ASE reads: all frames, or those of a slice, md.traj@::10.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        in_panel("Soft-FQEq checkpoint or bundled model.", MODEL, "pt111-water-fqeq",
                metavar="CHECKPOINT"),
    ] = None,
    with_global: Annotated[
        bool,
        typer.Option("--global/--no-global", rich_help_panel=MODEL,
                     help="Compare with charge that flows between all atoms."),
    ] = True,
    device: options.Device = None,
    electrons: Annotated[
        float | None,
        in_panel("Excess electrons n in e.", CHARGE, "that of each frame, or 0"),
    ] = None,
    potential: Annotated[
        str | None,
        in_panel("Instead, the potential that the electrode is held at.", CHARGE,
                metavar="-0.5V"),
    ] = None,
    reference: Annotated[
        str | None,
        in_panel("What it counts from: SHE, absolute, Ag/AgCl or SCE.", CHARGE, "SHE",
                metavar="NAME"),
    ] = None,
    plates: Annotated[
        bool,
        typer.Option("--plates", rich_help_panel=CHARGE,
                     help="The cell is neutral between two plates: n is on the wetted side, and "
                     "as many electrons are missing on the other side."),
    ] = False,
    counter_height: Annotated[
        float | None,
        in_panel("Height in A of the plane of the counter charge above the middle of the "
                "electrode.", CHARGE, "the model's"),
    ] = None,
    bin_width: Annotated[
        float | None, typer.Option("--bin", help="Of the profile, in A.", show_default="0.5",
                                   rich_help_panel=OUTPUT),
    ] = None,
    out: Annotated[
        Path | None,
        in_panel("Folder of the results.", OUTPUT, "pe-charges_TRAJ", metavar="DIR"),
    ] = None,
    debug: options.Debug = False,
    version: options.Version = False,
) -> None:  # fmt: skip
    """Charges and the profile of the electrochemical potential, fragment by fragment.

    For example: pe-charges run/md.traj@::10 --out charges
    """
    log_warnings()
    with one_line_errors(debug):
        from voltase.cli.charges_run import ChargesSettings, run

        settings = ChargesSettings.of(
            trajectory=trajectory, model=model, with_global=with_global, device=device,
            electrons=electrons, potential=potential, reference=reference, plates=plates,
            counter_height=counter_height, bin_width=bin_width,
            out=None if out is None else str(out),
        )  # fmt: skip
        typer.echo(run(settings))


def main() -> None:
    """Entry point of the ``pe-charges`` command."""
    app(prog_name="pe-charges")


if __name__ == "__main__":
    main()
