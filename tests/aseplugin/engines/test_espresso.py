"""Quantum ESPRESSO: its input and output, and the physics of a small slab where pw.x is there."""

import configparser
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.config import cfg
from ase.constraints import FixAtoms
from ase.io.espresso import read_espresso_in, read_fortran_namelist
from ase.units import Ry

from voltase.aseplugin.engines import EspressoEngine
from voltase.aseplugin.engines.espresso import upper_level
from voltase.aseplugin.errors import EngineError, InputError, ScfError

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "engines" / "espresso.pwo"
PSEUDO_DIR = Path(os.environ.get("ESPRESSO_PSEUDO", "/usr/share/espresso/pseudo"))
PSEUDOPOTENTIALS = {"Al": "Al.pz-vbc.UPF", "H": "H.pz-vbc.UPF"}
SETTINGS: dict[str, Any] = {
    "ecutwfc": 14,
    "occupations": "smearing",
    "smearing": "mp",
    "degauss": 0.03,
    "mixing_beta": 0.3,
    "conv_thr": 1e-9,
}
Make = Callable[..., EspressoEngine]


def _absent() -> str | None:
    if shutil.which("pw.x") is None:
        return "no pw.x"
    missing = [name for name in PSEUDOPOTENTIALS.values() if not (PSEUDO_DIR / name).is_file()]
    return f"no {missing[0]} in {PSEUDO_DIR} (ESPRESSO_PSEUDO)" if missing else None


def real(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that runs pw.x."""
    reason = _absent()
    skip = pytest.mark.skipif(reason is not None, reason=reason or "")
    return pytest.mark.espresso(skip(test))


@pytest.fixture
def slab() -> Atoms:
    """H on two layers of Al(001); the sample output is of these positions."""
    return Atoms(
        "Al2H",
        [[0.0, 0.0, 6.5], [1.43, 1.43, 8.525], [1.43, 1.43, 10.3]],
        cell=[2.86, 2.86, 16.0],
        pbc=True,
    )


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(cfg, "parser", configparser.ConfigParser())
    fake = tmp_path / "pseudo"
    fake.mkdir()
    for name in PSEUDOPOTENTIALS.values():
        (fake / name).touch()

    def build(excess_electrons: float = 0.0, *, boundary: str | None = "bc3", **settings: Any
              ) -> EspressoEngine:  # fmt: skip
        esm = {} if boundary is None else {"assume_isolated": "esm", "esm_bc": boundary}
        extra = settings.pop("input_data", {})
        defaults = {
            "pseudopotentials": PSEUDOPOTENTIALS,
            "pseudo_dir": PSEUDO_DIR if _absent() is None else fake,
            "input_data": SETTINGS | esm | extra,
            "kpts": (3, 3, 1),
            "directory": tmp_path / "run",
        }
        return EspressoEngine(excess_electrons, **(defaults | settings))

    return build


def says(text: str, tmp_path: Path, then: str = "") -> str:
    """A command that prints a text whatever its arguments."""
    path = tmp_path / "said.txt"
    path.write_text(text)
    return f"cat {path}; {then} :"


def test_input_has_the_charge(make: Make, slab: Atoms, tmp_path: Path) -> None:
    slab.set_constraint(FixAtoms([0]))
    engine = make(0.05, command=says(SAMPLE.read_text(), tmp_path))
    engine.get_property("energy", slab)
    text = (tmp_path / "run" / "pw.pwi").read_text()
    data, _ = read_fortran_namelist(io.StringIO(text))
    assert data["system"]["tot_charge"] == -0.05
    assert data["system"]["esm_bc"] == "bc3"
    assert data["control"]["tprnfor"] is True
    assert "startingpot" not in data["electrons"]
    read_back = read_espresso_in(io.StringIO(text))
    # The middle of the cell is the middle of the screening medium's.
    shift = [0.0, 0.0, -8.0]
    np.testing.assert_allclose(read_back.positions, slab.positions + shift, atol=1e-9)
    assert not read_back.constraints


def test_sample_output(make: Make, slab: Atoms, tmp_path: Path) -> None:
    engine = make(0.05, command=says(SAMPLE.read_text(), tmp_path))
    assert engine.version() == "6.7MaX"
    energy = engine.get_property("energy", slab)
    results = engine.results
    # The total energy with the entropy, not the internal energy of -9.33876871 Ry.
    assert energy == pytest.approx(-9.34540106 * Ry, abs=1e-4)
    assert results["electrode_potential"] == -0.09
    assert results["grand_energy"] == pytest.approx(energy - 0.05 * 0.09)
    assert results["scf_iterations"] == 18
    np.testing.assert_allclose(results["forces"][:, 2], [0.9708, 0.0011, -0.9444], atol=1e-4)


def test_upper_vacuum_level(tmp_path: Path) -> None:
    path = tmp_path / "pw.esm1"
    rows = [[0.2 * i, 0.0, 1.0, -1.0, 0.6 + 0.01 * (-1) ** i] for i in range(20)]
    np.savetxt(path, rows, header="z rho hartree local total")
    assert upper_level(path) == pytest.approx(0.6)
    path.write_text("# z\n 0.0 1.0\n")
    with pytest.raises(ValueError, match="shape"):
        upper_level(path)


def test_capabilities(make: Make) -> None:
    assert make(boundary="bc3").capabilities.potential_reference == "counter electrode"
    assert make(boundary="bc2").capabilities.charged
    vacuum = make(boundary="bc1").capabilities
    assert (vacuum.potential_reference, vacuum.charged) == ("vacuum", False)
    periodic = make(boundary=None).capabilities
    assert (periodic.potential_reference, periodic.charged) == (None, False)
    assert make(boundary=None, uniform_background=True).capabilities.charged
    for data in ({"occupations": "fixed"}, {"nspin": 2, "tot_magnetization": 1.0}):
        assert make(input_data=data).capabilities.potential_reference is None


@pytest.mark.parametrize("boundary", ["bc1", None])
def test_charge_without_a_counter_charge(make: Make, boundary: str | None) -> None:
    with pytest.raises(EngineError, match="found 0.05, Quantum ESPRESSO takes 0 .* bc2 or bc3"):
        make(0.05, boundary=boundary)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"tot_charge": -1}, "found 'tot_charge'"),
        ({"lfcp": True}, "lfcp"),
        ({"esm_bc": "bc4"}, "esm_bc: found 'bc4'"),
        ({"esm_efield": 0.1}, "esm_efield: found 0.1"),
        ({"assume_isolated": "mt"}, "assume_isolated: found 'mt'"),
        ({"environ": {"env_type": "water"}}, "Environ"),
    ],
)
def test_refused_settings(make: Make, data: dict[str, Any], message: str) -> None:
    with pytest.raises((EngineError, InputError), match=message):
        make(input_data=data)


def test_refused_structures(make: Make, slab: Atoms, tmp_path: Path) -> None:
    engine = make(command=says(SAMPLE.read_text(), tmp_path))
    outside = slab.copy()
    outside.positions[2, 2] += 6.0
    with pytest.raises(EngineError, match="atoms: found z from 6.50 to 16.30 A"):
        engine.get_property("energy", outside)
    tilted = slab.copy()
    tilted.cell[2, 0] = 1.0
    with pytest.raises(EngineError, match="not along z"):
        engine.get_property("energy", tilted)
    slab.symbols[2] = "O"
    with pytest.raises(EngineError, match="pseudopotentials: found none for O"):
        engine.get_property("energy", slab)


def test_fractional_charge_needs_smearing(make: Make, slab: Atoms, tmp_path: Path) -> None:
    engine = make(
        0.05, input_data={"occupations": "fixed"}, command=says(SAMPLE.read_text(), tmp_path)
    )
    with pytest.raises(EngineError, match="0.05 with fixed occupations"):
        engine.get_property("energy", slab)


def test_two_fermi_levels_are_no_potential(make: Make, slab: Atoms, tmp_path: Path) -> None:
    text = SAMPLE.read_text().replace(
        "the Fermi energy is     0.0900 ev", "the spin up/dw Fermi energies are  0.1  0.2 ev"
    )
    engine = make(command=says(text, tmp_path))
    engine.get_property("energy", slab)
    assert "electrode_potential" not in engine.results


def test_missing_pseudopotential(make: Make, slab: Atoms) -> None:
    engine = make(pseudopotentials={"Al": "none.UPF", "H": "H.pz-vbc.UPF"})
    with pytest.raises(EngineError, match="pseudopotentials: found no file .*none.UPF for Al"):
        engine.get_property("energy", slab)
    with pytest.raises(EngineError, match="pseudo_dir: found none"):
        make(pseudo_dir=None).get_property("energy", slab)


def test_absent_code(make: Make, slab: Atoms) -> None:
    engine = make(command="no-such-pw.x")
    with pytest.raises(EngineError, match="command: 'no-such-pw.x' did not start") as caught:
        engine.get_property("energy", slab)
    assert "\n" not in str(caught.value)


def test_configured_command(make: Make) -> None:
    assert make().command == "pw.x"
    cfg.parser.read_dict({"espresso": {"command": "mpirun pw.x", "pseudo_dir": "/somewhere"}})
    assert make().command == "mpirun pw.x"
    assert make(pseudo_dir=None).pseudo_dir == Path("/somewhere")


@pytest.mark.parametrize("end", ["JOB DONE", "Forces acting on atoms"])
def test_truncated_output(make: Make, slab: Atoms, tmp_path: Path, end: str) -> None:
    text = SAMPLE.read_text()
    engine = make(command=says(text[: text.index(end)], tmp_path))
    with pytest.raises(EngineError, match="cannot read its output .*JOB DONE"):
        engine.get_property("energy", slab)


def test_output_without_forces(make: Make, slab: Atoms, tmp_path: Path) -> None:
    text = SAMPLE.read_text()
    begin, end = text.index("Forces acting"), text.index("Total force")
    engine = make(command=says(text[:begin] + text[end:], tmp_path))
    with pytest.raises(EngineError, match="cannot read its output"):
        engine.get_property("energy", slab)


def test_not_converged(make: Make, slab: Atoms, tmp_path: Path) -> None:
    said = " Program PWSCF v.6.7\n     convergence NOT achieved after   2 iterations: stopping\n"
    engine = make(command=says(said, tmp_path, "exit 2;"))
    with pytest.raises(ScfError, match="did not converge"):
        engine.get_property("energy", slab)


def test_crash_says_why(make: Make, slab: Atoms, tmp_path: Path) -> None:
    line = "%" * 78
    said = f""" Program PWSCF v.6.7
 {line}
     Error in routine  read_namelists (1):
      bad line in namelist &system: "ecutwfc = x" (error could be in the previous line)
 {line}

     stopping ...
"""
    engine = make(command=says(said, tmp_path, "exit 1;"))
    with pytest.raises(EngineError, match="status 1 .*read_namelists .1.: bad line in") as caught:
        engine.get_property("energy", slab)
    assert "\n" not in str(caught.value)


@real
@pytest.mark.slow
@pytest.mark.parametrize("boundary", ["bc3", "bc2"])
def test_potential_is_the_slope_of_the_energy(make: Make, slab: Atoms, boundary: str) -> None:
    engine = make(boundary=boundary)
    engine.get_property("energy", slab)
    potential, from_scratch = (engine.results[k] for k in ("electrode_potential", "scf_iterations"))
    energies = []
    for n in (0.01, -0.01):
        engine.excess_electrons = n
        energies.append(engine.get_property("energy", slab))
        # From the last wave functions and density.
        assert engine.results["scf_iterations"] < from_scratch
    assert -(energies[0] - energies[1]) / 0.02 == pytest.approx(potential, abs=0.01)


@real
@pytest.mark.slow
def test_forces_are_the_slope_of_the_energy(make: Make, slab: Atoms) -> None:
    engine = make(0.05)
    slab.calc = engine
    force = slab.get_forces()[2, 2]
    energies = []
    for step in (0.02, -0.02):
        moved = slab.copy()
        moved.positions[2, 2] += step
        energies.append(engine.get_property("energy", moved))
    assert -(energies[0] - energies[1]) / 0.04 == pytest.approx(force, abs=0.01)


@real
@pytest.mark.slow
def test_vacuum_and_counter_electrode_agree_without_charge(
    make: Make, slab: Atoms, tmp_path: Path
) -> None:
    # The slab has a dipole of 0.6 V, half of which bc1 puts on each side.
    potentials = []
    for boundary in ("bc1", "bc3"):
        engine = make(boundary=boundary, directory=tmp_path / boundary)
        engine.get_property("energy", slab)
        potentials.append(engine.results["electrode_potential"])
    assert potentials[0] == pytest.approx(potentials[1], abs=0.01)


@real
def test_real_code_says_what_is_wrong(make: Make, slab: Atoms) -> None:
    assert make().version()[0].isdigit()
    with pytest.raises(ScfError):
        make(input_data={"electron_maxstep": 2}).get_property("energy", slab)
    with pytest.raises(EngineError, match="status .*Error in routine .*smearing"):
        make(input_data={"smearing": "none"}).get_property("energy", slab)
