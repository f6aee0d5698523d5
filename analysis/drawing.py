"""What the figures of all observables share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_band(ax: Axes, x: npt.NDArray[Any], mean: npt.NDArray[Any], error: npt.NDArray[Any],
              label: str) -> None:  # fmt: skip
    """A line with a band of one standard error; without errors, the line alone."""
    (line,) = ax.plot(x, mean, lw=1.2, label=label or None)
    if np.isfinite(error).any():
        ax.fill_between(x, mean - error, mean + error, color=line.get_color(), alpha=0.3, lw=0)


def draw_legend(ax: Axes, **options: Any) -> None:
    """A legend without a frame, if anything has a label: a table may be empty."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, **options)


def with_error(mean: float, error: float) -> str:
    """Such as ``12.3 ± 0.4``, rounded to the first digit of the error; without one, the mean."""
    if not (np.isfinite(error) and error > 0.0):
        return f"{mean:.4g}"
    decimals = max(-int(np.floor(np.log10(error))), 0)
    return f"{round(mean, decimals) + 0.0:.{decimals}f} ± {error:.{decimals}f}"
