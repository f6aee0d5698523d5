"""What a network starts from: numbers read off the training data without training."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from voltase.aseplugin.models.pemace import PEMACEModel
from voltase.aseplugin.training.dataset import Sample

LOG = logging.getLogger(__name__)
DEFAULT_CAPACITANCE = 2e-3
"""First guess in e/(V A^2) where no geometry has two labels (32 uF/cm2)."""
DEFAULT_ZERO_CHARGE_POTENTIAL = 4.9
"""First guess in V, absolute, where no potential is labelled."""
FEWEST_GEOMETRIES, MOST_GEOMETRIES = 6, 64
"""Labelled geometries of a domain from which, and up to which, dipoles are scaled."""
SCALE_LIMITS = (0.1, 2.0)
"""Of the dipoles that a network starts from."""
SMALLEST_CHANGE = 1e-5
"""Charge difference in e/A^2 from which a pair of labels is used."""


def mean_neighbours(samples: Sequence[Sample]) -> float:
    """Edges per atom, by which messages are normalised (at least one)."""
    edges = sum(sample.graph.edge_index.shape[1] for sample in samples)
    return max(edges / sum(sample.graph.n_atoms for sample in samples), 1.0)


def fit_capacitors(samples: Sequence[Sample], domains: Sequence[str]
                   ) -> tuple[list[float], list[float]]:  # fmt: skip
    """Capacitance at fixed geometry and potential of zero charge of each domain.

    The capacitance is the median slope -d(n/A)/d(Phi) of neighbouring labels of one geometry; the
    potential is the mean of Phi + (n/A) / C.

    Returns
    -------
    list of float, list of float
        In e/(V A^2) and V, absolute; defaults where nothing is labelled.
    """
    capacitances, potentials = [], []
    for domain in domains:
        labelled = [_labels(s) for s in samples if s.domain == domain]
        slopes = [_slopes(density, phi) for density, phi in labelled]
        found = np.concatenate(slopes) if slopes else np.empty(0)
        capacitance = float(np.median(found)) if found.size else math.nan
        if not capacitance > 0.0:
            capacitance = DEFAULT_CAPACITANCE
        shifts = [phi + np.nan_to_num(density) / capacitance for density, phi in labelled]
        values = np.concatenate(shifts) if shifts else np.empty(0)
        values = values[np.isfinite(values)]
        centre = float(values.mean()) if values.size else DEFAULT_ZERO_CHARGE_POTENTIAL
        LOG.info("domain %s: capacitance %.2e e/(V A^2) and potential of zero charge %.2f V to "
                 "start from", domain, capacitance, centre)  # fmt: skip
        capacitances.append(capacitance)
        potentials.append(centre)
    return capacitances, potentials


def fit_dipole_scales(model: PEMACEModel, samples: Sequence[Sample], capacitance: Sequence[float]
                      ) -> tuple[list[float], list[float]]:  # fmt: skip
    """Potential of zero charge and scale of the first dipoles by linear regression, each domain.

    The potential of zero charge of a geometry is phi0 minus the sum of its dipoles along the
    normal over eps0 A. An untrained network knows the bond dipoles it starts from; the labels say
    how far they are screened.

    Parameters
    ----------
    model : PEMACEModel
        Untrained, with a dipole scale of one.
    samples : sequence of Sample
    capacitance : sequence of float
        In e/(V A^2), one a domain.

    Returns
    -------
    list of float, list of float
        phi0 in V, absolute, and the scale; NaN where too few geometries are labelled.
    """
    potentials, scales = [], []
    for index, domain in enumerate(model.config.domains):
        usable = [s for s in samples if s.domain == domain and s.graph.n_faces == 1
                  and bool(_charged(s).any())]  # fmt: skip
        rows = [_shift_and_centre(model, s, capacitance[index]) for s in usable[:MOST_GEOMETRIES]]
        shifts, centres = np.array(rows).reshape(-1, 2).T
        scale = phi0 = math.nan
        if len(shifts) >= FEWEST_GEOMETRIES and np.ptp(shifts) > 0.0:
            slope, intercept = np.polyfit(shifts, centres, 1)
            scale = float(np.clip(slope, *SCALE_LIMITS))
            phi0 = float(np.mean(centres - scale * shifts))
            LOG.info("domain %s: dipoles scaled by %.2f and potential of zero charge %.2f V to "
                     "start from (regression: %.2f, %.2f)", domain, scale, phi0, slope,
                     intercept)  # fmt: skip
        potentials.append(phi0)
        scales.append(scale)
    return potentials, scales


def response_scale(samples: Sequence[Sample], capacitance: Sequence[float],
                   domains: Sequence[str]) -> float:  # fmt: skip
    """Root mean square of d(force)/d(n / A) over neighbouring labels (eV/A per e/A^2).

    Where n is unknown it is estimated from Phi through the capacitance (e/(V A^2), one a domain).
    One if no geometry has two labels.
    """
    squares, count = 0.0, 0
    for sample in samples:
        density, phi = _labels(sample)
        estimate = -capacitance[list(domains).index(sample.domain)] * np.diff(phi)
        changes = np.where(np.isfinite(np.diff(density)), np.diff(density), estimate)
        for k, change in enumerate(changes):
            if math.isfinite(change) and abs(change) > SMALLEST_CHANGE:
                slope = (sample.forces[k + 1] - sample.forces[k]).double() / float(change)
                squares += float((slope**2).sum())
                count += slope.numel()
    return math.sqrt(squares / count) if count and squares else 1.0


def labelled_ranges(samples: Sequence[Sample]) -> tuple[list[float] | None, list[float] | None]:
    """Smallest and largest Phi (V absolute) and n / A (e/A^2) among the labels; None if absent."""
    potentials, densities = [np.empty(0)], [np.empty(0)]
    for sample in samples:
        density, phi = _labels(sample)
        densities.append(density)
        potentials.append(phi)
    ranges: list[list[float] | None] = []
    for parts in (potentials, densities):
        values = np.concatenate(parts)
        values = values[np.isfinite(values)]
        ranges.append([float(values.min()), float(values.max())] if values.size else None)
    return ranges[0], ranges[1]


def _labels(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """n / A (e/A^2) and Phi (V) of every label, NaN where unknown."""
    area = float(sample.graph.areas.sum())
    return sample.electrons.double().numpy() / area, sample.potential.double().numpy()


def _charged(sample: Sample) -> Tensor:
    return torch.isfinite(sample.electrons) & torch.isfinite(sample.potential)


def _shift_and_centre(model: PEMACEModel, sample: Sample, capacitance: float
                      ) -> tuple[float, float]:  # fmt: skip
    """Shift (V) by the network's dipoles, and potential of zero charge (V) by the labels."""
    density, phi = _labels(sample)
    centre = float(np.nanmean(phi + density / capacitance))
    graph = replace(sample.graph)
    with torch.no_grad():
        zero = torch.zeros(1)
        description = model.describe(graph, zero)
        if description.centre is None:
            uncharged = model.conjugate(graph, description, zero)
        else:
            uncharged = description.centre
        phi0 = model.electrode.zero_charge_potential[graph.domain]
    return float((uncharged - phi0).mean()), centre


def _slopes(density: np.ndarray, phi: np.ndarray) -> np.ndarray:
    change, drop = np.diff(density), -np.diff(phi)
    usable = (np.abs(change) > SMALLEST_CHANGE) & (np.abs(drop) > 1e-6)
    return change[usable] / drop[usable]
