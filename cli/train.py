"""``pe-train``: train a potential-dependent force field."""

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voltase.aseplugin.training.config import DataConfig, TrainingConfig
from voltase.cli import options
from voltase.cli.command import OneLineCommand, OneLineGroup
from voltase.cli.config import check_section
from voltase.cli.stopping import StopRequest
from voltase.cli.summary import RunSummary
from voltase.cli.terminal import Bar, log_warnings, one_line_errors, progress_bar, say
from voltase.cli.train_density import EPILOG as DENSITY_EPILOG
from voltase.cli.train_density import density
from voltase.cli.train_fqeq import EPILOG as FQEQ_EPILOG
from voltase.cli.train_fqeq import fqeq
from voltase.cli.train_loop import EPILOG, loop
from voltase.cli.train_session import hold_session, read_settings

if TYPE_CHECKING:
    from voltase.aseplugin.training.run import RunConfig, TrainingRun

DEFAULT = TrainingConfig()
# Top-level keys of the settings beside the sections, with their types.
RUN_KEYS = {
    "out": str,
    "device": str,
    "threads": int | None,
    "init": str | None,
    "restart": bool,
}
USELESS = 0.9
"""Error of the forces over their size, above which a model has learned little."""
FINISHED = {
    "finished": "finished",
    "no improvement": "stopped: no improvement of the validation errors",
}

app = typer.Typer(
    cls=OneLineGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Train a potential-dependent force field.",
)


@app.callback()
def _pe_train() -> None:
    pass


app.command(cls=OneLineCommand, epilog=EPILOG)(loop)
app.command(cls=OneLineCommand, epilog=FQEQ_EPILOG)(fqeq)
app.command(cls=OneLineCommand, epilog=DENSITY_EPILOG)(density)


@app.command(
    cls=OneLineCommand,
    epilog="Sections of the settings: data, model (with backbone), training (with loss), card; "
    "beside them out, device, threads, init, restart. Paths count from the current folder. "
    "Several processes: torchrun --nproc_per_node 2 -m voltase.cli.train mace CONFIG.yaml",
)
def mace(
    config: options.ConfigFile = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Labelled frames, as a rule extxyz; may be repeated.", metavar="FILE"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run.", metavar="DIR", show_default="training"),
    ] = None,
    embedding: Annotated[
        str | None,
        typer.Option(
            help="What the model takes: electrons, for E(R, n), or potential, for Omega(R, Phi).",
            show_default="electrons",
            metavar="[electrons|potential]",
        ),
    ] = None,
    coupling: Annotated[
        str | None,
        typer.Option(
            help="How it enters: dipole (the electrode's field acts on learned dipoles) or scalar "
            "(a number in the node features).",
            show_default="dipole",
            metavar="[dipole|scalar]",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data.", show_default=str(DEFAULT.epochs))
    ] = None,
    channels: Annotated[
        int | None, typer.Option(help="Width of the network.", show_default="32")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="At its highest.", show_default=f"{DEFAULT.learning_rate:g}"),
    ] = None,
    seed: options.Seed = None,
    device: options.Device = None,
    threads: options.Threads = None,
    restart: options.Restart = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint or bundled model whose weights are taken over where they fit, and "
            "whose settings are the defaults.",
            metavar="CHECKPOINT",
        ),
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Train PE-MACE on labelled frames; writes a checkpoint with its card and plots into DIR."""
    log_warnings()
    given = {
        "data.files": None if not data else [str(path) for path in data],
        "model.embedding": embedding,
        "model.coupling": coupling,
        "model.backbone.channels": channels,
        "training.epochs": epochs,
        "training.learning_rate": learning_rate,
        "training.seed": seed,
        "out": None if out is None else str(out),
        "device": device,
        "threads": threads,
        "restart": restart,
        "init": init,
    }
    with one_line_errors(debug):
        try:
            _train(_settings(config, given))
        finally:
            _leave()


def _settings(path: Path | None, given: Mapping[str, Any]) -> "RunConfig":
    """Settings of the file, overridden by the options that were given."""
    sections = {"data": DataConfig, "training": TrainingConfig}
    tree, values = read_settings(path, given, RUN_KEYS, ("out", "device", "init"), sections)

    from voltase.aseplugin.models.pemace import PEMACEConfig
    from voltase.aseplugin.training.run import RunConfig

    values["model"] = check_section(PEMACEConfig, tree.get("model"), "model")
    return RunConfig(**values)


def _train(config: "RunConfig") -> None:
    from voltase.aseplugin.training.run import TrainingRun

    say("reading the data")
    run = TrainingRun(config)
    hold_session("pe-train mace", run, functools.partial(_run, run), restart=config.restart,
                 unit="batch", facts={"model": run.model_facts()})  # fmt: skip


def _run(run: "TrainingRun", stop: StopRequest, summary: RunSummary) -> bool:
    """Train and finish; False if asked to stop."""
    _announce(run)
    with progress_bar("training", None) as bar:
        outcome = run.train(_batch_shown(run, bar), _epoch_shown(run), stop)
    if outcome == "interrupted":
        summary.write("interrupted", epochs=run.trainer.epoch)
        return False
    say("judging the model on the held-out snapshots")
    target = run.finish(stop)
    if target is None:
        summary.write("interrupted", epochs=run.trainer.epoch)
        return False
    summary.write(FINISHED[outcome], epochs=run.trainer.epoch, model=run.model_facts(target),
                  errors=run.errors)  # fmt: skip
    for line in _error_lines(run.errors):
        say(line)
    for kind, found in run.errors.items():
        if found["force_rmse_meV_A"] > USELESS * found["force_rms_meV_A"]:
            say(f"warning: {kind}: the error of the forces is {found['force_rmse_meV_A']:.0f} "
                f"meV/A, their size {found['force_rms_meV_A']:.0f}: the model has learned little; "
                "more steps (epochs, smaller batches) or more data may help")  # fmt: skip
    say(f'{FINISHED[outcome]}; the model is in {target}: PEMACE("{target}")')
    return True


def _announce(run: "TrainingRun") -> None:
    facts = run.model_facts()
    split = run.split
    wanted = run.config.training.epochs
    if run.resumed and run.resumed_epoch >= wanted:
        say(f"nothing to train: {run.resumed_epoch} epochs are done, {wanted} asked for")
        return
    word = f"goes on after epoch {run.resumed_epoch}" if run.resumed else "starts"
    say(f"training {word}: {facts['weights']} weights; {len(split.train)} geometries to train on, "
        f"{len(split.valid)} for validation, {len(split.test)} for the test")  # fmt: skip
    if run.taken is not None:
        say(f"init: took {run.taken[0]} of {run.taken[1]} weights")


def _batch_shown(run: "TrainingRun", bar: Bar) -> Any:
    def show(done: int, total: int, parts: dict[str, float]) -> None:
        epoch = run.trainer.epoch
        forces = 1e3 * parts["forces"] ** 0.5
        bar(epoch * total + done, total=run.config.training.epochs * total,
            text=f"epoch {epoch + 1}, forces {forces:.0f} meV/A")  # fmt: skip

    return show


def _epoch_shown(run: "TrainingRun") -> Any:
    import logging

    logger = logging.getLogger(__name__)

    def show(record: dict[str, Any]) -> None:
        line = epoch_line(record, run.config.training.epochs)
        logger.info(line)
        say(line)

    return show


def epoch_line(record: Mapping[str, Any], epochs: int) -> str:
    """One line on a finished epoch: losses, and validation errors by config type."""
    losses = ", ".join(f"{name} {value:.3g}" for name, value in record["loss"].items())
    parts = [f"epoch {record['epoch']}/{epochs}  {record['seconds']:.1f} s  loss: {losses}"]
    parts += _error_lines(record.get("valid", {}))
    return "  |  ".join(parts)


def _error_lines(errors: Mapping[str, Mapping[str, float]]) -> list[str]:
    lines = []
    for kind, found in errors.items():
        parts = [f"forces {found['force_rmse_meV_A']:.0f} meV/A"]
        if "potential_mae_V" in found:
            parts.append(f"Phi {found['potential_mae_V']:.2f} V")
        if "response_error" in found:
            parts.append(f"response {found['response_error']:.2f}")
        lines.append(f"{kind}: {', '.join(parts)}")
    return lines


def _leave() -> None:
    """Leave the process group, if torch was loaded at all."""
    if "torch" in sys.modules:
        from voltase.aseplugin.training.parallel import leave_process_group

        leave_process_group()


def main() -> None:
    """Entry point of the ``pe-train`` command."""
    app(prog_name="pe-train")


if __name__ == "__main__":
    main()
