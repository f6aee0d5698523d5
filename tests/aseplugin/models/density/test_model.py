"""What must hold for any weights: electrons, symmetry, extensivity, closed-form response."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.spatial.transform import Rotation

from voltase.aseplugin.density_structures import density_input, formal_charges
from voltase.aseplugin.errors import CheckpointError, InputError
from voltase.aseplugin.kernels.gaussian_density import evaluate_points
from voltase.aseplugin.models.density.checkpoint import load_model, save_model
from voltase.aseplugin.models.density.inputs import join
from voltase.aseplugin.models.density.model import DensityConfig, DensityModel, skin
from voltase.aseplugin.models.density.surroundings import join_surroundings
from voltase.aseplugin.structures import neighbour_list
from voltase.aseplugin.training.density.synthetic import VALENCE, synthetic_structure


@pytest.fixture
def atoms() -> Atoms:
    return synthetic_structure(np.random.default_rng(3))


def gaussians(model: DensityModel, atoms: Atoms, n: float) -> np.ndarray:
    structure = density_input(atoms, model)
    area = float(structure.graph.areas.sum())
    density = torch.full((1, structure.graph.n_faces), n / area, dtype=torch.float64)
    with torch.no_grad():
        found = model(structure).at(density)[0]
    return model.to_gaussians(structure.graph.species, found)


def density_at(model: DensityModel, atoms: Atoms, points: np.ndarray, n: float) -> np.ndarray:
    return np.asarray(
        evaluate_points(points, gaussians(model, atoms, n), atoms.numbers, atoms.positions,
                        model.basis, atoms.cell.array, [bool(p) for p in atoms.pbc])
    )  # fmt: skip


@pytest.mark.parametrize("n", [-0.3, 0.0, 0.17])
def test_the_electron_number_is_exact(density_model: DensityModel, atoms: Atoms, n: float) -> None:
    coefficients = gaussians(density_model, atoms, n)
    found = density_model.basis.electron_weights(atoms.numbers) @ coefficients
    neutral = sum(VALENCE[symbol] for symbol in atoms.get_chemical_symbols())
    assert found == pytest.approx(neutral + n, abs=1e-10)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_density_turns_with_the_atoms(density_model: DensityModel, atoms: Atoms,
                                          seed: int) -> None:  # fmt: skip
    points = np.random.default_rng(seed).uniform(0.0, 8.0, (9, 3)) @ np.diag([0.3, 0.3, 1.0])
    expected = density_at(density_model, atoms, points, 0.1)
    turn = Rotation.random(random_state=seed).as_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T)
    turned.positions = atoms.positions @ turn.T
    found = density_at(density_model, turned, points @ turn.T, 0.1)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_the_density_moves_with_the_atoms_and_keeps_their_order(density_model: DensityModel,
                                                                atoms: Atoms) -> None:  # fmt: skip
    points = np.random.default_rng(5).uniform(0.0, 6.0, (9, 3))
    expected = density_at(density_model, atoms, points, 0.1)
    shift = np.array([0.7, -0.4, 0.0])
    order = np.random.default_rng(6).permutation(len(atoms))
    moved = atoms[order]
    moved.positions += shift
    found = density_at(density_model, moved, points + shift, 0.1)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_a_doubled_cell_has_the_same_density(density_model: DensityModel, atoms: Atoms) -> None:
    points = np.random.default_rng(7).uniform(0.0, 6.0, (9, 3))
    expected = density_at(density_model, atoms, points, 0.1)
    double = atoms.repeat((2, 1, 1))
    np.testing.assert_allclose(density_at(density_model, double, points, 0.2), expected, atol=1e-7)


def test_a_slab_wetted_on_both_sides_is_its_own_image(density_model: DensityModel) -> None:
    """Water as an inversion image below: the charge and the density are those of the image."""
    above = synthetic_structure(np.random.default_rng(3))
    metal = above.numbers == 78
    centre = above.positions[1].copy()
    above.positions[metal] = 0.5 * (above.positions[metal] + 2 * centre
                                    - above.positions[metal][::-1])  # fmt: skip
    below = above[~metal]
    below.positions = 2 * centre - below.positions
    both = above + below
    both.positions[:, 2] += 8.0
    centre[2] += 8.0
    both.cell[2, 2] = both.positions[:, 2].max() + 6.0
    points = centre + np.random.default_rng(8).uniform(-5.0, 5.0, (9, 3))
    found = density_at(density_model, both, points, 0.1)
    image = density_at(density_model, both, 2 * centre - points, 0.1)
    np.testing.assert_allclose(found, image, atol=1e-7)
    coefficients = gaussians(density_model, both, 0.1)
    electrons = density_model.basis.electron_weights(both.numbers) @ coefficients
    # Both faces got n / A over the whole area here: n in all.
    neutral = sum(VALENCE[symbol] for symbol in both.get_chemical_symbols())
    assert electrons == pytest.approx(neutral + 0.1, abs=1e-10)


def test_the_slope_is_the_derivative(density_model: DensityModel, atoms: Atoms) -> None:
    structure = density_input(atoms, density_model)
    with torch.no_grad():
        coefficients = density_model(structure)
    s, step = torch.tensor([0.004], dtype=torch.float64), 1e-4
    direction = torch.tensor([1.0], dtype=torch.float64)
    ends = torch.stack([s - step, s + step])
    low, high = coefficients.at(ends)
    found = coefficients.along(s, direction)
    torch.testing.assert_close(found, (high - low) / (2.0 * step), rtol=1e-7, atol=1e-6)


def test_structures_together_are_as_one_by_one(density_model: DensityModel) -> None:
    structures = [density_input(synthetic_structure(np.random.default_rng(k)), density_model)
                  for k in range(2)]  # fmt: skip
    with torch.no_grad():
        seen = [density_model.describer(structure) for structure in structures]
        alone = [density_model.coefficients(x, s) for x, s in zip(structures, seen, strict=True)]
        both = density_model.coefficients(join(structures), join_surroundings(seen))
    density = torch.tensor([[0.002, -0.003]], dtype=torch.float64)
    expected = torch.cat([alone[k].at(density[:, k : k + 1])[0] for k in range(2)])
    torch.testing.assert_close(both.at(density)[0], expected)


def test_only_atoms_near_the_face_take_its_charge() -> None:
    heights = torch.tensor([-2.3, -0.7, 0.0, 3.9, 6.1], dtype=torch.float64)
    torch.testing.assert_close(skin(heights), torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0]).double())


def test_formal_charges_of_water_add_to_zero(atoms: Atoms) -> None:
    edges, shifts = neighbour_list(atoms, 4.0)
    vectors = (atoms.positions[edges[0]] - atoms.positions[edges[1]]
               - shifts @ atoms.cell.array)  # fmt: skip
    charges = formal_charges(atoms, edges, vectors, {"O-H": 0.4})
    np.testing.assert_allclose(charges[atoms.numbers == 8], -0.8, atol=1e-12)
    np.testing.assert_allclose(charges[atoms.numbers == 1], 0.4, atol=1e-12)
    assert charges[atoms.numbers == 78].tolist() == [0.0, 0.0, 0.0]


def test_a_checkpoint_gives_the_same_model(density_model: DensityModel, atoms: Atoms,
                                           tmp_path: Path) -> None:  # fmt: skip
    folder = save_model(tmp_path / "m", density_model, {"name": "m"})
    again, card = load_model(folder)
    assert card["kind"] == "pe-edp"
    expected = gaussians(density_model, atoms, 0.1)
    np.testing.assert_allclose(gaussians(again.double(), atoms, 0.1), expected, atol=1e-9)
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(folder)


def test_a_missing_valence_is_named(density_model: DensityModel) -> None:
    with pytest.raises(InputError, match="valence: found none for O"):
        DensityModel(DensityConfig(valence={"H": 1}), density_model.trunk)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"valence": {"Xx": 1}}, "valence: found Xx=1, expected elements"),
        ({"valence": {"O": -6}}, "valence: found O=-6, expected elements"),
        ({"n_features": 0}, "n_features: found 0"),
        ({"n_components": 0}, "n_components: found 0"),
        ({"highest": 5}, "highest: found 5"),
        ({"r_max": -1.0}, "r_max: found -1.0"),
    ],
)
def test_sizes_that_make_no_model_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        DensityConfig(**given)
