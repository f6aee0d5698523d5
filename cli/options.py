"""Options that several commands share, each described once."""

from pathlib import Path
from typing import Annotated, Any

import typer

ConfigFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[CONFIG.yaml]",
        help="Settings in YAML; an option on the command line wins over the file.",
        show_default=False,
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of all random numbers.", show_default="0")]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda or cuda:N.", show_default="cpu", metavar="DEVICE")
]
Threads = Annotated[
    int | None, typer.Option(help="Threads of each process.", show_default="torch's choice")
]
Restart = Annotated[
    bool | None,
    typer.Option(
        "--restart/--no-restart",
        help="Go on from the state of an earlier run of the same settings, or start afresh.",
        show_default="restart",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show where in the code an error arose.")]


def show_version(wanted: bool) -> None:
    """Print the version and leave, if asked to."""
    if wanted:
        import voltase

        typer.echo(f"voltase {voltase.__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=show_version, is_eager=True, help="Show the version and exit."
    ),
]


def in_panel(help_: str, panel: str, default: str | None = None, **more: Any) -> Any:
    """An option in a panel of the help, and a word on its default."""
    return typer.Option(help=help_, rich_help_panel=panel, show_default=default or False, **more)
