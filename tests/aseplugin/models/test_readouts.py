"""Energies of several domains: readouts of their own, or shared ones with corrections."""

from dataclasses import replace

import pytest
import torch

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.graph import Graph
from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel
from voltase.aseplugin.structures import build_graph
from voltase.aseplugin.testing import pt111_water
from voltase.aseplugin.training.model_setup import take_weights

BACKBONE = BackboneConfig(r_max=3.0, channels=4, max_ell=1, correlation=2, radial_mlp=(8,))
OWN = PEMACEConfig(
    symbols=["H", "O", "Pt"],
    domains=["first", "second", "third"],
    n_members=2,
    backbone=BACKBONE,
)


def network(config: PEMACEConfig) -> PEMACEModel:
    torch.manual_seed(3)
    return PEMACEModel(config).double()


def graph(model: PEMACEModel, domain: int) -> Graph:
    return replace(build_graph(pt111_water(), model.config), domain=torch.tensor([domain]))


def energies(model: PEMACEModel) -> torch.Tensor:
    """Of one structure in every domain, (n_domains, n_members)."""
    with torch.no_grad():
        return torch.cat([model.describe(graph(model, d)).energy for d in range(3)])


def faces(model: PEMACEModel, n_domains: int) -> torch.Tensor:
    """Energy and electrode's polynomial in every domain, (n_domains, n_members, 6)."""
    with torch.no_grad():
        found = [model.describe(graph(model, d)) for d in range(n_domains)]
    return torch.cat([torch.cat([f.energy.unsqueeze(2), f.coefficients], 2) for f in found])


@pytest.fixture(scope="module")
def own() -> PEMACEModel:
    return network(OWN)


def test_own_readouts_know_nothing_of_each_other(own: PEMACEModel) -> None:
    before = energies(own)
    weight = own.readouts[0].linear.weight
    columns = weight.detach().view(-1, 3, 2)
    columns[:, 1] += 0.1
    after = energies(own)
    columns[:, 1] -= 0.1
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], rtol=0, atol=0)
    assert (after[1] - before[1]).abs().min() > 1e-6


def test_shared_readouts_keep_the_first_domain_of_own_ones(own: PEMACEModel) -> None:
    shared = network(replace(OWN, readouts="shared"))
    taken, total = take_weights(shared, own)
    assert taken == total
    expected, found = energies(own), energies(shared)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-12, atol=0)
    # The last layer tells the others apart no more: they differ from before.
    assert (found[1:] - expected[1:]).abs().min() > 1e-6


def test_corrections_hold_all_that_is_linear_in_the_first_layer(own: PEMACEModel) -> None:
    same = network(OWN)
    same.load_state_dict(own.state_dict())
    last = same.readouts[1].linear_2.weight.detach().view(-1, 3, 2)
    last[:, 1:] = last[:, :1]
    shared = network(replace(OWN, readouts="shared"))
    take_weights(shared, same)
    torch.testing.assert_close(energies(shared), energies(same), rtol=1e-12, atol=0)


def test_what_the_last_layer_learns_serves_all_domains(own: PEMACEModel) -> None:
    shared = network(replace(OWN, readouts="shared"))
    take_weights(shared, own)
    before = energies(shared)
    with torch.no_grad():
        shared.readouts[1].linear_2.weight += 0.1
    change = energies(shared) - before
    assert change.abs().min() > 1e-6
    torch.testing.assert_close(change, change[:1].expand_as(change))


@pytest.mark.parametrize("readouts", ["own", "shared"])
def test_a_new_domain_starts_as_the_first(own: PEMACEModel, readouts: str) -> None:
    two = network(replace(OWN, domains=["first", "second"], readouts=readouts))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in two.electrode.parameters():
            parameter += 0.01 * torch.rand_like(parameter)
    three = network(replace(OWN, domains=["first", "new", "second"], readouts="shared"))
    taken, total = take_weights(three, two)
    assert taken == total
    before, after = faces(two, 2), faces(three, 3)
    torch.testing.assert_close(after[[0, 1]], before[[0, 0]], rtol=1e-10, atol=0)
    # Without a correction in the last layer only the energy of the second may have changed.
    torch.testing.assert_close(after[2, ..., 1:], before[1, ..., 1:], rtol=1e-10, atol=0)
    if readouts == "shared":
        torch.testing.assert_close(after[2], before[1], rtol=1e-10, atol=0)


@pytest.mark.parametrize("readouts", ["own", "shared"])
def test_domains_are_matched_by_name_not_by_place(own: PEMACEModel, readouts: str) -> None:
    start = network(replace(OWN, readouts=readouts))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in start.electrode.parameters():
            parameter += 0.01 * torch.rand_like(parameter)
    turned = network(replace(OWN, domains=["third", "first", "second"], readouts="shared"))
    take_weights(turned, start)
    before, after = faces(start, 3), faces(turned, 3)
    torch.testing.assert_close(after[0], before[2], rtol=1e-10, atol=0)
    torch.testing.assert_close(after[..., 1:], before[[2, 0, 1], ..., 1:], rtol=1e-10, atol=0)
    if readouts == "shared":
        torch.testing.assert_close(after, before[[2, 0, 1]], rtol=1e-10, atol=0)


def test_the_forms_are_told_apart() -> None:
    with pytest.raises(InputError, match="readouts: found 'other', expected one of own, shared"):
        replace(OWN, readouts="other")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="num_interactions of 2 or more"):
        replace(OWN, readouts="shared", backbone=replace(BACKBONE, num_interactions=1))
