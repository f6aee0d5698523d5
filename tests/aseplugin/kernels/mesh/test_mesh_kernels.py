"""B-spline spreading and gathering: the compiled loops against plain NumPy, and identities."""

from __future__ import annotations

import numpy as np
import pytest

from voltase.aseplugin.kernels import mesh
from voltase.aseplugin.kernels.mesh import reference

SHAPE = (7, 9, 11)


@pytest.fixture(params=[2, 6])
def splines(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    coordinates = np.random.default_rng(0).uniform(-15.0, 25.0, (30, 3))
    return mesh.spline_weights(coordinates, request.param)


def test_weights_are_those_of_scipy_and_add_to_one() -> None:
    coordinates = np.random.default_rng(0).uniform(-15.0, 25.0, (30, 3))
    for order in range(2, 11):
        first, weights, slopes = mesh.spline_weights(coordinates, order)
        expected = reference.spline_weights(coordinates, order)
        np.testing.assert_array_equal(first, expected[0])
        np.testing.assert_allclose(weights, expected[1], rtol=0, atol=1e-14)
        np.testing.assert_allclose(slopes, expected[2], rtol=0, atol=1e-14)
        np.testing.assert_allclose(weights.sum(2), 1.0, rtol=0, atol=1e-14)


def test_maps_are_those_of_the_reference(splines: tuple) -> None:
    first, weights, slopes = splines
    rng = np.random.default_rng(1)
    charges, grid = rng.normal(size=30), rng.normal(size=SHAPE)
    found = mesh.spread(charges, first, weights, SHAPE)
    np.testing.assert_allclose(found, reference.spread(charges, first, weights, SHAPE), atol=1e-14)
    found = mesh.gather(grid, first, weights)
    np.testing.assert_allclose(found, reference.gather(grid, first, weights), atol=1e-14)
    found = mesh.gather_gradient(grid, first, weights, slopes)
    expected = reference.gather_gradient(grid, first, weights, slopes)
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_gathering_is_the_adjoint_of_spreading(splines: tuple) -> None:
    first, weights, _ = splines
    rng = np.random.default_rng(2)
    charges, grid = rng.normal(size=30), rng.normal(size=SHAPE)
    left = (mesh.spread(charges, first, weights, SHAPE) * grid).sum()
    assert left == pytest.approx(charges @ mesh.gather(grid, first, weights), rel=1e-12)


def test_the_gradient_is_the_slope_of_gathering() -> None:
    rng = np.random.default_rng(3)
    coordinates, grid = rng.uniform(0.0, 7.0, (20, 3)), rng.normal(size=SHAPE)
    first, weights, slopes = mesh.spline_weights(coordinates, 6)
    gradient = mesh.gather_gradient(grid, first, weights, slopes)
    step = 1e-5
    for axis in range(3):
        values = []
        for sign in (1.0, -1.0):
            moved = coordinates.copy()
            moved[:, axis] += sign * step
            values.append(mesh.gather(grid, *mesh.spline_weights(moved, 6)[:2]))
        slope = (values[0] - values[1]) / (2.0 * step)
        np.testing.assert_allclose(gradient[:, axis], slope, rtol=0, atol=1e-8)


def test_the_number_of_threads_does_not_change_the_charges(splines: tuple) -> None:
    numba = pytest.importorskip("numba")
    first, weights, _ = splines
    charges = np.random.default_rng(4).normal(size=30)
    several = numba.get_num_threads()
    found = mesh.spread(charges, first, weights, SHAPE)
    numba.set_num_threads(1)
    try:
        np.testing.assert_array_equal(mesh.spread(charges, first, weights, SHAPE), found)
    finally:
        numba.set_num_threads(several)
