"""Runs that end where the committee no longer knows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.io import read

from voltase.aseplugin.active_learning.config import SamplingConfig
from voltase.aseplugin.active_learning.progress import Progress, Stopped
from voltase.aseplugin.active_learning.sampling import SampledRun, sample
from voltase.aseplugin.calculators.pemace import PEMACE
from voltase.aseplugin.errors import ExtrapolationError

CONFIG = SamplingConfig([0.0], steps=8, every=2, temp=100.0)


@pytest.fixture(scope="module")
def calculator(first_model: Path) -> PEMACE:
    return PEMACE(first_model)


def run(folder: Path, start: Atoms, calculator: PEMACE, **changes: Any) -> SampledRun:
    arguments: dict[str, Any] = {"potential": 0.2, "structure": 0, "upper": 10.0, "seed": [1],
                                 "progress": Progress()}  # fmt: skip
    config = replace(CONFIG, **changes.pop("config", {}))
    return sample(folder, "md", start, calculator, config, **(arguments | changes))


def test_frames_have_their_spread_and_electron_number(
    tmp_path: Path, start: Atoms, calculator: PEMACE
) -> None:
    done = run(tmp_path / "md", start, calculator)
    frames = read(tmp_path / "md" / "candidates.extxyz", ":")
    assert (done.ended, done.steps, done.failed) == ("completed", 8, False)
    assert done.candidates == len(frames) == 5
    assert frames[2].info["source"] == "md-step-4"
    assert done.max_spread == max(atoms.info["forces_spread"] for atoms in frames)
    # The same numbers as the calculator gives for the frame by itself.
    atoms = frames[3]
    calculator.excess_electrons = atoms.info["excess_electrons"]
    spread = calculator.get_property("forces_spread", atoms)
    assert spread == pytest.approx(atoms.info["forces_spread"], rel=1e-3)
    found = calculator.results["electrode_potential"]
    assert found == pytest.approx(atoms.info["electrode_potential"], abs=1e-4)


def test_a_finished_run_is_not_made_again_and_equal_seeds_give_equal_frames(
    tmp_path: Path, start: Atoms, calculator: PEMACE
) -> None:
    first = run(tmp_path / "a", start, calculator)
    before = (tmp_path / "a" / "candidates.extxyz").read_bytes()
    assert run(tmp_path / "a", start, calculator, seed=[2]) == first
    run(tmp_path / "b", start, calculator)
    assert (tmp_path / "b" / "candidates.extxyz").read_bytes() == before
    run(tmp_path / "c", start, calculator, seed=[2])
    assert (tmp_path / "c" / "candidates.extxyz").read_bytes() != before


def test_a_run_ends_at_the_upper_threshold(
    tmp_path: Path, start: Atoms, calculator: PEMACE, monkeypatch: pytest.MonkeyPatch
) -> None:
    spreads = iter([0.1, 0.2, 0.9, 0.1])
    get = calculator.get_property
    monkeypatch.setattr(calculator, "get_property", lambda name, *rest: (
        next(spreads) if name == "forces_spread" else get(name, *rest)))  # fmt: skip
    done = run(tmp_path / "md", start, calculator, upper=0.5)
    assert done.steps == 4
    assert "spread of the forces 0.9" in done.ended
    assert not done.failed
    assert done.max_spread == 0.9
    frames = read(tmp_path / "md" / "candidates.extxyz", ":")
    assert [atoms.info["forces_spread"] for atoms in frames] == [0.1, 0.2]


def test_a_run_that_goes_wrong_keeps_the_frames_before(
    tmp_path: Path, start: Atoms, calculator: PEMACE
) -> None:
    # Atoms move by more than an angstrom in a step.
    done = run(tmp_path / "md", start, calculator, config={"temp": 1e5, "timestep": 10.0})
    assert done.failed
    assert "frame in" not in done.ended
    assert done.candidates >= 1
    assert done.steps < 8


def test_a_run_ends_when_molecules_change(tmp_path: Path, start: Atoms, calculator: PEMACE) -> None:
    counts = iter([1, 1, 1, 0])
    done = run(tmp_path / "md", start, calculator, count_molecules=lambda _: {"H2O": next(counts)})
    assert done.ended == "step 4: molecules 1 H2O, now none"
    assert done.candidates == 2
    assert not done.failed


def test_a_stopped_run_leaves_nothing_that_looks_finished(
    tmp_path: Path, start: Atoms, calculator: PEMACE
) -> None:
    with pytest.raises(Stopped):
        run(tmp_path / "md", start, calculator, progress=Progress(stop=lambda: True))
    assert not (tmp_path / "md").exists()
    assert run(tmp_path / "md", start, calculator).ended == "completed"
    assert [path.name for path in tmp_path.iterdir()] == ["md"]


def test_a_potential_out_of_range_is_refused(
    tmp_path: Path, start: Atoms, calculator: PEMACE, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(calculator.card, "potential_range", [4.0, 5.0])
    with pytest.raises(ExtrapolationError, match="potential"):
        run(tmp_path / "md", start, calculator, potential=1.5)
