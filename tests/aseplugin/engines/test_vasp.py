"""VASP through a stand-in that answers from tables: n, its reference, errors."""

import configparser
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.config import cfg
from ase.io import read

from voltase.aseplugin.engines import VaspEngine
from voltase.aseplugin.errors import EngineError, InputError, ScfError

DATA = Path(__file__).resolve().parents[2] / "data" / "engines"
VALENCE = {"Cu": 11.0, "H": 1.0}
NEUTRAL = 23.0
ELECTROLYTE = {"lsol": True, "lambda_d_k": 3.0}
# TOTEN and E-fermi of a slab at NELECT - 23 = n, with FERMI_SHIFT = 2.041 eV throughout, as a user
# of VASPsol printed them: github.com/henniggroup/VASPsol, issue 61.
SHIFT = 2.041
SLAB = {
    0.20: (-93.781, -7.110),
    0.16: (-93.494, -7.211),
    0.12: (-93.204, -7.295),
    0.08: (-92.910, -7.393),
    0.04: (-92.612, -7.479),
    0.00: (-92.312, -7.562),
    -0.04: (-92.007, -7.645),
}
Make = Callable[..., VaspEngine]


@pytest.fixture
def atoms() -> Atoms:
    """Not in the order of VASP's input, which has the elements one after the other."""
    return Atoms(
        ["Cu", "H", "Cu"],
        [[0.0, 0.0, 2.0], [0.0, 0.0, 5.3], [1.3, 1.3, 3.8]],
        cell=[2.6, 2.6, 20.0],
        pbc=True,
    )


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """An engine whose VASP answers from a table, with pseudopotentials of no content but ZVAL."""
    for symbol, electrons in VALENCE.items():
        folder = tmp_path / "potentials" / "potpaw_PBE" / symbol
        folder.mkdir(parents=True)
        (folder / "POTCAR").write_text(
            f"  PAW_PBE {symbol}\n   TITEL  = PAW_PBE {symbol} 01Jan2000\n   LULTRA = F\n"
            f"   IUNSCR = 0\n   RPACOR = 0.0\n   POMASS = 1.0; ZVAL   = {electrons:.3f} valenz\n"
        )
    parser = configparser.ConfigParser()
    parser.read_dict({"environment": {"VASP_PP_PATH": str(tmp_path / "potentials")}})
    monkeypatch.setattr(cfg, "parser", parser)
    table = {
        "outcar": str(DATA / "OUTCAR"),
        "points": {f"{NEUTRAL + n:.2f}": values for n, values in SLAB.items()},
        "solvation": "Ediel_sol",
    }
    command = f"{sys.executable} {DATA / 'fake_vasp.py'} {tmp_path / 'table.json'}"

    def build(excess_electrons: float = 0.0, *, output: dict[str, Any] | None = None,
              **settings: Any) -> VaspEngine:  # fmt: skip
        (tmp_path / "table.json").write_text(json.dumps(table | (output or {})))
        defaults = {"directory": tmp_path / "run", "command": command, "xc": "PBE"}
        return VaspEngine(excess_electrons, **(defaults | settings))

    return build


def incar(engine: VaspEngine) -> dict[str, str]:
    lines = (engine.run_directory / "INCAR").read_text().splitlines()
    return {k.strip(): v.strip() for k, v in (line.split("=") for line in lines if "=" in line)}


def test_input_has_the_electrons(make: Make, atoms: Atoms) -> None:
    engine = make(0.12, output={"shift": SHIFT}, **ELECTROLYTE)
    engine.get_property("energy", atoms)
    written = incar(engine)
    assert float(written["NELECT"]) == pytest.approx(NEUTRAL + 0.12)
    assert written["LSOL"] == ".TRUE."
    assert float(written["LAMBDA_D_K"]) == 3.0
    assert (written["NSW"], written["ISTART"]) == ("0", "0")
    read_back = read(engine.run_directory / "POSCAR")
    assert sorted(read_back.symbols) == sorted(atoms.symbols)


def test_neutral_electrons_can_be_given(make: Make, atoms: Atoms) -> None:
    engine = make(0.5, neutral_electrons=22.5, output={"shift": SHIFT}, **ELECTROLYTE)
    engine.get_property("energy", atoms)
    assert float(incar(engine)["NELECT"]) == pytest.approx(23.0)


def test_vaspsol_energy_and_potential_belong_together(make: Make, atoms: Atoms) -> None:
    engine = make(output={"shift": SHIFT}, **ELECTROLYTE)
    assert engine.capabilities.potential_reference == "electrolyte"
    energies, potentials = {}, {}
    for n, (toten, fermi) in SLAB.items():
        engine.excess_electrons = n
        energies[n] = engine.get_property("energy", atoms)
        potentials[n] = engine.results["electrode_potential"]
        assert energies[n] == pytest.approx(toten + n * SHIFT)
        assert potentials[n] == pytest.approx(-(fermi + SHIFT))
        assert engine.results["grand_energy"] == pytest.approx(energies[n] + n * potentials[n])
    # The printed energies have three decimals: 1 meV / 0.08 e in the difference.
    for n in (0.16, 0.12, 0.08, 0.04, 0.0):
        slope = (energies[round(n + 0.04, 2)] - energies[round(n - 0.04, 2)]) / 0.08
        assert -slope == pytest.approx(potentials[n], abs=0.0126)


def test_vaspsol_plus_plus_needs_no_shift(make: Make, atoms: Atoms) -> None:
    output = {"solvation": "Ecorr_sol"}
    engine = make(0.04, output=output, lsol=True, isol=2, c_molar=1.0)
    assert engine.get_property("energy", atoms) == pytest.approx(SLAB[0.04][0])
    assert engine.results["electrode_potential"] == pytest.approx(-SLAB[0.04][1])


@pytest.mark.parametrize(
    ("output", "found"),
    [({}, "neither"), ({"shift": SHIFT, "solvation": "Ecorr_sol"}, "2.041 eV and Ecorr_sol")],
)
def test_scale_must_be_known(make: Make, atoms: Atoms, output: dict[str, Any], found: str) -> None:
    engine = make(0.04, output=output, **ELECTROLYTE)
    with pytest.raises(EngineError, match=f"FERMI_SHIFT: found {found}"):
        engine.get_property("energy", atoms)


def test_forces_in_the_order_of_the_atoms(make: Make, atoms: Atoms) -> None:
    engine = make(output={"shift": SHIFT}, **ELECTROLYTE)
    forces = engine.get_property("forces", atoms)
    # By height, as in tests/data/engines/OUTCAR: lower Cu, H, upper Cu.
    np.testing.assert_allclose(forces, [[0, 0, -0.1], [0, 0, 0.3], [0, 0, -0.2]])
    assert engine.results["scf_iterations"] == 3
    assert engine.results["fermi_level"] == SLAB[0.0][1]
    assert engine.version() == "5.4.4.18Apr17-6-g9f103f2a35"


def test_next_point_starts_from_the_last(make: Make, atoms: Atoms) -> None:
    engine = make(output={"shift": SHIFT}, **ELECTROLYTE)
    engine.get_property("energy", atoms)
    engine.excess_electrons = 0.04
    engine.get_property("energy", atoms)
    assert (incar(engine)["ISTART"], incar(engine)["ICHARG"]) == ("1", "0")
    # Other settings are another wave function.
    other = make(output={"shift": SHIFT}, encut=500, **ELECTROLYTE)
    other.get_property("energy", atoms)
    assert incar(other)["ISTART"] == "0"


def test_uniform_background_is_refused(make: Make) -> None:
    assert not make().capabilities.charged
    with pytest.raises(EngineError, match="found 0.04, VASP takes 0 alone here .*lambda_d_k"):
        make(0.04)
    with pytest.raises(EngineError, match="takes 0 alone"):
        make(0.04, lsol=True)


def test_uniform_background_has_no_potential(make: Make, atoms: Atoms) -> None:
    engine = make(0.04, uniform_background=True)
    assert engine.capabilities.potential_reference is None
    assert engine.get_property("energy", atoms) == pytest.approx(SLAB[0.04][0])
    assert "electrode_potential" not in engine.results


def test_vacuum_level(make: Make, atoms: Atoms) -> None:
    z = np.arange(100) * 0.2
    # A slab from 2 to 5.3 A; the two vacuum levels meet in a step at 14 A.
    profile = np.where((z > 5.0) & (z < 14.0), 4.0, np.where(z < 5.0, -8.0, 3.2))
    engine = make(vacuum_level=True, output={"locpot": profile.tolist()})
    engine.get_property("energy", atoms)
    assert engine.results["electrode_potential"] == pytest.approx(4.0 - SLAB[0.0][1], abs=1e-5)
    written = incar(engine)
    assert (written["LVHAR"], written["LDIPOL"], written["IDIPOL"]) == (".TRUE.", ".TRUE.", "3")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nelect": 30}, "nelect: given"),
        ({"EFERMI_ref": -4.4}, "efermi_ref: given"),
        ({"uniform_background": True, **ELECTROLYTE}, "uniform_background: given with an elec"),
        ({"uniform_background": True, "vacuum_level": True}, "given with vacuum_level"),
        ({"vacuum_level": True, "lsol": True}, "vacuum_level: given with lsol"),
        ({"lsol": True, "isol": 2, "c_molar": 1, "lambda_d_k": 3}, "lambda_d_k: given with c_mo"),
        ({"neutral_electrons": -3.0}, "neutral_electrons: found -3.0"),
    ],
)
def test_contradictions(make: Make, settings: dict[str, Any], message: str) -> None:
    with pytest.raises((EngineError, InputError), match=message):
        make(**settings)


def test_missing_pseudopotential(make: Make, atoms: Atoms) -> None:
    atoms.symbols[1] = "O"
    with pytest.raises(EngineError, match="No pseudopotential for O") as caught:
        make().get_property("energy", atoms)
    assert "\n" not in str(caught.value)


def test_no_command(make: Make, monkeypatch: pytest.MonkeyPatch, atoms: Atoms) -> None:
    for name in ("ASE_VASP_COMMAND", "VASP_COMMAND", "VASP_SCRIPT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(EngineError, match="command: found none for VASP"):
        make(command=None).get_property("energy", atoms)
    cfg.parser.read_dict({"environment": {"ASE_VASP_COMMAND": "no-such-vasp"}})
    with pytest.raises(EngineError, match="cannot run 'no-such-vasp'"):
        make(command=None).get_property("energy", atoms)


@pytest.mark.parametrize("drop", ["General timing", "  free  energy   TOTEN", " E-fermi"])
def test_truncated_output(make: Make, atoms: Atoms, drop: str) -> None:
    engine = make(output={"drop": drop})
    with pytest.raises(EngineError, match="VASP: cannot read its output in .*General timing"):
        engine.get_property("energy", atoms)


def test_not_converged(make: Make, atoms: Atoms, tmp_path: Path) -> None:
    text = (DATA / "OUTCAR").read_text()
    unconverged = tmp_path / "OUTCAR"
    unconverged.write_text(text.replace("because EDIFF is reached", "EDIFF was not reached"))
    engine = make()
    engine.get_property("energy", atoms)
    engine = make(output={"outcar": str(unconverged)})
    with pytest.raises(ScfError, match="did not converge"):
        engine.get_property("energy", atoms)
    # Neither from the last wave functions nor from none; what it left is no start for the next.
    engine = make()
    engine.get_property("energy", atoms)
    assert incar(engine)["ISTART"] == "0"


def test_crash_says_why(make: Make, atoms: Atoms, tmp_path: Path) -> None:
    (tmp_path / "said.txt").write_text(
        " -----------------------------------------------------------------------------\n"
        "|     EEEEEEE  RRRRRR   RRRRRR   OOOOOOO  RRRRRR      ###                     |\n"
        "|      ERROR: charge density could not be read from file CHGCAR               |\n"
        "|      for ICHARG>10                                                          |\n"
        " -----------------------------------------------------------------------------\n"
    )
    engine = make(command=f"cat {tmp_path / 'said.txt'}; exit 3; ")
    expected = "VASP: stopped with status 3 .*ERROR: charge density could not be read .* ICHARG>10"
    with pytest.raises(EngineError, match=expected):
        engine.get_property("energy", atoms)


def test_another_number_of_electrons_in_the_output(
    make: Make, atoms: Atoms, tmp_path: Path
) -> None:
    wrong = tmp_path / "OUTCAR"
    text = (DATA / "OUTCAR").read_text()
    wrong.write_text(re.sub("@NELECT@", "24.0000", text))
    with pytest.raises(EngineError, match="NELECT: found 24 in OUTCAR, expected 23"):
        make(output={"outcar": str(wrong)}).get_property("energy", atoms)


def test_version_before_a_run(make: Make) -> None:
    with pytest.raises(EngineError, match="^version: "):
        make().version()
