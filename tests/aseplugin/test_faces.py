"""Which sides of a slab are wetted, in any cell that describes it."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc111

from voltase.aseplugin import build_interface
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.faces import MINIMUM_VACUUM, find_faces
from voltase.aseplugin.testing import pt111_water

METAL = ["Pt"]


def test_water_above() -> None:
    atoms = pt111_water()
    faces = find_faces(atoms, METAL)
    np.testing.assert_allclose(faces.normals, [[0.0, 0.0, 1.0]])
    np.testing.assert_allclose(faces.areas, 4 * (3.97**2 / 2) * np.sqrt(0.75))
    assert faces.has_vacuum
    assert faces.of_atom.tolist() == [0] * len(atoms)
    assert len(faces.inner) == 0


def test_water_below() -> None:
    faces = find_faces(pt111_water(waters=0, below=3), METAL)
    np.testing.assert_allclose(faces.normals, [[0.0, 0.0, -1.0]])


def test_water_on_both_sides() -> None:
    atoms = pt111_water(waters=2, below=3)
    faces = find_faces(atoms, METAL)
    np.testing.assert_allclose(faces.normals, [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    assert faces.of_atom[12:18].tolist() == [0] * 6
    assert faces.of_atom[18:].tolist() == [1] * 9
    assert faces.inner.tolist() == list(range(12))


def test_an_oxide_does_not_wet_itself() -> None:
    atoms = build_interface("IrO2", "110", layers=2, waters=4, density=0.7, sweeps=20)
    for shift in (0.0, 9.0):
        moved = atoms.copy()
        moved.pbc = True
        moved.positions[:, 2] += shift
        moved.wrap()
        np.testing.assert_allclose(find_faces(moved, ["Ir"]).normals, [[0.0, 0.0, 1.0]])
    turned = atoms.copy()
    turned.rotate(180.0, "x", rotate_cell=True)
    np.testing.assert_allclose(find_faces(turned, ["Ir"]).normals, [[0.0, 0.0, -1.0]], atol=1e-12)


def test_an_oxide_between_two_films_has_two_faces() -> None:
    atoms = build_interface("IrO2", "110", layers=3, waters=4, density=0.7, sweeps=20,
                            water_on="both")  # fmt: skip
    assert len(find_faces(atoms, ["Ir"]).normals) == 2


def test_adsorbed_oxygen_alone_wets() -> None:
    atoms = fcc111("Pt", (2, 2, 3), vacuum=8.0)
    add_adsorbate(atoms, "O", 1.2, "fcc")
    atoms.pbc = (True, True, False)
    np.testing.assert_allclose(find_faces(atoms, METAL).normals, [[0.0, 0.0, 1.0]])
    atoms.positions[:, 2] *= -1.0
    np.testing.assert_allclose(find_faces(atoms, METAL).normals, [[0.0, 0.0, -1.0]])


def test_slab_across_the_boundary() -> None:
    atoms = pt111_water(waters=2, below=3)
    expected = find_faces(atoms, METAL)
    metal = atoms.symbols == "Pt"
    for height in np.linspace(0.0, 1.0, 12):
        moved = atoms.copy()
        moved.positions[:, 2] += height * atoms.cell[2, 2]
        moved.wrap()
        faces = find_faces(moved, METAL)
        np.testing.assert_allclose(faces.normals, expected.normals)
        assert faces.of_atom[~metal].tolist() == expected.of_atom[~metal].tolist()
        connected = moved.positions[faces.inner] + faces.images
        assert np.ptp(connected[:, 2]) == pytest.approx(np.ptp(atoms.positions[metal, 2]))


def test_one_dissolved_atom_does_not_move_the_slab() -> None:
    atoms = pt111_water((3, 3, 3), waters=18)
    atoms += Atoms("Pt", positions=[atoms.positions[:, :2].mean(0).tolist() + [19.0]])
    assert len(find_faces(atoms, METAL).normals) == 1


def test_dry_slab() -> None:
    faces = find_faces(pt111_water(waters=0), METAL)
    np.testing.assert_allclose(faces.normals, [[0.0, 0.0, 1.0]])
    assert faces.has_vacuum


def test_an_evaporated_molecule_wets_nothing() -> None:
    atoms = pt111_water(waters=3)
    atoms.cell[2, 2] += 30.0
    atoms.pbc = True
    top = atoms.positions[:, 2].max()
    for height in np.arange(top + 3.0, atoms.cell[2, 2] - 8.0, 2.0):
        moved = atoms.copy()
        moved.positions[-3:, 2] += height - moved.positions[-3:, 2].min()
        np.testing.assert_allclose(find_faces(moved, METAL).normals, [[0.0, 0.0, 1.0]])


@pytest.mark.parametrize("what", ["atom", "cell"])
def test_what_is_enormous_is_refused(what: str) -> None:
    atoms = pt111_water()
    if what == "atom":
        atoms.positions[-1, 2] = 1e6
    else:
        atoms.cell[2, 2] = 1e7
    with pytest.raises(InputError, match="^atoms: positions or cell extend over 1e"):
        find_faces(atoms, METAL)


def test_no_metal() -> None:
    atoms = pt111_water()
    faces = find_faces(atoms[atoms.numbers != 78], METAL)
    assert len(faces.normals) == 1


@pytest.mark.parametrize("vacuum", [0.5 * MINIMUM_VACUUM, 0.99 * MINIMUM_VACUUM])
def test_filled_cell(vacuum: float) -> None:
    faces = find_faces(pt111_water(below=2, vacuum=vacuum), METAL)
    assert not faces.has_vacuum
    assert len(faces.normals) == 1


def test_vacuum_is_measured_along_the_normal() -> None:
    atoms = pt111_water(vacuum=1.5 * MINIMUM_VACUUM)
    atoms.cell[2] += 20 * atoms.cell[0]
    faces = find_faces(atoms, METAL)
    assert faces.has_vacuum
    np.testing.assert_allclose(faces.normals, [[0.0, 0.0, 1.0]], atol=1e-12)


def test_open_axis_decides_over_a_gap() -> None:
    # A wide cell along the surface does not make its axis the normal.
    atoms = fcc111("Pt", (2, 2, 3), a=3.97, vacuum=4.0)
    atoms.pbc = (True, True, False)
    atoms.cell[0] *= 4.0
    np.testing.assert_allclose(find_faces(atoms, METAL).normals, [[0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pbc": False}, "periodic along 0 axes"),
        ({"pbc": (True, False, False)}, "periodic along 1 axes"),
        ({"cell": np.zeros((3, 3))}, "volume"),
        ({"cell": np.zeros((3, 3)), "pbc": (True, True, False)}, "area"),
        ({"cell": [[3, 0, 0], [6, 0, 0], [0, 0, 20]], "pbc": (True, True, False)}, "area"),
        ({"cell": [[3, 0, 0], [0, 3, 0], [3, 3, 0]]}, "volume"),
        ({"cell": np.diag([3.0, np.nan, 20.0])}, "cell not finite"),
        ({"cell": np.diag([3.0, np.inf, 20.0])}, "cell not finite"),
        ({"positions": np.full((24, 3), np.nan)}, "positions not finite"),
    ],
)
def test_no_slab(change: dict[str, object], message: str) -> None:
    atoms = pt111_water()
    for name, value in change.items():
        setattr(atoms, name, value)
    with pytest.raises(InputError, match=message) as caught:
        find_faces(atoms, METAL)
    assert str(caught.value).startswith("atoms: ")
    assert "\n" not in str(caught.value)


def test_no_atoms() -> None:
    with pytest.raises(InputError, match="found none"):
        find_faces(Atoms(cell=[3, 3, 20], pbc=True), METAL)
