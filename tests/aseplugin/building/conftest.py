"""Crystals that several tests cut."""

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from voltase.aseplugin.building.interface import CutSlab, cut_slab
from voltase.aseplugin.building.settings import InterfaceSettings

Cut = Callable[..., CutSlab]


@pytest.fixture(scope="session")
def cut() -> Cut:
    """Cuts a slab: crystal, facet and settings."""

    def make(crystal: str | Atoms, facet: str, **settings: object) -> CutSlab:
        return cut_slab(crystal, facet, InterfaceSettings(**settings))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def zincblende() -> Atoms:
    """ZnS, polar along [111]."""
    return bulk("ZnS", "zincblende", a=5.41)


def heights(atoms: Atoms, tolerance: float = 0.05) -> np.ndarray:  # type: ignore[type-arg]
    """Heights of the planes of atoms, from the lowest, in A."""
    z = np.sort(atoms.positions[:, 2])
    groups = np.split(z, np.flatnonzero(np.diff(z) > tolerance) + 1)
    return np.array([group.mean() for group in groups])
