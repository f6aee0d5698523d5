"""SoftFQEq as an ASE calculator: contract with the dynamics, fixed potential, clear refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.units import fs

from voltase.aseplugin import ConstantPotentialMD, SoftFQEq
from voltase.aseplugin.errors import CheckpointError, ExtrapolationError, InputError
from voltase.aseplugin.models.softfqeq import SoftFQEqModel
from voltase.aseplugin.models.softfqeq.checkpoint import load_model, save_model
from voltase.aseplugin.potentiostat.contract import charged_model, ensemble_of


def calculator(checkpoint: Path, **options: Any) -> SoftFQEq:
    return SoftFQEq(checkpoint, **{"dtype": "float64", "tolerance": 1e-9, **options})


def test_the_results_of_a_charged_film(fqeq_checkpoint: Path, film: Atoms) -> None:
    film.calc = calculator(fqeq_checkpoint, excess_electrons=0.1)
    film.get_forces()
    results = film.calc.results
    atoms = len(film)
    assert results["charges"].shape == results["electrochemical_potential"].shape == (atoms,)
    assert results["charges"].sum() == pytest.approx(-0.1, abs=1e-10)
    fragments = results["fragments"]
    assert fragments.shape == (atoms,)
    assert len(results["fragment_chemical_potentials"]) == fragments.max() + 1
    assert np.array_equal(
        results["fragment_chemical_potentials"][fragments], results["electrochemical_potential"]
    )
    metal = results["electrochemical_potential"][film.numbers == 78]
    assert np.ptp(metal) == 0.0
    assert results["electrode_potential"] == pytest.approx(metal[0], abs=1e-10)
    assert results["grand_energy"] == pytest.approx(
        results["energy"] + 0.1 * results["electrode_potential"], abs=1e-10
    )


def test_a_setting_of_n_drops_the_results(fqeq_checkpoint: Path, film: Atoms) -> None:
    film.calc = calc = calculator(fqeq_checkpoint)
    energy = film.get_potential_energy()
    calc.excess_electrons = 0.05
    assert calc.results == {}
    assert film.get_potential_energy() != energy
    calc.excess_electrons = 0.0
    assert film.get_potential_energy() == pytest.approx(energy, abs=1e-12)


def test_a_setting_of_the_field_drops_the_results(fqeq_checkpoint: Path, film: Atoms) -> None:
    film.calc = calculator(fqeq_checkpoint)
    before = film.get_potential_energy()
    film.calc.field = 0.1
    assert film.get_potential_energy() != before
    with pytest.raises(InputError, match="field: found nan, expected a finite number in V/A"):
        film.calc.field = float("nan")
    assert film.calc.field == 0.1


def test_a_fixed_potential_is_the_legendre_transform(fqeq_checkpoint: Path, film: Atoms) -> None:
    canonical = calculator(fqeq_checkpoint, excess_electrons=0.12)
    single = charged_model(canonical).evaluate(film, 0.12)
    held = calculator(fqeq_checkpoint, potential=0.0)
    held.absolute_potential = single.potential
    assert (ensemble_of(canonical), ensemble_of(held)) == ("canonical", "grand-canonical")
    same = charged_model(held).evaluate(film, single.potential)
    assert same.excess_electrons == pytest.approx(0.12, abs=1e-9)
    assert same.grand_energy == pytest.approx(single.grand_energy, abs=1e-9)
    assert same.energy == pytest.approx(single.energy, abs=1e-8)
    assert np.abs(same.forces - single.forces).max() < 1e-8
    assert same.capacitance == pytest.approx(single.capacitance, rel=1e-8)


def test_the_capacitance_is_the_slope_of_the_charge(fqeq_checkpoint: Path, film: Atoms) -> None:
    model = charged_model(calculator(fqeq_checkpoint))
    first, second = (model.evaluate(film, n) for n in (0.0, 0.01))
    slope = -0.01 / (second.potential - first.potential)
    assert first.capacitance == pytest.approx(slope, rel=1e-6)


def test_dynamics_at_constant_potential_run_on_it(fqeq_checkpoint: Path, film: Atoms) -> None:
    film.calc = calculator(fqeq_checkpoint)
    phi = charged_model(film.calc).evaluate(film, 0.0).potential
    dynamics = ConstantPotentialMD(film, potential=phi + 0.2, reference="absolute",
                                   timestep=0.1 * fs, temperature_K=300,
                                   rng=np.random.default_rng(0))  # fmt: skip
    dynamics.run(2)
    assert film.info["excess_electrons"] != 0.0


def test_charges_alone_come_without_forces(fqeq_checkpoint: Path, film: Atoms) -> None:
    calc = calculator(fqeq_checkpoint)
    calc.calculate(film, ["charges"])
    assert "forces" not in calc.results
    charges = calc.results["charges"].copy()
    film.calc = calc
    film.get_forces()
    assert np.array_equal(calc.results["charges"], charges)


def test_stress_of_a_bulk_cell(fqeq_checkpoint: Path, interface: Atoms) -> None:
    interface.calc = calculator(fqeq_checkpoint)
    stress = interface.get_stress(voigt=False)
    assert "electrode_potential" not in interface.calc.results
    step, energies = 1e-5, []
    for sign in (1.0, -1.0):
        strained = interface.copy()
        strained.calc = calculator(fqeq_checkpoint)
        strained.set_cell(strained.cell.array @ np.diag([1.0, 1.0, 1.0 + sign * step]), True)
        energies.append(strained.get_potential_energy())
    expected = (energies[0] - energies[1]) / (2 * step) / interface.get_volume()
    assert stress[2, 2] == pytest.approx(expected, abs=1e-7)


def test_a_molecule_has_charges_and_no_electrode(fqeq_checkpoint: Path) -> None:
    water = molecule("H2O")
    water.calc = calculator(fqeq_checkpoint, excess_electrons=-1.0)
    assert water.get_charges().sum() == pytest.approx(1.0, abs=1e-12)
    assert "electrode_potential" not in water.calc.results


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "both"}, "solver: found 'both', expected 'fragment' or 'global'"),
        ({"dtype": "float16"}, "dtype: found 'float16'"),
        ({"skin": -1.0}, "skin: found -1.0"),
        ({"tolerance": 0.0}, "tolerance: found 0.0"),
        ({"field": float("nan")}, "field: found nan"),
        ({"counter_height": -2.0}, "counter_height: found -2.0"),
        ({"device": "tpu"}, "device: found 'tpu'"),
        ({"device": "cpu:x"}, "device: found 'cpu:x', expected cpu or cuda:N"),
        ({"device": 0}, "device: found 0, expected cpu or cuda"),
        ({"skin": "wide"}, "skin: found 'wide', expected a length in A of zero or more"),
        ({"tolerance": "x"}, "tolerance: found 'x'"),
        ({"field": "x"}, "field: found 'x', expected a finite number in V/A"),
        ({"counter_height": [1.0]}, r"counter_height: found \[1.0\], expected a height in A"),
        ({"excess_electrons": float("inf")}, "excess_electrons: found inf"),
        ({"excess_electrons": 0.1, "potential": 0.0}, "potential: found one and excess_electrons"),
    ],
)
def test_bad_options_are_named(
    fqeq_checkpoint: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        SoftFQEq(fqeq_checkpoint, **options)


def test_bad_structures_are_named(fqeq_checkpoint: Path, film: Atoms) -> None:
    calc = calculator(fqeq_checkpoint)
    low = calculator(fqeq_checkpoint, counter_height=3.0)
    with pytest.raises(InputError, match=r"counter_height: found 3 A, below the outermost atom"):
        low.get_potential_energy(film)
    unknown = film.copy()
    unknown.symbols[-1] = "He"
    with pytest.raises(InputError, match="element He unknown"):
        calc.get_potential_energy(unknown)
    close = film.copy()
    close.positions[-1] = close.positions[-2] + 0.01
    with pytest.raises(InputError, match="apart, expected at least"):
        calc.get_potential_energy(close)
    chain = film.copy()
    chain.pbc = (True, False, False)
    with pytest.raises(InputError, match="expected a cell periodic along the surface"):
        calc.get_potential_energy(chain)
    with pytest.raises(InputError, match="stress: the cell is not periodic"):
        calc.get_stress(film)
    with pytest.raises(InputError, match="potential: found one in a structure without"):
        calculator(fqeq_checkpoint, potential=0.0).get_potential_energy(molecule("H2O"))


def test_the_trained_range_is_kept(fqeq_model: SoftFQEqModel, film: Atoms, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "m", fqeq_model, {"electrons_per_area_range": [-1e-3, 1e-3]})
    calc = calculator(folder, excess_electrons=0.5)
    with pytest.raises(ExtrapolationError, match=r"excess_electrons: found 0\.5000 e on"):
        calc.get_potential_energy(film)
    with pytest.raises(ExtrapolationError, match=r"field: found -9\.0000 V/A, of plates with"):
        calculator(folder, field=-9.0).get_potential_energy(film)
    free = calculator(folder, excess_electrons=0.5, allow_extrapolation=True)
    assert np.isfinite(free.get_potential_energy(film))


def test_checkpoints_of_another_kind_are_refused() -> None:
    with pytest.raises(CheckpointError, match="is of kind 'pe-mace', expected 'soft-fqeq'"):
        SoftFQEq("pt111-water")


def test_damaged_weights_are_refused(fqeq_model: SoftFQEqModel, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "m", fqeq_model, {})
    loaded, _ = load_model(folder)
    state, again = fqeq_model.state_dict(), loaded.state_dict()
    assert all(bool((state[name] == again[name]).all()) for name in state)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="the file is damaged"):
        load_model(folder)


@pytest.mark.parametrize("name", ["charge", "train_widths", "width", "symbols"])
def test_a_card_that_describes_no_model_is_refused(
    fqeq_model: SoftFQEqModel, tmp_path: Path, name: str
) -> None:
    folder = save_model(tmp_path / "m", fqeq_model, {})
    card = json.loads((folder / "model.json").read_text())
    card["config"][name] = "some"
    (folder / "model.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="does not describe a model"):
        load_model(folder)


def test_the_bundled_model_is_what_its_card_says() -> None:
    """Targets of the charges; and the card owns up that its forces are none."""
    network, card = load_model("pt111-water-fqeq")
    found = card["errors"]["test"]["field"]
    assert found["charge_mae_e"] <= 0.02
    assert found["electrode_response_error"] <= 0.15
    assert "dynamics" in card["do_not_use_for"]
    assert network.config.symbols == ["H", "O", "Pt"]
