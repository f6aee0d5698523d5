"""``pe-train density``: train the electron density at any charge of the electrode."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.training.density.config import (
    DensityDataConfig,
    DensityRunConfig,
    DensityTrainingConfig,
)
from voltase.cli import options
from voltase.cli.config import check_section
from voltase.cli.stopping import StopRequest
from voltase.cli.summary import RunSummary
from voltase.cli.terminal import log_warnings, one_line_errors, progress_bar, say
from voltase.cli.train_session import hold_session, read_settings

if TYPE_CHECKING:
    from voltase.aseplugin.training.density.run import DensityTraining

DEFAULT = DensityTrainingConfig()
# Top-level keys of the settings beside the sections, with their types.
RUN_KEYS = {"out": str, "threads": int | None, "trunk": str, "restart": bool}
EPILOG = (
    "Sections of the settings: data, model, training (with loss), card; beside them trunk, out, "
    "threads, restart. Paths count from the current folder."
)


def density(
    config: options.ConfigFile = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="HDF5 file of densities as pe-label writes it, or folder of such files; may be "
            "repeated. Densities of other codes (cube, CHGCAR, GPAW) stand in the settings under "
            "data.single, with their electron numbers.",
            metavar="FILE",
        ),
    ] = None,
    valence: Annotated[
        str | None,
        typer.Option(
            help="Electrons of each neutral atom in the densities.", metavar="Pt=10,O=6,H=1"
        ),
    ] = None,
    trunk: Annotated[
        str | None,
        typer.Option(
            help="PE-MACE checkpoint or bundled model whose features describe the surroundings.",
            show_default="pt111-water",
            metavar="CHECKPOINT",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run.", metavar="DIR", show_default="training"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Updates of the weights.", show_default=str(DEFAULT.steps))
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="At its highest.", show_default=f"{DEFAULT.learning_rate:g}"),
    ] = None,
    seed: options.Seed = None,
    threads: options.Threads = None,
    restart: options.Restart = None,
    debug: options.Debug = False,
) -> None:
    """Train PE-EDP on densities; writes a checkpoint with its card, and plots.

    Killed or stopped, the same command goes on; what was computed of a density is kept, so that
    files may be added.
    """
    log_warnings()
    given = {
        "data.files": None if not data else [str(path) for path in data],
        "model.valence": valence,
        "training.steps": steps,
        "training.learning_rate": learning_rate,
        "training.seed": seed,
        "trunk": trunk,
        "out": None if out is None else str(out),
        "threads": threads,
        "restart": restart,
    }
    with one_line_errors(debug):
        _train(settings_of(config, given))


def settings_of(path: Path | None, given: Mapping[str, Any]) -> DensityRunConfig:
    """Settings of the file, overridden by the options that were given."""
    sections = {"data": DensityDataConfig, "training": DensityTrainingConfig}
    valence = given.get("model.valence")
    parsed = {**given, "model.valence": None if valence is None else _valence(valence)}
    tree, values = read_settings(path, parsed, RUN_KEYS, ("out", "trunk"), sections)

    from voltase.aseplugin.models.density.model import DensityConfig
    from voltase.aseplugin.training.card_parts import check_free_entries

    check_free_entries(values["card"])
    values["model"] = check_section(DensityConfig, tree.get("model"), "model")
    if not values["model"].get("valence"):
        raise InputError("model.valence: found none, expected valence electrons, as Pt=10,O=6,H=1")
    return DensityRunConfig(**values)


def _valence(text: str) -> dict[str, int]:
    found = {}
    for part in text.split(","):
        symbol, _, count = part.partition("=")
        if not count.strip().isdigit():
            raise InputError(f"--valence: found '{text}', expected such as Pt=10,O=6,H=1")
        found[symbol.strip()] = int(count)
    return found


def _train(config: DensityRunConfig) -> None:
    from voltase.aseplugin.training.density.run import DensityTraining

    say("reading the data")
    run = DensityTraining(config)
    hold_session("pe-train density", run, functools.partial(_run, run), restart=config.restart)


def _run(run: "DensityTraining", stop: StopRequest, summary: RunSummary) -> bool:
    """Train and finish; False if asked to stop."""
    counts = {name: len(found) for name, found in run.parts().items()}
    say(f"{counts['train']} geometries to train on, {counts['valid']} for validation, "
        f"{counts['test']} for the test")  # fmt: skip
    with progress_bar("densities", None) as bar:
        ready = run.prepare(lambda done, total: bar(done, total=total), stop)
    if not ready:
        summary.write("interrupted", steps=0)
        return False
    word = f"goes on after step {run.trainer.step}" if run.resumed else "starts"
    say(f"training {word}: {sum(p.numel() for p in run.trainer.parameters)} weights")
    total = run.config.training.steps
    with progress_bar("training", total) as bar:
        outcome = run.trainer.run(
            lambda step, loss: bar(step, text=f"training, loss {loss:.3g}"), _record_shown, stop
        )
    if outcome == "interrupted":
        summary.write("interrupted", steps=run.trainer.step)
        return False
    say("judging the model on the grids held out")
    target = run.finish()
    summary.write("finished", steps=run.trainer.step, model=str(target), errors=run.errors)
    for name, value in run.errors.get("test", {}).items():
        say(f"  {name}: {value:.4g}")
    say(f'finished; the model is in {target}: ElectronDensity("{target}")')
    return True


def _record_shown(record: dict[str, Any]) -> None:
    import logging

    parts = [f"step {record['epoch']}  {record['seconds']:.0f} s  loss {record['loss']:.4g}"]
    for part in ("train", "test"):
        errors = [f"{kind} {record[f'{part}_{kind}']:.2f} %"
                  for kind in ("density", "difference", "planar")
                  if f"{part}_{kind}" in record]  # fmt: skip
        if errors:
            parts.append(f"{part}: {', '.join(errors)}")
    line = "  |  ".join(parts)
    logging.getLogger(__name__).info(line)
    say(line)
