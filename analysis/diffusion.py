"""How fast water diffuses along the surface, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import numpy.typing as npt

from voltase.analysis.base import Contribution
from voltase.analysis.blocks import Estimate, estimate_ratio
from voltase.analysis.correlation import (
    TimedAnalysis,
    check_lags,
    choose_lags,
    fit_line,
    fit_window,
    jackknife,
    layer_name,
    layer_title,
    minimum_image,
    segment_ends,
)
from voltase.analysis.drawing import draw_band, draw_legend, with_error
from voltase.analysis.scene import Scene
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

DEFAULT_LAG = 10.0
"""Longest lag in ps of long runs."""
A2_PER_PS = 10.0
"""In 1e-9 m^2/s."""


class InPlaneMSD(TimedAnalysis):
    """Mean square displacement of oxygens along the surface, by layer, and the diffusion constant.

    <|r_xy(t) - r_xy(0)|^2> over all time origins and the oxygens that stay in one layer at every
    frame from the origin to t, whose share is the survival probability P(t) (Liu, Harder and
    Berne, doi:10.1021/jp0375057; the sums over origins are divided, not each origin's mean). All
    oxygens outside the slab with at least one hydrogen count, so a proton that changes its oxygen
    ends nothing. D is a quarter of the slope of a straight line with an intercept, by least
    squares in the window with the number of samples as the weight. It holds for the cell as it
    is, without a correction for its finite size.

    Displacements are added up from frame to frame as the shortest changes of the fractional
    coordinates times the mean cell of the two frames, so it does not matter whether the file's
    positions are wrapped, and a cell that breathes moves nothing; no atom may travel half the cell
    between two frames. The mean displacement of the slab's atoms is taken off.

    Parameters
    ----------
    source : Universe or AtomGroup
    max_lag : float, optional
        ps; by default half of the run, at most 10.
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
    results.msd, results.msd_err : dict of ndarray (n_layers, n_lags)
        By face (``lower``, ``upper``, those that are wet, and ``both``), A^2; not a number where
        no oxygen stays so long.
    results.survival, results.survival_err : dict of ndarray (n_layers, n_lags)
        P(t) by face.
    results.D, results.D_err : dict of ndarray (n_layers,)
        By face, A^2/ps (1e-8 m^2/s), error by jackknife over blocks of origins.
    results.oxygens : dict of ndarray (n_layers,)
        By face: their mean number in each layer, of ``both`` per face.

    Raises
    ------
    InputError
        See `TimedAnalysis`; also if there is no oxygen or the lags do not fit the run.
    """

    def __init__(self, source: Any, *, max_lag: float | None = None,
                 fit: tuple[float, float] | None = None, **options: Any) -> None:  # fmt: skip
        super().__init__(source, **options)
        check_lags(max_lag, fit)
        self.max_lag, self.fit = max_lag, fit

    def prepare(self, scene: Scene) -> None:
        """The oxygens outside the slab."""
        self.check_scene(scene)
        self.oxygens = np.flatnonzero((self.numbers == 8) & ~scene.interface.slab)
        if len(self.oxygens) == 0:
            raise InputError("oxygen: found none outside the slab, expected those of water")
        self.followed = np.concatenate([self.oxygens, np.flatnonzero(scene.interface.slab)])

    def observe(self, scene: Scene) -> tuple[Contribution, Contribution]:
        """Layers and fractional coordinates in one frame."""
        species = scene.species
        counts = ((species.hydrogens > 0) & ~species.in_oxyanion)[self.oxygens]
        fractions = scene.positions[self.followed] @ np.linalg.inv(scene.cell)
        fractions -= np.floor(fractions)
        oxygens = len(self.oxygens)
        return {}, {
            "labels": self.layer_labels(scene, self.oxygens, counts),
            "fractions": fractions[:oxygens],
            # Only their mean change matters; half the memory does.
            "slab": fractions[oxygens:].astype(np.float32),
            "cell": scene.cell,
        }

    def conclude(self) -> None:
        """Mean square displacements, survival, diffusion constants and their errors."""
        results, step = self.results, self.time_step()
        lags = choose_lags(self.longest_lag(self.max_lag, step, DEFAULT_LAG))
        results.time, results.layers = lags * step, self.layer_ends
        results.window = fit_window(self.fit, float(results.time[-1]))
        labels = np.ascontiguousarray(np.array(self.series("labels")).T)
        joined = np.zeros(labels.shape, dtype=bool)
        joined[:, 1:] = (labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] >= 0)
        paths = self._paths()
        chunk_of, stride = self.origin_chunks()
        squares, stayed, started = _displacements(
            labels, segment_ends(joined), paths, lags, stride, chunk_of, len(self.lengths),
            self.labels,
        )  # fmt: skip
        for name in ("msd", "survival", "D"):
            results[name], results[f"{name}_err"] = {}, {}
        results.oxygens = self.mean_numbers(labels)
        of_squares, of_stayed, of_started = map(self.by_face, (squares, stayed, started))
        for face in of_squares:
            self._conclude_face(face, of_squares[face], of_stayed[face], of_started[face])

    def _paths(self) -> Array:
        """Unwrapped in-plane positions against the slab (n_oxygens, n_frames, 2), A."""
        path = np.zeros((len(self.oxygens), len(self.frames), 2))
        columns = (self.series(name) for name in ("fractions", "slab", "cell"))
        before: Any = None
        for t, (fractions, slab, cell) in enumerate(zip(*columns, strict=True)):
            if before is not None:
                mean_cell = 0.5 * (cell + before[2])
                moved = minimum_image(fractions - before[0])
                moved -= minimum_image(slab - before[1]).mean(axis=0, dtype=np.float64)
                path[:, t] = path[:, t - 1] + moved @ mean_cell[:, :2]
            before = fractions, slab, cell
        return path

    def _conclude_face(self, face: str, squares: Array, stayed: Array, started: Array) -> None:
        """Sums (n_chunks, n_layers, n_lags) of one face."""
        results, shape = self.results, squares.shape[1:]
        for name, size in (("msd", shape), ("survival", shape), ("D", shape[:1])):
            results[name][face] = np.full(size, np.nan)
            results[f"{name}_err"][face] = np.full(size, np.nan)
        fullest = int(np.argmax(started[:, :, 0].sum(axis=0)))
        for layer in range(self.layers):
            sums, weight = squares[:, layer], stayed[:, layer]
            msd: Estimate = estimate_ratio(sums, weight, self.lengths)
            survival = estimate_ratio(weight, started[:, layer], self.lengths)
            results.msd[face][layer], results.msd_err[face][layer] = msd.mean, msd.error
            results.survival[face][layer] = survival.mean
            results.survival_err[face][layer] = survival.error
            slope, error = jackknife(self._slope, sums, weight, msd.blocks)
            results.D[face][layer], results.D_err[face][layer] = slope / 4.0, error / 4.0
            if face == "both" and layer == fullest:
                self.note(msd, "msd")

    def _slope(self, squares: Array, stayed: Array) -> Array:
        time, (start, end) = self.results.time, self.results.window
        inside = (time >= start - 1e-9) & (time <= end + 1e-9) & (stayed > 0.0)
        mean = squares[inside] / stayed[inside]
        # Lags lie ever farther apart; each stands for the stretch around it.
        weights = stayed[inside] * np.gradient(time)[inside]
        return np.asarray(fit_line(time[inside], mean, weights)[1])

    def tables(self) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Columns of ``diffusion`` (MSD and survival) and ``diffusion_constants``, by face."""
        r = self.results
        found: dict[str, dict[str, npt.NDArray[Any]]] = {}
        low, high = np.array(r.layers).T
        for face in r.msd:
            suffix = "" if face == "both" else f"_{face}"
            table: dict[str, npt.NDArray[Any]] = {"t_ps": r.time}
            for k, ends in enumerate(r.layers):
                for name, column in (("msd", "msd_A2"), ("survival", "survival")):
                    column = f"{column}_{layer_name(ends)}"
                    table[column] = r[name][face][k]
                    table[f"{column}_err"] = r[f"{name}_err"][face][k]
            found[f"diffusion{suffix}"] = table
            found[f"diffusion_constants{suffix}"] = {
                "from_A": low, "to_A": high, "oxygens": r.oxygens[face],
                "D_A2_per_ps": r.D[face], "D_A2_per_ps_err": r.D_err[face],
                "fit_from_ps": np.full(len(low), r.window[0]),
                "fit_to_ps": np.full(len(low), r.window[1]),
            }  # fmt: skip
        return found

    def draw(self, figure: Figure) -> None:
        """Displacements with the window of the fit, and survival, both faces together."""
        r = self.results
        displacement, survival = figure.subplots(2, 1, sharex=True)
        displacement.axvspan(*r.window, color="0.94", zorder=0)
        for k, ends in enumerate(r.layers):
            if not np.isfinite(r.msd["both"][k, 0]):
                continue
            d, error = A2_PER_PS * r.D["both"][k], A2_PER_PS * r.D_err["both"][k]
            value = with_error(d, error) if np.isfinite(error) else f"{d:.2g}"
            text = f": {value}" if np.isfinite(d) else ""
            draw_band(displacement, r.time, r.msd["both"][k], r.msd_err["both"][k],
                      layer_title(ends) + text)  # fmt: skip
            draw_band(survival, r.time, r.survival["both"][k], r.survival_err["both"][k], "")
        displacement.set(ylabel="in-plane MSD (Å$^2$)")
        draw_legend(displacement, fontsize="small",
                            title=r"$D_\parallel$ ($10^{-9}$ m$^2$/s)")  # fmt: skip
        survival.set(xlabel="time (ps)", ylabel="share still in the layer", ylim=(0.0, 1.05))


@numba.njit(cache=True)
def _displacements(
    labels: npt.NDArray[np.int8], ends: Indices, paths: Array, lags: Indices, stride: int,
    chunk_of: Indices, chunks: int, groups: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Sums of squares, how many stayed, how many there were; each (chunks, groups, lags).

    Labels and ends (n, n_frames), paths (n, n_frames, 2); lags ascending.
    """
    squares = np.zeros((chunks, groups, len(lags)))
    stayed = np.zeros((chunks, groups, len(lags)))
    started = np.zeros((chunks, groups, len(lags)))
    n, frames = labels.shape
    for i in range(n):
        for t in range(0, frames, stride):
            group = labels[i, t]
            if group < 0:
                continue
            chunk = chunk_of[t]
            for k in range(len(lags)):
                later = t + lags[k]
                if later >= frames:
                    break
                started[chunk, group, k] += 1.0
                if later <= ends[i, t]:
                    dx = paths[i, later, 0] - paths[i, t, 0]
                    dy = paths[i, later, 1] - paths[i, t, 1]
                    squares[chunk, group, k] += dx * dx + dy * dy
                    stayed[chunk, group, k] += 1.0
    return squares, stayed, started
