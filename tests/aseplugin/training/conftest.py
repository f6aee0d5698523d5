"""A tiny data set from an analytic electrode, and networks small enough to train in a test."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from ase.io import write

from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel
from voltase.aseplugin.training.config import DataConfig
from voltase.aseplugin.training.dataset import Sample, Split, group_samples
from voltase.aseplugin.training.frames import label_frame
from voltase.aseplugin.training.synthetic import synthetic_frames

Restored = Callable[[], PEMACEModel]


def tiny_config() -> PEMACEConfig:
    backbone = BackboneConfig(
        r_max=3.0, channels=4, max_ell=1, correlation=2, radial_mlp=(8,), num_bessel=4
    )
    return PEMACEConfig(
        symbols=["H", "O", "Pt"],
        n_members=2,
        capacitance=[2e-3],
        zero_charge_potential=[4.8],
        backbone=backbone,
    )


@pytest.fixture(scope="session")
def tiny() -> PEMACEConfig:
    return tiny_config()


@pytest.fixture(scope="session")
def network(tiny: PEMACEConfig) -> Callable[[str, str], PEMACEModel]:
    """A function from embedding and coupling to a network in float64, built once.

    Its weights are far from their first values. Tests must leave them as they are.
    """

    @cache
    def build(embedding: str, coupling: str) -> PEMACEModel:
        torch.manual_seed(2)
        form = {"embedding": embedding, "coupling": coupling}
        model = PEMACEModel(replace(tiny, **form)).double()  # type: ignore[arg-type]
        with torch.no_grad():
            for name, parameter in model.electrode.named_parameters():
                if name == "curvature":
                    parameter += 0.05 * torch.rand_like(parameter)
                elif parameter.dim() > 1:
                    parameter += 0.02 * torch.randn_like(parameter)
        return model

    return build


@pytest.fixture(scope="session")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "synthetic.extxyz"
    write(path, synthetic_frames(8, charges=3, waters=2))
    return path


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    """Eight geometries at three electron numbers each."""
    data = DataConfig()
    frames = [label_frame(atoms, data, "frame", i)
              for i, atoms in enumerate(synthetic_frames(8, charges=3, waters=2))]  # fmt: skip
    return group_samples(frames, data, tiny_config())


@pytest.fixture
def split(samples: list[Sample]) -> Split:
    return Split(train=samples[:5], valid=samples[5:6], test=samples[6:])


@pytest.fixture(scope="session")
def _session_model() -> tuple[PEMACEModel, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    model = PEMACEModel(tiny_config())
    return model, {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture
def fresh_model(_session_model: tuple[PEMACEModel, dict[str, torch.Tensor]]) -> Iterator[Restored]:
    """A function that puts one network (slow to build) back to its first weights."""
    model, first = _session_model

    def restored() -> PEMACEModel:
        model.load_state_dict(first)
        for parameter in model.parameters():
            parameter.requires_grad_(True)
            parameter.grad = None
        return model.train()

    yield restored
    restored()
