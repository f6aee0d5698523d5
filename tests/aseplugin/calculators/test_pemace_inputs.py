"""Whatever a user gets wrong is named in one line by an exception of ours."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator

from voltase.aseplugin.calculators.pemace import PEMACE
from voltase.aseplugin.errors import (
    CheckpointError,
    ExtrapolationError,
    InputError,
    PotentialError,
    VoltaseError,
)
from voltase.aseplugin.models.checkpoint import load_checkpoint, read_card, resolve_checkpoint
from voltase.aseplugin.models.pemace import PEMACEModel
from voltase.aseplugin.testing import pt111_water

Start = Callable[..., PEMACE]


@pytest.fixture(scope="module")
def start() -> Callable[..., PEMACE]:
    """PEMACE with networks shared by equal weights: building one takes most of its start."""
    networks: dict[str, PEMACEModel] = {}

    def load(name: str | Path) -> tuple[PEMACEModel, dict[str, Any]]:
        folder = resolve_checkpoint(name)
        card = read_card(folder)
        key = card["sha256"] + json.dumps(json.loads((folder / "model.json").read_text())["config"])
        if key not in networks:
            networks[key] = load_checkpoint(name)[0]
        return networks[key], card

    def start(name: Path, **options: Any) -> PEMACE:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("voltase.aseplugin.calculators.pemace.load_checkpoint", load)
            return PEMACE(name, **options)

    return start


@pytest.fixture
def canonical(pemace_checkpoint: Callable[..., Path]) -> Path:
    return pemace_checkpoint("electrons", "dipole")


@pytest.fixture
def grand(pemace_checkpoint: Callable[..., Path]) -> Path:
    return pemace_checkpoint("potential", "dipole")


def one_line(error: VoltaseError, start: str) -> None:
    assert str(error).startswith(start)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "float16"},
        {"skin": -0.1},
        {"skin": float("nan")},
        {"domain": "gpaw"},
        {"device": "abacus"},
        {"reference": "hydrogen"},
        {"committee_every": -1},
        {"committee_every": 1.5},
        {"committee_every": True},
        {"excess_electrons": float("nan")},
        {"excess_electrons": "many"},
        {"potential": -0.5},
    ],
)
def test_options_of_a_canonical_model(
    start: Start, canonical: Path, options: dict[str, object]
) -> None:
    with pytest.raises(InputError) as caught:
        start(canonical, **options)
    one_line(caught.value, f"{next(iter(options))}: ")


def test_potential_of_a_grand_canonical_model(start: Start, grand: Path) -> None:
    with pytest.raises(InputError, match="^excess_electrons: .* takes a potential"):
        start(grand, excess_electrons=0.1)
    for value in ("-0.5 V vs SHE", 4.4, float("inf")):
        with pytest.raises(PotentialError) as caught:
            start(grand, potential=value)
        one_line(caught.value, "potential: ")
    calculator = start(grand, potential="-250 mV")
    assert calculator.potential == pytest.approx(-0.25)
    assert calculator.absolute_potential == pytest.approx(4.19)
    calculator.absolute_potential = 4.44
    assert calculator.potential == pytest.approx(0.0)


def test_what_is_an_input_depends_on_the_model(calculator: PEMACE) -> None:
    inputs = {"excess_electrons"} if calculator.canonical else {"potential", "absolute_potential"}
    for name in ("excess_electrons", "potential", "absolute_potential"):
        assert hasattr(calculator, name) == (name in inputs)
        if name not in inputs:
            with pytest.raises(AttributeError, match="a result, not an input"):
                setattr(calculator, name, 0.1)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), None, "x"])
def test_electrode_must_be_a_number(calculator: PEMACE, value: object) -> None:
    name = "excess_electrons" if calculator.canonical else "absolute_potential"
    before = getattr(calculator, name)
    with pytest.raises(InputError) as caught:
        setattr(calculator, name, value)
    one_line(caught.value, f"{name}: ")
    assert getattr(calculator, name) == before


def broken(name: str) -> Atoms:
    atoms = pt111_water()
    if name == "nan":
        atoms.positions[3, 1] = np.nan
    elif name == "element":
        atoms.symbols[0] = "Au"
    elif name == "cell":
        atoms.cell[:] = 0.0
    elif name == "pbc":
        atoms.pbc = False
    elif name == "empty":
        del atoms[:]
    elif name == "overlap":
        atoms.positions[3] = atoms.positions[4] + 0.1
    return atoms


@pytest.mark.parametrize("name", ["nan", "element", "cell", "pbc", "empty", "overlap"])
def test_structures(pemace: Callable[..., PEMACE], interface: Atoms, name: str) -> None:
    calculator = pemace()
    expected = calculator.get_potential_energy(interface)
    for _ in range(2):  # also when ASE sees no change since the failure
        with pytest.raises(InputError) as caught:
            calculator.get_potential_energy(broken(name))
        one_line(caught.value, "atoms: ")
        assert calculator.results == {}
    assert calculator.get_potential_energy(interface) == expected


def test_stress_needs_three_periods(pemace: Callable[..., PEMACE], interface: Atoms) -> None:
    calculator = pemace()
    interface.pbc = (True, True, False)
    interface.calc = calculator
    with pytest.raises(InputError, match="^stress: .* not periodic"):
        interface.get_stress()
    assert np.isfinite(interface.get_potential_energy())


def test_filled_cell_refuses_a_charge(calculator: PEMACE) -> None:
    filled = pt111_water(below=2, vacuum=2.5)
    with pytest.raises(InputError, match="without vacuum") as caught:
        calculator.get_potential_energy(filled)
    one_line(caught.value, "excess_electrons" if calculator.canonical else "absolute_potential")
    if not calculator.canonical:
        return
    calculator.excess_electrons = 0.0
    assert np.isfinite(calculator.get_potential_energy(filled))
    absent = {"electrode_potential", "capacitance", "grand_energy", "electrode_potential_spread"}
    assert not absent & calculator.results.keys()


def test_before_any_calculation(start: Start, canonical: Path) -> None:
    calculator = start(canonical)
    with pytest.raises(InputError, match="^atoms: found none"):
        calculator.calculate()
    assert calculator.results == {}
    assert calculator.excess_electrons == 0.0


def with_card(source: Path, folder: Path, **changes: object) -> Path:
    shutil.copytree(source, folder)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | changes))
    return folder


def test_trained_range_of_charge(
    start: Start, canonical: Path, tmp_path: Path, interface: Atoms
) -> None:
    folder = with_card(canonical, tmp_path / "m", electrons_per_area_range=[-0.002, 0.004])
    calculator = start(folder)
    area = calculator.electrode_area(interface)
    calculator.excess_electrons = 0.0039 * area
    inside = calculator.get_potential_energy(interface)
    calculator.excess_electrons = 0.0041 * area
    with pytest.raises(ExtrapolationError) as caught:
        calculator.get_potential_energy(interface)
    one_line(caught.value, "excess_electrons: ")
    calculator.allow_extrapolation = True
    assert calculator.get_potential_energy(interface) != inside
    # Both faces of a slab that is wetted on both share the charge.
    calculator.allow_extrapolation = False
    both = pt111_water(waters=2, below=2)
    assert calculator.electrode_area(both) == pytest.approx(2 * area)
    assert np.isfinite(calculator.get_potential_energy(both))


def test_trained_range_of_potential(
    start: Start, grand: Path, tmp_path: Path, interface: Atoms
) -> None:
    calculator = start(with_card(grand, tmp_path / "m", potential_range=[3.9, 4.5]))
    assert calculator.potential_range == (3.9, 4.5)
    assert np.isfinite(calculator.get_potential_energy(interface))
    calculator.absolute_potential = 3.8
    with pytest.raises(ExtrapolationError, match="^potential: found 3.800 V absolute"):
        calculator.get_potential_energy(interface)


def test_default_domain(start: Start, canonical: Path, tmp_path: Path) -> None:
    start(with_card(canonical, tmp_path / "a", default_domain="default"))
    with pytest.raises(CheckpointError, match="default_domain 'cp2k'"):
        start(with_card(canonical, tmp_path / "b", default_domain="cp2k"))


def test_it_is_an_ase_calculator(calculator: PEMACE) -> None:
    assert isinstance(calculator, Calculator)
    assert {"energy", "forces", "stress", "free_energy"} <= set(calculator.implemented_properties)
    assert calculator.ensemble == ("canonical" if calculator.canonical else "grand-canonical")
    assert len(calculator.sha256) == 64


def test_identity_tells_what_the_energies_depend_on(start: Start, canonical: Path) -> None:
    plain = start(canonical)
    assert plain.identity == start(canonical, skin=1.0).identity
    assert plain.identity != start(canonical, dtype="float64").identity


def test_a_charge_needs_an_electrode(start: Start, canonical: Path) -> None:
    atoms = pt111_water()
    water = atoms[atoms.numbers != 78]
    water.calc = start(canonical, excess_electrons=0.1)
    with pytest.raises(InputError, match="^excess_electrons: found 0.1 in a structure without an"):
        water.get_potential_energy()
    water.calc.excess_electrons = 0.0
    assert np.isfinite(water.get_potential_energy())


@pytest.mark.parametrize("device", ["meta", "mps", "xla"])
def test_other_devices_are_refused(start: Start, canonical: Path, device: str) -> None:
    with pytest.raises(InputError, match="^device: found"):
        start(canonical, device=device)


@pytest.mark.parametrize(
    "change",
    [
        {"data": None},
        {"potential_range": "wide"},
        {"electrons_per_area_range": [0.1]},
        {"data": {"ranges": {"default": {"potential": [1.0]}}}},
    ],
)
def test_a_card_with_broken_ranges_is_refused(
    canonical: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    with pytest.raises(CheckpointError, match="^model: ") as caught:
        PEMACE(with_card(canonical, tmp_path / "m", **change))
    one_line(caught.value, "model: ")
