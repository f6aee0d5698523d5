"""A whole training of a density model: from settings to a checkpoint with its card and plots."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers

from voltase.aseplugin.density_structures import density_input
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.checkpoint import file_hash, load_checkpoint
from voltase.aseplugin.models.density.checkpoint import KIND, save_model
from voltase.aseplugin.models.density.inputs import DensityInput
from voltase.aseplugin.models.density.model import DensityConfig, DensityModel
from voltase.aseplugin.training.density.card import render_card
from voltase.aseplugin.training.density.config import DensityRunConfig
from voltase.aseplugin.training.density.frames import Geometry, group_frames, read_frames
from voltase.aseplugin.training.density.losses import Targets
from voltase.aseplugin.training.density.metrics import (
    FrameError,
    Profiles,
    as_rows,
    judge_geometry,
    summary,
)
from voltase.aseplugin.training.density.normal import NormalEquations, normal_equations
from voltase.aseplugin.training.density.plots import plot_learning_curve, plot_profiles
from voltase.aseplugin.training.density.statistics import Fit, statistics_of
from voltase.aseplugin.training.density.trainer import DensityTrainer, Example
from voltase.aseplugin.training.state import forget, read_metrics
from voltase.aseplugin.versions import installed_versions

LOG = logging.getLogger(__name__)
NORMAL = "normal"
"""Folder inside that of the run where the quadratic forms of the geometries are kept."""
MODEL = "model"
ELECTRONS = 0.05
"""Electrons on a grid may differ from those expected by this many, e."""


class DensityTraining:
    """A prepared training.

    Parameters
    ----------
    config : DensityRunConfig

    Raises
    ------
    InputError
        If a setting or the data cannot be used.

    Attributes
    ----------
    train, valid, test : list of Geometry
    errors : dict
        On the held-out geometries; empty before `finish`.
    """

    def __init__(self, config: DensityRunConfig) -> None:
        self.config = config
        self.folder = Path(config.out)
        if config.threads is not None:
            if config.threads < 1:
                raise InputError(f"threads: found {config.threads}, expected 1 or more")
            torch.set_num_threads(config.threads)
        frames = read_frames(config.data.files, config.data.single)
        geometries = group_frames(frames)
        self.train, self.valid, self.test = split(geometries, config)
        trunk, trunk_card = load_checkpoint(config.trunk)
        torch.manual_seed(config.training.seed)
        self.model = DensityModel(_model_config(config.model), trunk)
        self.configuration = {
            "model": json.loads(json.dumps(self.model.config.as_dict())),
            "training": {k: v for k, v in asdict(config.training).items() if k != "evaluate_every"},
            "trunk": trunk_card["sha256"],
            "train": [geometry.key("") for geometry in self.train],
        }
        self.errors: dict[str, dict[str, float]] = {}
        self.details: list[FrameError] = []

    def prepare(self, progress: Callable[[int, int], None] = lambda done, total: None,
                stop: Callable[[], bool] = lambda: False) -> bool:  # fmt: skip
        """Compute what is needed of the densities; what is on disk is taken from there.

        Returns
        -------
        bool
            False if asked to stop.
        """
        everything = [*self.train, *self.valid, *self.test]
        examples: dict[str, Example] = {}
        fits: list[Fit] = []
        symbols = {atomic_numbers[s]: s for s in self.model.symbols}
        channels = dict(zip(symbols, self.model.channels, strict=True))
        inputs: dict[str, DensityInput] = {}
        equations: dict[str, NormalEquations] = {}
        for done, geometry in enumerate(everything):
            progress(done, len(everything))
            if stop():
                return False
            key = geometry.key("")
            inputs[key] = density_input(geometry.atoms, self.model)
            self._check_faces(geometry, inputs[key])
            equations[key] = normal_equations(geometry, self.model.basis, channels,
                                              self.folder / NORMAL)  # fmt: skip
            self._check_electrons(geometry, equations[key])
        for geometry in self.train:
            key = geometry.key("")
            density = equations[key].electrons / float(inputs[key].graph.areas.sum())
            fits.append(Fit(geometry.atoms.numbers, equations[key].best, density))
        self.model.set_statistics(*statistics_of(fits, channels, symbols))
        self.model.describer.calibrate([inputs[g.key("")] for g in self.train])
        for geometry in everything:
            key = geometry.key("")
            area = float(inputs[key].graph.areas.sum())
            with torch.no_grad():
                seen = self.model.describer(inputs[key])
            examples[key] = Example(geometry.name, inputs[key], seen, Targets(equations[key], area))
        progress(len(everything), len(everything))
        self.floor = _direct_errors([equations[g.key("")] for g in self.test])
        self.inputs = inputs
        self.trainer = DensityTrainer(
            self.model,
            [examples[g.key("")] for g in self.train],
            [examples[g.key("")] for g in (self.valid or self.test)],
            self.config.training,
            self.folder,
            self.configuration,
        )
        if not self.config.restart:
            forget(self.folder)
        self.resumed = self.trainer.resume()
        return True

    def finish(self) -> Path:
        """Judge the averaged model on its held-out geometries; write checkpoint, card, plots."""
        target = self.folder / MODEL
        profiles: list[Profiles] = []
        with self.trainer.averaged_model() as model:
            for geometry in self.test:
                found, curves = judge_geometry(model, geometry, self.inputs[geometry.key("")])
                self.details += found
                profiles.append(curves)
            self.errors = {"test": summary(self.details)} if self.details else {}
            card = self.card()
            save_model(target, model, card)
        _write(target / "README.md", render_card(target, KIND))
        records = read_metrics(self.folder)
        if records:
            plot_learning_curve(records, self.folder / "learning_curve.png")
        if profiles:
            plot_profiles(profiles, self.folder / "profiles.png")
        return target

    def resolved(self) -> dict[str, Any]:
        """All settings as plain values, defaults included."""
        return {**asdict(self.config), "model": self.configuration["model"]}

    def card(self) -> dict[str, Any]:
        """What a user of the model must know."""
        electrons, potentials = [], []
        for geometry in self.train:
            area = float(self.inputs[geometry.key("")].graph.areas.sum())
            electrons += list(geometry.electrons / area)
            potentials += [f.potential for f in geometry.frames if f.potential is not None]
        config = self.config
        files = sorted({frame.path for g in [*self.train, *self.test] for frame in g.frames})
        card: dict[str, Any] = {
            "name": self.folder.resolve().name,
            "created": datetime.now(UTC).date().isoformat(),
            "reference": "potentials are absolute; U vs SHE = Phi - 4.44 V",
            "elements": self.model.symbols,
            "electrons_per_area_range": [float(min(electrons)), float(max(electrons))],
            "data": {
                "files": [{"name": path.name, "sha256": file_hash(path)} for path in files],
                "densities": {name: sum(len(g.frames) for g in found)
                              for name, found in self.parts().items()},
                "geometries": {name: [g.name for g in found]
                               for name, found in self.parts().items()},
            },
            "errors": {**self.errors, "direct_fit": self.floor, "frames": as_rows(self.details)},
            "training": {
                **asdict(config.training),
                "steps_done": self.trainer.step,
                "hours": round(self.trainer.seconds / 3600, 3),
                "trunk": self.configuration["trunk"],
            },
            "versions": installed_versions(),
        }  # fmt: skip
        if potentials:
            card["potential_range"] = [float(min(potentials)), float(max(potentials))]
        return {**card, **config.card}

    def parts(self) -> dict[str, list[Geometry]]:
        """The geometries by what they are for."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def _check_faces(self, geometry: Geometry, structure: DensityInput) -> None:
        if structure.graph.n_faces != 1:
            raise InputError(
                f"data: {geometry.name} has two wetted faces, between which a calculation does not "
                "say how its charge divides; expected slabs wetted on one side"
            )

    def _check_electrons(self, geometry: Geometry, equations: NormalEquations) -> None:
        valence = self.model.config.valence
        neutral = sum(valence[symbol] for symbol in geometry.atoms.get_chemical_symbols())
        worst = float(np.abs(equations.integral - equations.electrons - neutral).max())
        if worst > ELECTRONS:
            raise InputError(
                f"data: {geometry.name} has densities {worst:.3g} e from the {neutral} + n "
                "electrons of model.valence, expected the same number"
            )


def split(geometries: Sequence[Geometry], config: DensityRunConfig
          ) -> tuple[list[Geometry], list[Geometry], list[Geometry]]:  # fmt: skip
    """Geometries to train on, to judge while training, and to judge at the end.

    Raises
    ------
    InputError
        If a geometry to hold out is not there, or none is left to train on.
    """
    data = config.data
    names = [geometry.name for geometry in geometries]
    for name in data.test_geometries:
        if name not in names:
            raise InputError(f"data.test_geometries: found no {name!r}, expected one of {names}")
    order = np.random.default_rng(data.seed).permutation(len(geometries))
    drawn = [geometries[i] for i in order]
    test = [g for g in drawn if g.name in data.test_geometries]
    rest = [g for g in drawn if g.name not in data.test_geometries]
    if not data.test_geometries:
        count = round(data.test_fraction * len(drawn))
        test, rest = drawn[:count], drawn[count:]
    count = round(data.valid_fraction * len(drawn))
    valid, train = rest[:count], rest[count:]
    if not train:
        raise InputError("data: found no geometry left to train on, expected one or more")
    return train, valid, test


def _model_config(given: dict[str, Any]) -> DensityConfig:
    try:
        return DensityConfig(**given)
    except InputError as error:
        raise InputError(f"model.{error}") from error
    except TypeError as error:
        raise InputError(f"model: {error}") from error


def _direct_errors(equations: Sequence[NormalEquations]) -> dict[str, float]:
    """What coefficients fitted to the held-out densities themselves would reach, in percent."""
    if not equations:
        return {}
    nmae = np.concatenate([e.nmae for e in equations])
    differences = np.concatenate([e.difference_nmae for e in equations])
    found = {"nmae_percent": 100.0 * float(nmae.mean())}
    if np.isfinite(differences).any():
        found["difference_nmae_percent"] = 100.0 * float(np.nanmean(differences))
    return found


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
