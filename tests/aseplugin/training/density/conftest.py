"""A short training on made-up densities."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.checkpoint import save_checkpoint
from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel
from voltase.aseplugin.training.density.config import (
    DensityDataConfig,
    DensityRunConfig,
    DensityTrainingConfig,
)
from voltase.aseplugin.training.density.synthetic import SHELLS, VALENCE, write_synthetic

MODEL = {
    "valence": dict(VALENCE), "shells": SHELLS, "highest": 2, "r_max": 4.0, "n_radial": 4,
    "n_features": 4, "width": 6, "hidden": 12, "response_width": 4, "response_hidden": 8,
}  # fmt: skip


@pytest.fixture(scope="session")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    backbone = BackboneConfig(r_max=4.0, channels=4, max_ell=1, correlation=2, radial_mlp=(8,),
                              num_bessel=4)  # fmt: skip
    config = PEMACEConfig(symbols=["H", "O", "Pt"], capacitance=[2e-3], backbone=backbone,
                          zero_charge_potential=[4.8])  # fmt: skip
    return save_checkpoint(tmp_path_factory.mktemp("trunk"), PEMACEModel(config), {"name": "t"})


@pytest.fixture(scope="session")
def densities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("data") / "densities.h5", 5)


@pytest.fixture(scope="session")
def settings(trunk: Path, densities: Path) -> Callable[..., DensityRunConfig]:
    """Settings of a short run; keywords are those of the training."""

    def make(out: Path, **training: object) -> DensityRunConfig:
        options = {"steps": 60, "batch": 2, "learning_rate": 2e-2, "evaluate_every": 30,
                   "warmup_steps": 5, "ema_decay": 0.9, **training}  # fmt: skip
        return DensityRunConfig(
            data=DensityDataConfig(files=[str(densities)], test_fraction=0.2),
            model=dict(MODEL),
            training=DensityTrainingConfig(**options),  # type: ignore[arg-type]
            trunk=str(trunk),
            out=str(out),
            threads=1,
        )

    return make
