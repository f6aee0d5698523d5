"""Number and mass density along the surface normal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from ase.data import atomic_masses, atomic_numbers, chemical_symbols

from voltase.analysis.base import Contribution, InterfaceAnalysis
from voltase.analysis.blocks import Estimate, estimate_ratio
from voltase.analysis.counting import count_faces, count_rows
from voltase.analysis.drawing import draw_band, draw_legend
from voltase.analysis.interface import LOWER, UPPER
from voltase.analysis.scene import Scene
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

GRAMS_PER_CM3 = 1.66053906660
"""Of one u/A^3."""
INSIDE = 3.0
"""How far the profiles of the faces reach into the slab, A."""
FACE_NAMES = {LOWER: "lower", UPPER: "upper"}


class DensityProfile(InterfaceAnalysis):
    """Density of each element along z, and against the distance from each face.

    rho(z) is the number of atoms in a layer over |a x b| times its thickness, so it integrates to
    the number of atoms in a cell of any shape. A cell whose height fluctuates is divided into equal
    parts of its own height.

    Parameters
    ----------
    source : Universe or AtomGroup
    width : float
        Of the bins, about, in A.
    **options
        See `InterfaceAnalysis`.

    Attributes
    ----------
    results.z : ndarray (n_bins,)
        Middles of the bins in A from the bottom of the cell (the plane z = 0).
    results.rho, results.rho_err : dict of ndarray (n_bins,)
        By element, in 1/A^3.
    results.mass, results.mass_err : ndarray (n_bins,)
        Of all atoms, in g/cm^3.
    results.distance : ndarray (n_distances,)
        Middles of the bins in A from the surface layer outwards.
    results.faces, results.faces_err : dict of dict of ndarray (n_distances,)
        By face (``lower``, ``upper``, those that are wet, and ``both``, their mean), then by
        element, in 1/A^3.
    results.area : float
        Mean |a x b| in A^2.
    """

    def __init__(self, source: Any, *, width: float = 0.1, **options: Any) -> None:
        super().__init__(source, **options)
        self.width = _checked_width(width)
        present = np.unique(self.numbers)
        self.symbols = [chemical_symbols[k] for k in present]
        self._element = np.searchsorted(present, self.numbers)

    def prepare(self, scene: Scene) -> None:
        """Bins of about the chosen width."""
        self.bins = max(round(scene.height / self.width), 1)
        faces = scene.interface.faces
        reach = scene.gap / max(len(faces), 1) + INSIDE
        self.distances = int(np.ceil(reach / self.width))

    def observe(self, scene: Scene) -> tuple[Contribution, Contribution]:
        """Histograms of one frame."""
        elements, n = len(self.symbols), self.bins
        counts = count_rows(scene.z, self._element, elements, scene.height / n, n, 0.0, True)
        volume = scene.area * scene.height / n
        summed: Contribution = {
            "rho": counts / volume,
            "height": scene.height,
            "area": scene.area,
        }
        lower, upper = scene.interface.wet
        near = count_faces(scene.above, scene.gap, self._element, elements, lower, upper,
                           self.width, self.distances, -INSIDE)  # fmt: skip
        for face in scene.interface.faces:
            summed[FACE_NAMES[face]] = near[face] / (scene.area * self.width)
        return summed, {}

    def conclude(self) -> None:
        """Densities and their errors."""
        results, frames = self.results, self.lengths
        height = float(self.sums("height").sum() / frames.sum())
        results.area = float(self.sums("area").sum() / frames.sum())
        results.z = (np.arange(self.bins) + 0.5) * height / self.bins
        rho = self._mean(self.sums("rho"))
        self.note(rho, "rho")
        results.rho, results.rho_err = self._by_element(rho)
        masses = np.array([atomic_masses[atomic_numbers[s]] for s in self.symbols]) * GRAMS_PER_CM3
        mass = self._mean(np.einsum("cez,e->cz", self.sums("rho"), masses))
        results.mass, results.mass_err = mass.mean, mass.error
        results.distance = (np.arange(self.distances) + 0.5) * self.width - INSIDE
        self._conclude_faces()

    def _conclude_faces(self) -> None:
        assert self.interface is not None
        names = [FACE_NAMES[face] for face in self.interface.faces]
        self.results.faces, self.results.faces_err = {}, {}
        sums = {name: self.sums(name) for name in names}
        if sums:
            sums["both"] = np.mean(list(sums.values()), axis=0)
        for name, values in sums.items():
            mean, error = self._by_element(self._mean(values))
            self.results.faces[name], self.results.faces_err[name] = mean, error

    def per_surface_atom(self, symbol: str, distance: float, face: str = "both") -> float:
        """Atoms of an element within a distance (A) of a face, for each atom of its layer."""
        assert self.interface is not None
        upto = self.results.distance < distance
        inside = self.results.faces[face][symbol][upto].sum() * self.width * self.results.area
        faces = [k for k in self.interface.faces if face in (FACE_NAMES[k], "both")]
        layers = [len(self.interface.surface_layer(k)) for k in faces]
        return float(inside / np.mean(layers))

    def tables(self) -> dict[str, dict[str, Array]]:
        """Columns of ``profile`` (against z) and ``profile_surface`` (against the distance)."""
        r = self.results
        table = {"z_A": r.z}
        for symbol in self.symbols:
            table[f"rho_{symbol}_per_A3"] = r.rho[symbol]
            table[f"rho_{symbol}_per_A3_err"] = r.rho_err[symbol]
        table["mass_g_per_cm3"], table["mass_g_per_cm3_err"] = r.mass, r.mass_err
        surface = {"distance_A": r.distance}
        for face, profiles in r.faces.items():
            for symbol, rho in profiles.items():
                surface[f"rho_{symbol}_{face}_per_A3"] = rho
                surface[f"rho_{symbol}_{face}_per_A3_err"] = r.faces_err[face][symbol]
        return {"profile": table, "profile_surface": surface}

    def draw(self, figure: Figure) -> None:
        """Densities of the electrolyte's elements against the distance from the surface, if any."""
        assert self.interface is not None
        r = self.results
        outside = np.unique(self.numbers[~self.interface.slab])
        symbols = [chemical_symbols[k] for k in outside] or self.symbols
        faces = list(r.faces) or ["cell"]
        axes = figure.subplots(len(faces), 1, sharex=True, squeeze=False)[:, 0]
        for ax, face in zip(axes, faces, strict=True):
            x, rho, error = (
                (r.z, r.rho, r.rho_err) if face == "cell"
                else (r.distance, r.faces[face], r.faces_err[face])
            )  # fmt: skip
            for symbol in symbols:
                draw_band(ax, x, rho[symbol], error[symbol], symbol)
            ax.set(title=f"{face} face" if face in FACE_NAMES.values() else face,
                   ylabel="density (1/Å$^3$)")  # fmt: skip
            draw_legend(ax)
        axes[-1].set_xlabel("z (Å)" if faces == ["cell"] else "distance from the surface (Å)")

    def _mean(self, sums: Array) -> Estimate:
        frames = self.lengths.reshape(-1, *(1,) * (sums.ndim - 1))
        return estimate_ratio(sums, frames, self.lengths)

    def _by_element(self, estimate: Estimate) -> tuple[dict[str, Array], dict[str, Array]]:
        return (dict(zip(self.symbols, estimate.mean, strict=True)),
                dict(zip(self.symbols, estimate.error, strict=True)))  # fmt: skip


def _checked_width(width: float) -> float:
    if not 1e-3 <= width <= 5.0:
        raise InputError(f"width: found {width:g} A, expected 0.001 to 5 A")
    return float(width)
