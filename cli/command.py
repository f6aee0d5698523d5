"""Command class that answers misuse of the command line with one line and status 2."""

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from voltase.cli.terminal import BAD_INPUT, INTERRUPTED

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
            if isinstance(error, typer.BadParameter) and error.param is None:
                # Ours: it names the option already.
                message = error.message
            typer.echo(f"error: {' '.join(message.split())}", err=True)
            status = BAD_INPUT
        except typer.Abort:
            typer.echo("interrupted", err=True)
            status = INTERRUPTED
        sys.exit(status)


class OneLineGroup(_OneLineMain, TyperGroup):
    """A command with subcommands, each of class `OneLineCommand`."""


class OneLineCommand(_OneLineMain, TyperCommand):
    """A command whose usage errors are one line, and whose options never swallow one another.

    For ``typer.Typer().command(cls=OneLineCommand)``.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Check that no value is empty and no option takes the next one for its own, then parse."""
        given = self._check_values(args)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            name = next((n for n in getattr(error.param, "opts", ()) if n in given), None)
            if name is None:
                raise
            expected = _expected(error.message)
            raise typer.BadParameter(f"{name}: got {given[name]!r}, {expected}") from error

    def _check_values(self, args: Sequence[str]) -> dict[str, str]:
        """The last value of each option, as it was written."""
        options = (param for param in self.params if param.param_type_name == "option")
        with_value = {
            name for option in options if not getattr(option, "is_flag", False)
            for name in option.opts
        }  # fmt: skip
        given: dict[str, str] = {}
        expecting, only_arguments = None, False
        for arg in args:
            name, equals, value = arg.partition("=")
            if expecting is not None:
                if arg.startswith("--"):
                    raise typer.BadParameter(f"{expecting}: got the option {arg}, expected a value")
                given[expecting], expecting = arg, None
            elif only_arguments or not arg.startswith("-"):
                given[self._argument] = arg
            elif arg == "--":
                only_arguments = True
            elif arg in with_value:
                expecting = arg
            elif equals and name in with_value:
                given[name] = value
            empty = next((name for name, text in given.items() if not text.strip()), None)
            if empty is not None:
                raise typer.BadParameter(f"{empty}: got an empty text, expected a value")
        return given

    @property
    def _argument(self) -> str:
        arguments = (p.name or "" for p in self.params if p.param_type_name == "argument")
        return next(arguments, "argument").upper()


def _expected(message: str) -> str:
    """What the parser wanted instead of a value."""
    for words, expected in (("integer", "a whole number"), ("number", "a number"),
                            ("float", "a number")):  # fmt: skip
        if f"valid {words}" in message:
            return f"expected {expected}"
    return f"which does not fit ({message})"
