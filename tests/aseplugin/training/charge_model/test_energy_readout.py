"""A PE-MACE model's energy as the first guess of the short-range energy."""

from dataclasses import replace

import pytest
import torch

from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.features import FeatureConfig
from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel
from voltase.aseplugin.models.softfqeq import SoftFQEqConfig, SoftFQEqModel
from voltase.aseplugin.structures import build_graph
from voltase.aseplugin.testing import pt111_water
from voltase.aseplugin.training.charge_model.energy_readout import energy_readout
from voltase.aseplugin.training.charge_model.model_setup import Start, take_weights

BACKBONE = BackboneConfig(r_max=4.0, channels=4, max_ell=1, correlation=2, radial_mlp=(8,))
CONFIG = PEMACEConfig(
    symbols=["H", "O", "Pt"],
    domains=["first", "second"],
    readouts="shared",
    n_members=2,
    backbone=BACKBONE,
)


def network(config: PEMACEConfig) -> PEMACEModel:
    torch.manual_seed(4)
    return PEMACEModel(config).double()


def test_the_short_range_energy_is_that_of_the_network() -> None:
    start = network(CONFIG)
    # 16 hidden units of 2 members in 2 domains, and 6 to spare.
    model = SoftFQEqModel(
        SoftFQEqConfig(
            symbols=CONFIG.symbols,
            features=FeatureConfig("mace", mace=BACKBONE),
            hidden=70,
            bond_ranges={"Pt-Pt": (3.2, 3.6)},
        )
    ).double()
    weights = {f"features.backbone.{k}": v for k, v in start.backbone.state_dict().items()}
    take_weights(model, Start("pe-mace", {}, weights, CONFIG.symbols, network=start))
    graph = build_graph(pt111_water(), CONFIG).with_layout()
    with torch.no_grad():
        expected = start.describe(graph).energy.mean()
        found = model.energy(model.features(graph).scalars, graph.species).sum()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert abs(float(expected)) > 1e-3


@pytest.mark.parametrize(("hidden", "readouts"), [(63, "shared"), (64, "own")])
def test_readouts_that_do_not_fit_are_left(hidden: int, readouts: str) -> None:
    start = network(replace(CONFIG, readouts=readouts))
    assert energy_readout(start, hidden) == {}
