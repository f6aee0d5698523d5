"""Losses: derivatives against finite differences, labels that are missing, joined structures."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from voltase.aseplugin.models.pemace import PEMACEModel
from voltase.aseplugin.training.batches import Batch, make_batch
from voltase.aseplugin.training.config import LossWeights
from voltase.aseplugin.training.dataset import Sample
from voltase.aseplugin.training.losses import (
    Loss,
    Scales,
    batch_loss,
    charge_difference,
    electrode_input,
    predict,
)

Networks = Callable[[str, str], PEMACEModel]
FORMS = [("electrons", "dipole"), ("potential", "dipole"), ("electrons", "scalar"),
         ("potential", "scalar")]  # fmt: skip
WEIGHTS = torch.tensor([0.25, 0.75], dtype=torch.float64)


@pytest.fixture(scope="module", params=FORMS, ids="-".join)
def model(request: pytest.FixtureRequest, network: Networks) -> PEMACEModel:
    return network(*request.param)


def scales(model: PEMACEModel) -> Scales:
    assert model.config.capacitance is not None
    return Scales(torch.tensor(model.config.capacitance, dtype=torch.float64), 5.0)


def double_batch(*chosen: tuple[Sample, tuple[int, int]]) -> Batch:
    return make_batch(list(chosen)).to("cpu", torch.float64)


def loss_of(model: PEMACEModel, batch: Batch, weights: Tensor = WEIGHTS) -> Loss:
    # An offset that is given: one taken from the batch itself would move with the weights.
    return batch_loss(model, batch, weights, LossWeights(), {"synthetic": 0.02}, scales(model))


def inputs(model: PEMACEModel, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
    states = [electrode_input(model, batch.electrons[k], batch.potential[k]) for k in (0, 1)]
    return [x for x, _ in states], [known for _, known in states]


def test_forces_and_conjugate_are_derivatives_of_the_energy(
    model: PEMACEModel, samples: list[Sample]
) -> None:
    batch = double_batch((samples[0], (0, 2)))
    x, known = inputs(model, batch)
    predictions = predict(model, batch.graph, x, known, WEIGHTS, training=False)
    sign = -1.0 if model.config.embedding == "electrons" else 1.0
    step = 1e-4

    def energies(shift: Tensor, change: float = 0.0) -> list[Tensor]:
        graph = replace(batch.graph, positions=batch.graph.positions + shift)
        found = predict(model, graph, [v + change for v in x], known, WEIGHTS, training=False)
        return [p.energy for p in found]

    zero = torch.zeros_like(batch.graph.positions)
    for atom, axis in ((0, 2), (8, 0), (10, 2), (13, 1)):
        shift = zero.clone()
        shift[atom, axis] = step
        for prediction, up, down in zip(predictions, energies(shift), energies(-shift),
                                        strict=True):  # fmt: skip
            slope = float(up - down) / (2 * step)
            assert float(prediction.forces[atom, axis]) == pytest.approx(-slope, abs=2e-6)
    for prediction, up, down in zip(predictions, energies(zero, step), energies(zero, -step),
                                    strict=True):  # fmt: skip
        slope = sign * float(up - down) / (2 * step)
        assert float(prediction.conjugate) == pytest.approx(slope, abs=1e-6)


def test_the_loss_is_differentiated_through_forces_and_conjugate(
    model: PEMACEModel, samples: list[Sample]
) -> None:
    """Each term depends on second derivatives of the network."""
    batch = double_batch((samples[0], (0, 2)), (samples[1], (1, 1)))
    loss = loss_of(model, batch)
    assert set(loss.parts) == {"forces", "energy", "conjugate", "force_difference"}
    model.zero_grad()
    loss.total.backward()
    names = ["electrode.log_capacitance", "electrode.zero_charge_potential",
             "backbone.node_embedding.linear.weight", "readouts.1.linear_2.weight",
             "backbone.products.1.symmetric_contractions.contractions.0.weights_max"]  # fmt: skip
    if model.config.coupling == "dipole":
        names += ["electrode.bond_charge", "electrode.vector_mix", "electrode.scalar.2.weight",
                  "electrode.dipole_scale"]  # fmt: skip
    else:
        names += ["backbone.joint_embedding.embedders.electrode.0.weight"]
    parameters = dict(model.named_parameters())
    for name in names:
        parameter = parameters[name]
        assert parameter.grad is not None, name
        index = int(parameter.grad.abs().argmax())
        expected = float(parameter.grad.flatten()[index])
        step = 1e-5
        values = []
        for change in (step, -step):
            parameter.detach().flatten()[index] += change
            values.append(float(loss_of(model, batch).total.detach()))
            parameter.detach().flatten()[index] -= change
        slope = (values[0] - values[1]) / (2 * step)
        assert expected == pytest.approx(slope, rel=1e-4, abs=1e-6), name


def test_a_joined_batch_is_the_sum_of_its_structures(
    model: PEMACEModel, samples: list[Sample]
) -> None:
    chosen = [(samples[0], (0, 2)), (samples[1], (2, 0)), (samples[2], (1, 2))]
    joined = double_batch(*chosen)
    x, known = inputs(model, joined)
    together = predict(model, joined.graph, x, known, WEIGHTS, training=False)
    start = 0
    for i, choice in enumerate(chosen):
        single = double_batch(choice)
        x, known = inputs(model, single)
        for one, all_ in zip(predict(model, single.graph, x, known, WEIGHTS, training=False),
                             together, strict=True):  # fmt: skip
            atoms = slice(start, start + single.graph.n_atoms)
            assert torch.allclose(all_.forces[atoms], one.forces, atol=1e-10)
            assert torch.allclose(all_.energy[i], one.energy[0], atol=1e-9)
            assert torch.allclose(all_.conjugate[i], one.conjugate[0], atol=1e-9)
        start += single.graph.n_atoms
    losses = [loss_of(model, double_batch(choice)) for choice in chosen]
    whole = loss_of(model, joined)
    # All structures have the same number of atoms: every term is the mean of theirs.
    for name, value in whole.parts.items():
        assert value == pytest.approx(sum(loss.parts[name] for loss in losses) / 3, rel=1e-8)
    assert [kind for kind, _ in whole.residuals] == ["synthetic"] * 3


def test_each_structure_can_have_its_own_member(model: PEMACEModel, samples: list[Sample]) -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    chosen = [(samples[0], (0, 2)), (samples[1], (2, 0))]
    joined = double_batch(*chosen)
    x, known = inputs(model, joined)
    [together, _] = predict(model, joined.graph, x, known, rows, training=False)
    for i, choice in enumerate(chosen):
        single = double_batch(choice)
        x, known = inputs(model, single)
        [alone, _] = predict(model, single.graph, x, known, rows[i], training=False)
        assert torch.allclose(together.energy[i], alone.energy[0], atol=1e-9)


@pytest.fixture(scope="module", params=["electrons", "potential"])
def plain(request: pytest.FixtureRequest, network: Networks) -> PEMACEModel:
    return network(request.param, "dipole")


def without(sample: Sample, *names: str) -> Sample:
    empty = {name: torch.full_like(getattr(sample, name), torch.nan) for name in names}
    return replace(sample, **empty)


def test_a_structure_without_electrode_labels_trains_forces_and_energy(
    plain: PEMACEModel, samples: list[Sample]
) -> None:
    bare = without(samples[0], "electrons", "potential")
    loss = loss_of(plain, double_batch((bare, (0, 0))))
    assert set(loss.parts) == {"forces", "energy"}
    plain.zero_grad()
    loss.total.backward()
    gradients = [p.grad for p in plain.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in gradients)
    # The electrode is left out: its capacitor learns nothing from it.
    slope = plain.electrode.log_capacitance.grad
    assert slope is None or float(slope.abs().max()) == 0.0


def test_mixed_batches_keep_unlabelled_structures_out_of_the_conjugate(
    plain: PEMACEModel, samples: list[Sample]
) -> None:
    bare = without(samples[1], "electrons", "potential")
    mixed = loss_of(plain, double_batch((samples[0], (0, 2)), (bare, (0, 0))))
    alone = loss_of(plain, double_batch((samples[0], (0, 2))))
    for name in ("conjugate", "force_difference"):
        assert mixed.parts[name] == pytest.approx(alone.parts[name], rel=1e-9)
    assert torch.isfinite(mixed.total)


def test_missing_energies_leave_the_term_out(plain: PEMACEModel, samples: list[Sample]) -> None:
    silent = without(samples[0], "energy", "grand_energy")
    loss = loss_of(plain, double_batch((silent, (0, 2))))
    assert "energy" not in loss.parts
    assert loss.residuals == []


def test_labels_at_one_charge_say_nothing_about_the_response(
    plain: PEMACEModel, samples: list[Sample]
) -> None:
    same = replace(samples[0], electrons=torch.full((3,), 0.05), potential=torch.full((3,), 4.0))
    loss = loss_of(plain, double_batch((same, (0, 2))))
    assert "force_difference" not in loss.parts
    assert torch.isfinite(loss.total)


def test_each_embedding_has_its_own_energy(plain: PEMACEModel, samples: list[Sample]) -> None:
    batch = double_batch((samples[0], (0, 0)))
    before = dict(loss_of(plain, batch).residuals)["synthetic"]
    name = "energy" if plain.config.embedding == "electrons" else "grand_energy"
    shifted = replace(samples[0], **{name: getattr(samples[0], name) + 1.4})
    after = dict(loss_of(plain, double_batch((shifted, (0, 0)))).residuals)["synthetic"]
    assert after - before == pytest.approx(1.4 / samples[0].graph.n_atoms, rel=1e-6)


def test_charge_differences_fall_back_on_the_capacitance() -> None:
    nan = torch.nan
    electrons = [torch.tensor([0.1, nan, nan]), torch.tensor([0.3, nan, 0.2])]
    potential = [torch.tensor([5.0, 5.0, nan]), torch.tensor([4.0, 4.0, 4.0])]
    change = charge_difference(electrons, potential, torch.tensor([0.5, 0.5, 0.5]))
    # n rises by C times the fall of the potential.
    assert change.tolist() == pytest.approx([0.2, 0.5, 0.0])


def test_the_energy_offset_of_a_type_is_subtracted(
    plain: PEMACEModel, samples: list[Sample]
) -> None:
    batch = double_batch((samples[0], (0, 0)))
    [(_, residual)] = loss_of(plain, batch).residuals
    matched = batch_loss(plain, batch, WEIGHTS, LossWeights(), {"synthetic": residual},
                         scales(plain))  # fmt: skip
    assert matched.parts["energy"] == pytest.approx(0.0, abs=1e-12)
    near = batch_loss(plain, batch, WEIGHTS, LossWeights(), {"synthetic": residual - 0.004},
                      scales(plain))  # fmt: skip
    assert near.parts["energy"] == pytest.approx(0.004**2, rel=1e-6)  # a square below the outlier


def test_without_the_electrode_the_network_learns_forces_alone(
    network: Networks, samples: list[Sample]
) -> None:
    model = network("electrons", "dipole")
    batch = double_batch((samples[0], (0, 2)))
    loss = batch_loss(model, batch, WEIGHTS, LossWeights(), {}, scales(model), electrode=False)
    assert set(loss.parts) == {"forces"}  # an energy at n electrons says nothing about E(R, 0)
    assert loss.residuals == []
    x, known = inputs(model, batch)
    bare = predict(model, batch.graph, x, [torch.zeros_like(k) for k in known], WEIGHTS, False)[0]
    expected = (bare.forces - batch.forces[0]).square().mean()
    assert loss.parts["forces"] == pytest.approx(float(expected), rel=1e-9)
    loss.total.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.electrode.parameters())
    assert any(p.grad is not None and p.grad.any() for p in model.backbone.parameters())
    model.zero_grad()
