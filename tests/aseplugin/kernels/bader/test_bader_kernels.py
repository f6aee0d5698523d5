"""Basins of densities on a grid, and facets of Voronoi cells."""

import numpy as np
import pytest

from voltase.aseplugin.kernels.bader import (
    highest_neighbours,
    maxima_of,
    refine_edges,
    shares,
    voronoi_facets,
)

PERIODIC = np.ones(3, dtype=bool)
OPEN = np.zeros(3, dtype=bool)


def wave(n: int) -> np.ndarray:
    """Two equal maxima, at 0 and n/2 along z."""
    z = np.arange(n) * 4.0 * np.pi / n
    side = np.cos(2.0 * np.pi * np.arange(6) / 6)
    return 3.0 + np.cos(z) + side[:, None, None] + side[None, :, None]


def test_facets_of_simple_lattices() -> None:
    shifts, flow = voronoi_facets(np.diag([1.0, 2.0, 4.0]))
    assert sorted(map(tuple, shifts.tolist())) == sorted(
        [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    )
    by_axis = {tuple(abs(s)): f for s, f in zip(shifts, flow, strict=True)}
    assert by_axis[1, 0, 0] == pytest.approx(8.0)
    assert by_axis[0, 1, 0] == pytest.approx(2.0)
    assert by_axis[0, 0, 1] == pytest.approx(0.5)
    hexagonal = np.array([[1.0, 0.0, 0.0], [-0.5, np.sqrt(0.75), 0.0], [0.0, 0.0, 1.0]])
    shifts, flow = voronoi_facets(hexagonal)
    assert len(shifts) == 8
    # The divergence theorem: areas times distances sum to six volumes.
    for steps in (hexagonal, np.array([[1.0, 0.2, 0.1], [0.3, 0.9, -0.2], [-0.1, 0.4, 1.3]])):
        shifts, flow = voronoi_facets(steps)
        squares = ((shifts @ steps) ** 2).sum(axis=1)
        assert flow @ squares == pytest.approx(6.0 * abs(np.linalg.det(steps)))
        np.testing.assert_allclose(flow @ (shifts @ steps), 0.0, atol=1e-9)


def test_plateaus_have_one_maximum() -> None:
    for values in (np.ones((4, 5, 6)), np.zeros((3, 3, 3))):
        maxima, labels = maxima_of(highest_neighbours(values, np.eye(3), OPEN))
        assert len(maxima) == 1
        assert not labels.any()


def test_basins_across_periodic_and_open_ends() -> None:
    values = np.zeros((4, 4, 12))
    values += np.cos(2.0 * np.pi * (np.arange(12) - 11) / 12) + 2.0
    assert len(maxima_of(highest_neighbours(values, np.eye(3), PERIODIC))[0]) == 1
    # The slope towards z = 11 across the end is not there any more: a second maximum at z = 0.
    assert len(maxima_of(highest_neighbours(values, np.eye(3), OPEN))[0]) == 2


@pytest.mark.parametrize("steps", [np.eye(3) * 0.2, np.array([[0.2, 0.0, 0.0], [-0.1, 0.17, 0.0],
                                                               [0.05, -0.03, 0.25]])])  # fmt: skip
def test_equal_halves(steps: np.ndarray) -> None:
    values = wave(20)
    pointers = highest_neighbours(values, steps, PERIODIC)
    maxima, labels = maxima_of(pointers)
    assert maxima.tolist() == [0, 10]
    near = labels.copy()
    refine_edges(near, values, pointers, steps, PERIODIC)
    shifts, flow = voronoi_facets(steps)
    sums, volumes, largest = shares(values, labels, 2, values, shifts, flow, PERIODIC)
    # The planes of minima, at 5 and 15, belong to neither more than to the other.
    np.testing.assert_allclose(sums, values.sum() / 2)
    np.testing.assert_allclose(volumes, values.size / 2)
    z = np.broadcast_to(np.arange(20), values.shape).ravel()
    first = (z < 5) | (z > 15)
    for found in (labels, near, largest):
        assert (found[first] == 0).all()
        assert (found[(z > 5) & (z < 15)] == 1).all()


def test_near_grid_has_no_bias_of_the_grid() -> None:
    """A boundary oblique to the grid: two Gaussians on a line at an angle of 13 degrees."""
    n, h = 60, 0.15
    x, y, z = np.meshgrid(*[np.arange(m) * h for m in (n, n, 5)], indexing="ij")
    axis = np.array([np.cos(0.23), np.sin(0.23)])
    middle = 0.5 * n * h
    along = (x - middle) * axis[0] + (y - middle) * axis[1]
    across = (y - middle) * axis[0] - (x - middle) * axis[1]
    profile = np.exp(-(((z - 2 * h) / 1.5) ** 2))
    values = (np.exp(-((along - 0.8) ** 2)) + np.exp(-((along + 0.8) ** 2))) * np.exp(
        -0.5 * across**2
    )
    values = values * profile
    pointers = highest_neighbours(values, np.eye(3) * h, OPEN)
    maxima, labels = maxima_of(pointers)
    assert len(maxima) == 2
    expected = along.ravel() * np.sign(along.ravel()[maxima[0]]) < 0
    near = labels.copy()
    refine_edges(near, values, pointers, np.eye(3) * h, OPEN)
    inside = (abs(along) > 1.5 * h).ravel() & (values > 1e-4).ravel()
    assert (near[inside] == expected[inside]).all()
    assert (labels[inside] != expected[inside]).mean() > 0.01
