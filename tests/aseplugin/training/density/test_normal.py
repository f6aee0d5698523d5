"""The quadratic form is the squared error on the grid."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.data import atomic_numbers

from voltase.aseplugin.kernels.gaussian_density import evaluate
from voltase.aseplugin.models.density.basis import Channels, element_channels
from voltase.aseplugin.training.density.frames import Geometry, group_frames, read_frames
from voltase.aseplugin.training.density.normal import (
    FLOOR,
    RESPONSE_FLOOR,
    NormalEquations,
    normal_equations,
)
from voltase.aseplugin.training.density.synthetic import SHELLS

ROWS = {symbol: [(int(row[0]), row[1]) for row in rows] for symbol, rows in SHELLS.items()}


@pytest.fixture(scope="module")
def geometry(densities: Path) -> Geometry:
    return group_frames(read_frames([str(densities)]))[0]


@pytest.fixture(scope="module")
def equations(geometry: Geometry) -> NormalEquations:
    return normal_equations(geometry, *element_channels(ROWS))


def gaussians(geometry: Geometry, channels: dict[int, Channels], c: np.ndarray) -> np.ndarray:
    found, start = [], 0
    for number in geometry.atoms.numbers:
        size = channels[int(number)].size
        found.append(channels[int(number)].matrix @ c[start : start + size])
        start += size
    return np.concatenate(found)


def test_the_form_is_the_weighted_error(geometry: Geometry, equations: NormalEquations) -> None:
    basis, channels = element_channels(ROWS)
    rng = np.random.default_rng(0)
    c = equations.best[1] + 0.1 * rng.normal(size=equations.best.shape[1])
    atoms, frame = geometry.atoms, geometry.frames[1]
    values = evaluate(gaussians(geometry, channels, c), atoms.numbers, atoms.positions, basis,
                      frame.cell, (True, True, False), frame.shape)  # fmt: skip
    rho = frame.values()
    weight = 1.0 / (np.abs(rho) + FLOOR)
    expected = (weight * (values - rho) ** 2).sum() / (weight * rho**2).sum()
    error = c - equations.best[1]
    found = error @ equations.gram @ error + 2.0 * error @ equations.residual[1]
    assert found + equations.floor[1] == pytest.approx(expected, rel=1e-3)
    profile = (equations.planar @ c).astype(float)
    np.testing.assert_allclose(profile, values.mean((0, 1)), atol=1e-5)


def test_the_form_of_the_difference_weighs_by_the_difference(
    geometry: Geometry, equations: NormalEquations
) -> None:
    basis, channels = element_channels(ROWS)
    rng = np.random.default_rng(1)
    c = 0.1 * rng.normal(size=equations.best.shape[1])
    atoms, frames = geometry.atoms, geometry.frames
    values = evaluate(gaussians(geometry, channels, c), atoms.numbers, atoms.positions, basis,
                      frames[0].cell, (True, True, False), frames[0].shape)  # fmt: skip
    rho = np.stack([frame.values() for frame in frames])
    middle = int(np.argmin(np.abs(geometry.electrons)))
    size = np.abs(rho - rho[middle]).mean(0)
    expected = (values**2 / (size + RESPONSE_FLOOR * size.mean())).sum()
    assert c @ equations.response_gram @ c == pytest.approx(expected, rel=1e-3)


def test_densities_in_the_basis_are_fitted(equations: NormalEquations) -> None:
    assert equations.nmae.max() < 2e-3
    assert np.nanmax(equations.difference_nmae) < 5e-3


def test_what_is_kept_is_taken_from_the_folder(geometry: Geometry, tmp_path: Path) -> None:
    basis, channels = element_channels(ROWS)
    first = normal_equations(geometry, basis, channels, tmp_path)
    (path,) = tmp_path.glob("*.npz")
    stamp = path.stat().st_mtime_ns
    again = normal_equations(geometry, basis, channels, tmp_path)
    np.testing.assert_array_equal(first.gram, again.gram)
    assert path.stat().st_mtime_ns == stamp


def test_elements_have_their_channels() -> None:
    basis, channels = element_channels(ROWS)
    for symbol, shells in SHELLS.items():
        assert channels[atomic_numbers[symbol]].size == sum(2 * degree + 1 for degree, _ in shells)
        assert basis.size(atomic_numbers[symbol]) == channels[atomic_numbers[symbol]].size


def test_another_density_of_the_same_atoms_is_computed_anew(geometry: Geometry, densities: Path,
                                                            tmp_path: Path) -> None:  # fmt: skip
    """Labels made again with other settings have the names and positions of the old ones."""
    basis, channels = element_channels(ROWS)
    copy = tmp_path / densities.name
    shutil.copy(densities, copy)
    first = group_frames(read_frames([str(copy)]))[0]
    before = normal_equations(first, basis, channels, tmp_path / "kept")
    with h5py.File(copy, "a") as file:
        for frame in first.frames:
            file[frame.name]["density"][...] *= 1.01
    again = group_frames(read_frames([str(copy)]))[0]
    after = normal_equations(again, basis, channels, tmp_path / "kept")
    np.testing.assert_allclose(after.integral, 1.01 * before.integral, rtol=1e-6)
    assert len(list((tmp_path / "kept").glob("*.npz"))) == 2
