"""Scores between trajectories, their noise floor, and series of potentials."""

import numpy as np
import pytest
from ase import Atoms
from matplotlib.figure import Figure

from voltase.analysis.compare import (
    common_grid,
    compare,
    overlap,
)
from voltase.analysis.density import DensityProfile
from voltase.analysis.dipole import NetDipole
from voltase.analysis.histograms import histograms_of
from voltase.analysis.orientation import WaterOrientation
from voltase.analysis.potential_series import PotentialSeries
from voltase.analysis.rdf import SlabRDF
from voltase.analysis.readers import load
from voltase.analysis.testing import hexagonal_slab, turned, water
from voltase.aseplugin.errors import InputError

FRAMES = 128


def gas(
    rng: np.random.Generator, places: np.ndarray | None = None, frames: int = FRAMES, count: int = 6
) -> list[Atoms]:
    """Oxygens at random, their heights above the slab drawn from those given (else uniform)."""
    slab = hexagonal_slab()
    top, images = slab.positions[:, 2].max(), []
    for _ in range(frames):
        points = rng.random((count, 3)) @ slab.cell.array
        points[:, 2] = top + 2.0 + (
            10.0 * rng.random(count) if places is None else rng.choice(places, count)
        )  # fmt: skip
        images.append(slab + Atoms(f"O{count}", points))
    images[0].positions[-1, 2] = top + 3.0 + 0.01 * rng.random()  # that face is wet
    return images


def liquid(rng: np.random.Generator, bias: float, frames: int = FRAMES) -> list[Atoms]:
    """Four molecules on a lattice; the share `bias` of them has its hydrogens to the metal."""
    slab = hexagonal_slab()
    top, images = slab.positions[:, 2].max(), []
    for _ in range(frames):
        atoms = slab.copy()
        for x, y in slab.positions[:16][[0, 2, 8, 10], :2]:
            down = rng.random() < bias
            tilt = rng.standard_normal(3) * 0.1
            axis = (tilt[0], tilt[1], -1.0 if down else 1.0)
            atoms += water((x, y, top + 3.0 + 0.1 * tilt[2]), axis, (1.0, 0.2, 0.1))
        images.append(atoms)
    return images


def test_overlap() -> None:
    rng = np.random.default_rng(0)
    f, g = rng.random((2, 3, 50))
    assert overlap(f, f) == pytest.approx(np.ones(3))
    assert overlap(f, 0 * f) == pytest.approx(np.zeros(3))
    assert overlap(f, -f) == pytest.approx(np.zeros(3))
    np.testing.assert_array_equal(overlap(f, g), overlap(g, f))
    assert overlap(f, 3.0 * f) == pytest.approx(np.full(3, 0.5))
    assert np.isnan(overlap(np.zeros(3), np.zeros(3)))
    # Of two distributions it is their common area.
    p, q = f / f.sum(axis=1, keepdims=True), g / g.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(overlap(p, q), np.minimum(p, q).sum(axis=1))


def test_a_trajectory_and_a_copy_are_the_same(rng: np.random.Generator) -> None:
    frames = gas(rng, frames=16)
    copies = [turned(atoms, "rotated") for atoms in frames]
    for kind in (DensityProfile, SlabRDF):
        options = {"pairs": ["O-O", "Pt-O"]} if kind is SlabRDF else {}
        found = compare({name: kind(load(f), **options).run()
                         for name, f in (("a", frames), ("b", copies))})  # fmt: skip
        assert len(found.scores) >= 4
        for score in found.scores:
            assert score.score == pytest.approx(1.0, abs=1e-9)
            assert not score.differs


def test_known_overlap_of_two_densities(rng: np.random.Generator) -> None:
    """Uniform in 0 to 6 and in 3 to 9 A: half of each is common."""
    runs = {}
    for name, start in (("near", 0.0), ("far", 3.0)):
        places = start + 6.0 * (np.arange(600) + 0.5) / 600
        runs[name] = DensityProfile(load(gas(rng, places, 256)), width=1.0).run()
    score = compare(runs).score("rho_O_upper", "far", "near")
    assert score.score == pytest.approx(0.5, abs=0.05)
    assert abs(score.score - 0.5) < 4.0 * score.error
    assert 0.005 < score.error < 0.04
    assert score.floor > 0.93
    assert score.differs


def test_noise_floor_of_the_same_system(rng: np.random.Generator) -> None:
    runs = {name: DensityProfile(load(gas(rng)), width=0.5).run() for name in "abcd"}
    scores = [s for s in compare(runs).scores if s.quantity == "rho_O_both"]
    assert len(scores) == 6
    # Two runs score what their halves promise, and the halves less.
    score = np.mean([s.score for s in scores])
    assert score == pytest.approx(np.mean([s.floor for s in scores]), abs=0.02)
    assert np.mean([s.halves_first for s in scores]) < score
    # Deviations of independent frames: |a - b| ~ 2 sigma / sqrt(pi), over 2 rho.
    count = FRAMES * 6 * 0.5 / 10.0
    assert 1.0 - score == pytest.approx(1.0 / np.sqrt(np.pi * count), rel=0.25)
    assert not any(s.differs for s in scores)


def test_other_bins_and_ranges(rng: np.random.Generator) -> None:
    frames = gas(rng, frames=64)
    fine, coarse = (DensityProfile(load(frames), width=w).run() for w in (0.1, 0.25))
    found = {
        "fine": histograms_of(fine)["rho_O_both"],
        "coarse": histograms_of(coarse)["rho_O_both"],
    }
    grids = common_grid(found)
    assert {h.width for h in grids.values()} == {0.25}
    assert len({h.numerator.shape for h in grids.values()}) == 1
    for name, h in grids.items():
        rho = h.numerator.sum(axis=0) / h.denominator.sum(axis=0)
        assert rho.sum() * h.width * fine.results.area == pytest.approx(6.0, rel=1e-9), name
    assert compare({"fine": fine, "coarse": coarse}).scores[0].score > 0.9


def test_rdf_and_orientation_differ_where_they_should(rng: np.random.Generator) -> None:
    universes = {"up": load(liquid(rng, 0.1)), "same": load(liquid(rng, 0.1)),
                 "down": load(liquid(rng, 0.9))}  # fmt: skip
    turns = compare({n: WaterOrientation(u).run() for n, u in universes.items()})
    for quantity in ("rho_cos_theta_both", "map_both", "bonds_2.7_to_4.5_A_both"):
        assert turns.score(quantity, "up", "down").differs
        assert turns.score(quantity, "up", "down").score < 0.4
        assert not turns.score(quantity, "up", "same").differs
    pairs = compare({n: SlabRDF(u, ["O-O"], width=0.2).run() for n, u in universes.items()})
    assert not pairs.score("g_O-O_both", "up", "down").differs
    rdf = SlabRDF(universes["up"], ["O-O", "O-H"]).run()
    for pair in ("O-O", "O-H"):
        h = histograms_of(rdf)[f"g_{pair}_both"]
        with np.errstate(invalid="ignore", divide="ignore"):
            g = h.numerator.sum(axis=0) / h.denominator.sum(axis=0)
        np.testing.assert_allclose(g, rdf.results.g_slab[pair]["both"], rtol=1e-9)
    for comparison in (turns, pairs):
        for table in comparison.tables().values():
            assert len({len(column) for column in table.values()}) == 1
        comparison.draw(Figure())


def test_few_frames_have_scores_without_errors(rng: np.random.Generator) -> None:
    runs = {name: DensityProfile(load(gas(rng, frames=3))).run() for name in "ab"}
    score = compare(runs).score("rho_O_both", "a", "b")
    assert np.isfinite(score.score)
    assert np.isnan(score.error)
    assert score.differs is None
    assert np.isnan(compare(runs).tables()["scores"]["differs"]).all()
    single = {name: DensityProfile(load(gas(rng, frames=1))).run() for name in "ab"}
    assert np.isnan(compare(single).score("rho_O_both", "a", "b").floor)


def test_what_cannot_be_compared(rng: np.random.Generator) -> None:
    universe = load(gas(rng, frames=2))
    density = DensityProfile(universe).run()
    with pytest.raises(InputError, match="analyses: found 1, expected two"):
        compare({"a": density})
    with pytest.raises(InputError, match="found DensityProfile, SlabRDF, expected one kind"):
        compare({"a": density, "b": SlabRDF(universe).run()})
    with pytest.raises(InputError, match="that has not been run"):
        compare({"a": density, "b": DensityProfile(universe)})
    water_runs = [WaterOrientation(load(liquid(rng, 0.5, 2)), cosines=n).run() for n in (20, 24)]
    with pytest.raises(InputError, match="expected the same `cosines`"):
        compare(dict(enumerate(water_runs)))  # type: ignore[arg-type]
    dipole = NetDipole(load(liquid(rng, 0.5, 2))).run()
    with pytest.raises(InputError, match="analyses: found NetDipole, expected one of"):
        compare({"a": dipole, "b": dipole})
    others = {"a": SlabRDF(universe, ["O-O"]).run(), "b": SlabRDF(universe, ["Pt-O"]).run()}
    with pytest.raises(InputError, match="no quantity that all have"):
        compare(others)
    with pytest.raises(InputError, match="found no score of 'x'"):
        compare({"a": density, "b": density}).score("x", "a", "b")


def test_series_of_potentials(rng: np.random.Generator) -> None:
    series = PotentialSeries("SHE")
    biases = {0.5: 0.1, -1.0: 0.8, -0.25: 0.4}
    for u, bias in biases.items():
        frames = liquid(rng, bias)
        for atoms in frames:
            atoms.info.update(electrode_potential=4.44 + u + 0.05 * rng.standard_normal(),
                              excess_electrons=-u + 0.01 * rng.standard_normal())  # fmt: skip
        series.run(f"{u:g} V", load(frames), charges={"O": -0.8476, "H": 0.4238})
    table = series.tables()["potential_series"]
    assert table["label"].tolist() == ["-1 V", "-0.25 V", "0.5 V"]
    assert len({len(column) for column in table.values()}) == 1
    u = np.array(sorted(biases))
    assert (np.abs(table["U_V"] - u) < 5.0 * table["U_V_err"]).all()
    shares = np.array([biases[k] for k in u])
    layer = "H_down_2.7_to_4.5_A"
    assert (np.abs(table[layer] - shares) < 5.0 * table[f"{layer}_err"] + 0.01).all()
    assert (np.diff(table["dipole_e_per_A"]) > 0.0).all()
    assert (np.diff(table["sigma_uC_per_cm2"]) > 0.0).all()
    area = float(np.linalg.norm(np.cross(*hexagonal_slab().cell.array[:2])))
    np.testing.assert_allclose(table["contact_O_per_A2"], 4.0 / area)
    np.testing.assert_allclose(table["waters_2.7_to_4.5_A_per_A2"], 4.0 / area)
    assert np.abs(table["peak_O_at_A"] - 3.0).max() < 0.2
    series.draw(Figure())
    orientation = WaterOrientation(load(liquid(rng, 0.5, 4))).run()
    series.add("by hand", orientation=orientation, potential=1.0)
    table = series.tables()["potential_series"]
    assert table["label"][-1] == "by hand"
    assert np.isnan(table["dipole_e_per_A"][-1])
    series.draw(Figure())
    with pytest.raises(InputError, match="label: found 'by hand' twice"):
        series.add("by hand", orientation=orientation, potential=2.0)
    with pytest.raises(InputError, match="potential: found none in the trajectory"):
        series.add("other", orientation=orientation)


def test_series_with_other_layers(rng: np.random.Generator) -> None:
    series = PotentialSeries()
    series.run("a", load(liquid(rng, 0.5, 10)), potential=1.0, layers=(4.0,))
    table = series.tables()["potential_series"]
    assert [name for name in table if name.startswith("H_down")] == [
        "H_down_0_to_4_A", "H_down_0_to_4_A_err"
    ]  # fmt: skip


def test_series_without_runs() -> None:
    with pytest.raises(InputError, match="runs: found none"):
        PotentialSeries().draw(Figure())
    with pytest.raises(InputError, match="contact: found -1"):
        PotentialSeries(contact=-1.0)
    with pytest.raises(InputError, match="analyses: found none"):
        PotentialSeries().add("a", potential=0.0)
