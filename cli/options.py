"""Options that several commands share, each described once."""

from pathlib import Path
from typing import Annotated

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
