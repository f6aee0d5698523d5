"""CP2K (Quickstep), for neutral slabs and whole excess electrons."""

from __future__ import annotations

import copy
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.cp2k import InputSection
from ase.io.cube import read_cube
from ase.units import Bohr, Hartree
from numpy.typing import NDArray

from voltase.aseplugin.electrochemistry import charge_from_excess_electrons
from voltase.aseplugin.engines.base import Capabilities, ElectronicState
from voltase.aseplugin.engines.cp2k_input import (
    default_keyword,
    has_section,
    input_text,
    keyword,
    periodicity,
    read_template,
    section_at,
    set_atoms,
    set_keyword,
)
from voltase.aseplugin.engines.files import (
    FileEngine,
    configured,
    read_text,
    write_text,
)
from voltase.aseplugin.engines.vacuum_level import check_slab, vacuum_level, vacuum_middle
from voltase.aseplugin.errors import EngineError

_PROJECT = "cp2k"
_CHARGES = {
    "hirshfeld_charges": ("Hirshfeld Charges", "HIRSHFELD"),
    "mulliken_charges": ("Mulliken Population Analysis", "MULLIKEN"),
}
"""Heading in the output, and the section of the input, of each kind of charge."""
_FORCES = {
    "ATOMIC FORCES in [a.u.]": r"^ +\d+ +\d+ +[A-Z][a-z]?((?: +\S+){3})$",
    "FORCES| Atomic forces [hartree/bohr]": r"^ FORCES\| +\d+((?: +\S+){3}) +\S+$",
}
"""Headings and rows of the table of forces, until 2023 and since."""
_WHOLE = 1e-9


class CP2KEngine(FileEngine):
    """E(R, n) from CP2K's Quickstep method, n as ``CHARGE`` = -n.

    The energy is CP2K's "Total FORCE_EVAL energy", which contains the entropy of smeared
    occupations, -TS, and is the one its forces derive from.

    CP2K's ``CHARGE`` is a whole number, so n is one too. Its ``CORE_CORRECTION`` is no way around
    it: by itself it changes the charge of nuclei and leaves the number of electrons (2023.1 then
    balances the cell by a uniform background), and with ``CORE_CORR_DIP`` n would be balanced on
    chosen nuclei, whose electrostatic potential is then part of -dE/dn but is not printed. For a
    fractional n use another engine.

    In a periodic cell a whole n is balanced by a uniform background, which is refused unless
    ``uniform_background`` is set; there is no reference for the potential then. A neutral slab has
    one, the vacuum above its topmost atom (``vacuum_level``): the planar average of the Hartree
    potential, with the dipole correction of Bengtsson (doi:10.1103/PhysRevB.59.12301), and
    Phi = (V_vacuum - E_Fermi)/e, for smeared occupations alone. CP2K stops with "needs more vacuum
    space above the surface" when a step of its cycle puts density there, which Broyden's mixing may
    do; ``DIRECT_P_MIXING`` is slower and safer.

    Parameters
    ----------
    excess_electrons : float
        n in e, whole.
    template : str, path or mapping
        CP2K's input, as a text, a file or nested mappings (see `read_template`). Its cell,
        coordinates, project and restart file are replaced.
    basis_set, potential : str
        For elements that have no ``KIND`` section in the template.
    xc : str
        Name of the functional, if the template has no ``XC`` section.
    cutoff : float
        Of the grid, Ry, if the template gives none.
    charges : sequence of str
        Of ``"mulliken_charges"`` and ``"hirshfeld_charges"``.
    vacuum_level : bool
        Give a potential against the vacuum; for n = 0.
    uniform_background : bool
        Allow whole n other than 0 in a periodic cell.
    directory, command, timeout
        See `FileEngine`. The command, without arguments, is by default that of the section
        ``[cp2k]`` of ASE's configuration (``command``, or ``cp2k_shell`` without its ``-s``), the
        variable ``ASE_CP2K_COMMAND`` without its ``-s``, or ``cp2k.psmp``.

    Raises
    ------
    EngineError
        If the settings ask for what is not supported.
    """

    code = "CP2K"
    charge_hint = " (uniform_background allows whole numbers)"
    input_name = "cp2k.inp"
    output_name = "cp2k.out"
    results_names = (f"{_PROJECT}-v_hartree-*.cube",)

    def __init__(
        self,
        excess_electrons: float = 0.0,
        *,
        template: str | os.PathLike[str] | Mapping[str, Any] = "",
        basis_set: str = "DZVP-MOLOPT-SR-GTH",
        potential: str = "GTH-PBE",
        xc: str = "PBE",
        cutoff: float = 400.0,
        charges: Sequence[str] = ("mulliken_charges",),
        vacuum_level: bool = False,
        uniform_background: bool = False,
        directory: str | os.PathLike[str] | None = None,
        command: str | None = None,
        timeout: float | None = None,
    ) -> None:
        for name in charges:
            if name not in _CHARGES:
                raise EngineError(f"charges: found {name!r}, expected {' or '.join(_CHARGES)}")
        self.basis_set, self.potential = basis_set, potential
        self.charges = tuple(charges)
        self.vacuum_level = vacuum_level
        self.uniform_background = uniform_background
        self._root = _prepare(_template(template), xc, cutoff, self.charges, vacuum_level)
        poisson = section_at(self._root, "FORCE_EVAL/DFT/POISSON")
        self._isolated = (keyword(poisson, "PERIODIC") or "").upper() == "NONE"
        if vacuum_level and uniform_background:
            raise EngineError("vacuum_level: given with uniform_background, expected one of them")
        super().__init__(excess_electrons, directory=directory, command=command, timeout=timeout)
        self.implemented_properties = [*self.implemented_properties, *self.charges]

    @property
    def capabilities(self) -> Capabilities:
        """What the present settings give."""
        return Capabilities(
            potential_reference="vacuum" if self.vacuum_level else None,
            charged=self.uniform_background or self._isolated,
            charges=self.charges,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides the results, in plain types."""
        return {
            "code": self.code,
            "version": self.version(),
            "input": input_text(self._root),
            "basis_set": self.basis_set,
            "potential": self.potential,
            "uniform_background": self.uniform_background,
        }

    def version(self) -> str:
        """CP2K's version, from the program itself."""
        return self._printed_version(f"{self.command} --version", r"CP2K version (\S+)")

    def configured_command(self) -> str:
        """The command of ASE's configuration, or ``cp2k.psmp``."""
        own = configured("cp2k", "command")
        if own is not None:
            return own
        shell = (
            configured("cp2k", "cp2k_shell")
            or configured("environment", "ASE_CP2K_COMMAND")
            or os.environ.get("ASE_CP2K_COMMAND")
            or "cp2k.psmp"
        )
        return shlex.join(word for word in shlex.split(shell) if word not in ("-s", "--shell"))

    def arguments(self) -> str:
        """What follows the command."""
        return f"-i {self.input_name}"

    def check_request(self, atoms: Atoms, n: float) -> None:
        """See `FileEngine.check_request`."""
        if abs(n - round(n)) > _WHOLE:
            raise EngineError(
                f"excess_electrons: found {n:g}, expected a whole number (CP2K's CHARGE takes no "
                "other); use gpaw, espresso or vasp for a fractional n"
            )
        if not atoms.cell.rank == 3:
            raise EngineError("atoms: found a cell with a zero vector, expected three")
        poisson = section_at(self._root, "FORCE_EVAL/DFT/POISSON")
        solved = (keyword(poisson, "PERIODIC") or "XYZ").upper()
        if periodicity(atoms) != solved:
            raise EngineError(
                f"atoms: periodic along {periodicity(atoms)}, Poisson's equation along {solved}, "
                "expected the same (atoms.pbc, or FORCE_EVAL/DFT/POISSON in the template)"
            )
        if self.vacuum_level:
            check_slab(atoms)

    def write_input(self, atoms: Atoms, n: float, restart: bool) -> None:
        """See `FileEngine.write_input`."""
        root = copy.deepcopy(self._root)
        dft = section_at(root, "FORCE_EVAL/DFT")
        set_keyword(dft, "CHARGE", round(charge_from_excess_electrons(n)))
        set_keyword(dft, "WFN_RESTART_FILE_NAME", self._restart_name())
        if restart:
            set_keyword(section_at(dft, "SCF"), "SCF_GUESS", "RESTART")
        if self.vacuum_level:
            # By default at the lowest density, which in a vacuum is anywhere.
            set_keyword(dft, "SURF_DIP_POS", f"{vacuum_middle(atoms):.6f}")
        system = section_at(root, "FORCE_EVAL/SUBSYS")
        known = {s.params.split()[0] for s in system.subsections if s.name == "KIND" and s.params}
        for symbol in sorted(set(atoms.get_chemical_symbols()) - known):
            kind = InputSection("KIND", symbol)
            set_keyword(kind, "BASIS_SET", self.basis_set)
            set_keyword(kind, "POTENTIAL", self.potential)
            system.subsections.append(kind)
        set_atoms(root, atoms)
        write_text(self.run_directory / self.input_name, input_text(root))

    def _restart_name(self) -> str:
        points = has_section(self._root, "FORCE_EVAL/DFT/KPOINTS")
        return f"{_PROJECT}-RESTART.{'kp' if points else 'wfn'}"

    def restart_files(self) -> list[Path]:
        """The wave functions, or with k-points the density matrix."""
        return [self.run_directory / self._restart_name()]

    def not_converged(self, output: str) -> bool:
        """See `FileEngine.not_converged`."""
        return "SCF run NOT converged" in output

    def message(self, output: str) -> str:
        """What stands in the box that CP2K draws around an error, without its drawing."""
        box = re.search(r"\[ABORT\][^\n]*\n(.*?)^ \*{20,}", output, re.DOTALL | re.MULTILINE)
        if box is None:
            return ""
        words = [line[12:].rstrip(" *").strip() for line in box[1].splitlines()]
        return " ".join(word for word in words if word)

    def read_output(self, atoms: Atoms, n: float, output: str) -> ElectronicState:
        """See `FileEngine.read_output`."""
        if "PROGRAM ENDED AT" not in output:
            raise ValueError("no 'PROGRAM ENDED AT' at its end")
        energy = re.findall(r"ENERGY\| Total FORCE_EVAL .*?:?\s+(\S+)$", output, re.MULTILINE)[-1]
        fermi = re.findall(r"^ *Fermi energy:\s+(\S+)$", output, re.MULTILINE)
        steps = re.findall(
            r"SCF run converged in\s+(\d+) (?:steps|iterations)|iterations or\s+(\d+) steps", output
        )
        level = float(fermi[-1]) * Hartree if fermi else None
        return ElectronicState(
            energy=float(energy) * Hartree,
            forces=_forces(output, len(atoms)) * Hartree / Bohr,
            electrode_potential=self._electrode_potential(atoms, level),
            fermi_level=level,
            scf_iterations=int("".join(steps[-1])) if steps else None,
            arrays={name: _atomic_charges(output, name, len(atoms)) for name in self.charges},
        )

    def _electrode_potential(self, atoms: Atoms, fermi_level: float | None) -> float | None:
        if not self.vacuum_level:
            return None
        if fermi_level is None:
            raise EngineError(
                "vacuum_level: CP2K printed no Fermi level, expected smeared occupations "
                "(FORCE_EVAL/DFT/SCF/SMEAR) in the template"
            )
        paths = sorted(self.run_directory.glob(self.results_names[0]))
        with paths[-1].open() as handle:
            cube = read_cube(handle)
        return vacuum_level(cube["data"] * Hartree, atoms) - fermi_level


def _template(template: str | os.PathLike[str] | Mapping[str, Any]) -> InputSection:
    if isinstance(template, Mapping):
        return read_template(template)
    text = os.fspath(template)
    if "\n" not in text and text.strip():
        path = Path(text)
        if not path.is_file():
            raise EngineError(f"template: found no file {path}")
        text = read_text(path)
    return read_template(text)


def _prepare(root: InputSection, xc: str, cutoff: float, charges: Sequence[str],
             vacuum: bool) -> InputSection:  # fmt: skip
    """The template with all that does not change from one single point to the next."""
    general = section_at(root, "GLOBAL")
    set_keyword(general, "PROJECT", _PROJECT)
    set_keyword(general, "RUN_TYPE", "ENERGY_FORCE")
    set_keyword(general, "PRINT_LEVEL", "MEDIUM")
    force = section_at(root, "FORCE_EVAL")
    default_keyword(force, "METHOD", "QUICKSTEP")
    section_at(force, "PRINT/FORCES").params = "ON"
    dft = section_at(force, "DFT")
    if keyword(dft, "CHARGE") is not None:
        raise EngineError("template: found CHARGE, which the engine sets itself")
    default_keyword(dft, "BASIS_SET_FILE_NAME", "BASIS_MOLOPT")
    default_keyword(dft, "POTENTIAL_FILE_NAME", "GTH_POTENTIALS")
    default_keyword(section_at(dft, "MGRID"), "CUTOFF", cutoff)
    default_keyword(section_at(dft, "SCF"), "EPS_SCF", "1.0E-6")
    # Without it CP2K leaves one more copy of the wave functions after each run.
    default_keyword(section_at(dft, "SCF/PRINT/RESTART"), "BACKUP_COPIES", 0)
    if not has_section(dft, "XC"):
        section_at(dft, "XC/XC_FUNCTIONAL").params = xc
    for name in charges:
        section_at(dft, f"PRINT/{_CHARGES[name][1]}").params = "ON"
    if "hirshfeld_charges" in charges:
        # The atoms' own densities, as Hirshfeld has it; CP2K's default is a Gaussian.
        default_keyword(section_at(dft, "PRINT/HIRSHFELD"), "SHAPE_FUNCTION", "DENSITY")
    if vacuum:
        _ask_vacuum_level(dft)
    return root


def _ask_vacuum_level(dft: InputSection) -> None:
    for name in ("UKS", "LSD", "UNRESTRICTED_KOHN_SHAM"):
        if keyword(dft, name) is not None:
            raise EngineError(f"vacuum_level: found {name} in the template, expected no spin "
                              "polarisation, which has a Fermi level for each spin")  # fmt: skip
    set_keyword(dft, "SURFACE_DIPOLE_CORRECTION", True)
    set_keyword(dft, "SURF_DIP_DIR", "Z")
    cube = section_at(dft, "PRINT/V_HARTREE_CUBE")
    cube.params = "ON"
    set_keyword(cube, "STRIDE", [1, 1, 1])


def _forces(output: str, number: int) -> NDArray[np.float64]:
    """Forces (atoms, 3), Hartree/Bohr, from the last table."""
    for heading, row in _FORCES.items():
        if heading in output:
            rows = re.findall(row, output[output.rindex(heading) :], re.MULTILINE)
            forces = np.array([line.split() for line in rows[:number]], dtype=np.float64)
            if forces.shape != (number, 3):
                raise ValueError(f"forces on {len(forces)} atoms of {number}")
            return forces
    raise ValueError("no table of forces")


def _atomic_charges(output: str, name: str, number: int) -> NDArray[np.float64]:
    """Net charges (atoms,), e, from the last table of their kind."""
    heading = _CHARGES[name][0]
    lines = output[output.rindex(heading) :].splitlines()
    start = next(i for i, line in enumerate(lines) if "Net charge" in line)
    # With spins, the moment follows the charge in one table and precedes it in the other.
    column = -2 if lines[start].split()[-2:] == ["Spin", "moment"] else -1
    return np.array([line.split()[column] for line in lines[start + 1 : start + 1 + number]],
                    dtype=np.float64)  # fmt: skip
