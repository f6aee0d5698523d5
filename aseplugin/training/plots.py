"""Plots of a training run: learning curve and parity on held-out snapshots."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.training.metrics import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 20_000
"""Points drawn of each colour at most."""
_TERMS = {
    "forces": "forces, (eV/A)$^2$",
    "energy": "energy, (eV/atom)$^2$",
    "conjugate": "conjugate, V$^2$",
    "force_difference": "force response, relative$^2$",
}
_Pairs = list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]


def plot_learning_curve(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Losses, validation errors of forces and Phi, and the response error against the epoch.

    Parameters
    ----------
    records : sequence of dict
        Of the finished epochs, as in ``metrics.jsonl``.
    path : Path
        PNG file to write.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(2, 2)
    losses, forces, potential, response = axes
    epochs = [record["epoch"] for record in records]
    for name, title in _TERMS.items():
        values = [record["loss"].get(name, np.nan) for record in records]
        if np.isfinite(values).any():
            losses.plot(epochs, values, marker=".", label=title)
    _label(losses, "training loss by term", "mean square", log=True)
    _plot_errors(forces, records, "force_rmse_meV_A")
    _label(forces, "validation: forces", "RMSE (meV/A)", log=True)
    _plot_errors(potential, records, "potential_mae_V")
    _label(potential, "validation: potential", "MAE (V)", log=True)
    _plot_errors(response, records, "response_error")
    response.axhline(1.0, color="0.6", linewidth=0.8)
    _label(response, "validation: force response", "relative error", log=False)
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _save(figure, path)


def plot_parity(evaluation: Evaluation, path: Path) -> None:
    """Predictions against labels: forces by element, Phi and force response by config type.

    Parameters
    ----------
    evaluation : Evaluation
    path : Path
        PNG file to write.
    """
    figure, (forces, potential, response) = _figure(1, 3)
    for index, symbol in enumerate(evaluation.symbols):
        pairs = [
            (label[sample.species == index], prediction[sample.species == index])
            for sample in evaluation.samples
            for label, prediction in sample.forces
        ]
        _scatter(forces, pairs, symbol, lambda rmse: f"{1e3 * rmse:.0f} meV/A")
    _frame(forces, "forces (eV/A)")
    for kind, samples in evaluation.by_type().items():
        points: _Pairs = [(np.array([t]), np.array([p]))
                          for sample in samples for t, p in sample.potential]  # fmt: skip
        _scatter(potential, points, kind, lambda rmse: f"{rmse:.2f} V")
        changes = [pair for sample in samples for pair in sample.response]
        _scatter(response, changes, kind, lambda rmse: f"{1e3 * rmse:.1f} meV/A")
    _frame(potential, "electrode potential (V, absolute)")
    _frame(response, "force response between charges (eV/A)")
    _save(figure, path)


def _plot_errors(axis: Axes, records: Sequence[dict[str, Any]], name: str) -> None:
    evaluated = [record for record in records if "valid" in record]
    kinds = sorted({kind for record in evaluated for kind in record["valid"]})
    for number, kind in enumerate(kinds):
        values = [record["valid"].get(kind, {}).get(name, np.nan) for record in evaluated]
        if np.isfinite(values).any():
            # The same colour for a config type in every panel.
            axis.plot([record["epoch"] for record in evaluated], values, marker=".",
                      color=f"C{number}", label=kind)  # fmt: skip


def _scatter(axis: Axes, pairs: _Pairs, name: str, caption: Callable[[float], str]) -> None:
    if not pairs:
        return
    label = np.concatenate([t.ravel() for t, _ in pairs])
    prediction = np.concatenate([p.ravel() for _, p in pairs])
    solved = np.isfinite(label) & np.isfinite(prediction)
    label, prediction = label[solved], prediction[solved]
    if not label.size:
        return
    rmse = float(np.sqrt(np.mean((prediction - label) ** 2)))
    every = max(1, -(-label.size // MOST_POINTS))
    axis.plot(label[::every], prediction[::every], ".", markersize=3, alpha=0.5, rasterized=True,
              label=f"{name}: RMSE {caption(rmse)}")  # fmt: skip


def _frame(axis: Axes, title: str) -> None:
    """Equal axes with the diagonal."""
    axis.set_title(title)
    if not axis.lines:
        _say_empty(axis)
        return
    values = np.concatenate([np.concatenate(line.get_data()) for line in axis.lines])
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.1
    limits = (low - margin, high + margin)
    axis.plot(limits, limits, color="0.3", linewidth=0.8, zorder=0)
    axis.set_xlim(limits)
    axis.set_ylim(limits)
    axis.set_aspect("equal")
    axis.set_xlabel("reference")
    axis.set_ylabel("model")
    axis.legend(fontsize="small")


def _label(axis: Axes, title: str, unit: str, log: bool) -> None:
    axis.set_title(title)
    axis.set_ylabel(unit)
    if not any(line.get_label() and not str(line.get_label()).startswith("_")
               for line in axis.lines):  # fmt: skip
        _say_empty(axis)
        return
    if log:
        axis.set_yscale("log")
    axis.legend(fontsize="small")


def _say_empty(axis: Axes) -> None:
    axis.text(0.5, 0.5, "no labels", transform=axis.transAxes, ha="center", color="0.5")


def _figure(rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    # The figure's own canvas, not pyplot's: nothing global, no display needed.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0 * columns, 4.2 * rows), layout="constrained")
    return figure, list(np.ravel(figure.subplots(rows, columns, squeeze=False)))


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", dpi=120)
    os.replace(partial, path)
