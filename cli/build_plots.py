"""Pictures of an interface: from the side, and its surface from above with the sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from voltase.aseplugin.building.interface import BuiltInterface

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes

_MARKERS = "o^sDvP*X<>hpd"
_DEPTH = 3.0  # A below the uppermost atom, still seen from above


def plot_interface(built: BuiltInterface, title: str) -> Figure:
    """Side view (x, z) of everything and top view (x, y) of the bare upper face."""
    figure = Figure(figsize=(9.0, 6.0), dpi=150, layout="constrained")
    side, top = figure.subplots(1, 2)
    figure.suptitle(f"{title}: {built.atoms.symbols.formula.format('metal')}", fontsize=11)
    atoms = built.atoms
    _draw(side, atoms, (0, 2), order=-atoms.positions[:, 1])
    for constraint in atoms.constraints:
        held = atoms.positions[constraint.index]
        side.scatter(held[:, 0], held[:, 2], marker="x", s=8, color="k", lw=0.6, zorder=3)
    height = atoms.cell.array[2, 2]
    across = np.array([atoms.cell.array[0, 0] + max(atoms.cell.array[1, 0], 0.0), height])
    side.plot([0, across[0], across[0], 0, 0], [0, 0, height, height, 0], color="0.6", lw=0.8)
    for bound in atoms.info["building"].get("film", ()):
        side.axhline(bound, color="#12466f", lw=0.8, ls=":")
    side.set(xlabel="x (Å)", ylabel="z (Å)", title="side")
    slab = built.cut.slab.atoms
    seen = slab[slab.positions[:, 2] > slab.positions[:, 2].max() - _DEPTH]
    _draw(top, seen, (0, 1), order=seen.positions[:, 2])
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) @ slab.cell.array[:2, :2]
    top.plot(*corners.T, color="0.6", lw=0.8)
    for k, site in enumerate(built.sites):
        top.scatter(*site.points.T, marker=_MARKERS[k % len(_MARKERS)], s=22, lw=0.5,
                    edgecolors="white", zorder=3, label=f"{site.name} ({len(site.points)})"
                    )  # fmt: skip
    if built.sites:
        figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    top.set(xlabel="x (Å)", ylabel="y (Å)", title=f"{built.cut.termination.name}, from above")
    for axes in (side, top):
        axes.set_aspect("equal")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw(axes: Axes, atoms: Atoms, plane: tuple[int, int], order: NDArray[np.float64]) -> None:
    """Atoms as discs, those that come last in front."""
    ranks = np.argsort(order, kind="stable")
    numbers = atoms.numbers[ranks]
    places = atoms.positions[ranks][:, plane]
    discs = [Circle(place, covalent_radii[n]) for place, n in zip(places, numbers, strict=True)]
    axes.add_collection(PatchCollection(discs, facecolors=jmol_colors[numbers], edgecolors="k",
                                        linewidths=0.4))  # fmt: skip
    axes.autoscale_view()
