"""CP2K: its input and output, and the physics of small systems where cp2k.psmp is there."""

import configparser
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.config import cfg
from ase.units import Bohr, Hartree

from voltase.aseplugin.engines import CP2KEngine
from voltase.aseplugin.engines.cp2k_input import (
    has_section,
    keyword,
    read_template,
    section_at,
)
from voltase.aseplugin.errors import EngineError, InputError, ScfError

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "engines" / "cp2k.out"
BOTH = ("mulliken_charges", "hirshfeld_charges")
METAL = {
    "FORCE_EVAL": {
        "DFT": {
            "KPOINTS": {"SCHEME": ["MONKHORST-PACK", 2, 2, 1]},
            "SCF": {
                "EPS_SCF": 1e-7,
                "MAX_SCF": 100,
                "ADDED_MOS": 10,
                "SMEAR": {
                    "_": "ON",
                    "METHOD": "FERMI_DIRAC",
                    "ELECTRONIC_TEMPERATURE": ["[K]", 1000],
                },
                "MIXING": {"METHOD": "BROYDEN_MIXING", "ALPHA": 0.2},
            },
            "XC": {"XC_FUNCTIONAL": {"_": "PADE"}},
        }
    }
}
Make = Callable[..., CP2KEngine]


def real(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that runs CP2K."""
    absent = shutil.which("cp2k.psmp") is None
    return pytest.mark.cp2k(pytest.mark.skipif(absent, reason="no cp2k.psmp")(test))


@pytest.fixture
def film() -> Atoms:
    """H on two layers of lithium; the sample output is of these atoms."""
    return Atoms(
        "Li2H",
        [[0.0, 0.0, 6.0], [1.72, 1.72, 7.7], [1.72, 1.72, 9.3]],
        cell=[3.44, 3.44, 18.0],
        pbc=True,
    )


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("ASE_CP2K_COMMAND", raising=False)
    monkeypatch.setattr(cfg, "parser", configparser.ConfigParser())

    def build(excess_electrons: float = 0.0, **settings: Any) -> CP2KEngine:
        defaults: dict[str, Any] = {
            "basis_set": "SZV-MOLOPT-SR-GTH",
            "potential": "GTH-PADE",
            "cutoff": 150,
            "directory": tmp_path / "run",
        }
        return CP2KEngine(excess_electrons, **(defaults | settings))

    return build


def says(text: str, tmp_path: Path, then: str = "") -> str:
    """A command that prints a version, and a text for all other arguments."""
    path, script = tmp_path / "said.txt", tmp_path / "cp2k.sh"
    path.write_text(text)
    script.write_text(
        f'[ "$1" = --version ] && echo " CP2K version 2023.1" && exit\ncat {path}\n{then}\n'
    )
    return f"sh {script}"


def test_input_has_the_charge(make: Make, film: Atoms, tmp_path: Path) -> None:
    engine = make(
        -1.0,
        template=METAL,
        uniform_background=True,
        charges=BOTH,
        command=says(SAMPLE.read_text(), tmp_path),
    )
    engine.get_property("energy", film)
    root = read_template((tmp_path / "run" / "cp2k.inp").read_text())
    dft = section_at(root, "FORCE_EVAL/DFT")
    assert keyword(dft, "CHARGE") == "1"
    assert keyword(section_at(dft, "MGRID"), "CUTOFF") == "150"
    assert keyword(section_at(dft, "SCF"), "ADDED_MOS") == "10"
    assert section_at(dft, "XC/XC_FUNCTIONAL").params == "PADE"
    assert section_at(dft, "PRINT/HIRSHFELD").params == "ON"
    kinds = {s.params for s in section_at(root, "FORCE_EVAL/SUBSYS").subsections}
    assert {"Li", "H"} <= kinds
    rows = section_at(root, "FORCE_EVAL/SUBSYS/COORD").keywords
    positions = np.array([row.split()[1:] for row in rows], dtype=float)
    np.testing.assert_allclose(positions, film.positions)


def test_sample_output(make: Make, film: Atoms, tmp_path: Path) -> None:
    engine = make(charges=BOTH, command=says(SAMPLE.read_text(), tmp_path))
    assert engine.version() == "2023.1"
    assert engine.get_property("energy", film) == pytest.approx(-15.211237634442185 * Hartree)
    results = engine.results
    np.testing.assert_allclose(
        results["forces"][:, 2], np.array([-0.00444354, 0.00092414, 0.00351907]) * Hartree / Bohr
    )
    np.testing.assert_allclose(results["mulliken_charges"], [0.014547, -0.188452, 0.173905])
    np.testing.assert_allclose(results["hirshfeld_charges"], [0.081, -0.633, 0.552])
    assert results["fermi_level"] == pytest.approx(-0.15213500740187 * Hartree)
    assert results["scf_iterations"] == 40
    assert "electrode_potential" not in results


def test_forces_as_printed_since_2023(make: Make, film: Atoms, tmp_path: Path) -> None:
    text = SAMPLE.read_text()
    begin, end = text.index(" ATOMIC FORCES"), text.index(" SUM OF")
    table = """ FORCES| Atomic forces [hartree/bohr]
 FORCES|   Atom x                   y                   z                   |f|
 FORCES|      1 0.000000000000E+00 0.000000000000E+00 -0.444354000000E-02 0.444354000000E-02
 FORCES|      2 0.000000000000E+00 0.000000000000E+00 0.924140000000E-03 0.924140000000E-03
 FORCES|      3 0.000000000000E+00 0.000000000000E+00 0.351907000000E-02 0.351907000000E-02
"""
    engine = make(command=says(text[:begin] + table + text[end:], tmp_path))
    forces = engine.get_property("forces", film)
    np.testing.assert_allclose(forces[2], [0, 0, 0.00351907 * Hartree / Bohr])


def test_charges_with_spin(make: Make, film: Atoms, tmp_path: Path) -> None:
    text = SAMPLE.read_text()
    begin, end = text.index(" #  Atom  Element  Kind  Atomic"), text.index(" # Total charge")
    table = """ #  Atom  Element  Kind  Atomic population (alpha,beta) Net charge  Spin moment
       1     Li       1          1.500000    1.400000       0.100000     0.100000
       2     Li       2          1.600000    1.600000      -0.200000     0.000000
       3     H        3          0.500000    0.400000       0.100000     0.100000
"""
    engine = make(command=says(text[:begin] + table + text[end:], tmp_path))
    charges = engine.get_property("mulliken_charges", film)
    np.testing.assert_allclose(charges, [0.1, -0.2, 0.1])


def test_template_as_text(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "my.inp"
    path.write_text(
        """# mine
&FORCE_EVAL
  &DFT   ! all of it
    &MGRID
      CUTOFF 300
    &END MGRID
    &XC
      &XC_FUNCTIONAL BLYP
      &END
    &END
  &END DFT
  &SUBSYS
    &KIND H
      BASIS_SET TZVP-GTH
    &END
  &END
&END
"""
    )
    text = make(template=path).settings["input"]
    root = read_template(text)
    assert keyword(section_at(root, "FORCE_EVAL/DFT/MGRID"), "CUTOFF") == "300"
    assert section_at(root, "FORCE_EVAL/DFT/XC/XC_FUNCTIONAL").params == "BLYP"
    assert has_section(root, "FORCE_EVAL/SUBSYS/KIND")
    assert make(template=path.read_text()).settings["input"] == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("&DFT\n", "1 section not ended"),
        ("&DFT\n&END\n&END\n", "1 section ended twice"),
        ("@SET X 1\n&DFT\n&END\n", "no preprocessor"),
        ({"FORCE_EVAL": {"DFT": {"CHARGE": 1}}}, "found CHARGE"),
        ({"FORCE_EVAL": [{"METHOD": "QS"}, {"METHOD": "FIST"}]}, "Multiple FORCE_EVAL"),
        ("no-such-file.inp", "found no file no-such-file.inp"),
    ],
)
def test_refused_templates(make: Make, template: Any, message: str) -> None:
    with pytest.raises((EngineError, InputError), match=message):
        make(template=template)


def test_capabilities(make: Make) -> None:
    assert make().capabilities.potential_reference is None
    assert not make().capabilities.charged
    assert make(vacuum_level=True).capabilities.potential_reference == "vacuum"
    assert make(uniform_background=True).capabilities.charged
    isolated = {"FORCE_EVAL": {"DFT": {"POISSON": {"PERIODIC": "NONE", "POISSON_SOLVER": "MT"}}}}
    assert make(template=isolated).capabilities.charged
    with pytest.raises(EngineError, match="vacuum_level: given with uniform_background"):
        make(vacuum_level=True, uniform_background=True)
    with pytest.raises(EngineError, match="charges: found 'bader'"):
        make(charges=["bader"])
    with pytest.raises(EngineError, match="found UKS in the template"):
        make(vacuum_level=True, template={"FORCE_EVAL": {"DFT": {"UKS": True}}})


def test_charge_is_whole_and_opted_in(make: Make, film: Atoms, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="CP2K takes 0 alone here .*whole numbers"):
        make(1.0)
    engine = make(0.1, uniform_background=True, command=says(SAMPLE.read_text(), tmp_path))
    with pytest.raises(EngineError, match="excess_electrons: found 0.1, expected a whole number"):
        engine.get_property("energy", film)


def test_periodicity_must_agree(make: Make, film: Atoms, tmp_path: Path) -> None:
    film.pbc = (True, True, False)
    with pytest.raises(EngineError, match="periodic along XY, Poisson's equation along XYZ"):
        make(command=says(SAMPLE.read_text(), tmp_path)).get_property("energy", film)


def test_configured_command(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make().command == "cp2k.psmp"
    monkeypatch.setenv("ASE_CP2K_COMMAND", "mpirun -np 2 cp2k.popt -s")
    assert make().command == "mpirun -np 2 cp2k.popt"
    cfg.parser.read_dict({"cp2k": {"cp2k_shell": "cp2k_shell.ssmp --shell"}})
    assert make().command == "cp2k_shell.ssmp"
    assert make(command="other").command == "other"


def test_absent_code(make: Make, film: Atoms) -> None:
    with pytest.raises(EngineError, match="command: 'no-such-cp2k' did not start"):
        make(command="no-such-cp2k").get_property("energy", film)


@pytest.mark.parametrize("end", ["PROGRAM ENDED", "ATOMIC FORCES"])
def test_truncated_output(make: Make, film: Atoms, tmp_path: Path, end: str) -> None:
    text = SAMPLE.read_text()
    engine = make(command=says(text[: text.index(end)], tmp_path))
    with pytest.raises(EngineError, match="cannot read its output .*PROGRAM ENDED"):
        engine.get_property("energy", film)


def test_forces_on_fewer_atoms(make: Make, film: Atoms, tmp_path: Path) -> None:
    text = SAMPLE.read_text().replace("      3      3      H           0.00000000", "")
    engine = make(command=says(text, tmp_path))
    with pytest.raises(EngineError, match="forces on 2 atoms of 3"):
        engine.get_property("energy", film)


def test_not_converged(make: Make, film: Atoms, tmp_path: Path) -> None:
    said = " *** WARNING in qs_scf.F:601 :: SCF run NOT converged ***\n" + SAMPLE.read_text()
    with pytest.raises(ScfError, match="did not converge"):
        make(command=says(said, tmp_path)).get_property("energy", film)


def test_crash_says_why(make: Make, film: Atoms, tmp_path: Path) -> None:
    said = r"""
 *******************************************************************************
 *   ___                                                                       *
 *  /   \                                                                      *
 * [ABORT]                                                                     *
 *  \___/       Dipole correction needs more vacuum space above the surface    *
 *    |                                                                        *
 *  O/|                                                                        *
 * /| |                                                                        *
 * / \                                                    surface_dipole.F:198 *
 *******************************************************************************
"""
    engine = make(command=says(said, tmp_path, "exit 1"))
    expected = r"status 1 \(Dipole correction needs more vacuum .* surface_dipole.F:198\)"
    with pytest.raises(EngineError, match=expected) as caught:
        engine.get_property("energy", film)
    assert "\n" not in str(caught.value)


def test_vacuum_level_needs_a_fermi_level(make: Make, film: Atoms, tmp_path: Path) -> None:
    text = SAMPLE.read_text().replace("Fermi energy", "no level")
    engine = make(vacuum_level=True, command=says(text, tmp_path))
    with pytest.raises(EngineError, match="printed no Fermi level"):
        engine.get_property("energy", film)


@real
@pytest.mark.slow
def test_hydrogen(make: Make) -> None:
    atoms = Atoms("H2", [[3, 3, 2.6], [3, 3, 3.4]], cell=[6, 6, 6], pbc=True)
    template = {"FORCE_EVAL": {"DFT": {"SCF": {"EPS_SCF": 1e-8}}}}
    engine = make(template=template, potential="GTH-PBE", charges=BOTH)
    force = engine.get_property("forces", atoms)[1, 2]
    first = engine.results["scf_iterations"]
    energies = []
    for step in (0.01, -0.01):
        moved = atoms.copy()
        moved.positions[1, 2] += step
        energies.append(engine.get_property("energy", moved))
        # From the last wave functions.
        assert engine.results["scf_iterations"] < first
    assert -(energies[0] - energies[1]) / 0.02 == pytest.approx(force, abs=0.01)
    np.testing.assert_allclose(engine.results["hirshfeld_charges"], 0.0, atol=0.01)
    # A whole electron less, in a uniform background.
    spins = {"FORCE_EVAL": {"DFT": {"UKS": True}}}
    ion = make(-1.0, template=spins, potential="GTH-PBE", uniform_background=True, charges=BOTH)
    assert 10.0 < ion.get_property("energy", atoms) - sum(energies) / 2 < 20.0
    np.testing.assert_allclose(ion.results["mulliken_charges"], 0.5, atol=1e-3)
    np.testing.assert_allclose(ion.results["hirshfeld_charges"], 0.5, atol=0.01)


@real
@pytest.mark.slow
def test_metal_film(make: Make, film: Atoms, tmp_path: Path) -> None:
    # A coarser grid would not do for the core of lithium: the forces would not add up to zero.
    engine = make(template=METAL, vacuum_level=True, cutoff=250)
    force = engine.get_property("forces", film)[2, 2]
    potential = engine.results["electrode_potential"]
    energies = []
    for step in (0.02, -0.02):
        moved = film.copy()
        moved.positions[2, 2] += step
        energies.append(engine.get_property("energy", moved))
    # Smeared occupations: the energy the forces derive from is the one with the entropy.
    assert -(energies[0] - energies[1]) / 0.04 == pytest.approx(force, abs=0.01)
    turned = film.copy()
    turned.positions[:, 2] = 15.0 - turned.positions[:, 2]
    other = make(template=METAL, vacuum_level=True, cutoff=250, directory=tmp_path / "turned")
    assert other.get_property("energy", turned) == pytest.approx(sum(energies) / 2, abs=0.02)
    # The work function of lithium is near 3 eV; hydrogen on it raises that.
    assert 2.0 < other.results["electrode_potential"] < potential - 0.5


@real
def test_real_code_says_what_is_wrong(make: Make) -> None:
    atoms = Atoms("H2", [[2, 2, 1.6], [2, 2, 2.4]], cell=[4, 4, 4], pbc=True)
    assert make().version()[:2] == "20"
    with pytest.raises(EngineError, match="status .*no-such-basis"):
        make(basis_set="no-such-basis").get_property("energy", atoms)
    with pytest.raises(ScfError):
        make(template={"FORCE_EVAL": {"DFT": {"SCF": {"MAX_SCF": 1}}}}).get_property(
            "energy", atoms
        )
