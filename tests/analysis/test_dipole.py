"""Dipole of the water: sign, size and step of layers that are known; fluctuations of n and Phi."""

import numpy as np
import pytest
from ase import Atoms
from ase.units import Debye
from matplotlib.figure import Figure

from voltase.analysis.dipole import MOLECULE_DIPOLE, NetDipole, covariance
from voltase.analysis.potential import ChargeProfile
from voltase.analysis.readers import load
from voltase.analysis.testing import COPIES, hexagonal_slab, turned, water
from voltase.aseplugin.electrochemistry import EPSILON_0, capacitance_to_areal, thermal_energy
from voltase.aseplugin.errors import InputError

SPCE = {"O": -0.8476, "H": 0.4238}
AREA = float(np.linalg.norm(np.cross(*hexagonal_slab().cell.array[:2])))


def layer(cosine: float, faces: str = "upper", molecules: int = 4, bottom: float = 12.0) -> Atoms:
    """Molecules at the corners of a coarse lattice, their dipoles at an angle to the normal."""
    atoms = hexagonal_slab(bottom=bottom)
    z = atoms.positions[:, 2]
    sine = np.sqrt(1.0 - cosine**2)
    places = atoms.positions[:16][[0, 2, 8, 10][:molecules], :2]
    for face, height, sign in (("upper", z.max() + 3.0, 1.0), ("lower", z.min() - 3.0, -1.0)):
        if faces in (face, "both"):
            for x, y in places:
                atoms += water((x, y, height), (sine, 0.0, sign * cosine))
    return atoms


def test_parallel_plates_give_the_sign() -> None:
    """Hydrogen outwards: negative plate at the metal, positive one outside, liquid above metal."""
    atoms = layer(1.0)
    found = NetDipole(load([atoms]), charges=SPCE).run().results
    separation = 0.97 * np.cos(np.radians(104.5 / 2.0))
    sigma = 4 * 2 * SPCE["H"] / AREA
    assert found.dipole["upper"] == pytest.approx(sigma * separation, rel=1e-10)
    assert found.drop["upper"] == pytest.approx(sigma * separation / EPSILON_0, rel=1e-10)
    assert found.drop["upper"] > 0.0
    # The same from the charges' own potential, by Poisson's equation.
    profile = ChargeProfile(load([atoms]), charges=SPCE, liquid=(7.0, 9.0)).run().results
    assert profile.drop["upper"] == pytest.approx(found.drop["upper"], rel=1e-9)
    down = NetDipole(load([layer(-1.0)]), charges=SPCE).run().results
    assert down.drop["upper"] == pytest.approx(-found.drop["upper"], rel=1e-10)


@pytest.mark.parametrize("cosine", [-0.8, 0.3, 1.0])
@pytest.mark.parametrize("faces", ["lower", "upper", "both"])
def test_fixed_dipoles(cosine: float, faces: str) -> None:
    found = NetDipole(load([layer(cosine, faces)])).run().results
    expected = 4 * MOLECULE_DIPOLE * Debye * cosine / AREA
    names = ["lower", "upper", "both"] if faces == "both" else [faces, "both"]
    assert sorted(found.dipole) == sorted(names)
    for face in names:
        assert found.dipole[face] == pytest.approx(expected, rel=1e-10)
        assert found.waters[face] == 4.0
    assert found.model == "2.35 D along the bisector"
    half = NetDipole(load([layer(cosine, faces)]), molecule_dipole=1.175).run().results
    assert half.dipole["both"] == pytest.approx(0.5 * expected, rel=1e-10)


def test_charges_of_the_trajectory_come_before_the_fixed_dipole() -> None:
    atoms = layer(0.5)
    charges = np.where(atoms.numbers == 8, -1.0, np.where(atoms.numbers == 1, 0.5, 0.0))
    charges[-2:] = 0.7, 0.3  # the last molecule is lopsided and charged no more than before
    atoms.set_array("charges", charges)
    found = NetDipole(load([atoms])).run().results
    assert found.model == "charges of the trajectory"
    expected = sum(
        charges[h] * (atoms.positions[h, 2] - atoms.positions[o, 2])
        for o in np.flatnonzero(atoms.numbers == 8)
        for h in (o + 1, o + 2)
    )
    assert found.dipole["upper"] == pytest.approx(expected / AREA, rel=1e-10)
    given = NetDipole(load([atoms]), charges=SPCE).run().results
    assert given.model == "charges by element"
    fixed = NetDipole(load([atoms]), molecule_dipole=2.0).run().results
    assert fixed.model == "2 D along the bisector"


@pytest.mark.parametrize("how", COPIES)
def test_same_in_other_cells(how: str) -> None:
    atoms = layer(0.6, "both")
    del atoms[-6:]
    reference = NetDipole(load([atoms]), charges=SPCE).run().results
    found = NetDipole(load([turned(atoms, how)]), charges=SPCE).run().results
    assert found.dipole["both"] == pytest.approx(reference.dipole["both"], abs=1e-9)
    assert sorted(found.dipole.values()) == pytest.approx(sorted(reference.dipole.values()))


def test_molecules_across_the_boundary() -> None:
    atoms = layer(0.6, "both")
    reference = NetDipole(load([atoms]), charges=SPCE).run().results.dipole
    for shift in np.arange(0.5, 30.0, 2.37):
        moved = atoms.copy()
        moved.positions += (3.1, 1.7, shift)
        moved.wrap()
        found = NetDipole(load([moved]), charges=SPCE).run().results.dipole
        assert found == pytest.approx(reference, abs=1e-9)


def test_region() -> None:
    atoms = layer(0.6)
    atoms += water((1.0, 1.0, atoms.positions[:48, 2].max() + 6.0), (0.0, 0.0, 1.0))
    near = NetDipole(load([atoms]), region=(0.0, 4.5)).run().results
    every = NetDipole(load([atoms])).run().results
    assert (near.waters["upper"], every.waters["upper"]) == (4.0, 5.0)
    size = MOLECULE_DIPOLE * Debye / AREA
    assert every.dipole["upper"] - near.dipole["upper"] == pytest.approx(size)


def test_series_error_processes_tables_and_figure(rng: np.random.Generator) -> None:
    cosines = rng.uniform(-1.0, 1.0, 130)
    frames = []
    for k, cosine in enumerate(cosines):
        atoms = layer(cosine, molecules=1, faces="both")
        atoms.info.update(excess_electrons=0.1 * cosine, electrode_potential=4.5 - cosine,
                          time_fs=0.5 * k)  # fmt: skip
        frames.append(atoms)
    dipole = NetDipole(load(frames), temperature=300.0).run()
    r = dipole.results
    size = MOLECULE_DIPOLE * Debye / AREA
    np.testing.assert_allclose(r.series["upper"], size * cosines, atol=1e-9)
    assert r.dipole["both"] == pytest.approx(size * cosines.mean())
    assert r.dipole_err["both"] == pytest.approx(size / np.sqrt(3 * 130), rel=0.5)
    assert r.phi == pytest.approx(4.5 - cosines.mean())
    # Electrons make the surface negative; both faces share them.
    assert r.sigma == pytest.approx(-1602.1766 * r.n / (2.0 * AREA), rel=1e-6)
    tables = dipole.tables()
    for table in tables.values():
        assert len({len(column) for column in table.values()}) == 1
    np.testing.assert_allclose(tables["dipole"]["time_ps"], 0.0005 * np.arange(130))
    dipole.draw(Figure())
    again = NetDipole(load(frames), temperature=300.0).run(backend="multiprocessing", n_workers=2)
    for name, column in tables["dipole_mean"].items():
        np.testing.assert_array_equal(again.tables()["dipole_mean"][name], column)


def test_unknown_times_and_few_frames(caplog: pytest.LogCaptureFixture) -> None:
    found = NetDipole(load([layer(0.2)] * 3))
    r = found.run().results
    assert np.isnan(r.time).all()
    assert np.isnan(r.dipole_err["both"])
    assert "3 frames are too few for an error of dipole" in caplog.text
    assert "n" not in r
    found.draw(Figure())


def grand_canonical(rng: np.random.Generator, c_el: float, frames: int) -> list[Atoms]:
    """E = (n - x)^2/(2 C_el) + x^2/(2 K) - Phi0 n, x a slow coordinate: C = C_el + K."""
    kt, k = thermal_energy(300.0), 0.5 * c_el
    x = np.sqrt(kt * k) * rng.standard_normal(frames)
    n = x + np.sqrt(kt * c_el) * rng.standard_normal(frames)
    phi = 4.5 - (n - x) / c_el
    atoms = layer(0.3, "both", molecules=1)
    images = []
    for one, other in zip(n, phi, strict=True):
        copy = atoms.copy()
        copy.info.update(excess_electrons=one, electrode_potential=other)
        images.append(copy)
    return images


def test_capacitances_from_fluctuations(rng: np.random.Generator) -> None:
    c_el = 0.8
    r = NetDipole(load(grand_canonical(rng, c_el, 600)), temperature=300.0).run().results
    total, error = r.capacitances["n"]
    assert error < 0.1 * total
    assert abs(total - capacitance_to_areal(1.5 * c_el, 2.0 * AREA)) < 4.0 * error
    electrons, error = r.capacitances["phi"]
    assert error < 0.1 * electrons
    assert abs(electrons - capacitance_to_areal(c_el, 2.0 * AREA)) < 4.0 * error
    assert abs(r.ensemble - 1.0) < 4.0 * r.ensemble_err
    assert r.ensemble_err < 0.15


def test_what_is_held_fixed_gives_no_capacitance(rng: np.random.Generator) -> None:
    frames = grand_canonical(rng, 0.8, 200)
    for atoms in frames:
        atoms.info["excess_electrons"] = 0.37
    r = NetDipole(load(frames), temperature=300.0).run().results
    assert set(r.capacitances) == {"phi"}
    assert r.ensemble == pytest.approx(0.0, abs=1e-9)
    assert (r.n, r.n_err) == pytest.approx((0.37, 0.0), abs=1e-12)
    assert "capacitances" not in NetDipole(load(frames)).run().results


def test_covariance_of_few_correlated_frames_is_not_too_small(rng: np.random.Generator) -> None:
    runs, frames, memory = 100, 400, 0.8
    a = np.empty((frames, runs))
    a[0] = rng.standard_normal(runs)
    for k in range(1, frames):
        a[k] = memory * a[k - 1] + np.sqrt(1 - memory**2) * rng.standard_normal(runs)
    values = np.array([covariance(a[:, k], a[:, k])[0] for k in range(runs)])
    assert values.mean() == pytest.approx(1.0, abs=0.05)
    opposite = np.array([covariance(a[:, k], -a[:, k])[0] for k in range(runs)])
    np.testing.assert_allclose(opposite, -values, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"charges": SPCE, "molecule_dipole": 2.0}, "molecule_dipole: found together"),
        ({"molecule_dipole": -1.0}, "molecule_dipole: found -1"),
        ({"charges": {"O": -0.8}}, "charges: found none of H"),
        ({"region": (4.0, 2.0)}, "region: found"),
        ({"temperature": 0.0}, "temperature: found 0"),
    ],
)
def test_bad_input(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NetDipole(load([layer(0.1)]), **options).run()


def test_no_electrons_are_no_negative_zero_and_no_error_is_not_shown() -> None:
    frames = [layer(0.1), layer(0.2)]
    for atoms in frames:
        atoms.info["excess_electrons"] = 0.0
    dipole = NetDipole(load(frames)).run()
    assert str(dipole.results.sigma) == "0.0"
    figure = Figure()
    dipole.draw(figure)
    label = figure.axes[0].get_legend().get_texts()[0].get_text()
    assert "nan" not in label
    assert "±" not in label


def test_missing_data() -> None:
    with pytest.raises(InputError, match="neither of its faces"):
        NetDipole(load([hexagonal_slab()])).run()
    frames = [layer(0.1), layer(0.2)]
    frames[0].info["excess_electrons"] = 0.1
    with pytest.raises(InputError, match="excess_electrons: found none in frame 1"):
        NetDipole(load(frames)).run()
