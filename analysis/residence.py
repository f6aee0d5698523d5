"""How long water stays in a layer next to an electrode, and how often it changes layers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import numpy.typing as npt

from voltase.analysis.base import Contribution
from voltase.analysis.blocks import estimate_ratio
from voltase.analysis.correlation import (
    TimedAnalysis,
    check_lags,
    choose_lags,
    fit_line,
    fit_window,
    jackknife,
    layer_name,
    layer_title,
)
from voltase.analysis.density import FACE_NAMES
from voltase.analysis.drawing import draw_band, draw_legend, with_error
from voltase.analysis.orientation import DEFAULT_LAYERS
from voltase.analysis.scene import Scene
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]

KINDS = ("continuous", "intermittent")
TIMES = ("integral", "fit")
DEFAULT_TOLERANCE = 2.0
"""ps; Impey, Madden and McDonald, doi:10.1021/j150643a008."""
DECAYED = 0.05
"""An integral is complete, and a fit ends, where the survival probability is below that."""
FEWEST_POINTS = 3
"""Lags that a fit needs."""


class Residence(TimedAnalysis):
    """Survival of water in layers next to the electrode, and exchange between layers.

    The survival probability is

        P(tau) = < in(t) in(t + dt) ... in(t + tau) > / < in(t) >,

    over oxygens and over all times t from which tau still fits into the trajectory: the share of
    those in the layer that have not left it up to tau later. It is ``continuous`` if every frame
    counts as it is, ``intermittent`` if absences up to the tolerance do not count and are filled
    first (Impey, Madden and McDonald, doi:10.1021/j150643a008). All oxygens that are neither the
    slab's nor an oxyanion's count, whatever hydrogens they have at the time; the layer is that of
    the nearer wet face. The cost is linear in the number of frames.

    Two times are derived from P; their difference shows how far it is from an exponential. The
    ``fit`` is the t of A exp(-tau/t), by least squares to ln P from the first lag to where P falls
    below 0.05; fast recrossings go into A. The ``integral`` is that of P from zero to the longest
    lag (trapezoids) plus what the fit's exponential adds beyond, P(longest) t; it is not a number
    unless P has fallen below 0.05 at the longest lag.

    Parameters
    ----------
    source : Universe or AtomGroup
    layers : sequence of float
        Outer ends of the layers, A from the surface, ascending.
    tolerance : float
        Longest absence that does not count, ps. Also: a molecule has changed layers once it has
        been in the new one for longer than that.
    max_lag : float, optional
        Longest tau, ps; by default half of the trajectory.
    fit : (float, float), optional
        Window of the fit in ps, which ends in any case where P falls below 0.05; by default all
        lags up to there.
    dt : float, optional
        Time between frames of the trajectory in ps; counts only where the trajectory's own times
        are not known.
    **options
        See `InterfaceAnalysis`.

    Attributes
    ----------
    results.time : ndarray (n_lags,)
        tau in ps, from zero; all at first, then ever farther apart.
    results.layers : list of (float, float)
        Ends of the layers, A.
    results.survival, results.survival_err : dict
        By face (``lower``, ``upper``, those that are wet, and ``both``, all molecules together),
        then by kind (``continuous``, ``intermittent``): ndarray (n_layers, n_lags), not a number
        where the layer was never occupied.
    results.residence_times, results.residence_times_err : dict
        By face and kind, then ``integral`` and ``fit``: ndarray (n_layers,), ps. Errors by the
        jackknife over blocks of frames.
    results.exchanges, results.exchanges_err : dict
        By face: ndarray (n_layers + 1, n_layers + 1), molecules that change from one layer (row)
        to another (column) per ps, of ``both`` per face; the last is the rest of the liquid. Only
        stays longer than the tolerance count.
    results.crossings, results.crossings_err : dict
        Likewise, all changes between successive frames; they grow as frames come closer.
    results.oxygens, results.oxygens_err : dict
        By face: ndarray (n_layers,), mean number of oxygens, of ``both`` per face.

    Raises
    ------
    InputError
        If an argument is out of range, no face is wet, there is no water, the times are not known
        or uneven, or there are fewer than two frames.
    """

    def __init__(self, source: Any, *, layers: Sequence[float] = DEFAULT_LAYERS,
                 tolerance: float = DEFAULT_TOLERANCE, max_lag: float | None = None,
                 fit: tuple[float, float] | None = None, dt: float | None = None,
                 **options: Any) -> None:  # fmt: skip
        super().__init__(source, dt=dt, layers=layers, **options)
        if len(self.ends) == 0:
            raise InputError("layers: found none, expected ascending distances in A")
        if not (np.isfinite(tolerance) and tolerance >= 0.0):
            raise InputError(f"tolerance: found {tolerance:g} ps, expected zero or more")
        check_lags(max_lag, fit)
        self.tolerance, self.max_lag, self.fit = float(tolerance), max_lag, fit

    def prepare(self, scene: Scene) -> None:
        """Which oxygens count; whether there are times."""
        self.check_scene(scene)
        oxygen = scene.of_element("O")
        oxygen = oxygen[~(scene.interface.slab | scene.species.in_oxyanion)[oxygen]]
        if len(oxygen) == 0:
            raise InputError(f"water: found none in frame {scene.frame}, expected some")
        self.oxygen = oxygen

    def observe(self, scene: Scene) -> tuple[Contribution, Contribution]:
        """Face and layer of each oxygen in one frame."""
        every = np.ones(len(self.oxygen), dtype=bool)
        return {}, {"labels": self.layer_labels(scene, self.oxygen, every)}

    def conclude(self) -> None:
        """Survival probabilities, residence times and exchanges."""
        results, step = self.results, self.time_step()
        assert self.interface is not None
        labels = np.array(self.series("labels"))
        self.lags = choose_lags(self.longest_lag(self.max_lag, step, len(labels) * step))
        self.gap = int(np.floor(self.tolerance / step * (1.0 + 1e-9)))
        results.time, results.layers = self.lags * step, self.layer_ends[:-1]
        if self.fit is not None:
            fit_window(self.fit, float(results.time[-1]))
        for name in ("survival", "residence_times", "exchanges", "crossings", "oxygens"):
            results[name], results[f"{name}_err"] = {}, {}
        names = [FACE_NAMES[face] for face in self.interface.faces]
        slots = {name: [slot] for slot, name in enumerate(names)} | {"both": [*range(len(names))]}
        tables = [
            f"{name}{end}" for name in ("survival", "residence_times") for end in ("", "_err")
        ]
        for name, members in slots.items():
            for table in tables:
                results[table][name] = {kind: [] for kind in KINDS}
            self._exchanges(name, labels, members, step)
        for kind, layer in itertools.product(KINDS, range(self.layers - 1)):
            counts = np.array([self._counts(labels == slot * self.layers + layer, kind)
                               for slot in range(len(names))])  # fmt: skip
            for name, members in slots.items():
                self._survival(name, kind, *counts[members].sum(axis=0))
        for table, name, kind in itertools.product(tables, slots, KINDS):
            rows = np.array(results[table][name][kind])
            times = dict(zip(TIMES, rows.T, strict=True)) if "times" in table else rows
            results[table][name][kind] = times

    @property
    def _starts(self) -> Indices:
        """First frame of each chunk, and the number of frames (n_chunks + 1,)."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    def _counts(self, inside: Mask, kind: str) -> tuple[Array, Array]:
        """Survivors and starts (n_chunks, n_lags), by the chunk of the start."""
        if kind == "intermittent":
            inside = fill_absences(inside, self.gap)
        starts, frames = self._starts, len(inside)
        chunk = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        survivors = count_survivors(inside, chunk, len(starts) - 1, self.lags)
        occupied = np.concatenate([[0.0], np.cumsum(inside.sum(axis=1))])
        last = np.minimum(starts[1:, None], frames - self.lags)
        first = np.minimum(starts[:-1, None], last)
        return survivors, occupied[last] - occupied[first]

    def _survival(self, face: str, kind: str, survivors: Array, starts: Array) -> None:
        """Append the results of a layer."""
        results, time = self.results, self.results.time
        estimate = estimate_ratio(survivors, starts, self.lengths)
        times, error = jackknife(lambda a, b: residence_times(time, a, b, self.fit), survivors,
                                 starts, estimate.blocks)  # fmt: skip
        results.survival[face][kind].append(estimate.mean)
        results.survival_err[face][kind].append(estimate.error)
        results.residence_times[face][kind].append(times)
        results.residence_times_err[face][kind].append(error)
        if face == "both":
            ends = results.layers[len(results.survival[face][kind]) - 1]
            self.note(estimate, f"survival_{kind}_{layer_name(ends)}")

    def _exchanges(self, face: str, labels: Labels, members: list[int], step: float) -> None:
        results, lengths, rest = self.results, self.lengths, self.layers - 1
        starts = self._starts[:-1]
        exchanges, crossings, oxygens = (
            np.zeros((len(starts), *shape)) for shape in (2 * (rest + 1,), 2 * (rest + 1,), (rest,))
        )
        for slot in members:
            # A molecule at the other face is not in these layers, and that is all that matters.
            state = labels - np.int8(slot * self.layers)
            state[(state < 0) | (state > rest)] = rest
            for total, gap in ((exchanges, self.gap), (crossings, 0)):
                total += np.add.reduceat(count_moves(settle(state, gap), rest + 1), starts, axis=0)
            inside = (state[:, :, None] == np.arange(rest)).sum(axis=1, dtype=np.float64)
            oxygens += np.add.reduceat(inside, starts, axis=0)
        # Each frame but the first ends one interval.
        time = step * (lengths - (np.arange(len(lengths)) == 0))
        for name, values in (("exchanges", exchanges), ("crossings", crossings)):
            estimate = estimate_ratio(values, len(members) * time[:, None, None], lengths)
            results[name][face], results[f"{name}_err"][face] = estimate.mean, estimate.error
        mean = estimate_ratio(oxygens, len(members) * lengths[:, None], lengths)
        results.oxygens[face], results.oxygens_err[face] = mean.mean, mean.error

    # -- output --------------------------------------------------------------------------------

    def tables(self) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Columns of ``residence`` (survival), ``_times`` and ``_exchanges``, by face."""
        r = self.results
        low, high = np.array(r.layers).T
        found: dict[str, dict[str, npt.NDArray[Any]]] = {}
        for face in ("both", *(name for name in r.survival if name != "both")):
            suffix = "" if face == "both" else f"_{face}"
            survival: dict[str, npt.NDArray[Any]] = {"t_ps": r.time}
            times: dict[str, npt.NDArray[Any]] = {
                "from_A": low, "to_A": high,
                "oxygens": r.oxygens[face], "oxygens_err": r.oxygens_err[face],
            }  # fmt: skip
            for kind in KINDS:
                for k, ends in enumerate(r.layers):
                    name = f"{kind}_{layer_name(ends)}"
                    survival[name] = r.survival[face][kind][k]
                    survival[f"{name}_err"] = r.survival_err[face][kind][k]
                for key in TIMES:
                    times[f"{kind}_{key}_ps"] = r.residence_times[face][kind][key]
                    times[f"{kind}_{key}_ps_err"] = r.residence_times_err[face][kind][key]
            start, end = np.divmod(np.arange(self.layers**2), self.layers)
            moves: dict[str, npt.NDArray[Any]] = {"from_layer": start + 1, "to_layer": end + 1}
            for key in ("exchanges", "crossings"):
                moves[f"{key}_per_ps"] = r[key][face].ravel()
                moves[f"{key}_per_ps_err"] = r[f"{key}_err"][face].ravel()
            found[f"residence{suffix}"] = survival
            found[f"residence_times{suffix}"] = times
            found[f"residence_exchanges{suffix}"] = moves
        return found

    def draw(self, figure: Figure) -> None:
        """Survival in each layer, both faces together; times of fits in the legend."""
        r = self.results
        panels = figure.subplots(2, 1, sharex=True)
        for ax, kind in zip(panels, KINDS, strict=True):
            times, errors = r.residence_times["both"][kind], r.residence_times_err["both"][kind]
            for k, ends in enumerate(r.layers):
                time, error = times["fit"][k], errors["fit"][k]
                value = with_error(time, error) if np.isfinite(error) else f"{time:.3g}"
                text = layer_title(ends) + (f": {value} ps" if np.isfinite(time) else "")
                draw_band(ax, r.time, r.survival["both"][kind][k],
                          r.survival_err["both"][kind][k], text)  # fmt: skip
            absences = f", absences up to {self.tolerance:g} ps filled"
            title = kind + (absences if kind == "intermittent" else "")
            ax.set(ylabel="survival probability", ylim=(0.0, 1.05), title=title)
            draw_legend(ax, fontsize="small", title="exponential fits")
        panels[-1].set(xlabel="time (ps)")


# -- times and counts --------------------------------------------------------------------------


def residence_times(time: Array, survivors: Array, starts: Array,
                    window: tuple[float, float] | None = None) -> Array:  # fmt: skip
    """Integral and fitted time (2,) in ps of a survival probability; see `Residence`.

    Parameters
    ----------
    time, survivors, starts : ndarray (n_lags,)
        Lags in ps, from zero; molecules that stay so long, of so many.
    window : (float, float), optional
        Of the fit, ps.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        survival = np.where(starts > 0.0, survivors / starts, np.nan)
    low = np.flatnonzero(~(survival >= DECAYED))
    stop = int(low[0]) if len(low) else len(survival)
    integral = fit = float("nan")
    fitted = np.arange(1, stop)
    if window is not None:
        start, end = window
        fitted = fitted[(time[fitted] >= start - 1e-9) & (time[fitted] <= end + 1e-9)]
    if len(fitted) >= FEWEST_POINTS:
        # Lags lie ever farther apart; each stands for the stretch around it.
        weights = np.gradient(time)[fitted]
        slope = fit_line(time[fitted], np.log(survival[fitted]), weights)[1]
        fit = -1.0 / slope if slope * time[-1] < -1e-9 else fit
    if survival[-1] < DECAYED and np.isfinite(survival).all():
        tail = survival[-1] * fit if survival[-1] > 0.0 else 0.0
        integral = float(np.trapezoid(survival, time) + tail)
    return np.array([integral, fit])


@numba.njit(cache=True)
def fill_absences(inside: Mask, gap: int) -> Mask:
    """Presence (n_frames, n_molecules) with absences of up to so many frames filled.

    Only absences between two presences count as such.
    """
    filled = inside.copy()
    frames, molecules = inside.shape
    for m in range(molecules):
        last = -1
        for t in range(frames):
            if inside[t, m]:
                if last >= 0 and 1 < t - last <= gap + 1:
                    for s in range(last + 1, t):
                        filled[s, m] = True
                last = t
    return filled


@numba.njit(cache=True)
def count_survivors(inside: Mask, chunk: Indices, chunks: int, lags: Indices) -> Array:
    """Molecules that are in, and stay for so many frames more, by the chunk of the first frame.

    Parameters
    ----------
    inside : ndarray of bool (n_frames, n_molecules)
    chunk : ndarray (n_frames,)
        Chunk of each frame.
    chunks : int
    lags : ndarray (n_lags,)
        Frames, ascending from zero.

    Returns
    -------
    ndarray (n_chunks, n_lags)
    """
    frames, molecules = inside.shape
    # The longest lag that a stay survives.
    survived = np.searchsorted(lags, np.arange(frames), side="right") - 1
    counts = np.zeros((chunks, len(lags)))
    for m in range(molecules):
        stay = -1
        for t in range(frames - 1, -1, -1):
            stay = stay + 1 if inside[t, m] else -1
            if stay >= 0:
                counts[chunk[t], survived[stay]] += 1.0
    # It has survived all shorter ones too.
    for k in range(len(lags) - 2, -1, -1):
        counts[:, k] += counts[:, k + 1]
    return counts


@numba.njit(cache=True)
def settle(state: Labels, gap: int) -> Labels:
    """States (n_frames, n_molecules) without stays of up to so many frames.

    Such a stay counts for the state before it; at the start, for the first longer stay.
    """
    settled = state.copy()
    frames, molecules = state.shape
    for m in range(molecules):
        current = -1
        t = 0
        while t < frames:
            end = t
            while end < frames and state[end, m] == state[t, m]:
                end += 1
            if end - t > gap:
                start = t if current >= 0 else 0
                current = state[t, m]
                for s in range(start, end):
                    settled[s, m] = current
            elif current >= 0:
                for s in range(t, end):
                    settled[s, m] = current
            t = end
        if current < 0:
            for s in range(frames):
                settled[s, m] = state[0, m]
    return settled


def count_moves(state: Labels, states: int) -> Array:
    """Changes from state to state that each frame brings (n_frames, n_states, n_states)."""
    before, after = state[:-1], state[1:]
    frame, molecule = np.nonzero(before != after)
    moves = np.zeros((len(state), states, states))
    np.add.at(moves, (frame + 1, before[frame, molecule], after[frame, molecule]), 1.0)
    return moves
