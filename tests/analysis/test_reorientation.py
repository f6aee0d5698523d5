"""Turning molecules: known relaxation, molecules that react, layers and faces."""

import logging
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from matplotlib.figure import Figure
from scipy.spatial.transform import Rotation

from voltase.analysis.diffusion import InPlaneMSD
from voltase.analysis.readers import load
from voltase.analysis.reorientation import Reorientation, relaxation_times
from voltase.analysis.residence import Residence
from voltase.analysis.testing import COPIES, hexagonal_slab, turned, water
from voltase.analysis.vdos import VibrationalDOS
from voltase.aseplugin.errors import InputError

HEIGHT = 100.0
MOLECULES = 25


def turning(rng: np.random.Generator, frames: int, angle: float, molecules: int = MOLECULES,
            rise: float = 3.4) -> list[Atoms]:  # fmt: skip
    """Molecules one above the other that turn by random angles about random axes."""
    slab = hexagonal_slab(height=HEIGHT)
    top = slab.positions[:, 2].max()
    bodies = Rotation.random(molecules, rng=rng)
    shape = water((0, 0, 0), (0, 0, 1)).positions
    images = []
    for _ in range(frames):
        points = bodies.as_matrix() @ shape.T
        points = points.transpose(0, 2, 1) + [[[2.0, 3.0, top + 2.5]]]
        points[:, :, 2] += rise * np.arange(molecules)[:, None]
        liquid = Atoms("OHH" * molecules, points.reshape(-1, 3))
        images.append(slab + liquid)
        images[-1].cell = slab.cell
        bodies = Rotation.from_rotvec(angle * rng.standard_normal((molecules, 3))) * bodies
    return images


def decay(angle: float) -> tuple[float, float]:
    """Factors by which C1 and C2 fall in each frame, exact for turns of this kind."""
    theta = angle * np.linalg.norm(np.random.default_rng(0).standard_normal((200000, 3)), axis=1)
    cos, cos2 = np.cos(theta).mean(), np.cos(2 * theta).mean()
    return (1 + 2 * cos) / 3, (1 + 2 * cos + 2 * cos2) / 5


def test_rotational_diffusion_has_its_known_relaxation_times(rng: np.random.Generator) -> None:
    angle, dt = 0.25, 0.02
    images = turning(rng, 1200, angle)
    analysis = Reorientation(load(images, dt=dt), layers=(200.0,), bonds=True, max_lag=1.2,
                             fit=(0.0, 1.0)).run()  # fmt: skip
    found = analysis.results
    for vector in ("dipole", "bond"):
        functions, times = found.correlations[vector]["both"], found.relaxation[vector]["both"]
        for order, factor in zip((1, 2), decay(angle), strict=True):
            exact = factor ** np.arange(61)
            mean, error = functions[f"C{order}"][0], functions[f"C{order}_err"][0]
            assert mean[0] == pytest.approx(1.0, abs=1e-6)
            assert (np.abs(mean - exact) < 4.0 * error + 1e-6).all()
            assert error[20] < 0.05
            tau = -dt / np.log(factor)
            for kind in ("integral", "fit"):
                assert times[f"tau{order}_{kind}"][0] == pytest.approx(tau, rel=0.1)
                assert 0.0 < times[f"tau{order}_{kind}_err"][0] < 0.1 * tau
    assert np.isnan(functions["C1"][1]).all()
    assert np.isnan(times["tau1_fit"][1])
    assert found.molecules["both"].tolist() == [MOLECULES, 0]
    assert found.blocks["C1 dipole"] >= 8
    assert found.correlation_times["C1 dipole"] > 0.0


def test_an_exponential_is_fitted_and_integrated_exactly() -> None:
    time = np.arange(0.0, 10.0, 0.001)
    counts = np.full(len(time), 7.0)
    c = 0.8 * np.exp(-time / 2.5)
    c[0] = 1.0
    integral, fit = relaxation_times(time, c * counts, counts, (1.0, 9.0))
    assert fit == pytest.approx(2.5, rel=1e-9)
    assert integral == pytest.approx(0.8 * 2.5, rel=1e-4)
    fast = np.exp(-time / 0.1)
    integral, fit = relaxation_times(time, fast * counts, counts, (1.0, 9.0))
    assert np.isnan(fit)
    assert integral == pytest.approx(0.1 * 0.95, rel=0.01)
    assert np.isnan(relaxation_times(time, counts, counts, (1.0, 9.0))).all()


def test_a_molecule_that_reacts_drops_out_from_then_on() -> None:
    base = hexagonal_slab()
    top = base.positions[:, 2].max()
    images = []
    for frame in range(20):
        # Water, then without one hydrogen, then water again upside down.
        molecule = water((2.0, 2.0, top + 3.0), (0, 0, 1 if frame < 10 else -1))
        if 10 <= frame < 13:
            molecule.positions[1] += (0, 0, 4.0)
        images.append(base + molecule + water((6.0, 6.0, top + 9.0), (1, 0, 0)))
        images[-1].cell = base.cell
    found = Reorientation(load(images, dt=0.1), max_lag=1.5).run().results
    first, rest = found.correlations["dipole"]["upper"]["C1"][[1, 3]]
    assert rest == pytest.approx(np.ones(16), abs=1e-6)
    assert first[:10] == pytest.approx(np.ones(10), abs=1e-6)
    assert np.isnan(first[10:]).all()


def test_a_molecule_that_exchanges_a_hydrogen_is_another() -> None:
    base = hexagonal_slab()
    top = base.positions[:, 2].max()
    pair = water((2.0, 2.0, top + 3.0), (0, 1, 0)) + water((6.0, 6.0, top + 3.0), (0, 1, 0))
    images = []
    for frame in range(12):
        atoms = base + pair
        if frame >= 6:
            atoms.positions[[-5, -2]] = atoms.positions[[-2, -5]]
        images.append(atoms)
    found = Reorientation(load(images, dt=0.1), max_lag=1.0).run().results
    c = found.correlations["dipole"]["both"]["C1"][1]
    assert c[:6] == pytest.approx(np.ones(6), abs=1e-6)
    assert np.isnan(c[6:]).all()


def test_the_layer_is_that_of_the_origin() -> None:
    base = hexagonal_slab()
    top = base.positions[:, 2].max()
    images = [
        base + water((2.0, 2.0, top + (3.0 if k < 5 else 6.0)), (0, 0, 1 if k < 5 else -1))
        for k in range(10)
    ]
    found = Reorientation(load(images, dt=1.0), max_lag=5.0).run().results
    near, far = found.correlations["dipole"]["upper"]["C1"][[1, 2]]
    # Origins 0 to 4: from them on it turns at frame 5.
    assert near == pytest.approx([1, 3 / 5, 1 / 5, -1 / 5, -3 / 5, -1], abs=1e-6)
    assert far[:5] == pytest.approx(np.ones(5), abs=1e-6)
    assert np.isnan(far[5])
    c2 = found.correlations["dipole"]["upper"]["C2"][1]
    assert c2 == pytest.approx(np.ones(6), abs=1e-6)


def mirrored(images: list[Atoms]) -> list[Atoms]:
    """Both faces of the slab with the same film."""
    twice = []
    for atoms in images:
        metal, liquid = atoms[atoms.numbers == 78], atoms[atoms.numbers != 78]
        middle = 0.5 * (metal.positions[:, 2].min() + metal.positions[:, 2].max())
        image = liquid.copy()
        image.positions[:, 2] = 2.0 * middle - image.positions[:, 2]
        twice.append(metal + liquid + image)
    return twice


def assert_same(a: Any, b: Any, tolerance: float = 1e-6) -> None:
    for part in ("correlations", "relaxation"):
        for name, values in a[part]["dipole"]["both"].items():
            np.testing.assert_allclose(b[part]["dipole"]["both"][name], values, rtol=0.0,
                                       atol=tolerance)  # fmt: skip


def test_two_faces_are_each_as_one(rng: np.random.Generator) -> None:
    images = turning(rng, 40, 0.2, molecules=6)
    one = Reorientation(load(images, dt=0.1)).run().results
    two = Reorientation(load(mirrored(images), dt=0.1)).run().results
    for face in ("lower", "upper", "both"):
        for order in ("C1", "C2"):
            np.testing.assert_allclose(two.correlations["dipole"][face][order],
                                       one.correlations["dipole"]["both"][order],
                                       atol=1e-6)  # fmt: skip
    for face in ("lower", "upper", "both"):
        assert two.molecules[face] == pytest.approx(one.molecules["both"])


@pytest.mark.parametrize("how", COPIES)
def test_orientation_and_choice_of_the_cell_change_nothing(
    rng: np.random.Generator, how: str
) -> None:
    images = turning(rng, 30, 0.2, molecules=5)
    plain = Reorientation(load(images, dt=0.1)).run().results
    other = Reorientation(load([turned(a, how) for a in images], dt=0.1)).run().results
    assert_same(plain, other)


def test_processes_find_the_same(rng: np.random.Generator) -> None:
    universe = load(turning(rng, 30, 0.2, molecules=5), dt=0.1)
    one = Reorientation(universe).run().results
    two = Reorientation(universe).run(backend="multiprocessing", n_workers=2).results
    assert_same(one, two, 0.0)


def test_few_frames_have_no_error(
    rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = Reorientation(load(turning(rng, 5, 0.2, 3), dt=0.1)).run().results
    assert np.isnan(found.correlations["dipole"]["both"]["C1_err"]).all()
    assert found.blocks["C1 dipole"] == 0
    assert "too few" in caplog.text


def test_times_have_to_be_known_and_even(rng: np.random.Generator) -> None:
    images = turning(rng, 12, 0.2, 3)
    with pytest.raises(InputError, match="^dt: "):
        Reorientation(load(images)).run()
    found = Reorientation(load(images), dt=0.5).run(step=2).results
    assert found.time == pytest.approx([0, 1, 2, 3])
    with pytest.raises(InputError, match="steps in time from 0.1 to 0.5"):
        Reorientation(load(images, dt=0.1)).run(frames=[0, 1, 2, 7])
    with pytest.raises(InputError, match="^frames: found 1"):
        Reorientation(load(images, dt=0.1)).run(stop=1)
    with pytest.raises(InputError, match="^max_lag: found 9 ps"):
        Reorientation(load(images, dt=0.1), max_lag=9.0).run()
    with pytest.raises(InputError, match="^fit: found 3 to 2 ps"):
        Reorientation(load(images, dt=0.1), fit=(3.0, 2.0)).run()
    with pytest.raises(InputError, match="^dt: found -1"):
        Reorientation(load(images), dt=-1.0)
    with pytest.raises(InputError, match="^layers: "):
        Reorientation(load(images), layers=(3.0, 2.0))


def test_known_times_count_instead_of_dt(
    rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    images = turning(rng, 12, 0.2, 3)
    found = Reorientation(load(images, dt=0.1), dt=0.5).run().results
    assert found.time[1] == pytest.approx(0.1)
    assert "dt: found times in the trajectory" in caplog.text


def test_without_water_there_is_nothing_to_follow() -> None:
    slab = hexagonal_slab()
    top = slab.positions[:, 2].max()
    ion = slab + Atoms("OH", [(0, 0, top + 2.0), (0, 0, top + 2.97)])
    with pytest.raises(InputError, match="^water: found none"):
        Reorientation(load([ion] * 3, dt=0.1)).run()
    with pytest.raises(InputError, match="neither of its faces"):
        Reorientation(load([slab] * 3, dt=0.1)).run()


def test_tables_and_figure(rng: np.random.Generator) -> None:
    analysis = Reorientation(load(turning(rng, 40, 0.2, 6), dt=0.1), bonds=True).run()
    tables = analysis.tables()
    assert set(tables) == {f"reorientation{part}{face}" for part in ("", "_times")
                           for face in ("", "_upper")}  # fmt: skip
    for table in tables.values():
        assert len({len(column) for column in table.values()}) == 1
    assert {"t_ps", "C1_dipole_0_to_2.7_A", "C2_bond_beyond_7.5_A_err"} <= set(
        tables["reorientation"]
    )
    assert {"from_A", "to_A", "waters", "tau2_fit_bond_ps_err"} <= set(
        tables["reorientation_times"]
    )
    figure = Figure()
    analysis.draw(figure)
    assert len(figure.axes) == 4


@pytest.mark.parametrize("kind", [Reorientation, Residence, InPlaneMSD, VibrationalDOS])
@pytest.mark.parametrize("max_lag", [0.0, -1.0, np.nan, np.inf])
def test_lags_that_no_run_has_are_refused_before_one(
    rng: np.random.Generator, kind: Any, max_lag: float
) -> None:
    source = load(turning(rng, 12, 0.2, 3), dt=0.1)
    with pytest.raises(InputError, match=f"^max_lag: found {max_lag:g} ps, expected more than 0"):
        kind(source, max_lag=max_lag)


@pytest.mark.parametrize("kind", [Reorientation, Residence, InPlaneMSD])
def test_windows_that_no_run_has_are_refused_before_one(
    rng: np.random.Generator, kind: Any
) -> None:
    source = load(turning(rng, 12, 0.2, 3), dt=0.1)
    for fit in ((3.0, 2.0), (-1.0, 2.0), (np.nan, 2.0), (0.0, np.inf)):
        with pytest.raises(InputError, match=r"^fit: .*expected a window, FROM below TO"):
            kind(source, fit=fit)
    with pytest.raises(InputError, match="^fit: .*expected a window within 0 to 0.5 ps"):
        kind(source, max_lag=0.5, fit=(0.1, 0.7))
