"""A first committee with random weights, frames from an analytic electrode, and short loops."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ase import Atoms
from ase.io import write

from voltase.aseplugin.active_learning.config import (
    LabellingConfig,
    LoopConfig,
    SamplingConfig,
    SelectionConfig,
    StopConfig,
)
from voltase.aseplugin.active_learning.labelling import EngineLabeller
from voltase.aseplugin.labelling.engine_spec import EngineSpec
from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.checkpoint import save_checkpoint
from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel
from voltase.aseplugin.training.config import DataConfig, TrainingConfig
from voltase.aseplugin.training.synthetic import synthetic_frames

ENGINE = "voltase.aseplugin.training.synthetic:PointChargeEngine"
MakeConfig = Callable[..., LoopConfig]


def network(members: int = 2) -> PEMACEModel:
    backbone = BackboneConfig(
        r_max=3.0, channels=4, max_ell=1, correlation=2, radial_mlp=(8,), num_bessel=4
    )
    torch.manual_seed(3)
    return PEMACEModel(
        PEMACEConfig(symbols=["H", "O", "Pt"], n_members=members, backbone=backbone,
                     capacitance=[2e-3], zero_charge_potential=[4.8])
    )  # fmt: skip


@pytest.fixture(scope="session")
def first_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = network()
    with torch.no_grad():
        for weight in model.readouts.parameters():
            weight *= 0.01
    return save_checkpoint(tmp_path_factory.mktemp("first") / "model", model, {})


def bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


@pytest.fixture(scope="session")
def start() -> Atoms:
    """Where the dynamics start: 11 atoms."""
    return bare(synthetic_frames(1, charges=1, waters=1, seed=4)[0])


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with few.extxyz to train on and held.extxyz to judge by."""
    folder = tmp_path_factory.mktemp("data")
    write(folder / "few.extxyz", synthetic_frames(3, charges=2, waters=1, seed=0))
    held = synthetic_frames(3, charges=2, waters=1, seed=1)
    for atoms in held:
        atoms.info["config_type"] = "held-out"
    write(folder / "held.extxyz", held)
    return folder


@pytest.fixture
def labeller() -> EngineLabeller:
    return EngineLabeller(EngineSpec(ENGINE), "active-learning")


@pytest.fixture
def config(first_model: Path, files: Path, tmp_path: Path) -> MakeConfig:
    """A function that makes settings of a loop of one short round, with changes."""
    usual = LoopConfig(
        init=str(first_model),
        data=DataConfig(files=[str(files / "few.extxyz")], test_fraction=0.0, valid_fraction=0.0),
        held_out=[str(files / "held.extxyz")],
        sampling=SamplingConfig([0.0, "600mV"], steps=8, every=4, temp=50.0,
                                allow_extrapolation=True),
        selection=SelectionConfig(lower=0.0, upper=1e3, per_round=2, min_distance=0.0),
        labelling=LabellingConfig(ENGINE, offsets=[0.02]),
        training=TrainingConfig(epochs=1, atoms_per_batch=22, warmup_steps=2),
        stop=StopConfig(max_rounds=1),
        out=str(tmp_path / "loop"),
    )  # fmt: skip

    def make(**changes: Any) -> LoopConfig:
        parts = {}
        for name, value in changes.items():
            part = getattr(usual, name)
            given = isinstance(value, dict) and not isinstance(part, dict)
            parts[name] = replace(part, **value) if given else value
        return replace(usual, **parts)

    return make
