"""Quantum ESPRESSO (pw.x), with the effective screening medium for charged slabs."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io.espresso import read_espresso_out, write_espresso_in
from ase.io.espresso_namelist.namelist import Namelist

from voltase.aseplugin.electrochemistry import charge_from_excess_electrons
from voltase.aseplugin.engines.base import Capabilities, ElectronicState
from voltase.aseplugin.engines.files import (
    FileEngine,
    configured,
    write_text,
)
from voltase.aseplugin.engines.vacuum_level import check_normal
from voltase.aseplugin.errors import EngineError, InputError

_PREFIX = "pw"
_OWN = {
    "control": ("calculation", "prefix", "outdir", "pseudo_dir", "restart_mode", "tprnfor", "lfcp",
                "lfcpopt", "lfcpdyn"),
    "system": ("tot_charge", "nat", "ntyp", "ibrav"),
    "electrons": ("startingpot", "startingwfc"),
}  # fmt: skip
"""What the engine sets itself; lfcp would have pw.x change the charge."""
_BOUNDARIES = ("bc1", "bc2", "bc3")
_EDGE_ROWS = 4
"""Rows of the ESM profile over which the level at its end is taken: an even number, since the
local potential alternates from point to point there."""


class EspressoEngine(FileEngine):
    """E(R, n) from Quantum ESPRESSO's pw.x, n as ``tot_charge`` = -n.

    The energy is pw.x's "total energy", F = E - TS for smeared occupations, which is the one its
    forces derive from.

    Charged slabs need the effective screening medium (Otani and Sugino, Phys. Rev. B 73, 115407
    (2006), doi:10.1103/PhysRevB.73.115407): ``assume_isolated = 'esm'`` in ``input_data``, and
    ``esm_bc``:

    - ``bc3``, vacuum - slab - metal: an ideal metal beyond the cell's upper end carries the charge
      that balances n. Its potential is pw.x's zero, so Phi = -E_Fermi/e. The wetted side is the
      upper one.
    - ``bc2``, metal - slab - metal: the same with a metal at either end, both at zero; the charge
      that balances n spreads over both. A slab with a dipole has a field in its vacuum then.
    - ``bc1``, vacuum - slab - vacuum: n = 0 alone, since nothing in that cell balances a charge
      and the potential falls without end. Zero is the mean of the two vacuum levels; Phi counts
      from the upper one, which is read from the ``.esm1`` file.

    Total energy and Fermi level of bc2 and bc3 count from the same zero, so -dE/dn = Phi holds
    without a correction. The cell's middle, z = c/2, is the middle of the screening medium's cell:
    all atoms must lie between z = 0 and z = c, with vacuum at both ends.

    In a fully periodic cell there is no reference for the potential, and n is balanced by a uniform
    background, which is refused unless ``uniform_background`` is set; no potential is given then.
    Refused throughout: Environ (its corrections to the Fermi level are not read), ``bc4``,
    ``esm_efield`` and pw.x's own potentiostat (``lfcp``). Two Fermi levels (``tot_magnetization``)
    and fixed occupations leave -dE/dn undefined, so there is no potential with them either.

    Parameters
    ----------
    excess_electrons : float
        n in e.
    pseudopotentials : mapping
        File of each element, such as ``{"Al": "Al.pz-vbc.UPF"}``.
    input_data : mapping
        pw.x's namelists, flat or nested, in its own units; what is given wins over the defaults
        conv_thr = 1e-8 Ry and disk_io = 'low'.
    kpts : sequence of int, optional
        Monkhorst-Pack grid; the Gamma point alone by default.
    koffset : sequence of int
        Whether the grid is shifted, 0 or 1 for each direction.
    pseudo_dir : path, optional
        Folder of the pseudopotentials; by default ``pseudo_dir`` in the section ``[espresso]`` of
        ASE's configuration.
    uniform_background : bool
        Allow n other than 0 in a fully periodic cell.
    directory, command, timeout
        See `FileEngine`. The command is that of the section ``[espresso]`` of ASE's configuration
        by default, and ``pw.x`` if there is none.

    Raises
    ------
    EngineError
        If the settings ask for what is not supported.
    """

    code = "Quantum ESPRESSO"
    charge_hint = " (assume_isolated='esm' with bc2 or bc3, or uniform_background, allow others)"
    input_name = "pw.pwi"
    output_name = "pw.pwo"
    results_names = (f"{_PREFIX}.esm1", "CRASH")

    def __init__(
        self,
        excess_electrons: float = 0.0,
        *,
        pseudopotentials: Mapping[str, str],
        input_data: Mapping[str, Any],
        kpts: Sequence[int] | None = None,
        koffset: Sequence[int] = (0, 0, 0),
        pseudo_dir: str | os.PathLike[str] | None = None,
        uniform_background: bool = False,
        directory: str | os.PathLike[str] | None = None,
        command: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self.pseudopotentials = dict(pseudopotentials)
        self.input_data = _namelists(input_data)
        self.kpts = None if kpts is None else [int(k) for k in kpts]
        self.koffset = [int(k) for k in koffset]
        folder = pseudo_dir or configured("espresso", "pseudo_dir")
        self.pseudo_dir = None if folder is None else Path(folder).absolute()
        self.uniform_background = uniform_background
        self.esm = _boundary(self.input_data)
        super().__init__(
            excess_electrons,
            directory=directory or "espresso",
            command=command,
            timeout=timeout,
        )

    @property
    def capabilities(self) -> Capabilities:
        """What the present settings give."""
        if self.esm is None:
            return Capabilities(potential_reference=None, charged=self.uniform_background)
        one_level = self._smeared and "tot_magnetization" not in self.input_data["system"]
        if self.esm == "bc1":
            return Capabilities(potential_reference="vacuum" if one_level else None, charged=False)
        return Capabilities(
            potential_reference="counter electrode" if one_level else None, charged=True
        )

    @property
    def _smeared(self) -> bool:
        kinds = ("smearing", "tetrahedra", "tetrahedra_lin", "tetrahedra_opt")
        return self.input_data["system"].get("occupations") in kinds

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides the results, in plain types."""
        return {
            "code": self.code,
            "version": self.version(),
            "pseudopotentials": self.pseudopotentials,
            "input_data": self.input_data,
            "kpts": self.kpts,
            "koffset": self.koffset,
            "uniform_background": self.uniform_background,
        }

    def version(self) -> str:
        """The version of pw.x, from what it prints at its start."""
        # Without an input pw.x prints its header and stops.
        return self._printed_version(self.command, r"Program PWSCF v\.(\S+)")

    def configured_command(self) -> str:
        """The command of ASE's configuration, or ``pw.x``."""
        return configured("espresso", "command") or "pw.x"

    def arguments(self) -> str:
        """What follows the command."""
        return f"-in {self.input_name}"

    def check_request(self, atoms: Atoms, n: float) -> None:
        """See `FileEngine.check_request`."""
        missing = sorted(set(atoms.get_chemical_symbols()) - set(self.pseudopotentials))
        if missing:
            raise EngineError(f"pseudopotentials: found none for {', '.join(missing)}")
        if self.pseudo_dir is None:
            raise EngineError(
                "pseudo_dir: found none, expected it here or in the section [espresso] of ASE's "
                "configuration"
            )
        for symbol in sorted(set(atoms.get_chemical_symbols())):
            path = self.pseudo_dir / self.pseudopotentials[symbol]
            if not path.is_file():
                raise EngineError(f"pseudopotentials: found no file {path} for {symbol}")
        if n % 1 and not self._smeared:
            raise EngineError(
                f"excess_electrons: found {n:g} with fixed occupations, expected "
                "occupations='smearing' in input_data"
            )
        if self.esm is not None:
            _check_esm_cell(atoms)

    def write_input(self, atoms: Atoms, n: float, restart: bool) -> None:
        """See `FileEngine.write_input`."""
        data = {section: dict(values) for section, values in self.input_data.items()}
        data["control"] |= {
            "calculation": "scf",
            "prefix": _PREFIX,
            "outdir": "./",
            "pseudo_dir": str(self.pseudo_dir),
            "tprnfor": True,
        }
        data["system"]["tot_charge"] = charge_from_excess_electrons(n)
        if restart:
            data["electrons"] |= {"startingpot": "file", "startingwfc": "file"}
        slab = atoms.copy()
        # pw.x would leave the forces on fixed atoms out.
        slab.set_constraint()
        if self.esm is not None:
            slab.positions[:, 2] -= 0.5 * slab.cell[2, 2]
        text = io.StringIO()
        write_espresso_in(
            text,
            slab,
            input_data=data,
            pseudopotentials=self.pseudopotentials,
            kpts=self.kpts,
            koffset=tuple(self.koffset),
        )
        write_text(self.run_directory / self.input_name, text.getvalue())

    def restart_files(self) -> list[Path]:
        """The charge density and the first wave functions; extensions depend on pw.x's build."""
        folder = self.run_directory / f"{_PREFIX}.save"
        density = sorted(folder.glob("charge-density.*"))
        waves = sorted([*folder.glob("wfc*"), *self.run_directory.glob(f"{_PREFIX}.wfc*")])
        return [density[0], waves[0]] if density and waves else []

    def not_converged(self, output: str) -> bool:
        """See `FileEngine.not_converged`."""
        return "convergence NOT achieved" in output

    def message(self, output: str) -> str:
        """What stands between pw.x's two lines of per cent signs, as one line."""
        parts = re.split(r"^ *%{20,}$", output, flags=re.MULTILINE)
        return " ".join(parts[1].split()) if len(parts) > 2 else ""

    def read_output(self, atoms: Atoms, n: float, output: str) -> ElectronicState:
        """See `FileEngine.read_output`."""
        if "JOB DONE" not in output:
            raise ValueError("no 'JOB DONE' at its end")
        results = next(read_espresso_out(io.StringIO(output), index=slice(-1, None))).calc
        fermi = re.findall(r"the Fermi energy is\s+(\S+)\s+ev", output)
        level = float(fermi[-1]) if fermi else None
        iterations = re.findall(r"convergence has been achieved in\s+(\d+) iterations", output)
        return ElectronicState(
            # Not "energy": of the two names, ASE keeps this one for what the forces derive from.
            energy=float(results.get_property("free_energy", allow_calculation=False)),
            forces=np.asarray(results.get_forces(), dtype=np.float64),
            electrode_potential=None if level is None else self._potential(level),
            fermi_level=level,
            scf_iterations=int(iterations[-1]),
        )

    def _potential(self, fermi_level: float) -> float | None:
        if self.esm is None:
            return None
        if self.esm == "bc1":
            return upper_level(self.run_directory / f"{_PREFIX}.esm1") - fermi_level
        return -fermi_level


def upper_level(path: Path) -> float:
    """Potential energy of an electron at the upper end of pw.x's ESM profile, eV.

    Raises
    ------
    ValueError
        If the profile is incomplete.
    """
    profile = np.loadtxt(path, comments="#", ndmin=2)
    if len(profile) <= _EDGE_ROWS or profile.shape[1] != 5:
        raise ValueError(f"{path.name} has shape {profile.shape}")
    return float(profile[-_EDGE_ROWS:, 4].mean())


def _namelists(input_data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """pw.x's namelists, nested, lower case, with the defaults, or an error for what is not ours."""
    nested = Namelist({key: dict(value) if isinstance(value, Mapping) else value
                       for key, value in input_data.items()})  # fmt: skip
    nested.to_nested("pw")
    data: dict[str, dict[str, Any]] = {}
    for section, values in nested.items():
        if not isinstance(values, Mapping):
            raise InputError(f"input_data: found {section!r}, which is no variable of pw.x")
        data[section.lower()] = {key.lower(): value for key, value in values.items()}
    for section, keys in _OWN.items():
        for key in keys:
            if key in data.setdefault(section, {}):
                raise EngineError(f"input_data: found {key!r}, which the engine sets itself")
    data["control"].setdefault("disk_io", "low")
    data["electrons"].setdefault("conv_thr", 1e-8)
    return data


def _boundary(data: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The screening medium's boundary condition, or None in a periodic cell."""
    system = data["system"]
    if "environ" in data:
        raise EngineError("input_data: found Environ, expected assume_isolated='esm' or neither")
    isolated = str(system.get("assume_isolated", "none")).lower()
    if isolated == "none":
        return None
    if isolated != "esm":
        raise EngineError(f"assume_isolated: found {isolated!r}, expected 'esm' or 'none'")
    boundary = str(system.get("esm_bc", "pbc")).lower()
    if boundary == "pbc":
        return None
    if boundary not in _BOUNDARIES:
        raise EngineError(f"esm_bc: found {boundary!r}, expected one of {', '.join(_BOUNDARIES)}")
    if system.get("esm_efield"):
        raise EngineError(f"esm_efield: found {system['esm_efield']}, expected 0")
    return boundary


def _check_esm_cell(atoms: Atoms) -> None:
    check_normal(atoms)
    z = atoms.positions[:, 2]
    height = float(atoms.cell[2, 2])
    if z.min() <= 0 or z.max() >= height:
        raise EngineError(
            f"atoms: found z from {z.min():.2f} to {z.max():.2f} A, expected all between 0 and "
            f"{height:.2f} A, with vacuum at both ends"
        )
