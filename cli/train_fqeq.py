"""``pe-train fqeq``: train charges, potentials and forces of soft fragments."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voltase.aseplugin.training.charge_model.config import ChargeDataConfig, ChargeTrainingConfig
from voltase.cli import options
from voltase.cli.config import check_section
from voltase.cli.stopping import StopRequest
from voltase.cli.summary import RunSummary
from voltase.cli.terminal import Bar, log_warnings, one_line_errors, progress_bar, say
from voltase.cli.train_session import hold_session, read_settings

if TYPE_CHECKING:
    from voltase.aseplugin.training.charge_model.run import ChargeRunConfig, ChargeTrainingRun

DEFAULT = ChargeTrainingConfig()
# Top-level keys of the settings beside the sections, with their types.
RUN_KEYS = {"out": str, "threads": int | None, "init": str | None, "restart": bool}
EPILOG = (
    "Sections of the settings: data, model (with features), training (with loss), card; beside "
    "them out, threads, init, restart. Paths count from the current folder."
)


def fqeq(
    config: options.ConfigFile = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Labelled frames, as a rule extxyz; may be repeated.", metavar="FILE"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run.", metavar="DIR", show_default="training"),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="Feature network; hipnn needs the package hippynn.",
            show_default="mace",
            metavar="[mace|hipnn]",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data.", show_default=str(DEFAULT.epochs))
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="At its highest.", show_default=f"{DEFAULT.learning_rate:g}"),
    ] = None,
    seed: options.Seed = None,
    threads: options.Threads = None,
    restart: options.Restart = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Soft-FQEq checkpoint to start from, or PE-MACE checkpoint or bundled model whose "
            "feature network is taken over.",
            metavar="CHECKPOINT",
        ),
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Train Soft-FQEq on charges, potentials and forces; writes a checkpoint with its card.

    Killed or stopped, the same command goes on.
    """
    log_warnings()
    given = {
        "data.files": None if not data else [str(path) for path in data],
        "model.features.kind": features,
        "training.epochs": epochs,
        "training.learning_rate": learning_rate,
        "training.seed": seed,
        "out": None if out is None else str(out),
        "threads": threads,
        "restart": restart,
        "init": init,
    }
    with one_line_errors(debug):
        _train(_settings(config, given))


def _settings(path: Path | None, given: Mapping[str, Any]) -> "ChargeRunConfig":
    """Settings of the file, overridden by the options that were given."""
    sections = {"data": ChargeDataConfig, "training": ChargeTrainingConfig}
    tree, values = read_settings(path, given, RUN_KEYS, ("out", "init"), sections)

    from voltase.aseplugin.models.softfqeq import SoftFQEqConfig
    from voltase.aseplugin.training.card_parts import check_free_entries
    from voltase.aseplugin.training.charge_model.run import ChargeRunConfig

    check_free_entries(values["card"])
    values["model"] = check_section(SoftFQEqConfig, tree.get("model"), "model")
    return ChargeRunConfig(**values)


def _train(config: "ChargeRunConfig") -> None:
    from voltase.aseplugin.training.charge_model.run import ChargeTrainingRun

    say("reading the data")
    run = ChargeTrainingRun(config)
    hold_session("pe-train fqeq", run, functools.partial(_run, run), restart=config.restart,
                 facts={"model": run.model_facts()})  # fmt: skip


def _run(run: "ChargeTrainingRun", stop: StopRequest, summary: RunSummary) -> bool:
    """Train and finish; False if asked to stop."""
    _announce(run)
    with progress_bar("training", None) as bar:
        outcome = run.train(_step_shown(run, bar), _epoch_shown(run), stop)
    if outcome == "finished":
        say("judging the model on the held-out snapshots")
    target = run.finish(stop) if outcome == "finished" else None
    if target is None:
        summary.write("interrupted", epochs=run.trainer.epoch)
        return False
    summary.write("finished", epochs=run.trainer.epoch, model=run.model_facts(target),
                  errors=run.errors)  # fmt: skip
    for line in _error_lines(run.errors):
        say(line)
    say(f'finished; the model is in {target}: SoftFQEq("{target}")')
    return True


def _announce(run: "ChargeTrainingRun") -> None:
    split, wanted = run.split, run.config.training.epochs
    if run.resumed_epoch is not None and run.resumed_epoch >= wanted:
        say(f"nothing to train: {run.resumed_epoch} epochs are done, {wanted} asked for")
        return
    word = "starts" if run.resumed_epoch is None else f"goes on after epoch {run.resumed_epoch}"
    say(f"training {word}: {run.model_facts()['weights']} weights; {len(split.train)} geometries "
        f"to train on, {len(split.valid)} for validation, {len(split.test)} for the "
        "test")  # fmt: skip
    if run.taken is not None:
        say(f"init: took {run.taken[0]} of {run.taken[1]} weights")


def _step_shown(run: "ChargeTrainingRun", bar: Bar) -> Any:
    def show(done: int, total: int, parts: dict[str, float]) -> None:
        epoch = run.trainer.epoch
        text = f"epoch {epoch + 1}"
        if "charges" in parts:
            text += f", charges {1e3 * parts['charges'] ** 0.5:.1f} me"
        bar(epoch * total + done, total=run.config.training.epochs * total, text=text)

    return show


def _epoch_shown(run: "ChargeTrainingRun") -> Any:
    import logging

    logger = logging.getLogger(__name__)

    def show(record: dict[str, Any]) -> None:
        losses = ", ".join(f"{name} {value:.3g}" for name, value in record["loss"].items())
        head = f"epoch {record['epoch']}/{run.config.training.epochs}  {record['seconds']:.1f} s  "
        line = "  |  ".join([f"{head}loss: {losses}", *_error_lines(record.get("valid", {}))])
        logger.info(line)
        say(line)

    return show


def _error_lines(errors: Mapping[str, Mapping[str, float]]) -> list[str]:
    shown = (
        ("charge_mae_e", "charges {:.4f} e"),
        ("electrode_response_error", "change of the electrode's charge {:.3f}"),
        ("potential_mae_V", "Phi {:.2f} V"),
        ("force_rmse_meV_A", "forces {:.0f} meV/A"),
    )
    return [
        f"{kind}: " + ", ".join(form.format(found[name]) for name, form in shown if name in found)
        for kind, found in errors.items()
    ]
