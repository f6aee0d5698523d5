"""Pictures of densities show what is there."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from voltase.analysis.density_pictures import (
    DensityProfile,
    difference_table,
    draw_isosurface,
    draw_profiles,
    draw_slice,
)
from voltase.aseplugin.errors import InputError

Z = np.arange(120) * 0.1
CELL = np.diag([4.0, 5.0, 12.0])
NUMBERS, POSITIONS = np.array([78, 8]), np.array([[2.0, 2.5, 4.0], [2.0, 2.5, 7.0]])


def profile(label: str, electrons: float) -> DensityProfile:
    """A Gaussian with so many electrons on 20 A^2."""
    values = electrons / 20.0 * np.exp(-0.5 * (Z - 6.0) ** 2) / np.sqrt(2.0 * np.pi)
    return DensityProfile(label, values, -Z)


def blob(sign: float = 1.0) -> np.ndarray:
    axes = [np.arange(n) / n * length for n, length in zip((16, 20, 48), (4.0, 5.0, 12.0),
                                                           strict=True)]  # fmt: skip
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return sign * np.exp(-((x - 2.0) ** 2) - (y - 2.5) ** 2 - (z - 6.0) ** 2)


def test_the_integrated_difference_is_the_charge() -> None:
    found = difference_table(Z, [profile("a", 8.0), profile("b", 8.3)], 20.0, (1.0, 0.0))
    assert found["integrated"][0][-1] == pytest.approx(0.3, abs=1e-6)
    # The macroscopic average moves charge, but keeps it.
    assert found["macroscopic"][0].sum() * 0.1 == pytest.approx(0.3, abs=1e-3)
    assert found["macroscopic"][0].max() < found["difference"][0].max()


def test_profiles_say_the_charge_in_the_legend() -> None:
    figure = Figure()
    draw_profiles(figure, Z, [profile("a", 8.0), profile("b", 8.3)], 20.0, (1.0, 0.0))
    texts = [text.get_text() for axes in figure.axes if axes.get_legend()
             for text in axes.get_legend().get_texts()]  # fmt: skip
    assert "b: +0.300 e" in texts


def test_no_profile_is_an_error() -> None:
    with pytest.raises(InputError, match="profiles: found none"):
        difference_table(Z, [], 20.0, (1.0, 0.0))


@pytest.mark.parametrize("signed", [False, True])
def test_a_slice_goes_through_the_atoms(signed: bool) -> None:
    figure = Figure()
    axes = figure.add_subplot()
    draw_slice(axes, blob(), CELL, NUMBERS, POSITIONS, signed=signed)
    mesh, dots = axes.collections
    assert len(dots.get_offsets()) == 2
    assert np.nanmax(mesh.get_array()) == pytest.approx(1.0, abs=1e-2)


def test_surfaces_of_both_signs() -> None:
    pytest.importorskip("skimage")
    figure = Figure()
    level = draw_isosurface(figure, blob() - 0.5 * np.roll(blob(), 16, axis=2), CELL, NUMBERS,
                            POSITIONS)  # fmt: skip
    surfaces = figure.axes[0].collections[:2]
    assert 0.05 < level < 0.15
    assert len({tuple(surface.get_facecolor()[0][:3]) for surface in surfaces}) == 2


def test_a_level_that_nothing_reaches_is_refused() -> None:
    pytest.importorskip("skimage")
    with pytest.raises(InputError, match="level: found 2"):
        draw_isosurface(Figure(), blob(), CELL, NUMBERS, POSITIONS, level=2.0)
