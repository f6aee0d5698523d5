"""How alike trajectories are, beyond their noise."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from voltase.analysis.base import InterfaceAnalysis
from voltase.analysis.blocks import estimate_ratio
from voltase.analysis.drawing import draw_band, draw_legend
from voltase.analysis.histograms import Histogram, histograms_of
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

RESAMPLES = 200
"""Of the bootstrap."""
CLEAR = 2.0
"""Errors below the noise floor from which on a score means a difference."""


# -- scores --------------------------------------------------------------------------------------


class Score(NamedTuple):
    """Likeness of two profiles.

    Attributes
    ----------
    quantity, first, second : str
    score : float
        1 - int |f_A - f_B| / int (|f_A| + |f_B|): one if they are the same, zero without overlap.
        Noise lowers it.
    error : float
        By block bootstrap.
    floor : float
        What two runs of the same system and of these lengths would score, from the halves.
    halves_first, halves_second : float
        Score of the two halves of each trajectory with each other, which have half the frames.
    differs : bool or None
        Whether the score is more than two errors below the floor; None if there is no error to
        tell, which is not a number in tables.
    """

    quantity: str
    first: str
    second: str
    score: float
    error: float
    floor: float
    halves_first: float
    halves_second: float
    differs: bool | None


class Overlay(NamedTuple):
    """One quantity of all trajectories on one grid; means and errors by name."""

    x: str
    unit: str
    middles: Array
    mean: dict[str, Array]
    error: dict[str, Array]


class Comparison:
    """What `compare` found.

    Attributes
    ----------
    names : list of str
        Of the trajectories.
    scores : list of Score
        For each quantity and pair of trajectories.
    overlays : dict of Overlay
        By quantity, those of one variable.
    """

    def __init__(self, names: list[str], scores: list[Score], overlays: dict[str, Overlay]) -> None:
        self.names, self.scores, self.overlays = names, scores, overlays

    def score(self, quantity: str, first: str, second: str) -> Score:
        """The score of a pair, in whichever order.

        Raises
        ------
        InputError
            If there is none.
        """
        for found in self.scores:
            if found.quantity == quantity and {found.first, found.second} == {first, second}:
                return found
        raise InputError(f"quantity: found no score of '{quantity}' for {first} and {second}")

    def tables(self) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Columns of ``scores``, and of ``overlay_<quantity>`` for each profile."""
        columns = ("quantity", "first", "second", "score", "score_err", "floor", "halves_first",
                   "halves_second", "differs")  # fmt: skip
        rows = zip(*self.scores, strict=True) if self.scores else [()] * len(columns)
        found = {"scores": {name: np.array(values) for name, values in
                            zip(columns, rows, strict=True)}}  # fmt: skip
        found["scores"]["differs"] = np.array(
            [np.nan if s.differs is None else float(s.differs) for s in self.scores]
        )
        for quantity, overlay in self.overlays.items():
            table = {overlay.x: overlay.middles}
            for name in overlay.mean:
                column = "_".join(filter(None, (quantity, name, overlay.unit)))
                table[column] = overlay.mean[name]
                table[f"{column}_err"] = overlay.error[name]
            found[f"overlay_{quantity}"] = table
        return found

    def draw(self, figure: Figure) -> None:
        """Profiles over each other (both faces, at most six), and the scores with their floors."""
        chosen = [
            q for q, overlay in self.overlays.items()
            if q.endswith("_both") and all(np.isfinite(m).any() for m in overlay.mean.values())
        ][:6]  # fmt: skip
        axes = figure.subplots(len(chosen) + 1, 1, squeeze=False)[:, 0]
        labels = {"distance_A": "distance from the surface (Å)", "r_A": "r (Å)",
                  "cos_OH": "cos(O-H, normal)"}  # fmt: skip
        for ax, quantity in zip(axes, chosen, strict=False):
            overlay = self.overlays[quantity]
            for name in self.names:
                draw_band(ax, overlay.middles, overlay.mean[name], overlay.error[name], name)
            unit = " (1/Å$^3$)" if overlay.unit else ""
            ax.set(xlabel=labels[overlay.x], ylabel=quantity.removesuffix("_both") + unit)
            draw_legend(ax, fontsize="small")
        both = [s for s in self.scores if s.quantity.endswith("_both") and np.isfinite(s.score)]
        y = np.arange(len(both))
        error = np.nan_to_num([s.error for s in both])
        axes[-1].errorbar([s.score for s in both], y, xerr=error, fmt="o", label="score")
        axes[-1].plot([s.floor for s in both], y, "|", ms=12, color="0.4", label="noise floor")
        axes[-1].set_yticks(y, [f"{s.quantity.removesuffix('_both')}: {s.first}, {s.second}"
                                for s in both], fontsize="small")  # fmt: skip
        axes[-1].set(xlabel="likeness (1 = same)")
        draw_legend(axes[-1], fontsize="small")


def compare(analyses: Mapping[str, InterfaceAnalysis]) -> Comparison:
    """Compare the same observable of two or more trajectories.

    The profiles are put on one grid, the coarsest of theirs and as far as the shortest reaches;
    elements, pairs and faces that not all of them have are left out.

    Parameters
    ----------
    analyses : dict
        By name of the trajectory: finished `DensityProfile`, `SlabRDF` or `WaterOrientation`, all
        of one kind.

    Raises
    ------
    InputError
        If there are fewer than two, of several kinds, or they have nothing in common.
    """
    if len(analyses) < 2:
        raise InputError(f"analyses: found {len(analyses)}, expected two or more")
    kinds = sorted({type(analysis).__name__ for analysis in analyses.values()})
    if len(kinds) > 1:
        raise InputError(f"analyses: found {', '.join(kinds)}, expected one kind")
    all_found = {name: histograms_of(analysis) for name, analysis in analyses.items()}
    first, *others = all_found.values()
    scores, overlays = [], {}
    for quantity in [q for q in first if all(q in other for other in others)]:
        found = common_grid({name: table[quantity] for name, table in all_found.items()})
        if next(iter(found.values())).numerator.ndim == 2:
            overlays[quantity] = _overlay(found)
        scores += [_score(quantity, found, pair) for pair in combinations(found, 2)]
    if not scores:
        raise InputError("analyses: found no quantity that all have, expected one")
    return Comparison(list(analyses), scores, overlays)


def common_grid(found: Mapping[str, Histogram]) -> dict[str, Histogram]:
    """The same bins for all: the widest of theirs, as far as the shortest reaches.

    Raises
    ------
    InputError
        If they have different numbers of cosines.
    """
    width = max(h.width for h in found.values())
    reach = min(h.numerator.shape[1] * h.width for h in found.values())
    bins = int(np.floor(reach / width + 1e-9))
    result = {name: h.on(width, bins) for name, h in found.items()}
    if bins < 1 or len({h.numerator.shape[1:] for h in result.values()}) != 1:
        raise InputError("analyses: found bins that do not match, expected the same `cosines`")
    return result


def overlap(first: Array, second: Array) -> Array:
    """1 - int |f - g| / int (|f| + |g|) over the last axis; not a number if both are zero."""
    apart = np.abs(first - second).sum(axis=-1)
    size = (np.abs(first) + np.abs(second)).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1.0 - np.where(size > 0.0, apart / size, np.nan))


def _overlay(found: dict[str, Histogram]) -> Overlay:
    some = next(iter(found.values()))
    estimates = {n: estimate_ratio(h.numerator, h.denominator, h.lengths)
                 for n, h in found.items()}  # fmt: skip
    return Overlay(some.x, some.unit, some.middles, {n: e.mean for n, e in estimates.items()},
                   {n: e.error for n, e in estimates.items()})  # fmt: skip


def _score(quantity: str, found: dict[str, Histogram], pair: tuple[str, str]) -> Score:
    flat = [_flat(found[name]) for name in pair]
    # Where one trajectory can have no value there is nothing to compare.
    valid = np.all([(h.denominator.sum(axis=0) > 0.0) for h in flat], axis=0)
    flat = [h._replace(numerator=h.numerator[:, valid], denominator=h.denominator[:, valid])
            for h in flat]  # fmt: skip
    score = float(overlap(*(_ratio(h.numerator, h.denominator) for h in flat)))
    halves = [_halves(h) for h in flat]
    floor = 1.0 - 0.5 * float(np.hypot(1.0 - halves[0], 1.0 - halves[1]))
    # Each pair draws the same numbers, whatever else is compared.
    random = np.random.default_rng(0)
    drawn = [_resample(h, random) for h in flat]
    error = float("nan")
    if drawn[0] is not None and drawn[1] is not None:
        error = float(np.std(overlap(drawn[0], drawn[1]), ddof=1))
    known = np.isfinite(error) and np.isfinite(floor)
    differs = bool(score + CLEAR * error < floor) if known else None
    return Score(quantity, pair[0], pair[1], score, error, floor, halves[0], halves[1], differs)


def _flat(h: Histogram) -> Histogram:
    n = len(h.lengths)
    return h._replace(
        numerator=h.numerator.reshape(n, -1), denominator=h.denominator.reshape(n, -1)
    )


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Of sums over the chunks (n_bins,)."""
    total = denominator.sum(axis=0)
    return np.asarray(np.divide(numerator.sum(axis=0), total, out=np.zeros_like(total),
                                where=total > 0.0))  # fmt: skip


def _halves(h: Histogram) -> float:
    """Score of the first half of the frames with the second; the middle chunk goes to the first."""
    cut = int(np.searchsorted(np.cumsum(h.lengths), 0.5 * h.lengths.sum() - 1e-9)) + 1
    if cut >= len(h.lengths):
        return float("nan")
    early, late = (
        _ratio(h.numerator[part], h.denominator[part]) for part in (slice(cut), slice(cut, None))
    )
    return float(overlap(early, late))


def _resample(h: Histogram, random: np.random.Generator) -> Array | None:
    """Profiles of blocks drawn with replacement (RESAMPLES, n_bins); None without an error."""
    blocks = estimate_ratio(h.numerator, h.denominator, h.lengths).blocks
    if blocks == 0:
        return None
    kept = h.lengths > 0
    length = int(kept.sum()) // blocks

    def joined(values: Array) -> Array:
        values = values[kept]
        values = values[len(values) - blocks * length :]
        return values.reshape(blocks, length, -1).sum(axis=1)

    times = random.multinomial(blocks, np.full(blocks, 1.0 / blocks), RESAMPLES).astype(np.float64)
    numerator, denominator = times @ joined(h.numerator), times @ joined(h.denominator)
    return np.asarray(np.divide(numerator, denominator, out=np.zeros_like(numerator),
                                where=denominator > 0.0))  # fmt: skip
