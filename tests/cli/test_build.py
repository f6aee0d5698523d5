"""``pe-build``: files, lists, and what it refuses in one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.io import read
from typer.testing import CliRunner, Result

from voltase.cli import build

Run = Callable[..., Result]


@pytest.fixture
def pe_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(build.app, [str(argument) for argument in arguments])

    return run


SMALL = ("Pt", "111", "--supercell", "2x2", "--waters", 5, "--ions", "Na+", "--sweeps", 10)


def test_files_and_report(pe_build: Run, tmp_path: Path) -> None:
    result = pe_build(*SMALL, "--plot")
    assert result.exit_code == 0, result.output
    assert "film: 5 H2O" in result.stdout
    assert "ions: Na+ +1 e; in all 1 e" in result.stdout
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"Pt-111.extxyz", "Pt-111.yaml", "Pt-111.png"}
    atoms = read("Pt-111.extxyz")
    assert len(atoms) == 16 + 15 + 1
    assert len(atoms.constraints[0].index) == 8
    summary = yaml.safe_load((tmp_path / "Pt-111.yaml").read_text())
    assert summary["status"] == "finished"
    assert summary["options"]["vacuum"] == 12.0
    assert summary["options"]["fix"] == 2
    assert summary["building"] == atoms.info["building"]
    assert summary["charges"] == {"Na+": 1}
    assert summary["sites"] == {"top": 4, "bridge": 12, "fcc": 4, "hcp": 4}
    assert (tmp_path / "Pt-111.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("name", "extra"), [("slab.vasp", ()), ("slab.traj", ()), ("slab.cif", ()),
                                             ("slab.in", ("--format", "espresso-in"))])  # fmt: skip
def test_formats(pe_build: Run, tmp_path: Path, name: str, extra: tuple[str, ...]) -> None:
    if name == "slab.in":
        result = pe_build("Pt", "111", "--out", name, *extra)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: --format: ASE cannot write this interface")
        assert list(tmp_path.iterdir()) == []
        return
    result = pe_build("Pt", "111", "--out", name, *extra)
    assert result.exit_code == 0, result.output
    assert len(read(name)) == 4


def test_settings_from_a_file_and_the_command_line(pe_build: Run, tmp_path: Path) -> None:
    (tmp_path / "build.yaml").write_text(
        "crystal: RuO2\nfacet: 110\nlayers: 2\nsupercell: [2, 1]\nwater-on: both\n"
        "ions: {Na+: 1}\nwaters: 6\nsweeps: 5\nadsorb: [O@top_cus]\n"
    )
    result = pe_build("--config", "build.yaml", "--layers", 3, "--out", "r.extxyz", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.output == ""
    record = read("r.extxyz").info["building"]
    assert (record["layers"], record["waters"], record["water_on"]) == (3, 6, "both")
    assert record["ions"] == {"Na+": 1}
    assert record["supercell"] == [[2, 0], [0, 1]]


def test_list_of_terminations(pe_build: Run, tmp_path: Path) -> None:
    result = pe_build("IrO2", "(110)", "--list-terminations")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[:3] for line in lines[1:]] == [
        ["0", "stoichiometric", "O"],
        ["1", "metal-rich", "Ir2O2"],
        ["2", "O-rich", "O"],
    ]
    assert [line[-1] for line in lines[1:]] == ["Ir8O16", "Ir8O14", "Ir8O18"]
    assert list(tmp_path.iterdir()) == []


def test_list_of_sites(pe_build: Run) -> None:
    result = pe_build("Au", "100", "--supercell", "2x2", "--list-sites")
    assert result.exit_code == 0, result.output
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:]] == [
        ["top", "4"], ["bridge", "8"], ["hollow", "4"]
    ]  # fmt: skip


def test_the_same_seed_writes_the_same_file(pe_build: Run, tmp_path: Path) -> None:
    for name, seed in (("a.extxyz", 1), ("b.extxyz", 1), ("c.extxyz", 2)):
        assert pe_build(*SMALL, "--seed", seed, "--out", name).exit_code == 0
    first, second = ((tmp_path / name).read_bytes() for name in ("a.extxyz", "b.extxyz"))
    assert first == second
    moved = read("c.extxyz").positions - read("a.extxyz").positions
    assert np.abs(moved).max() > 0.5


def test_nothing_is_replaced_unasked(pe_build: Run, tmp_path: Path) -> None:
    assert pe_build("Pt", "111").exit_code == 0
    before = (tmp_path / "Pt-111.extxyz").read_bytes()
    refused = pe_build("Pt", "111", "--layers", 5)
    assert refused.exit_code == 2
    assert "error: --out: Pt-111.extxyz exists" in refused.stderr
    assert (tmp_path / "Pt-111.extxyz").read_bytes() == before
    assert pe_build("Pt", "111", "--layers", 5, "--overwrite").exit_code == 0
    assert len(read("Pt-111.extxyz")) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Xx", "111"], "CRYSTAL: got 'Xx', expected an element"),
        (["Pt", "000"], "FACET: got '000', expected indices that are not all zero"),
        (["Pt", "1-1-10"], "FACET: got four indices"),
        (["Pt"], "FACET: got none"),
        ([], "CRYSTAL: got none"),
        (["words.cif", "111"], "CRYSTAL: words.cif cannot be read"),
        (["Pt", "111", "--layers", "0"], "--layers: got 0"),
        (["Pt", "111", "--layers", "many"], "--layers: got 'many', expected a whole number"),
        (["Pt", "111", "--waters", "500", "--thickness", "10"], "--waters: got 500 in 10 A"),
        (["Pt", "111", "--waters", "4", "--ions", "Xy+"], "--ions: got 'Xy'"),
        (["Pt", "111", "--ions", "Na+"], "--ions: got Na+ without water"),
        (["Pt", "111", "--vacuum", "-2"], "--vacuum: got -2.0 A"),
        (["Pt", "111", "--supercell", "1,1,2,2"], "--supercell: got '1,1,2,2', which is singular"),
        (["Pt", "111", "--termination", "9"], "--termination: got '9'"),
        (["Pt", "111", "--water-on", "left"], "--water-on: got 'left'"),
        (["Pt", "111", "--adsorb", "OH@roof"], "--adsorb: got the site 'roof'"),
        (["Pt", "111", "--out", "a.nonsense"], "--out: got a.nonsense"),
        (["Pt", "111", "--format", "nonsense"], "--format: got 'nonsense'"),
        (["Pt", "111", "--out", "no/where.extxyz"], "--out: there is no folder no"),
        (["Pt", "111", "--out", "a.png", "--plot"], "--out: got a.png, the name of another file"),
        (["Pt", "111", "--laers", "3"], "No such option: --laers"),
        (["--config", "none.yaml"], "none.yaml cannot be read"),
    ],
)
def test_misuse(pe_build: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "words.cif").write_text("no crystal here\n")
    result = pe_build(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["words.cif"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer: 3\n", "config: unknown key 'layer', did you mean 'layers'?"),
        ("layers: three\n", "config.layers: found 'three', expected a whole number"),
        ("water_on: top\nwater-on: both\n", "both spellings"),
        ("ions: [Na+]\n", "--ions: got ['Na+'], expected names and numbers"),
        ("supercell: {a: 2}\n", "--supercell: got"),
    ],
)
def test_misuse_in_a_file(pe_build: Run, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "build.yaml").write_text(text)
    result = pe_build("Pt", "111", "--config", "build.yaml")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["build.yaml"]
