"""The model: conservation of charge, the capacitor with the counter charge, forces, symmetry."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from voltase.aseplugin.calculators.charge_structures import Structures
from voltase.aseplugin.electrochemistry import EPSILON_0
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.softfqeq import ChargeState, SoftFQEqConfig, SoftFQEqModel, Structure
from voltase.aseplugin.models.softfqeq.model import Solution

STATES = [ChargeState(), ChargeState(0.2), ChargeState(0.0, -0.1), ChargeState(-0.1, 0.05, 15.0)]


def structure_of(atoms: Atoms, model: SoftFQEqModel) -> Structure:
    return Structures(model.config, 0.0).structure(atoms)


def solve(atoms: Atoms, model: SoftFQEqModel, state: ChargeState, solver: str = "fragment"
          ) -> tuple[Solution, torch.Tensor]:  # fmt: skip
    """Solution and forces."""
    structure, leaves = structure_of(atoms, model).leaves(with_strain=False)
    kind = "fragment" if solver == "fragment" else "global"
    solution = model.solve(structure, model(structure), state, kind, tolerance=1e-10)
    (gradient,) = torch.autograd.grad(solution.energy, leaves, retain_graph=True)
    return solution, -gradient


def energy_of(atoms: Atoms, model: SoftFQEqModel, state: ChargeState) -> float:
    structure = structure_of(atoms, model)
    with torch.no_grad():
        solution = model.solve(structure, model(structure), state, tolerance=1e-10)
    return float(solution.energy)


def water_dimer() -> Atoms:
    first, second = molecule("H2O"), molecule("H2O")
    second.translate((0.0, 2.4, -1.3))
    return first + second


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("solver", ["fragment", "global"])
def test_the_charges_sum_to_the_total_charge(
    fqeq_model: SoftFQEqModel, film: Atoms, state: ChargeState, solver: str
) -> None:
    solution, _ = solve(film, fqeq_model, state, solver)
    assert float(solution.charges.sum().detach()) == pytest.approx(
        -state.excess_electrons, abs=1e-11
    )
    if solver == "global":
        assert float(solution.atom_potential.detach().std()) < 1e-10


def test_molecules_keep_their_charge_and_the_electrode_takes_the_rest(
    fqeq_model: SoftFQEqModel, film: Atoms
) -> None:
    far = film.copy()
    metal = far.numbers == 78
    far.positions[~metal, 2] += 2.0  # out of reach of bonds to the metal
    waters = far[~metal]
    for k in range(0, len(waters), 3):  # and of one another
        waters.positions[k : k + 3, 2] += 3.0 * (k // 3)
    far = far[metal] + waters
    model = SoftFQEqModel(replace(fqeq_model.config, counter_height=40.0))
    model.set_precision(torch.float64)
    model.load_state_dict(fqeq_model.state_dict())
    charges = [solve(far, model, state)[0] for state in (ChargeState(), ChargeState(0.3))]
    change = (charges[1].charges - charges[0].charges).detach()
    electrode = torch.from_numpy(far.numbers == 78)
    assert float(change[electrode].sum()) == pytest.approx(-0.3, abs=1e-11)
    for fragment in charges[0].membership[~electrode].unique():
        assert abs(float(change[charges[0].membership == fragment].sum())) < 1e-11


@pytest.mark.parametrize("state", STATES[1:])
def test_the_potential_is_minus_the_slope_of_the_energy(
    fqeq_model: SoftFQEqModel, film: Atoms, state: ChargeState
) -> None:
    step = 1e-4
    shifted = (replace(state, excess_electrons=state.excess_electrons + d) for d in (step, -step))
    energies = [energy_of(film, fqeq_model, other) for other in shifted]
    phi = solve(film, fqeq_model, state)[0].electrode_potential
    assert phi is not None
    assert float(phi.detach()) == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=1e-8)


@pytest.fixture(scope="module")
def neutral_model(fqeq_model: SoftFQEqModel) -> SoftFQEqModel:
    """The same weights, where the network's energy is that of the uncharged cell."""
    model = SoftFQEqModel(replace(fqeq_model.config, network_energy="neutral"))
    model.set_precision(torch.float64)
    model.load_state_dict(fqeq_model.state_dict())
    return model


def test_the_network_has_the_whole_energy_of_the_uncharged_cell(
    fqeq_model: SoftFQEqModel, neutral_model: SoftFQEqModel, film: Atoms
) -> None:
    structure, leaves = structure_of(film, neutral_model).leaves(with_strain=False)
    network = neutral_model(structure).energy
    found, forces = solve(film, neutral_model, STATES[0])
    assert float((found.energy - network).detach()) == pytest.approx(0.0, abs=1e-10)
    (gradient,) = torch.autograd.grad(network, leaves)
    torch.testing.assert_close(forces, -gradient, rtol=0.0, atol=1e-10)
    before = energy_of(film, fqeq_model, STATES[0])
    for state in STATES[1:]:
        change = energy_of(film, neutral_model, state) - float(network.detach())
        assert change == pytest.approx(energy_of(film, fqeq_model, state) - before, abs=1e-10)
        same = [solve(film, model, state)[0] for model in (fqeq_model, neutral_model)]
        torch.testing.assert_close(same[0].charges, same[1].charges, rtol=0.0, atol=1e-12)
        torch.testing.assert_close(
            same[0].electrode_potential, same[1].electrode_potential, rtol=0.0, atol=1e-12
        )


def test_its_forces_are_slopes_of_its_energy(neutral_model: SoftFQEqModel, film: Atoms) -> None:
    _, forces = solve(film, neutral_model, STATES[3])
    for atom, axis in ((0, 2), (len(film) - 2, 0)):
        energies = []
        for step in (1e-4, -1e-4):
            moved = film.copy()
            moved.positions[atom, axis] += step
            energies.append(energy_of(moved, neutral_model, STATES[3]))
        slope = (energies[0] - energies[1]) / 2e-4
        assert float(forces[atom, axis]) == pytest.approx(-slope, abs=1e-6)


@pytest.mark.parametrize("faces", [1, 2])
def test_a_slab_and_its_counter_charge_are_a_capacitor(
    fqeq_model: SoftFQEqModel, faces: int
) -> None:
    # A flat sheet of metal, which a charge does not polarise; water far away marks the faces.
    sheet = Atoms("Pt4", positions=[[x, y, 10.0] for x in (0, 2.8) for y in (0, 2.8)],
                  cell=[5.6, 5.6, 30.0], pbc=(True, True, False))  # fmt: skip
    for sign in (1.0, -1.0)[:faces]:
        water = molecule("H2O")
        water.translate(np.array([1.4, 1.4, 10.0 + sign * 4.5]) - water.positions.mean(0))
        sheet = sheet + water
    results = {}
    for height in (12.0, 15.0):
        slopes = []
        for n in (0.0, 0.1):
            phi = solve(sheet, fqeq_model, ChargeState(n, counter_height=height))[0]
            assert phi.electrode_potential is not None
            slopes.append(float(phi.electrode_potential.detach()))
        results[height] = (slopes[1] - slopes[0]) / 0.1
    area = 5.6**2
    # Moving the planes away by 3 A takes 3 A/(eps0 area) off the potential per electron on a face.
    expected = -3.0 / (EPSILON_0 * area * faces)
    assert results[15.0] - results[12.0] == pytest.approx(expected, rel=1e-9)


def test_a_field_and_a_charge_make_the_same_field_at_the_film(
    fqeq_model: SoftFQEqModel, film: Atoms
) -> None:
    """Between plates (neutral, with a field) or before a plane: in front of the metal as one.

    The film sees the same field; the electron between plates is taken from the other side.
    """
    structure = structure_of(film, fqeq_model)
    plates = ChargeState.between_plates(structure, 0.1)
    area = float(structure.graph.areas[0])
    assert plates.excess_electrons == 0.0
    assert plates.field == pytest.approx(-0.1 / (EPSILON_0 * area), rel=1e-12)
    total = torch.zeros((), dtype=torch.float64)
    field = fqeq_model.plane_potential(structure, plates, total)
    charged = ChargeState(0.1)
    plane = fqeq_model.plane_potential(structure, charged, total - 0.1)
    heights = structure.heights(fqeq_model.electrode(structure))
    slopes = [float(np.polyfit(heights.numpy(), v.numpy(), 1)[0]) for v in (field, plane)]
    # Half the field of the charged sheet is the metal's own.
    assert slopes[0] == pytest.approx(2.0 * slopes[1], rel=1e-9)


@pytest.mark.parametrize("state", [STATES[1], STATES[3]])
@pytest.mark.parametrize(("atom", "axis"), [(13, 2), (5, 2), (23, 1)])
def test_forces_are_minus_the_gradient(
    fqeq_model: SoftFQEqModel, film: Atoms, state: ChargeState, atom: int, axis: int
) -> None:
    forces = solve(film, fqeq_model, state)[1]
    step, energies = 2e-4, []
    for multiple in (-2, -1, 1, 2):
        moved = film.copy()
        moved.positions[atom, axis] += multiple * step
        energies.append(energy_of(moved, fqeq_model, state))
    # Error of fourth order in the step.
    slope = np.dot(energies, [1.0, -8.0, 8.0, -1.0]) / (12.0 * step)
    assert float(forces[atom, axis]) == pytest.approx(-slope, abs=1e-7)


def test_a_proton_leaves_smoothly(fqeq_model: SoftFQEqModel) -> None:
    """From one fragment over partial bonds to two: energy and charges without a jump."""
    distances = np.linspace(0.9, 2.6, 35)
    water = molecule("H2O")
    oxygen, bond = water.positions[0].copy(), water.positions[1] - water.positions[0]
    energies, forces, charges, fragments = [], [], [], []
    for distance in distances:
        water.positions[1] = oxygen + distance * bond / np.linalg.norm(bond)
        solution, force = solve(water, fqeq_model, ChargeState())
        energies.append(float(solution.energy.detach()))
        forces.append(float(force[1].detach().numpy() @ bond / np.linalg.norm(bond)))
        charges.append(float(solution.charges[1].detach()))
        fragments.append(int(solution.membership.max()) + 1)
        assert float(solution.charges.sum().detach()) == pytest.approx(0.0, abs=1e-12)
    assert {1, 2} <= set(fragments)
    step = distances[1] - distances[0]
    work = -np.cumsum(0.5 * step * (np.array(forces)[1:] + np.array(forces)[:-1]))
    assert np.abs(work - (np.array(energies)[1:] - energies[0])).max() < 0.05
    assert np.abs(np.diff(charges)).max() < 0.1


def test_nothing_depends_on_the_choice_of_the_cell(fqeq_model: SoftFQEqModel, film: Atoms) -> None:
    state = ChargeState(0.15, -0.02)
    before, forces = solve(film, fqeq_model, state)
    turned = film.copy()
    turned.translate((0.4, -3.0, 1.7))
    turned.positions[turned.numbers == 8] += turned.cell[0]
    turned.cell[1] += turned.cell[0]
    turned.rotate(65.0, (0.2, 1.0, 0.5), rotate_cell=True)
    order = np.random.default_rng(1).permutation(len(turned))
    after, turned_forces = solve(turned[order], fqeq_model, state)
    assert float((after.energy - before.energy).detach()) == pytest.approx(0.0, abs=1e-9)
    assert np.abs(after.charges.detach().numpy() - before.charges.detach().numpy()[order]).max() < (
        1e-9
    )
    lengths = [np.linalg.norm(f.detach().numpy(), axis=1) for f in (turned_forces, forces)]
    assert np.abs(lengths[0] - lengths[1][order]).max() < 1e-8


def test_charge_without_a_counter_plane_is_refused(fqeq_model: SoftFQEqModel, film: Atoms) -> None:
    bulk = film.copy()
    bulk.pbc = True
    with pytest.raises(InputError, match=r"excess_electrons: found 0\.1 in a periodic cell"):
        solve(bulk, fqeq_model, ChargeState(0.1))
    with pytest.raises(InputError, match=r"field: found 0\.1 V/A without"):
        solve(water_dimer(), fqeq_model, ChargeState(0.0, 0.1))


def test_a_molecule_may_be_charged(fqeq_model: SoftFQEqModel) -> None:
    solution, _ = solve(water_dimer(), fqeq_model, ChargeState(-1.0))
    assert float(solution.charges.sum().detach()) == pytest.approx(1.0, abs=1e-12)
    assert solution.electrode_potential is None


def test_plates_need_one_wetted_face(fqeq_model: SoftFQEqModel) -> None:
    structure = structure_of(water_dimer(), fqeq_model)
    with pytest.raises(InputError, match="between plates with 0 wetted faces"):
        ChargeState.between_plates(structure, 0.1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"symbols": ["O", "H"]}, "symbols: found O, H, expected ascending atomic numbers"),
        ({"electrode_symbols": ["Xx"]}, "electrode_symbols: found"),
        ({"width": {"O": -1.0}}, "width: found -1.0 for O, expected more than zero"),
        ({"hardness": {"O": 0.0}}, "hardness: found 0.0 for O"),
        ({"bond_ranges": {"O-H": (1.0, 2.0)}}, "bond_ranges: found 'O-H', expected two symbols"),
        ({"bond_ranges": {"H-O": (2.0, 1.0)}}, "bond_ranges: found 2 and 1 A for H-O"),
        ({"counter_height": 0.0}, "counter_height: found 0.0, expected more than zero"),
        ({"hidden": 0}, "hidden: found 0"),
        ({"atomic_energies": [1.0]}, "atomic_energies: found 1 values"),
    ],
)
def test_bad_settings_are_named(values: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"symbols": ["H", "O"], **values}
    with pytest.raises(InputError, match=message):
        SoftFQEqConfig(**given)  # type: ignore[arg-type]


def test_a_bond_beyond_the_cutoff_is_refused() -> None:
    config = SoftFQEqConfig(["H", "O"], bond_ranges={"H-O": (2.0, 9.0)})
    with pytest.raises(InputError, match=r"bond_ranges: found 2\.00 and 9\.00 A for H-O"):
        SoftFQEqModel(config)
