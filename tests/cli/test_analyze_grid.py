"""``pe-analyze grid``: a density on a grid, from a cube and from an HDF5 file."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.io.cube import write_cube
from ase.units import Bohr
from typer.testing import CliRunner

from voltase.analysis.grid_density import potential_from_density
from voltase.cli.analyze import app

runner = CliRunner()
HEIGHT, AREA = 16.0, 25.0  # A, A^2


def slab() -> tuple[Atoms, np.ndarray]:
    """Two oxygens of six electrons at 6 A, the electrons in a sheet at 8 A."""
    z = np.arange(128) * HEIGHT / 128
    sheet = np.exp(-0.5 * ((z - 8.0) / 0.5) ** 2)
    sheet *= 12.0 / (AREA * sheet.sum() * HEIGHT / 128)
    atoms = Atoms("O2", [[1, 1, 6], [3, 3, 6]], cell=[5, 5, HEIGHT])
    return atoms, np.broadcast_to(sheet, (4, 4, 128)).copy()


@pytest.fixture
def cube(tmp_path: Path) -> Path:
    path = tmp_path / "density.cube"
    atoms, values = slab()
    with path.open("w") as file:
        write_cube(file, atoms, values * Bohr**3)
    return path


@pytest.fixture
def hdf5(tmp_path: Path) -> Path:
    path = tmp_path / "densities.h5"
    atoms, values = slab()
    with h5py.File(path, "w") as file:
        group = file.create_group("frame")
        group["density"], group["cell"] = values, atoms.cell.array
        group["numbers"], group["positions"] = atoms.numbers, atoms.positions
    return path


def table(folder: Path) -> np.ndarray:
    lines = (folder / "grid.csv").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("#")]
    return np.genfromtxt(kept, delimiter=",", names=True)


@pytest.mark.parametrize("kind", ["cube", "hdf5"])
def test_the_table_is_that_of_the_library(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path = request.getfixturevalue(kind)
    out = tmp_path / "out"
    group = ["--group", "frame"] if kind == "hdf5" else []
    result = runner.invoke(
        app,
        ["grid", str(path), "--valence", "O=6", "--boundary", "open", "--out", str(out), *group],
    )
    assert result.exit_code == 0, result.output
    atoms, values = slab()
    expected = potential_from_density(
        values, atoms.cell.array, atoms.positions, [6.0, 6.0], boundary="open"
    )
    found = table(out)
    # A cube file has six digits.
    np.testing.assert_allclose(found["potential_V"], expected.potential, atol=2e-3)
    step = 12.0 / AREA * 2.0 / 5.526349e-3
    assert found["potential_V"][-1] - found["potential_V"][0] == pytest.approx(-step, rel=0.01)
    assert (out / "grid.png").read_bytes().startswith(b"\x89PNG")
    names = {"grid.csv", "grid.npz", "grid.png", "pe-analyze_grid.yaml"}
    assert {p.name for p in out.iterdir()} == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--valence: found none, expected valence electrons, O=..."),
        (["--valence", "H=1"], "--valence: found 'H=1', expected O too"),
        (["--valence", "O=x"], "--valence: found 'O=x', expected an element"),
        (["--valence", "Xx=1"], "--valence: found 'Xx', expected chemical symbols"),
        (["--valence", "O=5"], "expected none if periodic"),
        (["--valence", "O=6", "--boundary", "odd"], "boundary: found 'odd'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    arguments: list[str], message: str, cube: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = runner.invoke(app, ["grid", str(cube), "--out", str(out), *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not out.exists()


@pytest.mark.parametrize("content", [b"", b"no cube\n", b"\x00\xff" * 40])
def test_a_file_that_is_none_is_refused(content: bytes, tmp_path: Path) -> None:
    for name in ("a.cube", "a.h5"):
        path = tmp_path / name
        path.write_bytes(content)
        arguments = ["grid", str(path), "--valence", "O=6", "--group", "frame"]
        result = runner.invoke(app, [*arguments, "--out", str(tmp_path / "out")])
        assert result.exit_code == 2, (name, result.output)
        assert not (tmp_path / "out").exists()
    result = runner.invoke(app, ["grid", str(tmp_path / "none.cube"), "--valence", "O=6"])
    assert result.exit_code == 2
    assert "FILE: " in result.output
    assert "No such file" in result.output


def test_a_group_must_be_named_and_there(hdf5: Path) -> None:
    result = runner.invoke(app, ["grid", str(hdf5), "--valence", "O=6"])
    assert (result.exit_code, "--group: found none" in result.output) == (2, True)
    result = runner.invoke(app, ["grid", str(hdf5), "--valence", "O=6", "--group", "other"])
    assert result.exit_code == 2
    assert "group: found no 'other', expected one of those there: frame" in result.output
