"""Dynamics of the analytic model, shared by the tests of this folder."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from ase.units import fs, kB

from voltase.aseplugin.potentiostat.dynamics import ConstantPotentialMD
from voltase.aseplugin.testing import (
    CapacitorOscillators,
    GrandCanonicalCapacitorOscillators,
    oscillator_atoms,
)


def build_atoms(
    grand: bool = False,
    count: int = 5,
    symbol: str = "O",
    fixed: tuple[int, ...] = (),
    temperature_K: float = 300.0,
    seed: int = 0,
    **parameters: Any,
) -> Atoms:
    atoms = oscillator_atoms(count, symbol)
    kind = GrandCanonicalCapacitorOscillators if grand else CapacitorOscillators
    atoms.calc = kind(atoms.positions, **parameters)
    noise = np.random.default_rng(seed).standard_normal((count, 3))
    momenta = noise * np.sqrt(atoms.get_masses()[:, None] * kB * temperature_K)
    momenta[list(fixed)] = 0.0
    atoms.set_momenta(momenta)
    if fixed:
        atoms.set_constraint(FixAtoms(indices=list(fixed)))
    return atoms


def build_dynamics(
    method: str,
    thermostat: str = "nve",
    *,
    potential: Any = 0.0,
    timestep_fs: float = 0.5,
    temperature_K: float | None = 300.0,
    seed: int = 0,
    atoms: Atoms | None = None,
    model: dict[str, Any] | None = None,
    **options: Any,
) -> ConstantPotentialMD:
    if atoms is None:
        atoms = build_atoms(method == "direct", seed=seed, **(model or {}))
    return ConstantPotentialMD(
        atoms,
        potential,
        timestep=timestep_fs * fs,
        temperature_K=temperature_K,
        method=method,
        thermostat=thermostat,
        rng=np.random.default_rng(seed),
        **options,
    )


@pytest.fixture(scope="session")
def make_atoms() -> Callable[..., Atoms]:
    """Oscillators with a calculator and momenta at 300 K."""
    return build_atoms


@pytest.fixture(scope="session")
def make_dynamics() -> Callable[..., ConstantPotentialMD]:
    """Dynamics of five oscillators by method and thermostat."""
    return build_dynamics
