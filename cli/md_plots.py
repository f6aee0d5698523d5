"""Figures of a run and of a series of runs."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from voltase.cli.md_averages import RunLog

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from voltase.cli.md_series import SeriesPoint, Slope

_RAW = "#9db4c9"
_SMOOTH = "#12466f"
_TARGET = "#c8451b"
_SECOND = "#2a8f6d"
_MAX_POINTS = 4000


@dataclass(frozen=True)
class RunLabels:
    """What the log does not say of itself.

    Attributes
    ----------
    title : str
    reference : str
        Such as ``V vs SHE``.
    temperature_K : float
        Target.
    mobile_atoms : int
    averaged_from_fs : float or None
        Where the averages begin.
    """

    title: str
    reference: str
    temperature_K: float
    mobile_atoms: int
    averaged_from_fs: float | None


def plot_run(log: RunLog, labels: RunLabels) -> Figure:
    """Excess electrons, potential, temperature and conserved quantity over time."""
    stride = max(1, len(log) // _MAX_POINTS)
    picoseconds = 1e-3 * log["time_fs"]
    figure = Figure(figsize=(9.0, 5.4), dpi=150, layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    figure.suptitle(labels.title, fontsize=11)
    panels = (
        (axes[0, 0], "excess electrons $n$ (e)", log["n_e"], None),
        (axes[0, 1], f"potential $U$ ({labels.reference})", log["U_V"], log["target_U_V"]),
        (axes[1, 0], "temperature (K)", log["T_K"], np.full(len(log), labels.temperature_K)),
    )
    for panel, label, values, target in panels:
        _draw(panel, picoseconds, values, stride)
        if target is not None:
            panel.plot(picoseconds[::stride], target[::stride], "--", color=_TARGET, lw=1.2,
                       label="target")  # fmt: skip
        panel.set_ylabel(label)
    _draw_conserved(axes[1, 1], picoseconds, log["conserved_eV"], labels.mobile_atoms, stride)
    for panel in axes.flat:
        _dress(panel)
        if labels.averaged_from_fs:
            panel.axvspan(picoseconds[0], 1e-3 * labels.averaged_from_fs, color="0.94", zorder=0,
                          label="not averaged")  # fmt: skip
    axes[0, 1].legend(frameon=False, fontsize=8)
    for panel in axes[1]:
        panel.set_xlabel("time (ps)")
    return figure


def _draw(
    panel: "Axes", times: NDArray[np.float64], values: NDArray[np.float64], stride: int
) -> None:
    panel.plot(times[::stride], values[::stride], color=_RAW, lw=0.8)
    width = max(1, len(values) // 25)
    if width > 2:
        mean = np.convolve(values, np.full(width, 1.0 / width), mode="valid")
        middle = times[(width - 1) // 2 :][: len(mean)]
        panel.plot(middle[::stride], mean[::stride], color=_SMOOTH, lw=1.6)


def _draw_conserved(
    panel: "Axes",
    times: NDArray[np.float64],
    conserved: NDArray[np.float64],
    mobile_atoms: int,
    stride: int,
) -> None:
    change = 1e3 * (conserved - conserved[0]) / max(mobile_atoms, 1)
    panel.plot(times[::stride], change[::stride], color=_SMOOTH, lw=1.0)
    panel.set_ylabel("conserved quantity\n(meV/atom, from the start)")


def _dress(panel: "Axes") -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="0.9", lw=0.6)
    panel.set_axisbelow(True)
    panel.ticklabel_format(axis="y", useOffset=False)


def plot_series(
    points: Sequence["SeriesPoint"], slopes: Sequence["Slope"], reference: str, title: str
) -> Figure:
    """Surface charge and differential capacitance over the potential."""
    figure = Figure(figsize=(5.6, 6.0), dpi=150, layout="constrained")
    charge, capacitance = figure.subplots(2, 1, sharex=True)
    figure.suptitle(title, fontsize=11)
    potentials = [point.potential for point in points]
    style = {"capsize": 3, "ms": 5, "lw": 1.3}
    charge.errorbar(potentials, [point.sigma for point in points],
                    [point.sigma_error for point in points], fmt="o-", color=_SMOOTH,
                    **style)  # fmt: skip
    charge.axhline(0.0, color="0.6", lw=0.8)
    charge.set_ylabel(r"surface charge $\sigma$ ($\mu$C/cm$^2$)")
    if slopes:
        capacitance.errorbar([slope.potential for slope in slopes],
                             [slope.capacitance for slope in slopes],
                             [slope.error for slope in slopes], fmt="s", color=_SMOOTH,
                             label=r"$\Delta\sigma/\Delta U$", **style)  # fmt: skip
    fluctuating = [point for point in points if np.isfinite(point.capacitance_error)]
    if fluctuating:
        capacitance.errorbar([point.potential for point in fluctuating],
                             [point.capacitance for point in fluctuating],
                             [point.capacitance_error for point in fluctuating], fmt="o",
                             color=_SECOND, label=r"var$(n)/kT$", **style)  # fmt: skip
    if slopes or fluctuating:
        capacitance.legend(frameon=False)
    capacitance.set_ylabel(r"capacitance ($\mu$F/cm$^2$)")
    capacitance.set_xlabel(f"potential $U$ ({reference})")
    for panel in (charge, capacitance):
        _dress(panel)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    image = io.BytesIO()
    figure.savefig(image, format="png")
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(image.getvalue())
    os.replace(partial, path)
