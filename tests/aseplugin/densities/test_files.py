"""Density files: what other programs read in them, and what is refused."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.vasp import VaspChargeDensity
from ase.constraints import FixAtoms
from ase.io.cube import read_cube
from ase.units import Bohr

from voltase.aseplugin.densities import files
from voltase.aseplugin.density_grid import DensityGrid
from voltase.aseplugin.errors import InputError

SHAPE = (10, 8, 12)


@pytest.fixture
def density() -> DensityGrid:
    """Two atoms of a frame of dynamics, with velocities and a constraint, in a tilted cell."""
    cell = np.array([[4.0, 0.0, 0.0], [1.0, 3.5, 0.0], [0.5, -0.7, 6.0]])
    atoms = Atoms("NeHe", [[3.0, 3.0, 4.0], [1.0, 1.0, 1.0]], cell=cell, pbc=(True, True, False))
    atoms.set_velocities(np.full((2, 3), 0.1))
    atoms.set_constraint(FixAtoms([0]))
    values = np.random.default_rng(0).random(SHAPE)
    return DensityGrid(values, cell, pbc=(True, True, False), atoms=atoms)


def test_ase_reads_a_cube_file(density: DensityGrid, tmp_path: Path) -> None:
    """Bohr and bohr^-3, atoms and origin in one frame."""
    density.origin = np.array([0.0, 0.0, -2.0])
    density.write(tmp_path / "x.cube")
    with (tmp_path / "x.cube").open() as file:
        found = read_cube(file)
    np.testing.assert_allclose(found["data"] / Bohr**3, density.values, rtol=1e-5)
    np.testing.assert_allclose(found["origin"], density.origin, atol=1e-6)
    np.testing.assert_allclose(found["atoms"].cell.array, density.cell, atol=1e-5)
    assert density.atoms is not None
    np.testing.assert_allclose(found["atoms"].positions, density.atoms.positions, atol=1e-5)
    again = DensityGrid.read(tmp_path / "x.cube")
    np.testing.assert_allclose(again.origin, density.origin, atol=1e-6)
    assert again.integral() == pytest.approx(density.integral(), rel=1e-5)


def test_ase_reads_a_chgcar(density: DensityGrid, tmp_path: Path) -> None:
    """Values are electrons times points over the cell; velocities and constraints stay out."""
    density.write(tmp_path / "CHGCAR")
    found = VaspChargeDensity(str(tmp_path / "CHGCAR"))
    np.testing.assert_allclose(found.chg[0], density.values, rtol=1e-9)
    assert found.atoms[0].get_chemical_symbols() == ["He", "Ne"]
    np.testing.assert_allclose(found.atoms[0].positions, [[1, 1, 1], [3, 3, 4]], atol=1e-9)
    again = DensityGrid.read(tmp_path / "CHGCAR")
    np.testing.assert_array_equal(again.values, found.chg[0])
    assert again.values.flags.c_contiguous


def test_augmentation_and_spin_of_a_chgcar_are_left_out(density: DensityGrid, tmp_path: Path
                                                        ) -> None:  # fmt: skip
    density.write(tmp_path / "CHGCAR")
    text = (tmp_path / "CHGCAR").read_text()
    more = "augmentation occupancies   1   4\n 0.1E+00 0.2E+00 0.3E+00 0.4E+00\n"
    (tmp_path / "CHGCAR").write_text(text + more + " 10 8 12\n" + "0.1E+01\n" * 960)
    found = DensityGrid.read(tmp_path / "CHGCAR")
    np.testing.assert_allclose(found.values, density.values, rtol=1e-9)


def test_hdf5_keeps_everything(density: DensityGrid, tmp_path: Path) -> None:
    density.origin, density.valence = np.array([0.1, 0.2, -3.0]), np.array([8.0, 2.0])
    density.slope = density.values * 2.0
    density.write(tmp_path / "x.h5")
    found = DensityGrid.read(tmp_path / "x.h5")
    for name in ("values", "cell", "origin", "valence", "slope"):
        np.testing.assert_array_equal(getattr(found, name), getattr(density, name))
    assert found.pbc == (True, True, False)


def test_the_origin_of_labels_is_read(density: DensityGrid, tmp_path: Path) -> None:
    """pe-label keeps it as an attribute."""
    density.write(tmp_path / "x.h5", group="a")
    with h5py.File(tmp_path / "x.h5", "a") as file:
        del file["a/origin"]
        file["a"].attrs["origin"] = [0.0, 0.0, -1.5]
    np.testing.assert_array_equal(DensityGrid.read(tmp_path / "x.h5").origin, [0.0, 0.0, -1.5])


@pytest.mark.parametrize("name", ["x.cube", "CHGCAR", "x.h5"])
@pytest.mark.parametrize("left", [0, 10, 300, -2000, -16, -2])
def test_a_file_cut_short_is_refused(density: DensityGrid, tmp_path: Path, name: str, left: int
                                     ) -> None:  # fmt: skip
    """Wherever it ends, also inside the exponent of the last number."""
    density.write(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:left])
    with pytest.raises(InputError, match="path: ") as caught:
        DensityGrid.read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_number_that_is_none_is_refused(density: DensityGrid, tmp_path: Path) -> None:
    density.write(tmp_path / "x.cube")
    lines = (tmp_path / "x.cube").read_text().split("\n")
    lines[20] = "nan"
    (tmp_path / "x.cube").write_text("\n".join(lines))
    with pytest.raises(InputError, match="values that are not finite"):
        DensityGrid.read(tmp_path / "x.cube")
    lines[20], lines[3] = "0.1", lines[3].replace("   10", "  -10")
    (tmp_path / "x.cube").write_text("\n".join(lines))
    with pytest.raises(InputError, match="no numbers of points above zero"):
        DensityGrid.read(tmp_path / "x.cube")


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"density": np.ones(SHAPE)}, "found no group with a density"),
        ({"a/density": np.ones(SHAPE)}, "found no dataset 'cell' in 'a'"),
        ({"a/density": np.ones(SHAPE), "a/cell": np.eye(2)}, r"cell: found shape \(2, 2\)"),
        ({"a/density": "x", "a/cell": np.eye(3)}, "cannot be read as a density"),
        (
            {"a/density": np.ones(SHAPE), "a/cell": np.eye(3), "a/numbers": [1]},
            "found no dataset 'positions' in 'a'",
        ),
        ({"a/density": np.ones(SHAPE), "a/cell": np.eye(3), "a/pbc": [True]}, "pbc: found shape"),
    ],
)
def test_hdf5_files_that_lack_something(datasets: dict[str, Any], message: str, tmp_path: Path
                                        ) -> None:  # fmt: skip
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, values in datasets.items():
            file[name] = values
    with pytest.raises(InputError, match=message):
        DensityGrid.read(tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no/x.cube", "path: .* cannot be written"),
        ("x.txt", "path: found x.txt, expected .cube"),
        ("junk.h5", "path: .* cannot be written"),
        ("there.cube", "path: .* cannot be written"),
    ],
)
def test_places_that_cannot_be_written_to(density: DensityGrid, tmp_path: Path, path: str,
                                          message: str) -> None:  # fmt: skip
    (tmp_path / "junk.h5").write_text("junk")
    (tmp_path / "there.cube").mkdir()
    with pytest.raises(InputError, match=message):
        density.write(tmp_path / path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["junk.h5", "there.cube"]


def test_groups_have_names(density: DensityGrid, tmp_path: Path) -> None:
    for group in ("", "a/b", "."):
        with pytest.raises(InputError, match="group: found"):
            density.write(tmp_path / "x.h5", group=group)


def test_an_interruption_leaves_the_old_file(density: DensityGrid, tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    density.write(tmp_path / "x.cube")
    before = (tmp_path / "x.cube").read_bytes()

    def half(density: DensityGrid, path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "_write_cube", half)
    with pytest.raises(KeyboardInterrupt):
        density.write(tmp_path / "x.cube")
    assert (tmp_path / "x.cube").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.cube"]


@pytest.mark.gpaw
@pytest.mark.parametrize("spins", [False, True])
def test_a_file_of_gpaw(tmp_path: Path, spins: bool) -> None:
    """Compensation charges make its sum the valence electrons; the maximum is at a nucleus."""
    from gpaw import GPAW

    molecule = Atoms("H2", [[2.0, 2.0, 2.0], [2.0, 2.0, 2.75]], cell=[4.0, 4.0, 5.0],
                     pbc=(True, True, False), magmoms=[0.5, -0.5] if spins else None)  # fmt: skip
    molecule.calc = GPAW(mode="lcao", basis="sz(dzp)", h=0.25, txt=None, spinpol=spins,
                         convergence={"density": 1e-3})  # fmt: skip
    molecule.get_potential_energy()
    molecule.calc.write(str(tmp_path / "h2.gpw"))
    found = DensityGrid.read(tmp_path / "h2.gpw")
    assert found.integral() == pytest.approx(2.0, abs=1e-6)
    assert found.pbc == (True, True, False)
    np.testing.assert_allclose(found.cell, molecule.cell.array)
    assert found.atoms is not None
    np.testing.assert_allclose(found.atoms.positions, molecule.positions)
    np.testing.assert_array_equal(found.valence, [1.0, 1.0])
    highest = np.unravel_index(found.values.argmax(), found.values.shape)
    place = np.array(highest) / found.values.shape @ found.cell
    assert np.linalg.norm(molecule.positions - place, axis=1).min() < 0.25
    (tmp_path / "bad.gpw").write_text("junk")
    with pytest.raises(InputError, match="bad.gpw cannot be read as a density"):
        DensityGrid.read(tmp_path / "bad.gpw")
