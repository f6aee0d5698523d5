"""The slab, its layers and its wet faces in crystals of many kinds, written in many ways."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bcc110, fcc100, fcc110, fcc111, fcc211, hcp0001, surface
from ase.spacegroup import crystal

from voltase.analysis.base import interface_of
from voltase.analysis.interface import (
    LOWER,
    UPPER,
    Interface,
    circular_mean,
    find_interface,
)
from voltase.analysis.readers import load
from voltase.analysis.testing import COPIES, film, hexagonal_slab, turned, water
from voltase.aseplugin.errors import InputError

METALS = {
    "Pt(111)": fcc111("Pt", (3, 3, 4)),
    "Cu(100)": fcc100("Cu", (3, 3, 4)),
    "Ag(110)": fcc110("Ag", (2, 3, 4)),
    "Ru(0001)": hcp0001("Ru", (3, 3, 4)),
    "Fe(110)": bcc110("Fe", (3, 4, 4)),
}


def of(atoms: Atoms, **options: object) -> Interface:
    return find_interface(atoms.cell.array, atoms.positions, atoms.numbers, **options)  # type: ignore[arg-type]


def in_cell(slab: Atoms, height: float, bottom: float = 5.0) -> Atoms:
    atoms = slab.copy()
    atoms.positions[:, 2] += bottom - atoms.positions[:, 2].min()
    atoms.cell[2] = (0.0, 0.0, height)
    atoms.pbc = True
    return atoms


def wetted(slab: Atoms, lower: bool = False) -> Atoms:
    """Water on the upper face, or on both; the molecules are the last atoms."""
    low, high = slab.positions[:, 2].min(), slab.positions[:, 2].max()
    atoms = slab.copy()
    for x in (1.0, 4.5):
        atoms += water((x, 2.0, high + 2.4), (0, 0, 1))
        if lower:
            atoms += water((x, 2.0, low - 2.4), (0, 0, -1))
    return atoms


def oxide(repeat: tuple[int, int, int] = (2, 3, 1)) -> Atoms:
    """RuO2(110): the uppermost oxygens sit on one ruthenium each, those below in bridges."""
    bulk = crystal(["Ru", "O"], [(0, 0, 0), (0.3056, 0.3056, 0)], spacegroup=136,
                   cellpar=[4.4919, 4.4919, 3.1066, 90, 90, 90])  # fmt: skip
    atoms = surface(bulk, (1, 1, 0), 3, vacuum=8.0) * repeat
    atoms.pbc = True
    return atoms


@pytest.mark.parametrize("name", METALS)
@pytest.mark.parametrize("shift", [0.0, 7.0, 13.0, 19.0])
def test_metals_anywhere_in_the_cell(name: str, shift: float) -> None:
    slab = METALS[name]
    atoms = wetted(in_cell(slab, 25.0))
    atoms.positions[:, 2] += shift
    for copy in (atoms, turned(atoms, "wrapped")):
        wrapped = copy.copy()
        wrapped.wrap()
        for variant in (copy, wrapped):
            found = of(variant)
            assert np.flatnonzero(found.slab).tolist() == list(range(len(slab)))
            assert [len(layer) for layer in found.layers] == [len(slab) // 4] * 4
            assert found.wet == (False, True)
            assert found.faces == (UPPER,)
            assert found.normal_axis == 2
            assert found.thickness == pytest.approx(np.ptp(slab.positions[:, 2]))
            standard = found.cell(variant.cell.array)
            low, high = found.surfaces(standard.cell, standard.turn(variant.positions))
            assert low == pytest.approx((5.0 + shift) % 25.0, abs=1e-9)
            assert high == pytest.approx((5.0 + shift + found.thickness) % 25.0, abs=1e-9)


def test_the_layers_go_from_the_lower_to_the_upper_face() -> None:
    atoms = in_cell(METALS["Pt(111)"], 25.0, bottom=21.0)
    found = of(atoms)
    heights = [atoms.positions[layer, 2].mean() for layer in found.layers]
    assert heights == sorted(heights)
    np.testing.assert_array_equal(found.surface_layer(LOWER), found.layers[0])
    np.testing.assert_array_equal(found.surface_layer(UPPER), found.layers[-1])


def test_a_slab_thicker_than_half_the_cell() -> None:
    slab = fcc111("Pt", (3, 3, 9))
    thickness = np.ptp(slab.positions[:, 2])
    for shift in (0.0, 8.0, 16.0, 24.0):
        atoms = wetted(in_cell(slab, thickness + 9.0, 2.0), lower=True)
        atoms.positions[:, 2] += shift
        atoms.wrap()
        found = of(atoms)
        assert len(found.layers) == 9
        assert found.thickness == pytest.approx(thickness)
        assert found.wet == (True, True)


def test_one_face_two_faces_and_none() -> None:
    slab = in_cell(METALS["Pt(111)"], 40.0, 15.0)
    assert of(slab).wet == (False, False)
    assert of(slab).faces == ()
    assert of(wetted(slab)).faces == (UPPER,)
    assert of(wetted(slab, lower=True)).faces == (LOWER, UPPER)
    turned_over = wetted(slab)
    turned_over.positions[:, 2] *= -1.0
    assert of(turned_over).faces == (LOWER,)
    # One molecule that has evaporated to the back does not make it wet.
    many = slab.copy()
    high = slab.positions[:, 2].max()
    for k in range(12):
        many += water((0.7 * k, 1.5 * k, high + 2.4), (0, 0, 1))
    many += Atoms("H", [(3.0, 3.0, slab.positions[:, 2].min() - 4.9)])
    assert of(many).faces == (UPPER,)
    # Water beyond the contact is none.
    far = slab + water((1.0, 1.0, high + 6.0), (0, 0, 1))
    assert of(far).faces == ()


@pytest.mark.parametrize("how", COPIES)
def test_orientation_and_choice_of_the_cell_change_nothing(
    rng: np.random.Generator, how: str
) -> None:
    atoms = film(rng)
    plain, other = of(atoms), of(turned(atoms, how))
    np.testing.assert_array_equal(plain.slab, other.slab)
    assert plain.wet == other.wet
    assert other.thickness == pytest.approx(plain.thickness)
    assert {tuple(layer) for layer in plain.layers} == {tuple(layer) for layer in other.layers}


def test_the_normal_may_be_any_lattice_vector() -> None:
    atoms = wetted(in_cell(METALS["Cu(100)"], 25.0))
    for axis, order in ((0, [2, 0, 1]), (1, [1, 2, 0]), (2, [0, 1, 2])):
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array[order])
        found = of(copy)
        assert found.normal_axis == axis
        assert found.wet == (False, True)
        # Named in the file's own coordinates: x and z change places.
        swapped = Atoms(atoms.numbers, atoms.positions[:, [2, 0, 1]], pbc=True,
                        cell=np.diag(atoms.cell.lengths()[[2, 0, 1]]))  # fmt: skip
        assert of(swapped).normal_axis == 0
        assert of(swapped).wet == (False, True)
        assert of(swapped, normal_axis=0).thickness == pytest.approx(found.thickness)


def test_an_oxide_keeps_its_oxygens() -> None:
    atoms = oxide()
    found = of(atoms)
    per_layer = 12
    assert [len(layer) for layer in found.layers] == [per_layer] * 3
    assert all((atoms.numbers[layer] == 44).all() for layer in found.layers)
    # All but the uppermost row, which is bound to one metal alone.
    top = atoms.positions[:, 2] > atoms.positions[:, 2].max() - 0.1
    assert top.sum() == 6
    np.testing.assert_array_equal(found.slab, ~top)


def test_water_and_hydroxide_on_an_oxide_are_not_of_it() -> None:
    atoms = oxide()
    atoms = atoms[atoms.positions[:, 2] < atoms.positions[:, 2].max() - 0.1]
    count = len(atoms)
    ruthenium = np.flatnonzero(atoms.numbers == 44)
    uppermost = ruthenium[np.argsort(atoms.positions[ruthenium, 2])[-12:]]
    bridges = atoms.positions[atoms.positions[:, 2] > atoms.positions[uppermost, 2].max() + 0.5]
    away = [np.linalg.norm(atoms.positions[k, :2] - bridges[:, :2], axis=1).min()
            for k in uppermost]  # fmt: skip
    free = atoms.positions[uppermost[int(np.argmax(away))]]
    atoms += water(free + (0, 0, 2.1), (0, 0.3, 1))
    atoms += Atoms("H", [bridges[0] + (0, 0, 0.97)])
    found = of(atoms)
    assert found.slab[:count].all()
    assert not found.slab[count:].any()
    assert found.wet == (False, True)


def test_dissolved_and_adsorbed_cations_are_not_of_the_slab() -> None:
    slab = in_cell(METALS["Pt(111)"], 40.0)
    high = slab.positions[:, 2].max()
    hollow = slab.positions[-9:-6].mean(axis=0) * (1, 1, 0)
    for symbol in ("Li", "Na", "K", "Cs", "Mg", "Ca"):
        for distance in (2.3, 3.0, 4.0, 8.0, 15.0):
            atoms = wetted(slab)
            atoms += Atoms(symbol, [hollow + (0, 0, high + distance)])
            found = of(atoms)
            assert found.slab.sum() == len(slab), (symbol, distance)
            assert found.thickness == pytest.approx(np.ptp(slab.positions[:, 2]))


def test_a_slab_of_such_a_metal_is_one_all_the_same() -> None:
    slab = in_cell(hcp0001("Mg", (4, 4, 4)), 30.0)
    found = of(wetted(slab))
    assert found.slab.sum() == 64
    assert [len(layer) for layer in found.layers] == [16] * 4


def test_adatoms_belong_to_the_slab_but_to_no_layer() -> None:
    slab = in_cell(METALS["Pt(111)"], 30.0)
    plain = of(wetted(slab))
    adatom = slab + Atoms("Pt", [slab.positions[-9:-6].mean(axis=0) * (1, 1, 0)
                                 + (0, 0, slab.positions[:, 2].max() + 2.1)])  # fmt: skip
    found = of(wetted(adatom))
    assert found.slab.sum() == len(slab) + 1
    assert [len(layer) for layer in found.layers] == [9] * 4
    assert found.thickness == pytest.approx(plain.thickness)


def test_an_alloy_is_one_slab() -> None:
    slab = in_cell(METALS["Pt(111)"], 30.0)
    slab.numbers[::4] = 28
    assert of(wetted(slab)).slab.sum() == len(slab)


def test_vibrating_layers_stay_apart(rng: np.random.Generator) -> None:
    for name in ("Pt(111)", "Cu(100)", "Ru(0001)"):
        atoms = wetted(in_cell(METALS[name], 30.0))
        for _ in range(20):
            shaken = atoms.copy()
            shaken.positions += 0.12 * rng.standard_normal(shaken.positions.shape)
            assert len(of(shaken).layers) == 4


def test_a_stepped_surface_has_its_faces_where_its_atoms_end(rng: np.random.Generator) -> None:
    slab = in_cell(fcc211("Pt", (3, 4, 4)), 35.0, 12.0)
    low, high = slab.positions[:, 2].min(), slab.positions[:, 2].max()
    for _ in range(5):
        atoms = wetted(slab)
        atoms.positions[: len(slab)] += 0.1 * rng.standard_normal((len(slab), 3))
        found = of(atoms)
        assert found.wet == (False, True)
        bottom, top = found.surfaces(atoms.cell.array, atoms.positions)
        assert top == pytest.approx(high, abs=1.2)
        assert bottom == pytest.approx(low, abs=1.2)


@pytest.mark.parametrize("size", [(1, 1, 4), (2, 2, 4), (2, 1, 3)])
def test_a_narrow_cell(size: tuple[int, int, int]) -> None:
    atoms = in_cell(fcc111("Pt", size), 30.0)
    atoms += water((0.0, 0.0, atoms.positions[:, 2].max() + 2.4), (0, 0, 1))
    found = of(atoms)
    assert found.slab.sum() == np.prod(size)
    assert [len(layer) for layer in found.layers] == [size[0] * size[1]] * size[2]
    assert found.wet == (False, True)
    narrow = of(oxide((1, 1, 1)))
    assert narrow.slab.sum() == 17
    assert [len(layer) for layer in narrow.layers] == [2] * 3


def test_a_given_slab_overrides_the_choice() -> None:
    atoms = wetted(in_cell(METALS["Pt(111)"], 30.0))
    lower = np.arange(18)
    mask = np.isin(np.arange(len(atoms)), lower)
    for given in (lower, lower.tolist(), mask):
        found = of(atoms, electrode=given)
        np.testing.assert_array_equal(np.flatnonzero(found.slab), lower)
        assert [len(layer) for layer in found.layers] == [9, 9]
    carbon = atoms.copy()
    carbon.numbers[carbon.numbers == 78] = 6
    found = of(carbon, electrode=np.flatnonzero(carbon.numbers == 6))
    assert len(found.layers) == 4
    universe = load([atoms])
    found = interface_of(universe, "name Pt")
    assert found.slab.sum() == 36
    with pytest.raises(InputError, match="selects no atoms"):
        interface_of(universe, "name Au")
    with pytest.raises(InputError, match="^electrode: .*selection of MDAnalysis"):
        interface_of(universe, "no such words")


@pytest.mark.parametrize("given", [[], [1000], [-1, 3], [True], np.zeros(60, dtype=bool), [0.5]])
def test_a_slab_that_cannot_be_is_refused(given: object) -> None:
    with pytest.raises(InputError, match="^electrode: found"):
        of(hexagonal_slab(), electrode=given)


def test_the_message_names_the_wrong_index() -> None:
    with pytest.raises(InputError, match="found index -1"):
        of(hexagonal_slab(), electrode=[-1, 3])


def test_without_metal_or_room_there_is_no_slab() -> None:
    liquid = water((1, 1, 1), (0, 0, 1)) + water((5, 5, 5), (0, 0, 1))
    liquid.set_cell([10.0, 10.0, 10.0])
    with pytest.raises(InputError, match="^electrode: found no metal among H, O"):
        of(liquid)
    from ase.build import bulk

    solid = bulk("Cu", cubic=True) * (3, 3, 3)
    with pytest.raises(InputError, match="no gap wider than"):
        of(solid)


def test_the_mean_on_a_circle() -> None:
    assert circular_mean(np.array([9.9, 0.1, 0.3]), 10.0) == pytest.approx(0.1)
    assert circular_mean(np.array([3.0, 3.5, 23.0, -7.0]), 10.0) == pytest.approx(3.125)
    assert 0.0 <= circular_mean(np.array([-1e-18]), 10.0) <= 10.0
