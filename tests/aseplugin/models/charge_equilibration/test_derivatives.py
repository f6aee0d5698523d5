"""First and second derivatives of charges, potentials and energy in every input."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from voltase.aseplugin import solve_fqeq
from voltase.aseplugin.models.charge_equilibration import FixedPotential

from .conftest import BOUNDARIES, Case

INPUTS = ("positions", "cell", "electronegativity", "hardness", "width", "source_charge")


def function(case: Case, held: bool) -> tuple[Callable[..., tuple[Tensor, ...]], list[Tensor]]:
    """Charges, potentials and energies, and the values of the inputs."""
    fixed = case.tensors()
    names = INPUTS
    if sum(case.pbc) == 2:
        names = (*INPUTS, "counter_plane")
        fixed["counter_plane"] = torch.tensor([0.5, 0.2, 7.0], dtype=torch.float64)
    unsaturated = torch.nonzero((fixed["bond_order"] > 0.0) & (fixed["bond_order"] < 1.0))[:, 0]

    def evaluate(state: Tensor, order: Tensor, bond_hardness: Tensor, *inputs: Tensor
                 ) -> tuple[Tensor, ...]:  # fmt: skip
        arguments = fixed | dict(zip(names, inputs, strict=True))
        arguments["bond_order"] = fixed["bond_order"].index_put((unsaturated,), order)
        charge = {"total_charge": state, "charge_weights": torch.ones(11)}
        found = solve_fqeq(
            **arguments, bond_hardness=bond_hardness, charged=True, tolerance=1e-10,
            **({"fixed_potential": FixedPotential([0], state)} if held else charge),
        )  # fmt: skip
        return found.charges, found.fragment_chemical_potentials, found.energy

    values = [
        torch.tensor(0.3, dtype=torch.float64),
        fixed["bond_order"][unsaturated],
        torch.tensor(8.0, dtype=torch.float64),
        *(fixed[name] for name in names),
    ]
    return evaluate, [v.clone().requires_grad_() for v in values]


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_derivatives(boundary: str, held: bool, build_case: Callable[[str], Case]) -> None:
    evaluate, values = function(build_case(boundary), held)
    assert torch.autograd.gradcheck(evaluate, values, eps=1e-5, atol=1e-6, fast_mode=True)
    assert torch.autograd.gradgradcheck(evaluate, values, eps=1e-5, atol=1e-5, fast_mode=True)


@pytest.mark.parametrize("tier", ["ewald", "mesh"])
def test_gradients_of_iterative_solutions(tier: str, build_case: Callable[[str], Case]) -> None:
    """Of a loss on charges, energy and forces, against the direct solution."""
    gradients = []
    for each in ("dense", tier):
        case = build_case("slab")
        inputs = {k: v.requires_grad_() if torch.is_tensor(v) and v.is_floating_point() else v
                  for k, v in case.tensors().items()}  # fmt: skip
        found = solve_fqeq(**inputs, tier=each, tolerance=1e-9)
        (slope,) = torch.autograd.grad(found.energy, inputs["positions"], create_graph=True)
        loss = found.charges.square().sum() + found.energy + slope.square().sum()
        names = ("electronegativity", "hardness", "width", "source_charge", "positions", "cell")
        gradients.append(torch.autograd.grad(loss, [inputs[name] for name in names]))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_saturated_bonds_have_no_gradient(build_case: Callable[[str], Case]) -> None:
    arguments = build_case("open").tensors()
    order = arguments["bond_order"].requires_grad_()
    found = solve_fqeq(**arguments)
    (gradient,) = torch.autograd.grad(found.energy + found.charges.square().sum(), order)
    unsaturated = (order > 0.0) & (order < 1.0)
    # Neither has a bond within a node: nothing flows along it.
    unsaturated &= found.membership[arguments["bonds"]].diff(dim=0)[0] != 0
    assert int(unsaturated.sum()) == 4
    assert torch.equal(gradient != 0.0, unsaturated)
