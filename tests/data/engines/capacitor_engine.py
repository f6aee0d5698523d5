"""An analytic engine for tests: a capacitor whose potential of zero charge the atoms shift.

E(R, n) = sum k u^2/2 - n (phi0 + g sum u) + n^2/(2 C), with u the heights above 10 A.
"""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from voltase.aseplugin.density_grid import DensityGrid
from voltase.aseplugin.engines.base import Capabilities, ElectronicState, Engine
from voltase.aseplugin.errors import ScfError

STIFFNESS, COUPLING, PZC = 2.0, 0.4, 4.6


class CapacitorEngine(Engine):
    """Counts its calls in a file, and fails where it is told to."""

    code = "Capacitor"

    def __init__(
        self,
        excess_electrons: float = 0.0,
        *,
        log: str | None = None,
        capacitance: float = 0.2,
        seconds: float = 0.0,
        diverges_at: Sequence[float] = (),
        diverges_warm_at: Sequence[float] = (),
        raises_at: Sequence[float] = (),
        dies_at: Sequence[float] = (),
        density: bool = True,
        reference: str | None = "vacuum",
    ) -> None:
        self.log, self.capacitance, self.seconds = log, capacitance, seconds
        self.diverges_at, self.diverges_warm_at = diverges_at, diverges_warm_at
        self.raises_at, self.dies_at = raises_at, dies_at
        self.with_density, self.reference = density, reference
        self.calls = 0
        super().__init__(excess_electrons)

    @property
    def capabilities(self) -> Capabilities:
        reference: Any = self.reference
        return Capabilities(reference, density=self.with_density, charges=("mulliken_charges",))

    @property
    def settings(self) -> dict[str, Any]:
        return {"code": self.code, "version": "1.0", "capacitance": self.capacitance}

    def version(self) -> str:
        return "1.0"

    def single_point(self, atoms: Atoms, excess_electrons: float) -> ElectronicState:
        n, warm = excess_electrons, self.calls > 0
        self.calls += 1
        self._note(f"begin {len(atoms)} {n:g}")
        time.sleep(self.seconds)
        if n in self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if n in self.raises_at:
            raise ZeroDivisionError("a bug of the code")
        if n in self.diverges_at or (warm and n in self.diverges_warm_at):
            raise ScfError("Capacitor: no convergence in 1 step")
        heights = atoms.positions[:, 2] - 10.0
        zero = PZC + COUPLING * float(heights.sum())
        forces = np.zeros((len(atoms), 3))
        forces[:, 2] = -STIFFNESS * heights + n * COUPLING
        self._note(f"end {len(atoms)} {n:g}")
        return ElectronicState(
            energy=float(0.5 * STIFFNESS * heights @ heights - n * zero
                         + 0.5 * n * n / self.capacitance),
            forces=forces,
            electrode_potential=None if self.reference is None else zero - n / self.capacitance,
            fermi_level=-zero,
            scf_iterations=3 if warm else 9,
            arrays={"mulliken_charges": np.full(len(atoms), -n / len(atoms))},
        )  # fmt: skip

    def density(self) -> DensityGrid:
        n = self.excess_electrons
        volume = self.atoms.get_volume()
        return DensityGrid(np.full((4, 4, 8), (10.0 + n) / volume), self.atoms.cell.array.copy())

    def electrostatic_potential_planar(self) -> NDArray[np.float64]:
        return np.linspace(0.0, 1.0, 16)

    def _note(self, line: str) -> None:
        if self.log is not None:
            with Path(self.log).open("a") as handle:
                handle.write(f"{line}\n")
