"""``pe-md``: molecular dynamics at constant electrode potential."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voltase.aseplugin.errors import InputError
from voltase.cli import options
from voltase.cli.command import OneLineCommand
from voltase.cli.md_settings import MDSettings
from voltase.cli.terminal import log_warnings, one_line_errors, say

if TYPE_CHECKING:
    from voltase.cli.md_run import Outcome
    from voltase.cli.stopping import StopRequest

DEFAULT = MDSettings()

SYSTEM, DYNAMICS, OUTPUT, MACHINE = "System", "Dynamics", "Output", "Machine"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    "pe-md",
    cls=OneLineCommand,
    epilog="Exit status: 0 complete; 2 unusable input, nothing written; 3 the run had to stop "
    "(explosion, lost atoms, outside the trained range), the message names step and frame; "
    "130 or 143 stopped by Ctrl-C or SIGTERM, with a checkpoint.",
)
def pe_md(
    structure: Annotated[
        str | None,
        typer.Argument(
            help="Any file that ASE reads; its last frame, or path@index. "
            "By default the interface that comes with the model.",
            show_default=False,
        ),
    ] = None,
    potential: Annotated[
        str | None,
        typer.Option(
            help="Electrode potential: -0.5V, 250mV, a ramp -1V:0.5V, steps 0V@0,0.5V@1000, or "
            "a list -0.5V,0V,0.5V, which makes a run for each and their charging curve.",
            show_default=False,
            metavar="U",
            rich_help_panel=SYSTEM,
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="What the potential counts from: SHE, absolute, RHE, Ag/AgCl or SCE.",
            show_default=DEFAULT.reference,
            metavar="NAME",
            rich_help_panel=SYSTEM,
        ),
    ] = None,
    ph: Annotated[
        float | None,
        typer.Option(
            "--ph", help="pH, for --reference RHE.", show_default=False, rich_help_panel=SYSTEM
        ),
    ] = None,
    she_absolute: Annotated[
        float | None,
        typer.Option(
            help="Absolute potential of the SHE in V.",
            show_default="4.44",
            rich_help_panel=SYSTEM,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A bundled model, or the folder of a checkpoint.",
            show_default=DEFAULT.model,
            metavar="NAME|PATH",
            rich_help_panel=SYSTEM,
        ),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(
            help="Which of the model's reference codes answers.",
            show_default="the model's choice",
            metavar="NAME",
            rich_help_panel=SYSTEM,
        ),
    ] = None,
    allow_extrapolation: Annotated[
        bool | None,
        typer.Option(
            "--allow-extrapolation",
            help="Go on outside the model's trained range of potential or charge.",
            show_default=False,
            rich_help_panel=SYSTEM,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Number of the last step; a restart goes on to it.",
            show_default=str(DEFAULT.steps),
            rich_help_panel=DYNAMICS,
        ),
    ] = None,
    timestep: Annotated[
        float | None,
        typer.Option(help="In fs.", show_default=str(DEFAULT.timestep), rich_help_panel=DYNAMICS),
    ] = None,
    temp: Annotated[
        float | None,
        typer.Option(
            help="Temperature of ions and electrons in K.",
            show_default=f"{DEFAULT.temp:g}",
            rich_help_panel=DYNAMICS,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="How n follows the potential: bonnet-otani, newton or thermopotentiostat; direct "
            "for a model that takes the potential.",
            show_default="bonnet-otani or direct",
            metavar="NAME",
            rich_help_panel=DYNAMICS,
        ),
    ] = None,
    period: Annotated[
        float | None,
        typer.Option(
            help="bonnet-otani: period of n in fs.", show_default="150", rich_help_panel=DYNAMICS
        ),
    ] = None,
    potentiostat_tau: Annotated[
        float | None,
        typer.Option(
            help="bonnet-otani, thermopotentiostat: time constant of n in fs.",
            show_default="200, 100",
            rich_help_panel=DYNAMICS,
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="newton: largest deviation of the potential in V before a correction.",
            show_default="0.01",
            rich_help_panel=DYNAMICS,
        ),
    ] = None,
    thermostat: Annotated[
        str | None,
        typer.Option(
            help="Of the ions: langevin, svr, nose-hoover or nve.",
            show_default=DEFAULT.thermostat,
            metavar="NAME",
            rich_help_panel=DYNAMICS,
        ),
    ] = None,
    tau: Annotated[
        float | None,
        typer.Option(
            help="Its time constant in fs; the friction is 1/tau.",
            show_default="100",
            rich_help_panel=DYNAMICS,
        ),
    ] = None,
    seed: options.Seed = None,
    max_temp: Annotated[
        float | None,
        typer.Option(
            help="Stop when the ions are hotter, in K.",
            show_default="3000, or ten times --temp",
            rich_help_panel=DYNAMICS,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run.",
            show_default="pe-md_NAME_POTENTIAL",
            metavar="DIR",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Go on with the run in DIR, as if it had never stopped; other options may be left "
            "out.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the run in DIR.", rich_help_panel=OUTPUT),
    ] = False,
    traj: Annotated[
        str | None,
        typer.Option(
            help="Name of the trajectory in DIR: .traj, .extxyz or .xyz.",
            show_default=DEFAULT.traj,
            metavar="NAME",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    traj_every: Annotated[
        int | None,
        typer.Option(
            help="In steps.", show_default=str(DEFAULT.traj_every), rich_help_panel=OUTPUT
        ),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            help="Name of the log in DIR, as CSV.",
            show_default=DEFAULT.log,
            metavar="NAME",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    log_every: Annotated[
        int | None,
        typer.Option(help="In steps.", show_default=str(DEFAULT.log_every), rich_help_panel=OUTPUT),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            help="In steps.", show_default=str(DEFAULT.checkpoint_every), rich_help_panel=OUTPUT
        ),
    ] = None,
    committee_every: Annotated[
        int | None,
        typer.Option(
            help="Evaluate the committee's spread of the forces every so many steps.",
            show_default="never",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    equilibration: Annotated[
        int | None,
        typer.Option(
            help="Steps that the averages leave out.",
            show_default="a fifth of the run",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    device: options.Device = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32 or float64.",
            show_default=DEFAULT.dtype,
            metavar="NAME",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Threads; below 500 atoms one is as fast as several.",
            show_default="1 below 500 atoms, else torch's choice",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Any of these options from a YAML file; the command line wins.",
            show_default=False,
            metavar="FILE",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", help="Print errors only.", rich_help_panel=MACHINE),
    ] = False,
    debug: options.Debug = False,
    version: options.Version = False,
) -> None:
    """Molecular dynamics of an electrode at constant potential.

    For example: pe-md --potential -0.5V --steps 2000 --out demo
    """
    arguments = {name: value for name, value in locals().items() if value is not None}
    given = {name: arguments[name] for name in MDSettings.__annotations__ if name in arguments}
    if not quiet:
        log_warnings()
    with one_line_errors(debug):
        _pe_md(given, out, config, restart=restart, overwrite=overwrite, quiet=quiet)


def _pe_md(
    given: dict[str, Any],
    out: Path | None,
    config: Path | None,
    *,
    restart: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    if restart and overwrite:
        raise InputError("--restart: got --overwrite too, expected one of them")
    if config is not None:
        from voltase.cli.md_settings import read_config

        given = read_config(config) | given
        folder = given.pop("out", None)
        out = Path(folder) if out is None and folder is not None else out

    from voltase.cli.stopping import StopRequest

    with StopRequest("stopping after this step; once more to stop at once") as stop:
        outcome = _restart(given, out, stop, quiet) if restart else None
        if outcome is None:
            outcome = _start(given, out, stop, overwrite, quiet)
        _end(outcome, stop, quiet)


def _start(
    given: dict[str, Any], out: Path | None, stop: "StopRequest", overwrite: bool, quiet: bool
) -> "Outcome":
    from voltase.cli.md_settings import resolve

    settings = resolve(given)
    folder = default_folder(settings) if out is None else out
    # Only now torch and the rest: a slip in an option is reported at once.
    if settings.schedule().kind == "series":
        from voltase.cli.md_series import run_series as run
    else:
        from voltase.cli.md_run import start_run as run

    return run(settings, folder, stop, overwrite=overwrite, quiet=quiet)


def _restart(
    given: dict[str, Any], out: Path | None, stop: "StopRequest", quiet: bool
) -> "Outcome | None":
    """Go on with a run; None if there is none yet, but enough is known to start it."""
    from voltase.cli.md_folder import read_summary
    from voltase.cli.md_settings import settings_for_restart

    folder = _only_run() if out is None and "potential" not in given else _folder(given, out)
    recorded = read_summary(folder)
    if recorded is None:
        if "potential" not in given:
            raise InputError(f"--restart: no run in {folder}, expected one")
        if not quiet:
            say(f"no run in {folder} yet: starting it")
        return None
    settings = settings_for_restart(given, recorded["options"])
    if "runs" in recorded:
        from voltase.cli.md_series import restart_series

        return restart_series(settings, given, folder, stop, quiet=quiet)

    from voltase.cli.md_run import restart_run

    outcome = restart_run(settings, folder, stop, quiet=quiet)
    if outcome is None:
        if not quiet:
            typer.echo(f"complete already: step {recorded['step']} of the run in {folder}")
        raise typer.Exit(0)
    return outcome


def _folder(given: dict[str, Any], out: Path | None) -> Path:
    from voltase.cli.md_settings import resolve

    return default_folder(resolve(given)) if out is None else out


def default_folder(settings: MDSettings) -> Path:
    """A name that says which structure is at which potential."""
    name = Path(settings.structure or settings.model).name.partition("@")[0]
    potential = settings.potential.replace(":", "_to_").replace(",", "_").replace("@", "at")
    return Path(f"pe-md_{re.sub('[^A-Za-z0-9.+-]', '-', Path(name).stem)}_{potential}")


def _only_run() -> Path:
    """The one folder of a run in the current folder."""
    found = sorted(path.parent for path in Path().glob("pe-md_*/summary.yaml"))
    if len(found) != 1:
        which = ", ".join(map(str, found)) or "none"
        raise InputError(f"--restart: found {which} here, expected --out to name the run")
    return found[0]


def _end(outcome: "Outcome", stop: "StopRequest", quiet: bool) -> None:
    """Report and leave with the status that fits."""
    from voltase.cli.md_run import INTERRUPTED, STOPPED_BY_PHYSICS

    if not quiet:
        typer.echo(outcome.report)
    if outcome.problem:
        typer.echo(f"error: {outcome.problem}", err=True)
        raise typer.Exit(STOPPED_BY_PHYSICS)
    if outcome.status == INTERRUPTED:
        say(f"interrupted: pe-md --restart --out {outcome.folder} goes on from here")
        raise typer.Exit(stop.exit_code)


def main() -> None:
    """Entry point of the ``pe-md`` command."""
    app(prog_name="pe-md")


if __name__ == "__main__":
    main()
