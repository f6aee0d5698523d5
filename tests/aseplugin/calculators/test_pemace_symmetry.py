"""What must not change the physics: orientation, order, origin, images, size, direction of z."""

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

from voltase.aseplugin.calculators.pemace import PEMACE
from voltase.aseplugin.testing import pt111_water

# The Clebsch-Gordan tables of mace-torch are in single precision.
ROTATED = 2e-6


def results(calculator: PEMACE, atoms: Atoms) -> dict[str, np.ndarray]:
    calculator.get_property("forces", atoms)
    return {name: np.array(value) for name, value in calculator.results.items()}


def charge_per_area(calculator: PEMACE, copies: int) -> None:
    """The same state for a cell of so many copies."""
    if calculator.canonical:
        calculator.excess_electrons *= copies


def check_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float,
               forces: np.ndarray | None = None, copies: int = 1) -> None:  # fmt: skip
    extensive = {"energy", "free_energy", "capacitance", "grand_energy", "canonical_energy",
                 "excess_electrons", "excess_electrons_spread"}  # fmt: skip
    assert found.keys() == expected.keys()
    assert len(expected) >= 7
    for name, value in expected.items():
        wanted = forces if name == "forces" and forces is not None else value
        wanted = wanted * copies if name in extensive else wanted
        np.testing.assert_allclose(found[name], wanted, rtol=tolerance, atol=tolerance,
                                   err_msg=name)  # fmt: skip


def test_rotation(calculator: PEMACE, interface: Atoms) -> None:
    before = results(calculator, interface)
    rotation = Rotation.random(random_state=3).as_matrix()
    turned = interface.copy()
    turned.set_cell(interface.cell.array @ rotation.T, scale_atoms=False)
    turned.positions = interface.positions @ rotation.T
    after = results(calculator, turned)
    check_same(after, before, ROTATED, before["forces"] @ rotation.T)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False)])
def test_slab_normal_along_any_axis(calculator: PEMACE, interface: Atoms,
                                    pbc: tuple[bool, bool, bool]) -> None:  # fmt: skip
    interface.pbc = pbc
    before = results(calculator, interface)
    for order in ([1, 2, 0], [2, 0, 1]):
        turned = interface.copy()
        turned.set_cell(interface.cell.array[order][:, order], scale_atoms=False)
        turned.positions = interface.positions[:, order]
        turned.pbc = np.array(pbc)[order]
        check_same(results(calculator, turned), before, ROTATED, before["forces"][:, order])


def test_upside_down(calculator: PEMACE, interface: Atoms) -> None:
    before = results(calculator, interface)
    interface.positions[:, 2] *= -1
    mirror = np.array([1.0, 1.0, -1.0])
    check_same(results(calculator, interface), before, ROTATED, before["forces"] * mirror)


def test_left_handed_cell(calculator: PEMACE, interface: Atoms) -> None:
    before = results(calculator, interface)
    interface.set_cell(interface.cell.array[[1, 0, 2]], scale_atoms=False)
    assert np.linalg.det(interface.cell.array) < 0
    check_same(results(calculator, interface), before, 1e-12)


def test_permutation(calculator: PEMACE, interface: Atoms) -> None:
    before = results(calculator, interface)
    order = np.random.default_rng(0).permutation(len(interface))
    check_same(results(calculator, interface[order]), before, 1e-12, before["forces"][order])


@pytest.mark.parametrize("below", [0, 2])
def test_translation_and_wrapping(calculator: PEMACE, below: int) -> None:
    atoms = pt111_water(waters=3, below=below)
    before = results(calculator, atoms)
    moved = atoms.copy()
    moved.positions += [3.3, -40.1, 1e4]
    check_same(results(calculator, moved), before, 1e-7)
    # Through the slab: the cell's boundary runs between its layers.
    for height in np.linspace(0.0, 1.0, 8, endpoint=False):
        moved = atoms.copy()
        moved.positions += [0.7, 0.0, height * atoms.cell[2, 2]]
        moved.wrap()
        check_same(results(calculator, moved), before, 1e-10)


def test_lowest_atom_at_the_boundary(calculator: PEMACE) -> None:
    # Rounding of the lowest atom's height must not put it on top of the water.
    for seed in range(6):
        atoms = pt111_water(seed=seed)
        before = results(calculator, atoms)
        atoms.positions[:, 2] -= atoms.positions[:, 2].min()
        check_same(results(calculator, atoms), before, 1e-10)


def test_open_normal_equals_vacuum(calculator: PEMACE, interface: Atoms) -> None:
    before = results(calculator, interface)
    interface.pbc = (True, True, False)
    check_same(results(calculator, interface), before, 1e-12)
    interface.cell[2] = 0.0
    check_same(results(calculator, interface), before, 1e-12)
    interface.cell[2] = [0.0, 0.0, 1.0]
    check_same(results(calculator, interface), before, 1e-12)


@pytest.mark.parametrize("repeats", [(2, 1, 1), (2, 2, 1)])
@pytest.mark.parametrize(("waters", "below"), [(4, 0), (3, 1), (0, 0)])
def test_extensivity(calculator: PEMACE, repeats: tuple[int, int, int], waters: int,
                     below: int) -> None:  # fmt: skip
    atoms = pt111_water(waters=waters, below=below)
    before = results(calculator, atoms)
    copies = int(np.prod(repeats))
    charge_per_area(calculator, copies)
    after = results(calculator, atoms.repeat(repeats))
    forces = np.tile(before["forces"], (copies, 1))
    check_same(after, before, 1e-10, forces, copies)


def test_cell_smaller_than_the_cutoff(calculator: PEMACE) -> None:
    atoms = pt111_water((1, 1, 3), waters=1)
    assert min(atoms.cell.lengths()) < 0.7 * calculator.evaluator.model.config.backbone.r_max
    before = results(calculator, atoms)
    charge_per_area(calculator, 9)
    forces = np.tile(before["forces"], (9, 1))
    check_same(results(calculator, atoms.repeat((3, 3, 1))), before, 1e-10, forces, 9)


def test_skewed_cell(calculator: PEMACE, interface: Atoms) -> None:
    before = results(calculator, interface)
    interface.cell[2] += 2 * interface.cell[0] - interface.cell[1]
    interface.cell[1] += 3 * interface.cell[0]
    check_same(results(calculator, interface), before, 1e-10)


def test_molecule_out_of_reach_adds_its_own_energy(pemace: Callable[..., PEMACE]) -> None:
    calculator = pemace()
    calculator.excess_electrons = 0.0
    near = pt111_water(waters=1, vacuum=30.0, displacement=0.0)
    far, farther = near.copy(), near.copy()
    far.positions[-3:, 2] += 10.0
    farther.positions[-3:, 2] += 12.0
    energies = [calculator.get_potential_energy(atoms) for atoms in (near, far, farther)]
    assert energies[1] == pytest.approx(energies[2], abs=1e-10)
    assert abs(energies[0] - energies[1]) > 1e-3
