"""Cells of any orientation, turned into the standard one: distances, handedness, volumes."""

from itertools import product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from voltase.analysis.cells import area_of, height_of, standardise_cell, widths_of
from voltase.aseplugin.errors import InputError

CELLS = {
    "cubic": np.eye(3) * 7.0,
    "orthorhombic": np.diag([5.0, 8.0, 25.0]),
    "hexagonal": np.array([[11.2, 0, 0], [-5.6, 9.7, 0], [0, 0, 30.0]]),
    "tilted c": np.array([[9.0, 0, 0], [2.0, 8.0, 0], [3.5, -6.0, 22.0]]),
    "triclinic": np.array([[6.0, 1.0, -0.5], [0.3, 7.0, 2.0], [-2.0, 1.5, 12.0]]),
    "left-handed": np.array([[0, 8.0, 0.2], [9.0, 0.3, 0], [1.0, 2.0, 20.0]]),
    "negative diagonal": np.diag([-5.0, -8.0, 25.0]),
    "turned over": np.diag([5.0, 8.0, -25.0]),
}


def turns() -> list[np.ndarray]:
    return [np.eye(3), *Rotation.random(3, random_state=3).as_matrix()]


def distances(cell: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Shortest periodic distances of all pairs, by trying the images."""
    shifts = np.array(list(product(range(-3, 4), repeat=3))) @ cell
    vectors = points[:, None, None] - points[None, :, None] + shifts
    return np.linalg.norm(vectors, axis=-1).min(axis=-1)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", CELLS)
def test_distances_and_volume_stay(name: str, axis: int, rng: np.random.Generator) -> None:
    for turn in turns():
        cell = CELLS[name] @ turn.T
        points = (rng.random((6, 3)) * 3.0 - 1.0) @ cell
        found = standardise_cell(cell, axis)
        assert (found.cell[[0, 0, 1], [1, 2, 2]] == 0.0).all()
        assert (np.diag(found.cell) > 0.0).all()
        assert np.linalg.det(found.cell) == pytest.approx(abs(np.linalg.det(cell)))
        if found.rotation is not None:
            np.testing.assert_allclose(found.rotation @ found.rotation.T, np.eye(3), atol=1e-12)
            assert np.linalg.det(found.rotation) == pytest.approx(1.0)
        np.testing.assert_allclose(distances(found.cell, found.turn(points)),
                                   distances(cell, points), atol=1e-10)  # fmt: skip
        # The chosen vector leads out of the surface, upwards, and the others span it.
        out = found.turn(cell[axis])
        np.testing.assert_allclose(found.cell[2], out, atol=1e-10)
        others = found.turn(np.delete(cell, axis, axis=0))
        assert np.abs(others[:, 2]).max() < 1e-10
        spanned = {tuple(np.round(row, 8) + 0.0) for row in found.cell[:2]}
        assert spanned == {tuple(np.round(row, 8) + 0.0) for row in others}


def test_standard_cell_is_left_alone() -> None:
    for name in ("cubic", "orthorhombic", "hexagonal", "tilted c"):
        found = standardise_cell(CELLS[name])
        assert found.rotation is None
        np.testing.assert_array_equal(found.cell, CELLS[name])
        points = np.array([[1.0, 2.0, 3.0]])
        np.testing.assert_array_equal(found.turn(points), points)


def test_left_handed_is_turned_and_not_mirrored(rng: np.random.Generator) -> None:
    """A mirror would keep all distances too; the handedness of four points shows it."""
    cell = CELLS["hexagonal"][[1, 0, 2]]
    points = rng.random((4, 3))
    turned = standardise_cell(cell).turn(points)
    for corner in (points, turned):
        sign = np.sign(np.linalg.det(corner[1:] - corner[0]))
        assert sign == np.sign(np.linalg.det(points[1:] - points[0]))


def test_twice_is_once() -> None:
    for cell in CELLS.values():
        once = standardise_cell(cell)
        twice = standardise_cell(once.cell)
        assert twice.rotation is None
        np.testing.assert_array_equal(twice.cell, once.cell)


def test_area_height_and_widths() -> None:
    for name, cell in CELLS.items():
        volume = abs(np.linalg.det(cell))
        assert area_of(cell) * height_of(cell) == pytest.approx(volume), name
        assert widths_of(cell)[2] == pytest.approx(height_of(cell))
        for turn in turns():
            np.testing.assert_allclose(widths_of(cell @ turn.T), widths_of(cell))
    # Tilting c along the surface changes neither.
    assert height_of(CELLS["tilted c"]) == pytest.approx(22.0)
    assert area_of(CELLS["tilted c"]) == pytest.approx(72.0)
    np.testing.assert_allclose(widths_of(CELLS["orthorhombic"]), [5.0, 8.0, 25.0])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (np.zeros((3, 3)), "volume of 0 A"),
        (np.diag([5.0, 8.0, 0.0]), "give a slab its vacuum"),
        ([[1, 2, 3], [2, 4, 6], [0, 0, 9]], "volume of"),
        ([[1, 0, 0], [0, np.nan, 0], [0, 0, 1]], "expected three lattice vectors"),
        ([[1, 0, 0], [0, np.inf, 0], [0, 0, 1]], "expected three lattice vectors"),
        ([10.0, 10.0, 20.0], "expected three lattice vectors"),
        (np.eye(4), "expected three lattice vectors"),
    ],
)
def test_unusable_cells(cell: object, message: str) -> None:
    for axis in (0, 1, 2):
        with pytest.raises(InputError, match=message):
            standardise_cell(cell, axis)  # type: ignore[arg-type]
