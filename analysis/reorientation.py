"""How fast water molecules turn, by the layer they start from."""

from __future__ import annotations

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
    segment_ends,
)
from voltase.analysis.drawing import draw_band, draw_legend
from voltase.analysis.scene import Scene
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

DEFAULT_LAG = 20.0
"""Longest lag in ps of long runs."""
FLOOR = 0.05
"""Correlations below it are noise and not fitted."""
ORDERS = (1, 2)


class Reorientation(TimedAnalysis):
    """Rotational correlation functions of water, by layer at the time origin.

    C_l(t) = <P_l(u(0) . u(t))> with the Legendre polynomials P_1 and P_2, u the dipole's direction
    (from O between the two H) or that of an O-H bond. The mean is over all time origins and the
    molecules that are in the layer then, wherever they are later. A molecule is its oxygen with
    its two hydrogens; from the frame on in which it is not water, or has another hydrogen, it no
    longer counts for the origins before.

    The relaxation time of the fit is that of A exp(-t/tau), by least squares of ln C in the window
    with the weights n C^2 (n samples), up to where C first falls below 0.05. That of the integral
    is the integral of C up to the last point of the fit plus that of the exponential beyond; if C
    has fallen below 0.05 before there are three points to fit, the integral up to there.

    Parameters
    ----------
    source : Universe or AtomGroup
    bonds : bool
        Whether to follow the O-H bonds too.
    max_lag : float, optional
        ps; by default half of the run, at most 20.
    fit : (float, float), optional
        Window of the fit in ps; by default from 1 (at most a fifth of the longest lag) to the
        longest lag.
    **options
        See `TimedAnalysis`.

    Attributes
    ----------
    results.time : ndarray (n_lags,)
        ps; frame by frame for the first 200 lags, then ever farther apart.
    results.layers : list of (float, float)
        Ends of the layers, A; the last one has no end.
    results.window : (float, float)
        Of the fit, ps.
    results.correlations : dict
        By vector (``dipole``, ``bond``), then by face (``lower``, ``upper``, those that are wet,
        and ``both``): a dict of ``C1``, ``C1_err``, ``C2``, ``C2_err`` (n_layers, n_lags), not a
        number where no molecule is left.
    results.relaxation : dict
        Likewise: ``tau1_integral``, ``tau1_fit``, ``tau2_integral``, ``tau2_fit`` (n_layers,) in
        ps, each with its ``_err`` (jackknife over blocks of origins).
    results.molecules : dict
        By face: mean number of molecules in each layer (n_layers,), of ``both`` per face.

    Raises
    ------
    InputError
        See `TimedAnalysis`; also if there is no water or the lags do not fit the run.
    """

    def __init__(self, source: Any, *, bonds: bool = False, max_lag: float | None = None,
                 fit: tuple[float, float] | None = None, **options: Any) -> None:  # fmt: skip
        super().__init__(source, **options)
        check_lags(max_lag, fit)
        self.bonds, self.max_lag, self.fit = bonds, max_lag, fit

    def prepare(self, scene: Scene) -> None:
        """The oxygens that may become a water's."""
        self.check_scene(scene)
        if len(scene.waters) == 0:
            raise InputError(f"water: found none in frame {scene.frame}, expected some")
        self.oxygens = np.flatnonzero(self.numbers == 8)

    def observe(self, scene: Scene) -> tuple[Contribution, Contribution]:
        """Layer, hydrogens and directions of each oxygen's water in one frame."""
        waters = scene.waters
        slot = np.searchsorted(self.oxygens, waters[:, 0])
        counts = np.zeros(len(self.oxygens), dtype=bool)
        counts[slot] = True
        hydrogens = np.full((len(self.oxygens), 2), -1, dtype=np.int32)
        hydrogens[slot] = waters[:, 1:]
        vectors = np.zeros((len(self.oxygens), 3 if self.bonds else 1, 3), dtype=np.float32)
        vectors[slot, 0] = scene.bisectors
        if self.bonds:
            bonds = scene.bond_vectors
            vectors[slot, 1:] = bonds / np.linalg.norm(bonds, axis=2, keepdims=True)
        labels = self.layer_labels(scene, self.oxygens, counts)
        return {}, {"labels": labels, "hydrogens": hydrogens, "vectors": vectors}

    def conclude(self) -> None:
        """Correlation functions, relaxation times and their errors."""
        results, step = self.results, self.time_step()
        lags = choose_lags(self.longest_lag(self.max_lag, step, DEFAULT_LAG))
        results.time, results.layers = lags * step, self.layer_ends
        results.window = fit_window(self.fit, float(results.time[-1]))
        labels = np.ascontiguousarray(np.array(self.series("labels")).T)
        hydrogens = np.array(self.series("hydrogens"))
        joined = np.zeros(labels.shape, dtype=bool)
        same = (hydrogens[1:] == hydrogens[:-1]).all(axis=2).T
        joined[:, 1:] = same & (labels[:, 1:] >= 0) & (labels[:, :-1] >= 0)
        ends = segment_ends(joined)
        chunk_of, stride = self.origin_chunks()
        vectors = np.array(self.series("vectors"))
        results.correlations, results.relaxation = {}, {}
        for name, columns in (("dipole", (0,)), ("bond", (1, 2)))[: 1 + self.bonds]:
            parts = [
                _correlate(labels, ends, np.ascontiguousarray(vectors[:, :, k].transpose(1, 0, 2)),
                           lags, stride, chunk_of, len(self.lengths), self.labels)
                for k in columns
            ]  # fmt: skip
            sums, counts = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
            self._conclude_vector(name, sums, counts)
        results.molecules = self.mean_numbers(labels)

    def _conclude_vector(self, name: str, sums: Array, counts: Array) -> None:
        """Means and relaxation times; sums (n_chunks, n_labels, n_lags, 2), counts without 2."""
        results = self.results
        results.correlations[name], results.relaxation[name] = {}, {}
        of_face, weights = self.by_face(sums), self.by_face(counts)
        for face, table in of_face.items():
            weight = weights[face]
            shape = (self.layers, len(results.time))
            found = {f"C{o}{e}": np.full(shape, np.nan) for o in ORDERS for e in ("", "_err")}
            times = {
                f"tau{order}_{kind}{e}": np.full(self.layers, np.nan)
                for order in ORDERS for kind in ("integral", "fit") for e in ("", "_err")
            }  # fmt: skip
            fullest = int(np.argmax(weight[:, :, 0].sum(axis=0)))
            for layer in range(self.layers):
                n = weight[:, layer]
                for k, order in enumerate(ORDERS):
                    estimate = estimate_ratio(table[:, layer, :, k], n, self.lengths)
                    found[f"C{order}"][layer] = estimate.mean
                    found[f"C{order}_err"][layer] = estimate.error
                    taus, errors = jackknife(self._relaxation, table[:, layer, :, k], n,
                                             estimate.blocks)  # fmt: skip
                    for kind, tau, error in zip(("integral", "fit"), taus, errors, strict=True):
                        times[f"tau{order}_{kind}"][layer] = tau
                        times[f"tau{order}_{kind}_err"][layer] = error
                    if face == "both" and layer == fullest:
                        self.note(estimate, f"C{order} {name}")
            results.correlations[name][face], results.relaxation[name][face] = found, times

    def _relaxation(self, sums: Array, counts: Array) -> Array:
        return relaxation_times(self.results.time, sums, counts, self.results.window)

    def tables(self) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Columns of ``reorientation`` (both faces), by face, and of the relaxation times."""
        r = self.results
        found: dict[str, dict[str, npt.NDArray[Any]]] = {}
        low, high = np.array(r.layers).T
        for face, molecules in r.molecules.items():
            suffix = "" if face == "both" else f"_{face}"
            table: dict[str, npt.NDArray[Any]] = {"t_ps": r.time}
            times: dict[str, npt.NDArray[Any]] = {"from_A": low, "to_A": high,
                                                  "waters": molecules}  # fmt: skip
            for vector, faces in r.correlations.items():
                for k, ends in enumerate(r.layers):
                    for order in ORDERS:
                        name = f"C{order}_{vector}_{layer_name(ends)}"
                        table[name] = faces[face][f"C{order}"][k]
                        table[f"{name}_err"] = faces[face][f"C{order}_err"][k]
                for name, values in r.relaxation[vector][face].items():
                    plain, error = name.removesuffix("_err"), name.endswith("_err")
                    times[f"{plain}_{vector}_ps{'_err' if error else ''}"] = values
            found[f"reorientation{suffix}"] = table
            found[f"reorientation_times{suffix}"] = times
        return found

    def draw(self, figure: Figure) -> None:
        """C1 and C2 of each layer, both faces together, on a logarithmic scale."""
        r = self.results
        axes = figure.subplots(len(r.correlations), 2, squeeze=False, sharex=True)
        for row, (vector, faces) in zip(axes, r.correlations.items(), strict=True):
            for ax, order in zip(row, ORDERS, strict=True):
                mean, error = faces["both"][f"C{order}"], faces["both"][f"C{order}_err"]
                tau = r.relaxation[vector]["both"][f"tau{order}_fit"]
                for k, ends in enumerate(r.layers):
                    if not np.isfinite(mean[k, 0]):
                        continue
                    positive = np.where(mean[k] > 0.0, mean[k], np.nan)
                    time = f", {tau[k]:.2g} ps" if np.isfinite(tau[k]) else ""
                    draw_band(ax, r.time, positive, np.minimum(error[k], 0.99 * np.abs(mean[k])),
                              layer_title(ends) + time)  # fmt: skip
                ax.set(yscale="log", ylim=(0.5 * FLOOR, 1.05), title=f"{vector}, $l = {order}$",
                       ylabel=f"$C_{order}(t)$")  # fmt: skip
                draw_legend(ax, fontsize="small")
        for ax in axes[-1]:
            ax.set_xlabel("time (ps)")


def relaxation_times(time: Array, sums: Array, counts: Array, window: tuple[float, float]) -> Array:
    """Relaxation times in ps by integral and by fit (2,), see `Reorientation`.

    Parameters
    ----------
    time : ndarray (n_lags,)
        ps, from 0.
    sums, counts : ndarray (n_lags,)
        The correlation function is their ratio; counts are the weights.
    window : (float, float)
        Of the fit, ps.
    """
    nothing = np.full(2, np.nan)
    if counts[0] == 0.0:
        return nothing
    with np.errstate(invalid="ignore", divide="ignore"):
        c = np.where(counts > 0.0, sums / counts, np.nan)
    low = np.flatnonzero(~(c > FLOOR))
    last = int(low[0]) if len(low) else len(c)
    fitted = np.flatnonzero((time >= window[0] - 1e-9) & (time <= window[1] + 1e-9))
    fitted = fitted[fitted < last]
    if len(fitted) < 3:
        decayed = len(low) > 0 and np.isfinite(c[last])
        upto = slice(0, last + 1)
        return np.array([np.trapezoid(c[upto], time[upto]) if decayed else np.nan, np.nan])
    # Lags lie ever farther apart; each stands for the stretch around it.
    share = np.gradient(time)[fitted]
    offset, slope = fit_line(time[fitted], np.log(c[fitted]),
                             share * counts[fitted] * c[fitted] ** 2)  # fmt: skip
    if not slope < 0.0:
        return nothing
    tau, upto = -1.0 / slope, slice(0, fitted[-1] + 1)
    tail = np.exp(offset - time[fitted[-1]] / tau) * tau
    return np.array([np.trapezoid(c[upto], time[upto]) + tail, tau])


@numba.njit(cache=True)
def _correlate(
    labels: npt.NDArray[np.int8], ends: Indices, vectors: npt.NDArray[np.float32], lags: Indices,
    stride: int, chunk_of: Indices, chunks: int, groups: int,
) -> tuple[Array, Array]:  # fmt: skip
    """Sums of P_1 and P_2 (chunks, groups, lags, 2) and numbers of samples (chunks, groups, lags).

    Labels and ends (n, n_frames), vectors (n, n_frames, 3); lags ascending.
    """
    sums = np.zeros((chunks, groups, len(lags), 2))
    counts = np.zeros((chunks, groups, len(lags)))
    n, frames = labels.shape
    for i in range(n):
        for t in range(0, frames, stride):
            group = labels[i, t]
            if group < 0:
                continue
            chunk = chunk_of[t]
            x, y, z = vectors[i, t, 0], vectors[i, t, 1], vectors[i, t, 2]
            for k in range(len(lags)):
                later = t + lags[k]
                if later > ends[i, t]:
                    break
                u = vectors[i, later]
                c = float(x) * u[0] + float(y) * u[1] + float(z) * u[2]
                sums[chunk, group, k, 0] += c
                sums[chunk, group, k, 1] += 1.5 * c * c - 0.5
                counts[chunk, group, k] += 1.0
    return sums, counts
