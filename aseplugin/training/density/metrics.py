"""Errors of a density model on the grids of held-out geometries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch

from voltase.aseplugin.kernels.gaussian_density import evaluate
from voltase.aseplugin.models.density.inputs import DensityInput
from voltase.aseplugin.models.density.model import DensityModel
from voltase.aseplugin.training.density.frames import Geometry

Array = npt.NDArray[np.float64]


@dataclass
class FrameError:
    """Errors of one density, and of its difference to the frame of its geometry nearest to n = 0.

    Attributes
    ----------
    geometry, frame : str
    excess_electrons : float
        e.
    nmae : float
        Integral of the absolute error over that of the density.
    electrons_error : float
        Electrons of the coefficients less those wanted, e.
    difference_nmae : float or None
        As nmae, of the difference.
    planar_error : float or None
        Integral of the absolute error of the planar average of the difference, over that of the
        difference's planar average: over the displaced charge.
    """

    geometry: str
    frame: str
    excess_electrons: float
    nmae: float
    electrons_error: float
    difference_nmae: float | None = None
    planar_error: float | None = None


@dataclass
class Profiles:
    """Planar averages of the differences of one geometry.

    Attributes
    ----------
    geometry : str
    z : ndarray (nz,)
        A.
    electrons : ndarray (k,)
        n, e.
    reference, predicted : ndarray (k, nz)
        Electrons per A along z, of the frame less that nearest to n = 0.
    """

    geometry: str
    z: Array
    electrons: Array
    reference: Array
    predicted: Array


def judge_geometry(model: DensityModel, geometry: Geometry, structure: DensityInput
                   ) -> tuple[list[FrameError], Profiles]:  # fmt: skip
    """Errors of every frame of a geometry on its grid."""
    area = float(structure.graph.areas.sum())
    with torch.no_grad():
        coefficients = model(structure)
    reference, predicted, electrons = [], [], []
    species = structure.graph.species
    atoms, first = geometry.atoms, geometry.frames[0]
    neutral = sum(model.config.valence[s] for s in atoms.get_chemical_symbols())
    weights = model.basis.electron_weights(atoms.numbers)
    for frame in geometry.frames:
        density = torch.tensor([[frame.excess_electrons / area]], dtype=torch.float64)
        gaussians = model.to_gaussians(species, coefficients.at(density)[0])
        electrons.append(float(weights @ gaussians) - neutral - frame.excess_electrons)
        predicted.append(
            evaluate(gaussians, atoms.numbers, atoms.positions, model.basis, first.cell,
                     [bool(p) for p in atoms.pbc], first.shape, origin=first.origin)
        )  # fmt: skip
        reference.append(frame.values())
    middle = int(np.argmin(np.abs(geometry.electrons)))
    errors = []
    changes: list[tuple[Array, Array]] = []
    across = first.volume_element * first.shape[0] * first.shape[1]
    for k, frame in enumerate(geometry.frames):
        nmae = _ratio(predicted[k] - reference[k], reference[k])
        error = FrameError(geometry.name, frame.name, frame.excess_electrons, nmae, electrons[k])
        true, found = reference[k] - reference[middle], predicted[k] - predicted[middle]
        if k != middle:
            error.difference_nmae = _ratio(found - true, true)
            error.planar_error = _ratio((found - true).mean((0, 1)), true.mean((0, 1)))
        changes.append((true.mean((0, 1)) * across, found.mean((0, 1)) * across))
        errors.append(error)
    height = abs(np.linalg.det(first.cell)) / np.linalg.norm(np.cross(*first.cell[:2]))
    spacing = height / first.shape[2]
    return errors, Profiles(
        geometry=geometry.name,
        z=np.arange(first.shape[2]) * spacing + first.origin[2],
        electrons=geometry.electrons,
        reference=np.array([true for true, _ in changes]) / spacing,
        predicted=np.array([found for _, found in changes]) / spacing,
    )


def summary(errors: Sequence[FrameError]) -> dict[str, float]:
    """Means over frames in percent, for the card."""
    differences = [e.difference_nmae for e in errors if e.difference_nmae is not None]
    planar = [e.planar_error for e in errors if e.planar_error is not None]
    found = {
        "geometries": float(len({e.geometry for e in errors})),
        "densities": float(len(errors)),
        "nmae_percent": 100.0 * float(np.mean([e.nmae for e in errors])),
        "largest_nmae_percent": 100.0 * float(np.max([e.nmae for e in errors])),
        "largest_electrons_error": float(np.max([abs(e.electrons_error) for e in errors])),
    }
    if differences:
        found["differences"] = float(len(differences))
        found["difference_nmae_percent"] = 100.0 * float(np.mean(differences))
        found["planar_error_percent"] = 100.0 * float(np.mean(planar))
    return found


def as_rows(errors: Sequence[FrameError]) -> list[dict[str, object]]:
    """Plain values, one row a frame."""
    return [asdict(error) for error in errors]


def _ratio(error: Array, of: Array) -> float:
    return float(np.abs(error).sum() / np.abs(of).sum())
