"""``pe-analyze``: what a trajectory of an interface says about its water."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from voltase.cli.analyze_observables import COMMANDS, options_of
from voltase.cli.analyze_options import (
    COMMON,
    FLAGS,
    FRAMES,
    GRID,
    OUTPUT,
    SPECIFIC,
    Trajectory,
    option,
)
from voltase.cli.command import OneLineCommand, OneLineGroup
from voltase.cli.options import Version
from voltase.cli.terminal import log_warnings, one_line_errors

app = typer.Typer(
    cls=OneLineGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Interfacial water in a trajectory: one observable, or all of them with a report.",
)


@app.callback()
def _main(
    version: Version = False,
) -> None:
    pass


def _with_signature(
    function: Callable[..., None], positional: dict[str, Any], options: dict[str, Any]
) -> Callable[..., None]:
    """A function that typer sees with these parameters."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind, annotation=annotation)
                  for name, annotation in positional.items()]  # fmt: skip
    parameters += [
        inspect.Parameter(name, kind, default=False if name in FLAGS else None, annotation=value)
        for name, value in options.items()
    ]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in parameters}
    return function


def _observable(command: str) -> Callable[..., None]:
    specific = {name: SPECIFIC[name] for name in options_of(command)}

    def run(traj: Path, **options: Any) -> None:
        if not options["quiet"]:
            log_warnings()
        with one_line_errors(options["debug"]):
            from voltase.cli.analyze_run import run_command

            report = run_command(command, traj, options)
            if not options["quiet"]:
                typer.echo(report)

    run.__doc__ = COMMANDS[command].summary
    return _with_signature(run, {"traj": Trajectory}, {**specific, **COMMON})


for _name in COMMANDS:
    app.command(_name, cls=OneLineCommand)(_observable(_name))


def _compare(trajs: list[Path], **options: Any) -> None:
    """Similarity of the water in two or more trajectories: densities, g(r), orientation."""
    if not options["quiet"]:
        log_warnings()
    with one_line_errors(options["debug"]):
        from voltase.cli.analyze_compare import compare_trajectories

        report = compare_trajectories(trajs, options)
        if not options["quiet"]:
            typer.echo(report)


def _series(folder: Path, **options: Any) -> None:
    """Observables against the potential, of the runs of a series that pe-md has made."""
    if not options["quiet"]:
        log_warnings()
    with one_line_errors(options["debug"]):
        from voltase.cli.analyze_compare import analyse_series

        report = analyse_series(folder, options)
        if not options["quiet"]:
            typer.echo(report)


def _grid(file: Path, **options: Any) -> None:
    """Planar averages and potential of an electron density, of a cube or HDF5 file."""
    if not options["quiet"]:
        log_warnings()
    with one_line_errors(options["debug"]):
        from voltase.cli.analyze_grid import analyse_grid

        report = analyse_grid(file, options)
        if not options["quiet"]:
            typer.echo(report)


_FILE = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="Gaussian cube, or HDF5.", show_default=False),
]
_TRAJS = Annotated[
    list[Path],
    typer.Argument(metavar="A B ...", help="Two or more trajectories.", show_default=False),
]
_FOLDER = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", help="Folder of a series of pe-md, or of runs.", show_default=False
    ),
]
_OUT_COMPARE = option(Path, "Folder of the results.", OUTPUT, "pe-analyze_compare", metavar="DIR")
_OUT_GRID = option(Path, "Folder of the results.", OUTPUT, "pe-analyze_FILE", metavar="DIR")
_OUT_SERIES = option(Path, "Folder of the results.", OUTPUT, "analysis in DIR", metavar="OUT")
_START_SERIES = option(int, "First frame.", FRAMES, "behind a fifth of each run")
_LABELS = option(str, "Names in tables and figures.", OUTPUT, "the files'", metavar="A,B,...")
app.command("compare", cls=OneLineCommand)(
    _with_signature(
        _compare,
        {"trajs": _TRAJS},
        {"labels": _LABELS, "layers": SPECIFIC["layers"], **COMMON, "out": _OUT_COMPARE},
    )
)
app.command("series", cls=OneLineCommand)(
    _with_signature(
        _series,
        {"folder": _FOLDER},
        {
            **{name: SPECIFIC[name] for name in ("layers", "charges")},
            **COMMON,
            "out": _OUT_SERIES,
            "start": _START_SERIES,
        },
    )
)
app.command("grid", cls=OneLineCommand)(
    _with_signature(
        _grid,
        {"file": _FILE},
        {**GRID, "out": _OUT_GRID, **{name: COMMON[name] for name in ("quiet", "debug")}},
    )
)


def main() -> None:
    """Entry point of the ``pe-analyze`` command."""
    app(prog_name="pe-analyze")


if __name__ == "__main__":
    main()
