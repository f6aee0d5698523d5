"""Diffusion along the surface: random walks of known constant, layers, drift and cells."""

import numpy as np
import pytest
from ase import Atoms
from matplotlib.figure import Figure

from voltase.analysis.diffusion import InPlaneMSD
from voltase.analysis.readers import load
from voltase.analysis.testing import COPIES, hexagonal_slab, turned, water
from voltase.aseplugin.errors import InputError

HEIGHT = 100.0
MOLECULES = 30


def walk(rng: np.random.Generator, frames: int, step: float, molecules: int = MOLECULES,
         rise: float = 2.8) -> list[Atoms]:  # fmt: skip
    """Molecules one above the other that walk at random in their planes; unwrapped."""
    slab = hexagonal_slab(height=HEIGHT)
    top = slab.positions[:, 2].max()
    shape = np.array([[(0, 0, 0), (0.97, 0, 0), (-0.24, 0.94, 0)]])
    steps = step * rng.standard_normal((frames, molecules, 2))
    paths = rng.random((molecules, 2)) * 10.0 + np.cumsum(steps, axis=0)
    images = []
    for at in paths:
        places = np.column_stack([at, top + 2.5 + rise * np.arange(molecules)])
        points = places[:, None] + shape
        atoms = slab + Atoms("OHH" * molecules, points.reshape(-1, 3))
        atoms.cell = slab.cell
        images.append(atoms)
    return images


def wrapped(images: list[Atoms]) -> list[Atoms]:
    copies = [atoms.copy() for atoms in images]
    for atoms in copies:
        atoms.wrap()
    return copies


def test_a_random_walk_has_its_diffusion_constant(rng: np.random.Generator) -> None:
    step, dt = 0.2, 0.05
    analysis = InPlaneMSD(load(walk(rng, 1000, step), dt=dt), layers=(200.0,), max_lag=1.5,
                          fit=(0.1, 1.5)).run()  # fmt: skip
    found = analysis.results
    exact = step**2 / (2.0 * dt)
    assert found.D["both"][0] == pytest.approx(exact, rel=0.08)
    assert abs(found.D["both"][0] - exact) < 4.0 * found.D_err["both"][0]
    assert found.D_err["both"][0] < 0.06 * exact
    msd, error = found.msd["both"][0], found.msd_err["both"][0]
    assert msd[0] == 0.0
    assert (np.abs(msd - 4.0 * exact * found.time) <= 4.0 * error).all()
    assert (found.survival["both"][0] == 1.0).all()
    assert found.oxygens["both"].tolist() == [MOLECULES, 0]
    assert np.isnan(found.D["both"][1])
    assert found.blocks["msd"] >= 8


def test_wrapped_positions_give_the_same(rng: np.random.Generator) -> None:
    images = walk(rng, 60, 0.5, 8)
    one = InPlaneMSD(load(images, dt=0.1)).run().results
    two = InPlaneMSD(load(wrapped(images), dt=0.1)).run().results
    for name in ("msd", "D", "survival", "msd_err", "D_err"):
        np.testing.assert_allclose(two[name]["both"], one[name]["both"], atol=1e-6)
    travelled = [images[k].positions[-3, :2] - images[0].positions[-3, :2] for k in (0, -1)]
    assert np.linalg.norm(travelled[1]) > 1.0


def test_a_known_path_is_followed_exactly() -> None:
    slab = hexagonal_slab()
    top = slab.positions[:, 2].max()
    images = []
    for k in range(30):
        atoms = slab + water((3.0 * k, 1.0 - 1.5 * k, top + 3.0), (0, 0, 1))
        atoms.positions += (0.7 * k, 0.3 * k, 0.2 * k)  # the whole system drifts
        images.append(atoms)
    for frames in (images, wrapped(images)):
        found = InPlaneMSD(load(frames, dt=1.0), max_lag=12.0).run().results
        assert found.msd["upper"][1] == pytest.approx((9.0 + 2.25) * found.time**2, abs=1e-3)


def test_a_cell_that_breathes_moves_nothing(rng: np.random.Generator) -> None:
    images = walk(rng, 40, 0.0, 6)
    for atoms in images:
        fractions = atoms.get_scaled_positions(wrap=False) + rng.integers(-3, 4, (len(atoms), 3))
        cell = atoms.cell.array * (1.0 + 0.02 * rng.standard_normal())
        atoms.set_cell(cell)
        atoms.positions = fractions @ cell
    found = InPlaneMSD(load(images, dt=0.1), layers=()).run().results
    assert found.msd["both"][0] == pytest.approx(np.zeros(21), abs=1e-9)


def test_only_those_that_stay_in_the_layer_count() -> None:
    slab = hexagonal_slab()
    top = slab.positions[:, 2].max()
    images = []
    for k in range(20):
        atoms = slab + water((1.0 + 0.1 * k, 1.0, top + 3.0), (0, 0, 1))
        # Leaves the layer at frame 10 with a jump that must not be seen, and comes back.
        outside = 10 <= k < 12
        place = (5.0 + 0.1 * k + (3.0 if outside else 0.0), 6.0, top + (6.0 if outside else 3.0))
        images.append(atoms + water(place, (0, 0, 1)))
    found = InPlaneMSD(load(images, dt=1.0), max_lag=15.0).run().results
    assert found.msd["upper"][1] == pytest.approx((0.1 * found.time) ** 2, abs=1e-6)
    started = np.array([sum(1 for t in range(20 - k)) for k in range(16)])
    of_second = np.array([sum(t not in (10, 11) for t in range(20 - k)) for k in range(16)])
    stays = np.array([
        sum(t + k < 10 or t >= 12 for t in range(20 - k) if t not in (10, 11)) for k in range(16)
    ])  # fmt: skip
    expected = (started + stays) / (started + of_second)
    assert found.survival["upper"][1] == pytest.approx(expected)


def test_a_proton_that_changes_its_oxygen_ends_nothing() -> None:
    slab = hexagonal_slab()
    top = slab.positions[:, 2].max()
    images = []
    for k in range(16):
        atoms = slab + water((1.0 + 0.1 * k, 1.0, top + 3.0), (0, 0, 1))
        if k >= 8:
            atoms.positions[-1] += (0, 0, 5.0)
        images.append(atoms)
    found = InPlaneMSD(load(images, dt=1.0), max_lag=12.0).run().results
    assert found.msd["upper"][1] == pytest.approx((0.1 * found.time) ** 2, abs=1e-6)


def test_two_faces_are_each_as_one(rng: np.random.Generator) -> None:
    images = walk(rng, 40, 0.2, 6)
    twice = []
    for atoms in images:
        metal, liquid = atoms[atoms.numbers == 78], atoms[atoms.numbers != 78]
        middle = 0.5 * (metal.positions[:, 2].min() + metal.positions[:, 2].max())
        image = liquid.copy()
        image.positions[:, 2] = 2.0 * middle - image.positions[:, 2]
        twice.append(metal + liquid + image)
    one = InPlaneMSD(load(images, dt=0.1)).run().results
    two = InPlaneMSD(load(twice, dt=0.1)).run().results
    for face in ("lower", "upper", "both"):
        for name in ("msd", "survival", "D"):
            np.testing.assert_allclose(two[name][face], one[name]["both"], atol=1e-9)
        assert two.oxygens[face] == pytest.approx(one.oxygens["both"])


@pytest.mark.parametrize("how", COPIES)
def test_orientation_and_choice_of_the_cell_change_nothing(
    rng: np.random.Generator, how: str
) -> None:
    images = walk(rng, 30, 0.3, 5)
    plain = InPlaneMSD(load(images, dt=0.1)).run().results
    other = InPlaneMSD(load([turned(a, how) for a in images], dt=0.1)).run().results
    for name in ("msd", "survival", "D", "D_err"):
        np.testing.assert_allclose(other[name]["both"], plain[name]["both"], atol=1e-6)


def test_processes_find_the_same(rng: np.random.Generator) -> None:
    universe = load(walk(rng, 30, 0.3, 5), dt=0.1)
    one = InPlaneMSD(universe).run().results
    two = InPlaneMSD(universe).run(backend="multiprocessing", n_workers=2).results
    for name in ("msd", "D", "D_err"):
        np.testing.assert_array_equal(one[name]["both"], two[name]["both"])


def test_what_cannot_be_analysed_is_refused(rng: np.random.Generator) -> None:
    images = walk(rng, 5, 0.1, 3)
    with pytest.raises(InputError, match="^dt: found no times"):
        InPlaneMSD(load(images)).run()
    with pytest.raises(InputError, match="^fit: found 0 to 7 ps"):
        InPlaneMSD(load(images, dt=0.1), fit=(0.0, 7.0)).run()
    only = hexagonal_slab()
    only += Atoms("Na", [(1.0, 1.0, only.positions[:, 2].max() + 4.5)])
    with pytest.raises(InputError, match="^oxygen: found none"):
        InPlaneMSD(load([only] * 3, dt=0.1)).run()
    found = InPlaneMSD(load(images, dt=0.1)).run().results
    assert np.isnan(found.D_err["both"]).all()


def test_tables_and_figure(rng: np.random.Generator) -> None:
    analysis = InPlaneMSD(load(walk(rng, 40, 0.2, 6), dt=0.1)).run()
    tables = analysis.tables()
    assert set(tables) == {"diffusion", "diffusion_upper", "diffusion_constants",
                           "diffusion_constants_upper"}  # fmt: skip
    for table in tables.values():
        assert len({len(column) for column in table.values()}) == 1
    assert {"t_ps", "msd_A2_0_to_2.7_A", "survival_beyond_7.5_A_err"} <= set(tables["diffusion"])
    assert tables["diffusion_constants"]["fit_from_ps"][0] == pytest.approx(0.4)
    figure = Figure()
    analysis.draw(figure)
    assert len(figure.axes) == 2
