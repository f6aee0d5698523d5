"""What ``pe-label`` does: settings, the run, its files and the report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voltase.aseplugin.electrochemistry import (
    Reference,
    check_plausible,
    excess_electrons_from_surface_charge,
    parse_potential,
)
from voltase.aseplugin.errors import InputError, VoltaseError
from voltase.cli.config import check_keys, coerce, read_options
from voltase.cli.stopping import StopRequest
from voltase.cli.summary import RunSummary
from voltase.cli.terminal import log_file, progress_bar, say

if TYPE_CHECKING:
    from ase import Atoms

    from voltase.aseplugin.labelling.engine_spec import EngineSpec
    from voltase.aseplugin.labelling.run import LabelReport
    from voltase.aseplugin.labelling.schedule import Task
    from voltase.aseplugin.labelling.structures import Structure

SUMMARY, LOG, PLOT = "summary.yaml", "label.log", "labels.png"
OWN = "own"
ALL_FAILED = 1

# What arguments of the library are called here; the others are options with a dash.
_AS_OPTIONS = {"potential": "--potential", "reference": "--reference", "pH": "--ph",
               "she_absolute": "--she-absolute", "tolerance": "--tolerance", "out": "--out",
               "workers": "--workers", "scheduler": "--scheduler", "engine": "--engine",
               "densities": "--densities"}  # fmt: skip


@dataclass(frozen=True)
class LabelOptions:
    """What a run is told; names are those of the options, ``cli/label.py`` describes them.

    ``electrons``, ``surface_charge`` and ``potential`` are texts with commas, or lists; a run
    needs one of them at least. ``settings`` are the engine's arguments.
    """

    structures: list[str] = field(default_factory=list)
    engine: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    electrons: Any = None
    surface_charge: Any = None
    potential: Any = None
    reference: str = "SHE"
    ph: float | None = None
    she_absolute: float | None = None
    tolerance: float = 0.02
    keep_cell: bool = False
    densities: bool | None = None
    workers: int = 1
    scheduler: str | None = None
    out: str = "labels"
    config_type: str | None = None
    keep_files: bool = False


_KINDS: dict[str, Any] = {
    "structures": list[str], "engine": str, "settings": dict[str, Any], "electrons": Any,
    "surface_charge": Any, "potential": Any, "reference": str, "ph": float, "she_absolute": float,
    "tolerance": float, "keep_cell": bool, "densities": bool, "workers": int, "scheduler": str,
    "out": str, "config_type": str, "keep_files": bool,
}  # fmt: skip


@contextlib.contextmanager
def _named_as_options() -> Iterator[None]:
    """Messages of the library name its arguments; here people know the options."""
    try:
        yield
    except VoltaseError as error:
        name, colon, rest = str(error).partition(":")
        if colon and name in _AS_OPTIONS:
            raise type(error)(f"{_AS_OPTIONS[name]}:{rest}") from error
        raise


def read_settings(given: Mapping[str, Any], config: Path | None) -> LabelOptions:
    """Settings of the file, overridden by the options that were given.

    Raises
    ------
    InputError
        If the file is unusable, a value is wrong, or no structure, engine or point is named.
    """
    found = {} if config is None else _read_config(config)
    found |= {f.name: given[f.name] for f in fields(LabelOptions) if f.name in given}
    found["out"] = str(found.get("out", LabelOptions.out))
    options = LabelOptions(**found)
    if not options.structures:
        raise InputError("STRUCTURES: got none, expected files with structures")
    if options.engine is None:
        raise InputError("--engine: got none, expected gpaw, vasp, espresso, cp2k or module:Class")
    if all(v is None for v in (options.electrons, options.surface_charge, options.potential)):
        raise InputError("--electrons: got none, expected such as -0.3,0,0.3, or --potential")
    return options


def _read_config(path: Path) -> dict[str, Any]:
    found = read_options(path)
    check_keys(found, _KINDS, "config")
    return {name: coerce(value, _KINDS[name], f"config.{name}") for name, value in found.items()}


def _listed(value: Any, option: str) -> list[Any]:
    """Items of a list or of a text with commas."""
    if value is None:
        return []
    items = value.split(",") if isinstance(value, str) else value
    items = items if isinstance(items, list) else [items]
    items = [item.strip() if isinstance(item, str) else item for item in items]
    if not items or "" in items:
        raise InputError(f"{option}: got {value!r}, expected numbers with commas between them")
    return items


def _number(item: Any, option: str, hint: str = "") -> float:
    text = item.replace("\N{MINUS SIGN}", "-") if isinstance(item, str) else item
    try:
        return float(coerce(text, float, option))
    except InputError:
        raise InputError(f"{option}: got {item!r}, expected numbers{hint}") from None


def _absolute_potentials(options: LabelOptions) -> tuple[Reference, list[float]]:
    reference = Reference.parse(options.reference, pH=options.ph, she_absolute=options.she_absolute)
    targets = [parse_potential(item) for item in _listed(options.potential, "--potential")]
    if targets:
        import numpy as np

        check_plausible(np.array(targets), reference)
    return reference, [reference.to_absolute(target) for target in targets]


def make_tasks(options: LabelOptions, structures: list[Structure],
               potentials: list[float]) -> list[Task]:  # fmt: skip
    """Structures with their points.

    Raises
    ------
    InputError
        If a number cannot be read, is no electrode's, or a frame has none of its own.
    """
    from voltase.aseplugin.labelling.schedule import Task
    from voltase.aseplugin.potentiostat.contract import electrode_area
    from voltase.aseplugin.potentiostat.limits import RUNAWAY_PER_AREA

    electrons = [item if item == OWN else _number(item, "--electrons", f" or {OWN}")
                 for item in _listed(options.electrons, "--electrons")]  # fmt: skip
    charges = [_number(item, "--surface-charge")
               for item in _listed(options.surface_charge, "--surface-charge")]  # fmt: skip
    tasks = []
    for structure in structures:
        if OWN in electrons and not structure.own_electrons:
            raise InputError(f"--electrons: got {OWN}, but {structure.where} has no "
                             "excess_electrons, expected numbers")  # fmt: skip
        numbers = [n for item in electrons
                   for n in (structure.own_electrons if item == OWN else [item])]  # fmt: skip
        area = electrode_area(None, structure.atoms)
        if charges and area is None:
            raise InputError(f"--surface-charge: got {charges[0]:g}, but the cell of "
                             f"{structure.where} has no face, expected --electrons")  # fmt: skip
        if area is not None:
            numbers += [excess_electrons_from_surface_charge(sigma, area) for sigma in charges]
            most = RUNAWAY_PER_AREA * area
            for n in numbers:
                if abs(n) > most:
                    raise InputError(f"--electrons: got {n:g} e for {structure.where}, expected at "
                                     f"most {most:.2g} e on its {area:.1f} A2")  # fmt: skip
        tasks.append(Task.of(structure, numbers, potentials))
    return tasks


def _place(spec: EngineSpec, keep_cell: bool) -> Callable[[Atoms], Atoms] | None:
    if not spec.is_gpaw or keep_cell:
        return None
    from voltase.aseplugin.engines.gpaw_settings import place_in_cell

    return place_in_cell


def run(options: LabelOptions, *, retry_failed: bool, quiet: bool) -> int:
    """Label, write all files, and report; returns the exit status."""
    from voltase.aseplugin.labelling.engine_spec import EngineSpec
    from voltase.aseplugin.labelling.structures import read_structures

    with _named_as_options():
        reference, potentials = _absolute_potentials(options)
        assert options.engine is not None
        spec = EngineSpec(options.engine, options.settings)
        structures = read_structures(options.structures, _place(spec, options.keep_cell))
        tasks = make_tasks(options, structures, potentials)
        with StopRequest("stopping after the points that are being calculated; once more to stop "
                         "at once") as stop:  # fmt: skip
            return _run(options, spec, tasks, reference, stop, retry_failed, quiet)


def _run(options: LabelOptions, spec: EngineSpec, tasks: list[Task], reference: Reference,
         stop: StopRequest, retry_failed: bool, quiet: bool) -> int:  # fmt: skip
    from voltase.aseplugin.labelling.run import label_structures

    folder = Path(options.out)
    resolved = asdict(options) | {"reference": reference.as_dict()}
    with contextlib.ExitStack() as stack:
        # The folder is not ours before the library has locked it and found it fit.
        begun: list[RunSummary] = []
        bar = stack.enter_context(progress_bar("labels", None, shown=not quiet, window=86400.0))

        def shown(done: int, asked: int, failed: int) -> None:
            if not begun:
                begun.append(RunSummary(folder / SUMMARY, "pe-label", resolved))
                begun[0].write("running", structures=len(tasks), points=asked)
                stack.enter_context(log_file(folder / LOG))
            bar(done, total=asked, text=f"labels, {failed} failed" if failed else None)

        try:
            report = label_structures(
                tasks, spec, folder, config_type=options.config_type, densities=options.densities,
                keep_cell=options.keep_cell, tolerance=options.tolerance, workers=options.workers,
                scheduler=options.scheduler, keep_files=options.keep_files,
                retry_failed=retry_failed, shown=shown, stop=stop,
            )  # fmt: skip
        except (VoltaseError, OSError, KeyboardInterrupt) as error:
            if begun:
                how = "interrupted" if isinstance(error, KeyboardInterrupt) else f"failed: {error}"
                begun[0].write(how)
            raise
    if report.interrupted:
        begun[0].write("interrupted", **_counts(report))
        say(f"interrupted after {report.made} new points of {report.asked}; the same command goes "
            "on")  # fmt: skip
        return stop.exit_code
    return _finish(report, folder, reference, begun[0], quiet)


def _counts(report: LabelReport) -> dict[str, Any]:
    return {"asked": report.asked, "found": report.found, "made": report.made,
            "failed": report.failed}  # fmt: skip


def _finish(report: LabelReport, folder: Path, reference: Reference, summary: RunSummary,
            quiet: bool) -> int:  # fmt: skip
    from voltase.aseplugin.labelling.checks import energy_slopes, rms_difference

    slopes = energy_slopes(report.labels)
    rms = rms_difference(slopes)
    check = None if rms is None else {"pairs": len(slopes), "rms_V": round(rms, 6)}
    results = {
        **_counts(report),
        "labels": len(report.labels),
        "geometries": len({point.geometry for point in report.labels}),
        "densities": report.densities,
        "energy_slope_against_potential": check,
        "wall_time_s": round(sum(point.wall_time for point in report.labels), 1),
        "failures": [f"{each.name} {each.key}: {each.reason}" for each in report.failures],
    }
    if any(point.potential is not None for point in report.labels):
        from voltase.cli.label_plots import plot_labels
        from voltase.cli.md_plots import save_figure

        save_figure(plot_labels(report.labels, slopes, reference), folder / PLOT)
    all_failed = report.failed == report.asked
    summary.write("all points failed" if all_failed else "finished", **results)
    if not quiet:
        import typer

        typer.echo(_report(report, results, folder))
    if report.failed:
        say(f"{'all' if all_failed else report.failed} of {report.asked} points failed, see "
            f"{folder / 'failed.csv'}; --retry-failed tries them again")  # fmt: skip
    return ALL_FAILED if all_failed else 0


def _report(report: LabelReport, results: Mapping[str, Any], folder: Path) -> str:
    lines = [
        f"{report.asked} points asked for: {report.found} were there, {report.made} made, "
        f"{report.failed} failed",
        f"labels: {results['labels']} of {results['geometries']} geometries in "
        f"{folder / 'labels.extxyz'}",
    ]
    if report.densities:
        lines.append(f"densities: {report.densities} in {folder / 'densities.h5'}")
    check = results["energy_slope_against_potential"]
    if check is not None:
        lines.append(f"check: -dE/dn against the potential, rms {1e3 * check['rms_V']:.1f} mV over "
                     f"{check['pairs']} pairs")  # fmt: skip
    return "\n".join(lines)
