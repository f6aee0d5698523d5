"""A small density model with random weights, in float64."""

import pytest
import torch

from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.density.model import DensityConfig, DensityModel
from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel
from voltase.aseplugin.training.density.synthetic import SHELLS, VALENCE


def small_density_model(seed: int = 0) -> DensityModel:
    torch.manual_seed(seed)
    backbone = BackboneConfig(r_max=4.0, channels=4, max_ell=1, correlation=2, radial_mlp=(8,),
                              num_bessel=4)  # fmt: skip
    trunk = PEMACEModel(
        PEMACEConfig(symbols=["H", "O", "Pt"], n_members=2, capacitance=[2e-3],
                     zero_charge_potential=[4.8], backbone=backbone)
    )  # fmt: skip
    config = DensityConfig(valence=dict(VALENCE), shells=SHELLS, highest=2, r_max=4.0,
                           n_radial=3, n_features=4, width=4, hidden=8, response_width=3,
                           response_hidden=6)  # fmt: skip
    model = DensityModel(config, trunk)
    with torch.no_grad():
        for parameter in [*model.neutral.parameters(), *model.response.parameters()]:
            parameter += 0.2 * torch.randn_like(parameter)
        for found, buffer in zip(model.channels, model.per_element("superposition"), strict=True):
            buffer[: found.counts[0]] += 0.1 * torch.randn(found.counts[0])
        model.describer.components.normal_()
    return model.double().eval()


@pytest.fixture(scope="session")
def density_model() -> DensityModel:
    return small_density_model()
