"""Densities on a grid: numbers of electrons, and potentials of Gaussians and waves."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.io.cube import write_cube
from ase.units import Bohr
from scipy.special import erf

from voltase.analysis.grid_density import (
    macroscopic_average,
    planar_average,
    potential_from_density,
    read_cube,
    read_hdf5,
)
from voltase.aseplugin.electrochemistry import EPSILON_0
from voltase.aseplugin.errors import InputError

CELL = np.array([[4.0, 0.0, 0.0], [1.0, 3.5, 0.0], [0.5, -0.7, 20.0]])
VALENCE = {1: 1.0, 8: 6.0, 78: 10.0}


def gaussian(centre: float, sigma: float, total: float, n: int = 160) -> np.ndarray:
    """A density that depends on z alone, its integral over the cell `total`."""
    z = np.arange(n) * 20.0 / n
    away = (z - centre + 10.0) % 20.0 - 10.0
    profile = np.exp(-0.5 * (away / sigma) ** 2) / (sigma * np.sqrt(2.0 * np.pi))
    return np.broadcast_to(total * profile / (4.0 * 3.5), (3, 4, n)).copy()


def test_average_and_number_of_electrons(rng: np.random.Generator) -> None:
    values = rng.random((5, 6, 40))
    for cell in (CELL, CELL[[1, 0, 2]], CELL @ np.linalg.qr(rng.random((3, 3)))[0]):
        z, profile = planar_average(values, cell)
        assert profile.sum() * (z[1] - z[0]) * 14.0 == pytest.approx(
            values.mean() * abs(np.linalg.det(cell))
        )
        np.testing.assert_allclose(profile, values.mean(axis=(0, 1)))
        assert z[-1] == pytest.approx(20.0 * 39 / 40)
    single = planar_average(np.full((64, 64, 8), 0.1, dtype=np.float32), CELL)[1]
    np.testing.assert_allclose(single, np.float32(0.1), rtol=1e-12)


def test_two_opposite_gaussians_make_a_dipole_layer() -> None:
    """Electrons at 11 A, an ion at 9 A: open, the step is q d / (eps0 A), with exact shape."""
    sigma, q = 0.4, 2.0
    found = potential_from_density(gaussian(11.0, sigma, q), CELL, [[0.3, 0.4, 9.0]], [q],
                                   smearing=sigma, boundary="open")  # fmt: skip
    z = found.z

    def integral(centre: float) -> np.ndarray:
        x = z - centre
        below = 0.5 * (1.0 + erf(x / sigma / np.sqrt(2.0)))
        return x * below + sigma * np.exp(-0.5 * (x / sigma) ** 2) / np.sqrt(2.0 * np.pi)

    exact = -q / (14.0 * EPSILON_0) * (integral(9.0) - integral(11.0))
    np.testing.assert_allclose(found.potential, exact, atol=1e-6)
    assert found.potential[-1] == pytest.approx(-q * 2.0 / (14.0 * EPSILON_0), rel=1e-7)
    assert found.charge.sum() == pytest.approx(0.0, abs=1e-9)


def test_charged_and_open() -> None:
    """Half of the charge stays without its opposite, and its field leaves through the far end."""
    sigma, q = 0.5, 1.0
    found = potential_from_density(gaussian(8.0, sigma, q), CELL, [[0, 0, 8.0]], [1.5 * q],
                                   smearing=sigma, boundary="open")  # fmt: skip
    far = found.z > 12.0
    expected = -0.5 * q / (14.0 * EPSILON_0) * (found.z[far] - 8.0)
    np.testing.assert_allclose(found.potential[far], expected, atol=1e-6)
    np.testing.assert_allclose(found.potential[found.z < 4.0], 0.0, atol=1e-6)


def test_periodic_wave() -> None:
    n, k = 64, 2.0 * np.pi / 20.0 * 2
    z = np.arange(n) * 20.0 / n
    electrons = np.broadcast_to(0.2 + 0.1 * np.cos(k * z), (2, 2, n))
    # Ions at equal distances cancel the mean; their waves are too short for this smearing.
    places = np.stack([np.zeros(40), np.zeros(40), np.arange(40) * 0.5], axis=1)
    found = potential_from_density(electrons, CELL, places, np.full(40, 0.2 * 14.0 * 20.0 / 40),
                                   smearing=1.0)  # fmt: skip
    exact = -0.1 * np.cos(k * z) / (EPSILON_0 * k**2)
    np.testing.assert_allclose(found.potential, exact, atol=1e-9)
    assert found.potential.mean() == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(InputError, match=r"charges: found -56 e in the cell"):
        potential_from_density(electrons, CELL, [], [], smearing=1.0)


def test_smearing_matters_inside_alone() -> None:
    values = gaussian(11.0, 0.4, 2.0)
    options = {"boundary": "open"}
    one = potential_from_density(values, CELL, [[0, 0, 9.0]], [2.0], smearing=0.3, **options)
    two = potential_from_density(values, CELL, [[0, 0, 9.0]], [2.0], smearing=0.6, **options)
    outside = (one.z < 4.5) | (one.z > 14.0)
    np.testing.assert_allclose(one.potential[outside], two.potential[outside], atol=1e-6)
    assert np.abs(one.potential - two.potential).max() > 0.1


@pytest.mark.parametrize("how", ["rotated", "left-handed", "another period"])
def test_same_in_other_cells(how: str) -> None:
    values = gaussian(11.0, 0.4, 2.0)
    places, cell = np.array([[0.3, 0.4, 9.0]]), CELL
    reference = potential_from_density(values, cell, places, [2.0])
    if how == "rotated":
        turn = np.linalg.qr(np.random.default_rng(5).random((3, 3)))[0]
        turn *= np.sign(np.linalg.det(turn))
        places, cell = places @ turn.T, cell @ turn.T
    elif how == "left-handed":
        values, cell = values.transpose(1, 0, 2), cell[[1, 0, 2]]
    else:
        places = places + np.array([2, -1, 1]) @ cell
    found = potential_from_density(values, cell, places, [2.0])
    np.testing.assert_allclose(found.potential, reference.potential, atol=1e-9)
    moved = np.roll(values, 40, axis=2)
    shifted = potential_from_density(moved, cell, places + cell[2] / 4, [2.0])
    np.testing.assert_allclose(shifted.potential, np.roll(reference.potential, 40), atol=1e-9)


def test_macroscopic_average_of_a_grid() -> None:
    z = np.arange(200) * 0.1
    values = 0.3 + np.cos(2.0 * np.pi * z / 2.0)
    closed = np.append(values, values[0])
    flat = macroscopic_average(closed, 0.1, (2.0, 0.0), periodic=True)
    np.testing.assert_allclose(flat, 0.3, atol=1e-12)


def test_cube_file(tmp_path: Path, rng: np.random.Generator) -> None:
    atoms = Atoms("PtOH", [(0, 0, 2.0), (1.0, 1.0, 5.0), (1.0, 1.5, 5.8)], cell=CELL, pbc=True)
    values = rng.random((4, 5, 13))
    path = tmp_path / "density.cube"
    with path.open("w", encoding="ascii") as file:
        write_cube(file, atoms, values * Bohr**3, origin=(0.1, 0.2, 0.3))
    found = read_cube(path)
    np.testing.assert_allclose(found.values, values, rtol=1e-4)
    np.testing.assert_allclose(found.cell, CELL, atol=1e-4)
    np.testing.assert_allclose(found.positions, atoms.positions - [0.1, 0.2, 0.3], atol=1e-5)
    np.testing.assert_array_equal(found.numbers, [78, 8, 1])
    as_written = read_cube(path, unit="e/A3")
    np.testing.assert_allclose(as_written.values, values * Bohr**3, rtol=1e-4)


def test_bad_cube_files(tmp_path: Path) -> None:
    atoms = Atoms("H", cell=CELL)
    path = tmp_path / "density.cube"
    with path.open("w", encoding="ascii") as file:
        write_cube(file, atoms, np.ones((3, 3, 7)))
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match=r"found \d+ values, expected 63"):
        read_cube(path)
    path.write_text(text + " 1.0\n")
    with pytest.raises(InputError, match="found more values than the 63"):
        read_cube(path)
    path.write_text("not a cube file\n")
    with pytest.raises(InputError, match="cannot be read as a cube file"):
        read_cube(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_cube(tmp_path / "absent.cube")
    with pytest.raises(InputError, match="unit: found 'eV'"):
        read_cube(path, unit="eV")


def test_hdf5_file(tmp_path: Path) -> None:
    path = tmp_path / "densities.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("one")
        group["density"] = gaussian(11.0, 0.4, 2.0).astype(np.float32)
        group["cell"] = CELL
        file.create_group("two")["cell"] = CELL
    found = read_hdf5(path, "one")
    assert found.values.dtype == np.float32
    assert found.values.mean() * 280.0 == pytest.approx(2.0, rel=1e-5)
    assert found.positions.shape == (0, 3)
    with h5py.File(path, "r") as file:
        lazy = planar_average(file["one/density"], CELL)
    np.testing.assert_array_equal(lazy[1], planar_average(found.values, CELL)[1])
    with pytest.raises(InputError, match="group: found no 'three'"):
        read_hdf5(path, "three")
    with pytest.raises(InputError, match="no dataset 'density'"):
        read_hdf5(path, "two")
    with pytest.raises(InputError, match="path: found no file"):
        read_hdf5(tmp_path / "absent.h5", "one")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"smearing": 0.01}, "smearing: found 0.01"),
        ({"boundary": "closed"}, "boundary: found 'closed'"),
        ({"charges": [1.0, 2.0]}, "charges: found shape"),
        ({"values": np.ones((3, 3))}, "values: found shape"),
        ({"cell": np.zeros((3, 3))}, "cell: found"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    given = {"values": gaussian(11.0, 0.4, 2.0), "cell": CELL, "positions": [[0, 0, 9.0]],
             "charges": [2.0], **change}  # fmt: skip
    with pytest.raises(InputError, match=message):
        potential_from_density(**given)  # type: ignore[arg-type]


def test_solvated_slab(shared_data: Path) -> None:
    """GPAW densities: the number of electrons, and the vacuum level on the two sides."""
    path = shared_data / "pt111_sjm" / "densities.h5"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with h5py.File(path, "r") as file:
        names = list(file)[:6]
        excess = [float(file[name].attrs["excess_electrons"]) for name in names]
    for name, n in zip(names, excess, strict=True):
        grid = read_hdf5(path, name)
        charges = np.array([VALENCE[k] for k in grid.numbers])
        z, profile = planar_average(grid.values, grid.cell)
        area = np.linalg.norm(np.cross(*grid.cell[:2]))
        assert profile.sum() * z[1] * area == pytest.approx(charges.sum() + n, abs=2e-3)
        found = potential_from_density(grid.values, grid.cell, grid.positions, charges,
                                       boundary="open")  # fmt: skip
        start = (z > 0.3) & (z < 1.0)
        assert np.abs(found.potential[start]).max() < 0.02
        end = z > z[-1] - 1.0
        # Beyond the density the field is that of the excess charge.
        slope = np.polyfit(z[end], found.potential[end], 1)[0]
        assert slope == pytest.approx(n / (area * EPSILON_0), abs=0.05)
