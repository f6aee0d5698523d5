"""Errors and spreads over the rounds, as a table and as a plot."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voltase.aseplugin.active_learning.files import write_text

if TYPE_CHECKING:
    from voltase.aseplugin.active_learning.stages import RoundResult

_ERRORS = ("force_rmse_meV_A", "potential_mae_V", "response_error")


@dataclass(frozen=True)
class Row:
    """One model, judged on the held-out frames.

    Attributes
    ----------
    round : str
        "start" or the number of the round that made it.
    candidates, uncertain, selected, labels : int or None
        See `RoundResult`.
    max_spread_eV_A : float or None
        Of the forces in the round's runs, by the model before.
    force_rmse_meV_A, potential_mae_V, response_error : float or None
        See `Evaluation.summary`.
    """

    round: str
    candidates: int | None = None
    uncertain: int | None = None
    selected: int | None = None
    labels: int | None = None
    max_spread_eV_A: float | None = None
    force_rmse_meV_A: float | None = None
    potential_mae_V: float | None = None
    response_error: float | None = None

    @classmethod
    def of_start(cls, errors: Mapping[str, float]) -> Row:
        """Of the model that the loop starts from."""
        return replace(cls("start"), **_known(errors))

    @classmethod
    def of_round(cls, result: RoundResult, errors: Mapping[str, float]) -> Row:
        """Of a round; without errors where it trained nothing."""
        row = cls(str(result.round), result.candidates, result.uncertain, result.selected,
                  result.labels, result.max_spread)  # fmt: skip
        return replace(row, **_known(errors))

    def line(self) -> str:
        """For the person at the terminal."""
        parts = []
        if self.force_rmse_meV_A is not None:
            parts.append(f"forces {self.force_rmse_meV_A:.0f} meV/A")
        if self.potential_mae_V is not None:
            parts.append(f"Phi {self.potential_mae_V:.3f} V")
        if self.response_error is not None:
            parts.append(f"response {self.response_error:.2f}")
        name = self.round if self.round == "start" else f"round {self.round}"
        return f"{name}: on held-out frames {', '.join(parts) or 'not judged'}"


def _known(errors: Mapping[str, float]) -> dict[str, Any]:
    return {name: errors.get(name) for name in _ERRORS}


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write the table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([f.name for f in fields(Row)])
    for row in rows:
        writer.writerow(["" if value is None else value for value in asdict(row).values()])
    write_text(path, text.getvalue())


def plot_rounds(rows: Sequence[Row], path: Path) -> None:
    """Held-out errors and the largest spread against the rounds, as PNG."""
    # The figure's own canvas, not pyplot's: nothing global, no display needed.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 3.8), layout="constrained")
    panels = figure.subplots(1, 3)
    shown = (
        ("force_rmse_meV_A", "forces on held-out frames", "RMSE (meV/A)"),
        ("potential_mae_V", "potential on held-out frames", "MAE (V)"),
        ("max_spread_eV_A", "largest spread of the forces", "eV/A"),
    )
    for panel, (name, title, label) in zip(panels, shown, strict=True):
        points = [(k, value) for k, row in enumerate(rows)
                  if (value := getattr(row, name)) is not None]  # fmt: skip
        panel.plot([k for k, _ in points], [value for _, value in points], "o-")
        panel.set_xticks(range(len(rows)), [row.round for row in rows])
        panel.set_xlim(-0.5, max(len(rows) - 0.5, 1.0))
        panel.set_ylim(bottom=0.0)
        panel.set(title=title, xlabel="round", ylabel=label)
    partial = path.with_name(f"{path.name}.partial")
    figure.savefig(partial, format="png", dpi=120)
    os.replace(partial, path)
