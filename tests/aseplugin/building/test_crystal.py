"""Crystals by name and from files."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell, molecule
from ase.io import write

from voltase.aseplugin.building.crystal import RUTILE, read_crystal
from voltase.aseplugin.errors import InputError


def test_an_element_comes_in_its_conventional_cell() -> None:
    crystal = read_crystal("Pt")
    assert crystal.spacegroup == "Fm-3m"
    np.testing.assert_allclose(np.linalg.norm(crystal.cell, axis=1), 3.92)
    volumes = [abs(np.linalg.det(cell)) for cell in (crystal.cell, crystal.primitive)]
    assert volumes[0] / volumes[1] == pytest.approx(4.0)


@pytest.mark.parametrize("name", RUTILE)
def test_rutile(name: str) -> None:
    crystal = read_crystal(name)
    a, c, u = RUTILE[name]
    assert crystal.spacegroup == "P4_2/mnm"
    np.testing.assert_allclose(np.linalg.norm(crystal.cell, axis=1), [a, a, c])
    atoms = Atoms(crystal.numbers, cell=crystal.primitive, scaled_positions=crystal.fractions,
                  pbc=True)  # fmt: skip
    metal = int(np.flatnonzero(crystal.numbers != 8)[0])
    distances = np.sort(
        atoms.repeat(3).get_distances(metal, np.flatnonzero(atoms.repeat(3).numbers == 8), mic=True)
    )[:6]
    apical = a * u * 2**0.5
    equatorial = np.hypot(a * (0.5 - u) * 2**0.5, 0.5 * c)
    np.testing.assert_allclose(distances, sorted([apical] * 2 + [equatorial] * 4), atol=1e-6)


def test_any_cell_of_a_file_leads_to_the_same_crystal(tmp_path: Path) -> None:
    odd = make_supercell(bulk("Cu"), [[2, 1, 0], [0, 1, 0], [1, 0, 1]])
    odd.rotate(33.0, (1, 2, 3), rotate_cell=True)
    write(tmp_path / "cu.cif", odd)
    found, known = read_crystal(tmp_path / "cu.cif"), read_crystal("Cu")
    assert found.name == "cu"
    np.testing.assert_allclose(found.cell, known.cell, atol=1e-4)
    assert len(found.numbers) == len(known.numbers) == 1


def test_other_lattice_constants() -> None:
    np.testing.assert_allclose(read_crystal("Au", a=4.17).primitive[0] @ [1, 1, 1], 4.17)
    ruo2 = read_crystal("RuO2", a=4.53, c=3.12)
    np.testing.assert_allclose(np.linalg.norm(ruo2.cell, axis=1), [4.53, 4.53, 3.12])
    np.testing.assert_allclose(ruo2.fractions, read_crystal("RuO2").fractions)


@pytest.mark.parametrize(
    ("name", "constants", "message"),
    [
        ("Xx", {}, "^crystal: got 'Xx', expected an element, one of GeO2"),
        ("nowhere.cif", {}, "^crystal: got 'nowhere.cif'"),
        ("Ga", {}, "expected a file with the crystal"),
        ("Pt", {"a": -1.0}, "^a: got -1.0 A"),
        ("Pt", {"c": 3.0}, "^c: got 3.0 A for the cubic Pt"),
    ],
)
def test_refused(name: str, constants: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_crystal(name, **constants)


def test_files_that_hold_no_crystal(tmp_path: Path) -> None:
    (tmp_path / "words.cif").write_text("this is no crystal\n")
    with pytest.raises(InputError, match="words.cif cannot be read"):
        read_crystal(tmp_path / "words.cif")
    write(tmp_path / "water.xyz", molecule("H2O"))
    with pytest.raises(InputError, match="not periodic in three directions"):
        read_crystal(tmp_path / "water.xyz")
    twice = bulk("Pt") + bulk("Pt")
    write(tmp_path / "twice.extxyz", twice)
    with pytest.raises(InputError, match="two atoms in one place"):
        read_crystal(tmp_path / "twice.extxyz")


def test_partial_occupancy_is_refused() -> None:
    alloy = bulk("Pt")
    alloy.info["occupancy"] = {"0": {"Pt": 0.5, "Ni": 0.5}}
    with pytest.raises(InputError, match="partial occupancy"):
        read_crystal(alloy)
