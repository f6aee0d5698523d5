"""Training lowers all errors, goes on where it stopped, and says what it did."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from voltase.aseplugin.calculators.electron_density import ElectronDensity
from voltase.aseplugin.errors import CheckpointError, InputError
from voltase.aseplugin.models.density.checkpoint import load_model
from voltase.aseplugin.training.density.config import DensityRunConfig, DensityTrainingConfig
from voltase.aseplugin.training.density.run import DensityTraining
from voltase.aseplugin.training.state import read_metrics

Settings = Callable[..., DensityRunConfig]


def trained(config: DensityRunConfig) -> DensityTraining:
    run = DensityTraining(config)
    assert run.prepare()
    assert run.trainer.run() == "finished"
    run.finish()
    return run


@pytest.fixture(scope="module")
def finished(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> DensityTraining:
    return trained(settings(tmp_path_factory.mktemp("run")))


def test_errors_fall_on_what_was_held_out(finished: DensityTraining) -> None:
    errors = finished.errors["test"]
    assert errors["nmae_percent"] < 6.0
    assert errors["difference_nmae_percent"] < 60.0
    assert errors["largest_electrons_error"] < 1e-9
    records = read_metrics(finished.folder)
    assert [record["epoch"] for record in records] == [30, 60]
    assert records[1]["train_density"] < records[0]["train_density"]


def test_the_card_says_what_was_held_out(finished: DensityTraining) -> None:
    model, card = load_model(finished.folder / "model")
    assert card["data"]["densities"] == {"train": 12, "valid": 0, "test": 3}
    assert len(card["data"]["geometries"]["test"]) == 1
    low, high = card["electrons_per_area_range"]
    assert low == pytest.approx(-high)
    text = (finished.folder / "model" / "README.md").read_text()
    assert "Errors on geometries held out" in text
    assert (finished.folder / "profiles.png").is_file()
    assert (finished.folder / "learning_curve.png").is_file()
    assert model.config.valence == {"H": 1, "O": 6, "Pt": 10}


def test_a_trained_model_predicts(finished: DensityTraining) -> None:
    model = ElectronDensity(finished.folder / "model")
    geometry = finished.test[0]
    frame = geometry.frames[0]
    grid = model.predict(geometry.atoms, excess_electrons=frame.excess_electrons,
                         shape=frame.shape)  # fmt: skip
    rho = frame.values()
    assert np.abs(grid.values - rho).sum() / rho.sum() < 0.06


def test_a_stopped_training_goes_on_bit_for_bit(settings: Settings, tmp_path: Path) -> None:
    whole = trained(settings(tmp_path / "whole", steps=20))
    config = settings(tmp_path / "parts", steps=20)
    asked: Iterator[bool] = iter([*[False] * 9, True])
    run = DensityTraining(config)
    run.prepare()
    assert run.trainer.run(stop=lambda: next(asked)) == "interrupted"
    again = trained(config)
    assert again.resumed
    for a, b in zip(whole.trainer.averages, again.trainer.averages, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_a_state_of_other_settings_is_refused(settings: Settings, tmp_path: Path) -> None:
    trained(settings(tmp_path, steps=3))
    run = DensityTraining(settings(tmp_path, steps=3, learning_rate=1e-3))
    with pytest.raises(CheckpointError, match="of other settings or data"):
        run.prepare()


def test_wrong_valences_are_refused(settings: Settings, tmp_path: Path) -> None:
    config = settings(tmp_path)
    config.model = {**config.model, "valence": {"H": 1, "O": 8, "Pt": 10}}
    with pytest.raises(InputError, match="electrons of model.valence"):
        DensityTraining(config).prepare()


def test_an_unknown_geometry_is_named(settings: Settings, tmp_path: Path) -> None:
    config = settings(tmp_path)
    config.data.test_geometries = ["x/1"]
    with pytest.raises(InputError, match="test_geometries: found no 'x/1'"):
        DensityTraining(config)


def test_the_rate_ends_where_it_should() -> None:
    config = DensityTrainingConfig(steps=100, warmup_steps=10)
    assert config.rate(0) == pytest.approx(config.learning_rate / 10)
    assert config.rate(10) == pytest.approx(config.learning_rate)
    assert config.rate(100) == pytest.approx(config.final_learning_rate)
