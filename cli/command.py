"""Command class that answers misuse of the command line with one line and status 2."""

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from voltase.cli.terminal import BAD_INPUT

# The base of all complaints about a command line; typer exports none of its ancestors by name.
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]


class _OneLineMain:
    """Runs a command so that misuse of the command line is one line and status 2."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command and leave the process with its status."""
        alone = options.get("standalone_mode", True)
        options["standalone_mode"] = False
        if not alone:
            return super().main(*args, **options)  # type: ignore[misc]
        try:
            status = super().main(*args, **options)  # type: ignore[misc]
        except _UsageError as error:
            message = getattr(error, "format_message", error.__str__)()
            typer.echo(f"error: {' '.join(message.split())}", err=True)
            status = BAD_INPUT
        sys.exit(status)


class OneLineGroup(_OneLineMain, TyperGroup):
    """A command with subcommands, each of class `OneLineCommand`."""


class OneLineCommand(_OneLineMain, TyperCommand):
    """A command whose usage errors are one line, and whose options never swallow one another.

    For ``typer.Typer().command(cls=OneLineCommand)``.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Check that no option takes the next one for its value, then parse."""
        self._check_values(args)
        return super().parse_args(ctx, args)

    def _check_values(self, args: Sequence[str]) -> None:
        options = (param for param in self.params if param.param_type_name == "option")
        with_value = {
            name for option in options if not getattr(option, "is_flag", False)
            for name in option.opts
        }  # fmt: skip
        expecting = None
        for arg in args:
            if expecting is not None:
                if arg.startswith("--") or arg == "":
                    found = f"the option {arg}" if arg else "an empty text"
                    raise typer.BadParameter(f"{expecting}: got {found}, expected a value")
                expecting = None
            elif arg == "--":
                return
            elif arg in with_value:
                expecting = arg
