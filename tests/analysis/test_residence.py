"""Residence: processes of known rate, and sequences counted by hand."""

import MDAnalysis as mda
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure
from MDAnalysis.coordinates.memory import MemoryReader

from voltase.analysis.base import interface_of
from voltase.analysis.readers import load
from voltase.analysis.residence import (
    Residence,
    count_moves,
    count_survivors,
    fill_absences,
    residence_times,
    settle,
)
from voltase.analysis.testing import film, hexagonal_slab
from voltase.aseplugin.errors import InputError

Mask = npt.NDArray[np.bool_]


def universe_of(distances: npt.NDArray[np.float64], dt: float = 0.5) -> mda.Universe:
    """Oxygens at distances (n_frames, n) from the upper face of a slab."""
    slab = hexagonal_slab()
    frames, oxygens = distances.shape
    points = np.zeros((frames, len(slab) + oxygens, 3))
    points[:, : len(slab)] = slab.positions
    points[:, len(slab) :, 0] = 2.0 * np.arange(oxygens)
    points[:, len(slab) :, 2] = slab.positions[:, 2].max() + distances
    universe = mda.Universe.empty(points.shape[1], trajectory=False)
    universe.add_TopologyAttr("elements", [*slab.symbols, *"O" * oxygens])
    box = np.array([*slab.cell.cellpar()], dtype=np.float32)
    universe.load_new(points.astype(np.float32), format=MemoryReader, dt=dt,
                      dimensions=np.tile(box, (frames, 1)))  # fmt: skip
    return universe


def two_states(rng: np.random.Generator, leave: float, enter: float, shape: tuple[int, int]
               ) -> Mask:  # fmt: skip
    """Memoryless molecules that leave or enter with a probability a frame."""
    inside = np.zeros(shape, dtype=bool)
    inside[0] = rng.random(shape[1]) < enter / (enter + leave)
    chance = rng.random(shape)
    for t in range(1, shape[0]):
        inside[t] = np.where(inside[t - 1], chance[t] > leave, chance[t] < enter)
    return inside


def run(inside: Mask, **options: object) -> Residence:
    universe = universe_of(np.where(inside, 3.0, 6.0))
    return Residence(universe, layers=[4.5], **options).run()  # type: ignore[return-value]


def test_memoryless_process_decays_exponentially(rng: np.random.Generator) -> None:
    leave, enter, dt = 0.04, 0.02, 0.5
    found = run(two_states(rng, leave, enter, (1500, 40)), tolerance=0.0, max_lag=60.0).results
    survival = found.survival["upper"]["continuous"][0]
    error = found.survival_err["upper"]["continuous"][0]
    exact = (1.0 - leave) ** (found.time / dt)
    early = (found.time > 0.0) & (exact > 0.02)
    assert (error[early] > 0.0).all()
    assert (error[early] < 0.02).all()
    assert np.abs((survival - exact) / np.where(early, error, np.inf)).max() < 4.0
    # A step survives with exp(-k dt): the decay time is 1/k.
    times, errors = (found[k]["upper"]["continuous"] for k in
                     ("residence_times", "residence_times_err"))  # fmt: skip
    constant = -dt / np.log1p(-leave)
    for key in ("fit", "integral"):
        assert 0.0 < errors[key][0] < 0.1 * constant
        assert abs(times[key][0] - constant) < 4.0 * errors[key][0]
    occupied = enter / (enter + leave)
    rate = 40 * occupied * leave / dt
    moves, error = found.crossings["upper"], found.crossings_err["upper"]
    assert abs(moves[0, 1] - rate) < 4.0 * error[0, 1]
    assert abs(moves[1, 0] - rate) < 4.0 * error[1, 0]
    np.testing.assert_allclose(found.exchanges["upper"], moves)


def test_errors_are_those_of_repeated_runs(rng: np.random.Generator) -> None:
    pulls = []
    for _ in range(6):
        found = run(two_states(rng, 0.2, 0.2, (400, 12)), tolerance=0.0, max_lag=12.0).results
        kind = "continuous"
        difference = found.residence_times["upper"][kind]["fit"][0] + 0.5 / np.log(0.8)
        pulls.append(difference / found.residence_times_err["upper"][kind]["fit"][0])
    assert 0.4 < np.sqrt(np.nanmean(np.square(pulls))) < 2.0
    assert np.isfinite(pulls).sum() >= 4


def test_recrossings_shorten_the_continuous_time_only(rng: np.random.Generator) -> None:
    inside = two_states(rng, 0.02, 0.02, (1500, 16))
    flicker = inside & (rng.random(inside.shape) > 0.1)
    found = run(flicker, tolerance=1.5, max_lag=150.0).results
    times = found.residence_times["both"]
    assert times["continuous"]["fit"][0] < 8.0
    # Filled absences also join real ones of up to three frames, which are few.
    assert times["intermittent"]["fit"][0] == pytest.approx(25.0, rel=0.3)
    assert found.exchanges["both"].sum() < 0.3 * found.crossings["both"].sum()
    assert found.exchanges["both"][0, 1] == pytest.approx(16 * 0.5 * 0.02 / 0.5, rel=0.3)


def test_survival_by_hand() -> None:
    inside = np.array([1, 1, 1, 0, 1, 1, 0, 0], dtype=bool)[:, None]
    found = run(inside, tolerance=0.5, max_lag=2.0).results
    # Starts from which the lag fits: 5, 5, 5, 4, 4 presences; of them the stays survive.
    expected = np.array([5 / 5, 3 / 5, 1 / 5, 0 / 4, 0 / 4])
    np.testing.assert_allclose(found.survival["both"]["continuous"][0], expected)
    filled = np.array([6 / 6, 5 / 6, 4 / 6, 3 / 5, 2 / 4])
    np.testing.assert_allclose(found.survival["both"]["intermittent"][0], filled)
    np.testing.assert_allclose(found.time, [0.0, 0.5, 1.0, 1.5, 2.0])
    # Seven intervals of 0.5 ps: two leave and one comes, of which one leaves for good.
    np.testing.assert_allclose(found.crossings["both"], np.array([[0, 2], [1, 0]]) / 3.5)
    np.testing.assert_allclose(found.exchanges["both"], np.array([[0, 1], [0, 0]]) / 3.5)
    assert found.oxygens["both"][0] == 5 / 8


def test_nobody_leaves() -> None:
    found = run(np.ones((50, 3), dtype=bool)).results
    assert (found.survival["both"]["continuous"] == 1.0).all()
    for times in found.residence_times["both"].values():
        assert np.isnan(times["fit"]).all()
        assert np.isnan(times["integral"]).all()


def test_an_empty_layer_has_no_survival() -> None:
    universe = universe_of(np.full((50, 3), 4.8))
    found = Residence(universe, layers=[4.5]).run().results
    assert np.isnan(found.survival["both"]["continuous"]).all()
    assert np.isnan(found.residence_times["both"]["continuous"]["fit"]).all()


def test_layers_and_exchange_between_them() -> None:
    distances = np.tile([3.0, 3.0, 6.0, 6.0, 9.0, 9.0, 6.0, 6.0, 3.0], (1, 1)).T
    found = Residence(universe_of(distances), layers=[4.5, 7.5], tolerance=0.4).run().results
    expected = np.zeros((3, 3))
    for a, b in ((0, 1), (1, 2), (2, 1), (1, 0)):
        expected[a, b] = 1.0 / 4.0
    np.testing.assert_allclose(found.exchanges["upper"], expected)
    assert found.layers == [(0.0, 4.5), (4.5, 7.5)]


def test_filling_absences() -> None:
    inside = np.array([[0, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0]], dtype=bool).T
    expected = {
        0: [0, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0],
        1: [0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 1, 0],
        2: [0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 0],
    }
    for gap, filled in expected.items():
        assert fill_absences(inside, gap)[:, 0].astype(int).tolist() == filled


def test_short_stays_do_not_count() -> None:
    state = np.array([[1, 0, 0, 1, 0, 0, 2, 1, 1, 1, 2]], dtype=np.int8).T
    assert settle(state, 0)[:, 0].tolist() == state[:, 0].tolist()
    assert settle(state, 1)[:, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert settle(state, 9)[:, 0].tolist() == [1] * 11
    moves = count_moves(settle(state, 1), 3)
    assert moves.sum() == moves[7, 0, 1] == 1.0


def test_survivors_of_every_lag_by_brute_force(rng: np.random.Generator) -> None:
    inside = rng.random((40, 5)) < 0.7
    chunk, lags = np.arange(40) // 10, np.array([0, 1, 2, 4, 9])
    found = count_survivors(inside, chunk, 4, lags)
    for (c, k), value in np.ndenumerate(found):
        starts = [t for t in range(40 - lags[k]) if chunk[t] == c]
        assert value == sum(inside[t : t + lags[k] + 1].all(axis=0).sum() for t in starts)


def test_times_of_an_exact_exponential() -> None:
    time = np.linspace(0.0, 40.0, 4001)
    starts = np.ones_like(time)
    for decay in (5.0, 12.0):
        times = residence_times(time, np.exp(-time / decay), starts)
        np.testing.assert_allclose(times, decay, rtol=1e-6)
    # Not decayed: the fit stands, the integral would be cut.
    integral, fit = residence_times(time, np.exp(-time / 80.0), starts)
    assert np.isnan(integral)
    assert fit == pytest.approx(80.0)


def test_both_faces_are_the_sum(rng: np.random.Generator) -> None:
    upper, lower = (two_states(rng, 0.1, 0.1, (300, 10)) for _ in range(2))
    gap = 30.0 - np.ptp(hexagonal_slab().positions[:, 2])
    distances = np.hstack([np.where(upper, 3.0, 6.0), gap - np.where(lower, 3.0, 6.0)])
    universe = universe_of(distances)
    found = Residence(universe, layers=[4.5], max_lag=10.0).run().results
    for face, inside in (("upper", upper), ("lower", lower)):
        alone = run(inside, max_lag=10.0).results
        for kind in ("continuous", "intermittent"):
            a, b = (r.survival[f][kind] for r, f in ((found, face), (alone, "upper")))
            np.testing.assert_allclose(a, b)
        np.testing.assert_allclose(found.exchanges[face], alone.exchanges["upper"])
    mean = 0.5 * (found.exchanges["upper"] + found.exchanges["lower"])
    np.testing.assert_allclose(found.exchanges["both"], mean)


def test_two_processes_give_the_same(rng: np.random.Generator) -> None:
    universe = load([film(rng, 20) for _ in range(40)], dt=0.5)
    serial = Residence(universe, tolerance=0.5).run().tables()
    parallel = Residence(universe, tolerance=0.5).run(backend="multiprocessing", n_workers=2)
    for stem, table in serial.items():
        for name, column in table.items():
            np.testing.assert_array_equal(parallel.tables()[stem][name], column)


def test_tables_and_figure(rng: np.random.Generator) -> None:
    analysis = run(two_states(rng, 0.1, 0.1, (100, 10)), max_lag=20.0)
    for table in analysis.tables().values():
        assert len({len(column) for column in table.values()}) == 1
    assert "continuous_0_to_4.5_A_err" in analysis.tables()["residence"]
    figure = Figure()
    analysis.draw(figure)
    assert figure.axes[1].get_xlabel() == "time (ps)"


def test_too_few_frames_have_no_error(
    rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    found = run(two_states(rng, 0.3, 0.3, (6, 10)), max_lag=1.0).results
    assert np.isnan(found.survival_err["both"]["continuous"]).all()
    assert np.isnan(found.residence_times_err["both"]["continuous"]["fit"]).all()
    assert "too few" in caplog.text


def test_unknown_times_are_refused_unless_given(rng: np.random.Generator) -> None:
    universe = load([film(rng, 5) for _ in range(12)])
    with pytest.raises(InputError, match="dt: "):
        Residence(universe).run()
    found = Residence(universe, dt=0.25, tolerance=0.5).run(step=2).results
    np.testing.assert_allclose(found.time, 0.5 * np.arange(4))


def test_the_fit_can_have_a_window() -> None:
    time = np.arange(0.0, 10.0, 0.1)
    # Two exponentials, the first of which has gone after 2 ps.
    survival = 0.5 * np.exp(-time / 0.1) + 0.5 * np.exp(-time / 5.0)
    starts = np.ones_like(time)
    assert residence_times(time, survival, starts, (2.0, 8.0))[1] == pytest.approx(5.0, rel=1e-6)
    assert residence_times(time, survival, starts)[1] < 4.99


def test_uneven_times_are_refused(rng: np.random.Generator) -> None:
    universe = load([film(rng, 5) for _ in range(12)], dt=1.0)
    with pytest.raises(InputError, match="uneven|even"):
        Residence(universe).run(frames=[0, 1, 2, 5])
    with pytest.raises(InputError, match="frames: found 1"):
        Residence(universe).run(stop=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": []}, "layers: found none"),
        ({"layers": [3.0, 2.0]}, "layers: found"),
        ({"tolerance": -1.0}, "tolerance: found -1 ps"),
        ({"max_lag": 100.0}, "max_lag: found 100 ps"),
        ({"dt": 0.0}, "dt: found 0"),
        ({"fit": (1.0, 50.0)}, "fit: found 1 to 50 ps"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    universe = universe_of(np.full((10, 2), 3.0))
    with pytest.raises(InputError, match=message):
        Residence(universe, **arguments).run()


def test_no_water_is_refused() -> None:
    frame = film(np.random.default_rng(0), 5)
    interface = interface_of(load([frame]))
    frame.numbers[frame.numbers == 8] = 7
    with pytest.raises(InputError, match="water: found none"):
        Residence(load([frame], dt=1.0), interface=interface).run()
