"""Independent runs at several potentials, and the charging curve they add up to."""

import csv
import io
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from voltase.aseplugin.errors import InputError, VoltaseError
from voltase.cli.md_averages import FLUCTUATING, fluctuation_capacitance, measured
from voltase.cli.md_folder import check_free, locked, make_folder, read_summary, remove_run
from voltase.cli.md_run import COMPLETE, FAILED, INTERRUPTED, Outcome, restart_run, start_run
from voltase.cli.md_settings import CHANGEABLE, MACHINE, SUMMARY, MDSettings
from voltase.cli.md_settings import SERIES_CSV as CSV
from voltase.cli.md_settings import SERIES_PNG as PNG
from voltase.cli.stopping import StopRequest
from voltase.cli.summary import RunSummary
from voltase.cli.terminal import say


@dataclass(frozen=True)
class SeriesPoint:
    """Averages of one finished run.

    Attributes
    ----------
    potential : float
        Target U, V vs the reference of the series.
    mean_potential, mean_potential_error : float
        As sampled, V.
    n, n_error : float
        Excess electrons, e.
    sigma, sigma_error : float
        Surface charge, uC/cm2.
    capacitance, capacitance_error : float
        var(n)/kT, uF/cm2; not-a-number where n does not fluctuate by itself.
    temperature : float
        K.
    """

    potential: float
    mean_potential: float
    mean_potential_error: float
    n: float
    n_error: float
    sigma: float
    sigma_error: float
    capacitance: float
    capacitance_error: float
    temperature: float


@dataclass(frozen=True)
class Slope:
    """d sigma/dU between two neighbouring potentials, uF/cm2, at their middle (V)."""

    potential: float
    capacitance: float
    error: float


def member_settings(settings: MDSettings, potential: float) -> MDSettings:
    """Settings of the run at one potential; its seed depends on nothing but seed and potential."""
    key = [settings.seed, int(potential < 0), round(1e9 * abs(potential))]
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    return replace(settings, potential=f"{potential!r}V", seed=seed)


def member_name(potential: float) -> str:
    """Folder of the run at one potential."""
    return f"U_{potential:g}V"


def run_series(
    settings: MDSettings, folder: Path, stop: StopRequest, *, overwrite: bool, quiet: bool
) -> Outcome:
    """A new series."""
    check_free(folder, settings, overwrite)
    potentials = _potentials(settings)
    # A slip in the settings shows here, and not in every run of the series.
    from voltase.cli.md_setup import set_up

    set_up(member_settings(settings, potentials[0]), folder)
    make_folder(folder)
    with locked(folder):
        check_free(folder, settings, overwrite)
        if overwrite:
            remove_run(folder)
        return _Series(settings, folder, quiet, {}).go(stop)


def restart_series(
    settings: MDSettings, given: dict[str, Any], folder: Path, stop: StopRequest, *, quiet: bool
) -> Outcome:
    """Go on with the runs that are not complete; ``given`` are the options of the restart."""
    changes = {
        name: getattr(settings, name)
        for name in given
        if name in CHANGEABLE | MACHINE | {"model"}
    }  # fmt: skip
    with locked(folder):
        return _Series(settings, folder, quiet, changes).go(stop)


def _potentials(settings: MDSettings) -> list[float]:
    potentials = list(settings.schedule().values)
    names = [member_name(potential) for potential in potentials]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--potential: got {name[2:]} more than once, expected it once")
    return potentials


class _Series:
    def __init__(
        self, settings: MDSettings, folder: Path, quiet: bool, changes: dict[str, Any]
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.quiet = quiet
        self.changes = changes
        self.potentials = _potentials(settings)
        self.summary = RunSummary(folder / SUMMARY, "pe-md", settings.as_dict())
        self.statuses = {member_name(potential): "waiting" for potential in self.potentials}
        self.problems: list[str] = []

    def go(self, stop: StopRequest) -> Outcome:
        self.summary.write("running", runs=self.statuses)
        for i, potential in enumerate(self.potentials):
            if stop():
                break
            name = member_name(potential)
            if not self.quiet:
                say(f"run {i + 1} of {len(self.potentials)}: {name}")
            self.statuses[name] = self._member(potential, stop)
            self.summary.write("running", runs=self.statuses)
        return self._finish(stop)

    def _member(self, potential: float, stop: StopRequest) -> str:
        """Run or continue one potential; another's failure does not stop it."""
        folder = self.folder / member_name(potential)
        settings = member_settings(self.settings, potential)
        try:
            outcome: Outcome | None
            before = read_summary(folder) if folder.is_dir() else None
            if before is None:
                outcome = start_run(settings, folder, stop, overwrite=False, quiet=self.quiet)
            else:
                settings = replace(MDSettings(**before["options"]), **self.changes)
                outcome = restart_run(settings, folder, stop, quiet=self.quiet)
        except VoltaseError as error:
            self.problems.append(f"{folder.name}: {' '.join(str(error).split())}")
            return FAILED
        if outcome is None:
            return COMPLETE
        if outcome.problem:
            self.problems.append(f"{folder.name}: {outcome.problem}")
        return outcome.status

    def _finish(self, stop: StopRequest) -> Outcome:
        points = self._points()
        slopes = finite_differences(points)
        reference = self.settings.electrode_reference().label
        if points:
            from voltase.cli.md_plots import plot_series, save_figure

            write_series(self.folder / CSV, points, reference)
            title = f"{self.settings.method or 'constant potential'}, {self.settings.temp:g} K"
            save_figure(plot_series(points, slopes, reference, title), self.folder / PNG)
        complete = all(status == COMPLETE for status in self.statuses.values())
        status = COMPLETE if complete else INTERRUPTED if stop() else FAILED
        self.summary.write(
            status,
            runs=self.statuses,
            problems=self.problems or None,
            capacitance_uF_cm2=[vars(slope) for slope in slopes],
            files=[CSV, PNG] if points else [],
        )
        report = series_report(status, points, slopes, reference, self.folder)
        return Outcome(self.folder, status, report, "; ".join(self.problems))

    def _points(self) -> list[SeriesPoint]:
        found = []
        for potential in sorted(self.potentials):
            name = member_name(potential)
            if self.statuses[name] == COMPLETE:
                summary = read_summary(self.folder / name)
                if summary is not None and summary["averages"]["samples"]:
                    found.append(_point(potential, summary))
        return found


def _point(potential: float, summary: dict[str, Any]) -> SeriesPoint:
    mean, settings = summary["averages"], MDSettings(**summary["options"])
    area = summary["system"]["area_A2"]
    capacitance = (math.nan, math.nan)
    if settings.method in FLUCTUATING:
        capacitance = fluctuation_capacitance(mean["n_e"], settings.temp, area)
    return SeriesPoint(
        potential,
        mean["U_V"]["mean"],
        _or_nan(mean["U_V"]["error"]),
        mean["n_e"]["mean"],
        _or_nan(mean["n_e"]["error"]),
        mean["sigma_uC_cm2"]["mean"],
        _or_nan(mean["sigma_uC_cm2"]["error"]),
        *capacitance,
        mean["T_K"]["mean"],
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def finite_differences(points: Sequence[SeriesPoint]) -> list[Slope]:
    """Slopes of the charging curve between neighbouring points, with propagated errors."""
    slopes = []
    for left, right in pairwise(points):
        width = right.potential - left.potential
        rise = right.sigma - left.sigma
        error = math.hypot(left.sigma_error, right.sigma_error) / width
        slopes.append(Slope(0.5 * (left.potential + right.potential), rise / width, error))
    return slopes


def write_series(path: Path, points: Sequence[SeriesPoint], reference: str) -> None:
    """The points as CSV, one potential a row."""
    columns: dict[str, Callable[[SeriesPoint], float]] = {
        "target_U_V": lambda p: p.potential,
        "U_V": lambda p: p.mean_potential,
        "U_error_V": lambda p: p.mean_potential_error,
        "n_e": lambda p: p.n,
        "n_error_e": lambda p: p.n_error,
        "sigma_uC_cm2": lambda p: p.sigma,
        "sigma_error_uC_cm2": lambda p: p.sigma_error,
        "var_n_over_kT_uF_cm2": lambda p: p.capacitance,
        "var_n_over_kT_error_uF_cm2": lambda p: p.capacitance_error,
        "T_K": lambda p: p.temperature,
    }
    text = io.StringIO()
    text.write(f"# voltase constant-potential MD; U in {reference}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[repr(float(value(p))) for value in columns.values()] for p in points])
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text.getvalue(), encoding="utf-8")
    os.replace(partial, path)


def series_report(
    status: str,
    points: Sequence[SeriesPoint],
    slopes: Sequence[Slope],
    reference: str,
    folder: Path,
) -> str:
    """A table for the terminal."""
    lines = [f"{status}: {len(points)} runs finished"]
    if points:
        lines.append(f"  {f'U ({reference})':>16}  {'sigma (uC/cm2)':>18}  {'n (e)':>20}  "
                     f"{'var(n)/kT (uF/cm2)':>20}  {'T (K)':>6}")  # fmt: skip
    for p in points:
        known = not math.isnan(p.capacitance)
        fluctuation = measured(p.capacitance, p.capacitance_error) if known else ""
        lines.append(f"  {p.potential:>16g}  {measured(p.sigma, p.sigma_error):>18}  "
                     f"{measured(p.n, p.n_error):>20}  {fluctuation:>20}  "
                     f"{p.temperature:>6.1f}")  # fmt: skip
    for slope in slopes:
        lines.append(f"  capacitance at {slope.potential:g} V: "
                     f"{measured(slope.capacitance, slope.error)} uF/cm2")  # fmt: skip
    lines.append(f"  in {folder}: {CSV}, {PNG}, {SUMMARY}, and a folder for each potential")
    return "\n".join(lines)
