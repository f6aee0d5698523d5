"""Molecular dynamics at constant electrode potential."""

import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import fs

from voltase.aseplugin.electrochemistry import Reference, check_plausible
from voltase.aseplugin.errors import DynamicsError, ExtrapolationError, InputError, VoltaseError
from voltase.aseplugin.potential_schedule import parse_potential_schedule
from voltase.aseplugin.potentiostat.arguments import (
    check_distinct,
    check_intervals,
    check_positive,
    check_real,
    check_rng,
)
from voltase.aseplugin.potentiostat.checkpoint import write_checkpoint
from voltase.aseplugin.potentiostat.contract import (
    GRAND_CANONICAL,
    SinglePoint,
    charged_model,
    electrode_area,
)
from voltase.aseplugin.potentiostat.failure import save_failed_frame
from voltase.aseplugin.potentiostat.guards import Guards
from voltase.aseplugin.potentiostat.ions import Ions
from voltase.aseplugin.potentiostat.limits import Limits
from voltase.aseplugin.potentiostat.methods import RunContext, default_method, make_potentiostat
from voltase.aseplugin.potentiostat.observers import Observers
from voltase.aseplugin.potentiostat.output import check_trajectory_name
from voltase.aseplugin.potentiostat.recorder import Recorder, StepRecord
from voltase.aseplugin.potentiostat.restart import OPTIONS, load_run_state, read_run, run_state

StrPath = str | os.PathLike[str]


class ConstantPotentialMD:
    """Dynamics of the ions and of the electron number at a target electrode potential.

    One step is B A O A B for ions and electron number together: half a kick, half a drift, the
    thermostats and a change of the target, half a drift, one single point, half a kick.

    Parameters
    ----------
    atoms : Atoms
        With a calculator (see :mod:`~voltase.aseplugin.potentiostat.contract`), and with momenta
        where the thermostat does not create them. ``FixAtoms`` is kept; other constraints are
        refused. Positions are not wrapped.
    potential : float, str, sequence or PotentialSchedule
        Target U in V vs ``reference``; texts and sequences as
        :func:`~voltase.aseplugin.potential_schedule.parse_potential_schedule` reads them. A ramp
        or series is laid out over the first :meth:`run`, unless it is bound already.
    reference : str or Reference
    timestep : float
        ASE units, such as ``0.5 * ase.units.fs``.
    temperature_K : float, optional
        Of the ions and of the electron number; required by every thermostat.
    method : str, optional
        ``bonnet-otani`` (default), ``newton`` or ``thermopotentiostat`` over a calculator of
        E(R, n); ``direct`` (default) over one of Omega(R, Phi).
    method_options : mapping, optional
        Keyword arguments of the method's class in
        :mod:`~voltase.aseplugin.potentiostat.methods`: bonnet-otani takes ``period``,
        ``thermostat`` and ``tau``; newton ``tolerance``; thermopotentiostat ``tau``.
    thermostat : {"langevin", "svr", "nose-hoover", "nve"}
        Of the ions.
    tau : float, optional
        Its time constant, ASE units; 100 fs by default.
    rng : numpy.random.Generator, optional
        A freshly seeded one by default.
    excess_electrons : float, optional
        n at step 0, e; by default the one at which the potential is the target.
    capacitance : float, optional
        First guess of -dn/dPhi, e/V; by default the calculator's own, or 10 uF/cm2.
    n_bounds : (float, float), optional
        Hard bounds on n, e; over a calculator without a training range 0.1 e/A^2 by default.
    allow_extrapolation : bool
        Let n, the target and the instantaneous potential leave the calculator's training ranges,
        with a logged warning; also by the calculator's own ``allow_extrapolation``.
    fix_com : bool
        Keep the centre of mass at rest, with 3 degrees of freedom less.
    area : float, optional
        That n spreads over, A^2: for the surface charge density in the log, the training range
        of n and the guess of the capacitance. By default the calculator's ``electrode_area``, or
        the cell's face.
    trajectory : path, optional
        ``.traj``, ``.extxyz`` or ``.xyz``; overwritten at the first step.
    logfile : path, optional
        CSV; overwritten at the first step.
    loginterval, trajectory_interval : int
        In steps.
    checkpoint : path, optional
        Written every ``checkpoint_interval`` steps and at the end of each run.
    max_temperature_K : float, optional
        3000 K by default, or ten times the target.
    max_displacement : float
        Of one atom in one step, A.
    confine : bool, optional
        Stop when an atom leaves the cell along a non-periodic axis; by default, if all atoms are
        inside at the start.

    Raises
    ------
    InputError
        If an argument is unusable or does not go with the others.
    DynamicsError
        From a run, at not-a-number, an explosion, lost atoms or an error of the calculator's; a
        frame is saved and named.
    ExtrapolationError
        If n, the target or the potential leaves its range.
    """

    def __init__(
        self,
        atoms: Atoms,
        potential: object,
        reference: str | Reference = "SHE",
        *,
        timestep: float,
        temperature_K: float | None = None,
        method: str | None = None,
        method_options: Mapping[str, Any] | None = None,
        thermostat: str = "langevin",
        tau: float | None = None,
        rng: np.random.Generator | None = None,
        excess_electrons: float | None = None,
        capacitance: float | None = None,
        n_bounds: tuple[float, float] | None = None,
        allow_extrapolation: bool = False,
        fix_com: bool = False,
        area: float | None = None,
        trajectory: StrPath | None = None,
        logfile: StrPath | None = None,
        loginterval: int = 1,
        trajectory_interval: int = 1,
        checkpoint: StrPath | None = None,
        checkpoint_interval: int = 1000,
        max_temperature_K: float | None = None,
        max_displacement: float = 1.0,
        confine: bool | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in OPTIONS}
        check_positive(timestep=timestep, optional=False)
        check_positive(temperature_K=temperature_K, tau=tau, area=area)
        check_real(max_displacement=max_displacement, optional=False)
        check_real(excess_electrons=excess_electrons, capacitance=capacitance)
        check_real(max_temperature_K=max_temperature_K)
        check_intervals(loginterval=loginterval, trajectory_interval=trajectory_interval)
        check_intervals(checkpoint_interval=checkpoint_interval)
        self.atoms = atoms
        self.timestep = timestep
        self.temperature_K = temperature_K
        self.reference = Reference.parse(reference)
        self.schedule = parse_potential_schedule(potential)
        check_plausible(np.array(self.schedule.values), self.reference)
        self.rng = np.random.default_rng() if rng is None else rng
        check_rng(self.rng)
        self.nsteps = 0
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.checkpoint_interval = checkpoint_interval
        self.model = charged_model(atoms.calc)
        surface = electrode_area(atoms.calc, atoms) if area is None else area
        self.limits = Limits.of(atoms.calc, surface, n_bounds, allow_extrapolation)
        for value in self.schedule.values:
            self.limits.check_potential(self.reference.to_absolute(value))
        self.ions = Ions(
            atoms, thermostat=thermostat, tau=tau, temperature_K=temperature_K,
            timestep=timestep, rng=self.rng, fix_com=fix_com,
        )  # fmt: skip
        if method is None:
            method = default_method(self.model.ensemble)
        context = RunContext(
            atoms=atoms,
            model=self.model,
            limits=self.limits,
            temperature_K=temperature_K,
            timestep=timestep,
            rng=self.rng,
            constant_energy=thermostat == "nve",
            capacitance=capacitance,
            area=surface,
        )
        self.potentiostat = make_potentiostat(method, context, method_options)
        if excess_electrons is not None and self.model.ensemble == GRAND_CANONICAL:
            raise InputError("excess_electrons: got a value, but the calculator determines n")
        self._first_n = excess_electrons
        self.guards = Guards.of(atoms, temperature_K, max_temperature_K, max_displacement, confine)
        if trajectory is not None:
            check_trajectory_name(Path(trajectory))
        self.recorder = Recorder(
            atoms,
            reference=self.reference,
            ensemble=self.model.ensemble,
            area=surface,
            logfile=None if logfile is None else Path(logfile),
            trajectory=None if trajectory is None else Path(trajectory),
            loginterval=loginterval,
            trajectory_interval=trajectory_interval,
            comment=f"method {method}; thermostat {thermostat}",
        )
        check_distinct(self.recorder.paths | {"checkpoint": self.checkpoint})
        # Files are closed with the object, also by the garbage collector and at exit.
        weakref.finalize(self, self.recorder.close)
        self.observers = Observers()
        self._started = False
        # False within a step: whatever ends one half way leaves nothing to go on from.
        self._usable = True
        self.options = given | {
            "method": method,
            "method_options": dict(method_options or {}),
            "n_bounds": None if n_bounds is None else list(n_bounds),
            "max_temperature_K": self.guards.max_temperature_K,
            "confine": self.guards.confines,
        }

    # -- state ---------------------------------------------------------------------------------

    @property
    def time(self) -> float:
        """Time since step 0, ASE units."""
        return self.nsteps * self.timestep

    @property
    def excess_electrons(self) -> float:
        """n, e."""
        return self.potentiostat.n

    @property
    def point(self) -> SinglePoint:
        """The last single point: energies, forces, n and potential."""
        return self.potentiostat.current

    @property
    def target(self) -> float:
        """Target potential, absolute, V."""
        return self.potentiostat.target

    @property
    def temperature(self) -> float:
        """Temperature of the ions, K.

        From the momenta at the end of a step, where B A O A B has them a share of
        (omega dt)^2/4 too cold for a mode of frequency omega.
        """
        return self.ions.temperature_of(self.ions.kinetic_energy)

    @property
    def conserved_energy(self) -> float:
        """Energy of the ions, the electrode and their baths, less the work done on them, eV.

        Its drift vanishes as the square of the time step, for every thermostat and while the
        target changes; for ``newton``, up to what the tolerance lets through.
        """
        return self._conserved(self.ions.kinetic_energy)

    def _conserved(self, kinetic_energy: float) -> float:
        ions = kinetic_energy - self.ions.heat + self.ions.thermostat.energy
        return ions + self.potentiostat.conserved_energy

    def attach(
        self, function: Callable[..., Any] | Any, interval: int = 1, *args: Any, **kwargs: Any
    ) -> None:
        """Call ``function(*args, **kwargs)`` at step 0 and every ``interval`` steps, as in ASE.

        An object with a method ``write`` may stand for the function; a negative interval means
        once, at step -interval. Observers are not part of a checkpoint.
        """
        self.observers.attach(function, interval, *args, **kwargs)

    # -- running -------------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        """Advance by ``steps`` further steps."""
        for _ in self.irun(steps):
            pass

    def irun(self, steps: int) -> Iterator["ConstantPotentialMD"]:
        """Advance by ``steps`` further steps, yielding after each; for a progress bar."""
        if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 0:
            raise InputError(f"steps: got {steps!r}, expected a whole number of 0 or more")
        self._check_usable()
        if self.schedule.depends_on_total and self.schedule.total_steps is None:
            self.schedule = self.schedule.bind(self.nsteps + int(steps))
        self._start()
        try:
            for _ in range(steps):
                self._usable = False
                self._step()
                self._record()
                self._usable = True
                self.observers.call(self.nsteps)
                if self.checkpoint is not None and self.nsteps % self.checkpoint_interval == 0:
                    self.save_checkpoint(self.checkpoint)
                yield self
            if self.checkpoint is not None and self.nsteps % self.checkpoint_interval != 0:
                self.save_checkpoint(self.checkpoint)
        finally:
            self.recorder.flush()

    def _check_usable(self) -> None:
        if not self._usable:
            raise DynamicsError("the run ended within a step or was closed, restart it")
        changed = self.ions.changed()
        if changed is None and self.atoms.calc is not self.model.calculator:
            changed = "calculator"
        if changed is not None:
            raise InputError(
                f"atoms: got other {changed}, expected the {changed} the run has; make a new "
                "ConstantPotentialMD to go on with a change"
            )

    def _start(self) -> None:
        """First single point, and the outputs of step 0."""
        if self._started:
            return
        first = self.schedule.values[0] if self.nsteps == 0 else self.schedule.at(self.nsteps)
        self.potentiostat.start(self.reference.to_absolute(first), self._first_n)
        self._guard(self.guards.check_point(self.point))
        self.ions.warn_if_adrift(self.point.forces)
        self.ions.begin()
        self.recorder.open()
        self._started = True
        self._record()
        self.observers.call(self.nsteps)

    def _step(self) -> None:
        half = 0.5 * self.timestep
        step = self.nsteps + 1
        ions, electrode = self.ions, self.potentiostat
        target = self.reference.to_absolute(self.schedule.at(step))
        ions.kick(half, self.point.forces)
        electrode.kick(half)
        ions.drift(half)
        electrode.drift(half)
        ions.apply_thermostat()
        electrode.midpoint(target)
        ions.drift(half)
        electrode.drift(half)
        self.nsteps = step
        self._evaluate()
        ions.kick(half, self.point.forces)
        electrode.kick(half)
        ions.put_momenta()

    def _evaluate(self) -> None:
        before = self.atoms.arrays["positions"].copy()
        self._guard(self.guards.check_displacement(self.ions.put_positions()), before)
        self._guard(self.guards.check_confined(self.atoms), before)
        try:
            self.potentiostat.evaluate()
            self.limits.check_potential(self.point.potential, "electrode_potential")
        except ExtrapolationError as error:
            frame = self._fail(before)
            raise ExtrapolationError(f"step {self.nsteps}: {error}; frame in {frame}") from error
        except VoltaseError as error:
            self._guard(str(error), before)
        self._guard(self.guards.check_point(self.point), before)

    def _record(self) -> None:
        kinetic_energy = self.ions.kinetic_energy
        temperature = self.ions.temperature_of(kinetic_energy)
        self._guard(self.guards.check_temperature(temperature))
        time_fs = self.time / fs
        self.recorder.annotate(self.point, self.target, time_fs)
        record = StepRecord(
            step=self.nsteps,
            time_fs=time_fs,
            temperature_K=temperature,
            conserved_energy=self._conserved(kinetic_energy),
            target=self.target,
            point=self.point,
        )
        self.recorder.write(record)

    def _guard(self, problem: str | None, positions: Any = None) -> None:
        if problem is not None:
            frame = self._fail(positions)
            raise DynamicsError(f"step {self.nsteps}: {problem}; frame in {frame}", self.nsteps)

    def _fail(self, positions: Any) -> Path:
        """Stop for good: save the frame, with the positions of the step before, if given."""
        self._usable = False
        self.recorder.flush()
        outputs = (self.recorder.trajectory, self.recorder.logfile, self.checkpoint)
        beside = next((path for path in outputs if path is not None), None)
        return save_failed_frame(self.atoms, self.nsteps, beside, positions)

    # -- restart -------------------------------------------------------------------------------

    def save_checkpoint(self, path: StrPath) -> None:
        """Write everything a restart needs, after making log and trajectory durable.

        Raises
        ------
        CheckpointError
            If it cannot be written.
        InputError
            If the path is that of the log or the trajectory, or the atoms were changed.
        """
        self._check_usable()
        path = Path(path)
        check_distinct(self.recorder.paths | {"path": path})
        self._start()
        write_checkpoint(path, run_state(self, path.parent))

    @classmethod
    def from_checkpoint(
        cls, path: StrPath, calculator: Any, **outputs: StrPath | None
    ) -> "ConstantPotentialMD":
        """The run as it was at the checkpoint; ``run`` goes on bit for bit.

        Log and trajectory are cut back to the checkpoint when this returns; what follows is as
        if the run had never stopped.

        Parameters
        ----------
        path : path
        calculator : Calculator
            The same model, with the same ``identity`` if it has one.
        **outputs : path or None
            ``trajectory``, ``logfile`` or ``checkpoint``, where they are to be found now; by
            default where they were, relative to the checkpoint. None goes on without.

        Raises
        ------
        CheckpointError
            If the checkpoint cannot be read, belongs to another model, or its files are missing,
            too short or of another kind. All of them are as they were then.
        """
        path = Path(path)
        state, arguments = read_run(path, calculator, outputs)
        dynamics = cls(**arguments)
        load_run_state(dynamics, state, path)
        dynamics._started = True
        return dynamics

    def close(self) -> None:
        """Close log and trajectory; the run cannot go on after this."""
        self.recorder.close()
        self._usable = False
