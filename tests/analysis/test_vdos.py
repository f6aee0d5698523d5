"""Vibrations: oscillators of known wavenumber, exact integrals, temperature, layers."""

import logging
from collections.abc import Sequence

import numpy as np
import pytest
from ase import Atoms, units
from matplotlib.figure import Figure

from voltase.analysis.readers import load
from voltase.analysis.testing import COPIES, hexagonal_slab, turned, water
from voltase.analysis.vdos import WAVENUMBER, VibrationalDOS
from voltase.aseplugin.errors import InputError

DT = 0.5e-3
"""ps."""


def oscillating(frames: int, wavenumbers: list[float], *, dt: float = DT, momenta: bool = True,
                heights: Sequence[float] = (3.0,), drift: float = 0.0) -> list[Atoms]:  # fmt: skip
    """A molecule at each height whose H vibrate along their bonds, each at its wavenumber."""
    slab = hexagonal_slab()
    top = slab.positions[:, 2].max()
    images = []
    for k in range(frames):
        atoms = slab.copy()
        velocities = [np.zeros((len(slab), 3))]
        for wavenumber, height in zip(wavenumbers, heights, strict=True):
            molecule = water((2.0, 2.0, top + height), (0, 1, 0))
            omega = 2.0 * np.pi * wavenumber / WAVENUMBER
            v = np.zeros((3, 3))
            for hydrogen, phase in ((1, 0.3), (2, 1.9)):
                bond = molecule.positions[hydrogen] - molecule.positions[0]
                angle = omega * k * dt + phase
                v[hydrogen] = -0.05 * omega * np.sin(angle) * bond
                molecule.positions[hydrogen] += 0.05 * np.cos(angle) * bond
            molecule.positions += (drift * k * dt, 0, 0)
            atoms += molecule
            velocities.append(v + [drift, 0, 0])
        if momenta:
            atoms.set_velocities(np.concatenate(velocities) / (1000.0 * units.fs))
        images.append(atoms)
    return images


def integral(found: object, face: str, kind: str) -> np.ndarray:
    return np.trapezoid(found.spectrum[face][kind], found.wavenumber, axis=1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("momenta", [True, False])
def test_an_oscillator_has_its_peak_and_temperature(momenta: bool) -> None:
    analysis = VibrationalDOS(load(oscillating(900, [3500.0], momenta=momenta), dt=DT),
                              max_lag=0.25).run()  # fmt: skip
    found = analysis.results
    spectrum = found.spectrum["upper"]["H"][1]
    peak = found.wavenumber[np.argmax(spectrum)]
    assert peak == pytest.approx(3500.0, abs=found.wavenumber[1])
    half = found.wavenumber[spectrum > 0.5 * spectrum.max()]
    assert half.max() - half.min() == pytest.approx(WAVENUMBER / 0.25, rel=0.3)
    # Two oscillators of one degree of freedom each among the six of the two H.
    omega = 2.0 * np.pi * 3500.0 / WAVENUMBER
    speed2 = 0.5 * (0.05 * 0.97 * omega) ** 2
    mass = 1.008 * units._amu * 1e4 / units._k
    assert found.temperature["both"]["H"][1] == pytest.approx(mass * 2 * speed2 / 6.0, rel=5e-3)
    assert integral(found, "both", "H")[1] == pytest.approx(6.0, abs=1e-9)
    assert integral(found, "both", "water")[[1, 4]] == pytest.approx([9.0, 9.0], abs=1e-9)
    assert found.atoms["both"]["H"].tolist() == [0, 2, 0, 0, 2]
    assert np.isnan(found.spectrum["both"]["H"][0]).all()
    assert found.vacf["both"]["H"][1, 0] == pytest.approx(1.0)
    expected = np.cos(omega * found.time)
    assert found.vacf["both"]["H"][1] == pytest.approx(expected, abs=0.02)


def test_random_velocities_have_a_flat_spectrum_and_their_temperature(
    rng: np.random.Generator,
) -> None:
    slab = hexagonal_slab(height=80.0)
    top = slab.positions[:, 2].max()
    for k in range(20):
        slab += water((2.0, 2.0, top + 2.5 + 3.0 * k), (0, 1, 0))
    slab.cell[2] = (0.0, 0.0, 80.0)
    images = []
    spread = np.sqrt(units.kB * 330.0 / slab.get_masses())[:, None]
    for _ in range(1500):
        atoms = slab.copy()
        atoms.set_velocities(spread * rng.standard_normal((len(atoms), 3)))
        images.append(atoms)
    found = VibrationalDOS(load(images, dt=1e-3), max_lag=0.03, layers=()).run().results
    for kind, count in (("O", 20), ("H", 40), ("water", 60)):
        flat = 3.0 * count / found.wavenumber[-1]
        spectrum, error = (found[name]["both"][kind][0] for name in ("spectrum", "spectrum_err"))
        assert spectrum.mean() == pytest.approx(flat, rel=0.01)
        assert (np.abs(spectrum - flat) < 5.0 * error).all()
        assert error.mean() < 0.1 * flat
        assert found.temperature["both"][kind][0] == pytest.approx(330.0, rel=0.02)
        assert integral(found, "both", kind) == pytest.approx([3.0 * count] * 2, abs=1e-8)
    assert found.blocks["spectrum"] >= 8


def test_the_correlation_is_the_direct_sum(rng: np.random.Generator) -> None:
    slab = hexagonal_slab()
    top = slab.positions[:, 2].max()
    slab += water((2.0, 2.0, top + 3.0), (0, 1, 0))
    velocities = rng.standard_normal((90, len(slab), 3))
    images = []
    for v in velocities:
        atoms = slab.copy()
        atoms.set_velocities(v / (1000.0 * units.fs))
        images.append(atoms)
    found = VibrationalDOS(load(images, dt=1e-3), max_lag=0.03).run().results
    v = velocities[:, -3]
    direct = np.array([(v[:61] * v[k : k + 61]).sum() for k in range(30)])
    assert found.vacf["both"]["O"][1] == pytest.approx(direct / direct[0], abs=1e-5)


def test_layers_and_faces_have_their_own_spectra() -> None:
    images = oscillating(400, [1600.0, 3400.0], heights=(3.5, 6.5), dt=1e-3)
    found = VibrationalDOS(load(images, dt=1e-3), max_lag=0.15).run().results
    for layer, wavenumber in ((1, 1600.0), (2, 3400.0)):
        spectrum = found.spectrum["both"]["H"][layer]
        assert found.wavenumber[np.argmax(spectrum)] == pytest.approx(
            wavenumber, abs=found.wavenumber[1]
        )
    assert found.layers[-2:] == [(7.5, np.inf), (0.0, np.inf)]
    twice = []
    for atoms in images:
        metal, liquid = atoms[atoms.numbers == 78], atoms[atoms.numbers != 78]
        middle = 0.5 * (metal.positions[:, 2].min() + metal.positions[:, 2].max())
        image = liquid.copy()
        image.positions[:, 2] = 2.0 * middle - image.positions[:, 2]
        image.set_velocities(image.get_velocities() * [1, 1, -1])
        twice.append(metal + liquid + image)
    two = VibrationalDOS(load(twice, dt=1e-3), max_lag=0.15).run().results
    for face in ("lower", "upper", "both"):
        np.testing.assert_allclose(two.spectrum[face]["water"], found.spectrum["both"]["water"],
                                   atol=1e-8)  # fmt: skip
        np.testing.assert_allclose(two.atoms[face]["water"], found.atoms["both"]["water"])


@pytest.mark.parametrize("momenta", [True, False])
@pytest.mark.parametrize("how", COPIES)
def test_orientation_and_choice_of_the_cell_change_nothing(how: str, momenta: bool) -> None:
    images = oscillating(60, [3000.0], momenta=momenta, drift=300.0)
    copies = []
    for atoms in images:
        copy = turned(atoms, how)
        if momenta and how == "rotated":
            matrix = np.linalg.solve(atoms.cell.array, copy.cell.array)
            copy.set_velocities(atoms.get_velocities() @ matrix)
        copies.append(copy)
    plain = VibrationalDOS(load(images, dt=DT)).run().results
    other = VibrationalDOS(load(copies, dt=DT)).run().results
    for kind in ("O", "H", "water"):
        np.testing.assert_allclose(other.spectrum["both"][kind], plain.spectrum["both"][kind],
                                   atol=1e-6)  # fmt: skip
        np.testing.assert_allclose(other.temperature["both"][kind],
                                   plain.temperature["both"][kind], rtol=1e-5)  # fmt: skip


def test_processes_find_the_same() -> None:
    universe = load(oscillating(60, [3000.0]), dt=DT)
    one = VibrationalDOS(universe).run().results
    two = VibrationalDOS(universe).run(backend="multiprocessing", n_workers=2).results
    np.testing.assert_array_equal(one.spectrum["both"]["H"], two.spectrum["both"]["H"])
    np.testing.assert_array_equal(one.spectrum_err["both"]["H"], two.spectrum_err["both"]["H"])


def test_positions_far_apart_in_time_are_no_velocities(caplog: pytest.LogCaptureFixture) -> None:
    images = oscillating(40, [3000.0], dt=2e-3, momenta=False)
    with pytest.raises(InputError, match="frames 2 fs apart, expected velocities"):
        VibrationalDOS(load(images, dt=2e-3)).run()
    with pytest.raises(InputError, match="frames 3 fs apart"):
        VibrationalDOS(load(images, dt=1e-3)).run(step=3)
    with pytest.raises(InputError, match="^dt: "):
        VibrationalDOS(load(images)).run()
    assert VibrationalDOS(load(images), dt=1.9e-3).run().results.wavenumber[-1] > 8000.0
    with caplog.at_level(logging.WARNING):
        VibrationalDOS(load(oscillating(40, [300.0], dt=5e-3), dt=5e-3)).run()
    assert "reach 3336 1/cm" in caplog.text


def test_what_cannot_be_analysed_is_refused() -> None:
    images = oscillating(40, [3000.0])
    with pytest.raises(InputError, match="^max_lag: found 1 ps"):
        VibrationalDOS(load(images, dt=DT), max_lag=1.0).run()
    with pytest.raises(InputError, match="^frames: found 6"):
        VibrationalDOS(load(images, dt=DT)).run(stop=6)
    images[7] = oscillating(1, [3000.0], momenta=False)[0]
    with pytest.raises(InputError, match="no velocities in frame 7"):
        VibrationalDOS(load(images, dt=DT)).run()


def test_tables_and_figure() -> None:
    analysis = VibrationalDOS(load(oscillating(120, [3000.0]), dt=DT)).run()
    tables = analysis.tables()
    assert set(tables) == {f"vdos{part}{face}" for part in ("", "_vacf", "_layers")
                           for face in ("", "_upper")}  # fmt: skip
    for table in tables.values():
        assert len({len(column) for column in table.values()}) == 1
    assert {"wavenumber_per_cm", "S_O_2.7_to_4.5_A_cm", "S_water_all_cm_err"} <= set(tables["vdos"])
    figure = Figure()
    analysis.draw(figure)
    assert len(figure.axes) == 2
