"""The Coulomb matrix against sums done otherwise, constants from the literature and symmetries."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from scipy.special import erf, erfc, erfcx

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.kernels.coulomb import COULOMB
from voltase.aseplugin.models.electrostatics import coulomb_matrix

KINDS = ("open", "bulk", "slab")


def test_open_boundaries_give_the_closed_form(make_charges: Callable) -> None:
    system = make_charges("open")
    positions, width = system.positions.numpy(), system.width.numpy()
    expected = np.diag(COULOMB / (math.sqrt(math.pi) * width))
    for i, j in itertools.permutations(range(len(width)), 2):
        r = np.linalg.norm(positions[i] - positions[j])
        expected[i, j] = COULOMB * erf(r / math.hypot(width[i], width[j]) / math.sqrt(2.0)) / r
    np.testing.assert_allclose(system.matrix().numpy(), expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("basis", "signs", "nearest", "constant"),
    [
        # Sakamoto, J. Chem. Phys. 28, 164 (1958), doi:10.1063/1.1744060 and errata; per nearest
        # distance, CsCl to more digits as in OEIS A181152.
        (
            list(itertools.product((0.0, 0.5), repeat=3)),
            [1.0, -1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0],
            0.5,
            1.7475645946331822,
        ),
        ([(0.0,) * 3, (0.5,) * 3], [1.0, -1.0], math.sqrt(0.75), 1.76267477307098840),
    ],
    ids=["NaCl", "CsCl"],
)
def test_the_madelung_constant(basis: list, signs: list, nearest: float, constant: float) -> None:
    edge, width = 5.64, 0.2
    positions, charges = torch.tensor(basis).double() * edge, torch.tensor(signs).double()
    widths = torch.full_like(charges, width)
    matrix = coulomb_matrix(positions, edge * torch.eye(3).double(), True, widths, tolerance=1e-12)
    energy = 0.5 * charges @ (matrix @ charges) - 0.5 * len(basis) * COULOMB / (
        math.sqrt(math.pi) * width
    )
    found = -2.0 * float(energy) / len(basis) * nearest * edge / COULOMB
    assert found == pytest.approx(constant, rel=1e-12)


@pytest.mark.parametrize("kind", ["bulk", "slab"])
def test_the_result_does_not_depend_on_the_splitting(make_charges: Callable, kind: str) -> None:
    system = make_charges(kind)
    reference = system.matrix(alpha=0.25)
    for alpha in (None, 0.4, 0.7, 1.1):
        # A splitting sharper than the Gaussians (gamma = 0.42 to 1.25 1/A) is right, too.
        torch.testing.assert_close(system.matrix(alpha=alpha), reference, rtol=0.0, atol=2e-11)


@pytest.mark.parametrize("kind", ["bulk", "slab"])
@pytest.mark.parametrize("tolerance", [1e-4, 1e-6, 1e-8])
def test_forces_are_within_the_tolerance(
    make_charges: Callable, kind: str, tolerance: float
) -> None:
    system = make_charges(kind, n=60, edge=9.0)
    charges = torch.sign(system.charges)
    found = []
    for accuracy in (tolerance, 1e-12):
        positions = system.positions.clone().requires_grad_()
        matrix = system.moved(positions=positions).matrix(tolerance=accuracy)
        (0.5 * charges @ matrix @ charges).backward()
        found.append(positions.grad)
    assert float((found[0] - found[1]).abs().max()) < tolerance


def test_a_bulk_cell_is_the_limit_of_a_direct_sum(make_charges: Callable) -> None:
    system = make_charges("bulk", n=4)
    positions, cell = system.positions.numpy(), system.cell.numpy()
    charges, width = system.charges.numpy(), system.width.numpy()
    # Explicit waves with the Gaussians' own widths: a sum without any splitting.
    n = np.stack(np.meshgrid(*[np.arange(-26, 27)] * 3, indexing="ij"), -1).reshape(-1, 3)
    k = 2.0 * math.pi * n[np.any(n != 0, axis=1)] @ np.linalg.inv(cell).T
    square = (k**2).sum(1)
    shape = np.exp(-0.5 * square[:, None] * width**2) * charges
    structure = (shape * np.exp(1j * (k @ positions.T))).sum(1)
    expected = (
        2.0 * math.pi * COULOMB / abs(np.linalg.det(cell)) * (np.abs(structure) ** 2 / square)
    )
    assert float(system.energy()) == pytest.approx(expected.sum(), abs=1e-10)


def layer_potential(q: np.ndarray, z: float, gamma: float) -> np.ndarray:
    """e^{qz} erfc(q/2g + gz) + e^{-qz} erfc(q/2g - gz), free of overflow, for z >= 0."""
    right = q / (2.0 * gamma) + gamma * z
    first = np.exp(-((q / (2.0 * gamma)) ** 2) - (gamma * z) ** 2) * erfcx(right)
    return first + np.exp(-q * z) * erfc(q / (2.0 * gamma) - gamma * z)


@pytest.mark.parametrize("net_charge", [0.0, 1.5])
def test_a_slab_is_the_sum_of_its_layer_potentials(
    make_charges: Callable, net_charge: float
) -> None:
    """Against Parry's sum, Surf. Sci. 49, 433 (1975), doi:10.1016/0039-6028(75)90362-3."""
    system = make_charges("slab", n=5)
    charges = system.charges.numpy() + net_charge / 5
    positions, cell = system.positions.numpy(), system.cell.numpy()[:2]
    area = np.linalg.norm(np.cross(*cell))
    normal = np.cross(*cell) / area
    n = np.stack(np.meshgrid(*[np.arange(-16, 17)] * 2, indexing="ij"), -1).reshape(-1, 2)
    wave = 2.0 * math.pi * n[np.any(n != 0, axis=1)] @ np.linalg.pinv(cell).T
    number = np.linalg.norm(wave, axis=1)
    expected = np.zeros(5)
    for i, j in itertools.product(range(5), repeat=2):
        apart = positions[i] - positions[j]
        z = abs(apart @ normal)
        gamma = 1.0 / math.sqrt(2.0 * float(system.width[i] ** 2 + system.width[j] ** 2))
        lateral = (np.cos(wave @ apart) / number * layer_potential(number, z, gamma)).sum()
        mean = z * erf(gamma * z) + math.exp(-((gamma * z) ** 2)) / (gamma * math.sqrt(math.pi))
        expected[i] += COULOMB * math.pi / area * (lateral - 2.0 * mean) * charges[j]
    found = system.matrix().numpy() @ charges
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-10)


def test_two_smeared_sheets_are_a_capacitor() -> None:
    """Potential difference of a plate capacitor, with the overlap of its Gaussian sheets."""
    spacing, side, width, gap = 1.0, 4, 1.1, 1.5
    grid = torch.cartesian_prod(*[spacing * torch.arange(side).double()] * 2)
    lower = torch.cat([grid, torch.zeros(side**2, 1).double()], 1)
    positions = torch.cat([lower, lower + torch.tensor([0.0, 0.0, gap])])
    cell = torch.diag(torch.tensor([side * spacing, side * spacing, 1.0]).double())
    charges = 0.01 * torch.cat([-torch.ones(side**2), torch.ones(side**2)]).double()
    widths = torch.full_like(charges, width)
    potential = coulomb_matrix(positions, cell, (True, True, False), widths) @ charges
    density, gamma = 0.01 / spacing**2, 0.5 / width
    thickness = gap * math.erf(gamma * gap) - (1.0 - math.exp(-((gamma * gap) ** 2))) / (
        gamma * math.sqrt(math.pi)
    )
    expected = 4.0 * math.pi * COULOMB * density * thickness
    assert float(potential[-1] - potential[0]) == pytest.approx(expected, rel=1e-10)
    # Zero of the potential: half way between the two vacuum levels.
    assert float(potential[-1] + potential[0]) == pytest.approx(0.0, abs=1e-10)


def test_a_shift_of_a_charged_slab_changes_nothing(make_charges: Callable) -> None:
    system = make_charges("slab")
    shifted = system.moved(positions=system.positions + torch.tensor([0.3, -7.0, 123.4]))
    torch.testing.assert_close(shifted.matrix(), system.matrix(), rtol=0.0, atol=2e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_the_frame_and_the_choice_of_cell_do_not_matter(make_charges: Callable, kind: str) -> None:
    system = make_charges(kind)
    reference, cell, positions = system.matrix(), system.cell, system.positions
    turn = torch.from_numpy(Rotation.random(random_state=1).as_matrix())
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0]).double())
    skew = torch.tensor([[1.0, 0.0, 0.0], [-2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).double()
    wrapped = positions + torch.randint(-2, 3, (8, 2)).double() @ cell[:2]
    others = {
        "rotated": system.moved(positions=positions @ turn.T, cell=cell @ turn.T),
        "left-handed": system.moved(positions=positions @ mirror, cell=cell @ mirror),
        "swapped axes": system.moved(cell=cell[[1, 0, 2]]),
        "skewed": system.moved(cell=skew @ cell),
        "normal on the first axis": system.moved(
            cell=cell[[2, 0, 1]], pbc=tuple(system.pbc[i] for i in (2, 0, 1))
        ),
        "normal on the second axis": system.moved(
            cell=cell[[0, 2, 1]], pbc=tuple(system.pbc[i] for i in (0, 2, 1))
        ),
    }
    if kind != "open":
        others["outside the cell"] = system.moved(positions=wrapped)
    if kind != "bulk":
        others["another third vector"] = system.moved(
            cell=cell * torch.tensor([[1.0], [1.0], [0.0]])
        )
    for name, other in others.items():
        apart = float((other.matrix() - reference).abs().max())
        assert apart < 2e-11, f"{name}: {apart}"


@pytest.mark.parametrize("kind", ["bulk", "slab"])
def test_a_supercell_has_a_multiple_of_the_energy(make_charges: Callable, kind: str) -> None:
    system = make_charges(kind)
    a, b = system.cell[0], system.cell[1]
    shifts = torch.stack([0.0 * a, a, b, a + b, 2 * a, 2 * a + b])
    cell = system.cell * torch.tensor([[3.0], [2.0], [1.0]])
    large = system.moved(
        positions=(shifts.unsqueeze(1) + system.positions).reshape(-1, 3),
        cell=cell,
        width=system.width.repeat(6),
        charges=system.charges.repeat(6),
    )
    assert float(large.energy()) == pytest.approx(6.0 * float(system.energy()), abs=1e-9)


def test_a_thick_cell_turns_a_bulk_crystal_into_a_slab_of_it(make_charges: Callable) -> None:
    """With its dipole's field, doi:10.1063/1.479595 (Yeh and Berkowitz, J. Chem. Phys. 111)."""
    slab = make_charges("slab")
    cell = slab.cell.clone()
    area = torch.linalg.cross(cell[0], cell[1])
    cell[2] = 60.0 * area / area.norm()
    bulk = slab.moved(cell=cell, pbc=(True,) * 3)
    dipole = slab.charges @ slab.positions @ (area / area.norm())
    correction = 2.0 * math.pi * COULOMB * dipole**2 / (area.norm() * 60.0)
    assert float(slab.energy()) == pytest.approx(float(bulk.energy() + correction), abs=1e-9)


def test_one_atom_alone() -> None:
    cell, width = 10.0 * torch.eye(3).double(), torch.tensor([0.7], dtype=torch.float64)
    place = torch.zeros(1, 3).double()
    free = float(coulomb_matrix(place, cell, False, width))
    assert free == pytest.approx(COULOMB / (math.sqrt(math.pi) * 0.7), rel=1e-14)
    # Jellium with a simple cubic lattice: -2.837297 e^2/L is the self-energy of a point charge
    # times two (Makov and Payne, Phys. Rev. B 51, 4014 (1995), doi:10.1103/PhysRevB.51.4014).
    bulk = float(coulomb_matrix(place, cell, True, width))
    expected = free - 2.837297479 * COULOMB / 10.0 + 4.0 * math.pi * COULOMB * 0.7**2 / 1000.0
    assert bulk == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_computed_in_float64(make_charges: Callable, kind: str) -> None:
    system = make_charges(kind)
    single = system.moved(
        positions=system.positions.float(), cell=system.cell.float(), width=system.width.float()
    )
    found = single.matrix()
    assert found.dtype == torch.float32
    double = single.moved(
        positions=single.positions.double(), cell=single.cell.double(), width=single.width.double()
    )
    torch.testing.assert_close(found, double.matrix().float(), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_first_and_second_derivatives(make_charges: Callable, kind: str) -> None:
    system = make_charges(kind, n=3)
    charges = system.charges

    def energy(positions: torch.Tensor, cell: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
        matrix = coulomb_matrix(positions, cell, system.pbc, width, tolerance=1e-11)
        return 0.5 * charges @ matrix @ charges

    inputs = tuple(
        x.clone().requires_grad_() for x in (system.positions, system.cell, system.width)
    )
    assert torch.autograd.gradcheck(energy, inputs, eps=1e-4, atol=1e-6)
    assert torch.autograd.gradgradcheck(energy, inputs, eps=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_rigid_motion_exerts_no_force_or_torque(make_charges: Callable, kind: str) -> None:
    system = make_charges(kind)
    positions = system.positions.clone().requires_grad_()
    cell = system.cell.clone().requires_grad_()
    system.moved(positions=positions, cell=cell).energy().backward()
    assert float(positions.grad.sum(0).abs().max()) < 1e-10
    virial = positions.detach().T @ positions.grad
    if cell.grad is not None:
        virial = virial + cell.detach().T @ cell.grad
    assert float((virial - virial.T).abs().max()) < 1e-9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pbc": (True, False, False)}, "pbc: got one periodic direction, expected none, two or"),
        ({"pbc": (True, True)}, "pbc: got shape .*, expected one value or 3"),
        ({"cell": torch.ones(3, 3).double()}, "cell: got periodic vectors of lengths"),
        ({"cell": torch.full((3, 3), math.nan).double()}, "cell: got a lattice vector that is not"),
        ({"cell": torch.eye(2).double()}, r"cell: got shape \(2, 2\), expected \(3, 3\)"),
        ({"positions": torch.zeros(8, 3).double()}, "positions: atoms 0 and . are 0 A apart"),
        ({"positions": torch.full((8, 3), math.nan).double()}, "positions: got a value that is"),
        ({"positions": torch.zeros(8).double()}, r"positions: got shape \(8,\), expected"),
        ({"width": torch.zeros(8).double()}, "width: got 0.0 A, expected more than 0"),
        ({"width": torch.ones(7).double()}, r"width: got shape \(7,\), expected \(8,\)"),
    ],
)
def test_bad_input_is_refused(make_charges: Callable, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_charges("bulk").moved(**changes).matrix()


@pytest.mark.parametrize("tolerance", [0.0, -1e-8, 1.0, math.nan])
def test_a_tolerance_out_of_range_is_refused(make_charges: Callable, tolerance: float) -> None:
    with pytest.raises(InputError, match="tolerance: got"):
        make_charges("bulk").matrix(tolerance=tolerance)
