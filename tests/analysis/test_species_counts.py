"""Counts of species frame by frame, against a direct count on a reactive trajectory."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.geometry import find_mic
from matplotlib.figure import Figure

from voltase.analysis.readers import load
from voltase.analysis.species_counts import SpeciesCounts
from voltase.analysis.testing import COPIES, film, hexagonal_slab, turned, water
from voltase.aseplugin.errors import InputError

COPPER = Path(__file__).parents[2] / "../shared/data/trajectories/cu100_water_na_oh.extxyz.gz"


def reacting() -> list[Atoms]:
    """Two waters; from the third frame on one of them has lost a proton to the other."""
    slab = hexagonal_slab()
    top = slab.positions[:, 2].max()
    images = []
    for k in range(4):
        atoms = slab + Atoms("NaClO", [(8, 1, top + 9), (1, 5, top + 12), (1, 5, top + 16)])
        atoms += water((1.0, 1.0, top + 3.0), (0, 0, 1))
        atoms += water((6.0, 6.0, top + 6.0), (0, 0, 1))
        if k >= 2:
            # Onto the free side of the other oxygen.
            atoms.positions[-5] = atoms.positions[-3] - (0, 0, 1.0)
        if k == 3:
            atoms.positions[-7] += (0, 0, -2.5)
        images.append(atoms)
    return images


def test_a_species_that_is_only_there_at_times_has_zeros() -> None:
    analysis = SpeciesCounts(load(reacting(), dt=0.5)).run()
    table = analysis.tables()["species"]
    assert list(table)[:5] == ["frame", "time_ps", "H2O", "OH", "H3O"]
    assert table["frame"].tolist() == [0, 1, 2, 3]
    assert table["time_ps"].tolist() == [0.0, 0.5, 1.0, 1.5]
    assert table["H2O"].tolist() == [2, 2, 0, 0]
    assert table["OH"].tolist() == [0, 0, 1, 1]
    assert table["H3O"].tolist() == [0, 0, 1, 1]
    assert table["Na"].tolist() == [1, 1, 1, 1]
    assert table["O"].tolist() == [1, 1, 1, 0]
    assert table["ClO"].tolist() == [0, 0, 0, 1]
    assert table["Cl"].tolist() == [1, 1, 1, 0]
    assert np.isnan(analysis.results.mean_err["H2O"])
    assert analysis.results.mean["OH"] == 0.5


def test_times_that_are_not_known_are_not_made_up() -> None:
    found = SpeciesCounts(load(reacting())).run().results
    assert np.isnan(found.time).all()
    found = SpeciesCounts(load(reacting()), dt=0.25).run(step=2).results
    assert found.time.tolist() == [0.0, 0.5]
    assert found.frame.tolist() == [0, 2]
    with pytest.raises(InputError, match="^dt: "):
        SpeciesCounts(load(reacting()), dt=0.0)


@pytest.mark.parametrize("how", COPIES)
def test_orientation_and_choice_of_the_cell_change_nothing(
    rng: np.random.Generator, how: str
) -> None:
    images = [film(rng) for _ in range(4)]
    plain = SpeciesCounts(load(images)).run().results.counts
    other = SpeciesCounts(load([turned(a, how) for a in images])).run().results.counts
    assert {name: values.tolist() for name, values in plain.items()} == {
        name: values.tolist() for name, values in other.items()
    }


def test_known_times_count_instead_of_dt() -> None:
    found = SpeciesCounts(load(reacting(), dt=0.5), dt=3.0).run().results
    assert found.time[1] == 0.5


def test_legends_lie_outside_the_axes(rng: np.random.Generator) -> None:
    figure = Figure(figsize=(8.0, 5.6), layout="constrained")
    SpeciesCounts(load([film(rng, 6) for _ in range(12)])).run().draw(figure)
    figure.draw_without_rendering()
    for ax in figure.axes:
        legend = ax.get_legend()
        assert legend is not None
        assert legend.get_window_extent().y0 >= ax.get_window_extent().y1 - 1.0


def test_processes_find_the_same_and_the_error_is_that_of_blocks(
    rng: np.random.Generator,
) -> None:
    images = [film(rng, 6) for _ in range(80)]
    for atoms in images:
        # One of the hydrogens is gone in every second frame, by chance.
        atoms.positions[-1, 2] += 8.0 * rng.integers(2)
    universe = load(images, dt=1.0)
    one = SpeciesCounts(universe).run()
    two = SpeciesCounts(universe).run(backend="multiprocessing", n_workers=2)
    for name, values in one.results.counts.items():
        np.testing.assert_array_equal(two.results.counts[name], values)
    counts = one.results.counts["H2O"]
    naive = counts.std(ddof=1) / np.sqrt(80)
    assert naive > 0.0
    assert one.results.mean_err["H2O"] == pytest.approx(naive, rel=1.0)
    figure = Figure()
    one.draw(figure)
    assert figure.axes


def direct(positions: np.ndarray, lengths: np.ndarray, numbers: np.ndarray, search: bool
           ) -> list[int]:  # fmt: skip
    """Oxygens with one, two and three hydrogens, from all pairs; each H has its nearest O."""
    oxygen, hydrogen = (positions[numbers == z] for z in (8, 1))
    vectors = (oxygen[None] - hydrogen[:, None]).reshape(-1, 3)
    if search:
        vectors = find_mic(vectors, np.diag(lengths), pbc=True)[0]
    else:  # the same in a right-angled cell, where it takes no search
        vectors -= lengths * np.rint(vectors / lengths)
    distances = np.linalg.norm(vectors, axis=1).reshape(len(hydrogen), -1)
    assert (distances.min(axis=1) < 1.35).all()
    owned = np.bincount(distances.argmin(axis=1), minlength=len(oxygen))
    return [int((owned == k).sum()) for k in (1, 2, 3)]


def test_the_hydroxide_on_copper_is_counted_as_by_hand() -> None:
    if not COPPER.is_file():
        pytest.skip(f"no trajectory at {COPPER}")
    universe = load(COPPER)
    analysis = SpeciesCounts(universe).run()
    counts = analysis.results.counts
    expected = np.array([
        direct(ts.data["exact_positions"], np.diag(ts.data["cell"]), analysis.numbers,
               ts.frame % 40 == 0)
        for ts in universe.trajectory
    ])  # fmt: skip
    assert len(expected) == 200
    for name, column in zip(("OH", "H2O", "H3O"), expected.T, strict=True):
        np.testing.assert_array_equal(counts[name], column)
    assert (counts["OH"] - counts["H3O"] == 1).all()
    assert not any(counts[name].any() for name in ("O", "H"))
    assert (counts["Na"] == 3).all()
