"""What observables of motion share: known times, layers, lags, fits and errors over origins."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from voltase.analysis.base import InterfaceAnalysis
from voltase.analysis.density import FACE_NAMES
from voltase.analysis.interface import UPPER
from voltase.analysis.orientation import DEFAULT_LAYERS, checked_layers
from voltase.analysis.scene import Scene
from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int8]
LOG = logging.getLogger(__name__)

UNEVEN = 0.01
"""Largest deviation of a step in time, over the mean step, that is rounding."""
DENSE_LAGS = 200
"""Lags that follow one another frame by frame; longer ones are spaced geometrically."""
MOST_LAGS = 400
MOST_ORIGINS = 5000
"""Time origins; of longer runs an evenly spaced choice."""
MOST_BLOCKS = 32
"""Blocks that are left out in turn for an error; more do not change it."""
FIT_START = 1.0
"""Default start of a fit in ps: behind librations and the motion in the cage."""
MOST_LAYERS = 60


class TimedAnalysis(InterfaceAnalysis):
    """An observable of how molecules in a layer move; base of the classes for motion.

    Each wet face has the layers 0 to `layers[0]`, ... and a last one for the rest of the film that
    is nearer to this face. A label is the number of the face among the wet ones times the number
    of layers plus that of the layer; -1 is for what does not count.

    Parameters
    ----------
    source : Universe or AtomGroup
    dt : float, optional
        Time between frames of the trajectory in ps; counts only where the trajectory's own times
        are not known.
    layers : sequence of float
        Outer ends of the layers, A from the surface, ascending.
    **options
        See `InterfaceAnalysis`.

    Raises
    ------
    InputError
        If the times are not known or uneven, the layers are not ascending, or no face is wet.
    """

    def __init__(self, source: Any, *, dt: float | None = None,
                 layers: Sequence[float] = DEFAULT_LAYERS, **options: Any) -> None:  # fmt: skip
        super().__init__(source, **options)
        if dt is not None and not (np.isfinite(dt) and dt > 0.0):
            raise InputError(f"dt: found {dt:g}, expected a time between frames above 0 ps")
        self.dt, self.ends = dt, checked_layers(layers, fewest=0)
        self.layers = len(self.ends) + 1
        if self.layers > MOST_LAYERS:
            raise InputError(f"layers: found {len(self.ends)}, expected fewer than {MOST_LAYERS}")

    def check_scene(self, scene: Scene) -> None:
        """Refuse a trajectory without times or without a wet face.

        Raises
        ------
        InputError
            In these cases.
        """
        self.times_known = bool(scene.ts.data.get("time_known", True))
        if self.times_known and self.dt is not None:
            LOG.warning("dt: found times in the trajectory, which count instead of %g ps", self.dt)
        if self.given_step is None and not self.times_known:
            raise InputError("dt: found no times in the trajectory, expected the time between "
                             "its frames in ps")  # fmt: skip
        if not scene.interface.faces:
            raise InputError("electrode: neither of its faces has water nearby, expected one")

    @property
    def given_step(self) -> float | None:
        """What `dt` says in ps; None where the trajectory's own times count."""
        return None if self.times_known else self.dt

    def layer_labels(self, scene: Scene, atoms: Indices, counts: npt.NDArray[np.bool_]) -> Labels:
        """Labels (n,) of atoms by face and layer; -1 where `counts` (n,) is false."""
        face = scene.face_of[atoms]
        above = scene.above[atoms]
        distance = np.where(face == UPPER, above, scene.gap - above)
        layer = np.searchsorted(self.ends, np.maximum(distance, 0.0), side="right")
        order = np.searchsorted(scene.interface.faces, face)
        return np.where(counts, order * self.layers + layer, -1).astype(np.int8)

    @property
    def labels(self) -> int:
        """Number of labels."""
        assert self.interface is not None
        return len(self.interface.faces) * self.layers

    @property
    def layer_ends(self) -> list[tuple[float, float]]:
        """Ends of the layers in A; the last one has no end."""
        return list(zip([0.0, *self.ends.tolist()], [*self.ends.tolist(), np.inf], strict=True))

    def by_face(self, sums: Array) -> dict[str, Array]:
        """Sums by label (n_chunks, n_labels, ...) by face (n_chunks, n_layers, ...)."""
        assert self.interface is not None
        faces = self.interface.faces
        table = sums.reshape(len(sums), len(faces), self.layers, *sums.shape[2:])
        found = {FACE_NAMES[k]: table[:, i] for i, k in enumerate(faces)}
        found["both"] = table.sum(axis=1)
        return found

    def mean_numbers(self, labels: npt.NDArray[np.int8]) -> dict[str, Array]:
        """Mean number with each label (any shape, all frames) by face, of ``both`` per face."""
        assert self.interface is not None
        counts = np.bincount(labels.ravel() + 1, minlength=self.labels + 1)[None, 1:]
        found = {face: n[0] for face, n in self.by_face(counts / len(self.frames)).items()}
        found["both"] = found["both"] / len(self.interface.faces)
        return found

    @property
    def spacing(self) -> float:
        """Time between analysed frames in ps."""
        step = self.given_step
        if step is None:
            return super().spacing
        frames = np.asarray(self.frames)
        return float(np.diff(frames).mean()) * step if len(frames) > 1 else step

    def time_step(self) -> float:
        """Time between analysed frames in ps, after a check that it is always the same.

        Raises
        ------
        InputError
            If there are fewer than two frames or the steps are uneven.
        """
        if len(self.frames) < 2:
            raise InputError(f"frames: found {len(self.frames)}, expected two or more for a motion")
        step = self.given_step
        times = np.asarray(self.times if step is None else self.frames * step, dtype=float)
        steps = np.diff(times)
        mean = float(steps.mean())
        if mean <= 0.0 or np.abs(steps - mean).max() > UNEVEN * mean:
            raise InputError(
                f"frames: found steps in time from {steps.min():g} to {steps.max():g} ps, "
                "expected even ones above 0"
            )
        return mean

    def longest_lag(self, max_lag: float | None, step: float, default: float) -> int:
        """Number of frames of the longest lag.

        Raises
        ------
        InputError
            If a given lag is shorter than a step or longer than the trajectory.
        """
        frames = len(self.frames)
        if max_lag is None:
            return max(min(frames // 2, round(default / step)), 1)
        lag = round(max_lag / step) if np.isfinite(max_lag) else 0
        if not 1 <= lag < frames:
            raise InputError(f"max_lag: found {max_lag:g} ps, expected {step:g} to "
                             f"{(frames - 1) * step:g} ps")  # fmt: skip
        return lag

    def origin_chunks(self) -> tuple[Indices, int]:
        """Chunk (n_frames,) each frame belongs to as an origin, and the stride of the origins."""
        frames, chunks = len(self.frames), len(self.lengths)
        return np.arange(frames) * chunks // frames, max(frames // MOST_ORIGINS, 1)


def layer_name(ends: tuple[float, float]) -> str:
    """Such as ``2.7_to_4.5_A``, for the name of a column."""
    return f"{ends[0]:g}_to_{ends[1]:g}_A" if np.isfinite(ends[1]) else f"beyond_{ends[0]:g}_A"


def layer_title(ends: tuple[float, float]) -> str:
    """The same for a legend."""
    return f"{ends[0]:g} to {ends[1]:g} Å" if np.isfinite(ends[1]) else f"beyond {ends[0]:g} Å"


def choose_lags(longest: int) -> Indices:
    """Lags in frames from 0 to the longest, dense at first, ascending."""
    if longest < MOST_LAGS:
        return np.arange(longest + 1)
    tail = np.geomspace(DENSE_LAGS, longest, MOST_LAGS - DENSE_LAGS)
    return np.unique(np.concatenate([np.arange(DENSE_LAGS), np.rint(tail).astype(np.int64)]))


def check_lags(max_lag: float | None, fit: tuple[float, float] | None = None) -> None:
    """Refuse what is wrong for every trajectory, before the frames are read.

    Raises
    ------
    InputError
        If the longest lag is no time above zero, or the window of the fit is empty or beyond it.
    """
    if max_lag is not None and not (np.isfinite(max_lag) and max_lag > 0.0):
        raise InputError(f"max_lag: found {max_lag:g} ps, expected more than 0")
    if fit is not None:
        fit_window(fit, np.inf if max_lag is None else max_lag)


def fit_window(fit: tuple[float, float] | None, longest: float) -> tuple[float, float]:
    """Start and end of a fit in ps: as given, or from 1 ps (at most a fifth) to the longest lag.

    Raises
    ------
    InputError
        If the window is empty or reaches beyond the longest lag.
    """
    if fit is None:
        return min(FIT_START, 0.2 * longest), longest
    start, end = fit
    if not (0.0 <= start < end <= longest * (1.0 + 1e-9) and np.isfinite(end)):
        within = f" within 0 to {longest:g} ps" if np.isfinite(longest) else ", FROM below TO"
        raise InputError(f"fit: found {start:g} to {end:g} ps, expected a window{within}")
    return float(start), float(end)


def fit_line(x: Array, y: Array, weights: Array) -> tuple[float, float]:
    """Weighted least squares: intercept and slope; not a number with fewer than two points."""
    kept = (weights > 0.0) & np.isfinite(y)
    x, y, w = x[kept], y[kept], weights[kept]
    if len(x) < 2:
        return float("nan"), float("nan")
    w = w / w.sum()
    dx = x - w @ x
    slope = float(w @ (dx * y)) / float(w @ (dx * dx))
    return float(w @ y) - slope * float(w @ x), slope


def jackknife(function: Callable[[Array, Array], Array], numerator: Array, denominator: Array,
              blocks: int) -> tuple[Array, Array]:  # fmt: skip
    """A function of sums over origins, and its error from leaving out blocks of them in turn.

    Parameters
    ----------
    function : callable
        Takes the two sums, returns an array.
    numerator, denominator : ndarray (n_chunks, ...)
        Sums over consecutive chunks of origins.
    blocks : int
        Number of blocks, at most `MOST_BLOCKS` of which are used; with none the error is not a
        number.
    """
    total, weight = numerator.sum(axis=0), denominator.sum(axis=0)
    value = function(total, weight)
    blocks = min(blocks, MOST_BLOCKS, len(numerator))
    if blocks < 2:
        return value, np.full_like(value, np.nan)
    parts = np.arange(len(numerator)) * blocks // len(numerator)
    without = np.array([
        function(total - numerator[parts == k].sum(axis=0), weight - denominator[parts == k].sum(0))
        for k in range(blocks)
    ])  # fmt: skip
    spread = ((without - without.mean(axis=0)) ** 2).sum(axis=0)
    return value, np.asarray(np.sqrt(spread * (blocks - 1) / blocks))


@numba.njit(cache=True)
def segment_ends(joined: npt.NDArray[np.bool_]) -> Indices:
    """Last frame (n, n_frames) up to which each frame's state lasts.

    Parameters
    ----------
    joined : ndarray of bool (n, n_frames)
        Whether a frame continues the one before it.
    """
    n, frames = joined.shape
    ends = np.empty((n, frames), np.int64)
    for i in range(n):
        ends[i, frames - 1] = frames - 1
        for t in range(frames - 2, -1, -1):
            ends[i, t] = ends[i, t + 1] if joined[i, t + 1] else t
    return ends


def minimum_image(fractions: Array) -> Array:
    """Differences of fractional coordinates, each in [-1/2, 1/2]."""
    return np.asarray(fractions - np.rint(fractions))
