"""Orientation of water: dipoles, O-H bonds, and what points where in each layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voltase.analysis.base import Contribution, InterfaceAnalysis
from voltase.analysis.blocks import estimate_ratio
from voltase.analysis.counting import count_orientations
from voltase.analysis.density import FACE_NAMES
from voltase.analysis.drawing import draw_band, draw_legend
from voltase.analysis.interface import UPPER
from voltase.analysis.scene import Scene
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

DEFAULT_LAYERS = (2.7, 4.5, 7.5)
"""Outer ends of the layers in A from the surface: chemisorbed, the rest of the first, second."""
POPULATIONS = ("two_H_down", "one_H_down", "H_up", "flat")
POINTING = 0.5
"""Cosine between an O-H bond and the normal beyond which it points up or down (30 degrees out of
the plane of the surface)."""


class WaterOrientation(InterfaceAnalysis):
    """Orientation of water molecules against their distance from the surface.

    theta is the angle between the dipole (from O between the two H) and the outward normal of the
    nearer wet face: cos(theta) = 1 points away from the electrode. Only whole molecules, oxygens
    with exactly two hydrogens, count.

    Parameters
    ----------
    source : Universe or AtomGroup
    width : float
        Of the bins of distance, A.
    cosines : int
        Bins of cos(theta) in the maps.
    layers : sequence of float
        Outer ends of the layers, A from the surface, ascending.
    pointing : float
        Cosine beyond which an O-H bond points up or down.
    **options
        See `InterfaceAnalysis`.

    Attributes
    ----------
    results.distance : ndarray (n_bins,)
        Of the oxygen from the surface layer outwards, middles of the bins, A.
    results.cosine : ndarray (n_cosines,)
    results.faces : dict
        By face (``lower``, ``upper``, those that are wet, and ``both``), each a dict of
        ``cos_theta``, ``cos_theta_err`` (n_bins,), not a number where there is no water; ``rho``,
        ``rho_err`` (n_bins,), waters in 1/A^3; ``rho_cos_theta``, ``rho_cos_theta_err``
        (n_bins,), 1/A^3; ``map``, ``map_err`` (n_bins, n_cosines), the probability density of
        cos(theta) times rho, 1/A^3.
    results.layers : list of (float, float)
        Ends of the layers, A.
    results.populations, results.populations_err : dict
        By face, then by kind: ndarray (n_layers,), shares that add up to one. ``two_H_down`` and
        ``one_H_down``: so many O-H bonds point to the electrode; ``H_up``: none does, and at least
        one points away; ``flat``: the rest.
    results.bond_angles, results.bond_angles_err : dict
        By face: ndarray (n_layers, n_cosines), probability density of the cosine between O-H
        bonds and the outward normal.
    results.waters, results.waters_err : dict
        By face: ndarray (n_layers,), mean number of molecules in each layer, of ``both`` per face.
    """

    def __init__(self, source: Any, *, width: float = 0.1, cosines: int = 40,
                 layers: Sequence[float] = DEFAULT_LAYERS, pointing: float = POINTING,
                 **options: Any) -> None:  # fmt: skip
        super().__init__(source, **options)
        if not 1e-3 <= width <= 5.0:
            raise InputError(f"width: found {width:g} A, expected 0.001 to 5 A")
        if cosines < 2:
            raise InputError(f"cosines: found {cosines}, expected 2 or more bins")
        if not 0.0 < pointing < 1.0:
            raise InputError(f"pointing: found {pointing:g}, expected a cosine from 0 to 1")
        self.width, self.cosines, self.pointing = width, cosines, pointing
        self.ends = checked_layers(layers)

    def prepare(self, scene: Scene) -> None:
        """Bins up to the middle of the film, or over all of it if one face alone is wet."""
        faces = scene.interface.faces
        if not faces:
            raise InputError("electrode: neither of its faces has water nearby, expected one")
        if len(scene.waters) == 0:
            raise InputError(f"water: found none in frame {scene.frame}, expected some")
        self.bins = int(np.ceil(scene.gap / len(faces) / self.width))

    def observe(self, scene: Scene) -> tuple[Contribution, Contribution]:
        """Sums over the molecules of one frame."""
        oxygen = scene.waters[:, 0]
        face, above = scene.face_of[oxygen], scene.above[oxygen]
        distance = np.where(face == UPPER, above, scene.gap - above)
        found = count_orientations(scene.bond_vectors, distance, face, self.width, self.bins,
                                   self.cosines, self.ends, self.pointing)  # fmt: skip
        summed: Contribution = {"area": scene.area}
        for name, values in zip(("count", "cos", "map", "bonds", "kinds"), found, strict=True):
            for k in scene.interface.faces:
                summed[f"{FACE_NAMES[k]} {name}"] = values[k]
        return summed, {}

    def conclude(self) -> None:
        """Means, populations and their errors."""
        results = self.results
        assert self.interface is not None
        results.distance = (np.arange(self.bins) + 0.5) * self.width
        results.cosine = (np.arange(self.cosines) + 0.5) * 2.0 / self.cosines - 1.0
        results.layers = list(zip([0.0, *self.ends[:-1]], self.ends, strict=True))
        results.faces = {}
        for name in ("populations", "bond_angles", "waters"):
            results[name], results[f"{name}_err"] = {}, {}
        names = [FACE_NAMES[k] for k in self.interface.faces]
        parts = ("count", "cos", "map", "bonds", "kinds")
        for name in names:
            self._conclude_face(name, {p: self.sums(f"{name} {p}") for p in parts}, 1)
        both = {p: np.sum([self.sums(f"{name} {p}") for name in names], axis=0) for p in parts}
        self._conclude_face("both", both, len(names))

    def _conclude_face(self, name: str, sums: dict[str, Array], faces: int) -> None:
        results, lengths = self.results, self.lengths
        volume = faces * self.sums("area")[:, None] * self.width
        cos = estimate_ratio(sums["cos"], sums["count"], lengths)
        rho = estimate_ratio(sums["count"], volume, lengths)
        rho_cos = estimate_ratio(sums["cos"], volume, lengths)
        cell = volume[:, :, None] * 2.0 / self.cosines
        density = estimate_ratio(sums["map"], cell, lengths)
        results.faces[name] = {
            "cos_theta": cos.mean, "cos_theta_err": cos.error,
            "rho": rho.mean, "rho_err": rho.error,
            "rho_cos_theta": rho_cos.mean, "rho_cos_theta_err": rho_cos.error,
            "map": density.mean, "map_err": density.error,
        }  # fmt: skip
        waters = estimate_ratio(sums["kinds"].sum(axis=2), lengths[:, None] * faces, lengths)
        results.waters[name], results.waters_err[name] = waters.mean, waters.error
        shares = estimate_ratio(sums["kinds"], sums["kinds"].sum(axis=2, keepdims=True), lengths)
        results.populations[name], results.populations_err[name] = (
            dict(zip(POPULATIONS, table.T, strict=True)) for table in (shares.mean, shares.error)
        )
        norm = sums["bonds"].sum(axis=2, keepdims=True) * 2.0 / self.cosines
        angles = estimate_ratio(sums["bonds"], norm, lengths)
        results.bond_angles[name], results.bond_angles_err[name] = angles.mean, angles.error
        if name == "both":
            self.note(rho_cos, "cos_theta")

    def tables(self) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Columns of ``orientation`` and, by face, ``orientation_map``, ``_layers``, ``_bonds``."""
        r = self.results
        both = r.faces["both"]
        table: dict[str, npt.NDArray[Any]] = {"z_A": r.distance}
        for face, found in r.faces.items():
            suffix = "" if face == "both" else f"_{face}"
            for name in ("cos_theta", "rho", "rho_cos_theta"):
                unit = "" if name == "cos_theta" else "_per_A3"
                table[f"{name}{suffix}{unit}"] = found[name]
                table[f"{name}{suffix}{unit}_err"] = found[f"{name}_err"]
        z, cosine = (grid.ravel() for grid in np.meshgrid(r.distance, r.cosine, indexing="ij"))
        maps = {"z_A": z, "cos_theta": cosine, "rho_per_A3": both["map"].ravel(),
                "rho_per_A3_err": both["map_err"].ravel()}  # fmt: skip
        return {"orientation": table, "orientation_map": maps,
                "orientation_layers": self._layer_table(),
                "orientation_bonds": self._bond_table()}  # fmt: skip

    def _layer_table(self) -> dict[str, npt.NDArray[Any]]:
        r = self.results
        low, high = np.array(r.layers).T
        table: dict[str, npt.NDArray[Any]] = {"from_A": low, "to_A": high}
        for face in r.waters:
            suffix = "" if face == "both" else f"_{face}"
            table[f"waters{suffix}"] = r.waters[face]
            table[f"waters{suffix}_err"] = r.waters_err[face]
            for kind in POPULATIONS:
                table[f"{kind}{suffix}"] = r.populations[face][kind]
                table[f"{kind}{suffix}_err"] = r.populations_err[face][kind]
        return table

    def _bond_table(self) -> dict[str, npt.NDArray[Any]]:
        r = self.results
        table: dict[str, npt.NDArray[Any]] = {"cos_OH": r.cosine}
        for k, (low, high) in enumerate(r.layers):
            name = f"p_{low:g}_to_{high:g}_A"
            table[name] = r.bond_angles["both"][k]
            table[f"{name}_err"] = r.bond_angles_err["both"][k]
        return table

    def draw(self, figure: Figure) -> None:
        """Mean orientation, the theta-z map, O-H angles and populations of the layers."""
        r, both = self.results, self.results.faces["both"]
        (profile, theta), (bonds, shares) = figure.subplots(2, 2)
        draw_band(profile, r.distance, both["rho_cos_theta"], both["rho_cos_theta_err"], "")
        profile.axhline(0.0, color="0.8", lw=0.8, zorder=0)
        profile.set(xlabel="distance (Å)", ylabel=r"$\rho\,\langle\cos\theta\rangle$ (1/Å$^3$)")
        mesh = theta.pcolormesh(r.distance, r.cosine, both["map"].T, shading="nearest")
        theta.set(xlabel="distance (Å)", ylabel=r"$\cos\theta$")
        figure.colorbar(mesh, ax=theta, label="1/Å$^3$")
        for k, (low, high) in enumerate(r.layers):
            draw_band(bonds, r.cosine, r.bond_angles["both"][k], r.bond_angles_err["both"][k],
                      f"{low:g} to {high:g} Å")  # fmt: skip
        bonds.set(xlabel=r"$\cos$(O-H, normal)", ylabel="probability density")
        draw_legend(bonds, fontsize="small")
        base = np.zeros(len(r.layers))
        for kind in POPULATIONS:
            share = np.nan_to_num(r.populations["both"][kind])
            shares.bar([f"{a:g}-{b:g} Å" for a, b in r.layers], share, bottom=base,
                       label=kind.replace("_", " "))  # fmt: skip
            base += share
        shares.set(ylabel="share of the molecules")
        draw_legend(shares, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))


def checked_layers(layers: Sequence[float], fewest: int = 1) -> Array:
    """Outer ends of layers (n_layers,), A.

    Raises
    ------
    InputError
        If they are too few, or do not ascend from above zero.
    """
    ends = np.asarray(layers, dtype=np.float64)
    ascending = ends.ndim == 1 and bool((np.diff(ends, prepend=0.0) > 0.0).all())
    if not ascending or len(ends) < fewest or not np.isfinite(ends).all():
        raise InputError(f"layers: found {list(layers)}, expected ascending distances in A")
    return ends
