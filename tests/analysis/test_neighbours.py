"""The search of pairs against all pairs with their images, one by one."""

import itertools

import numpy as np
import pytest

from voltase.analysis.cells import standardise_cell
from voltase.analysis.counting import EDGE
from voltase.analysis.neighbours import (
    Pairs,
    count_distances,
    find_pairs,
    largest_cutoff,
    nearest,
)
from voltase.aseplugin.errors import InputError

CELLS = {
    "cubic": np.diag([10.0, 10.0, 10.0]),
    "flat": np.diag([9.0, 13.0, 41.0]),
    "hexagonal": np.array([[12.0, 0, 0], [-6.0, 6.0 * np.sqrt(3.0), 0], [0, 0, 25.0]]),
    "acute": np.array([[12.0, 0, 0], [6.0, 6.0 * np.sqrt(3.0), 0], [0, 0, 9.0]]),
    "triclinic": np.array([[11.0, 0, 0], [2.5, 9.0, 0], [-3.0, 4.0, 15.0]]),
    "tilted": np.array([[9.0, 0, 0], [4.0, 11.0, 0], [13.0, -9.0, 12.0]]),
    "long": np.array([[6.0, 0, 0], [1.0, 6.5, 0], [0.5, 1.0, 300.0]]),
}


def all_pairs(
    cell: np.ndarray, a: np.ndarray, b: np.ndarray | None, cutoff: float
) -> dict[tuple[int, int], tuple[float, np.ndarray]]:
    """Distance and vector of every pair within the cutoff, the shortest of many images."""
    second = a if b is None else b
    # Images that cover any choice of the points in their periods.
    fractions = (second[None] - a[:, None]) @ np.linalg.inv(cell)
    base = (fractions - np.floor(fractions)) @ cell
    shifts = np.array(list(itertools.product(range(-3, 3), repeat=3))) @ cell
    images = base[:, :, None] + shifts
    distances = np.linalg.norm(images, axis=3)
    best = distances.argmin(axis=2)
    found = {}
    for i in range(len(a)):
        for j in range(i + 1 if b is None else 0, len(second)):
            distance = distances[i, j, best[i, j]]
            if distance <= cutoff:
                found[i, j] = distance, images[i, j, best[i, j]]
    return found


def assert_equal(pairs: Pairs, expected: dict[tuple[int, int], tuple[float, np.ndarray]]) -> None:
    keys = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    assert set(keys) == set(expected)
    for key, distance, vector in zip(keys, pairs.distances, pairs.vectors, strict=True):
        assert distance == pytest.approx(expected[key][0], abs=1e-10)
        np.testing.assert_allclose(vector, expected[key][1], atol=1e-10)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("share", [1.0, 0.999, 0.67, 0.5, 0.3, 0.1])
def test_all_pairs_are_found(rng: np.random.Generator, name: str, share: float) -> None:
    cell = CELLS[name]
    cutoff = share * largest_cutoff(cell)
    a, b = ((4.0 * rng.random((count, 3)) - 2.0) @ cell for count in (40, 27))
    assert_equal(find_pairs(cell, a, b, cutoff), all_pairs(cell, a, b, cutoff))
    assert_equal(find_pairs(cell, a, None, cutoff), all_pairs(cell, a, None, cutoff))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("count", [30, 300])
def test_distances_are_counted_as_the_pairs_have_them(
    rng: np.random.Generator, name: str, count: int
) -> None:
    cell = CELLS[name]
    a, b = ((4.0 * rng.random((n, 3)) - 2.0) @ cell for n in (count, count // 2))
    rows, n_rows = rng.integers(-1, 2, count), 2
    bins = 20
    width = 0.999 * largest_cutoff(cell) / bins
    for second in (b, None):
        pairs = find_pairs(cell, a, second, bins * width)
        expected = np.zeros((n_rows, bins))
        ends = (pairs.first,) if second is b else (pairs.first, pairs.second)
        for end in ends:
            for row in range(n_rows):
                index = ((pairs.distances[rows[end] == row] + EDGE) / width).astype(int)
                expected[row] += np.bincount(index, minlength=bins + 1)[:bins]
        assert expected.sum() > 0
        found = count_distances(cell, a, second, rows, n_rows, width, bins)
        np.testing.assert_array_equal(found, expected)


def test_distances_beyond_half_the_width_are_not_counted() -> None:
    cell, points = CELLS["flat"], np.zeros((2, 3))
    rows = np.zeros(2, dtype=np.int64)
    assert count_distances(cell, points, None, rows, 1, 0.5, 9).tolist() == [[2.0] + [0.0] * 8]
    with pytest.raises(InputError, match="^cutoff: found 5 A, expected"):
        count_distances(cell, points, None, rows, 1, 0.5, 10)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("share", [1.0, 0.4, 0.1])
def test_the_nearest_is_the_end_of_the_shortest_pair(
    rng: np.random.Generator, name: str, share: float
) -> None:
    cell = CELLS[name]
    cutoff = share * largest_cutoff(cell)
    a, b = ((4.0 * rng.random((count, 3)) - 2.0) @ cell for count in (40, 200))
    expected = np.full(len(a), -1)
    shortest = np.full(len(a), np.inf)
    for (i, j), (distance, _) in all_pairs(cell, a, b, cutoff).items():
        if distance < shortest[i]:
            shortest[i], expected[i] = distance, j
    np.testing.assert_array_equal(nearest(cell, a, b, cutoff), expected)
    assert (nearest(cell, a, np.empty((0, 3)), cutoff) == -1).all()


def test_the_cell_may_have_any_orientation_once_turned(rng: np.random.Generator) -> None:
    cell = rng.standard_normal((3, 3)) + 8.0 * np.eye(3)
    points = rng.random((30, 3)) @ cell
    for vectors in (cell, cell[[1, 0, 2]]):
        standard = standardise_cell(vectors)
        cutoff = largest_cutoff(standard.cell)
        pairs = find_pairs(standard.cell, standard.turn(points), None, cutoff)
        lengths = {k: d for k, (d, _) in all_pairs(cell, points, None, cutoff).items()}
        assert len(pairs.first) == len(lengths)
        for i, j, d in zip(pairs.first.tolist(), pairs.second.tolist(), pairs.distances,
                           strict=True):  # fmt: skip
            assert d == pytest.approx(lengths[i, j], abs=1e-10)


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_a_lattice_has_its_coordination(count: int) -> None:
    points = np.array(list(itertools.product(range(count), repeat=3)), dtype=float)
    cell = float(count) * np.eye(3)
    for cutoff, neighbours in ((1.01, 6), (1.42, 18), (1.74, 26), (2.01, 32)):
        if cutoff <= count / 2:
            pairs = find_pairs(cell, points, None, cutoff)
            each = np.bincount(np.append(pairs.first, pairs.second))
            assert (each == neighbours).all()


def test_points_on_the_boundary_and_in_any_period(rng: np.random.Generator) -> None:
    cell = CELLS["triclinic"]
    fractions = np.array([(0, 0, 0), (1, 0, 0), (0.5, 0, -1e-18), (0.99999999, 1, 0.2),
                          (1e-17, 0.3, 1.0)])  # fmt: skip
    cutoff = largest_cutoff(cell)
    plain = find_pairs(cell, fractions @ cell, None, cutoff)
    shifts = rng.integers(-5, 6, fractions.shape)
    moved = find_pairs(cell, (fractions + shifts) @ cell, None, cutoff)
    assert sorted(plain.distances) == pytest.approx(sorted(moved.distances), abs=1e-12)
    assert plain.distances.min() == pytest.approx(0.0, abs=1e-12)


def test_more_pairs_than_guessed_are_all_kept(rng: np.random.Generator) -> None:
    cell = np.diag([10.0, 10.0, 10.0])
    crowd = 5.0 + 0.1 * rng.standard_normal((400, 3))
    pairs = find_pairs(cell, crowd, None, 4.0)
    assert len(pairs.first) == 400 * 399 // 2
    vectors = crowd[pairs.second] - crowd[pairs.first]
    np.testing.assert_allclose(pairs.vectors, vectors, atol=1e-12)


def test_many_cells_of_one_point_each(rng: np.random.Generator) -> None:
    cell = np.diag([200.0, 150.0, 10.0])
    points = rng.random((700, 3)) @ cell
    for cutoff in (0.5, 4.0):
        pairs = find_pairs(cell, points, None, cutoff)
        vectors = points[None] - points[:, None]
        vectors -= np.diag(cell) * np.rint(vectors / np.diag(cell))
        near = np.triu((vectors**2).sum(axis=2) <= cutoff**2, 1)
        assert set(zip(*np.nonzero(near), strict=True)) == set(
            zip(pairs.first, pairs.second, strict=True)
        )


def test_no_points_have_no_pairs() -> None:
    cell = np.diag([10.0, 10.0, 10.0])
    some, none = np.zeros((2, 3)), np.empty((0, 3))
    for a, b in ((none, None), (none, some), (some, none)):
        pairs = find_pairs(cell, a, b, 3.0)
        assert pairs.first.shape == pairs.second.shape == pairs.distances.shape == (0,)
        assert pairs.vectors.shape == (0, 3)


@pytest.mark.parametrize("name", CELLS)
def test_a_cutoff_above_half_the_width_is_refused(name: str) -> None:
    cell, points = CELLS[name], np.zeros((2, 3))
    limit = largest_cutoff(cell)
    find_pairs(cell, points, None, limit)
    for cutoff in (1.001 * limit, 0.0, -1.0, np.inf, np.nan):
        with pytest.raises(InputError, match="^cutoff: found"):
            find_pairs(cell, points, None, cutoff)
