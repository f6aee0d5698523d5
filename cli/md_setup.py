"""From settings to dynamics that are ready to run; nothing is written here."""

import contextlib
import inspect
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import fs

from voltase.aseplugin.errors import DynamicsError, ExtrapolationError, InputError
from voltase.aseplugin.potentiostat.contract import CANONICAL
from voltase.aseplugin.potentiostat.dynamics import ConstantPotentialMD
from voltase.aseplugin.potentiostat.thermostats import THERMOSTATS
from voltase.cli.md_settings import CHECKPOINT, MDSettings, named_as_options
from voltase.cli.md_structure import draw_momenta, read_structure

if TYPE_CHECKING:
    from ase import Atoms

    from voltase.aseplugin.calculators.pemace import PEMACE

# TorchScript compiles a function anew after its first call, and rounds otherwise from then on.
_WARM_UP_CALLS = 2
FEWEST_FOR_THREADS = 500
"""Atoms below which one thread is as fast as several."""


@dataclass
class Setup:
    """Dynamics and what was settled on the way to them.

    Attributes
    ----------
    dynamics : ConstantPotentialMD
    settings : MDSettings
        Without defaults left open.
    model : dict
        Facts on the model, for the summary.
    momenta_drawn : bool
        Whether the structure came without.
    """

    dynamics: ConstantPotentialMD
    settings: MDSettings
    model: dict[str, Any]
    momenta_drawn: bool = False


def set_up(settings: MDSettings, folder: Path) -> Setup:
    """Dynamics at step 0, whose outputs will go to ``folder``.

    Raises
    ------
    VoltaseError
        If model, structure or settings are unusable, or do not go together.
    """
    # The structure first: its flaws are found sooner than the model is loaded.
    atoms = read_structure(settings.structure, settings.model)
    calculator, settings = load_calculator(settings, len(atoms))
    rng = np.random.default_rng(settings.seed)
    drawn = draw_momenta(atoms, settings.temp, rng)
    with named_as_options():
        _rehearse(settings, calculator, atoms)
        atoms.calc = calculator
        outputs: dict[str, Any] = {
            "trajectory": folder / settings.traj,
            "logfile": folder / settings.log,
            "checkpoint": folder / CHECKPOINT,
        }
        dynamics = _dynamics(settings, atoms, rng, outputs)
    return Setup(dynamics, _settled(settings, dynamics), model_facts(calculator), drawn)


def _dynamics(
    settings: MDSettings, atoms: "Atoms", rng: np.random.Generator, outputs: dict[str, Any]
) -> ConstantPotentialMD:
    return ConstantPotentialMD(
        atoms,
        potential=settings.schedule().bind(settings.steps),
        reference=settings.electrode_reference(),
        timestep=settings.timestep * fs,
        temperature_K=settings.temp,
        method=settings.method,
        method_options=_method_options(settings),
        thermostat=settings.thermostat,
        tau=None if settings.tau is None else settings.tau * fs,
        rng=rng,
        allow_extrapolation=settings.allow_extrapolation,
        fix_com=_holds_centre_of_mass(settings.thermostat, atoms),
        loginterval=settings.log_every,
        trajectory_interval=settings.traj_every,
        checkpoint_interval=settings.checkpoint_every,
        max_temperature_K=settings.max_temp,
        **outputs,
    )


def _rehearse(settings: MDSettings, calculator: "PEMACE", atoms: "Atoms") -> None:
    """Do step 0 without outputs and forget it: whatever does not fit together shows here."""
    state = calculator.checkpoint_state()
    electrons = calculator.excess_electrons if calculator.ensemble == CANONICAL else None
    trial = atoms.copy()
    warm_up(calculator, trial)
    trial.calc = calculator
    # A frame that cannot start is the one that was given: nobody needs another copy of it.
    with tempfile.TemporaryDirectory(prefix="voltase-") as scratch:
        outputs = {"checkpoint": Path(scratch) / CHECKPOINT}
        try:
            _dynamics(settings, trial, np.random.default_rng(0), outputs).run(0)
        except DynamicsError as error:
            raise DynamicsError(str(error).partition("; frame in ")[0], error.step) from None
    calculator.restore_state(state)
    if electrons is not None:
        calculator.excess_electrons = electrons
    calculator.reset()


def set_up_restart(settings: MDSettings, folder: Path, sha256: str) -> Setup:
    """Dynamics at the last checkpoint in ``folder``; log and trajectory are cut back to it.

    Parameters
    ----------
    settings : MDSettings
        Of the run, with the changes a restart may make.
    folder : Path
    sha256 : str
        Of the model's weights in the run so far.

    Raises
    ------
    VoltaseError
        If the model is another one, or the folder's files do not belong together.
    """
    from voltase.aseplugin.potentiostat.checkpoint import read_checkpoint, unpack_atoms

    path = folder / CHECKPOINT
    atoms = unpack_atoms(read_checkpoint(path)["atoms"])
    calculator, settings = load_calculator(settings, len(atoms))
    if calculator.sha256 != sha256:
        raise InputError(
            f"--model: got {settings.model} with sha256 {calculator.sha256[:12]}, but the run "
            f"has {sha256[:12]}, which a restart cannot change"
        )
    warm_up(calculator, atoms)
    outputs = {"trajectory": folder / settings.traj, "logfile": folder / settings.log}
    dynamics = ConstantPotentialMD.from_checkpoint(path, calculator, **outputs, checkpoint=path)
    # A ramp refuses another length here.
    dynamics.schedule = dynamics.schedule.bind(settings.steps)
    dynamics.checkpoint_interval = settings.checkpoint_every
    dynamics.options["checkpoint_interval"] = settings.checkpoint_every
    dynamics.options["allow_extrapolation"] = settings.allow_extrapolation
    dynamics.potentiostat.context.limits.allow_extrapolation = settings.allow_extrapolation
    if settings.max_temp is not None:
        dynamics.guards = replace(dynamics.guards, max_temperature_K=settings.max_temp)
        dynamics.options["max_temperature_K"] = settings.max_temp
    return Setup(dynamics, _settled(settings, dynamics), model_facts(calculator))


def load_calculator(settings: MDSettings, atoms: int) -> "tuple[PEMACE, MDSettings]":
    """The model for a number of atoms, and the settings with the number of threads it runs on."""
    import torch

    from voltase.aseplugin.calculators.pemace import PEMACE

    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    elif atoms < FEWEST_FOR_THREADS:
        torch.set_num_threads(1)
    with named_as_options():
        calculator = PEMACE(
            settings.model,
            dtype=settings.dtype,
            device=settings.device,
            domain=settings.domain,
            committee_every=settings.committee_every,
            allow_extrapolation=settings.allow_extrapolation,
        )
    return calculator, replace(settings, threads=torch.get_num_threads())


def warm_up(calculator: "PEMACE", atoms: "Atoms") -> None:
    """Evaluate and discard, until the model answers equal questions with equal bits.

    A run that goes on from a checkpoint could not repeat one that never stopped otherwise.
    """
    wanted = ["forces"]
    if calculator.committee_every > 0:
        wanted.append("forces_spread")
    for _ in range(_WARM_UP_CALLS):
        for name in wanted:
            # What is out of range as it stands need not be so where the run starts.
            with contextlib.suppress(ExtrapolationError):
                calculator.get_property(name, atoms)
            calculator.reset()


def model_facts(calculator: "PEMACE") -> dict[str, Any]:
    """What the summary says of the model."""
    card = calculator.card
    return {
        "sha256": calculator.sha256,
        "ensemble": calculator.ensemble,
        # Those of the domain, which are the limits in force.
        "potential_range_V_absolute": _limits(calculator.potential_range),
        "electrons_per_area_range_e_A2": _limits(calculator.excess_electrons_per_area_range),
        **{key: card[key] for key in ("description", "doi", "licence") if key in card},
    }


def _limits(limits: tuple[float, float] | None) -> list[float] | None:
    return None if limits is None else list(limits)


def _method_options(settings: MDSettings) -> dict[str, float]:
    options = {
        "period": settings.period and settings.period * fs,
        "tau": settings.potentiostat_tau and settings.potentiostat_tau * fs,
        "tolerance": settings.tolerance,
    }
    return {name: value for name, value in options.items() if value is not None}


def _holds_centre_of_mass(thermostat: str, atoms: "Atoms") -> bool:
    # Where nothing else stops it, it would keep a momentum that belongs to no temperature.
    kind = THERMOSTATS.get(thermostat)
    return kind is not None and kind.conserves_momentum and not atoms.constraints


def _settled(settings: MDSettings, dynamics: ConstantPotentialMD) -> MDSettings:
    """The settings with the defaults the dynamics chose; they make the same dynamics again."""
    potentiostat = dynamics.potentiostat
    tau = getattr(dynamics.ions.thermostat, "tau", None)
    chosen = {
        name: getattr(potentiostat, name, parameter.default)
        for name, parameter in inspect.signature(type(potentiostat)).parameters.items()
    }
    return replace(
        settings,
        method=potentiostat.name,
        period=_femtoseconds(chosen.get("period")),
        potentiostat_tau=settings.potentiostat_tau or _femtoseconds(chosen.get("tau")),
        tolerance=chosen.get("tolerance"),
        tau=_femtoseconds(tau),
        max_temp=dynamics.guards.max_temperature_K,
    )


def _femtoseconds(time: float | None) -> float | None:
    # Rounded back to the number that was multiplied by fs.
    return None if time is None else float(f"{time / fs:.12g}")
