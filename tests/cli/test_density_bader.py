"""``pe-density bader``: charges of a density in a file."""

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from typer.testing import CliRunner

from voltase.aseplugin.density_grid import DensityGrid
from voltase.aseplugin.kernels.gaussian_density import GaussianBasis, evaluate
from voltase.cli.density import app


@pytest.fixture
def cube(tmp_path: Path) -> Path:
    atoms = Atoms("HeNe", [[1.0, 1.0, 1.0], [3.0, 3.0, 4.0]], cell=[4.0, 4.0, 6.0], pbc=True)
    basis = GaussianBasis({"He": [(0, 3.0)], "Ne": [(0, 2.0)]})
    values = evaluate([2.0, 8.0], atoms.numbers, atoms.positions, basis, atoms.cell.array,
                      (True, True, True), (16, 16, 24))  # fmt: skip
    DensityGrid(values, atoms.cell.array.copy(), atoms=atoms).write(tmp_path / "x.cube")
    return tmp_path / "x.cube"


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["bader", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.mark.parametrize("more", [(), ("--frozen-core",), ("--method", "weight")])
def test_charges_of_a_cube_file(cube: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    status, text = run(cube, "--out", out, "--valence", "He=2,Ne=8", *more)
    assert status == 0, text
    rows = list(csv.DictReader((out / "bader.csv").read_text().splitlines()))
    electrons = np.array([float(row["electrons"]) for row in rows])
    np.testing.assert_allclose(electrons, [2.0, 8.0], atol=0.05)
    charges = np.array([float(row["charge_e"]) for row in rows])
    np.testing.assert_allclose(charges, [2.0, 8.0] - electrons, atol=1e-7)
    summary = yaml.safe_load((out / "summary.yaml").read_text())
    assert summary["status"] == "complete"
    assert summary["electrons"] == pytest.approx(electrons.sum(), abs=1e-6)
    assert "He" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.cube"], "FILE: found no file"),
        (["FILE", "--method", "fast"], "method: found 'fast'"),
        (["FILE", "--frozen-core"], "--frozen-core: found no valences"),
        (["FILE", "--valence", "He=2"], "--valence: found 'He=2', expected Ne"),
        (["FILE", "--group", "a"], "group: found 'a' for x.cube"),
    ],
)
def test_misuse_is_one_line(cube: Path, tmp_path: Path, arguments: list[str], message: str
                            ) -> None:  # fmt: skip
    words = [str(cube) if word == "FILE" else word for word in arguments]
    status, text = run(*words, "--out", tmp_path / "out")
    assert status == 2
    assert message in text
    assert not (tmp_path / "out").exists()


def test_charges_are_replaced_only_if_told(cube: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(cube, "--out", out)[0] == 0
    status, text = run(cube, "--out", out)
    assert status == 2
    assert "has results in it (bader.csv), expected a new folder or --overwrite" in text
    assert run(cube, "--out", out, "--overwrite")[0] == 0


def test_a_reference_needs_the_same_cell(cube: Path, tmp_path: Path) -> None:
    density = DensityGrid.read(cube)
    density.cell = density.cell * 1.1
    density.write(tmp_path / "other.cube")
    status, text = run(cube, "--out", tmp_path / "out", "--reference", tmp_path / "other.cube")
    assert status == 2
    assert "--reference: found the cell" in text
