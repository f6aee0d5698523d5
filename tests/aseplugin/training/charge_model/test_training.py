"""Training of Soft-FQEq: labels, the cached interaction, learning, resuming, the checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from ase.io import write

from voltase.aseplugin import SoftFQEq
from voltase.aseplugin.errors import CheckpointError, DynamicsError, InputError
from voltase.aseplugin.models.softfqeq import SoftFQEqModel
from voltase.aseplugin.models.softfqeq.config import NetworkEnergy
from voltase.aseplugin.training.charge_model.config import (
    ChargeDataConfig,
    ChargeLossWeights,
    ChargeTrainingConfig,
)
from voltase.aseplugin.training.charge_model.dataset import ChargeSample, charge_samples
from voltase.aseplugin.training.charge_model.equilibrate import FixedGeometry
from voltase.aseplugin.training.charge_model.losses import predict, sample_loss
from voltase.aseplugin.training.charge_model.metrics import ChargeErrors, ChargeEvaluation
from voltase.aseplugin.training.charge_model.run import ChargeRunConfig, ChargeTrainingRun
from voltase.aseplugin.training.frames import read_frames
from voltase.aseplugin.training.state import read_metrics

from .conftest import MODEL


def run_config(frames: Path, out: Path, **training: Any) -> ChargeRunConfig:
    given = {"epochs": 6, "learning_rate": 0.02, "evaluate_every": 3, "warmup_steps": 2,
             "ema_decay": 0.5, "loss": ChargeLossWeights(forces=0.0), **training}  # fmt: skip
    data = ChargeDataConfig(files=[str(frames)], test_fraction=0.17, valid_fraction=0.17)
    return ChargeRunConfig(data, dict(MODEL), ChargeTrainingConfig(**given), out=str(out))


@pytest.fixture(scope="module")
def samples(charge_frames: Path, fqeq_model: SoftFQEqModel) -> list[ChargeSample]:
    data = ChargeDataConfig(files=[str(charge_frames)])
    return charge_samples(read_frames(data), data, fqeq_model.config)


def geometry_of(model: SoftFQEqModel, sample: ChargeSample) -> FixedGeometry:
    width = model.log_width.detach().double().exp()[sample.graph.species]
    return FixedGeometry.of(sample.structure, width, True)


def test_frames_of_one_geometry_are_one_sample(samples: list[ChargeSample]) -> None:
    assert len(samples) == 6
    assert all(len(sample.states) == 2 for sample in samples)
    for sample in samples:
        assert float(sample.charges.sum(1).abs().max()) < 1e-12
        fields = [state.field for state in sample.states]
        assert fields[0] == pytest.approx(-fields[1])
        assert fields[0] > 0.0  # n < 0: the field points away from the electrode
        assert all(state.excess_electrons == 0.0 for state in sample.states)


@pytest.mark.parametrize("network_energy", ["short-range", "neutral"])
def test_the_cached_interaction_gives_what_the_model_gives(
    samples: list[ChargeSample], fqeq_model: SoftFQEqModel, network_energy: NetworkEnergy
) -> None:
    sample = samples[0]
    model = SoftFQEqModel(replace(fqeq_model.config, network_energy=network_energy))
    model.set_precision(torch.float64)
    model.load_state_dict(fqeq_model.state_dict())
    found = predict(model, sample, geometry_of(model, sample), [0, 1], True, False)
    assert found.forces is not None
    for k in (0, 1):
        structure, leaves = sample.structure.leaves(with_strain=False)
        expected = model.solve(structure, model(structure), sample.states[k])
        difference = found.solutions[k].charges - expected.charges
        assert float(difference.detach().abs().max()) < 1e-6
        assert float((found.solutions[k].energy - expected.energy).detach()) == pytest.approx(
            0.0, abs=1e-5
        )
        if k == 0:
            (gradient,) = torch.autograd.grad(expected.energy, leaves)
            assert float((found.forces + gradient).abs().max()) < 1e-3


def test_the_gradient_of_the_loss_on_forces(
    samples: list[ChargeSample], fqeq_model: SoftFQEqModel
) -> None:
    """By weights that only charges depend on, which forces see through the solution."""
    model = SoftFQEqModel(fqeq_model.config)
    model.set_precision(torch.float64)
    model.load_state_dict(fqeq_model.state_dict())
    sample, weights = samples[1], ChargeLossWeights(forces=10.0, energy=0.0)
    geometry = geometry_of(model, sample)
    geometry = replace(geometry, gradient=geometry.gradient.double())  # type: ignore[union-attr]
    sample_loss(model, sample, geometry, [0, 1], weights, {}).total.backward()
    for parameter, index in ((model.electronegativity.element, 1), (model.log_hardness, 2)):
        assert parameter.grad is not None
        step, values = 1e-3, []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                parameter[index] += sign * step
            loss = sample_loss(model, sample, geometry, [0, 1], weights, {})
            values.append(float(loss.total.detach()))
            with torch.no_grad():
                parameter[index] -= sign * step
        slope = (values[0] - values[1]) / (2 * step)
        assert float(parameter.grad[index]) == pytest.approx(slope, rel=2e-3, abs=1e-4)


def test_training_learns_charges_and_writes_a_checkpoint(
    charge_frames: Path, tmp_path: Path
) -> None:
    run = ChargeTrainingRun(run_config(charge_frames, tmp_path / "run"))
    assert run.train() == "finished"
    folder = run.finish()
    records = read_metrics(tmp_path / "run")
    assert records[-1]["loss"]["charges"] < 0.5 * records[0]["loss"]["charges"]
    assert run.errors["field"]["charge_mae_e"] < 0.1
    assert folder is not None
    for name in ("learning_curve.png", "parity.png", "model/README.md"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    card = (folder / "README.md").read_text()
    assert "between plates whose charges are no atoms'" in card
    atoms = ase.io.read(charge_frames, 0)
    calc = SoftFQEq(folder)
    calc.calculate(atoms, ["charges"])
    assert calc.results["charges"].sum() == pytest.approx(0.0, abs=1e-9)


def test_a_stopped_training_goes_on_as_if_nothing_had_happened(
    charge_frames: Path, tmp_path: Path
) -> None:
    whole = ChargeTrainingRun(run_config(charge_frames, tmp_path / "whole", epochs=2))
    whole.train()
    steps = iter([False] * 5 + [True])
    part = ChargeTrainingRun(run_config(charge_frames, tmp_path / "part", epochs=2))
    assert part.train(stop=lambda: next(steps)) == "interrupted"
    again = ChargeTrainingRun(run_config(charge_frames, tmp_path / "part", epochs=2))
    assert again.resumed_epoch == 1
    assert again.train() == "finished"
    for one, other in zip(whole.trainer.average, again.trainer.average, strict=True):
        assert torch.equal(one, other)


def test_a_state_of_other_settings_is_refused(charge_frames: Path, tmp_path: Path) -> None:
    run = ChargeTrainingRun(run_config(charge_frames, tmp_path, epochs=1))
    run.train(stop=lambda: True)
    with pytest.raises(CheckpointError, match=r"restart: the state in .* has training\.seed = 0"):
        ChargeTrainingRun(run_config(charge_frames, tmp_path, epochs=1, seed=1))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (ChargeDataConfig, {"charging": "wire"}, "charging: found 'wire'"),
        (ChargeLossWeights, {"charges": -1.0}, "charges: found -1.0, expected zero or more"),
        (ChargeTrainingConfig, {"epochs": 0}, "epochs: found 0, expected 1 or more"),
        (ChargeTrainingConfig, {"ema_decay": 1.0}, "ema_decay: found 1.0"),
        (ChargeTrainingConfig, {"features_rate": -1.0}, "features_rate: found -1.0"),
    ],
)
def test_bad_settings_are_named(kind: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(**values)


def test_bad_charges_are_named(charge_frames: Path, tmp_path: Path) -> None:
    atoms = ase.io.read(charge_frames, 0)
    data = ChargeDataConfig(files=[str(tmp_path / "bad.extxyz")])
    config = run_config(tmp_path / "bad.extxyz", tmp_path / "out")
    atoms.arrays["hirshfeld_charges"] = np.full(len(atoms), np.nan)
    write(tmp_path / "bad.extxyz", atoms)
    with pytest.raises(InputError, match="'hirshfeld_charges' has values that are not finite"):
        ChargeTrainingRun(config)
    del atoms.arrays["hirshfeld_charges"]
    write(tmp_path / "bad.extxyz", atoms)
    with pytest.raises(InputError, match="charges_key: found no frame with an array"):
        ChargeTrainingRun(replace(config, data=data))


def test_labels_that_do_not_change_have_no_relative_error() -> None:
    """A plane between plates leaves the electrode's charge as it is, to rounding."""
    electrode, zero = np.array([True, True]), np.zeros((2, 0, 3))
    errors = ChargeErrors(
        config_type="field", species=np.zeros(2, dtype=np.int64), electrode=electrode,
        electrons=np.array([-0.1, 0.1]), charges=np.array([[0.1, -0.1], [0.1, -0.1 + 1e-16]]),
        charges_found=np.array([[0.1, 0.0], [0.2, 0.0]]), potential=np.array([4.0, 5.0]),
        potential_found=np.array([4.0, 4.5]), forces=zero, forces_found=zero,
    )  # fmt: skip
    found = ChargeEvaluation(["Pt"], [errors]).summary()["field"]
    assert not any(name.startswith("electrode_response") for name in found)
    assert found["potential_response_error"] == pytest.approx(0.5)


def test_a_geometry_without_labels_teaches_nothing(
    samples: list[ChargeSample], fqeq_model: SoftFQEqModel
) -> None:
    unknown = torch.full_like(samples[0].electrons, torch.nan)
    sample = replace(samples[0], charges=torch.full_like(samples[0].charges, torch.nan),
                     potential=unknown, energy=unknown)  # fmt: skip
    loss = sample_loss(fqeq_model, sample, geometry_of(fqeq_model, sample), [0, 1],
                       ChargeLossWeights(forces=0.0), {})  # fmt: skip
    assert float(loss.total.detach()) == 0.0
    assert loss.parts == {}


def test_weights_that_are_not_finite_are_not_saved(charge_frames: Path, tmp_path: Path) -> None:
    run = ChargeTrainingRun(run_config(charge_frames, tmp_path / "run", epochs=1))
    run.trainer.average[0].fill_(float("inf"))
    with pytest.raises(DynamicsError, match="training: weights are not finite"):
        run.finish()
    assert not (tmp_path / "run").exists()
