"""Molecules and ions found in single frames of known content."""

import numpy as np
import pytest
from ase import Atoms

from voltase.analysis.cells import standardise_cell
from voltase.analysis.interface import find_slab
from voltase.analysis.species import COLUMNS, Species, count_species, find_species
from voltase.analysis.testing import COPIES, film, hexagonal_slab, turned, water

TOP = float(hexagonal_slab().positions[:, 2].max())
ATOP = hexagonal_slab().positions[-1]
"""An atom of the upper layer."""


def found(atoms: Atoms) -> tuple[Species, dict[str, int]]:
    standard = standardise_cell(atoms.cell.array)
    positions = standard.turn(atoms.positions)
    numbers = atoms.numbers.astype(np.int64)
    metal = ~np.isin(numbers, (1, 6, 7, 8, 15, 16, 17))
    slab = find_slab(standard.cell, positions, numbers) if metal.any() else metal
    species = find_species(standard.cell, positions, numbers, slab)
    return species, count_species(species, standard.cell, positions, numbers, slab)


def occurring(atoms: Atoms) -> dict[str, int]:
    counts = found(atoms)[1]
    assert tuple(counts)[: len(COLUMNS)] == COLUMNS
    return {name: count for name, count in counts.items() if count}


def with_slab(*groups: Atoms) -> Atoms:
    atoms = hexagonal_slab()
    for group in groups:
        atoms += group
    return atoms


def hydroxide(place: tuple[float, float, float]) -> Atoms:
    return Atoms("OH", np.add([(0, 0, 0), (0, 0, 0.97)], place))


def hydronium(place: tuple[float, float, float]) -> Atoms:
    angles = np.radians([0, 120, 240])
    bonds = np.column_stack([0.93 * np.cos(angles), 0.93 * np.sin(angles), np.full(3, 0.3)])
    return Atoms("OH3", np.concatenate([np.zeros((1, 3)), bonds]) + place)


def perchlorate(place: tuple[float, float, float]) -> Atoms:
    corners = 1.45 / np.sqrt(3.0) * np.array([(1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1)])
    return Atoms("ClO4", np.concatenate([np.zeros((1, 3)), corners]) + place)


def test_water_and_its_ions() -> None:
    atoms = with_slab(water((2, 2, TOP + 6), (0, 0, 1)), hydroxide((6, 2, TOP + 6)),
                      hydronium((2, 6, TOP + 6)), water((6, 6, TOP + 6), (1, 0, 0)))  # fmt: skip
    assert occurring(atoms) == {"H2O": 2, "OH": 1, "H3O": 1}
    species, _ = found(atoms)
    n = len(hexagonal_slab())
    assert species.waters(atoms.numbers).tolist() == [[n, n + 1, n + 2], [n + 9, n + 10, n + 11]]
    assert species.owner[n + 1 : n + 3].tolist() == [n, n]
    assert species.hydrogens[n] == 2
    assert (species.hydrogens[:n] == -1).all()
    assert (species.owner[atoms.numbers != 1] == -1).all()


@pytest.mark.parametrize(("shift", "owner"), [(-0.02, 0), (0.02, 1)])
def test_a_shared_proton_belongs_to_the_nearer_oxygen(shift: float, owner: int) -> None:
    left = water((2.0, 2.0, TOP + 6.0), (-1, 0, 0))
    right = water((4.42, 2.0, TOP + 6.0), (1, 0, 0))
    atoms = with_slab(left, right, Atoms("H", [(3.21 + shift, 2.0, TOP + 6.0)]))
    species, counts = found(atoms)
    n = len(hexagonal_slab())
    assert species.owner[-1] == n + 3 * owner
    assert (counts["H2O"], counts["H3O"], counts["OH"]) == (1, 1, 0)


def test_the_order_of_the_atoms_does_not_matter(rng: np.random.Generator) -> None:
    atoms = film(rng)
    shuffled = atoms[rng.permutation(len(atoms))]
    assert occurring(atoms) == occurring(shuffled)
    species, _ = found(shuffled)
    numbers = shuffled.numbers.astype(np.int64)
    for oxygen, *hydrogens in species.waters(numbers):
        assert numbers[oxygen] == 8
        assert (numbers[hydrogens] == 1).all()
        assert (species.owner[hydrogens] == oxygen).all()


def test_oxyanions_and_ions() -> None:
    atoms = with_slab(perchlorate((3, 3, TOP + 6)), perchlorate((8, 3, TOP + 6)),
                      Atoms("Na", [(5, 7, TOP + 7)]), Atoms("Cl", [(0, 0, TOP + 11)]))  # fmt: skip
    assert occurring(atoms) == {"ClO4": 2, "Na": 1, "Cl": 1}
    species, _ = found(atoms)
    assert species.in_oxyanion.sum() == 8
    assert len(species.with_hydrogens(0)) == 0


def test_a_protonated_oxyanion_is_no_hydroxide() -> None:
    atoms = with_slab(perchlorate((3, 3, TOP + 6)))
    end, centre = atoms.positions[-1], atoms.positions[-5]
    atoms += Atoms("H", [end + 0.97 * (end - centre) / 1.45])
    assert occurring(atoms) == {"ClO4": 1}


def test_adsorbed_hydrogen_oxygen_hydroxide_and_water() -> None:
    assert occurring(with_slab(Atoms("H", [ATOP + (0, 0, 1.56)]))) == {"H": 1, "H_adsorbed": 1}
    assert occurring(with_slab(Atoms("O", [ATOP + (0, 0, 1.9)]))) == {"O": 1, "O_adsorbed": 1}
    assert occurring(with_slab(hydroxide(ATOP + (0, 0, 2.0)))) == {"OH": 1, "OH_adsorbed": 1}
    assert occurring(with_slab(water(ATOP + (0, 0, 2.3), (0.2, 0, 1)))) == {
        "H2O": 1, "H2O_adsorbed": 1,
    }  # fmt: skip
    assert occurring(with_slab(Atoms("H", [ATOP + (0, 0, 2.5)]))) == {"H": 1}
    assert occurring(with_slab(water(ATOP + (0, 0, 2.6), (0.2, 0, 1)))) == {"H2O": 1}


def test_an_adsorbate_in_a_bridge_counts_once() -> None:
    slab = hexagonal_slab()
    middle = 0.5 * (slab.positions[-1] + slab.positions[-2])
    assert occurring(with_slab(Atoms("O", [middle + (0, 0, 1.3)]))) == {"O": 1, "O_adsorbed": 1}


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (3.3, -5.1, 7.7), (-40.0, 55.0, 91.0)])
def test_across_the_boundary(shift: tuple[float, float, float]) -> None:
    groups = with_slab(water((0.05, 0.05, TOP + 6), (-1, -1, 0)), hydronium((5.7, 0.1, TOP + 6)),
                       perchlorate((0.1, 4, TOP + 12)), hydroxide((2, 4, 29.5)))  # fmt: skip
    groups.positions += shift
    wrapped = groups.copy()
    wrapped.wrap()
    expected = {"H2O": 1, "H3O": 1, "OH": 1, "ClO4": 1}
    assert occurring(groups) == expected
    assert occurring(wrapped) == expected


@pytest.mark.parametrize("how", COPIES)
def test_orientation_and_choice_of_the_cell_change_nothing(
    rng: np.random.Generator, how: str
) -> None:
    for _ in range(5):
        atoms = film(rng)
        copy = turned(atoms, how)
        assert occurring(copy) == occurring(atoms)
        np.testing.assert_array_equal(found(copy)[0].owner, found(atoms)[0].owner)


def test_without_slab_water_or_hydrogen() -> None:
    cell = np.diag([10.0, 10.0, 10.0])
    only = Atoms("O", [(1, 1, 1)], cell=cell, pbc=True)
    assert occurring(only) == {"O": 1}
    assert found(only)[0].waters(only.numbers).shape == (0, 3)
    hydrogen = Atoms("H2", [(1, 1, 1), (1, 1, 1.74)], cell=cell, pbc=True)
    assert occurring(hydrogen) == {"H": 2}
    far = Atoms("OHH", [(1, 1, 1), (1, 1, 1 + 1.34), (1, 1, 1 - 1.36)], cell=cell, pbc=True)
    assert occurring(far) == {"OH": 1, "H": 1}
