"""Radial distributions: one for whatever is uncorrelated, right where it is known."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from voltase.analysis.blocks import estimate_ratio
from voltase.analysis.histograms import histograms_of
from voltase.analysis.rdf import SlabRDF, ideal_pairs, shells
from voltase.analysis.readers import load
from voltase.analysis.testing import COPIES, film, hexagonal_slab, turned
from voltase.aseplugin.errors import InputError


def gas_film(rng: np.random.Generator, count: int = 150) -> Atoms:
    """Points without correlation whose density is far from uniform along z."""
    atoms = hexagonal_slab()
    fractions = rng.random((count, 3))
    points = fractions @ np.diag([1, 1, 0]) @ atoms.cell.array
    points[:, 2] = 9.0 + 14.0 * fractions[:, 2] ** 2
    return atoms + Atoms(f"O{count}", points)


def test_an_ideal_gas_in_a_hexagonal_slab_is_one_everywhere(rng: np.random.Generator) -> None:
    frames = [gas_film(rng, 400) for _ in range(80)]
    found = SlabRDF(load(frames), ["O-O"], r_max=4.8, width=0.2).run().results
    g, error = found.g_slab["O-O"]["both"], found.g_slab_err["O-O"]["both"]
    beyond = found.r > 1.0
    assert np.abs(g[beyond] - 1.0).max() < 0.01 + 3.0 * error[beyond].max()
    assert abs(np.average(g[beyond], weights=found.r[beyond] ** 2) - 1.0) < 0.004
    assert found.g_bulk["O-O"]["both"][beyond].min() > 1.3


def test_the_faces_have_their_own_functions(rng: np.random.Generator) -> None:
    frames = []
    for _ in range(40):
        atoms = hexagonal_slab(bottom=12.0)
        fractions = rng.random((300, 3))
        points = fractions @ np.diag([1, 1, 0]) @ atoms.cell.array
        points[:, 2] = 19.0 + 20.0 * fractions[:, 2]
        frames.append(atoms + Atoms("O300", points))
    found = SlabRDF(load(frames), ["O-O"], r_max=4.0, width=0.4).run().results
    for face in ("lower", "upper", "both"):
        assert np.abs(found.g_slab["O-O"][face][3:] - 1.0).max() < 0.03


def test_a_region_normalises_with_its_own_atoms(rng: np.random.Generator) -> None:
    frames = [gas_film(rng, 300) for _ in range(40)]
    found = SlabRDF(load(frames), ["O-O"], r_max=4.0, width=0.4, region=(3.0, 6.0)).run()
    assert np.abs(found.results.g_slab["O-O"]["both"][3:] - 1.0).max() < 0.04


def test_a_uniform_fluid_has_the_ordinary_normalisation() -> None:
    height, bins, width = 20.0, 40, 0.1
    first, density = np.full(400, 0.25), np.full(400, 0.03)
    expected = 100 * 0.03 * shells(bins, width)
    np.testing.assert_allclose(ideal_pairs(first, density, height, bins, width), expected,
                               rtol=2e-3, atol=1e-4)  # fmt: skip


def test_the_neighbours_of_a_crystal_are_counted() -> None:
    slab = hexagonal_slab(layers=6, height=40.0)
    found = SlabRDF(load([slab]), ["Pt-Pt"], r_max=4.5, width=0.05).run().results
    nearest = bulk("Pt", "fcc", a=3.976).get_all_distances(mic=True)
    assert nearest.shape == (1, 1)
    n = found.coordination["Pt-Pt"]["both"]
    # Four whole layers with 12 neighbours, two surfaces with 9.
    assert n[found.r < 3.3][-1] == pytest.approx((4 * 12 + 2 * 9) / 6)
    peak = found.r[np.argmax(found.g_bulk["Pt-Pt"]["both"])]
    assert peak == pytest.approx(3.976 / np.sqrt(2), abs=0.03)


def test_unlike_pairs_see_the_bonds(rng: np.random.Generator) -> None:
    found = SlabRDF(load([film(rng, 1)]), ["O-H"], r_max=4.0).run().results
    assert found.coordination["O-H"]["both"][found.r < 1.1][-1] == pytest.approx(2.0, abs=1e-9)


def test_the_correlation_time_is_that_of_the_slab(rng: np.random.Generator) -> None:
    analysis = SlabRDF(load([film(rng) for _ in range(130)])).run()
    h = histograms_of(analysis)["g_O-O_both"]
    expected = estimate_ratio(h.numerator, h.denominator, h.lengths).correlation_frames
    assert analysis.results.correlation_times["g_O-O"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("how", COPIES)
def test_orientation_changes_nothing(rng: np.random.Generator, how: str) -> None:
    frames = [film(rng) for _ in range(2)]
    plain = SlabRDF(load(frames), ["O-O", "O-H"], r_max=4.0).run().results
    other = SlabRDF(load([turned(a, how) for a in frames]), ["O-O", "O-H"], r_max=4.0).run()
    for pair in ("O-O", "O-H"):
        np.testing.assert_allclose(other.results.g_slab[pair]["both"],
                                   plain.g_slab[pair]["both"], atol=1e-6)  # fmt: skip


def test_what_cannot_be_is_refused(rng: np.random.Generator) -> None:
    u = load([film(rng)])
    with pytest.raises(InputError, match="^r_max: found 9 A, expected .* at most half"):
        SlabRDF(u, r_max=9.0).run()
    for pairs, message in ((["OO"], "expected two elements"), (["O-Na"], "has no Na"),
                           ([], "found none")):  # fmt: skip
        with pytest.raises(InputError, match=f"^pairs: .*{message}"):
            SlabRDF(u, pairs)
