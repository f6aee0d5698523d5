"""Pictures of electron densities: profiles of a series of potentials, a slice, an isosurface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from ase.data import covalent_radii
from ase.data.colors import jmol_colors

from voltase.analysis.grid_density import macroscopic_average
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]


@dataclass
class DensityProfile:
    """Planar averages along the normal at one potential.

    Attributes
    ----------
    label : str
        Of the curve, such as ``U = -0.50 V``.
    electrons : ndarray (nz,)
        Density, e/A^3.
    potential : ndarray (nz,)
        Electrostatic, V.
    """

    label: str
    electrons: Array
    potential: Array


def difference_table(z: Array, profiles: Sequence[DensityProfile], area: float,
                     windows: tuple[float, float]) -> dict[str, list[Array]]:  # fmt: skip
    """Differences of each profile to the first one.

    Parameters
    ----------
    z : ndarray (nz,)
        Equally spaced heights, A.
    profiles : sequence of DensityProfile
    area : float
        Of the cell's cross section, A^2.
    windows : (float, float)
        Of the macroscopic average, A; see `macroscopic_average`.

    Returns
    -------
    dict
        ``difference`` and ``macroscopic`` (electrons per A), and ``integrated`` (electrons below
        z): lists of ndarray (nz,), one for each profile but the first.
    """
    if not profiles:
        raise InputError("profiles: found none, expected one or more")
    width = float(z[1] - z[0])
    found: dict[str, list[Array]] = {"difference": [], "macroscopic": [], "integrated": []}
    for profile in profiles[1:]:
        difference = (profile.electrons - profiles[0].electrons) * area
        found["difference"].append(difference)
        found["macroscopic"].append(_smooth(difference, width, windows))
        found["integrated"].append(np.cumsum(difference) * width)
    return found


def _smooth(values: Array, width: float, windows: tuple[float, float]) -> Array:
    # Beyond the ends there is vacuum, where the values stay as they are.
    return macroscopic_average(values, width, windows, periodic=False)


def draw_profiles(figure: Figure, z: Array, profiles: Sequence[DensityProfile], area: float,
                  windows: tuple[float, float]) -> None:  # fmt: skip
    """Densities, differences to the first, their integrated charge and potentials, against z.

    Thin lines are planar averages, thick ones macroscopic averages of these.
    """
    found = difference_table(z, profiles, area, windows)
    width = float(z[1] - z[0])
    density, change, charge, potential = figure.subplots(4, 1, sharex=True)
    for k, profile in enumerate(profiles):
        colour = f"C{k}"
        electrons = profile.electrons * area
        density.plot(z, electrons, lw=0.7, color=colour)
        density.plot(z, _smooth(electrons, width, windows), lw=1.8, color=colour,
                     label=profile.label)  # fmt: skip
        potential.plot(z, profile.potential, lw=0.7, color=colour)
        potential.plot(z, _smooth(profile.potential, width, windows), lw=1.8, color=colour)
        if k == 0:
            continue
        change.plot(z, found["difference"][k - 1], lw=0.7, color=colour)
        change.plot(z, found["macroscopic"][k - 1], lw=1.8, color=colour)
        charge.plot(z, found["integrated"][k - 1], lw=1.4, color=colour,
                    label=f"{profile.label}: {found['integrated'][k - 1][-1]:+.3f} e")  # fmt: skip
    density.set_ylabel(r"$\rho$ (e/Å)")
    change.set_ylabel(r"$\Delta\rho$ (e/Å)")
    charge.set_ylabel(r"$\int\Delta\rho\,dz$ (e)")
    potential.set_ylabel("potential (V)")
    potential.set_xlabel("z (Å)")
    density.legend(frameon=False, fontsize="small")
    if len(profiles) > 1:
        charge.legend(frameon=False, fontsize="small")
    else:
        change.text(0.5, 0.5, "one potential only", transform=change.transAxes, ha="center")


def draw_slice(
    axes: Axes,
    values: npt.ArrayLike,
    cell: npt.ArrayLike,
    numbers: npt.ArrayLike,
    positions: npt.ArrayLike,
    at: float | None = None,
    signed: bool = False,
) -> None:
    """The plane of the second and third lattice vectors through a place on the first.

    Parameters
    ----------
    axes : matplotlib Axes
    values : array_like (nx, ny, nz)
        e/A^3.
    cell : array_like (3, 3)
        A.
    numbers, positions : array_like (n_atoms,) and (n_atoms, 3)
        Atoms, from the first point of the grid; those within 1.2 A of the plane are drawn.
    at : float, optional
        Place as a fraction of the first lattice vector; where most atoms are near if not given.
    signed : bool
        For differences: colours symmetric about zero, else the logarithm.
    """
    from matplotlib.colors import LogNorm

    grid, box = np.asarray(values, dtype=np.float64), np.asarray(cell, dtype=np.float64)
    fractions = np.asarray(positions, dtype=np.float64) @ np.linalg.inv(box)
    height = abs(float(np.linalg.det(box))) / float(np.linalg.norm(np.cross(box[1], box[2])))
    away = (fractions[:, 0][:, None] - np.arange(grid.shape[0]) / grid.shape[0] + 0.5) % 1.0 - 0.5
    near = np.abs(away) * height < 1.2
    # Where most atoms are near, and nearest.
    crowd = np.exp(-((away * height / 0.6) ** 2)).sum(0)
    index = int(np.argmax(crowd)) if at is None else round(at * grid.shape[0])
    index %= grid.shape[0]
    plane = grid[index]
    e1 = box[1] / np.linalg.norm(box[1])
    e2 = box[2] - (box[2] @ e1) * e1
    e2 /= np.linalg.norm(e2)
    v, w = np.meshgrid(*(np.arange(n) / n for n in plane.shape), indexing="ij")
    places = v[..., None] * box[1] + w[..., None] * box[2]
    if signed:
        top = float(np.quantile(np.abs(plane), 0.998)) or 1.0
        options: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -top, "vmax": top}
    else:
        top = max(float(plane.max()), 1e-6)
        plane = np.maximum(plane, 1e-4 * top)
        options = {"cmap": "viridis", "norm": LogNorm(1e-4 * top, top)}
    image = axes.pcolormesh(places @ e1, places @ e2, plane, shading="nearest", rasterized=True,
                            **options)  # fmt: skip
    axes.figure.colorbar(image, ax=axes, label="e/Å$^3$", shrink=0.8)
    inside = np.flatnonzero(near[:, index])
    spot = (fractions[inside, 1:] % 1.0) @ box[1:]
    axes.scatter(spot @ e1, spot @ e2, s=14.0, edgecolors="k", linewidths=0.5,
                 c=jmol_colors[np.asarray(numbers)[inside]])  # fmt: skip
    axes.set(aspect="equal", xlabel="along the second lattice vector (Å)", ylabel="z (Å)")


def draw_isosurface(figure: Figure, values: npt.ArrayLike, cell: npt.ArrayLike,
                    numbers: npt.ArrayLike, positions: npt.ArrayLike, level: float | None = None
                    ) -> float:  # fmt: skip
    """Surfaces of constant value, of both signs if the grid has both, with the atoms.

    Parameters
    ----------
    figure : matplotlib Figure
    values, cell, numbers, positions
        As in `draw_slice`.
    level : float, optional
        e/A^3; a tenth of the largest absolute value if not given.

    Returns
    -------
    float
        The level.

    Raises
    ------
    InputError
        If scikit-image is not installed, or no point reaches the level.
    """
    try:
        from skimage.measure import marching_cubes
    except ImportError:
        raise InputError(
            "isosurface: scikit-image is not installed, expected it: pip install scikit-image"
        ) from None
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection  # type: ignore[import-untyped]

    grid, box = np.asarray(values, dtype=np.float64), np.asarray(cell, dtype=np.float64)
    height = 0.1 * float(np.abs(grid).max()) if level is None else float(level)
    if not 0.0 < height < float(np.abs(grid).max()):
        raise InputError(
            f"level: found {height:g} e/A^3, expected above zero and below the largest value, "
            f"{np.abs(grid).max():.3g}"
        )
    # One more layer of points closes the surfaces at the cell's faces.
    wrapped = np.pad(grid, ((0, 1), (0, 1), (0, 0)), mode="wrap")
    axes: Any = figure.add_subplot(projection="3d")
    for sign, colour in ((1.0, "tab:red"), (-1.0, "tab:blue")):
        if (sign * wrapped).max() <= height:
            continue
        vertices, faces, _, _ = marching_cubes(sign * wrapped, height)
        corners = (vertices / np.array(grid.shape)) @ box
        axes.add_collection3d(
            Poly3DCollection(corners[faces], alpha=0.35, facecolor=colour, linewidths=0.0)
        )
    z = np.asarray(numbers)
    where = np.asarray(positions, dtype=np.float64)
    inside = (where @ np.linalg.inv(box)) % np.array([1.0, 1.0, np.inf])
    spots = inside @ box
    axes.scatter(*spots.T, s=60.0 * covalent_radii[z] ** 2, c=jmol_colors[z], edgecolors="k",
                 linewidths=0.4)  # fmt: skip
    low, high = spots.min(0) - 1.0, spots.max(0) + 1.0
    corner = np.array([[i, j, 0.0] for i in (0, 1) for j in (0, 1)]) @ box
    low[:2], high[:2] = corner[:, :2].min(0), corner[:, :2].max(0)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]),
             xlabel="x (Å)", ylabel="y (Å)", zlabel="z (Å)")  # fmt: skip
    axes.set_box_aspect(high - low)
    axes.view_init(elev=12.0, azim=-60.0)
    return height
