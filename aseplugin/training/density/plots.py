"""Plots of the training of a density model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from voltase.aseplugin.training.density.metrics import Profiles

_TITLES = {
    "density": "density (weighted rms, %)",
    "difference": "difference between charges (rms, %)",
    "planar": "planar average of the difference (rms, %)",
}


def plot_learning_curve(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Errors on geometries held out and trained on, against the step."""
    figure = Figure(figsize=(10.0, 3.4), layout="constrained")
    axes = figure.subplots(1, len(_TITLES))
    for axis, (kind, title) in zip(axes, _TITLES.items(), strict=True):
        for part, colour in (("train", "tab:blue"), ("test", "tab:orange")):
            points = [(r["epoch"], r[f"{part}_{kind}"]) for r in records if f"{part}_{kind}" in r]
            if points:
                label = "trained on" if part == "train" else "held out"
                axis.plot(*zip(*points, strict=True), marker=".", color=colour, label=label)
        axis.set(title=title, xlabel="step", yscale="log")
        axis.legend(frameon=False)
    _save(figure, path)


def plot_profiles(profiles: Sequence[Profiles], path: Path, most: int = 6) -> None:
    """Planar averages of differences, of the reference and of the model, a panel a geometry."""
    shown = [p for p in profiles if len(p.electrons) > 1][:most]
    if not shown:
        return
    figure = Figure(figsize=(10.0, 2.4 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axis, found in zip(axes, shown, strict=True):
        for k, n in enumerate(found.electrons):
            if abs(found.reference[k]).max() == 0.0:
                continue
            (line,) = axis.plot(found.z, found.reference[k], label=f"n = {n:+.3f} e")
            axis.plot(found.z, found.predicted[k], "--", color=line.get_color())
        axis.set(title=f"{found.geometry} (dashed: model)", ylabel="electrons per A")
        axis.legend(frameon=False, fontsize="small")
    axes[-1].set_xlabel("z (A)")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", dpi=130)
    os.replace(partial, path)
