"""VASP, with VASPsol's implicit electrolyte for charged slabs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculatorSetupError
from ase.calculators.vasp import Vasp, VaspChargeDensity
from ase.io.vasp import read_vasp_out
from numpy.typing import NDArray

from voltase.aseplugin.engines.base import Capabilities, ElectronicState
from voltase.aseplugin.engines.files import FileEngine, read_text
from voltase.aseplugin.engines.vacuum_level import check_slab, vacuum_level
from voltase.aseplugin.errors import EngineError, InputError

_OWN = ("charge", "command", "directory", "efermi_ref", "ibrion", "icharg", "istart", "label",
        "lwave", "nelect", "nsw", "restart", "txt")  # fmt: skip
"""What the engine sets itself; efermi_ref would have VASPsol++ change n and print Omega."""
_NELECT_PRINTED = 2e-4
"""VASP prints NELECT with four decimals."""


class VaspEngine(FileEngine):
    """E(R, n) from VASP, n as ``NELECT`` = the neutral cell's electrons + n.

    The energy is the free energy TOTEN, of which VASP's forces are the derivative; not the one
    extrapolated to no smearing.

    Charged slabs need the implicit electrolyte of VASPsol (Mathew et al., J. Chem. Phys. 151,
    234101 (2019), doi:10.1063/1.5132354; ``lsol=True`` and a Debye length ``lambda_d_k`` in A) or
    VASPsol++ (``lsol=True, isol=2`` and ``c_molar``), whose ions balance n. The reference is the
    potential deep in the electrolyte.

    - VASPsol leaves VASP's own zero, the average potential in the cell, and prints the distance
      from it, ``FERMI_SHIFT``. So Phi = -(E_Fermi + FERMI_SHIFT)/e and E = TOTEN + n FERMI_SHIFT
      (its ``USAGE.md``: add Q V; V is an energy of electrons, hence Q in electrons). FERMI_SHIFT
      is the G = 0 term of the pseudopotentials, which depends on cell and elements alone: so VASP's
      forces are those of E as well, and -dE/dn = Phi. A VASP without its patch to ``pot.F`` prints
      none, which is an error here.
    - VASPsol++ prints energy and Fermi level on the electrolyte's scale already (its README), so
      nothing is added. The term ``Ecorr_sol`` in its OUTCAR tells it from VASPsol.

    A neutral slab without a solvent has its vacuum as the reference (``vacuum_level``): the
    planar average of LOCPOT with VASP's dipole correction, Phi = (V_vacuum - E_Fermi)/e.

    Plain VASP balances n by a uniform background, which is refused unless ``uniform_background``
    is set; then there is no potential. To get one afterwards, with V(n) the level of the vacuum or
    of the solvent's middle at n, E(n) = TOTEN(n) - integral of V from 0 to n (Filhol and Neurock,
    doi:10.1002/anie.200502540). It needs calculations along n, and the integral's derivative is
    missing in the forces: so it is not done here.

    Parameters
    ----------
    excess_electrons : float
        n in e.
    neutral_electrons : float, optional
        Electrons of the neutral cell; by default from ZVAL in the POTCAR files.
    vacuum_level : bool
        Give a potential against the vacuum; for n = 0 without a solvent.
    uniform_background : bool
        Allow n other than 0 without an electrolyte.
    directory, command, timeout
        See `FileEngine`. The command is ``ASE_VASP_COMMAND``, ``VASP_COMMAND`` or ``VASP_SCRIPT``
        of ASE's configuration by default.
    **parameters
        Of `ase.calculators.vasp.Vasp`, such as ``xc="PBE", encut=400, kpts=(4, 4, 1)``.

    Raises
    ------
    EngineError
        If the settings ask for what is not supported.
    """

    code = "VASP"
    charge_hint = " (lsol with lambda_d_k, or uniform_background, allow others)"
    input_name = "INCAR"
    output_name = "vasp.out"
    results_names = ("OUTCAR", "LOCPOT")

    def __init__(
        self,
        excess_electrons: float = 0.0,
        *,
        neutral_electrons: float | None = None,
        vacuum_level: bool = False,
        uniform_background: bool = False,
        directory: str | os.PathLike[str] | None = None,
        command: str | None = None,
        timeout: float | None = None,
        **parameters: Any,
    ) -> None:
        if neutral_electrons is not None and not neutral_electrons > 0:
            raise InputError(f"neutral_electrons: found {neutral_electrons}, expected more than 0")
        self.neutral_electrons = neutral_electrons
        self.vacuum_level = vacuum_level
        self.uniform_background = uniform_background
        self.vasp_parameters = _checked(parameters, vacuum_level, uniform_background)
        self._resort: list[int] = []
        self._nelect = 0.0
        super().__init__(excess_electrons, directory=directory, command=command, timeout=timeout)

    @property
    def capabilities(self) -> Capabilities:
        """What the present settings give."""
        if _has_ions(self.vasp_parameters):
            return Capabilities(potential_reference="electrolyte", charged=True)
        return Capabilities(
            potential_reference="vacuum" if self.vacuum_level else None,
            charged=self.uniform_background,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides the results but VASP's version, known after a run alone."""
        return {
            "code": self.code,
            "neutral_electrons": self.neutral_electrons,
            "vacuum_level": self.vacuum_level,
            "uniform_background": self.uniform_background,
            **self.vasp_parameters,
        }

    def version(self) -> str:
        """VASP's version, from its last output.

        Raises
        ------
        EngineError
            Before the first calculation.
        """
        path = self.run_directory / "OUTCAR"
        found = re.match(r"\s*vasp\.(\S+)", read_text(path)) if path.is_file() else None
        if found is None:
            raise EngineError("version: VASP says it in a calculation alone, expected one before")
        return found[1]

    def configured_command(self) -> str:
        """The command of ASE's configuration."""
        try:
            return str(Vasp(directory=str(self.run_directory)).make_command())
        except CalculatorSetupError as error:
            raise EngineError(
                "command: found none for VASP, expected it here or as ASE_VASP_COMMAND in ASE's "
                "configuration"
            ) from error

    def arguments(self) -> str:
        """What follows the command: nothing."""
        return ""

    def check_request(self, atoms: Atoms, n: float) -> None:
        """See `FileEngine.check_request`."""
        if not atoms.pbc.all() or atoms.cell.rank < 3:
            raise EngineError("atoms: found a cell that is not periodic in 3D, expected one")
        if self.vacuum_level:
            check_slab(atoms)

    def write_input(self, atoms: Atoms, n: float, restart: bool) -> None:
        """See `FileEngine.write_input`."""
        parameters = self.vasp_parameters | {
            "nsw": 0,
            "ibrion": -1,
            "lwave": True,
            "istart": 1 if restart else 0,
            "icharg": 0 if restart else 2,
        }
        try:
            vasp = Vasp(directory=str(self.run_directory), **parameters)
            vasp.initialize(atoms)
            neutral = self.neutral_electrons
            if neutral is None:
                neutral = vasp.default_nelect_from_ppp()
            self._nelect = neutral + n
            if self._nelect <= 0:
                raise EngineError(f"excess_electrons: found {n:g} with {neutral:g} electrons in "
                                  "the neutral cell, expected some to be left")  # fmt: skip
            vasp.set(nelect=self._nelect)
            vasp.write_input(atoms)
        except (OSError, RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            if isinstance(error, EngineError):
                raise
            raise EngineError(f"VASP's input: {' '.join(str(error).split())}") from error
        self._resort = list(vasp.resort)

    def restart_files(self) -> list[Path]:
        """The wave functions; VASP leaves an empty file where it wrote none."""
        path = self.run_directory / "WAVECAR"
        return [path] if path.is_file() and path.stat().st_size else []

    def _outcar(self) -> str:
        path = self.run_directory / "OUTCAR"
        return read_text(path) if path.is_file() else ""

    def not_converged(self, output: str) -> bool:
        """See `FileEngine.not_converged`; OUTCAR says it."""
        outcar = self._outcar()
        return "General timing" in outcar and "EDIFF is reached" not in outcar

    def message(self, output: str) -> str:
        """The sentences in the last box that VASP drew, or its last line with an error."""
        boxes = re.findall(r"(?:^ *\|.*\|[ ]*\n)+", output, re.MULTILINE)
        if boxes:
            lines = [" ".join(line.strip(" |").split()) for line in boxes[-1].splitlines()]
            # Its large letters have no lower case.
            return " ".join(line for line in lines if re.search(r"[a-z]{2}", line))
        errors = [line for line in output.splitlines() if "error" in line.lower()]
        return errors[-1] if errors else ""

    def read_output(self, atoms: Atoms, n: float, output: str) -> ElectronicState:
        """See `FileEngine.read_output`."""
        outcar = self._outcar()
        if "General timing" not in outcar:
            raise ValueError("no 'General timing' at the end of OUTCAR")
        nelect = float(re.findall(r"NELECT\s*=\s*(\S+)", outcar)[-1])
        if abs(nelect - self._nelect) > _NELECT_PRINTED:
            raise EngineError(f"NELECT: found {nelect:g} in OUTCAR, expected {self._nelect:g}")
        written = read_vasp_out(self.run_directory / "OUTCAR", index=-1)
        if not np.array_equal(written.numbers[self._resort], atoms.numbers):
            raise ValueError(f"found the atoms {written.symbols}")
        results = written.calc
        # The single point calculator has the level "free_energy" for TOTEN.
        energy = float(results.get_property("free_energy", allow_calculation=False))
        level = float(re.findall(r"E-fermi\s*:\s*(\S+)", outcar)[-1])
        forces: NDArray[np.float64] = np.asarray(results.get_forces(), dtype=np.float64)
        shift = self._shift(output, outcar)
        iterations = re.findall(r"Iteration\s+\d+\(\s*(\d+)\)", outcar)
        return ElectronicState(
            energy=energy + n * shift,
            forces=forces[self._resort],
            electrode_potential=self._electrode_potential(atoms, level + shift),
            fermi_level=level,
            scf_iterations=int(iterations[-1]) if iterations else None,
        )

    def _shift(self, output: str, outcar: str) -> float:
        """What brings VASP's scale of energies to the electrolyte's, eV."""
        if not _has_ions(self.vasp_parameters):
            return 0.0
        printed = [float(x) for x in re.findall(r"FERMI_SHIFT\s*=\s*(\S+)", output)]
        # VASPsol prints 0 before its first solution.
        shifts = [x for x in printed if x != 0]
        plus_plus = "Ecorr_sol" in outcar
        if plus_plus and not shifts:
            return 0.0
        if plus_plus or not shifts:
            found = f"{shifts[-1]:g} eV and Ecorr_sol" if plus_plus else "neither it nor Ecorr_sol"
            raise EngineError(
                f"FERMI_SHIFT: found {found} in VASP's output, expected one of them (VASPsol with "
                "its patch to pot.F prints the first, VASPsol++ the second)"
            )
        return shifts[-1]

    def _electrode_potential(self, atoms: Atoms, fermi_level: float) -> float | None:
        """Phi in V; the Fermi level on the reference's scale, or VASP's with a vacuum level."""
        if _has_ions(self.vasp_parameters):
            return -fermi_level
        if not self.vacuum_level:
            return None
        # LOCPOT is in eV; the reader divides by the volume, as for a density.
        grid = VaspChargeDensity(self.run_directory / "LOCPOT")
        potential = grid.chg[-1] * grid.atoms[-1].get_volume()
        return vacuum_level(potential, atoms) - fermi_level


def _checked(parameters: Mapping[str, Any], vacuum: bool, background: bool) -> dict[str, Any]:
    """The user's parameters with what the reference needs, or an error for what is not ours."""
    result = {key.lower(): value for key, value in parameters.items()}
    for key in _OWN:
        if key in result:
            raise EngineError(f"{key}: given among VASP's parameters, the engine sets it itself")
    solvated = bool(result.get("lsol"))
    if background and (vacuum or _has_ions(result)):
        other = "vacuum_level" if vacuum else "an electrolyte"
        raise EngineError(f"uniform_background: given with {other}, expected one of them")
    if vacuum and solvated:
        raise EngineError("vacuum_level: given with lsol, whose solvent fills the vacuum")
    if result.get("isol") == 2 and result.get("lambda_d_k") and result.get("c_molar"):
        raise EngineError("lambda_d_k: given with c_molar, expected one of them")
    if vacuum:
        result |= {"lvhar": True, "ldipol": True, "idipol": 3}
    return result


def _has_ions(parameters: Mapping[str, Any]) -> bool:
    """Whether the solvent has ions that balance a charge and fix the potential."""
    if not parameters.get("lsol"):
        return False
    screening = [parameters.get("lambda_d_k") or 0]
    if parameters.get("isol") == 2:
        screening.append(parameters.get("c_molar") or 0)
    return max(screening) > 0
