"""Samples: one geometry with its charges, forces and potentials at several electron numbers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from voltase.aseplugin.calculators.charge_structures import faces_of, planes_of
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.softfqeq import ChargeState, SoftFQEqConfig, Structure
from voltase.aseplugin.structures import build_graph
from voltase.aseplugin.training.charge_model.config import ChargeDataConfig
from voltase.aseplugin.training.dataset import Sample, group_frames
from voltase.aseplugin.training.frames import Frame

LOG = logging.getLogger(__name__)
ABOVE_WATER = 3.0
"""Height in A above the outermost atom from which labelled potentials are measured."""


@dataclass
class ChargeSample(Sample):
    """One geometry with its labels at one or more electron numbers.

    Attributes
    ----------
    structure : Structure
        In float64.
    charges : Tensor (n_labels, n_atoms)
        e, float64; NaN where there are none.
    states : list of ChargeState
        What each label's electron number is to the model.
    """

    structure: Structure
    charges: Tensor
    states: list[ChargeState]


def charge_samples(frames: Sequence[Frame], data: ChargeDataConfig, model: SoftFQEqConfig
                   ) -> list[ChargeSample]:  # fmt: skip
    """Group the frames of one geometry; see `group_samples`.

    Parameters
    ----------
    frames : sequence of Frame
    data : ChargeDataConfig
    model : SoftFQEqConfig

    Raises
    ------
    InputError
        If an element is unknown, charges cannot be used, or no frame has any.
    """
    samples = [_sample(labels, name, data, model) for name, labels in group_frames(frames)]
    if not any(bool(torch.isfinite(sample.charges).any()) for sample in samples):
        raise InputError(
            f"charges_key: found no frame with an array {data.charges_key!r} among {len(frames)}, "
            "expected some"
        )
    return samples


def _sample(labels: list[Frame], snapshot: str, data: ChargeDataConfig, model: SoftFQEqConfig
            ) -> ChargeSample:  # fmt: skip
    first = labels[0]
    atoms = first.atoms
    try:
        faces = faces_of(atoms, model.electrode_symbols)
        graph = build_graph(atoms, model, faces=faces).with_layout()
    except InputError as error:
        raise InputError(f"{first.where}: {error}") from error
    cell = torch.from_numpy(np.asarray(atoms.cell.array, dtype=np.float64).copy())
    pbc = (bool(atoms.pbc[0]), bool(atoms.pbc[1]), bool(atoms.pbc[2]))
    structure = Structure(graph, cell, pbc, planes_of(atoms, faces))
    used = first.config_type in data.energy_types or "*" in data.energy_types
    energies = [frame.energy if used else float("nan") for frame in labels]
    return ChargeSample(
        graph=graph,
        config_type=first.config_type,
        domain="default",
        snapshot=snapshot,
        electrons=torch.tensor([frame.electrons for frame in labels], dtype=torch.float64),
        potential=torch.tensor([frame.potential for frame in labels], dtype=torch.float64),
        energy=torch.tensor(energies, dtype=torch.float64),
        grand_energy=torch.tensor([f.grand_energy for f in labels], dtype=torch.float64),
        forces=torch.from_numpy(np.stack([frame.forces for frame in labels])),
        structure=structure,
        charges=torch.from_numpy(np.stack([_charges(frame, data) for frame in labels])),
        states=[_state(frame.electrons, structure, data, model, frame.where) for frame in labels],
    )


def _charges(frame: Frame, data: ChargeDataConfig) -> np.ndarray:
    """Charges of a frame (n_atoms,), shifted evenly to the cell's total charge; NaN if absent."""
    atoms = frame.atoms
    found = atoms.arrays.get(data.charges_key)
    if found is None:
        return np.full(len(atoms), np.nan)
    charges = np.asarray(found, dtype=np.float64)
    if charges.shape != (len(atoms),):
        raise InputError(
            f"{frame.where}: {data.charges_key!r} has shape {charges.shape}, expected "
            f"{(len(atoms),)}"
        )
    if not np.isfinite(charges).all():
        raise InputError(f"{frame.where}: {data.charges_key!r} has values that are not finite")
    charged = data.charging == "plane" and np.isfinite(frame.electrons)
    total = -frame.electrons if charged else 0.0
    missing = total - charges.sum()
    if abs(missing) > 1e-3 * len(atoms):
        LOG.warning("%s: the charges sum to %.3f e, expected %.3f e", frame.where, charges.sum(),
                    total)  # fmt: skip
    # What a code's partition leaves (of the order of 1e-5 e an atom) belongs to no atom.
    return charges + missing / len(atoms)


def _state(electrons: float, structure: Structure, data: ChargeDataConfig, model: SoftFQEqConfig,
           where: str) -> ChargeState:  # fmt: skip
    n = 0.0 if np.isnan(electrons) else electrons
    height = _plane_height(structure, model) if structure.planes else None
    if data.charging == "plane":
        return ChargeState(n, counter_height=height)
    try:
        return ChargeState.between_plates(structure, n, height)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _plane_height(structure: Structure, model: SoftFQEqConfig) -> float:
    """Height of the plane from which labelled potentials are measured, A."""
    symbols = torch.tensor([symbol in model.electrode_symbols for symbol in model.symbols])
    heights = structure.heights(symbols[structure.graph.species])
    return float(heights.max()) + ABOVE_WATER
