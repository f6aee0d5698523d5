"""What a run writes down at every step: atoms.info, the log and the trajectory."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from voltase.aseplugin.electrochemistry import Reference, surface_charge_density
from voltase.aseplugin.potentiostat.checkpoint import encodable_info
from voltase.aseplugin.potentiostat.contract import CANONICAL, SinglePoint
from voltase.aseplugin.potentiostat.output import (
    LogFile,
    TrajectoryFile,
    check_log,
    check_trajectory,
    fill_frame,
    open_trajectory,
)

logger = logging.getLogger(__name__)

COLUMNS = (
    "step",
    "time_fs",
    "T_K",
    "E_eV",
    "Omega_eV",
    "conserved_eV",
    "n_e",
    "sigma_uC_cm2",
    "Phi_V",
    "U_V",
    "target_U_V",
    "forces_spread_eV_A",
    "Phi_spread_V",
)
"""Of the log. The spreads are the last ones known, not-a-number where the calculator has none."""


@dataclass(frozen=True)
class StepRecord:
    """The state at the end of one step, as it is logged."""

    step: int
    time_fs: float
    temperature_K: float
    conserved_energy: float
    target: float
    point: SinglePoint


class Recorder:
    """Writer of a run's outputs.

    Parameters
    ----------
    atoms : Atoms
    reference : Reference
    ensemble : str
        Of the calculator: the energy of a frame is the one its forces derive from.
    area : float or None
        For sigma, A^2.
    logfile, trajectory : Path or None
    loginterval, trajectory_interval : int
        In steps.
    comment : str
        What the first line of the log says beside the reference.
    """

    def __init__(
        self,
        atoms: Atoms,
        *,
        reference: Reference,
        ensemble: str,
        area: float | None,
        logfile: Path | None,
        trajectory: Path | None,
        loginterval: int,
        trajectory_interval: int,
        comment: str,
    ) -> None:
        self.atoms = atoms
        self.reference = reference
        self.ensemble = ensemble
        self.area = area
        self.logfile = logfile
        self.trajectory = trajectory
        self.loginterval = loginterval
        self.trajectory_interval = trajectory_interval
        zero = reference.zero_absolute
        self._comment = (
            f"voltase constant-potential MD; U in {reference.label}, whose zero is at {zero!r} V "
            f"absolute; {comment}"
        )
        self._frame = atoms.copy()
        self._forces_spread = self._potential_spread = math.nan
        self._log: LogFile | None = None
        self._frames: TrajectoryFile | None = None

    @property
    def paths(self) -> dict[str, Path | None]:
        """Of the outputs, by the names of their arguments."""
        return {"trajectory": self.trajectory, "logfile": self.logfile}

    def open(self, marks: Mapping[str, Any] | None = None) -> None:
        """Open the files; cut back to a checkpoint's marks, if there are any.

        Raises
        ------
        CheckpointError
            If a file is not the one that was marked; none is changed then.
        InputError
            If the folder of a new file does not exist.
        """
        dropped = sorted(set(map(str, self.atoms.info)) - set(map(str, encodable_info(self.atoms))))
        if dropped:
            logger.warning("info: %s cannot be written and is left out", ", ".join(dropped))
        marks = {} if marks is None else marks
        if marks:
            self._forces_spread, self._potential_spread = marks["spreads"]
        size = (marks.get("log") or {}).get("bytes")
        mark = marks.get("trajectory")
        # Both before either: a refusal leaves them as they are.
        if self.logfile is not None:
            check_log(self.logfile, COLUMNS, size)
        if self.trajectory is not None:
            check_trajectory(self.trajectory, self._frame, mark)
        if self.logfile is not None:
            self._log = LogFile(self.logfile, COLUMNS, self._comment, size)
        if self.trajectory is not None:
            self._frames = open_trajectory(self.trajectory, self._frame, mark)

    def annotate(self, point: SinglePoint, target: float, time_fs: float) -> None:
        """Write time, n, potentials and the other energy to ``atoms.info``; note the spreads."""
        if point.forces_spread is not None:
            self._forces_spread = point.forces_spread
        if point.potential_spread is not None:
            self._potential_spread = point.potential_spread
        info = self.atoms.info
        info["time_fs"] = time_fs
        info["excess_electrons"] = point.excess_electrons
        info["electrode_potential"] = point.potential
        info["target_potential"] = target
        info["potential_reference"] = self.reference.label
        info["potential_reference_zero"] = self.reference.zero_absolute
        if self.ensemble == CANONICAL:
            info["grand_energy"] = point.grand_energy
        else:
            info["canonical_energy"] = point.energy

    def write(self, record: StepRecord) -> None:
        """Log the step and store a frame, where it is their turn."""
        if self._log is not None and record.step % self.loginterval == 0:
            self._log.write(self._row(record))
        if self._frames is not None and record.step % self.trajectory_interval == 0:
            point = record.point
            energy = point.energy if self.ensemble == CANONICAL else point.grand_energy
            self._frames.write(fill_frame(self._frame, self.atoms, energy, point.forces))

    def _row(self, record: StepRecord) -> dict[str, float]:
        point = record.point
        n = point.excess_electrons
        return {
            "step": record.step,
            "time_fs": record.time_fs,
            "T_K": record.temperature_K,
            "E_eV": point.energy,
            "Omega_eV": point.grand_energy,
            "conserved_eV": record.conserved_energy,
            "n_e": n,
            "sigma_uC_cm2": math.nan if self.area is None else surface_charge_density(n, self.area),
            "Phi_V": point.potential,
            "U_V": self.reference.from_absolute(point.potential),
            "target_U_V": self.reference.from_absolute(record.target),
            "forces_spread_eV_A": self._forces_spread,
            "Phi_spread_V": self._potential_spread,
        }

    def marks(self) -> dict[str, Any]:
        """Ends of the files, made durable, for a checkpoint."""
        spreads = [self._forces_spread, self._potential_spread]
        marks: dict[str, Any] = {"log": None, "trajectory": None, "spreads": spreads}
        if self._log is not None:
            marks["log"] = self._log.mark()
        if self._frames is not None:
            marks["trajectory"] = self._frames.mark()
        return marks

    def flush(self) -> None:
        """Hand everything written so far to the operating system."""
        for file in (self._log, self._frames):
            if file is not None:
                file.flush()

    def close(self) -> None:
        """Close the files."""
        for file in (self._log, self._frames):
            if file is not None:
                file.close()
        self._log = self._frames = None
