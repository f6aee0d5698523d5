"""Labels at a glance: potential against charge, and whether the energies agree with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from voltase.aseplugin.electrochemistry import Reference
from voltase.aseplugin.labelling.checks import Slope, rms_difference
from voltase.aseplugin.labelling.points import Point


def plot_labels(points: Sequence[Point], slopes: Sequence[Slope], reference: Reference) -> Figure:
    """Potential against n with a line for each geometry, and -dE/dn against the potential.

    Parameters
    ----------
    points : sequence of Point
        Those without a potential are left out.
    slopes : sequence of Slope
    reference : Reference
        Of the potentials shown.
    """
    figure = Figure(figsize=(9.0, 4.2), dpi=150, layout="constrained")
    charging, parity = figure.subplots(1, 2)
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for point in points:
        if point.potential is not None:
            lines[point.geometry].append((point.excess_electrons, point.potential))
    colours = dict(zip(lines, colormaps["viridis"](np.linspace(0.0, 0.9, len(lines))), strict=True))
    for geometry, line in lines.items():
        n, phi = np.array(sorted(line)).T
        charging.plot(n, reference.from_absolute(phi), "o-", ms=3, lw=0.9, color=colours[geometry])
    count = sum(map(len, lines.values()))
    charging.set_title(f"{count} labels, {len(lines)} geometries")
    charging.set(xlabel="excess electrons $n$ (e)", ylabel=f"potential $U$ ({reference.label})")
    for each in slopes:
        x, y = reference.from_absolute(np.array([each.potential, each.slope]))
        parity.plot(x, y, "o", ms=3.5, color=colours[each.geometry])
    if slopes:
        values = [reference.from_absolute(value) for each in slopes
                  for value in (each.potential, each.slope)]  # fmt: skip
        ends = min(values), max(values)
        parity.plot(ends, ends, color="0.5", lw=0.8, zorder=0)
        rms = rms_difference(slopes)
        assert rms is not None
        parity.set_title(f"rms {1e3 * rms:.1f} mV over {len(slopes)} pairs")
    else:
        parity.text(0.5, 0.5, "no neighbours in $n$", ha="center", transform=parity.transAxes)
    parity.set(xlabel=f"mean $U$ of neighbours ({reference.label})",
               ylabel=r"$-\Delta E/\Delta n$ (on the same scale)")  # fmt: skip
    for panel in (charging, parity):
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color="0.9", lw=0.6)
        panel.set_axisbelow(True)
        panel.ticklabel_format(useOffset=False)
    return figure
