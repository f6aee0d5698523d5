"""One run of ``pe-md`` in its folder: start or restart it, advance it, sum it up."""

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase.units import fs

from voltase.aseplugin.errors import DynamicsError, ExtrapolationError, InputError
from voltase.cli.md_averages import averages, conserved_drift, read_log
from voltase.cli.md_folder import check_free, locked, make_folder, read_summary, remove_run
from voltase.cli.md_report import run_report
from voltase.cli.md_settings import CHECKPOINT, PLOT, SUMMARY, MDSettings
from voltase.cli.md_setup import Setup, set_up, set_up_restart
from voltase.cli.stopping import StopRequest
from voltase.cli.summary import RunSummary
from voltase.cli.terminal import progress_bar, say

COMPLETE, INTERRUPTED, FAILED = "complete", "interrupted", "failed"
STOPPED_BY_PHYSICS = 3

_BAR_INTERVAL = 0.2  # s
_FS_PER_DAY_TO_NS = 86400.0 * 1e-6


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and the report on it.

    Attributes
    ----------
    folder : Path
    status : {"complete", "interrupted", "failed"}
    report : str
        For the terminal.
    problem : str
        Why it failed; empty otherwise.
    """

    folder: Path
    status: str
    report: str
    problem: str = ""


def start_run(
    settings: MDSettings, folder: Path, stop: StopRequest, *, overwrite: bool, quiet: bool
) -> Outcome:
    """A new run; the folder is touched only when everything is known to fit together."""
    check_free(folder, settings, overwrite)
    setup = set_up(settings, folder)
    make_folder(folder)
    with locked(folder):
        check_free(folder, settings, overwrite)
        if overwrite:
            remove_run(folder)
        return _Run(setup, folder, quiet).go(stop)


def restart_run(
    settings: MDSettings, folder: Path, stop: StopRequest, *, quiet: bool
) -> Outcome | None:
    """Go on with the run in a folder; None if it is complete already.

    Parameters
    ----------
    settings : MDSettings
        As :func:`~voltase.cli.md_settings.settings_for_restart` gives them.
    """
    with locked(folder):
        before = read_summary(folder) or {}
        done = int(before.get("step") or 0)
        if before.get("status") == COMPLETE and done >= settings.steps:
            return None
        if not (folder / CHECKPOINT).exists():
            _check_nothing_lost(folder, before, settings)
            # Killed before the first one: the same run from the start.
            return _Run(set_up(settings, folder), folder, quiet).go(stop)
        setup = set_up_restart(settings, folder, before["model"]["sha256"])
        restarts = [*(before.get("restarts") or []), setup.dynamics.nsteps]
        for name in sorted(MACHINE_NOTES):
            if before["options"].get(name) != getattr(setup.settings, name):
                say(f"warning: {MACHINE_NOTES[name]} changed: the run goes on, but not as it "
                    "would have, to the last bit")  # fmt: skip
        return _Run(setup, folder, quiet, restarts).go(stop)


def _check_nothing_lost(folder: Path, before: Mapping[str, Any], settings: MDSettings) -> None:
    """Refuse a run whose checkpoint is gone: it would start again over what it has done.

    The first checkpoint is that of step 0, and later steps are made only once it is written.
    """
    done = max(int(before.get("step") or 0), _last_logged_step(folder / settings.log))
    if done > 0 or CHECKPOINT in (before.get("files") or []):
        raise InputError(
            f"--restart: {folder / CHECKPOINT} is missing, expected the checkpoint of this run "
            f"(step {done} so far); --overwrite starts it afresh"
        )


def _last_logged_step(path: Path) -> int:
    """0 if no row of the log is of a later step; a row that was cut off counts."""
    try:
        rows = path.read_text(encoding="utf-8", errors="replace").splitlines()[2:]
    except FileNotFoundError:
        return 0
    steps = (row.partition(",")[0] for row in rows)
    return max((int(step) for step in steps if step.isdecimal()), default=0)


MACHINE_NOTES = {"device": "the device", "threads": "the number of threads"}


class _Run:
    """Dynamics, their folder and their summary."""

    def __init__(
        self, setup: Setup, folder: Path, quiet: bool, restarts: list[int] | None = None
    ) -> None:
        self.settings = setup.settings
        self.dynamics = setup.dynamics
        self.folder = folder
        self.quiet = quiet
        self.restarts = restarts or []
        self.first_step = self.dynamics.nsteps
        self.seconds = 0.0
        self.summary = RunSummary(folder / SUMMARY, "pe-md", self.settings.as_dict())
        self.facts = self._facts(setup)

    def _facts(self, setup: Setup) -> dict[str, Any]:
        dynamics = self.dynamics
        atoms, reference = dynamics.atoms, dynamics.reference
        drawn = "drawn at --temp" if setup.momenta_drawn else "those of the structure"
        if self.restarts:
            drawn = "those of the checkpoint"
        return {
            "model": setup.model,
            "system": {
                "formula": atoms.get_chemical_formula(),
                "atoms": len(atoms),
                "mobile_atoms": len(dynamics.ions.free),
                "area_A2": dynamics.recorder.area,
                "momenta": drawn,
            },
            "reference": {"label": reference.label, "zero_absolute_V": reference.zero_absolute},
            "machine": {"platform": platform.platform(), "processor": platform.machine()},
            "restarts": self.restarts,
        }

    def go(self, stop: StopRequest) -> Outcome:
        """Advance to the last step, or until stopped."""
        self.summary.write("running", **self.facts, step=self.first_step)
        if not self.quiet:
            say(self._announcement())
        problem = ""
        try:
            if not self.restarts:
                # Outputs and checkpoint of step 0, so that there is always one to go on from.
                self.dynamics.run(0)
                self.dynamics.save_checkpoint(self.folder / CHECKPOINT)
                # On record, so that its loss is not taken for a run that had none yet.
                self.summary.write("running", files=self._files())
            self._advance(stop)
        except (DynamicsError, ExtrapolationError) as error:
            problem = _explain(error)
        finally:
            self.dynamics.recorder.flush()
        status = COMPLETE if self.dynamics.nsteps >= self.settings.steps else INTERRUPTED
        return self._finish(FAILED if problem else status, problem)

    def _announcement(self) -> str:
        system, settings = self.facts["system"], self.settings
        word = f"goes on after step {self.first_step}" if self.restarts else "starts"
        return (
            f"{system['formula']} ({system['atoms']} atoms, {system['mobile_atoms']} mobile), "
            f"{settings.method} at {settings.potential} ({self.dynamics.reference.label}), "
            f"{settings.temp:g} K: {word} with momenta {system['momenta']}, into {self.folder}"
        )

    def _advance(self, stop: StopRequest) -> None:
        dynamics, last = self.dynamics, self.settings.steps
        began = time.perf_counter()
        with progress_bar("step", last, shown=not self.quiet) as bar:
            shown = began
            for _ in dynamics.irun(max(last - dynamics.nsteps, 0)):
                now = time.perf_counter()
                self.seconds = now - began
                if now - shown > _BAR_INTERVAL and not self.quiet:
                    shown = now
                    bar(dynamics.nsteps, total=last, text=self._rate())
                if stop():
                    break
            bar(dynamics.nsteps, total=last)
        if stop() and dynamics.nsteps < last:
            dynamics.save_checkpoint(self.folder / CHECKPOINT)

    def _rate(self) -> str:
        speed = self.performance()
        return f"{speed['steps_per_second']:.3g} steps/s, {speed['ns_per_day']:.3g} ns/day"

    def performance(self) -> dict[str, float]:
        """Of this process alone."""
        steps = self.dynamics.nsteps - self.first_step
        rate = steps / self.seconds if self.seconds > 0 else 0.0
        per_day = rate * self.dynamics.timestep / fs * _FS_PER_DAY_TO_NS
        return {
            "steps": steps,
            "seconds": round(self.seconds, 3),
            "steps_per_second": round(rate, 3),
            "ns_per_day": round(per_day, 5),
        }

    def _finish(self, status: str, problem: str) -> Outcome:
        from voltase.cli.md_molecules import compare_molecules

        log = read_log(self.folder / self.settings.log)
        results: dict[str, Any] = {
            **self.facts,
            "step": self.dynamics.nsteps,
            "problem": problem or None,
            "averages": None,
            "conserved_drift_meV_atom_ps": conserved_drift(log, len(self.dynamics.ions.free)),
            "performance": self.performance(),
            "molecules": compare_molecules(self.folder / self.settings.traj, self.dynamics.atoms),
        }
        # Over a changing potential, a mean says nothing.
        if self.dynamics.schedule.kind == "constant":
            results["averages"] = averages(log, self.settings.first_averaged_step)
        self._plot(log)
        results["files"] = self._files()
        self.summary.write(status, **results)
        report = run_report(status, self.settings, results, self.folder)
        return Outcome(self.folder, status, report, problem)

    def _files(self) -> list[str]:
        names = (self.settings.traj, self.settings.log, PLOT, CHECKPOINT)
        return [name for name in names if (self.folder / name).exists()]

    def _plot(self, log: Any) -> None:
        from voltase.cli.md_plots import RunLabels, plot_run, save_figure

        if len(log) < 2:
            return
        constant = self.dynamics.schedule.kind == "constant"
        first = self.settings.first_averaged_step * self.settings.timestep
        labels = RunLabels(
            title=f"{self.facts['system']['formula']} with {Path(self.settings.model).name}, "
            f"{self.settings.potential} ({self.dynamics.reference.label}), {self.settings.method}",
            reference=self.dynamics.reference.label,
            temperature_K=self.settings.temp,
            mobile_atoms=len(self.dynamics.ions.free),
            averaged_from_fs=min(first, float(log["time_fs"][-1])) if constant else None,
        )
        save_figure(plot_run(log, labels), self.folder / PLOT)


def _explain(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, ExtrapolationError):
        text = text.replace("; allow_extrapolation=True waives this", "")
        text += "; --restart --allow-extrapolation goes on from the last checkpoint regardless"
    return text
