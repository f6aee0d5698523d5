"""``pe-train loop``: active learning, from a first committee to one that knows its surroundings."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from voltase.aseplugin.errors import InputError, VoltaseError
from voltase.cli import options
from voltase.cli.config import build, check_section, read_yaml
from voltase.cli.stopping import StopRequest
from voltase.cli.summary import RunSummary
from voltase.cli.terminal import (
    Bar,
    log_file,
    log_warnings,
    one_line_errors,
    progress_bar,
    say,
)

if TYPE_CHECKING:
    from voltase.aseplugin.active_learning.config import LoopConfig
    from voltase.aseplugin.active_learning.progress import Progress
    from voltase.aseplugin.active_learning.rounds import ActiveLearning, LoopOutcome

_SOME_CHARGE = 0.1  # e
EPILOG = (
    "Keys of the settings: init, structures, out, device, threads, seed, held_out, and the "
    "sections data, sampling, selection, labelling, model, training, stop, card. Each round's data "
    "and model stay in DIR/round-000, ...; DIR/rounds.csv and rounds.png have the errors."
)


def loop(
    config: options.ConfigFile = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the loop.", metavar="DIR", show_default="active-learning"),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint or bundled model with a committee, to begin with.",
            metavar="CHECKPOINT",
        ),
    ] = None,
    max_rounds: Annotated[
        int | None, typer.Option(help="Rounds at most, earlier ones included.", show_default="5")
    ] = None,
    seed: options.Seed = None,
    device: options.Device = None,
    threads: options.Threads = None,
    debug: options.Debug = False,
) -> None:
    """Sample with a committee, label what it is unsure of, retrain, judge; round after round.

    Killed or stopped, the same command goes on with the step it was in.
    """
    log_warnings()
    given = {
        "out": None if out is None else str(out),
        "init": init,
        "seed": seed,
        "device": device,
        "threads": threads,
    }
    with one_line_errors(debug):
        _loop(_settings(config, given, max_rounds))


def _settings(path: Path | None, given: Mapping[str, Any], max_rounds: int | None) -> "LoopConfig":
    """Settings of the file, overridden by the options that were given."""
    from voltase.aseplugin.active_learning.config import LoopConfig

    tree = {} if path is None else read_yaml(path)
    tree.update({name: value for name, value in given.items() if value is not None})
    if max_rounds is not None:
        stop = tree.get("stop") or {}
        if isinstance(stop, dict):
            tree["stop"] = {**stop, "max_rounds": max_rounds}
    if "sampling" not in tree:
        raise InputError("sampling: found none, expected a section with potentials")
    empty = {name for name, value in tree.items() if value is None}
    hints = get_type_hints(LoopConfig)
    for name in empty & {f.name for f in fields(LoopConfig) if is_dataclass(hints[f.name])}:
        tree[name] = {}
    return build(LoopConfig, check_section(LoopConfig, tree, "config"), "config")


def _loop(config: "LoopConfig") -> None:
    from voltase.cli.md_folder import locked, make_folder

    say("reading models and data")
    learning = _prepared(config)
    folder = Path(config.out)
    make_folder(folder)
    summary = RunSummary(folder / "summary.yaml", "pe-train loop", asdict(config))
    stop = StopRequest("stopping at the next point where nothing is lost; once more to stop now")
    with locked(folder), log_file(folder / "loop.log"), stop:
        summary.write("running")
        try:
            with progress_bar("active learning", None) as bar:
                outcome = learning.run(_progress(bar, stop))
        except VoltaseError as error:
            summary.write(f"failed: {error}")
            raise
        except KeyboardInterrupt:
            summary.write("interrupted")
            raise
        _finish(outcome, summary)
    if outcome.status == "interrupted":
        say(f"interrupted; what is done is in {config.out}, the same command goes on from there")
        raise typer.Exit(stop.exit_code)


def _prepared(config: "LoopConfig") -> "ActiveLearning":
    """The loop, with all that can be wrong with its settings found out."""
    from voltase.aseplugin.active_learning.labelling import EngineLabeller
    from voltase.aseplugin.active_learning.rounds import ActiveLearning
    from voltase.aseplugin.labelling.engine_spec import EngineSpec
    from voltase.cli.md_molecules import count_molecules
    from voltase.cli.md_structure import read_structure

    labelling = config.labelling
    try:
        spec = EngineSpec(labelling.engine, labelling.settings)
        # Refused by a code, or by settings of it, in which no frame of the loop could be labelled.
        spec.make().excess_electrons = _SOME_CHARGE
    except InputError as error:
        raise InputError(f"labelling.{error}") from error
    labeller = EngineLabeller(spec, labelling.config_type, densities=labelling.densities,
                              workers=labelling.workers, scheduler=labelling.scheduler)  # fmt: skip
    wanted: list[str | None] = [*config.structures] or [None]
    structures = [read_structure(structure, config.init) for structure in wanted]
    count = count_molecules if config.sampling.molecules else None
    return ActiveLearning(config, structures, labeller, count)


def _progress(bar: Bar, stop: StopRequest) -> "Progress":
    import logging

    from voltase.aseplugin.active_learning.progress import Progress

    logger = logging.getLogger(__name__)

    def tell(line: str) -> None:
        logger.info(line)
        say(line)

    def show(text: str, done: int, total: int) -> None:
        bar(done, total=total, text=text)

    return Progress(show, tell, stop)


def _finish(outcome: "LoopOutcome", summary: RunSummary) -> None:
    rows = [asdict(row) for row in outcome.rows]
    status = f"{outcome.status}: {outcome.why}" if outcome.why else outcome.status
    summary.write(status, model=str(outcome.model), rounds=rows)
    if outcome.status != "interrupted":
        say(f'{status}; the model is in {outcome.model}: PEMACE("{outcome.model}")')
