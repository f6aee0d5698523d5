"""How many molecules and ions of each kind there are, frame by frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voltase.analysis.base import Contribution, InterfaceAnalysis
from voltase.analysis.blocks import estimate_series
from voltase.analysis.drawing import draw_legend, with_error
from voltase.analysis.scene import Scene
from voltase.analysis.species import COLUMNS, count_species
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

FEW = 12.0
"""Mean number up to which species share the lower panel of the figure."""


class SpeciesCounts(InterfaceAnalysis):
    """Numbers of water, hydroxide, hydronium, adsorbates and ions in each frame.

    From the geometry of each frame alone (`voltase.analysis.species`): each hydrogen belongs to
    its nearest oxygen, so a proton on its way between two oxygens counts for the nearer one.

    Parameters
    ----------
    source : Universe or AtomGroup
    dt : float, optional
        Time between frames of the trajectory in ps; counts only where the trajectory's own times
        are not known.
    **options
        See `InterfaceAnalysis`.

    Attributes
    ----------
    results.frame : ndarray (n_frames,)
        Numbers of the frames.
    results.time : ndarray (n_frames,)
        ps; not a number if the times are not known.
    results.counts : dict of ndarray (n_frames,)
        By species, those of `voltase.analysis.species.COLUMNS` first, then oxyanions and ions
        that occur in any frame.
    results.mean, results.mean_err : dict of float
        By species.
    """

    def __init__(self, source: Any, *, dt: float | None = None, **options: Any) -> None:
        super().__init__(source, **options)
        if dt is not None and not (np.isfinite(dt) and dt > 0.0):
            raise InputError(f"dt: found {dt:g}, expected a time between frames above 0 ps")
        self.dt = dt

    def observe(self, scene: Scene) -> tuple[Contribution, Contribution]:
        """Counts of one frame."""
        counts = count_species(scene.species, scene.cell, scene.positions, self.numbers,
                               scene.interface.slab)  # fmt: skip
        time = scene.time
        if not scene.ts.data.get("time_known", True):
            time = float("nan") if self.dt is None else scene.frame * self.dt
        return {}, {"counts": counts, "frame": scene.frame, "time": time}

    def conclude(self) -> None:
        """Series, means and errors."""
        results, series = self.results, self.series("counts")
        results.frame = np.array(self.series("frame"), dtype=np.int64)
        results.time = np.array(self.series("time"), dtype=np.float64)
        others = sorted({name for counts in series for name in counts} - set(COLUMNS))
        results.counts = {
            name: np.array([counts.get(name, 0) for counts in series], dtype=np.int64)
            for name in (*COLUMNS, *others)
        }
        results.mean, results.mean_err = {}, {}
        for name, values in results.counts.items():
            estimate = estimate_series(values)
            results.mean[name] = float(estimate.mean)
            results.mean_err[name] = float(estimate.error)
            if name == "H2O":
                self.note(estimate, name)

    def tables(self) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Columns of ``species`` (frame by frame) and ``species_mean`` (one row)."""
        r = self.results
        mean: dict[str, npt.NDArray[Any]] = {}
        for name in r.counts:
            mean[name] = np.array([r.mean[name]])
            mean[f"{name}_err"] = np.array([r.mean_err[name]])
        return {"species": {"frame": r.frame, "time_ps": r.time, **r.counts}, "species_mean": mean}

    def draw(self, figure: Figure) -> None:
        """Counts against time, the frequent and the rare species apart."""
        r = self.results
        timed = bool(np.isfinite(r.time).all())
        x = r.time if timed else r.frame
        present = [name for name, values in r.counts.items() if values.any()]
        many = [name for name in present if r.mean[name] > FEW]
        panels = [names for names in (many, [n for n in present if n not in many]) if names]
        axes = figure.subplots(max(len(panels), 1), 1, sharex=True, squeeze=False)[:, 0]
        for ax, names in zip(axes, panels, strict=False):
            for name in names:
                value = with_error(r.mean[name], r.mean_err[name])
                ax.step(x, r.counts[name], where="mid", lw=1.0,
                        label=f"{name.replace('_', ' ')} ({value})")  # fmt: skip
            ax.set_ylabel("number in the cell")
            ax.yaxis.get_major_locator().set_params(integer=True)
            # Above the axes, where it hides nothing.
            draw_legend(ax, fontsize="small", ncols=3, loc="lower left",
                      bbox_to_anchor=(0.0, 1.0))  # fmt: skip
        axes[-1].set_xlabel("time (ps)" if timed else "frame")
