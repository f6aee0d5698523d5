"""GPAWEngine: cells and grids without GPAW, the physics of a small charged film with it."""

import importlib.util
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111
from ase.units import fs

from voltase.aseplugin import ConstantPotentialMD
from voltase.aseplugin.engines import gpaw as module
from voltase.aseplugin.engines import make_engine
from voltase.aseplugin.engines.gpaw import GPAWEngine
from voltase.aseplugin.engines.gpaw_settings import (
    LABELS,
    Solvent,
    check_cell,
    grid_points,
    place_in_cell,
)
from voltase.aseplugin.errors import EngineError, InputError, ScfError

N = 0.04  # e; the film has a gap at n = 0
STEP = 0.02  # e
COARSE: dict[str, Any] = {
    "kpts": (2, 2, 1),
    "basis": "sz(dzp)",
    "spacing": 0.25,
    "mixer": {"backend": "pulay", "beta": 0.2, "nmaxold": 5, "weight": 50},
    "convergence": {"energy": 1e-6, "density": 1e-5},
    "poissonsolver": {"dipolelayer": "xy", "eps": 1e-10},
}


def make_film() -> Atoms:
    """H on one layer of aluminium, 2 atoms."""
    positions = [[0.0, 0.0, 0.0], [1.3, 1.1, 1.25]]
    film = Atoms("AlH", positions, cell=[2.86, 2.86, 1.0])
    return place_in_cell(film, below=5.0, above=6.5)


@pytest.fixture
def film() -> Atoms:
    """Atoms of one's own."""
    return make_film()


def test_cell_and_grid_of_the_labels() -> None:
    slab = fcc111("Pt", (1, 1, 3), a=3.97, vacuum=3.0)
    slab.set_cell([[4.2108209, 2.4311186, 0.0], [0.0, 4.8622371, 0.0], [0.0, 0.0, 30.0]])
    placed = place_in_cell(slab)
    heights = placed.positions[:, 2]
    assert heights.min() == pytest.approx(4.0)
    assert placed.cell[2, 2] == pytest.approx(heights.max() + 7.5)
    assert placed.pbc.tolist() == [True, True, False]
    assert grid_points(placed) == (24, 24, 16 * round(placed.cell[2, 2] / 0.2 / 16))
    assert slab.cell[2, 2] == 30.0
    check_cell(placed, solvated=True)


def test_a_cell_without_room_is_refused(film: Atoms) -> None:
    film.cell[2, 2] -= 2.5
    with pytest.raises(EngineError, match=r"^cell: found 4 A above the highest atom, expected 4"):
        check_cell(film, solvated=True)
    check_cell(film, solvated=False)
    film.positions[:, 2] -= 4.0
    with pytest.raises(EngineError, match=r"^cell: found 1 A below the lowest atom"):
        check_cell(film, solvated=False)
    film.pbc = True
    with pytest.raises(EngineError, match=r"^pbc: found \(True, True, True\), expected"):
        check_cell(film, solvated=True)
    film.cell[2, 0] = 1.0
    with pytest.raises(InputError, match=r"^cell: found vectors at an angle"):
        place_in_cell(film)


def test_radii_cover_what_bondi_left_out() -> None:
    radii = Solvent(atomic_radii={"Pt": 2.0}).radii()
    assert radii["Pt"] == 2.0
    assert radii["Ir"] > 2.0
    assert all(np.isfinite(list(radii.values())))


def test_an_absent_gpaw_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"^gpaw: not found, expected an installation"):
        GPAWEngine()


@pytest.fixture
def gpaw() -> None:
    """Skip where GPAW is absent."""
    if importlib.util.find_spec("gpaw") is None:
        pytest.skip("GPAW is not installed")


@pytest.mark.gpaw
@pytest.mark.usefixtures("gpaw")
class TestWithoutRunning:
    """What needs GPAW installed, but no calculation."""

    def test_settings_are_the_labels_unless_changed(self) -> None:
        engine = make_engine("gpaw", xc="RPBE", excess_electrons=0.1)
        settings = engine.settings
        assert settings["xc"] == "RPBE"
        assert {k: v for k, v in settings.items() if k in LABELS} == LABELS | {"xc": "RPBE"}
        assert settings["version"] == engine.version()
        assert engine.capabilities.potential_reference == "electrolyte"

    def test_no_charge_without_a_solvent(self) -> None:
        engine = GPAWEngine(solvent=None)
        assert engine.capabilities.potential_reference == "vacuum"
        with pytest.raises(EngineError, match=r"^excess_electrons: found 0\.1, GPAW takes 0"):
            engine.excess_electrons = 0.1

    def test_unknown_charges_are_refused(self) -> None:
        with pytest.raises(EngineError, match=r"^charges: found 'bader', expected hirshfeld"):
            GPAWEngine(charges=("bader",))

    def test_no_density_before_a_single_point(self) -> None:
        with pytest.raises(EngineError, match=r"^density: found no converged single point"):
            GPAWEngine().density()


@pytest.fixture(scope="module")
def points() -> dict[float, dict[str, Any]]:
    """Results of the film at three n, in one engine, from the outside in."""
    if importlib.util.find_spec("gpaw") is None:
        pytest.skip("GPAW is not installed")
    film = make_film()
    engine = GPAWEngine(variational=True, **COARSE)
    found = {}
    for n in (N - STEP, N + STEP, N):
        engine.excess_electrons = n
        engine.get_property("forces", film)
        found[n] = dict(engine.results)
    found[N] |= {"density": engine.density(), "planar": engine.electrostatic_potential_planar()}
    return found


@pytest.mark.gpaw
class TestFilm:
    """One engine at several n."""

    def test_the_potential_is_the_slope_of_the_canonical_energy(self, points: Any) -> None:
        slope = (points[N + STEP]["energy"] - points[N - STEP]["energy"]) / (2 * STEP)
        assert -slope == pytest.approx(points[N]["electrode_potential"], abs=0.02)

    def test_the_grand_energy_is_labelled_as_such(self, points: Any) -> None:
        for n, found in points.items():
            expected = found["energy"] + found["electrode_potential"] * n
            assert found["grand_energy"] == pytest.approx(expected, rel=1e-12)
        # Its slope is far from the potential: it is no canonical energy.
        slope = (points[N + STEP]["grand_energy"] - points[N - STEP]["grand_energy"]) / (2 * STEP)
        assert abs(-slope - points[N]["electrode_potential"]) > 1.0

    def test_a_warm_start_saves_iterations(self, points: Any) -> None:
        assert points[N]["scf_iterations"] < points[N - STEP]["scf_iterations"]

    def test_the_density_holds_every_electron(self, points: Any) -> None:
        grid = points[N]["density"]
        assert grid.integral() == pytest.approx(4.0 + N, abs=1e-3)
        assert np.all(grid.values[:, :, 0] == 0.0)
        # It is Al and H that hold them.
        heights = np.arange(grid.values.shape[2]) / grid.values.shape[2] * grid.cell[2, 2]
        centre = np.average(heights, weights=np.maximum(grid.planar_average(), 0.0))
        assert 4.5 < centre < 6.5

    def test_the_planar_potential_ends_where_the_electrode_potential_counts(
        self, points: Any
    ) -> None:
        found = points[N]
        vacuum = found["fermi_level"] + found["electrode_potential"]
        assert found["planar"][-1] == pytest.approx(vacuum, abs=5e-3)


@pytest.mark.gpaw
@pytest.mark.slow
@pytest.mark.usefixtures("gpaw")
class TestSlowly:
    """What takes several calculations."""

    @pytest.mark.parametrize("axis", [0, 2])
    def test_forces_are_the_slope_of_the_energy_at_fixed_n(self, film: Atoms, axis: int) -> None:
        engine = GPAWEngine(N, variational=True, **COARSE)
        force = engine.get_property("forces", film)[1, axis]
        energies = []
        for step in (-0.01, 0.01):
            moved = film.copy()
            moved.positions[1, axis] += step
            energies.append(engine.get_property("energy", moved))
        assert force == pytest.approx(-(energies[1] - energies[0]) / 0.02, abs=0.01)

    def test_another_grid_point_is_another_name_for_the_same(self, film: Atoms) -> None:
        engine = GPAWEngine(N, **COARSE)
        energy = engine.get_property("energy", film)
        forces = engine.results["forces"]
        phi = engine.results["electrode_potential"]
        film.positions += film.cell[0] / grid_points(film, COARSE["spacing"])[0]
        assert engine.get_property("energy", film) == pytest.approx(energy, abs=1e-4)
        assert np.allclose(engine.results["forces"], forces, atol=5e-3)
        assert engine.results["electrode_potential"] == pytest.approx(phi, abs=5e-3)

    def test_a_failure_leaves_the_engine_usable(self, film: Atoms) -> None:
        engine = GPAWEngine(N, maxiter=3, **COARSE)
        for _ in range(2):
            with pytest.raises(ScfError, match=r"^GPAW: Did not converge"):
                engine.get_property("forces", film)
            assert not engine.results
        patient = GPAWEngine(N, **COARSE)
        expected = patient.get_property("energy", film)
        patient._gpaw_parameters["maxiter"] = 3
        far = film.copy()
        far.positions[1] += [0.3, 0.0, 0.5]
        far.set_cell(film.cell * 1.02)
        with pytest.raises(ScfError):
            patient.get_property("forces", far)
        del patient._gpaw_parameters["maxiter"]
        assert patient.get_property("energy", film) == pytest.approx(expected, abs=1e-4)

    def test_a_neutral_slab_in_vacuum(self, film: Atoms) -> None:
        # The vacuum level is that of the upper side, however far away it is taken.
        settings = COARSE | {"poissonsolver": {"dipolelayer": "xy"}}
        engine = GPAWEngine(solvent=None, **settings)
        engine.get_property("forces", film)
        phi = engine.results["electrode_potential"]
        vacuum = engine.electrostatic_potential_planar()[-3:]
        assert np.allclose(vacuum - engine.results["fermi_level"], phi, atol=5e-3)
        assert engine.density().integral() == pytest.approx(4.0, abs=1e-3)
        planes = grid_points(film, COARSE["spacing"])[2]
        film.cell[2, 2] *= (planes + 16) / planes
        engine.get_property("forces", film)
        assert engine.results["electrode_potential"] == pytest.approx(phi, abs=0.02)

    def test_hirshfeld_charges_add_up_to_the_charge(self, film: Atoms) -> None:
        engine = GPAWEngine(N, charges=("hirshfeld_charges",), **COARSE)
        charges = engine.get_property("hirshfeld_charges", film)
        assert charges.shape == (2,)
        assert charges.sum() == pytest.approx(-N, abs=0.02)

    def test_bonnet_otani_runs_on_it(self, film: Atoms) -> None:
        film.calc = GPAWEngine(variational=True, **COARSE)
        film.calc.get_property("forces", film)
        dynamics = ConstantPotentialMD(
            film, film.calc.results["electrode_potential"] - 0.05, "absolute", timestep=1.0 * fs,
            temperature_K=300, rng=np.random.default_rng(0),
        )  # fmt: skip
        dynamics.run(3)
        assert dynamics.excess_electrons == pytest.approx(film.calc.excess_electrons, abs=1e-12)
        assert dynamics.point.potential == pytest.approx(dynamics.target, abs=1.0)
