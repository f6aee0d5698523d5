"""`ElectronDensity`: electrons, potentials, response and refusals, on a model of random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from voltase.aseplugin.calculators.electron_density import ElectronDensity
from voltase.aseplugin.densities.box import grid_box
from voltase.aseplugin.density_grid import DensityGrid
from voltase.aseplugin.errors import CheckpointError, ExtrapolationError, InputError
from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.density.checkpoint import save_model
from voltase.aseplugin.models.density.model import DensityConfig, DensityModel
from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel
from voltase.aseplugin.training.density.synthetic import SHELLS, VALENCE, synthetic_structure

SPACING = 0.25
CARD = {"name": "tiny", "potential_range": [3.0, 6.0], "electrons_per_area_range": [-0.02, 0.02]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    backbone = BackboneConfig(r_max=4.0, channels=4, max_ell=1, correlation=2, radial_mlp=(8,),
                              num_bessel=4)  # fmt: skip
    trunk = PEMACEModel(
        PEMACEConfig(symbols=["H", "O", "Pt"], capacitance=[2e-3], zero_charge_potential=[4.8],
                     backbone=backbone, n_members=2, bond_charges={"O-H": 0.0})
    )  # fmt: skip
    config = DensityConfig(valence=dict(VALENCE), shells=SHELLS, highest=2, r_max=4.0,
                           n_radial=3, n_features=4, width=4, hidden=8, response_width=3,
                           response_hidden=6)  # fmt: skip
    model = DensityModel(config, trunk)
    with torch.no_grad():
        for found, buffer, symbol in zip(model.channels, model.per_element("superposition"),
                                         model.symbols, strict=True):  # fmt: skip
            buffer[: found.counts[0]] = VALENCE[symbol] / found.counts[0]
    return save_model(tmp_path_factory.mktemp("model"), model, CARD)


@pytest.fixture(scope="module")
def model(folder: Path) -> ElectronDensity:
    return ElectronDensity(folder)


@pytest.fixture
def atoms() -> Atoms:
    return synthetic_structure(np.random.default_rng(3))


@pytest.mark.parametrize("n", [-0.1, 0.0, 0.12])
def test_the_grid_holds_the_electrons(model: ElectronDensity, atoms: Atoms, n: float) -> None:
    grid = model.predict(atoms, excess_electrons=n, spacing=SPACING)
    neutral = sum(VALENCE[symbol] for symbol in atoms.get_chemical_symbols())
    assert grid.integral() == pytest.approx(neutral + n, abs=1e-6)
    assert grid.state.excess_electrons == n
    assert max(np.linalg.norm(grid.cell, axis=1) / grid.values.shape) <= SPACING


def test_a_potential_and_its_charge_are_one_density(model: ElectronDensity, atoms: Atoms) -> None:
    state = model.state(atoms, potential=0.2)
    assert state.potential == pytest.approx(4.64, abs=1e-6)
    by_potential = model.predict(atoms, potential="0.2V", spacing=SPACING)
    by_charge = model.predict(atoms, excess_electrons=state.excess_electrons, spacing=SPACING)
    np.testing.assert_allclose(by_potential.values, by_charge.values, atol=1e-9)


def test_the_response_is_the_derivative(model: ElectronDensity, atoms: Atoms) -> None:
    step = 0.01
    middle = model.predict(atoms, potential=0.2, spacing=SPACING)
    low, high = (model.predict(atoms, potential=0.2 + s, spacing=SPACING) for s in (-step, step))
    slope = middle.response()
    expected = (high.values - low.values) / (2.0 * step)
    np.testing.assert_allclose(slope.values, expected, atol=2e-4 * np.abs(expected).max())
    assert slope.integral() == pytest.approx(-middle.state.capacitance, rel=1e-9)
    assert middle.fukui().integral() == pytest.approx(1.0, abs=1e-9)


def test_points_have_the_values_of_the_grid(model: ElectronDensity, atoms: Atoms) -> None:
    grid = model.predict(atoms, excess_electrons=0.1, spacing=SPACING)
    shape = grid.values.shape
    index = np.array([[1, 2, shape[2] // 2], [0, 0, shape[2] // 3]])
    points = grid.origin + (index / np.array(shape)) @ grid.cell
    found = model.evaluate(atoms, points, excess_electrons=0.1)
    np.testing.assert_allclose(found, grid.values[tuple(index.T)], rtol=1e-3)


def test_moved_atoms_have_another_density(model: ElectronDensity, atoms: Atoms) -> None:
    first = model.predict(atoms, spacing=0.4).values
    atoms.positions[3:, 2] += 0.3
    again = model.predict(atoms, spacing=0.4, shape=first.shape).values
    assert np.abs(again - first).max() > 1e-3


def test_a_density_knows_its_atoms_and_can_be_written(model: ElectronDensity, atoms: Atoms,
                                                      tmp_path: Path) -> None:  # fmt: skip
    grid = model.predict(atoms, excess_electrons=0.1, spacing=0.4)
    grid.write(tmp_path / "a.cube")
    again = DensityGrid.read(tmp_path / "a.cube")
    np.testing.assert_allclose(again.values, grid.values, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"potential": 1.8}, "potential: found 1.800 V vs SHE, expected -1.44 to 1.56 V"),
        ({"excess_electrons": 0.5}, "excess_electrons: found 0.5000 e on 6.8 A"),
    ],
)
def test_what_training_does_not_cover_is_refused(model: ElectronDensity, atoms: Atoms,
                                                 arguments: dict[str, float],
                                                 words: str) -> None:  # fmt: skip
    with pytest.raises(ExtrapolationError, match=words):
        model.predict(atoms, **arguments)


def test_extrapolation_may_be_allowed(folder: Path, atoms: Atoms) -> None:
    model = ElectronDensity(folder, allow_extrapolation=True)
    assert model.state(atoms, excess_electrons=0.5).excess_electrons == 0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"potential": 0.1, "excess_electrons": 0.1}, "expected one of the two"),
        ({"excess_electrons": float("nan")}, "expected a finite number"),
        ({"excess_electrons": True}, "excess_electrons: found True, expected a number"),
        ({"spacing": 0.0}, "spacing: found 0.0"),
        ({"spacing": "0.2"}, "spacing: found '0.2', expected 0.01 to 2 A"),
        ({"spacing": float("nan")}, "spacing: found nan"),
        ({"shape": (3, 4)}, "expected three numbers of points"),
        ({"shape": (3.5, 4, 4)}, "expected three numbers of points"),
        ({"shape": (float("nan"), 4, 4)}, "expected three numbers of points"),
        ({"shape": "abc"}, "expected three numbers of points"),
        ({"shape": (10**4, 10**4, 10**4)}, "expected at most 2e"),
        ({"shape": (1, 1, 1)}, r"found 1 x 1 x 1 points, whose sum is .* a finer grid is needed"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(model: ElectronDensity, atoms: Atoms,
                                                 arguments: dict[str, object],
                                                 words: str) -> None:  # fmt: skip
    with pytest.raises(InputError, match=words):
        model.predict(atoms, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([1.0, 2.0], r"points: found shape \(2,\)"),
        ([[np.nan, 0.0, 0.0]], "points: found values that are not finite"),
        ([["a", 1.0, 2.0]], "points: found no numbers"),
        ([[1.0, 2.0], [3.0]], "points: found no numbers"),
    ],
)
def test_points_that_are_none_are_refused(model: ElectronDensity, atoms: Atoms, points: object,
                                          words: str) -> None:  # fmt: skip
    with pytest.raises(InputError, match=words):
        model.evaluate(atoms, points)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, "md.traj", []])
def test_something_else_than_atoms_is_named(model: ElectronDensity, wrong: object) -> None:
    with pytest.raises(InputError, match="atoms: found a .*, expected ase.Atoms"):
        model.predict(wrong)  # type: ignore[arg-type]


def test_atoms_on_one_another_are_refused(model: ElectronDensity, atoms: Atoms) -> None:
    atoms.positions[4] = atoms.positions[3] + 0.05
    with pytest.raises(InputError, match="are 0.087 A apart, expected at least 0.5 A"):
        model.predict(atoms, spacing=SPACING)


def test_electrons_have_no_place_in_a_cell_without_vacuum(model: ElectronDensity, atoms: Atoms
                                                          ) -> None:  # fmt: skip
    atoms.center(vacuum=1.0, axis=2)
    atoms.pbc = True
    assert model.predict(atoms, spacing=SPACING).state.potential is None
    with pytest.raises(InputError, match="excess_electrons: found 0.05 in a cell without vacuum"):
        model.predict(atoms, excess_electrons=0.05)
    with pytest.raises(InputError, match="potential: found a cell without vacuum"):
        model.predict(atoms, potential=0.0)


def test_a_left_handed_cell_has_the_same_density(model: ElectronDensity, atoms: Atoms) -> None:
    """Lattice vectors in another order are the same slab, on a grid that rises as well."""
    right = model.predict(atoms, excess_electrons=0.05, shape=(12, 12, 80))
    swapped = atoms.copy()
    swapped.set_cell(atoms.cell.array[[1, 0, 2]])
    left = model.predict(swapped, excess_electrons=0.05, shape=(12, 12, 80))
    assert np.linalg.det(left.cell) < 0.0 < left.cell[2, 2]
    np.testing.assert_allclose(left.origin, right.origin, atol=1e-12)
    np.testing.assert_allclose(left.values.transpose(1, 0, 2), right.values, atol=1e-6)


def test_water_alone_has_no_electrode(model: ElectronDensity, atoms: Atoms) -> None:
    with pytest.raises(InputError, match="found no Pt"):
        model.predict(atoms[atoms.numbers != 78])


def test_a_force_field_is_no_density_model() -> None:
    with pytest.raises(CheckpointError, match="of kind 'pe-mace', expected 'pe-edp'"):
        ElectronDensity("pt111-water")


def test_the_grid_holds_atoms_near_the_end_of_the_cell(atoms: Atoms) -> None:
    atoms.positions[:, 2] -= atoms.positions[:, 2].min()
    cell, origin = grid_box(atoms)
    assert origin[2] == pytest.approx(-6.0)
    assert origin[2] + cell[2, 2] == pytest.approx(atoms.positions[:, 2].max() + 6.0)
