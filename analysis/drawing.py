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
