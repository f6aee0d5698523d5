"""Dipole of the water at each face, the potential step it makes, and fluctuations of n and Phi."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from ase.units import Debye

from voltase.analysis.base import Contribution, InterfaceAnalysis
from voltase.analysis.blocks import Estimate, estimate_series
from voltase.analysis.counting import EDGE
from voltase.analysis.density import FACE_NAMES
from voltase.analysis.drawing import draw_legend, with_error
from voltase.analysis.interface import UPPER
from voltase.analysis.point_charges import fixed_charges, frame_charges
from voltase.analysis.scene import Scene
from voltase.aseplugin.electrochemistry import (
    EPSILON_0,
    capacitance_to_areal,
    surface_charge_density,
    thermal_energy,
)
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

MOLECULE_DIPOLE = 2.35
"""In D: of a molecule of SPC/E water (doi:10.1021/j100308a038)."""
CONSTANT = 1e-9
"""Spread of n (electrons) or Phi (V) below which it was held fixed."""


class NetDipole(InterfaceAnalysis):
    """Dipole moment of the water along the outward normal of each wet face.

    Molecule by molecule, so nothing has to be unwrapped: p = sum_H q_H (r_H - r_O), which is the
    dipole about the oxygen where the molecule's charges do not add up to zero; or a dipole of fixed
    size along the bisector, from O between the H. Each molecule counts for the nearer wet face;
    OH-, H3O+ and ions do not count.

    m = sum p.n / A (e/A), n pointing out of the metal, is a sheet of dipoles: two plates at a
    distance d with the charge -sigma next to the metal and +sigma outside, m = sigma d. Between
    them the field is -sigma/eps0 along n, so

        phi(liquid) - phi(metal) = + m / eps0,

    a positive m (hydrogen away from the metal) raises the potential of the liquid, and lowers the
    work function by as many eV. It is the step of a sheet with no field on either side, without
    the quadrupoles of the molecules, the charges of ions and electrode, and any response of the
    metal; for all charges together there is `ChargeProfile`.

    With n (``ts.data["excess_electrons"]``) or Phi (``ts.data["electrode_potential"]``, absolute,
    V) in every frame, and a temperature, fluctuations give capacitances. If n has its own thermal
    motion, at a set potential (grand-canonical; Bonnet et al.,
    doi:10.1103/PhysRevLett.109.266101):

        C = var(n)/kT       of the interface, with all that relaxes;
        C_el = kT/var(Phi)  of the electrons at fixed positions (1/C_el is the mean);
        cov(n, Phi) = -kT   exactly, so ``results.ensemble`` = -cov/kT is one.

    If n is held fixed (canonical), 1/C = 1/C_el - var(Phi)/kT, so kT/var(Phi) is only an upper
    limit of C_el; if Phi is held fixed in every frame, C = <C_el> + var(n)/kT, and var(n)/kT is
    only what the solvent adds. In both cases ``ensemble`` is zero. Changes of the set potential
    within a run spoil all of it.

    Parameters
    ----------
    source : Universe or AtomGroup
    charges : dict, optional
        Charge in e by element, such as ``{"O": -0.8476, "H": 0.4238}``. By default the
        trajectory's, ``ts.data["charges"]``, and without them the fixed dipole.
    molecule_dipole : float, optional
        Of each molecule in D, whatever charges there are; without charges 2.35 D (SPC/E).
    region : (float, float), optional
        Distances from the face in A between which the oxygen lies.
    temperature : float, optional
        K; without it no capacitance is given.
    **options
        See `InterfaceAnalysis`.

    Attributes
    ----------
    results.model : str
        What the dipoles are from.
    results.dipole, results.dipole_err : dict of float
        m in e/A by face (``lower``, ``upper``, and ``both``, their mean); times 4.8032 in D/A^2.
    results.drop, results.drop_err : dict of float
        phi(liquid) - phi(metal) in V that it makes.
    results.waters : dict of float
        Mean number of molecules.
    results.frame, results.time : ndarray (n_frames,)
        Number of the frame; time in ps, not a number if the times are not known.
    results.series : dict of ndarray (n_frames,)
        m in e/A by face.
    results.area : float
        Mean |a x b| in A^2, of one face.
    results.n, results.n_err, results.n_series : float, float, ndarray (n_frames,)
        Excess electrons of the cell; not there if the trajectory has none, as the following.
    results.sigma, results.sigma_err : float
        Surface charge -n e over the area of all wet faces, uC/cm^2.
    results.phi, results.phi_err, results.phi_series : float, float, ndarray (n_frames,)
        Absolute electrode potential, V.
    results.capacitances : dict of (float, float)
        ``n``: var(n)/kT and ``phi``: kT/var(Phi), each with its error, in uF/cm^2 of all wet
        faces; what was held fixed is not there.
    results.ensemble, results.ensemble_err : float
        -cov(n, Phi)/kT.

    Raises
    ------
    InputError
        If no face is wet, there is no water, or an argument is unusable.
    """

    def __init__(self, source: Any, *, charges: Mapping[str, float] | None = None,
                 molecule_dipole: float | None = None, region: tuple[float, float] | None = None,
                 temperature: float | None = None, **options: Any) -> None:  # fmt: skip
        super().__init__(source, **options)
        if charges is not None and molecule_dipole is not None:
            raise InputError("molecule_dipole: found together with charges, expected one of them")
        if molecule_dipole is not None and not 0.0 < molecule_dipole < 20.0:
            raise InputError(f"molecule_dipole: found {molecule_dipole:g}, expected 0 to 20 D")
        if region is not None and not (len(region) == 2 and region[0] < region[1]):
            raise InputError(f"region: found {region}, expected two ascending distances in A")
        if temperature is not None and not 0.0 < temperature < 1e5:
            raise InputError(f"temperature: found {temperature:g}, expected more than 0 K")
        self.charges, self.molecule_dipole = charges, molecule_dipole
        self.region, self.temperature = region, temperature

    def prepare(self, scene: Scene) -> None:
        """Choose the model of the dipoles."""
        if not scene.interface.faces:
            raise InputError("electrode: neither of its faces has water nearby, expected one")
        if len(scene.waters) == 0:
            raise InputError(f"water: found none in frame {scene.frame}, expected some")
        water = np.isin(self.numbers, (1, 8))
        self.fixed = fixed_charges(self.charges, self.numbers, ~water)
        stored = scene.ts.data.get("charges") is not None
        self.size = 0.0
        if self.fixed is not None:
            self.model = "charges by element"
        elif self.molecule_dipole is None and stored:
            self.model = "charges of the trajectory"
        else:
            debye = self.molecule_dipole or MOLECULE_DIPOLE
            self.size = debye * Debye
            self.model = f"{debye:g} D along the bisector"
        self.scalars = [name for name in ("excess_electrons", "electrode_potential")
                        if _scalar(scene, name) is not None]  # fmt: skip

    def observe(self, scene: Scene) -> tuple[Contribution, Contribution]:
        """Dipoles of one frame, and its n and Phi."""
        oxygen = scene.waters[:, 0]
        if self.size > 0.0:
            normal = self.size * scene.bisectors[:, 2]
        else:
            charges = frame_charges(scene, self.fixed)[scene.waters[:, 1:]]
            normal = (charges * scene.bond_vectors[:, :, 2]).sum(axis=1)
        face = scene.face_of[oxygen]
        summed: Contribution = {"area": scene.area}
        kept: Contribution = {"frame": scene.frame, "time": self._time(scene)}
        for k in scene.interface.faces:
            near = face == k
            if self.region is not None:
                distance = scene.distance(k)[oxygen] + EDGE
                near &= (distance >= self.region[0]) & (distance < self.region[1])
            sign = 1.0 if k == UPPER else -1.0
            kept[FACE_NAMES[k]] = sign * float(normal[near].sum()) / scene.area
            summed[f"{FACE_NAMES[k]} waters"] = float(near.sum())
        for name in self.scalars:
            value = _scalar(scene, name)
            if value is None:
                raise InputError(f"{name}: found none in frame {scene.frame}, expected a number")
            kept[name] = value
        return summed, kept

    @staticmethod
    def _time(scene: Scene) -> float:
        return scene.time if scene.ts.data.get("time_known", True) else float("nan")

    def conclude(self) -> None:
        """Means, errors and fluctuations."""
        assert self.interface is not None
        r, frames = self.results, self.lengths.sum()
        r.model, r.area = self.model, float(self.sums("area").sum() / frames)
        r.frame, r.time = np.array(self.series("frame")), np.array(self.series("time"))
        names = [FACE_NAMES[k] for k in self.interface.faces]
        r.series = {name: np.array(self.series(name)) for name in names}
        r.series["both"] = np.mean([r.series[name] for name in names], axis=0)
        counts = {name: float(self.sums(f"{name} waters").sum() / frames) for name in names}
        r.waters = {**counts, "both": float(np.mean(list(counts.values())))}
        r.dipole, r.dipole_err, r.drop, r.drop_err = {}, {}, {}, {}
        for name, series in r.series.items():
            mean, error = _plain(estimate := estimate_series(series))
            r.dipole[name], r.dipole_err[name] = mean, error
            r.drop[name], r.drop_err[name] = mean / EPSILON_0, error / EPSILON_0
        self.note(estimate, "dipole")
        self._conclude_electrons()

    def _conclude_electrons(self) -> None:
        assert self.interface is not None
        r = self.results
        area = r.area * len(self.interface.faces)
        if "excess_electrons" in self.scalars:
            r.n_series = np.array(self.series("excess_electrons"))
            estimate = estimate_series(r.n_series)
            self.note(estimate, "n")
            r.n, r.n_err = _plain(estimate)
            r.sigma = surface_charge_density(r.n, area) + 0.0  # not -0
            r.sigma_err = abs(surface_charge_density(r.n_err, area))
        if "electrode_potential" in self.scalars:
            r.phi_series = np.array(self.series("electrode_potential"))
            estimate = estimate_series(r.phi_series)
            self.note(estimate, "phi")
            r.phi, r.phi_err = _plain(estimate)
        if self.temperature is not None and self.scalars:
            self._conclude_fluctuations(thermal_energy(self.temperature), area)

    def _conclude_fluctuations(self, kt: float, area: float) -> None:
        r = self.results
        r.capacitances = {}
        if "n" in r and r.n_series.std() > CONSTANT:
            mean, error = covariance(r.n_series, r.n_series)
            scale = capacitance_to_areal(1.0 / kt, area)
            r.capacitances["n"] = mean * scale, error * scale
        if "phi" in r and r.phi_series.std() > CONSTANT:
            mean, error = covariance(r.phi_series, r.phi_series)
            value = capacitance_to_areal(kt / mean, area)
            r.capacitances["phi"] = value, value * error / mean
        if "n" in r and "phi" in r:
            mean, error = covariance(r.n_series, r.phi_series)
            r.ensemble, r.ensemble_err = -mean / kt, error / kt

    def tables(self) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Columns of ``dipole`` (frame by frame) and ``dipole_mean`` (one row)."""
        r = self.results
        series: dict[str, npt.NDArray[Any]] = {"frame": r.frame, "time_ps": r.time}
        mean: dict[str, Any] = {}
        for face, values in r.series.items():
            series[f"dipole_{face}_e_per_A"] = values
            mean[f"dipole_{face}_e_per_A"] = r.dipole[face]
            mean[f"dipole_{face}_e_per_A_err"] = r.dipole_err[face]
            mean[f"dipole_{face}_D_per_A2"] = r.dipole[face] / Debye
            mean[f"dipole_{face}_D_per_A2_err"] = r.dipole_err[face] / Debye
            mean[f"drop_{face}_V"], mean[f"drop_{face}_V_err"] = r.drop[face], r.drop_err[face]
            mean[f"waters_{face}"] = r.waters[face]
        if "n" in r:
            series["excess_electrons"] = r.n_series
            mean["excess_electrons"], mean["excess_electrons_err"] = r.n, r.n_err
            mean["sigma_uC_per_cm2"], mean["sigma_uC_per_cm2_err"] = r.sigma, r.sigma_err
        if "phi" in r:
            series["electrode_potential_V"] = r.phi_series
            mean["electrode_potential_V"], mean["electrode_potential_V_err"] = r.phi, r.phi_err
        for name, (value, error) in r.get("capacitances", {}).items():
            mean[f"capacitance_{name}_uF_per_cm2"] = value
            mean[f"capacitance_{name}_uF_per_cm2_err"] = error
        if "ensemble" in r:
            mean["ensemble"], mean["ensemble_err"] = r.ensemble, r.ensemble_err
        return {"dipole": series, "dipole_mean": {k: np.array([v]) for k, v in mean.items()}}

    def draw(self, figure: Figure) -> None:
        """Time series of the dipole, and of n and Phi."""
        r = self.results
        rows = 1 + ("n" in r) + ("phi" in r)
        axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
        known = np.isfinite(r.time).all()
        x = r.time if known else r.frame
        for face in r.series if len(r.series) > 2 else ["both"]:
            (line,) = axes[0].plot(x, r.series[face], lw=0.8, alpha=0.6)
            label = f"{face}: {with_error(r.dipole[face], r.dipole_err[face])} e/Å"
            axes[0].axhline(r.dipole[face], color=line.get_color(), label=label)
        axes[0].set(ylabel="dipole (e/Å), outwards")
        draw_legend(axes[0], fontsize="small")
        others = [("n", "excess electrons"), ("phi", "electrode potential (V, absolute)")]
        for ax, (name, label) in zip(axes[1:], [o for o in others if o[0] in r], strict=True):
            ax.plot(x, r[f"{name}_series"], lw=0.8)
            ax.axhline(r[name], color="0.5", lw=0.8)
            ax.set(ylabel=label)
        axes[-1].set_xlabel("time (ps)" if known else "frame")


def covariance(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[float, float]:
    """Covariance of two series and its standard error by blocking.

    The mean's own error is added, which the spread about the sample's mean falls short of.

    Parameters
    ----------
    first, second : array_like (n_frames,)

    Returns
    -------
    covariance, error : float
        The error is not a number if the frames are too few.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    product = (a - a.mean()) * (b - b.mean())
    mean, error = _plain(estimate_series(product))
    # cov(mean a, mean b) from the errors of the sum and the difference of the scaled series.
    scale_a, scale_b = a.std() or 1.0, b.std() or 1.0
    total = _plain(estimate_series(a / scale_a + b / scale_b))[1]
    apart = _plain(estimate_series(a / scale_a - b / scale_b))[1]
    missing = 0.25 * scale_a * scale_b * (total**2 - apart**2)
    return mean + (missing if np.isfinite(missing) else 0.0), error


def _plain(estimate: Estimate) -> tuple[float, float]:
    return float(estimate.mean), float(estimate.error)


def _scalar(scene: Scene, name: str) -> float | None:
    value = scene.ts.data.get(name)
    if value is None or np.ndim(value) != 0:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found) else None
