"""A small force field with random weights, and the interface it comes with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111, molecule
from ase.constraints import FixAtoms
from ase.io import write

MakeModel = Callable[..., Path]


def interface(side: int = 2, layers: int = 2, waters: int = 2) -> Atoms:
    """Pt(111) with its lowest layer fixed, molecules on a grid above it, vacuum."""
    atoms = fcc111("Pt", (side, side, layers), a=3.97, vacuum=6.0)
    fixed = np.flatnonzero(atoms.get_tags() == layers)
    cell, top = atoms.cell.array, atoms.positions[:, 2].max()
    for k in range(waters):
        sheet, place = divmod(k, side * side)
        water = molecule("H2O")
        water.rotate(37.0 * k, "z")
        water.translate((place // side * cell[0] + place % side * cell[1]) / side)
        water.positions[:, 2] += top + 2.8 + 2.9 * sheet
        atoms += water
    atoms.set_tags(0)
    atoms.info.clear()
    atoms.cell[2, 2] = atoms.positions[:, 2].max() + 12.0
    atoms.pbc = True
    atoms.set_constraint(FixAtoms(indices=fixed))
    return atoms


@pytest.fixture(scope="session")
def make_interface() -> Callable[..., Atoms]:
    """The function above, for other sizes."""
    return interface


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Writes a checkpoint with weak forces: atoms at 20 K stay where they are for a while."""

    def make(atoms: Atoms, channels: int = 4, seed: int = 0, **config: Any) -> Path:
        import torch

        from voltase.aseplugin.models.backbone import BackboneConfig
        from voltase.aseplugin.models.checkpoint import save_checkpoint
        from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel

        torch.manual_seed(seed)
        backbone = BackboneConfig(channels=channels, r_max=4.0, radial_mlp=(8,))
        # Uncharged at 4.2 V, so that n is small where the tests go.
        weak = {"dipole_scale": [0.02], "zero_charge_potential": [4.2]}
        model = PEMACEModel(
            PEMACEConfig(symbols=["H", "O", "Pt"], backbone=backbone, **weak, **config)
        )
        with torch.no_grad():
            for weight in model.readouts.parameters():
                weight *= 0.01
        folder = tmp_path_factory.mktemp("model")
        card = {"potential_range": [3.0, 6.0], "electrons_per_area_range": [-0.02, 0.02]}
        save_checkpoint(folder, model, card)
        write(folder / "interface.extxyz", atoms)
        return folder

    return make


@pytest.fixture(scope="session")
def model(make_model: MakeModel) -> Path:
    """A model of E(R, n) with two committee members, and an interface of 14 atoms."""
    return make_model(interface(), n_members=2)


@pytest.fixture
def fast_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep loaded networks and draw no figures: each of the two takes longer than a short run."""
    from voltase.aseplugin.calculators import pemace
    from voltase.aseplugin.models.checkpoint import load_checkpoint, resolve_checkpoint
    from voltase.cli import md_plots

    def load(name: str | Path) -> Any:
        folder = resolve_checkpoint(name)
        key = tuple(path.read_bytes() for path in sorted(folder.glob("model.*")))
        if key not in _LOADED:
            _LOADED[key] = load_checkpoint(name)
        return _LOADED[key]

    monkeypatch.setattr(pemace, "load_checkpoint", load)
    monkeypatch.setattr(md_plots, "save_figure", lambda figure, path: None)


_LOADED: dict[tuple[bytes, ...], Any] = {}
