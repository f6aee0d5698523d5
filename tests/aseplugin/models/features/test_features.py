"""Feature networks: what their scalars must not depend on, and that both kinds learn forces."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.features import (
    FeatureConfig,
    FeatureNetwork,
    HIPNNConfig,
    build_features,
)
from voltase.aseplugin.models.features import hipnn as hipnn_module
from voltase.aseplugin.models.graph import Graph
from voltase.aseplugin.models.softfqeq import SoftFQEqConfig, SoftFQEqModel
from voltase.aseplugin.models.softfqeq.checkpoint import load_model, save_model
from voltase.aseplugin.structures import build_graph

SYMBOLS = ["H", "O", "Pt"]
MACE = FeatureConfig("mace", BackboneConfig(r_max=4.0, channels=4, correlation=2, radial_mlp=(8,)))
KINDS = [pytest.param(MACE, id="mace")] + [
    pytest.param(
        FeatureConfig("hipnn", hipnn=HIPNNConfig(r_max=4.0, soft_max=3.5, num_sensitivities=6,
                                                 channels=4, order=order)),
        id=f"hipnn-{order}",
        marks=pytest.mark.skipif(find_spec("hippynn") is None, reason="hippynn is not installed"),
    )
    for order in ("scalar", "vector", "quadrupole")
]  # fmt: skip


def network(config: FeatureConfig) -> FeatureNetwork:
    torch.manual_seed(1)
    return build_features(config, SYMBOLS).double()


def graph(atoms: Atoms, config: FeatureConfig) -> Graph:
    return build_graph(atoms, SoftFQEqConfig(SYMBOLS, features=config))


@pytest.mark.parametrize("config", KINDS)
def test_features_do_not_depend_on_the_frame_of_reference(
    config: FeatureConfig, interface: Atoms
) -> None:
    net = network(config)
    with torch.no_grad():
        before = net(graph(interface, config)).scalars
        assert before.shape == (len(interface), net.width)
        turned = interface.copy()
        turned.rotate(37.0, "z", rotate_cell=True)
        turned.rotate(71.0, (1.0, 0.3, -0.4), rotate_cell=True)
        turned.translate((0.3, -0.7, 1.1))
        assert float((net(graph(turned, config)).scalars - before).abs().max()) < 1e-9
        order = np.random.default_rng(0).permutation(len(interface))
        shuffled = net(graph(interface[order], config)).scalars
        assert float((shuffled - before[torch.from_numpy(order)]).abs().max()) < 1e-10


@pytest.mark.parametrize("config", KINDS)
def test_a_model_comes_back_from_its_checkpoint(config: FeatureConfig, tmp_path: Path) -> None:
    torch.manual_seed(2)
    ranges = {"H-O": (1.25, 1.7), "O-Pt": (1.6, 2.6), "Pt-Pt": (3.0, 3.4), "H-Pt": (1.5, 2.0)}
    model = SoftFQEqModel(SoftFQEqConfig(SYMBOLS, features=config, bond_ranges=ranges))
    again, _ = load_model(str(save_model(tmp_path / "model", model, {})))
    before, after = model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name])


@pytest.mark.parametrize("config", KINDS)
def test_features_are_smooth_in_the_positions(config: FeatureConfig, interface: Atoms) -> None:
    net = network(config)
    structure = graph(interface, config)
    weights = torch.linspace(-1.0, 1.0, net.width, dtype=torch.float64)
    structure.positions.requires_grad_()
    energy = (torch.tanh(net(structure).scalars) @ weights).sum()
    (gradient,) = torch.autograd.grad(energy, structure.positions, create_graph=True)
    atom, step = len(interface) - 2, 1e-5
    values = []
    for sign in (1.0, -1.0):
        moved = interface.copy()
        moved.positions[atom, 2] += sign * step
        with torch.no_grad():
            scalars = net(graph(moved, config)).scalars
            values.append(float((torch.tanh(scalars) @ weights).sum()))
    found = float(gradient[atom, 2].detach())
    assert found == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-7)
    # A loss on forces reaches the weights.
    gradient.square().mean().backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert sum(float(g.abs().sum()) for g in gradients) > 0.0


def test_the_cutoff_follows_the_kind() -> None:
    config = FeatureConfig("hipnn", MACE.mace, HIPNNConfig(r_max=5.5))
    assert config.neighbours.r_max == 5.5
    assert MACE.neighbours.r_max == 4.0


def test_a_configuration_survives_json() -> None:
    import json
    from dataclasses import asdict

    assert FeatureConfig.from_dict(json.loads(json.dumps(asdict(MACE)))) == MACE


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (FeatureConfig, {"kind": "schnet"}, "kind: found 'schnet', expected one of mace, hipnn"),
        (HIPNNConfig, {"order": "octupole"}, "order: found 'octupole'"),
        (HIPNNConfig, {"channels": 0}, "channels: found 0, expected 1 or more"),
        (HIPNNConfig, {"soft_max": 9.0}, "soft_max: found soft_min 0.6, soft_max 9"),
    ],
)
def test_bad_settings_are_named(kind: type, values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(**values)


def test_hippynn_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "hippynn", None)
    monkeypatch.setitem(sys.modules, "hippynn.networks", None)
    with pytest.raises(InputError, match=r"pip install voltase\[hippynn\]"):
        hipnn_module.HIPNNFeatures(HIPNNConfig(), SYMBOLS)
