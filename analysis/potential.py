"""Charge density along the surface normal and the electrostatic potential that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voltase.analysis.base import Contribution, InterfaceAnalysis
from voltase.analysis.blocks import estimate_mean
from voltase.analysis.counting import EDGE
from voltase.analysis.density import FACE_NAMES
from voltase.analysis.drawing import draw_band, draw_legend
from voltase.analysis.grid_density import integrate_poisson, macroscopic_average
from voltase.analysis.interface import LOWER, UPPER
from voltase.analysis.point_charges import (
    REACH,
    deposit,
    fixed_charges,
    frame_charges,
    widest_gap,
)
from voltase.analysis.scene import Scene
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

NEUTRAL = 1e-3
"""Net charge of a cell in e that is rounding."""
LEAST_VACUUM = 4.0
"""Width in A of an empty layer that can be the outside of an open cell."""
SAMPLES = 200
"""Intervals of an average over a region."""
LIQUID_TWO_FACES = (0.6, 1.0)
"""Region of the liquid of a cell filled between two faces, in halves of the film."""
LIQUID_ONE_FACE = (0.4, 0.7)
"""Likewise of a film with an outer end, in its thickness."""
NET_CHARGE = ("refuse", "electrode", "background", "keep")


class ChargeProfile(InterfaceAnalysis):
    """Charge density rho_q(z) and the potential by integrating Poisson's equation twice.

    eps0 phi'' = -rho_q in slab geometry, with the density averaged over the plane. The charge and
    its first moment in every bin are kept, so field and potential at the edges of the bins are
    exact, whatever the width of the bins and the smearing (of a cell that does not fluctuate).

    z counts from the cell's cut, which moves with the slab, so it does not matter where the slab
    lies across the boundary. Where only the lower face is wet, z counts downwards: it always leads
    out of the (first) wet face.

    - ``open``: the cut is in the middle of the widest empty layer. Field zero at z = 0. With one
      wet face the potential is zero there, in the vacuum on the dry side of the metal; with two,
      its mean over the inner half of the slab's thickness is zero.
    - ``periodic``: the cut is in the middle of the slab. The potential is periodic (no mean field)
      and its mean over the inner half of the slab's thickness is zero.

    So the zero is the metal's side, and the drop is phi(liquid) - phi(metal) in V; it includes what
    the quadrupoles of the molecules contribute to the liquid. Fixed charges of a metal do not
    respond: in a periodic cell whose faces differ, a field through the slab remains.

    Parameters
    ----------
    source : Universe or AtomGroup
    charges : dict, optional
        Charge in e by element, such as ``{"O": -0.8476, "H": 0.4238}``; elements of the slab may
        be left out, they are neutral then. By default the trajectory's, ``ts.data["charges"]``.
    smearing : float
        Standard deviation in A of the Gaussian that each charge is; 0 for points.
    width : float
        Of the bins, about, in A.
    boundary : {"auto", "open", "periodic"}
        ``auto``: open if only one face is wet and there is a vacuum of 4 A.
    net_charge : {"refuse", "electrode", "background", "keep"}
        What to do with a cell that is not neutral to 1e-3 e: refuse it; put the opposite charge on
        the outermost layers of the wet faces, the same on each of their atoms; spread it over the
        cell (periodic only); keep it, so that its field leaves through the far end (open only).
    liquid : (float, float), optional
        Distances from a face in A between which the liquid's potential is averaged. By default the
        inner 40 % of half the film, or of a film with one face wet 40 to 70 % of its thickness.
    windows : (float, float), optional
        Widths in A of the two windows of the macroscopic average (`macroscopic_average`).
    **options
        See `InterfaceAnalysis`.

    Attributes
    ----------
    results.z, results.rho, results.rho_err : ndarray (n_bins,)
        Middles of the bins in A, charge density in e/A^3.
    results.edges, results.field, results.potential, results.potential_err : ndarray (n_bins + 1,)
        Edges of the bins in A, field in V/A along z, potential in V.
    results.macroscopic, results.macroscopic_err : ndarray (n_bins + 1,)
        Of the potential in V, if `windows` are given.
    results.distance : ndarray (n_distances,)
        From the surface layer outwards, A.
    results.faces, results.faces_err : dict of ndarray (n_distances,)
        Potential in V by wet face (``lower``, ``upper``), and of ``both``, their mean.
    results.drop, results.drop_err : dict of float
        phi(liquid) - phi(metal) in V by face.
    results.charge : float
        Mean net charge of the cell in e, before anything was done about it.
    results.boundary : str
    results.liquid : (float, float)

    Raises
    ------
    InputError
        If charges are missing, the cell is charged, or it has no vacuum to be open to.
    """

    def __init__(self, source: Any, *, charges: Mapping[str, float] | None = None,
                 smearing: float = 0.0, width: float = 0.1, boundary: str = "auto",
                 net_charge: str = "refuse", liquid: tuple[float, float] | None = None,
                 windows: tuple[float, float] | None = None, **options: Any) -> None:  # fmt: skip
        super().__init__(source, **options)
        if not 1e-3 <= width <= 5.0:
            raise InputError(f"width: found {width:g} A, expected 0.001 to 5 A")
        if not 0.0 <= smearing <= 5.0:
            raise InputError(f"smearing: found {smearing:g} A, expected 0 to 5 A")
        if boundary not in ("auto", "open", "periodic"):
            raise InputError(f"boundary: found '{boundary}', expected auto, open or periodic")
        if net_charge not in NET_CHARGE:
            raise InputError(f"net_charge: found '{net_charge}', expected {', '.join(NET_CHARGE)}")
        for name, pair in (("liquid", liquid), ("windows", windows)):
            if pair is not None and (len(pair) != 2 or min(pair) < 0.0):
                raise InputError(f"{name}: found {pair}, expected two lengths in A")
        if liquid is not None and not liquid[0] < liquid[1]:
            raise InputError(f"liquid: found {liquid}, expected ascending distances in A")
        self.charges, self.smearing, self.width, self.windows = charges, smearing, width, windows
        self.boundary, self.net_charge, self.liquid = boundary, net_charge, liquid

    def prepare(self, scene: Scene) -> None:
        """Cut, bins and charges."""
        faces = scene.interface.faces
        if not faces:
            raise InputError("electrode: neither of its faces has water nearby, expected one")
        self.fixed = fixed_charges(self.charges, self.numbers, scene.interface.slab)
        self.primary = LOWER if faces == (LOWER,) else UPPER
        gap, middle = widest_gap(scene.distance(self.primary), scene.height)
        vacuum = gap >= LEAST_VACUUM + 2.0 * REACH * self.smearing
        self.kind = self.boundary
        if self.kind == "auto":
            self.kind = "open" if len(faces) == 1 and vacuum else "periodic"
        if self.kind == "open" and not vacuum:
            raise InputError(
                f"boundary: found an empty layer of {gap:.2g} A, expected for an open cell "
                f"{LEAST_VACUUM + 2.0 * REACH * self.smearing:.2g} A or more"
            )
        if (self.kind, self.net_charge) in (("open", "background"), ("periodic", "keep")):
            raise InputError(
                f"net_charge: found '{self.net_charge}', which no {self.kind} cell has"
            )
        self.offset = -middle % scene.height
        self.bins = max(2 * round(0.5 * scene.height / self.width), 2)
        self.ends = self.liquid or self._default_liquid(scene)

    def _default_liquid(self, scene: Scene) -> tuple[float, float]:
        faces = scene.interface.faces
        nearest = np.min([scene.distance(k) for k in faces], axis=0)[~scene.interface.slab]
        film = float(np.quantile(nearest, 0.98))
        filled = len(faces) == 2 and self.kind == "periodic"
        low, high = LIQUID_TWO_FACES if filled else LIQUID_ONE_FACE
        return low * film, high * film

    def observe(self, scene: Scene) -> tuple[Contribution, Contribution]:
        """Charge in every bin and its first moment, per area."""
        charges, net = self._charges(scene)
        thickness = scene.height - scene.gap
        offset = 0.5 * thickness if self.kind == "periodic" else self.offset
        heights = (scene.distance(self.primary) + offset) % scene.height
        width = scene.height / self.bins
        charge, moment = deposit(heights, charges, self.smearing, width, self.bins,
                                 self.kind == "periodic")  # fmt: skip
        if self.net_charge == "background":
            charge -= net / self.bins
            moment -= 0.5 * width * net / self.bins
        return {"charge": charge / scene.area, "moment": moment / scene.area, "net": net,
                "height": scene.height, "thickness": thickness}, {}  # fmt: skip

    def _charges(self, scene: Scene) -> tuple[Array, float]:
        charges = frame_charges(scene, self.fixed)
        net = float(charges.sum())
        if self.net_charge == "refuse" and abs(net) > NEUTRAL:
            raise InputError(
                f"charges: found {net:+.4g} e in frame {scene.frame}, expected a neutral cell or "
                "net_charge 'electrode', 'background' or 'keep'"
            )
        if self.net_charge == "electrode":
            layers = [scene.interface.surface_layer(k) for k in scene.interface.faces]
            atoms = np.unique(np.concatenate(layers))
            charges = charges.copy()
            charges[atoms] -= net / len(atoms)
        return charges, net

    def conclude(self) -> None:
        """Density, field, potential and drop."""
        r, frames = self.results, self.lengths
        total = frames.sum()
        height = float(self.sums("height").sum() / total)
        self.thickness = float(self.sums("thickness").sum() / total)
        self.step = height / self.bins
        r.boundary, r.liquid = self.kind, tuple(map(float, self.ends))
        r.charge = float(self.sums("net").sum() / total)
        r.edges = np.arange(self.bins + 1) * self.step
        r.z = r.edges[:-1] + 0.5 * self.step
        rho = estimate_mean(self.sums("charge") / self.step, frames)
        r.rho, r.rho_err = rho.mean, rho.error
        field, potential = integrate_poisson(self.sums("charge"), self.sums("moment"), self.step,
                                             self.kind == "periodic")  # fmt: skip
        r.field = estimate_mean(field, frames).mean
        potential -= _mean(self._at(potential, self._metal()))
        mean = estimate_mean(potential, frames)
        self.note(mean, "potential")
        r.potential, r.potential_err = mean.mean, mean.error
        if self.windows is not None:
            smooth = macroscopic_average(potential, self.step, self.windows,
                                         periodic=self.kind == "periodic")  # fmt: skip
            found = estimate_mean(smooth, frames)
            r.macroscopic, r.macroscopic_err = found.mean, found.error
        self._conclude_faces(potential)

    def _conclude_faces(self, potential: Array) -> None:
        """Potential against the distance; everything is linear in the sums over chunks."""
        assert self.interface is not None
        r, faces = self.results, self.interface.faces
        far = self.bins * self.step - self._origin
        if len(faces) == 2:
            far = 0.5 * (self.bins * self.step - self.thickness)
        alone = self.kind == "open" and len(faces) == 1
        near = -self._origin if alone else -0.5 * self.thickness
        grid = r.edges - self._origin
        r.distance = grid[(grid > near - EDGE) & (grid < far + EDGE)]
        liquid = np.linspace(*self.ends, SAMPLES + 1)
        profiles = {FACE_NAMES[k]: self._at(potential, self._place(k, r.distance)) for k in faces}
        drops = {FACE_NAMES[k]: _mean(self._at(potential, self._place(k, liquid))) for k in faces}
        r.faces, r.faces_err, r.drop, r.drop_err = {}, {}, {}, {}
        for name in [*profiles, "both"]:
            members = list(profiles) if name == "both" else [name]
            profile = estimate_mean(np.mean([profiles[m] for m in members], axis=0), self.lengths)
            drop = estimate_mean(np.mean([drops[m] for m in members], axis=0), self.lengths)
            r.faces[name], r.faces_err[name] = profile.mean, profile.error
            r.drop[name], r.drop_err[name] = float(drop.mean[0]), float(drop.error[0])
            self.note(drop, f"drop_{name}")

    @property
    def _origin(self) -> float:
        """Where along z the plane of the first wet face lies."""
        return 0.5 * self.thickness if self.kind == "periodic" else self.offset

    def _place(self, face: int, distance: Array) -> Array:
        """Where along z points at a distance from a face lie."""
        if face == self.primary:
            return self._origin + distance
        return self._origin - self.thickness - distance

    def _metal(self) -> Array:
        """Where along z the potential is zero on average."""
        assert self.interface is not None
        if self.kind == "open" and len(self.interface.faces) == 1:
            return np.zeros(1)
        middle = self._origin - 0.5 * self.thickness
        return middle + 0.25 * self.thickness * np.linspace(-1.0, 1.0, SAMPLES + 1)

    def _at(self, values: Array, places: Array) -> Array:
        """Values (..., n_edges) at places along z, (..., n_places), linear between the edges."""
        scaled = (places / self.step) % self.bins if self.kind == "periodic" else (
            np.clip(places / self.step, 0.0, self.bins)
        )  # fmt: skip
        near = np.rint(scaled)
        scaled = np.where(np.abs(scaled - near) < 1e-9, near, scaled)
        left = np.minimum(scaled.astype(np.int64), self.bins - 1)
        share = scaled - left
        found = values[..., left] * (1.0 - share) + values[..., left + 1] * share
        return np.asarray(found)

    def tables(self) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Columns of ``charge``, ``potential``, ``potential_surface`` and ``potential_drop``."""
        r = self.results
        density = {"z_A": r.z, "rho_q_e_per_A3": r.rho, "rho_q_e_per_A3_err": r.rho_err}
        profile = {"z_A": r.edges, "field_V_per_A": r.field, "potential_V": r.potential,
                   "potential_V_err": r.potential_err}  # fmt: skip
        if self.windows is not None:
            profile["macroscopic_V"] = r.macroscopic
            profile["macroscopic_V_err"] = r.macroscopic_err
        surface = {"distance_A": r.distance}
        drop: dict[str, npt.NDArray[Any]] = {
            "liquid_from_A": np.array([r.liquid[0]]), "liquid_to_A": np.array([r.liquid[1]])
        }  # fmt: skip
        for face in r.faces:
            surface[f"potential_{face}_V"] = r.faces[face]
            surface[f"potential_{face}_V_err"] = r.faces_err[face]
            drop[f"drop_{face}_V"] = np.array([r.drop[face]])
            drop[f"drop_{face}_V_err"] = np.array([r.drop_err[face]])
        return {"charge": density, "potential": profile, "potential_surface": surface,
                "potential_drop": drop}  # fmt: skip

    def draw(self, figure: Figure) -> None:
        """Charge density and potential along z, and the potential at each face."""
        r = self.results
        charge, potential, surface = figure.subplots(3, 1)
        draw_band(charge, r.z, r.rho, r.rho_err, "")
        charge.set(xlabel="z (Å)", ylabel=r"$\rho_q$ (e/Å$^3$)")
        draw_band(potential, r.edges, r.potential, r.potential_err, "planar average")
        if self.windows is not None:
            draw_band(potential, r.edges, r.macroscopic, r.macroscopic_err, "macroscopic average")
            draw_legend(potential)
        potential.set(xlabel="z (Å)", ylabel="potential (V)")
        for face in r.faces if len(r.faces) > 2 else ["both"]:
            label = f"{face}, drop {r.drop[face]:.2f} V"
            draw_band(surface, r.distance, r.faces[face], r.faces_err[face], label)
        surface.axvspan(*r.liquid, color="0.92", zorder=0)
        surface.set(xlabel="distance from the surface (Å)", ylabel="potential (V)")
        draw_legend(surface)


def _mean(values: Array) -> Array:
    """Mean over equally spaced samples, with half weight at the ends: (..., 1)."""
    weights = np.full(values.shape[-1], 1.0)
    weights[[0, -1]] = 0.5
    return np.asarray((values @ weights / weights.sum())[..., None])
