"""Profile of charges and electrochemical potentials along the normal, and its figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
FEWEST = 0.5
"""Atoms in a bin, in the mean over the frames, from which it counts for the span."""


class _Values(NamedTuple):
    """One frame."""

    heights: Array
    area: float
    charges: Array
    potentials: Array


class Profile:
    """Means over atoms and frames in bins of the height above the middle of the electrode.

    Parameters
    ----------
    width : float
        Of a bin, A.
    """

    def __init__(self, width: float) -> None:
        self.width = width
        self._frames: dict[str, list[_Values]] = {}

    def add(self, solver: str, heights: Array, area: float, charges: Array, potentials: Array
            ) -> None:  # fmt: skip
        """Take in one frame.

        Parameters
        ----------
        solver : "fragment" or "global"
        heights : ndarray (n_atoms,)
            A.
        area : float
            Of the cell's face, A^2.
        charges, potentials : ndarray (n_atoms,)
            e and V.
        """
        self._frames.setdefault(solver, []).append(_Values(heights, area, charges, potentials))

    def table(self) -> dict[str, Array]:
        """Columns: height, atoms in a bin and frame, charge densities, potentials with spread."""
        table: dict[str, Array] = {}
        for solver, frames in self._frames.items():
            heights, charges, potentials = (
                np.concatenate([getattr(frame, name) for frame in frames])
                for name in ("heights", "charges", "potentials")
            )
            low = np.floor(heights.min() / self.width)
            index = np.floor(heights / self.width).astype(np.int64) - int(low)
            count = np.bincount(index)
            size = len(count)
            table["height_A"] = (low + np.arange(size) + 0.5) * self.width
            table["atoms"] = count / len(frames)
            volume = self.width * sum(frame.area for frame in frames)
            table[f"charge_{solver}_e_per_A3"] = np.bincount(index, charges, size) / volume
            with np.errstate(invalid="ignore"):
                mean = np.bincount(index, potentials, size) / count
                square = np.bincount(index, potentials**2, size) / count
                spread = np.sqrt(np.maximum(square - mean**2, 0.0))
            table[f"potential_{solver}_V"] = mean
            table[f"potential_{solver}_std_V"] = spread
        return table

    def span(self, solver: str) -> float:
        """Largest less smallest mean potential of a bin, V."""
        table = self.table()
        values = table[f"potential_{solver}_V"][table["atoms"] >= FEWEST]
        return float(np.ptp(values))

    @property
    def solvers(self) -> list[str]:
        """The solvers there are results of."""
        return list(self._frames)

    def points(self, solver: str) -> tuple[Array, Array]:
        """Heights and potentials of the atoms of the last frame."""
        last = self._frames[solver][-1]
        return last.heights, last.potentials


def figure_of(profile: Profile) -> Figure:
    """Potential of the atoms and charge density against the height, fragment against global.

    Parameters
    ----------
    profile : Profile
    """
    from matplotlib.figure import Figure

    table = profile.table()
    figure = Figure(figsize=(7.0, 6.5), dpi=130, layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    for number, solver in enumerate(profile.solvers):
        colour = f"C{number}"
        mean, std = (table[f"potential_{solver}{part}_V"] for part in ("", "_std"))
        known = np.isfinite(mean)
        x = table["height_A"][known]
        above.plot(*profile.points(solver), ".", color=colour, markersize=2.5, alpha=0.35)
        above.plot(x, mean[known], color=colour, label=f"{solver}: {profile.span(solver):.2f} V")
        above.fill_between(x, (mean - std)[known], (mean + std)[known], color=colour, alpha=0.2,
                           lw=0)  # fmt: skip
        below.plot(table["height_A"], table[f"charge_{solver}_e_per_A3"], color=colour, lw=1.0,
                   label=solver)  # fmt: skip
    above.set_ylabel("electrochemical potential\nfrom that of the electrode (V)")
    above.legend(frameon=False, title="solver: span of the means")
    below.axhline(0.0, color="0.6", lw=0.8)
    below.set_ylabel("charge (e/Å$^3$)")
    below.set_xlabel("height above the middle of the electrode (Å)")
    below.legend(frameon=False)
    return figure
