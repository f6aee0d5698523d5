"""Samples: one geometry with its charges, forces and potentials at several electron numbers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
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
SMALL_SHIFT, LARGEST_SHIFT = 1e-3, 0.02
"""Mean e an atom by which the charges of a frame miss its total: worth a word, and a mistake."""
LARGEST_DENSITY = 0.1
"""Of n on a face, e/A^2; its field would be 18 V/A."""
LARGEST_POTENTIAL = 100.0
"""Of a label, V."""


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
        If an element is unknown, charges or the electrode's state cannot be used, or no frame has
        charges.
    """
    missed: dict[str, float] = {}
    samples = [_sample(labels, name, data, model, missed) for name, labels in group_frames(frames)]
    _warn_of_shifts(missed, len(frames), data.charges_key)
    if not any(bool(torch.isfinite(sample.charges).any()) for sample in samples):
        raise InputError(
            f"charges_key: found no frame with an array {data.charges_key!r} among {len(frames)}, "
            "expected some"
        )
    return samples


def _sample(labels: list[Frame], snapshot: str, data: ChargeDataConfig, model: SoftFQEqConfig,
            missed: dict[str, float]) -> ChargeSample:  # fmt: skip
    first = labels[0]
    atoms = first.atoms
    for frame in labels[1:]:
        if not np.array_equal(frame.atoms.pbc, atoms.pbc):
            raise InputError(
                f"{frame.where}: found pbc {frame.atoms.pbc.tolist()}, expected that of the same "
                f"geometry in {first.where}, {atoms.pbc.tolist()}"
            )
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
        charges=torch.from_numpy(np.stack([_charges(frame, data, missed) for frame in labels])),
        states=[_state(frame, structure, data, model) for frame in labels],
    )


def _charges(frame: Frame, data: ChargeDataConfig, missed: dict[str, float]) -> np.ndarray:
    """Charges of a frame (n_atoms,), shifted evenly to the cell's total charge; NaN if absent.

    A frame of more than a small shift is noted in ``missed``, with the charge it has too much.
    """
    atoms = frame.atoms
    found = atoms.arrays.get(data.charges_key)
    if found is None:
        return np.full(len(atoms), np.nan)
    try:
        charges = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{frame.where}: {data.charges_key!r} are no numbers, expected charges in "
                         "e") from None  # fmt: skip
    if charges.shape != (len(atoms),):
        raise InputError(
            f"{frame.where}: {data.charges_key!r} has shape {charges.shape}, expected "
            f"{(len(atoms),)}"
        )
    if not np.isfinite(charges).all():
        raise InputError(f"{frame.where}: {data.charges_key!r} has values that are not finite")
    total = _total(frame, data)
    missing = total - charges.sum()
    if abs(missing) > LARGEST_SHIFT * len(atoms):
        raise InputError(
            f"{frame.where}: {data.charges_key!r} sum to {charges.sum():.4g} e, expected "
            f"{total:.4g} e with charging {data.charging!r}"
        )
    if abs(missing) > SMALL_SHIFT * len(atoms):
        missed[frame.where] = -missing
    # What a code's partition leaves (of the order of 1e-5 e an atom) belongs to no atom.
    return charges + missing / len(atoms)


def _total(frame: Frame, data: ChargeDataConfig) -> float:
    """Charge of the atoms, e."""
    charged = data.charging == "plane" and np.isfinite(frame.electrons)
    return -frame.electrons if charged else 0.0


def _warn_of_shifts(missed: Mapping[str, float], total: int, key: str) -> None:
    """Say of how many frames the charges were shifted by more than a partition leaves."""
    if missed:
        worst = max(missed, key=lambda where: abs(missed[where]))
        LOG.warning("charges_key: %r of %d frames out of %d miss the total charge, most those of "
                    "%s by %.3f e; spread evenly over the atoms", key, len(missed), total, worst,
                    missed[worst])  # fmt: skip


def _state(frame: Frame, structure: Structure, data: ChargeDataConfig, model: SoftFQEqConfig
           ) -> ChargeState:  # fmt: skip
    _check_state(frame, structure, data, model)
    n = 0.0 if np.isnan(frame.electrons) else frame.electrons
    height = _plane_height(structure, model) if structure.planes else None
    if data.charging == "plane":
        return ChargeState(n, counter_height=height)
    try:
        return ChargeState.between_plates(structure, n, height)
    except InputError as error:
        raise InputError(f"{frame.where}: {error}") from error


def _check_state(frame: Frame, structure: Structure, data: ChargeDataConfig,
                 model: SoftFQEqConfig) -> None:  # fmt: skip
    """Refuse a charge that the model cannot give the frame, and labels of no electrode."""
    n, phi, where = frame.electrons, frame.potential, frame.where
    if np.isnan(n):
        if np.isfinite(phi):
            raise InputError(
                f"{where}: found {data.potential_key!r} without {data.electrons_key!r}, expected "
                "both or neither"
            )
        return
    if n != 0.0 and not structure.planes and any(structure.pbc):
        raise InputError(
            f"{where}: found {n:g} in {data.electrons_key!r} in a periodic cell without a wetted "
            f"face of {', '.join(model.electrode_symbols)} under vacuum, expected 0 (for a slab "
            "with vacuum, set pbc to False along its normal)"
        )
    area = float(structure.graph.areas.sum())
    if structure.planes and abs(n) > LARGEST_DENSITY * area:
        raise InputError(
            f"{where}: found {n:g} in {data.electrons_key!r} on {area:.1f} A^2, expected at most "
            f"{LARGEST_DENSITY:g} e/A^2"
        )
    if abs(phi) > LARGEST_POTENTIAL:
        raise InputError(
            f"{where}: found {phi:g} V in {data.potential_key!r}, expected a potential within "
            f"{LARGEST_POTENTIAL:g} V"
        )


def _plane_height(structure: Structure, model: SoftFQEqConfig) -> float:
    """Height of the plane from which labelled potentials are measured, A."""
    symbols = torch.tensor([symbol in model.electrode_symbols for symbol in model.symbols])
    heights = structure.heights(symbols[structure.graph.species])
    return float(heights.max()) + ABOVE_WATER
