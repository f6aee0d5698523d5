"""Densities: atoms counted exactly, in cells of any shape and orientation."""

from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from voltase.analysis.density import DensityProfile
from voltase.analysis.readers import load
from voltase.analysis.testing import COPIES, film, hexagonal_slab, turned, water
from voltase.aseplugin.errors import InputError

AIMD = Path(__file__).parents[2] / "../shared/data/pt111_water/unbiased.extxyz.gz"


def test_the_profile_integrates_to_the_atoms(rng: np.random.Generator) -> None:
    frames = [film(rng) for _ in range(80)]
    found = DensityProfile(load(frames)).run().results
    width = found.z[1] - found.z[0]
    for symbol, count in (("O", 20), ("H", 40), ("Pt", 48)):
        assert found.rho[symbol].sum() * width * found.area == pytest.approx(count, abs=1e-9)
    grams = frames[0].get_masses().sum() * 1.66053906660 / frames[0].get_volume()
    assert found.mass.mean() == pytest.approx(grams, rel=1e-6)
    assert np.isfinite(found.rho_err["O"]).all()
    assert found.blocks["rho"] >= 8


def test_the_distance_counts_from_the_surface_layer() -> None:
    atoms = hexagonal_slab()
    top = atoms.positions[:, 2].max()
    atoms += water((1.0, 1.0, top + 3.05), (0, 0, 1))
    analysis = DensityProfile(load([atoms])).run()
    peak = analysis.results.distance[np.argmax(analysis.results.faces["upper"]["O"])]
    assert peak == pytest.approx(3.05, abs=1e-6)
    assert analysis.per_surface_atom("O", 3.2) == pytest.approx(1 / 16)
    assert analysis.per_surface_atom("O", 3.0) == 0.0
    assert np.isnan(analysis.results.rho_err["O"]).all()


def test_two_faces_are_told_apart_and_averaged() -> None:
    atoms = hexagonal_slab(bottom=12.0)
    low, high = atoms.positions[:, 2].min(), atoms.positions[:, 2].max()
    for x in (1.0, 4.0):
        atoms += water((x, 1.0, high + 2.55), (0, 0, 1))
    atoms += water((1.0, 1.0, low - 3.15), (0, 0, -1))
    analysis = DensityProfile(load([atoms])).run()
    assert analysis.per_surface_atom("O", 3.0, "upper") == pytest.approx(2 / 16)
    assert analysis.per_surface_atom("O", 3.0, "lower") == 0.0
    assert analysis.per_surface_atom("O", 3.5, "lower") == pytest.approx(1 / 16)
    assert analysis.per_surface_atom("O", 3.5) == pytest.approx(1.5 / 16)


@pytest.mark.parametrize("how", COPIES)
def test_orientation_and_choice_of_the_cell_change_nothing(
    rng: np.random.Generator, how: str
) -> None:
    frames = [film(rng) for _ in range(3)]
    plain = DensityProfile(load(frames)).run().results
    other = DensityProfile(load([turned(a, how) for a in frames])).run().results
    for symbol in ("O", "H", "Pt"):
        np.testing.assert_allclose(other.rho[symbol], plain.rho[symbol], atol=1e-6)
        np.testing.assert_allclose(
            other.faces["upper"][symbol], plain.faces["upper"][symbol], atol=1e-6
        )


def test_atoms_on_the_edge_of_the_cell_are_not_lost() -> None:
    atoms = hexagonal_slab(bottom=0.0)
    atoms.positions[:16, 2] = -1e-16
    atoms += water((1.0, 1.0, 8.0), (0, 0, 1))
    found = DensityProfile(load([atoms])).run().results
    assert found.rho["Pt"].sum() * (found.z[1] - found.z[0]) * found.area == pytest.approx(48)


@pytest.mark.parametrize("width", [0.0, -1.0, 99.0, float("nan")])
def test_a_width_without_sense_is_refused(rng: np.random.Generator, width: float) -> None:
    with pytest.raises(InputError, match="^width: found"):
        DensityProfile(load([film(rng)]), width=width)


def test_a_range_without_frames_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="^frames: found none"):
        DensityProfile(load([film(rng)])).run(start=5)


@pytest.mark.slow
@pytest.mark.skipif(not AIMD.is_file(), reason="the reference data are not here")
def test_the_water_on_platinum_of_the_literature() -> None:
    frames = [a for a in read(AIMD, ":") if a.info["config_type"] == "aimd_interface"]
    analysis = DensityProfile(load(frames)).run()
    found = analysis.results
    width = found.z[1] - found.z[0]
    assert found.rho["O"].sum() * width * found.area == pytest.approx(151.0, abs=1e-6)
    assert analysis.per_surface_atom("O", 2.7) == pytest.approx(0.168, abs=0.002)
    rho, at = found.faces["both"]["O"], found.distance
    first, second = (at > 2.0) & (at < 2.7), (at > 2.7) & (at < 3.6)
    assert 2.2 < at[first][np.argmax(rho[first])] < 2.5
    assert 3.0 < at[second][np.argmax(rho[second])] < 3.25
