"""A whole run: checkpoint, card and plots; restart, fine-tuning and refusals."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.io import read, write

from voltase.aseplugin.calculators.pemace import PEMACE
from voltase.aseplugin.errors import CheckpointError, InputError, VoltaseError
from voltase.aseplugin.models.checkpoint import file_hash, load_checkpoint, read_card
from voltase.aseplugin.training.config import DataConfig, TrainingConfig
from voltase.aseplugin.training.metrics import evaluate_sample
from voltase.aseplugin.training.run import RunConfig, TrainingRun
from voltase.aseplugin.training.state import read_meta, read_metrics
from voltase.aseplugin.training.synthetic import synthetic_frames

BACKBONE = {"r_max": 3.0, "channels": 4, "max_ell": 1, "correlation": 2, "radial_mlp": (8,),
            "num_bessel": 4, "pair_cutoffs": {"O-H": 2.0}}  # fmt: skip
PNG = b"\x89PNG"


def settings(data_file: Path, out: Path, **changes: Any) -> RunConfig:
    base = RunConfig(
        data=DataConfig(files=[str(data_file)], test_fraction=0.25, valid_fraction=0.125),
        model={"n_members": 2, "backbone": dict(BACKBONE)},
        training=TrainingConfig(epochs=1, atoms_per_batch=25, warmup_steps=2),
        card={"name": "tiny", "doi": "10.0/none", "description": "For tests."},
        out=str(out),
    )
    return replace(base, **changes)


@pytest.fixture(scope="module")
def finished(data_file: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    run = TrainingRun(settings(data_file, tmp_path_factory.mktemp("run") / "out"))
    assert run.train() == "finished"
    assert run.finish() == run.folder / "model"
    return run


def test_the_card_says_what_a_user_must_know(finished: TrainingRun, data_file: Path) -> None:
    card = read_card(finished.folder / "model")
    assert card["name"] == "tiny"
    assert card["doi"] == "10.0/none"
    assert card["elements"] == ["H", "O", "Pt"]
    assert card["default_domain"] == "default"
    [source] = card["data"]["files"]
    assert source == {"name": data_file.name, "sha256": file_hash(data_file)}
    assert card["data"]["frames"] == {"synthetic": 24}
    assert card["data"]["split"]["geometries"] == {"train": 5, "valid": 1, "test": 2}
    held = card["data"]["split"]["test_snapshots"]
    assert held == sorted({s.snapshot for s in finished.split.test})
    assert card["errors"]["test"] == finished.errors
    assert set(finished.errors["synthetic"]) >= {
        "force_rmse_meV_A", "potential_mae_V", "response_error", "energy_rmse_meV_atom"
    }  # fmt: skip
    assert card["training"]["epochs_done"] == 1
    assert card["training"]["hours"] > 0.0
    assert card["versions"]["torch"] == torch.__version__
    frames = read(data_file, ":")
    training = {s.snapshot for s in finished.split.train}
    used = [a for a in frames if f"synthetic/{a.info['geometry']}" in training]
    potentials = [a.info["electrode_potential"] for a in used]
    assert card["potential_range"] == pytest.approx([min(potentials), max(potentials)])
    area = np.linalg.norm(np.cross(*frames[0].cell.array[:2]))
    density = [a.info["excess_electrons"] / area for a in used]
    assert card["electrons_per_area_range"] == pytest.approx([min(density), max(density)])


def test_first_guesses_and_cut_offs_are_in_the_model(finished: TrainingRun) -> None:
    model, _ = load_checkpoint(finished.folder / "model")
    assert model.config.backbone.pair_cutoffs == {"H-O": 2.0}  # written "O-H" in the settings
    assert model.config.capacitance == pytest.approx([2e-3], rel=1e-3)
    assert model.config.backbone.normalisation is not None


def test_the_calculator_repeats_the_errors_of_the_card(finished: TrainingRun) -> None:
    """The averaged weights were saved: ASE gets what the evaluation saw."""
    calculator = PEMACE(finished.folder / "model", allow_extrapolation=True)
    held = {s.snapshot for s in finished.split.test}
    frames = [a for a in read(finished.config.data.files[0], ":")
              if f"synthetic/{a.info['geometry']}" in held]  # fmt: skip
    errors, potentials = [], []
    for atoms in frames:
        calculator.excess_electrons = atoms.info["excess_electrons"]
        atoms.calc = calculator
        errors.append(atoms.get_forces() - atoms.arrays["REF_forces"])
        potentials.append(calculator.results["electrode_potential"]
                          - atoms.info["electrode_potential"])  # fmt: skip
    found = finished.errors["synthetic"]
    rmse = 1e3 * np.sqrt(np.mean(np.square(errors)))
    assert rmse == pytest.approx(found["force_rmse_meV_A"], rel=1e-4)
    assert np.abs(potentials).mean() == pytest.approx(found["potential_mae_V"], abs=2e-4)


def test_energies_are_those_of_the_labels(finished: TrainingRun) -> None:
    """Up to what the network has not learned; the offset that training leaves free is gone."""
    model, _ = load_checkpoint(finished.folder / "model")
    pairs = [pair for s in finished.split.train for pair in evaluate_sample(model, s).energy]
    errors = np.array([found - label for label, found in pairs])
    assert len(errors) > 5
    assert abs(errors.mean()) < 0.2 * errors.std() + 1e-4


def test_the_folder_is_complete_and_readable(finished: TrainingRun) -> None:
    folder = finished.folder
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert found == {
        "state.safetensors", "metrics.jsonl", "learning_curve.png", "parity.png",
        "model/model.json", "model/model.safetensors", "model/README.md",
    }  # fmt: skip
    for name in ("learning_curve.png", "parity.png"):
        assert (folder / name).read_bytes().startswith(PNG)
    text = (folder / "model" / "README.md").read_text()
    card = read_card(folder / "model")
    assert text.startswith("# tiny\n\nFor tests.\n")
    assert card["sha256"] in text
    assert card["data"]["files"][0]["sha256"] in text
    assert f"{finished.errors['synthetic']['force_rmse_meV_A']:.1f}" in text
    for snapshot in card["data"]["split"]["test_snapshots"]:
        assert f"`{snapshot}`" in text


def test_a_finished_run_is_taken_up_without_training(
    finished: TrainingRun, data_file: Path
) -> None:
    again = TrainingRun(settings(data_file, finished.folder))
    assert again.resumed
    assert again.resumed_epoch == 1
    assert again.train() == "finished"
    assert again.trainer.step == finished.trainer.step
    assert len(read_metrics(finished.folder)) == 1
    before = (finished.folder / "model" / "model.safetensors").read_bytes()
    again.finish()
    assert (finished.folder / "model" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training": TrainingConfig(epochs=1, atoms_per_batch=25, warmup_steps=2,
                                     learning_rate=1e-3)},
         "training.learning_rate = 0.005, expected 0.001;"),
        ({"model": {"backbone": {**BACKBONE, "channels": 5}}},
         "model.backbone.channels = 4, expected 5 (1 more differ)"),
    ],
)  # fmt: skip
def test_the_state_of_another_configuration_is_refused(
    finished: TrainingRun, data_file: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        TrainingRun(settings(data_file, finished.folder, **change))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_data_are_another_configuration(finished: TrainingRun, tmp_path: Path) -> None:
    write(tmp_path / "other.extxyz", synthetic_frames(8, waters=2, seed=7))
    with pytest.raises(CheckpointError, match=r"data\.files"):
        TrainingRun(settings(tmp_path / "other.extxyz", finished.folder))


def test_a_run_can_be_made_longer(
    finished: TrainingRun, data_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "out").mkdir()
    for name in ("state.safetensors", "metrics.jsonl"):
        (tmp_path / "out" / name).write_bytes((finished.folder / name).read_bytes())
    longer = replace(finished.config.training, epochs=2)
    run = TrainingRun(settings(data_file, tmp_path / "out", training=longer))
    assert "epochs: the state was made for 1, now 2" in caplog.text
    assert run.train() == "finished"
    assert [r["epoch"] for r in read_metrics(tmp_path / "out")] == [1, 2]

    fresh = TrainingRun(settings(data_file, tmp_path / "out", restart=False))
    assert not fresh.resumed
    assert fresh.train() == "finished"
    assert [r["epoch"] for r in read_metrics(tmp_path / "out")] == [1]
    meta = read_meta(tmp_path / "out")
    assert meta is not None
    assert meta["configuration"]["training"]["epochs"] == 1


def test_fine_tuning_takes_weights_and_settings_of_a_checkpoint(
    finished: TrainingRun, data_file: Path, tmp_path: Path
) -> None:
    start = str(finished.folder / "model")
    run = TrainingRun(settings(data_file, tmp_path / "a", init=start, model={}))
    assert run.taken is not None
    assert run.taken[0] == run.taken[1]
    before, _ = load_checkpoint(start)
    for name, parameter in run.trainer.model.named_parameters():
        assert torch.equal(parameter.detach(), dict(before.named_parameters())[name]), name
    # Only the first guess of what the weights overrule may differ.
    here, there = run.trainer.model.config, before.config
    assert replace(here, dipole_scale=None) == replace(there, dipole_scale=None)
    assert not (tmp_path / "a").exists()


def test_fine_tuning_takes_only_what_fits(
    finished: TrainingRun, data_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = TrainingRun(settings(data_file, tmp_path / "a", init=str(finished.folder / "model"),
                               model={"n_members": 1}))  # fmt: skip
    assert run.taken is not None
    assert 0 < run.taken[0] < run.taken[1]
    assert "electrode.vector_mix" in caplog.text
    old = finished.trainer.model.backbone.state_dict()
    new = run.trainer.model.backbone.state_dict()
    with finished.trainer.averaged_model():
        assert all(torch.equal(old[name], new[name]) for name in old)


@pytest.fixture
def changed(data_file: Path, tmp_path: Path) -> Callable[[Callable[[Any], None]], Path]:
    """A function that writes the data with every frame changed."""

    def change(edit: Callable[[Any], None]) -> Path:
        frames = read(data_file, ":")
        for atoms in frames:
            edit(atoms)
        write(tmp_path / "changed.extxyz", frames)
        return tmp_path / "changed.extxyz"

    return change


def refused(config: RunConfig, error: type[VoltaseError] = InputError) -> str:
    """The one line of a refusal, which must leave nothing behind."""
    with pytest.raises(error) as caught:
        TrainingRun(config)
    assert not Path(config.out).exists()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_data_without_charged_labels_are_refused(
    changed: Callable[[Callable[[Any], None]], Path], tmp_path: Path
) -> None:
    def strip(atoms: Any) -> None:
        del atoms.info["excess_electrons"], atoms.info["electrode_potential"]

    message = refused(settings(changed(strip), tmp_path / "out"))
    assert "no frame with a label of the excess electrons" in message


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"symbols": ["H", "O"]}, "model.electrode_symbols: found Pt"),
        ({"symbols": ["O", "Pt"]}, "element H unknown"),
        ({"symbols": ["Pt", "O", "H"]}, "ascending"),
        ({"electrode_symbols": ["Au"]}, "found Au, expected some of the elements H, O, Pt"),
        ({"domains": ["a", "b"]}, "data.domains: found 'default'"),
        ({"domains": ["default", "b"]}, "model.domains: found no frames for the domain 'b'"),
        ({"capacitance": [1.0, 2.0]}, "model.capacitance: found 2 values"),
        ({"capacitance": [-1.0]}, "model.capacitance: found [-1.0], expected more than zero"),
        ({"atomic_energies": [[1.0]]}, "model.atomic_energies: found 1 values"),
        ({"bond_charges": {"OH": 0.3}}, "model.bond_charges: found 'OH'"),
        ({"backbone": {"correlation": 4}}, "model.backbone.correlation: found 4, expected 1 to 3"),
        ({"backbone": {"channels": 0}}, "model.backbone.channels: found 0"),
        ({"backbone": {"radial_mlp": ()}}, "model.backbone.radial_mlp"),
        ({"backbone": {"pair_cutoffs": {"H-X": 3.0}}}, "pair_cutoffs: found 'H-X'"),
        ({"backbone": {"pair_cutoffs": {"H-H": 9.0}}}, "at most r_max"),
    ],
)
def test_settings_of_the_model_that_do_not_fit(
    data_file: Path, tmp_path: Path, model: dict[str, Any], words: str
) -> None:
    assert words in refused(settings(data_file, tmp_path / "out", model=model))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"domains": {"sjm": "a", "*": "b"}}, "data.domains: found 'sjm', expected a config type"),
        ({"domains": {}}, "domains: config_type 'synthetic' is not listed"),
        ({"weights": {"sjm": 3}}, "data.weights: found 'sjm'"),
        ({"energy_types": ["sjm"]}, "data.energy_types: found 'sjm'"),
        ({"forces_key": "F"}, "no array 'F'"),
    ],
)
def test_settings_of_the_data_that_do_not_fit(
    data_file: Path, tmp_path: Path, data: dict[str, Any], words: str
) -> None:
    config = DataConfig(files=[str(data_file)], **data)
    assert words in refused(settings(data_file, tmp_path / "out", data=config))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": DataConfig()}, "files: found none"),
        ({"data": DataConfig(files=["absent.extxyz"])}, "absent.extxyz not found"),
        ({"device": "abacus"}, "device: found 'abacus'"),
        ({"threads": 0}, "threads: found 0"),
        ({"card": {"sha256": "0"}}, "card: found 'sha256'"),
        ({"card": {"default_domain": "x"}}, "default_domain is 'x', expected one of default"),
        ({"card": {"note": object()}}, "JSON"),
    ],
)
def test_other_settings_that_cannot_be_used(
    data_file: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    assert words in refused(settings(data_file, tmp_path / "out", **change))


def test_the_same_file_twice_is_refused(data_file: Path, tmp_path: Path) -> None:
    config = DataConfig(files=[str(data_file)] * 2)
    assert "twice" in refused(settings(data_file, tmp_path / "out", data=config))


def test_an_absent_checkpoint_to_start_from(data_file: Path, tmp_path: Path) -> None:
    config = settings(data_file, tmp_path / "out", init=str(tmp_path / "none"))
    assert "neither a checkpoint folder" in refused(config, CheckpointError)


def test_a_file_in_place_of_the_folder(data_file: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="no folder to write to"):
        TrainingRun(settings(data_file, tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "a file"


def test_potentials_as_input_and_frames_of_the_fermi_level_layout(
    changed: Callable[[Callable[[Any], None]], Path], tmp_path: Path
) -> None:
    """Frames with a Fermi level on each atom and no electron number train Omega(R, Phi)."""

    def relabel(atoms: Any) -> None:
        level = -atoms.info.pop("electrode_potential")
        atoms.arrays["field_scalar"] = np.full(len(atoms), level)
        del atoms.info["excess_electrons"]

    path = changed(relabel)
    config = settings(path, tmp_path / "out",
                      model={"embedding": "potential", "backbone": dict(BACKBONE)})  # fmt: skip
    config.data.energy_kind = "grand"
    run = TrainingRun(config)
    assert run.train() == "finished"
    run.finish()
    [record] = read_metrics(tmp_path / "out")
    assert set(record["loss"]) == {"forces", "energy", "force_difference"}
    card = json.loads((tmp_path / "out" / "model" / "model.json").read_text())
    assert "electrons_per_area_range" not in card
    assert card["potential_range"][0] < card["potential_range"][1]
    assert "Phi" in (tmp_path / "out" / "model" / "README.md").read_text()
