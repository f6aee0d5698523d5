"""A network that goes on with a higher correlation."""

from dataclasses import replace

import pytest
import torch

from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel
from voltase.aseplugin.structures import build_graph
from voltase.aseplugin.testing import pt111_water
from voltase.aseplugin.training.model_setup import take_weights


def network(correlation: int) -> PEMACEModel:
    backbone = BackboneConfig(r_max=3.0, channels=4, max_ell=2, correlation=correlation,
                              radial_mlp=(8,))  # fmt: skip
    config = PEMACEConfig(symbols=["H", "O", "Pt"], domains=["any"], backbone=backbone)
    torch.manual_seed(correlation)
    return PEMACEModel(config).double()


def energy(model: PEMACEModel) -> torch.Tensor:
    return model.describe(build_graph(pt111_water(), model.config)).energy


@pytest.mark.parametrize(("lower", "higher"), [(1, 2), (2, 3), (1, 3)])
def test_a_higher_correlation_answers_as_the_lower_one_and_learns(lower: int, higher: int) -> None:
    start, model = network(lower), network(higher)
    # The same normalisation of the messages, which training keeps too.
    model.load_state_dict({name: value for name, value in start.state_dict().items()
                           if name.endswith("normalisation")}, strict=False)  # fmt: skip
    taken, total = take_weights(model, start)
    assert taken == total
    torch.testing.assert_close(energy(model), energy(start), rtol=1e-12, atol=0)
    energy(model).sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if "weights_max" in name}
    assert len(gradients) == 2
    for gradient in gradients.values():
        assert gradient is not None
        assert gradient.abs().max() > 0.0


def test_a_lower_correlation_starts_its_contractions_afresh(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = network(2)
    assert model.config.backbone == replace(network(3).config.backbone, correlation=2)
    taken, total = take_weights(model, network(3))
    assert taken < total
    assert "contractions" in caplog.text
