"""Products with the Coulomb matrix against the matrix, in every tier and boundary condition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from voltase.aseplugin.errors import AccuracyError, InputError
from voltase.aseplugin.models.electrostatics import SkinPairs, make_operator
from voltase.aseplugin.models.electrostatics.ewald import DenseOperator, EwaldOperator
from voltase.aseplugin.models.electrostatics.mesh import MeshOperator

TIERS = {"dense": DenseOperator, "ewald": EwaldOperator, "mesh": MeshOperator}
CASES = [(kind, tier) for kind in ("open", "bulk", "slab") for tier in TIERS]


def build(system, tier: str, tolerance: float = 1e-8, **options):
    return make_operator(
        system.positions.numpy(),
        system.cell.numpy(),
        system.pbc,
        system.width.numpy(),
        tier=tier,
        tolerance=tolerance,
        **options,
    )


def exact(system, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The matrix, and derivatives of x . A y by positions, symmetric strain and widths."""
    positions = system.positions.clone().requires_grad_()
    width = system.width.clone().requires_grad_()
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    deformation = torch.eye(3, dtype=torch.float64) + 0.5 * (strain + strain.T)
    matrix = system.moved(
        positions=positions @ deformation, cell=system.cell @ deformation, width=width
    ).matrix(tolerance=1e-12)
    return matrix.detach(), *torch.autograd.grad(x @ matrix @ y, (positions, strain, width))


@pytest.mark.parametrize("tolerance", [1e-4, 1e-7, 1e-10])
@pytest.mark.parametrize(("kind", "tier"), CASES)
def test_products_and_derivatives_are_those_of_the_matrix(
    make_charges: Callable, kind: str, tier: str, tolerance: float
) -> None:
    system = make_charges(kind, n=60, edge=9.0)
    x, y = (torch.from_numpy(np.random.default_rng(s).uniform(-1, 1, 60)) for s in (1, 2))
    matrix, by_positions, by_strain, by_width = exact(system, x, y)
    operator = build(system, tier, tolerance)
    assert isinstance(operator, TIERS[tier])
    assert (operator.tier, operator.n, operator.periodic) == (tier, 60, sum(system.pbc))
    # Rounding alone leaves 1e-11 or so.
    bound = tolerance + 3e-11
    np.testing.assert_allclose(operator.matvec(y.numpy()), matrix @ y, rtol=0, atol=bound)
    np.testing.assert_allclose(operator.diagonal(), matrix.diagonal(), rtol=0, atol=bound)
    found = operator.derivatives(x.numpy(), y.numpy())
    np.testing.assert_allclose(found.positions, by_positions, rtol=0, atol=bound)
    np.testing.assert_allclose(found.width, by_width, rtol=0, atol=bound)
    # A strain moves atoms by up to the cell's size.
    np.testing.assert_allclose(found.strain, by_strain, rtol=0, atol=20.0 * bound)
    energy = float(0.5 * y @ matrix @ y)
    assert operator.energy(y.numpy()) == pytest.approx(energy, abs=20.0 * bound)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_charged_slab_on_any_axis(make_charges: Callable, axis: int, tier: str) -> None:
    system = make_charges("slab", n=20)
    charges = system.charges.numpy() / 4.0 + 0.1
    reference = build(system, "dense", 1e-11)
    order = [(i - axis - 1) % 3 for i in range(3)]  # moves the third vector to `axis`
    cell = system.cell[order] * torch.tensor([[-1.0], [1.0], [1.0]])
    pbc = tuple(system.pbc[i] for i in order)
    assert not pbc[axis]
    shift = torch.tensor([3.0, -40.0, 25.0])
    moved = system.moved(positions=system.positions + shift, cell=cell, pbc=pbc)
    operator = build(moved, tier, 1e-9)
    assert operator.energy(charges) == pytest.approx(reference.energy(charges), abs=1e-8)
    found, expected = operator.gradients(charges), reference.gradients(charges)
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=2e-8)


@pytest.mark.parametrize(("kind", "tier"), CASES)
def test_gradients_are_slopes_of_the_energy(make_charges: Callable, kind: str, tier: str) -> None:
    system = make_charges(kind, n=12)
    charges = system.charges.numpy() / 4.0
    by_positions, by_strain = build(system, tier, 1e-11).gradients(charges)
    assert (by_strain is None) == (kind == "open")
    rng = np.random.default_rng(3)
    step, move = 1e-4, rng.normal(size=(12, 3))
    strain = rng.normal(size=(3, 3)) if by_strain is not None else np.zeros((3, 3))
    energies = []
    for h in (-2 * step, -step, step, 2 * step):
        deformation = torch.from_numpy(np.eye(3) + h * strain)
        moved = system.moved(
            positions=system.positions @ deformation + h * torch.from_numpy(move),
            cell=system.cell @ deformation,
        )
        energies.append(build(moved, tier, 1e-11).energy(charges))
    slope = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * step)
    expected = float((by_positions * move).sum())
    if by_strain is not None:
        expected += float((by_strain * strain).sum())
    assert slope == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("tier", TIERS)
def test_broad_and_narrow_charges_together(make_charges: Callable, tier: str) -> None:
    system = make_charges("bulk", n=16)
    system = system.moved(width=torch.linspace(0.2, 2.5, 16).double())
    charges = system.charges.numpy()
    found = build(system, tier, 1e-8).matvec(charges)
    np.testing.assert_allclose(found, system.matrix() @ system.charges, rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", ["open", "bulk", "slab"])
def test_the_mesh_serves_one_atom(make_charges: Callable, kind: str) -> None:
    system = make_charges(kind, n=1)
    found = build(system, "mesh", 1e-9).matvec(np.ones(1))
    np.testing.assert_allclose(found, system.matrix()[0].numpy(), rtol=0, atol=1e-9)


def test_a_very_skewed_cell_on_the_mesh(make_charges: Callable) -> None:
    system = make_charges("bulk", n=20)
    skew = torch.tensor([[1.0, 0.0, 0.0], [7.0, 1.0, 0.0], [-5.0, 6.0, 1.0]]).double()
    skewed = system.moved(cell=skew @ system.cell)
    found, expected = (build(s, "mesh").mesh for s in (skewed, system))
    assert np.prod(found.shape) < 2 * np.prod(expected.shape)
    energies = [build(s, "mesh").energy(system.charges.numpy()) for s in (skewed, system)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-7)


def test_the_size_chooses_the_tier(make_charges: Callable) -> None:
    assert build(make_charges("bulk", n=30), "auto").tier == "dense"
    assert build(make_charges("bulk", n=401, edge=16.0), "auto", 1e-4).tier == "mesh"


def test_pairs_are_kept_until_atoms_have_moved_half_a_skin(make_charges: Callable) -> None:
    system, pairs = make_charges("slab", n=20), SkinPairs(skin=1.0)
    charges = system.charges.numpy()
    rng = np.random.default_rng(0)
    builds = []
    for _ in range(4):
        moved = rng.normal(size=(20, 3))
        moved *= 0.2 / np.linalg.norm(moved, axis=1).max()
        system = system.moved(positions=system.positions + torch.from_numpy(moved))
        kept = build(system, "mesh", 1e-9, pairs=pairs).matvec(charges)
        fresh = build(system, "dense", 1e-11).matvec(charges)
        np.testing.assert_allclose(kept, fresh, rtol=0, atol=1e-9)
        builds.append(pairs.builds)
    assert builds[0] == builds[1] == 1
    far = system.moved(positions=system.positions + 0.6)
    build(far, "mesh", 1e-9, pairs=pairs)
    assert pairs.builds == builds[-1] + 1
    build(far.moved(cell=1.01 * far.cell), "mesh", 1e-9, pairs=pairs)
    assert pairs.builds == builds[-1] + 2


def test_charges_beyond_the_bound_are_refused(make_charges: Callable) -> None:
    system = make_charges("bulk")
    charges = system.charges.numpy() / float(system.charges.abs().max())
    build(system, "mesh").gradients(charges)
    message = "charges: got 2 e, for which the force error may exceed 1e-08 eV/A; expected at most"
    with pytest.raises(AccuracyError, match=message):
        build(system, "mesh").gradients(2.0 * charges)
    build(system, "mesh", largest_charge=2.0).gradients(2.0 * charges)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tier": "fmm"}, 'tier: got "fmm", expected "auto", "dense", "ewald" or "mesh"'),
        ({"tier": "mesh", "largest_charge": 0.0}, "largest_charge: got 0.0 e, expected more than"),
        ({"tier": "mesh", "tolerance": 2.0}, "tolerance: got 2.0 eV/A, expected more than 0"),
    ],
)
def test_bad_options_are_refused(make_charges: Callable, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(make_charges("bulk"), **options)


def test_atoms_at_the_same_place_are_refused(make_charges: Callable) -> None:
    system = make_charges("bulk")
    system.positions[3] = system.positions[5] + system.cell[0]
    with pytest.raises(InputError, match="positions: atoms . and . are .* A apart"):
        build(system, "mesh")


def test_a_skin_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match="skin: got 0.0 A, expected more than 0"):
        SkinPairs(0.0)
