"""Molecular dynamics with a committee that ends where the committee no longer knows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.md.velocitydistribution import thermalize_momenta
from ase.units import fs

from voltase.aseplugin.active_learning.config import SamplingConfig
from voltase.aseplugin.active_learning.files import read_record, save_frames, write_record
from voltase.aseplugin.active_learning.progress import Progress
from voltase.aseplugin.calculators.pemace import PEMACE
from voltase.aseplugin.errors import DynamicsError, ExtrapolationError
from voltase.aseplugin.potentiostat.dynamics import ConstantPotentialMD

FRAMES, RECORD = "candidates.extxyz", "run.yaml"
COMPLETED = "completed"
CountMolecules = Callable[[Atoms], dict[str, int]]


@dataclass(frozen=True)
class SampledRun:
    """How a run went.

    Attributes
    ----------
    potential : float
        Target, V vs the reference of the settings.
    structure : int
        Number of the starting structure.
    steps : int
        Done.
    ended : str
        "completed", or why it ended before.
    failed : bool
        Whether it ended by an error, rather than by the thresholds.
    max_spread : float
        Largest spread of the forces seen, eV/A; the one that ended the run included.
    candidates : int
    """

    potential: float
    structure: int
    steps: int
    ended: str
    failed: bool
    max_spread: float
    candidates: int


def sample(
    folder: Path,
    name: str,
    start: Atoms,
    calculator: PEMACE,
    config: SamplingConfig,
    *,
    potential: float,
    structure: int,
    upper: float,
    seed: list[int],
    progress: Progress,
    count_molecules: CountMolecules | None = None,
) -> SampledRun:
    """Run the dynamics of one structure at one potential, unless its folder is there already.

    Parameters
    ----------
    folder : Path
        Gets ``md.traj``, ``md.csv``, the candidates and ``run.yaml``.
    name : str
        Begins the ``source`` of the candidates.
    start : Atoms
        Momenta are drawn anew.
    calculator : PEMACE
        With a committee.
    config : SamplingConfig
    potential : float
        V vs ``config.reference``.
    structure : int
        Number of the starting structure, for the record.
    upper : float
        Spread of the forces at which the run ends, eV/A.
    seed : list of int
    progress : Progress
    count_molecules : callable, optional
        Numbers of molecules by kind; the run ends when they change.

    Raises
    ------
    Stopped
        The unfinished run is given up then.
    ExtrapolationError
        If the potential is outside the model's range.
    """
    record = read_record(folder / RECORD)
    if record is not None:
        return SampledRun(**record)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    run = _Run(partial, name, start, calculator, config, potential, upper, seed, count_molecules)
    run.go(progress)
    done = SampledRun(potential, structure, run.steps, run.ended, run.failed, run.max_spread,
                      len(run.candidates))  # fmt: skip
    save_frames(partial / FRAMES, run.candidates)
    write_record(partial / RECORD, asdict(done))
    os.replace(partial, folder)
    return done


class _Run:
    """Dynamics, looked at every few steps."""

    def __init__(self, folder: Path, name: str, start: Atoms, calculator: PEMACE,
                 config: SamplingConfig, potential: float, upper: float, seed: list[int],
                 count_molecules: CountMolecules | None) -> None:  # fmt: skip
        self.name, self.config, self.upper = name, config, upper
        self.calculator = calculator
        self.count_molecules = count_molecules
        self.molecules = {} if count_molecules is None else count_molecules(start)
        self.candidates: list[Atoms] = []
        self.max_spread = 0.0
        self.steps = 0
        self.ended = ""
        self.failed = False
        rng = np.random.default_rng(seed)
        atoms = start.copy()
        atoms.info.clear()
        thermalize_momenta(atoms, temperature_K=config.temp, rng=rng)
        # Every run starts from the same state of the calculator, whatever ran before.
        calculator.reset()
        if calculator.canonical:
            calculator.excess_electrons = 0.0
        atoms.calc = calculator
        self.dynamics = ConstantPotentialMD(
            atoms,
            potential=potential,
            reference=config.reference,
            timestep=config.timestep * fs,
            temperature_K=config.temp,
            method=config.method,
            rng=rng,
            allow_extrapolation=config.allow_extrapolation,
            trajectory=folder / "md.traj",
            logfile=folder / "md.csv",
            loginterval=config.every,
            trajectory_interval=config.every,
        )
        self.dynamics.attach(self._look, config.every)

    def go(self, progress: Progress) -> None:
        """Until the end, or until something ends it."""
        text, total = f"{self.name}, {self.dynamics.schedule.values[0]:+.2f} V", self.config.steps
        try:
            self.dynamics.run(0)
            if not self.ended:
                for _ in self.dynamics.irun(total):
                    progress.show(text, self.dynamics.nsteps, total)
                    progress.check()
                    if self.ended:
                        break
        except (DynamicsError, ExtrapolationError) as error:
            self.failed = True
            self.ended = str(error).partition("; frame in ")[0]
        finally:
            self.dynamics.close()
        self.steps = self.dynamics.nsteps
        self.ended = self.ended or COMPLETED

    def _look(self) -> None:
        """Note the frame, unless it ends the run."""
        dynamics = self.dynamics
        point = dynamics.point
        if self.calculator.canonical:
            self.calculator.excess_electrons = point.excess_electrons
        spread = float(self.calculator.get_property("forces_spread", dynamics.atoms))
        self.max_spread = max(self.max_spread, spread)
        step = dynamics.nsteps
        if spread > self.upper:
            self.ended = f"step {step}: spread of the forces {spread:.3g} eV/A"
            return
        if self.count_molecules is not None:
            molecules = self.count_molecules(dynamics.atoms)
            if molecules != self.molecules:
                before, now = _text(self.molecules), _text(molecules)
                self.ended = f"step {step}: molecules {before}, now {now}"
                return
        frame = dynamics.atoms.copy()
        frame.arrays.pop("momenta", None)
        frame.info = {
            "source": f"{self.name}-step-{step}",
            "excess_electrons": float(point.excess_electrons),
            "electrode_potential": float(point.potential),
            "forces_spread": spread,
        }
        if point.potential_spread is not None:
            frame.info["potential_spread"] = float(point.potential_spread)
        self.candidates.append(frame)


def _text(molecules: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in molecules.items() if count) or "none"
