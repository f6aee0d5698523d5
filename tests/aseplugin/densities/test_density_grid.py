"""A density on a grid: averages, potentials of known charges, Bader charges and files."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from scipy.special import erf

from voltase.aseplugin.density_grid import DensityGrid
from voltase.aseplugin.electrochemistry import EPSILON_0
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.kernels.gaussian_density import GaussianBasis, evaluate

PBC = (True, True, True)


def gaussians(atoms: Atoms, electrons: list[float], widths: dict[str, float],
              shape: tuple[int, int, int], valence: list[float] | None = None
              ) -> DensityGrid:  # fmt: skip
    """Spherical atoms; widths are standard deviations in A."""
    basis = GaussianBasis({symbol: [(0, 0.5 / w**2)] for symbol, w in widths.items()})
    values = evaluate(electrons, atoms.numbers, atoms.positions, basis, atoms.cell.array, PBC,
                      shape)  # fmt: skip
    return DensityGrid(values, atoms.cell.array.copy(), atoms=atoms,
                       valence=None if valence is None else np.array(valence))  # fmt: skip


def water() -> tuple[Atoms, DensityGrid]:
    atoms = Atoms("OH2", [[3.0, 3.0, 3.0], [3.76, 3.59, 3.0], [2.24, 3.59, 3.0]],
                  cell=[6.0, 6.0, 6.0], pbc=True)  # fmt: skip
    density = gaussians(atoms, [7.1, 0.45, 0.45], {"O": 0.45, "H": 0.21}, (64, 64, 64), [6, 1, 1])
    return atoms, density


# -- averages ------------------------------------------------------------------------------------


def test_integral_and_averages() -> None:
    cell = np.array([[4.0, 0.0, 0.0], [1.0, 3.5, 0.0], [0.5, -0.7, 20.0]])
    z = np.arange(80) / 80
    values = np.broadcast_to(0.3 + 0.1 * np.cos(2 * np.pi * 8 * z), (3, 4, 80)).copy()
    density = DensityGrid(values, cell)
    assert density.integral() == pytest.approx(0.3 * 4.0 * 3.5 * 20.0)
    assert density.height == pytest.approx(20.0)
    assert density.heights()[1] == pytest.approx(0.25)
    np.testing.assert_allclose(density.planar_average(), values[0, 0])
    # A window of the period takes the wave away.
    np.testing.assert_allclose(density.macroscopic_average(2.5), 0.3, atol=1e-12)
    with pytest.raises(InputError, match="windows: found 3, expected one or two"):
        density.macroscopic_average(1.0, 2.0, 3.0)


def test_response_and_fukui() -> None:
    density = DensityGrid(np.ones((2, 2, 2)), np.eye(3), slope=np.full((2, 2, 2), -0.25))
    assert density.response().integral() == pytest.approx(-0.25)
    assert density.fukui().integral() == pytest.approx(1.0)
    with pytest.raises(InputError, match="found no derivative by the potential"):
        density.with_values(density.values).response()
    with pytest.raises(InputError, match="slope: found shape"):
        DensityGrid(np.ones((2, 2, 2)), np.eye(3), slope=np.ones((2, 2, 1)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"values": np.full((2, 2, 2), np.nan)}, "values: found values that are not finite"),
        ({"values": np.ones((2, 2, 2)) * 1j}, "values: found values of type complex128"),
        ({"values": "abc"}, "values: found values of type"),
        ({"values": np.ones((2, 0, 2))}, "expected one point or more"),
        ({"cell": np.zeros((3, 3))}, "cell: found .* expected three lattice vectors"),
        ({"origin": [0.0, 0.0]}, "origin: found shape"),
        ({"pbc": (True,)}, "pbc: found 1 values"),
    ],
)
def test_what_is_no_grid_is_refused(given: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"values": np.ones((2, 2, 2)), "cell": np.eye(3), **given}
    with pytest.raises(InputError, match=message):
        DensityGrid(**arguments)  # type: ignore[arg-type]


# -- potentials ----------------------------------------------------------------------------------


def test_potential_of_a_gaussian_charge() -> None:
    """q erf(r/(sqrt(2) s)) / (4 pi eps0 r), between two opposite ones far from their images."""
    length, width = 24.0, 0.6
    atoms = Atoms("He2", [[9.0, 12.0, 12.0], [15.0, 12.0, 12.0]], cell=[length] * 3, pbc=True)
    density = gaussians(atoms, [1.0, 0.0], {"He": width}, (48, 48, 48), [0.0, 1.0])
    found = density.electrostatic_potential("periodic", smearing=width)
    r = np.arange(48) * 0.5
    line = found[:, 24, 24]

    def alone(distance: np.ndarray) -> np.ndarray:
        d = np.maximum(abs(distance), 1e-9)
        return erf(d / width / np.sqrt(2.0)) / (4.0 * np.pi * EPSILON_0 * d)

    # Makov and Payne: the images of a dipole make a field p/(3 eps0 V) against it.
    images = -6.0 / (3.0 * EPSILON_0 * length**3) * (r - 12.0)
    expected = alone(r - 15.0) - alone(r - 9.0) + images
    np.testing.assert_allclose(line[18:31], expected[18:31], atol=0.01)


def capacitor(
    boundary: str, region: tuple[float, ...], net: float = 0.0
) -> tuple[DensityGrid, np.ndarray]:
    """Planes of electrons at 8 A and ions at 12 A, each of one charge, over 4 x 5 A."""
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(10), indexing="ij"), -1).reshape(-1, 2)
    places = np.column_stack([grid * 0.5, np.full(80, 12.0)])
    atoms = Atoms("H80", places, cell=[4.0, 5.0, 24.0], pbc=True)
    z = np.arange(96) * 0.25
    profile = np.exp(-0.5 * ((z - 8.0) / 0.5) ** 2) / (0.5 * np.sqrt(2.0 * np.pi)) / 20.0
    values = np.broadcast_to(profile, (8, 10, 96)).copy()
    density = DensityGrid(values, atoms.cell.array.copy(), atoms=atoms,
                          valence=np.full(80, (1.0 + net) / 80))  # fmt: skip
    return density, density.electrostatic_potential(boundary, region=region, smearing=0.5)


def test_plane_capacitor() -> None:
    """The field between the planes is sigma/eps0, none outside; the step is that of the dipole."""
    _, found = capacitor("slab", ())
    step = 4.0 / (20.0 * EPSILON_0)
    np.testing.assert_allclose(found[:, :, :20], 0.0, atol=1e-6)
    np.testing.assert_allclose(found[:, :, 60:], step, atol=1e-6)
    np.testing.assert_allclose(np.diff(found[3, 4, 39:42]), step / 16.0, rtol=2e-4)
    # Periodic: the mean field is gone, and with it the step.
    _, periodic = capacitor("periodic", ())
    assert periodic[0, 0, 0] - periodic[0, 0, 95] == pytest.approx(-step / 96, abs=1e-6)
    assert periodic.mean() == pytest.approx(0.0, abs=1e-9)


def test_point_dipole_in_a_slab() -> None:
    """Whatever its place along the surface, the step is p/(eps0 A)."""
    atoms = Atoms("He2", [[2.0, 1.0, 9.7], [2.0, 1.0, 10.3]], cell=[6.0, 5.0, 20.0], pbc=True)
    density = gaussians(atoms, [1.0, 0.0], {"He": 0.4}, (24, 20, 80), [0.0, 1.0])
    found = density.electrostatic_potential("slab", smearing=0.4)
    step = 0.6 / (30.0 * EPSILON_0)
    np.testing.assert_allclose(found[:, :, 78].mean() - found[:, :, 2].mean(), step, rtol=1e-6)
    # Waves along the surface have died out in the vacuum.
    assert np.ptp(found[:, :, 2]) < 2e-3


def test_counter_charges() -> None:
    """0.5 e more on the ions: a sheet above takes the field up, a jellium does so bit by bit."""
    density, found = capacitor("sheet", (18.0,), net=0.5)
    field = -0.5 / (20.0 * EPSILON_0)
    np.testing.assert_allclose(np.diff(found[0, 0, 59:62]) / 0.25, field, atol=1e-6)
    np.testing.assert_allclose(found[0, 0, 84:], found[0, 0, 84], atol=1e-6)
    np.testing.assert_allclose(found[0, 0, :20], 0.0, atol=1e-6)
    _, spread = capacitor("jellium", (16.0, 20.0), net=0.5)
    np.testing.assert_allclose(spread[0, 0, 92:], found[0, 0, 92:], atol=1e-6)
    middle = np.diff(spread[0, 0, 71:74]) / 0.25
    assert middle.mean() == pytest.approx(0.5 * field, rel=1e-3)
    for boundary in ("periodic", "slab"):
        with pytest.raises(InputError, match=r"found '\w+' and \+0.5 e in the cell"):
            density.electrostatic_potential(boundary, smearing=0.5)
    uniform = density.electrostatic_potential("uniform", smearing=0.5)
    assert uniform.mean() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"boundary": "metal"}, "boundary: found 'metal', expected one of periodic"),
        ({"boundary": "sheet"}, "region: found 0 heights, expected one for sheet"),
        ({"boundary": "jellium", "region": (5.0, 4.0)}, "region: found .* expected ascending"),
        ({"smearing": 0.01}, "smearing: found 0.01 A, expected from the spacing"),
    ],
)
def test_unusable_boundaries_are_refused(arguments: dict[str, object], message: str) -> None:
    _, density = water()
    with pytest.raises(InputError, match=message):
        density.electrostatic_potential(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"boundary": "sheet", "region": 5.0}, "region: found 5.0, expected a tuple of heights"),
        ({"boundary": "sheet", "region": ("a",)}, "region: found .* expected a tuple of heights"),
        ({"smearing": None}, "smearing: found None A, expected from the spacing"),
    ],
)
def test_boundaries_of_a_wrong_type_are_refused(arguments: dict[str, object], message: str
                                                ) -> None:  # fmt: skip
    _, density = water()
    with pytest.raises(InputError, match=message):
        density.electrostatic_potential(**arguments)  # type: ignore[arg-type]


def test_an_open_boundary_has_to_lie_in_the_vacuum() -> None:
    """The potential counts from the plane k = 0, where a slab across the end has electrons."""
    density, _ = capacitor("slab", ())
    across = density.with_values(np.roll(density.values, -32, axis=2))
    with pytest.raises(InputError, match="boundary: found 'slab' and .* in the plane k = 0"):
        across.electrostatic_potential("slab", smearing=0.5)


def test_a_potential_needs_ions() -> None:
    with pytest.raises(InputError, match="found no atoms with valences"):
        DensityGrid(np.ones((8, 8, 8)), np.eye(3) * 4.0).electrostatic_potential()


# -- Bader ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["on-grid", "near-grid", "weight"])
def test_two_separated_gaussians(method: str) -> None:
    """Each atom gets its own electrons, to what the other one's tail is."""
    cell = np.array([[5.0, 0.0, 0.0], [-2.5, 4.4, 0.0], [0.3, 0.4, 9.0]])
    atoms = Atoms("HeNe", [[0.2, 0.1, 0.3], [0.3, 0.2, 4.8]], cell=cell, pbc=True)
    density = gaussians(atoms, [2.0, 8.0], {"He": 0.4, "Ne": 0.5}, (25, 25, 45))
    found = density.bader(method)
    np.testing.assert_allclose(found.electrons, [2.0, 8.0], atol=2e-3)
    assert found.electrons.sum() == pytest.approx(density.integral(), rel=1e-12)
    assert found.volumes.sum() == pytest.approx(density.volume, rel=1e-12)
    assert found.owners.tolist() == [0, 1]
    assert found.distances.max() < 0.2
    assert found.labels.shape == density.values.shape


def test_water_molecule() -> None:
    """The methods agree, both hydrogens are alike, and the vacuum takes its share."""
    _, density = water()
    near, weight = density.bader(), density.bader("weight")
    assert near.electrons[1] == pytest.approx(near.electrons[2], abs=1e-3)
    # What a grid of 0.09 A leaves on hydrogens as sharp as these.
    np.testing.assert_allclose(near.electrons[1:], weight.electrons[1:], atol=0.04)
    assert near.electrons.sum() == pytest.approx(8.0, abs=1e-8)
    assert 6.5 < near.electrons[0] < 7.5
    cut = density.bader(vacuum=1e-3)
    assert cut.vacuum_volume > 60.0
    assert 0.0 < cut.vacuum_electrons < 0.05
    assert cut.electrons.sum() + cut.vacuum_electrons == pytest.approx(8.0, abs=1e-8)
    assert (cut.labels >= 0).sum() * density.volume_element == pytest.approx(cut.volumes.sum())


def test_a_smooth_valence_needs_cores() -> None:
    """A density that is a shell around a nucleus has no maximum there; with a core it has."""
    atoms = Atoms("Pt", [[3.0, 3.0, 3.0]], cell=[6.0] * 3, pbc=True)
    basis = GaussianBasis({"Pt": [(0, 4.0), (0, 8.0)]})
    values = evaluate([14.0, -4.0], [78], atoms.positions, basis, atoms.cell.array, PBC, (40,) * 3)
    density = DensityGrid(values, atoms.cell.array.copy(), atoms=atoms, valence=np.array([10.0]))
    plain = density.bader(vacuum=1e-6)
    helped = density.bader(vacuum=1e-6, reference="frozen-core")
    assert plain.distances.min() > 0.3
    assert helped.distances.max() < 0.2
    assert len(helped.maxima) == 1
    assert helped.electrons[0] == pytest.approx(10.0, abs=1e-3)
    with pytest.raises(InputError, match="reference: found 'core', expected frozen-core or values"):
        density.bader(reference="core")
    with pytest.raises(InputError, match="method: found 'fast', expected one of on-grid"):
        density.bader("fast")


def test_an_atom_without_a_maximum_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A hydrogen in the tail of an oxygen: its electrons count as the oxygen's."""
    atoms = Atoms("OH", [[3.0, 3.0, 3.0], [3.9, 3.0, 3.0]], cell=[6.0] * 3, pbc=True)
    density = gaussians(atoms, [8.0, 0.02], {"O": 0.6, "H": 0.6}, (40, 40, 40))
    with caplog.at_level("WARNING"):
        found = density.bader()
    assert found.electrons[1] == 0.0
    assert found.electrons[0] == pytest.approx(density.integral())
    assert "1 H without a maximum of the density" in caplog.text


def test_peaks_are_the_densities_of_the_maxima() -> None:
    _, density = water()
    found = density.bader()
    assert found.peaks.shape == found.distances.shape
    assert found.peaks.max() == density.values.max()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vacuum": float("nan")}, "vacuum: found nan, expected a density"),
        ({"vacuum": "much"}, "vacuum: found 'much', expected a density"),
        ({"reference": object()}, "reference: found a object, expected frozen-core or values"),
        ({"reference": np.full((64, 64, 64), np.nan)}, "reference: found values that are not fin"),
    ],
)
def test_unusable_divisions_are_refused(arguments: dict[str, object], message: str) -> None:
    _, density = water()
    with pytest.raises(InputError, match=message):
        density.bader(**arguments)  # type: ignore[arg-type]


# -- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.cube", "CHGCAR", "x.h5"])
def test_files_bring_back_what_was_written(name: str, tmp_path: Path) -> None:
    _, density = water()
    density = DensityGrid(density.values[::8, ::8, ::8].copy(), density.cell, atoms=density.atoms,
                          valence=density.valence)  # fmt: skip
    density.write(tmp_path / name)
    found = DensityGrid.read(tmp_path / name)
    assert density.atoms is not None
    assert found.atoms is not None
    # Text has five or six digits.
    scale = density.values.max()
    np.testing.assert_allclose(found.values, density.values, atol=2e-5 * scale)
    np.testing.assert_allclose(found.cell, density.cell, atol=1e-5)
    assert sorted(found.atoms.numbers) == [1, 1, 8]
    here = found.atoms.positions[found.atoms.numbers == 8]
    np.testing.assert_allclose(here, [[3.0, 3.0, 3.0]], atol=1e-5)
    assert found.integral() == pytest.approx(density.integral(), rel=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_several_densities_in_one_hdf5_file(tmp_path: Path) -> None:
    _, density = water()
    path = tmp_path / "x.h5"
    density.write(path, group="first")
    density.with_values(2.0 * density.values).write(path, group="second")
    assert DensityGrid.read(path, group="second").integral() == pytest.approx(16.0, abs=1e-6)
    with pytest.raises(InputError, match="group: found none, expected one of 2: first, second"):
        DensityGrid.read(path)
    with pytest.raises(InputError, match="group: found no 'third'"):
        DensityGrid.read(path, group="third")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="path: found no file"):
        DensityGrid.read(tmp_path / "none.cube")
    (tmp_path / "bad.cube").write_text("not\na\ncube\n")
    with pytest.raises(InputError, match="cannot be read as a density"):
        DensityGrid.read(tmp_path / "bad.cube")
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(InputError, match=r"path: found x.txt, expected .cube, CHGCAR"):
        DensityGrid.read(tmp_path / "x.txt")
    with pytest.raises(InputError, match="density: found no atoms"):
        DensityGrid(np.ones((2, 2, 2)), np.eye(3)).write(tmp_path / "x.cube")
