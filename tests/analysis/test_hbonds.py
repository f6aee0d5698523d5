"""Hydrogen bonds: constructed dimers, ice, sums and symmetries."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from matplotlib.figure import Figure

from voltase.analysis.hbonds import HydrogenBonds, kind_name
from voltase.analysis.orientation import WaterOrientation
from voltase.analysis.readers import load
from voltase.analysis.testing import COPIES, film, hexagonal_slab, turned, water
from voltase.aseplugin.errors import InputError

OH = 0.97


def dimer(angle: float, distance: float) -> Atoms:
    """Above the slab a donor whose hydrogen is so many degrees off the line to an acceptor."""
    atoms = hexagonal_slab()
    donor = np.array([3.0, 4.0, atoms.positions[:, 2].max() + 3.0])
    acceptor = donor + (distance, 0.0, 0.0)
    turn = np.radians(angle)
    atoms += Atoms("O", [donor])
    atoms += Atoms("H", [donor + OH * np.array([np.cos(turn), np.sin(turn), 0.0])])
    atoms += Atoms("H", [donor + OH * np.array([np.cos(turn + 1.82), np.sin(turn + 1.82), 0.0])])
    return atoms + water(acceptor, (1.0, 0.0, 0.0))


def angle_at_hydrogen(angle: float, distance: float) -> float:
    hydrogen = OH * np.exp(1j * np.radians(angle))
    return float(np.degrees(abs(np.angle((distance - hydrogen) / -hydrogen))))


@pytest.mark.parametrize(
    ("angle", "distance", "bonds"),
    [(0.0, 2.8, 1), (29.9, 2.8, 1), (30.1, 2.8, 0), (5.0, 3.499, 1), (5.0, 3.501, 0)],
)
def test_criterion_at_the_donor(angle: float, distance: float, bonds: int) -> None:
    assert HydrogenBonds(load([dimer(angle, distance)])).run().results.bonds == bonds


@pytest.mark.parametrize("angle", [0.0, 12.0, 24.0])
def test_criterion_at_the_hydrogen(angle: float) -> None:
    exact = angle_at_hydrogen(angle, 2.9)
    universe = load([dimer(angle, 2.9)])
    for limit in (exact - 0.01, exact + 0.01):
        if limit < 180.0:
            found = HydrogenBonds(universe, definition="DHA", angle=limit).run().results
            assert found.bonds == (limit < exact)


def ice(repeats: int = 2) -> Atoms:
    """Proton-ordered cubic ice on a square lattice of metal: along two of the four bonds of one
    sublattice it donates, along the other two it accepts, so that all molecules are DDAA."""
    a, height = 6.36, 6.0 + 6.36 * repeats + 6.0
    bonds = 0.25 * a * np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)])
    corners = a * np.array([(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)])
    shifts = a * np.array(list(np.ndindex(2, 2, repeats)))
    unit = bonds / np.linalg.norm(bonds, axis=1, keepdims=True)
    points = []
    for corner in (corners + shifts[:, None]).reshape(-1, 3):
        points += [corner, corner + unit[0], corner + unit[1]]
        other = corner + bonds[0]
        points += [other, other - unit[2], other - unit[3]]
    molecules = Atoms("OHH" * (len(points) // 3), points)
    molecules.positions[:, 2] += 7.0
    side = 2 * a / 5
    metal = [(side * i, side * j, 2.0 * k) for i, j, k in np.ndindex(5, 5, 3)]
    return Atoms(f"Pt{len(metal)}", metal, cell=(2 * a, 2 * a, height), pbc=True) + molecules


@pytest.mark.parametrize("definition", ["HOO", "DHA"])
def test_ice_donates_two_and_accepts_two(definition: str) -> None:
    atoms = ice()
    # The lowest layer is 3 A from the metal, the highest 14.1 A.
    analysis = HydrogenBonds(load([atoms]), definition=definition, layers=[4.0, 14.0])
    found = analysis.run().results
    layer = found.by_layer["upper"]
    assert layer["donated"][1] == layer["accepted"][1] == 2.0
    assert found.distribution["upper"][1, 2, 2] == 1.0
    molecules = (atoms.numbers == 8).sum()
    # A crystal has two for each molecule; the surfaces cut two for each of the 8 in a layer.
    assert found.bonds == 2 * molecules - 16


def by_hand(atoms: Atoms) -> set[tuple[int, int]]:
    """Donor and acceptor of each bond, by ASE's distances."""
    oxygen, hydrogen = np.flatnonzero(atoms.numbers == 8), np.flatnonzero(atoms.numbers == 1)
    vectors = atoms.get_all_distances(mic=True, vector=True)
    far = np.linalg.norm(vectors, axis=-1)
    bonds = set()
    for h in hydrogen:
        donor = oxygen[np.argmin(far[h, oxygen])]
        for acceptor in oxygen:
            cosine = vectors[donor, h] @ vectors[donor, acceptor]
            cosine /= max(far[donor, h] * far[donor, acceptor], 1e-9)
            if acceptor != donor and far[donor, acceptor] < 3.5 and cosine > np.sqrt(0.75):
                bonds.add((int(donor), int(acceptor)))
    return bonds


def spread_film(rng: np.random.Generator, molecules: int = 60) -> Atoms:
    """Molecules on a jittered grid, so that none overlap."""
    atoms = hexagonal_slab(bottom=12.0)
    grid = np.array(list(np.ndindex(4, 4, 6)))[rng.permutation(96)[:molecules]]
    low, high = atoms.positions[:, 2].min(), atoms.positions[:, 2].max()
    room = (low - high) % 30.0 - 5.0
    for place in grid:
        point = ((place + 0.5 + 0.1 * rng.random(3)) / (4, 4, 6)) @ atoms.cell.array
        point[2] = high + 2.5 + room * (place[2] + 0.5 + 0.1 * rng.random()) / 6.0
        atoms += water(point, *rng.standard_normal((2, 3)))
    return atoms


def test_bonds_are_those_found_by_hand_and_add_up(rng: np.random.Generator) -> None:
    frames = [spread_film(rng) for _ in range(4)]
    expected = [len(by_hand(atoms)) for atoms in frames]
    found = HydrogenBonds(load(frames), layers=[5.0, 8.0]).run().results
    assert min(expected) > 3
    assert found.bonds == pytest.approx(np.mean(expected), rel=1e-12)
    assert 2 * found.between["both"].sum() == pytest.approx(found.bonds)
    for key in ("donated", "accepted"):
        total = found.species["H2O"][key] * found.species["H2O"]["molecules"]
        assert total == pytest.approx(found.bonds)
    for face, table in found.distribution.items():
        np.testing.assert_allclose(table.sum(axis=(1, 2)), 1.0)
        mean = (table.sum(axis=2) * np.arange(4)).sum(axis=1)
        np.testing.assert_allclose(mean, found.by_layer[face]["donated"])


def test_layers_are_those_of_the_orientation(rng: np.random.Generator) -> None:
    universe = load([spread_film(rng) for _ in range(3)])
    waters = WaterOrientation(universe).run().results.waters
    layers = HydrogenBonds(universe).run().results.by_layer
    for face, numbers in waters.items():
        np.testing.assert_allclose(layers[face]["molecules"], numbers)


def test_hydronium_donates_three_and_hydroxide_one_at_most() -> None:
    atoms = hexagonal_slab()
    centre = np.array([6.0, 5.0, atoms.positions[:, 2].max() + 4.0])
    around = [np.array([np.cos(t), np.sin(t), 0.0]) for t in np.radians([0.0, 120.0, 240.0])]
    atoms += Atoms("OH3", [centre, *(centre + 1.0 * v for v in around)])
    atoms += water(centre + 2.55 * around[0], around[0])
    atoms += water(centre + 2.55 * around[1], around[1])
    hydroxide = centre + 2.55 * around[2]
    atoms += Atoms("OH", [hydroxide, hydroxide + 0.97 * around[2]])
    species = HydrogenBonds(load([atoms])).run().results.species
    assert [species[k]["molecules"] for k in ("OH", "H2O", "H3O")] == [1.0, 2.0, 1.0]
    assert [species[k]["donated"] for k in ("OH", "H2O", "H3O")] == [0.0, 0.0, 3.0]
    assert [species[k]["accepted"] for k in ("OH", "H2O", "H3O")] == [1.0, 1.0, 0.0]


def test_bonds_between_layers_have_a_direction() -> None:
    atoms = hexagonal_slab()
    low = np.array([3.0, 4.0, atoms.positions[:, 2].max() + 2.3])
    high = low + (0.0, 0.0, 2.8)
    bond = np.array([0.0, 0.0, OH])
    atoms += Atoms("OHH", [low, low + bond, low + (OH, 0.0, 0.0)])
    atoms += water(high, (0.0, 0.0, 1.0))
    found = HydrogenBonds(load([atoms])).run().results
    expected = np.zeros((4, 4))
    expected[0, 2] = 1.0
    np.testing.assert_array_equal(found.between["upper"], expected)
    assert found.distribution["both"][0, 1, 0] == found.distribution["both"][2, 0, 1] == 1.0


@pytest.mark.parametrize("how", COPIES)
def test_copies_have_the_same_bonds(how: str, rng: np.random.Generator) -> None:
    frames = [spread_film(rng) for _ in range(3)]
    a = HydrogenBonds(load(frames)).run().results
    b = HydrogenBonds(load([turned(atoms, how) for atoms in frames])).run().results
    assert b.bonds == a.bonds > 0
    for face in a.distribution:
        np.testing.assert_allclose(b.distribution[face], a.distribution[face])
        np.testing.assert_allclose(b.between[face], a.between[face])


def test_mirrored_faces_are_the_same(rng: np.random.Generator) -> None:
    frames = []
    for _ in range(3):
        one = film(rng, 12)
        rest = one[one.numbers != 78]
        middle = one.positions[one.numbers == 78, 2].mean()
        rest.positions[:, 2] = 2.0 * middle - rest.positions[:, 2]
        both = one + rest
        both.cell[2, 2] = 60.0
        frames.append(both)
    found = HydrogenBonds(load(frames), layers=[20.0]).run().results
    for key, values in found.by_layer["lower"].items():
        np.testing.assert_allclose(values, found.by_layer["upper"][key])
        if not key.endswith("_err"):
            np.testing.assert_allclose(values, found.by_layer["both"][key])


def test_two_processes_give_the_same(rng: np.random.Generator) -> None:
    universe = load([spread_film(rng, 30) for _ in range(12)])
    serial = HydrogenBonds(universe).run().tables()
    parallel = HydrogenBonds(universe).run(backend="multiprocessing", n_workers=2).tables()
    for stem, table in serial.items():
        for name, column in table.items():
            np.testing.assert_array_equal(parallel[stem][name], column)


def test_tables_and_figure(rng: np.random.Generator) -> None:
    analysis = HydrogenBonds(load([spread_film(rng, 40) for _ in range(10)])).run()
    for table in analysis.tables().values():
        assert len({len(column) for column in table.values()}) == 1
    assert "DDAA" in analysis.tables()["hbonds_kinds"]
    mean = analysis.tables()["hbonds_mean"]
    assert mean["bonds"][0] == analysis.results.bonds
    assert mean["H2O_donated"][0] == analysis.results.species["H2O"]["donated"]
    figure = Figure()
    analysis.draw(figure)
    assert [ax.get_ylabel() for ax in figure.axes] == [
        "bonds per molecule", "share of the molecules"
    ]  # fmt: skip


def test_no_errors_from_few_frames(
    rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    found = HydrogenBonds(load([spread_film(rng, 20) for _ in range(3)])).run().results
    assert np.isnan(found.bonds_err)
    assert "too few" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"distance": 1.0}, "distance: found 1 A"),
        ({"angle": 190.0}, "angle: found 190"),
        ({"definition": "HDA"}, "definition: found 'HDA'"),
        ({"layers": [4.0, 2.0]}, "layers: found"),
        ({"layers": []}, "layers: found"),
        ({"width": 0.0}, "width: found 0 A"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        HydrogenBonds(load([dimer(0.0, 2.8)]), **arguments)


def test_a_cell_too_small_is_refused() -> None:
    with pytest.raises(InputError, match="cutoff: found 5.9 A"):
        HydrogenBonds(load([dimer(0.0, 2.8)]), distance=5.9).run()


def test_names_of_kinds() -> None:
    assert [kind_name(2, 2), kind_name(1, 0), kind_name(0, 0)] == ["DDAA", "D", "none"]


@pytest.mark.slow
def test_platinum_in_water(shared_data: Path) -> None:
    from ase.io import read

    path = shared_data / "pt111_water" / "unbiased.extxyz.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    frames = read(path, ":60")
    found = HydrogenBonds(load(frames)).run().results
    layer = found.by_layer["both"]
    # Chemisorbed molecules donate and hardly accept: one of their lone pairs binds to platinum.
    assert layer["donated"][0] == pytest.approx(1.92, abs=0.03)
    assert layer["accepted"][0] == pytest.approx(0.75, abs=0.04)
    assert 1.7 < layer["donated"][2] < 1.9
    assert (layer["donated_err"] < 0.05).all()
