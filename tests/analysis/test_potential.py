"""Potential: capacitors, dipole layers and Gaussians whose potential is known."""

import numpy as np
import pytest
from ase import Atoms
from matplotlib.figure import Figure
from scipy.special import erf

from voltase.analysis.grid_density import integrate_poisson, macroscopic_average
from voltase.analysis.point_charges import deposit
from voltase.analysis.potential import ChargeProfile
from voltase.analysis.readers import load
from voltase.analysis.testing import COPIES, hexagonal_slab, turned, water
from voltase.aseplugin.electrochemistry import EPSILON_0
from voltase.aseplugin.errors import InputError

Q, GAP = 0.013, 3.0
"""Charge of each atom of a plate, e; distance of the plates, A."""


def capacitor(faces: str = "upper", bottom: float = 8.0) -> Atoms:
    """The outermost layer +Q an atom, and as many oxygens with -Q outside of it."""
    slab = hexagonal_slab(bottom=bottom)
    z = slab.positions[:, 2]
    atoms, charges = slab.copy(), np.zeros(len(slab))
    for face, end, sign in (("upper", z.max(), 1.0), ("lower", z.min(), -1.0)):
        if faces in (face, "both"):
            layer = np.abs(z - end) < 0.1
            charges[: len(slab)][layer] = Q
            plate = slab.positions[layer].copy()
            plate[:, 2] = end + sign * GAP
            atoms += Atoms(f"O{len(plate)}", plate)
            charges = np.append(charges, np.full(len(plate), -Q))
    atoms.set_array("charges", charges)
    return atoms


def expected_drop(atoms: Atoms) -> float:
    """The outside is negative: -sigma d / eps0."""
    area = np.linalg.norm(np.cross(*atoms.cell.array[:2]))
    return float(-16 * Q / area * GAP / EPSILON_0)


@pytest.mark.parametrize("smearing", [0.0, 0.25])
@pytest.mark.parametrize("width", [0.05, 0.1, 0.43])
@pytest.mark.parametrize("face", ["upper", "lower"])
def test_capacitor_with_vacuum(face: str, width: float, smearing: float) -> None:
    atoms = capacitor(face)
    found = ChargeProfile(load([atoms]), width=width, smearing=smearing, liquid=(6.0, 8.0)).run()
    r = found.results
    assert r.boundary == "open"
    assert r.drop[face] == pytest.approx(expected_drop(atoms), rel=1e-9)
    assert r.drop["both"] == r.drop[face]
    assert r.potential[0] == 0.0
    assert abs(r.field[-1]) < 1e-12
    assert r.rho.sum() == pytest.approx(0.0, abs=1e-12)
    between = (r.distance > 2.0) & (r.distance < 2.2) if smearing == 0.0 else r.distance == np.inf
    line = expected_drop(atoms) / GAP * r.distance
    np.testing.assert_allclose(r.faces[face][between], line[between], rtol=1e-9)


@pytest.mark.parametrize("width", [0.1, 0.43])
def test_periodic_capacitors_on_both_faces(width: float) -> None:
    atoms = capacitor("both", bottom=12.0)
    r = ChargeProfile(load([atoms]), width=width, liquid=(5.0, 9.0)).run().results
    assert r.boundary == "periodic"
    for face in ("lower", "upper", "both"):
        assert r.drop[face] == pytest.approx(expected_drop(atoms), rel=1e-9)
    assert r.potential[0] == pytest.approx(r.potential[-1], abs=1e-12)
    np.testing.assert_allclose(r.faces["lower"], r.faces["upper"], atol=1e-9)
    np.testing.assert_allclose(r.faces["both"], r.faces["upper"], atol=1e-9)


def test_a_field_in_the_metal_of_a_lopsided_periodic_cell() -> None:
    atoms = capacitor("upper")
    found = ChargeProfile(load([atoms]), boundary="periodic", liquid=(5.0, 6.0)).run().results
    # A dipole layer in a periodic cell makes a mean field that undoes its step.
    drop = expected_drop(atoms)
    assert found.field[0] == pytest.approx(drop / 30.0, rel=1e-9)
    assert found.field[-1] == pytest.approx(drop / 30.0, rel=1e-9)


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("faces", ["upper", "both"])
def test_same_in_other_cells(how: str, faces: str) -> None:
    atoms = capacitor(faces, bottom=12.0)
    atoms.positions[:, 2] += 0.037
    options = {"smearing": 0.3, "width": 0.2}
    reference = ChargeProfile(load([atoms]), **options).run().results
    copy = ChargeProfile(load([turned(atoms, how)]), **options).run().results
    if how == "left-handed":
        # Turned over: what was the upper face may be the lower one.
        assert copy.drop["both"] == pytest.approx(reference.drop["both"], abs=1e-9)
    else:
        np.testing.assert_allclose(copy.potential, reference.potential, atol=1e-7)
        np.testing.assert_allclose(copy.rho, reference.rho, atol=1e-7)


@pytest.mark.parametrize("faces", ["lower", "upper", "both"])
def test_same_wherever_the_slab_lies(faces: str) -> None:
    atoms = capacitor(faces, bottom=12.0)
    reference = ChargeProfile(load([atoms]), smearing=0.2).run().results
    for shift in (3.33, 11.0, -9.7, 25.0):
        moved = atoms.copy()
        moved.positions[:, 2] += shift
        moved.wrap()
        found = ChargeProfile(load([moved]), smearing=0.2).run().results
        np.testing.assert_allclose(found.potential, reference.potential, atol=1e-9)
        np.testing.assert_allclose(found.rho, reference.rho, atol=1e-9)


def test_layer_of_molecules_makes_the_step_of_its_dipole() -> None:
    atoms = hexagonal_slab()
    top = atoms.positions[:, 2].max()
    cosine, bond = 0.7, 0.97 * np.cos(np.radians(104.5 / 2))
    for x in range(4):
        place = atoms.positions[-16 + 5 * x, :2]
        atoms += water((*place, top + 3.0), (np.sqrt(1 - cosine**2), 0.0, cosine))
    charges = {"O": -0.8476, "H": 0.4238}
    area = np.linalg.norm(np.cross(*atoms.cell.array[:2]))
    step = 4 * 2 * 0.4238 * bond * cosine / area / EPSILON_0
    for smearing in (0.0, 0.3):
        profile = ChargeProfile(load([atoms]), charges=charges, smearing=smearing, liquid=(7, 9))
        assert profile.run().results.drop["upper"] == pytest.approx(step, rel=1e-9)


def test_net_charge() -> None:
    atoms = capacitor("upper")
    charges = {"O": -Q}
    area = np.linalg.norm(np.cross(*atoms.cell.array[:2]))
    with pytest.raises(InputError, match=r"found -0\.208 e in frame 0"):
        ChargeProfile(load([atoms]), charges=charges).run()
    plate = ChargeProfile(load([atoms]), charges=charges, net_charge="electrode", liquid=(6, 8))
    r = plate.run().results
    assert r.drop["upper"] == pytest.approx(expected_drop(atoms), rel=1e-9)
    assert r.charge == pytest.approx(-16 * Q)
    kept = ChargeProfile(load([atoms]), charges=charges, net_charge="keep").run().results
    assert kept.field[0] == 0.0
    assert kept.field[-1] == pytest.approx(-16 * Q / area / EPSILON_0)
    spread = ChargeProfile(load([atoms]), charges=charges, net_charge="background",
                           boundary="periodic").run().results  # fmt: skip
    assert spread.field[0] == pytest.approx(spread.field[-1], abs=1e-12)
    assert spread.rho.sum() == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(InputError, match="net_charge: found 'background'"):
        ChargeProfile(load([atoms]), charges=charges, net_charge="background").run()
    with pytest.raises(InputError, match="net_charge: found 'keep'"):
        ChargeProfile(load([atoms]), net_charge="keep", boundary="periodic").run()


def test_poisson_of_a_wave() -> None:
    edges = np.linspace(0.0, 20.0, 41)
    k, w = 2.0 * np.pi / 20.0 * 3, 0.5
    charge = np.diff(np.sin(k * edges)) / k
    # Integral of (right - z) cos(k z) over each bin.
    moment = -w * np.sin(k * edges[:-1]) / k - np.diff(np.cos(k * edges)) / k**2
    field, potential = integrate_poisson(charge, moment, w, True)
    exact = np.cos(k * edges) / (EPSILON_0 * k**2)
    np.testing.assert_allclose(potential, exact - exact[0], atol=1e-10)
    np.testing.assert_allclose(field, np.sin(k * edges) / (EPSILON_0 * k), atol=1e-10)


@pytest.mark.parametrize("width", [0.1, 0.5])
def test_gaussian_sheet_exactly(width: float) -> None:
    sigma, z0, n = 0.4, 10.03, round(20 / width)
    charge, moment = deposit(np.array([z0]), np.array([1.0]), sigma, width, n, False)
    field, potential = integrate_poisson(charge, moment, width, False)
    x = np.arange(n + 1) * width - z0
    below = 0.5 * (1.0 + erf(x / sigma / np.sqrt(2.0)))
    integral = x * below + sigma * np.exp(-0.5 * (x / sigma) ** 2) / np.sqrt(2.0 * np.pi)
    np.testing.assert_allclose(field * EPSILON_0, below, atol=1e-9)
    np.testing.assert_allclose(potential * EPSILON_0, -integral, atol=1e-9)


def test_gaussian_across_the_boundary_is_whole() -> None:
    charge, _ = deposit(np.array([0.1]), np.array([2.0]), 0.5, 0.1, 200, True)
    assert charge.sum() == pytest.approx(2.0, abs=1e-14)
    assert charge[-10:].sum() > 0.1


def test_macroscopic_average() -> None:
    z = np.linspace(0.0, 24.0, 241)
    wave = 3.0 + np.sin(2.0 * np.pi * z / 2.4) + 0.5 * np.cos(2.0 * np.pi * z / 4.0)
    flat = macroscopic_average(wave, 0.1, (2.4, 4.0), periodic=True)
    np.testing.assert_allclose(flat, 3.0, atol=1e-12)
    step = np.where(z > 12.0, 1.0, 0.0)
    smooth = macroscopic_average(step, 0.1, (4.0, 0.0), periodic=False)
    assert smooth[:90].max() == 0.0
    assert smooth[-90:].min() == pytest.approx(1.0)
    line = macroscopic_average(z, 0.1, (2.17, 1.31), periodic=False)
    np.testing.assert_allclose(line[30:-30], z[30:-30], atol=1e-12)
    with pytest.raises(InputError, match=r"windows: found 30.0 A"):
        macroscopic_average(z, 0.1, (30.0, 0.0), periodic=True)


def test_errors_tables_figure_and_processes(rng: np.random.Generator) -> None:
    frames = []
    for _ in range(160):
        atoms = capacitor("both", bottom=12.0)
        atoms.positions[48:, 2] += 0.1 * rng.standard_normal(len(atoms) - 48)
        frames.append(atoms)
    options = {"smearing": 0.2, "liquid": (5.0, 9.0)}
    profile = ChargeProfile(load(frames), windows=(2.3, 2.3), **options).run()
    r = profile.results
    # The drop is linear in the mean distance of the plate, of 16 atoms in 160 frames.
    error = abs(expected_drop(frames[0])) / GAP * 0.1 / np.sqrt(16 * 160)
    assert r.drop_err["upper"] == pytest.approx(error, rel=0.4)
    assert abs(r.drop["both"] - expected_drop(frames[0])) < 4.0 * error
    tables = profile.tables()
    assert set(tables) == {"charge", "potential", "potential_surface", "potential_drop"}
    for table in tables.values():
        assert len({len(column) for column in table.values()}) == 1
    profile.draw(Figure())
    again = ChargeProfile(load(frames), **options)
    again.run(backend="multiprocessing", n_workers=2)
    np.testing.assert_array_equal(again.results.potential, r.potential)
    np.testing.assert_array_equal(again.results.potential_err, r.potential_err)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.0}, "width: found 0 A"),
        ({"smearing": -1.0}, "smearing: found -1 A"),
        ({"boundary": "free"}, "boundary: found 'free'"),
        ({"net_charge": "x"}, "net_charge: found 'x'"),
        ({"liquid": (5.0, 2.0)}, "liquid: found"),
        ({"charges": {"H": 0.4}}, "charges: found none of O"),
        ({"charges": {"O": 0.0, "Qq": 1.0}}, "charges: found 'Qq'"),
    ],
)
def test_bad_input(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ChargeProfile(load([capacitor()]), **options).run()


def test_missing_charges_and_no_vacuum() -> None:
    atoms = capacitor("both", bottom=12.0)
    del atoms.arrays["charges"]
    with pytest.raises(InputError, match="charges: found none in frame 0"):
        ChargeProfile(load([atoms])).run()
    full = capacitor("both", bottom=6.0)
    full += Atoms("H9", [(1.0, 1.0, 15.0 + 2.2 * k) for k in range(9)])
    full.set_array("charges", np.zeros(len(full)))
    with pytest.raises(InputError, match="boundary: found an empty layer"):
        ChargeProfile(load([full]), boundary="open").run()
