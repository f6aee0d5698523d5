"""Plots of a training of Soft-FQEq: learning curve and parity on held-out snapshots."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voltase.aseplugin.training.charge_model.metrics import Array, ChargeEvaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 20_000
"""Points drawn of each colour at most."""
_TERMS = {
    "charges": "charges, e$^2$",
    "response": "dq/dn of atoms",
    "electrode": "dQ/dn of the electrode",
    "potential": "potential, V$^2$",
    "forces": "forces, (eV/A)$^2$",
    "energy": "energy, (eV/atom)$^2$",
}
_CURVES = (
    ("charge_mae_e", "validation: charges", "MAE (e)"),
    ("electrode_response_error", "validation: change of the electrode's charge", "relative error"),
    ("potential_mae_V", "validation: potential", "MAE (V)"),
    ("force_rmse_meV_A", "validation: forces", "RMSE (meV/A)"),
)


def plot_learning_curve(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Losses and validation errors against the epoch.

    Parameters
    ----------
    records : sequence of dict
        Of the finished epochs, as in ``metrics.jsonl``.
    path : Path
        PNG file to write.
    """
    evaluated = [record for record in records if "valid" in record]
    kinds = sorted({kind for record in evaluated for kind in record["valid"]})
    curves = [c for c in _CURVES
              if any(c[0] in r["valid"].get(k, {}) for r in evaluated for k in kinds)]  # fmt: skip
    figure, (losses, *axes) = _figure(1 + len(curves))
    for name, title in _TERMS.items():
        values = [record["loss"].get(name, np.nan) for record in records]
        if np.isfinite(values).any():
            losses.semilogy([r["epoch"] for r in records], values, marker=".", label=title)
    _finish(losses, "training loss by term", "epoch", "mean square")
    for axis, (name, title, unit) in zip(axes, curves, strict=True):
        for kind in kinds:
            values = [record["valid"].get(kind, {}).get(name, np.nan) for record in evaluated]
            axis.semilogy([r["epoch"] for r in evaluated], values, marker=".", label=kind)
        _finish(axis, title, "epoch", unit)
    _save(figure, path)


def plot_parity(evaluation: ChargeEvaluation, path: Path) -> None:
    """Predictions against labels: charges, change of the electrode's charge, potential, forces.

    Parameters
    ----------
    evaluation : ChargeEvaluation
    path : Path
        PNG file to write.
    """
    samples = evaluation.samples
    forces = any(sample.forces.size for sample in samples)
    figure, axes = _figure(4 if forces else 3)
    for k, symbol in enumerate(evaluation.symbols):
        label = [s.charges[:, s.species == k].ravel() for s in samples]
        found = [s.charges_found[:, s.species == k].ravel() for s in samples]
        _scatter(axes[0], label, found, symbol, "e")
    _square(axes[0], "charges (e)")
    for kind, members in evaluation.by_type().items():
        _scatter(axes[1], [s.response[0] for s in members], [s.response[1] for s in members],
                 kind, "e")  # fmt: skip
        _scatter(axes[2], [s.potential for s in members], [s.potential_found for s in members],
                 kind, "V")  # fmt: skip
    _square(axes[1], "change of the electrode's charge (e)")
    _square(axes[2], "electrode potential (V, absolute)")
    if forces:
        for k, symbol in enumerate(evaluation.symbols):
            label = [s.forces[:, s.species == k].ravel() for s in samples]
            found = [s.forces_found[:, s.species == k].ravel() for s in samples]
            _scatter(axes[3], label, found, symbol, "eV/A")
        _square(axes[3], "forces (eV/A)")
    _save(figure, path)


def _scatter(axis: Axes, label: Sequence[Array], found: Sequence[Array], name: str, unit: str
             ) -> None:  # fmt: skip
    x, y = np.concatenate(label), np.concatenate(found)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if not x.size:
        return
    every = max(1, -(-x.size // MOST_POINTS))
    axis.plot(x[::every], y[::every], ".", markersize=3, alpha=0.5, rasterized=True,
              label=f"{name}: MAE {np.abs(y - x).mean():.3g} {unit}")  # fmt: skip


def _square(axis: Axes, title: str) -> None:
    """Equal axes with the diagonal."""
    if axis.lines:
        values = np.concatenate([np.concatenate(line.get_data()) for line in axis.lines])
        margin = 0.05 * float(np.ptp(values)) or 0.1
        limits = (float(values.min()) - margin, float(values.max()) + margin)
        axis.plot(limits, limits, color="0.3", linewidth=0.8, zorder=0)
        axis.set_xlim(limits)
        axis.set_ylim(limits)
    axis.set_aspect("equal")
    _finish(axis, title, "reference", "model")


def _finish(axis: Axes, title: str, x: str, y: str) -> None:
    axis.set_title(title)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    if axis.lines:
        axis.legend(fontsize="small")
    else:
        axis.text(0.5, 0.5, "no labels", transform=axis.transAxes, ha="center", color="0.5")


def _figure(columns: int) -> tuple[Figure, list[Axes]]:
    # The figure's own canvas, not pyplot's: nothing global, no display needed.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * columns, 4.2), layout="constrained")
    return figure, list(np.ravel(figure.subplots(1, columns, squeeze=False)))


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", dpi=120)
    os.replace(partial, path)
