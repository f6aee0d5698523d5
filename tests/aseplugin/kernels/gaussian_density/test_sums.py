"""Gaussians on a grid: by definition, in reciprocal space, and the derivatives of the map."""

import mace  # noqa: F401  (before e3nn: e3nn 0.4.4 cannot load its constants otherwise)
import numpy as np
import pytest
import torch
from e3nn import o3

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.kernels.gaussian_density import (
    GaussianBasis,
    adjoint,
    evaluate,
    evaluate_points,
    position_gradient,
    reference,
)
from voltase.aseplugin.kernels.gaussian_density.harmonics import solid_harmonics
from voltase.aseplugin.kernels.gaussian_density.plan import make_plan

BASIS = GaussianBasis(
    {"H": [(0, 9.0), (0, 3.0), (1, 1.5)], "O": [(0, 20.0), (3, 1.0), (4, 0.6), (2, 0.6), (0, 0.6)]}
)
NUMBERS = np.array([8, 1, 1, 8])
ORTHOGONAL = np.diag([4.0, 5.0, 6.0])
HEXAGONAL = np.array([[4.0, 0.0, 0.0], [-2.0, 3.5, 0.0], [0.0, 0.0, 7.0]])
TRICLINIC = np.array([[4.0, 0.4, 0.3], [-2.0, 3.5, 0.5], [1.0, -0.8, 6.0]])
LEFT_HANDED = TRICLINIC * np.array([[1.0], [-1.0], [1.0]])
CELLS = [
    pytest.param(ORTHOGONAL, (True, True, True), id="orthogonal"),
    pytest.param(HEXAGONAL, (True, True, False), id="hexagonal slab"),
    pytest.param(TRICLINIC, (True, True, True), id="triclinic"),
    pytest.param(LEFT_HANDED, (False, True, False), id="left-handed, partly periodic"),
    pytest.param(ORTHOGONAL, (False, False, False), id="molecule"),
]
SHAPE = (5, 6, 9)
ORIGIN = (0.3, -0.2, 0.5)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def some(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and positions, some of these outside of the cell."""
    coefficients = rng.standard_normal(BASIS.offsets(NUMBERS)[-1])
    return coefficients, rng.uniform(-2.0, 7.0, (4, 3))


@pytest.mark.parametrize(("cell", "pbc"), CELLS)
def test_all_three_sums_by_their_definition(
    cell: np.ndarray, pbc: tuple[bool, bool, bool], rng: np.random.Generator
) -> None:
    c, r = some(rng)
    points = reference.grid_points(cell, SHAPE, ORIGIN)
    found = evaluate(c, NUMBERS, r, BASIS, cell, pbc, SHAPE, origin=ORIGIN)
    expected = reference.evaluate_points(points, c, NUMBERS, r, BASIS, cell, pbc)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)

    weights = rng.standard_normal(SHAPE)
    projected = adjoint(weights, NUMBERS, r, BASIS, cell, pbc, origin=ORIGIN)
    expected = reference.adjoint_points(weights, points, NUMBERS, r, BASIS, cell, pbc)
    np.testing.assert_allclose(projected, expected, rtol=0, atol=1e-12)
    assert projected @ c == pytest.approx(np.vdot(weights, found), rel=1e-12, abs=1e-13)

    slopes = position_gradient(weights, c, NUMBERS, r, BASIS, cell, pbc, origin=ORIGIN)
    expected = reference.gradient_points(weights, points, c, NUMBERS, r, BASIS, cell, pbc)
    np.testing.assert_allclose(slopes, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False)])
def test_coarser_grids_cost_no_accuracy(pbc: tuple[bool, bool, bool]) -> None:
    """On a fine grid most Gaussians are interpolated; a few points are compared."""
    rng = np.random.default_rng(2)
    c, r = some(rng)
    shape = (25, 26, 44)
    plan = make_plan(NUMBERS, r, BASIS, HEXAGONAL, pbc, shape, (0, 0, 0), 1e-14)
    assert len(plan.coarse) >= 2
    found = evaluate(c, NUMBERS, r, BASIS, HEXAGONAL, pbc, shape)
    chosen = tuple(rng.integers(0, n, 60) for n in shape)
    points = reference.grid_points(HEXAGONAL, shape)[chosen]
    expected = reference.evaluate_points(points, c, NUMBERS, r, BASIS, HEXAGONAL, pbc)
    np.testing.assert_allclose(found[chosen], expected, rtol=0, atol=1e-12)
    weights = rng.standard_normal(shape)
    projected = adjoint(weights, NUMBERS, r, BASIS, HEXAGONAL, pbc)
    assert projected @ c == pytest.approx(np.vdot(weights, found), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("cell", [ORTHOGONAL, TRICLINIC])
def test_gradient_by_finite_differences(cell: np.ndarray, rng: np.random.Generator) -> None:
    c, r = some(rng)
    weights, pbc = rng.standard_normal((12, 13, 14)), (True, True, True)

    def value(positions: np.ndarray) -> float:
        rho = evaluate(c, NUMBERS, positions, BASIS, cell, pbc, weights.shape)
        return float(np.vdot(weights, rho))

    step = 1e-5
    direction = rng.standard_normal(r.shape)
    numerical = (value(r + step * direction) - value(r - step * direction)) / (2.0 * step)
    slopes = position_gradient(weights, c, NUMBERS, r, BASIS, cell, pbc)
    assert np.vdot(slopes, direction) == pytest.approx(numerical, rel=1e-7)


def test_number_of_electrons_is_that_of_the_s_functions(rng: np.random.Generator) -> None:
    c, r = some(rng)
    rho = evaluate(c, NUMBERS, r, BASIS, HEXAGONAL, (True, True, True), (40, 40, 70))
    number = rho.mean() * abs(np.linalg.det(HEXAGONAL))
    assert number == pytest.approx(BASIS.electron_weights(NUMBERS) @ c, abs=1e-11)


def test_sum_in_reciprocal_space(rng: np.random.Generator) -> None:
    """rho(r) = sum_G exp(i G (r - R)) exp(-G^2/(4 alpha)) / V for s functions."""
    alpha, r = 2.5, rng.uniform(0.0, 4.0, (3, 3))
    basis, c = GaussianBasis({"H": [(0, alpha)]}), np.array([1.0, -0.4, 2.0])
    shape = (6, 7, 8)
    found = evaluate(c, [1, 1, 1], r, basis, TRICLINIC, (True, True, True), shape)
    m = np.stack(np.meshgrid(*[np.arange(-16, 17)] * 3, indexing="ij"), -1).reshape(-1, 3)
    g = 2.0 * np.pi * m @ np.linalg.inv(TRICLINIC).T
    spectrum = np.exp(-(g**2).sum(1) / (4.0 * alpha)) * (np.exp(-1j * g @ r.T) @ c)
    g, spectrum = g[abs(spectrum) > 1e-17], spectrum[abs(spectrum) > 1e-17]
    points = reference.grid_points(TRICLINIC, shape)
    expected = (np.exp(1j * points @ g.T) @ spectrum).real / abs(np.linalg.det(TRICLINIC))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_shifts_by_a_lattice_vector_or_a_point(rng: np.random.Generator) -> None:
    c, r = some(rng)
    shape, pbc = (12, 14, 20), (True, True, True)
    found = evaluate(c, NUMBERS, r, BASIS, HEXAGONAL, pbc, shape)
    wrapped = r + np.array([[1, 0, -2], [0, 3, 0], [-1, -1, 1], [0, 0, 0]]) @ HEXAGONAL
    moved = evaluate(c, NUMBERS, wrapped, BASIS, HEXAGONAL, pbc, shape)
    np.testing.assert_allclose(moved, found, rtol=0, atol=1e-12)
    step = np.array([2, -3, 5]) / shape @ HEXAGONAL
    moved = evaluate(c, NUMBERS, r + step, BASIS, HEXAGONAL, pbc, shape)
    np.testing.assert_allclose(np.roll(found, (2, -3, 5), (0, 1, 2)), moved, rtol=0, atol=1e-12)
    moved = evaluate(c, NUMBERS, r + step, BASIS, HEXAGONAL, pbc, shape, origin=step)
    np.testing.assert_allclose(moved, found, rtol=0, atol=1e-12)


def test_rotation_of_everything_changes_nothing(rng: np.random.Generator) -> None:
    """Coefficients turn with Wigner's matrices, as e3nn's irreps do."""
    c, r = some(rng)
    turn = o3.rand_matrix().double()
    blocks = [o3.Irrep(shell.degree, (-1) ** shell.degree).D_from_matrix(turn.float()).double()
              for z in NUMBERS for shell in BASIS.shells(int(z))]  # fmt: skip
    # In double precision: the columns are fixed by what they do to the harmonics.
    matrix = turn.numpy()
    turned_c = torch.block_diag(*blocks).numpy() @ c
    shape, pbc = (6, 7, 8), (True, True, True)
    found = evaluate(turned_c, NUMBERS, r @ matrix.T, BASIS, TRICLINIC @ matrix.T, pbc, shape)
    expected = evaluate(c, NUMBERS, r, BASIS, TRICLINIC, pbc, shape)
    # e3nn makes the matrices in single precision.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_harmonics_are_those_of_e3nn(rng: np.random.Generator) -> None:
    d = rng.standard_normal((20, 3))
    d /= np.linalg.norm(d, axis=1)[:, None]
    for degree in range(7):
        found = np.stack(
            [sum(w * np.prod(d**powers, axis=1) for powers, w in harmonic.items())
             for harmonic in solid_harmonics(degree)], axis=1)  # fmt: skip
        expected = o3.spherical_harmonics(degree, torch.tensor(d), False, "component")
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-13)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, False)])
def test_points_anywhere(pbc: tuple[bool, bool, bool], rng: np.random.Generator) -> None:
    c, r = some(rng)
    points = rng.uniform(-6.0, 12.0, (25, 3))
    found = evaluate_points(points, c, NUMBERS, r, BASIS, TRICLINIC, pbc)
    expected = reference.evaluate_points(points, c, NUMBERS, r, BASIS, TRICLINIC, pbc)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_high_degrees() -> None:
    basis = GaussianBasis({"H": [(6, 0.8)]})
    c, r, shape = np.arange(13.0) - 5.0, np.array([[1.0, 2.0, 3.0]]), (6, 5, 7)
    found = evaluate(c, [1], r, basis, TRICLINIC, (True, True, True), shape)
    points = reference.grid_points(TRICLINIC, shape)
    expected = reference.evaluate_points(points, c, [1], r, basis, TRICLINIC, (True, True, True))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


def test_no_atoms_make_no_density() -> None:
    found = evaluate([], [], np.empty((0, 3)), BASIS, ORTHOGONAL, (True, True, True), (3, 4, 5))
    assert found.shape == (3, 4, 5)
    assert not found.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coefficients": np.zeros(3)}, r"coefficients: found shape \(3,\), expected \(10,\)"),
        ({"positions": np.zeros((1, 3))}, r"positions: found shape \(1, 3\), expected \(2, 3\)"),
        ({"positions": np.full((2, 3), np.nan)}, "positions: found values that are not finite"),
        ({"cell": np.zeros((3, 3))}, "cell: found .* expected three lattice vectors"),
        ({"shape": (4, 4)}, r"shape: found \(4, 4\), expected three"),
        ({"tolerance": 2.0}, "tolerance: found 2, expected 1e-15 to 0.1"),
        ({"numbers": [1, 79]}, "numbers: found Au, expected one of H, O"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    arguments = {"coefficients": np.zeros(10), "numbers": [1, 1], "positions": np.zeros((2, 3)),
                 "basis": BASIS, "cell": ORTHOGONAL, "pbc": (True, True, True),
                 "shape": (4, 4, 4)}  # fmt: skip
    with pytest.raises(InputError, match=message):
        evaluate(**(arguments | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shells", "message"),
    [
        ({"Xx": [(0, 1.0)]}, "shells: found 'Xx', expected chemical symbols"),
        ({"H": []}, "shells: found none for H"),
        ({"H": [(9, 1.0)]}, "shells: found l = 9 for H, expected 0 to 8"),
        ({"H": [(0, -1.0)]}, "shells: found exponent -1.0 for H"),
    ],
)
def test_unusable_shells_are_refused(shells: dict[str, list[tuple[int, float]]], message: str
                                     ) -> None:  # fmt: skip
    with pytest.raises(InputError, match=message):
        GaussianBasis(shells)


def test_a_basis_survives_its_dictionary() -> None:
    again = GaussianBasis(BASIS.to_dict())
    assert again.to_dict() == BASIS.to_dict()
    assert BASIS.offsets(NUMBERS).tolist() == [0, 23, 28, 33, 56]
    assert BASIS.highest_degree == 4
