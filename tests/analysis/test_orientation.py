"""Orientation: constructed dipoles come back exactly."""

import numpy as np
import pytest
from ase import Atoms
from matplotlib.figure import Figure

from voltase.analysis.orientation import POPULATIONS, WaterOrientation
from voltase.analysis.readers import load
from voltase.analysis.testing import COPIES, film, hexagonal_slab, turned, water
from voltase.aseplugin.errors import InputError


@pytest.mark.parametrize("cosine", [-1.0, -0.6, 0.0, 0.25, 0.9, 1.0])
def test_constructed_dipoles_have_their_cosine(cosine: float) -> None:
    atoms = hexagonal_slab(bottom=12.0)
    low, high = atoms.positions[:, 2].min(), atoms.positions[:, 2].max()
    sine = np.sqrt(1.0 - cosine**2)
    # Mirrored on the two faces: the same angle with the outward normal.
    atoms += water((1.0, 1.0, high + 3.05), (sine, 0.0, cosine))
    atoms += water((10.0, 8.0, low - 3.05), (0.0, sine, -cosine))
    found = WaterOrientation(load([atoms])).run().results
    for face in ("lower", "upper", "both"):
        values = found.faces[face]["cos_theta"]
        assert np.isfinite(values).sum() == 1
        assert np.nanmax(values) == pytest.approx(cosine, abs=1e-12)
    both = found.faces["both"]
    assert np.nansum(both["rho_cos_theta"]) == pytest.approx(np.nansum(both["rho"]) * cosine)


def test_random_molecules_point_nowhere(rng: np.random.Generator) -> None:
    frames = [film(rng, 40) for _ in range(60)]
    found = WaterOrientation(load(frames), width=1.0, layers=[14.0]).run().results
    both = found.faces["both"]
    seen = np.isfinite(both["cos_theta_err"]) & (both["rho"] > 0)
    assert (np.abs(both["cos_theta"][seen]) < 5.0 * both["cos_theta_err"][seen]).all()
    assert found.bond_angles["both"][0].sum() * 2.0 / 40 == pytest.approx(1.0)
    assert np.abs(found.bond_angles["both"][0] - 0.5).max() < 0.15
    np.testing.assert_allclose(both["map"].sum(axis=1) * 2.0 / 40, both["rho"], atol=1e-12)


@pytest.mark.parametrize(
    ("bonds", "kind"),
    [
        ([(0.3, 0, -0.92), (-0.92, 0, 0.3)], "one_H_down"),
        ([(0.76, 0, -0.59), (-0.76, 0, -0.59)], "two_H_down"),
        ([(0.76, 0, 0.59), (-0.76, 0, 0.59)], "H_up"),
        ([(0.76, 0.59, 0), (-0.76, 0.59, 0.1)], "flat"),
    ],
)
def test_kinds_of_molecules(
    bonds: list[tuple[float, float, float]],
    kind: str,
) -> None:
    atoms = hexagonal_slab()
    oxygen = np.array([2.0, 2.0, atoms.positions[:, 2].max() + 2.5])
    atoms += Atoms("OHH", [oxygen, *(oxygen + np.array(bonds))])
    found = WaterOrientation(load([atoms])).run().results
    shares = {name: found.populations["both"][name][0] for name in POPULATIONS}
    assert shares == {name: float(name == kind) for name in POPULATIONS}
    assert found.waters["both"].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("how", COPIES)
def test_orientation_of_the_cell_changes_nothing(rng: np.random.Generator, how: str) -> None:
    frames = [film(rng) for _ in range(2)]
    plain = WaterOrientation(load(frames)).run().results.faces["both"]
    other = WaterOrientation(load([turned(a, how) for a in frames])).run()
    for name in ("cos_theta", "rho", "map"):
        np.testing.assert_allclose(other.results.faces["both"][name], plain[name], atol=1e-6)


def test_a_hydroxide_is_no_water() -> None:
    atoms = hexagonal_slab()
    top = atoms.positions[:, 2].max()
    atoms += water((1.0, 1.0, top + 3.0), (0, 0, 1))
    atoms += Atoms("OH", [(6.0, 4.0, top + 2.2), (6.0, 4.0, top + 3.2)])
    found = WaterOrientation(load([atoms])).run().results
    assert found.waters["both"].sum() == 1.0


def test_the_legend_of_the_shares_hides_none(rng: np.random.Generator) -> None:
    figure = Figure(figsize=(8.0, 5.6), layout="constrained")
    WaterOrientation(load([film(rng)])).run().draw(figure)
    figure.draw_without_rendering()
    shares = next(ax for ax in figure.axes if ax.get_ylabel().startswith("share"))
    legend = shares.get_legend()
    assert legend is not None
    assert legend.get_window_extent().x0 >= shares.get_window_extent().x1 - 1.0


def test_what_cannot_be_is_refused(rng: np.random.Generator) -> None:
    u = load([film(rng)])
    for option, message in (({"layers": [3.0, 2.0]}, "^layers: "), ({"layers": []}, "^layers: "),
                            ({"width": 0.0}, "^width: "), ({"cosines": 1}, "^cosines: "),
                            ({"pointing": 1.5}, "^pointing: ")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            WaterOrientation(u, **option)
    with pytest.raises(InputError, match="^electrode: neither"):
        WaterOrientation(load([hexagonal_slab()])).run()
    dry = hexagonal_slab() + Atoms("O", [(1.0, 1.0, 9.0)])
    with pytest.raises(InputError, match="^water: found none"):
        WaterOrientation(load([dry])).run()
