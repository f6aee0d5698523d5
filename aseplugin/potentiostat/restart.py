"""A run as a tree of plain values and arrays, and back."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voltase.aseplugin.electrochemistry import Reference
from voltase.aseplugin.errors import CheckpointError, InputError
from voltase.aseplugin.potential_schedule import PotentialSchedule
from voltase.aseplugin.potentiostat.arguments import check_distinct
from voltase.aseplugin.potentiostat.checkpoint import (
    pack_atoms,
    pack_rng,
    read_checkpoint,
    unpack_atoms,
    unpack_rng,
)

if TYPE_CHECKING:
    from voltase.aseplugin.potentiostat.dynamics import ConstantPotentialMD

OUTPUTS = ("trajectory", "logfile", "checkpoint")
OPTIONS = frozenset({
    "timestep", "temperature_K", "method", "method_options", "thermostat", "tau",
    "excess_electrons", "capacitance", "n_bounds", "allow_extrapolation", "fix_com", "area",
    "loginterval", "trajectory_interval", "checkpoint_interval", "max_temperature_K",
    "max_displacement", "confine",
})  # fmt: skip
"""Arguments of the dynamics that a checkpoint keeps as they are."""


def run_state(dynamics: "ConstantPotentialMD", folder: Path) -> dict[str, Any]:
    """Everything a run in progress needs to go on.

    Parameters
    ----------
    dynamics : ConstantPotentialMD
    folder : Path
        Of the checkpoint: the paths of the outputs are kept relative to it, so that the folder of
        a run can be moved.
    """
    paths = (dynamics.recorder.trajectory, dynamics.recorder.logfile, dynamics.checkpoint)
    return {
        "options": dynamics.options,
        "potential": dynamics.schedule.as_dict(),
        "reference": dynamics.reference.as_dict(),
        "identity": dynamics.model.identity,
        "step": dynamics.nsteps,
        "atoms": pack_atoms(dynamics.atoms),
        "rng": pack_rng(dynamics.rng),
        "heat": dynamics.ions.heat,
        "thermostat": dynamics.ions.thermostat.state(),
        "potentiostat": dynamics.potentiostat.state(),
        "calculator": dynamics.model.checkpoint_state(),
        "outputs": dynamics.recorder.marks(),
        "files": {
            name: None if path is None else os.path.relpath(path, folder)
            for name, path in zip(OUTPUTS, paths, strict=True)
        },
    }


def read_run(
    path: Path, calculator: Any, outputs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A checkpoint's state, and the arguments of the dynamics that goes on from it."""
    for name in outputs:
        if name not in OUTPUTS:
            raise InputError(f"outputs: got {name!r}, expected one of {', '.join(OUTPUTS)}")
    state = read_checkpoint(path)
    files = {
        name: None if recorded is None else path.parent / recorded
        for name, recorded in state["files"].items()
    }
    files |= {name: None if value is None else Path(value) for name, value in outputs.items()}
    # A checkpoint may be written over, but not by another output.
    check_distinct({"path": path, "trajectory": files["trajectory"], "logfile": files["logfile"]})
    atoms = unpack_atoms(state["atoms"])
    atoms.calc = calculator
    arguments = {
        "atoms": atoms,
        "potential": PotentialSchedule.from_dict(state["potential"]),
        "reference": Reference.from_dict(state["reference"]),
        "rng": unpack_rng(state["rng"]),
        **state["options"],
        **files,
    }
    return state, arguments


def load_run_state(dynamics: "ConstantPotentialMD", state: Mapping[str, Any], path: Path) -> None:
    """Bring freshly made dynamics to the state of a checkpoint, and cut its outputs back to it."""
    expected, found = state["identity"], dynamics.model.identity
    if expected != found:
        raise CheckpointError(
            f"{path}: got a calculator with identity {found}, expected {expected}"
        )
    dynamics.nsteps = int(state["step"])
    dynamics.ions.heat = float(state["heat"])
    dynamics.ions.thermostat.load_state(state["thermostat"])
    dynamics.potentiostat.load_state(state["potentiostat"])
    dynamics.model.restore_state(state["calculator"])
    dynamics.recorder.open(state["outputs"])
