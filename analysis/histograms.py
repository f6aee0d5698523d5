"""Profiles of an analysis as sums over chunks of frames, from which they can be drawn again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from voltase.analysis.base import InterfaceAnalysis
from voltase.analysis.density import INSIDE, DensityProfile
from voltase.analysis.orientation import WaterOrientation
from voltase.analysis.rdf import SlabRDF, ideal_pairs
from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

MAP_WIDTH, MAP_COSINES = 0.5, 10
"""Bins of the map of distance (A) and cosine in which it is compared; finer ones hold noise."""


class Histogram(NamedTuple):
    """A profile as sums over chunks of frames: f = sum(numerator) / sum(denominator).

    Attributes
    ----------
    x, unit : str
        Names of the columns' quantities, such as ``distance_A``, and the unit of f.
    start, width : float
        Of the bins.
    numerator, denominator : ndarray (n_chunks, n_bins[, n_cosines])
    lengths : ndarray (n_chunks,)
        Frames.
    """

    x: str
    unit: str
    start: float
    width: float
    numerator: Array
    denominator: Array
    lengths: Indices

    @property
    def middles(self) -> Array:
        """Of the bins (n_bins,)."""
        return np.asarray(self.start + (np.arange(self.numerator.shape[1]) + 0.5) * self.width)

    def on(self, width: float, bins: int) -> Histogram:
        """On other bins from the same start; the integral up to each edge stays."""
        if width == self.width:
            cut = slice(None), slice(bins)
            return self._replace(numerator=self.numerator[cut], denominator=self.denominator[cut])
        edges = np.arange(bins + 1) * width / self.width
        left = np.minimum(edges.astype(np.int64), self.numerator.shape[1] - 1)
        share = edges - left

        def rebin(values: Array) -> Array:
            upto = np.concatenate([np.zeros_like(values[:, :1]), np.cumsum(values, axis=1)], axis=1)
            t = share.reshape(-1, *(1,) * (values.ndim - 2))
            return np.diff(upto[:, left] + t * values[:, left], axis=1)

        return self._replace(width=width, numerator=rebin(self.numerator),
                             denominator=rebin(self.denominator))  # fmt: skip


def histograms_of(analysis: InterfaceAnalysis) -> dict[str, Histogram]:
    """Profiles of a finished `DensityProfile`, `SlabRDF` or `WaterOrientation`, by quantity.

    Raises
    ------
    InputError
        If it is another one, or has not been run.
    """
    finders: list[tuple[type, Callable[[Any], dict[str, Histogram]]]] = [
        (DensityProfile, _of_density),
        (SlabRDF, _of_rdf),
        (WaterOrientation, _of_orientation),
    ]
    for kind, finder in finders:
        if isinstance(analysis, kind):
            if "correlation_times" not in analysis.results:
                raise InputError(f"analyses: found a {kind.__name__} that has not been run")
            return finder(analysis)
    names = ", ".join(kind.__name__ for kind, _ in finders)
    raise InputError(f"analyses: found {type(analysis).__name__}, expected one of {names}")


def _of_density(analysis: DensityProfile) -> dict[str, Histogram]:
    found = {}
    names = [face for face in analysis.results.faces if face != "both"]
    sums = {face: analysis.sums(face) for face in names}
    if names:
        sums["both"] = np.mean([sums[face] for face in names], axis=0)
    for face, values in sums.items():
        frames = np.broadcast_to(analysis.lengths[:, None].astype(np.float64), values[:, 0].shape)
        for e, symbol in enumerate(analysis.symbols):
            found[f"rho_{symbol}_{face}"] = Histogram(
                "distance_A", "per_A3", -INSIDE, analysis.width, values[:, e], frames,
                analysis.lengths,
            )  # fmt: skip
    return found


def _of_rdf(analysis: SlabRDF) -> dict[str, Histogram]:
    found = {}
    frames = analysis.lengths
    height = float(analysis.sums("height").sum() / frames.sum())
    for first, second in analysis.pairs:
        name = f"{first}-{second}"
        pairs = analysis.sums(name)
        atoms = analysis.sums(f"first {name}").sum(axis=0) / frames.sum()
        density = analysis.sums(f"second {name}").sum(axis=0) / frames.sum()
        for face, members in analysis._faces().items():
            ideal = ideal_pairs(atoms[members].sum(axis=0), density, height, analysis.bins,
                                analysis.width)  # fmt: skip
            if first == second:
                ideal = ideal * (1.0 - 1.0 / len(analysis._atoms(first)))
            found[f"g_{name}_{face}"] = Histogram(
                "r_A", "", 0.0, analysis.width, pairs[:, members].sum(axis=1),
                np.asarray(frames[:, None] * np.maximum(ideal, 0.0)), frames,
            )  # fmt: skip
    return found


def _of_orientation(analysis: WaterOrientation) -> dict[str, Histogram]:
    found = {}
    names = [face for face in analysis.results.faces if face != "both"]
    lengths, m = analysis.lengths, analysis.cosines
    for face in analysis.results.faces:
        members = names if face == "both" else [face]

        def total(part: str, members: list[str] = members) -> Array:
            return np.sum([analysis.sums(f"{k} {part}") for k in members], axis=0)

        volume = len(members) * analysis.sums("area")[:, None] * analysis.width
        cos, maps, bonds = total("cos"), total("map"), total("bonds")
        found[f"rho_cos_theta_{face}"] = Histogram(
            "distance_A", "per_A3", 0.0, analysis.width, cos,
            np.broadcast_to(volume, cos.shape), lengths,
        )  # fmt: skip
        group = m // MAP_COSINES if m % MAP_COSINES == 0 else 1
        maps = maps.reshape(*maps.shape[:2], m // group, group).sum(axis=3)
        volumes = np.broadcast_to(volume[:, :, None] * 2.0 * group / m, maps.shape)
        fine = Histogram("distance_A", "per_A3", 0.0, analysis.width, maps, volumes, lengths)
        width = max(MAP_WIDTH, analysis.width)
        found[f"map_{face}"] = fine.on(width, int(analysis.bins * analysis.width / width + 1e-9))
        for layer, (low, high) in enumerate(analysis.results.layers):
            norm = bonds[:, layer].sum(axis=1, keepdims=True) * 2.0 / m
            found[f"bonds_{low:g}_to_{high:g}_A_{face}"] = Histogram(
                "cos_OH", "", -1.0, 2.0 / m, bonds[:, layer],
                np.broadcast_to(norm, bonds[:, layer].shape), lengths,
            )  # fmt: skip
    return found
