"""One vector a structure, the same for all ways to write the structure down."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from voltase.aseplugin.active_learning.descriptors import structure_descriptors
from voltase.aseplugin.models.checkpoint import load_checkpoint
from voltase.aseplugin.models.pemace import PEMACEModel


@pytest.fixture(scope="module")
def model(first_model: Path) -> PEMACEModel:
    return load_checkpoint(first_model)[0].double()


def test_order_place_and_size_of_the_cell_do_not_matter(model: PEMACEModel, start: Atoms) -> None:
    moved = start[np.random.default_rng(1).permutation(len(start))]
    moved.translate((1.3, -0.7, 0.4))
    doubled = start.repeat((2, 1, 1))
    first, same, twice = structure_descriptors(model, [start, moved, doubled])
    scale = np.abs(first).max()
    assert scale > 1e-4
    np.testing.assert_allclose(same, first, atol=1e-10 * scale)
    np.testing.assert_allclose(twice, first, atol=1e-10 * scale)


def test_other_geometries_differ_and_absent_elements_are_zero(
    model: PEMACEModel, start: Atoms
) -> None:
    other = start.copy()
    other.rattle(0.1, seed=2)
    slab = start[start.numbers == 78]
    first, rattled, metal = structure_descriptors(model, [start, other, slab])
    assert np.linalg.norm(rattled - first) > 1e-3 * np.linalg.norm(first)
    by_element = metal.reshape(3, -1)
    assert not by_element[:2].any()
    assert by_element[2].any()
