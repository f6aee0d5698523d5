"""Structures and runs on the analytic engine of ``tests/data/engines``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from voltase.aseplugin.labelling.engine_spec import EngineSpec
from voltase.aseplugin.labelling.schedule import Task
from voltase.aseplugin.labelling.structures import Structure
from voltase.aseplugin.testing import oscillator_atoms

ENGINES = Path(__file__).resolve().parents[2] / "data" / "engines"
MakeTasks = Callable[..., list[Task]]
MakeSpec = Callable[..., EngineSpec]


def displaced(atoms: int, seed: int) -> Atoms:
    """Oscillators off their places of rest."""
    structure = oscillator_atoms(atoms)
    structure.positions[:, 2] += np.random.default_rng(seed).normal(0.0, 0.05, atoms)
    return structure


@pytest.fixture
def make_tasks() -> MakeTasks:
    """Structures of 3, 4, ... atoms, so that the log of calls tells them apart."""

    def make(count: int = 2, **points: Any) -> list[Task]:
        structures = [Structure(displaced(3 + k, k), f"s-{k}", f"s@{k}") for k in range(count)]
        return [Task.of(structure, **points) for structure in structures]

    return make


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the engine notes its calls."""
    return tmp_path / "calls.log"


@pytest.fixture
def make_spec(monkeypatch: pytest.MonkeyPatch, log: Path) -> MakeSpec:
    """The analytic engine by its import path, which other processes follow too."""
    monkeypatch.syspath_prepend(ENGINES)
    monkeypatch.setenv("PYTHONPATH", str(ENGINES))

    def make(**settings: Any) -> EngineSpec:
        return EngineSpec("capacitor_engine:CapacitorEngine", {"log": str(log)} | settings)

    return make
