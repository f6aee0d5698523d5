"""``voltase``: what is installed, and which commands there are."""

from importlib.util import find_spec

import typer

from voltase.cli.options import Version

# Command -> the module with its main(), and what the list says of it.
COMMANDS = {
    "pe-md": ("voltase.cli.md", "Run molecular dynamics at constant electrode potential."),
    "pe-train": ("voltase.cli.train", "Train a potential-dependent force field or its charges."),
    "pe-analyze": ("voltase.cli.analyze", "Analyse the water in a trajectory."),
    "pe-build": ("voltase.cli.build", "Build an interface from a crystal, a facet and water."),
    "pe-charges": ("voltase.cli.charges", "Charges and potentials of fragments in a trajectory."),
    "pe-density": ("voltase.cli.density", "Predict and analyse electron densities."),
    "pe-label": ("voltase.cli.label", "Label structures with DFT at charges or potentials."),
}


def available_commands() -> dict[str, str]:
    """The commands this installation contains, with a line on each; imports none of them."""
    return {name: summary for name, (module, summary) in COMMANDS.items() if find_spec(module)}


def _help() -> str:
    rows = [f"  {name:<10} {summary}" for name, summary in available_commands().items()]
    # "\b" keeps the line breaks of the paragraph it begins.
    listing = "\n".join(["\b", "Commands:", *rows])
    return (
        "Molecular dynamics of electrochemical interfaces at constant electrode potential.\n\n"
        f"{listing}\n\nEach command has a --help of its own."
    )


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help=_help())
def _voltase(
    context: typer.Context,
    version: Version = False,
) -> None:
    typer.echo(context.get_help())


def main() -> None:
    """Entry point of the ``voltase`` command."""
    app(prog_name="voltase")


if __name__ == "__main__":
    main()
