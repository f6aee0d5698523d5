"""Vibrational density of states of water from its velocities, layer by layer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from ase import units
from ase.data import atomic_masses
from scipy.fft import irfft, next_fast_len, rfft

from voltase.analysis.base import Contribution
from voltase.analysis.blocks import Estimate, estimate_ratio
from voltase.analysis.correlation import (
    TimedAnalysis,
    check_lags,
    layer_name,
    layer_title,
    minimum_image,
)
from voltase.analysis.drawing import draw_band, draw_legend
from voltase.analysis.scene import Scene
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
LOG = logging.getLogger(__name__)

DEFAULT_LAG = 1.0
"""Longest lag in ps: lines become 33 1/cm wide."""
SHORTEST_RUN = 4
"""Frames of a run over those of the default lag, at least."""
LONGEST_DIFFERENCE = 2.0e-3
"""Time between frames in ps up to which differences of positions stand for velocities."""
ORIGIN_SPAN = 0.25
"""Longest time in ps for which a molecule counts as being in one layer."""
MOST_CHUNKS = 128
"""Groups of time origins whose spectra are kept apart for the errors."""
PADDING = 4
"""Points of the transform over those of the correlation function."""
WAVENUMBER = 1e10 / units._c
"""Wavenumber in 1/cm of 1/ps (33.356)."""
KELVIN = units._amu * 1e4 / units._k
"""1 u A^2/ps^2 in K."""
HIGHEST = 4000.0
"""Wavenumber in 1/cm that a spectrum of water has to reach."""
KINDS = ("O", "H", "water")


class VibrationalDOS(TimedAnalysis):
    """Spectrum of the velocity autocorrelation of water's O and H, by layer.

    S(nu) = N_f F[w(t) C(t)] / int F[w C] d nu with C(t) = <sum_j m_j v_j(0) . v_j(t)> over the
    atoms j of a group and the Hann window w(t) = (1 + cos(pi t / t_max)) / 2 in the lag domain, so
    that a line is about 1 / (c t_max) wide at half height, 33 1/cm for the default of 1 ps. The
    trapezoidal integral of S from zero to the highest wavenumber is N_f = 3 N, N the mean number
    of atoms of the group (Berens et al., doi:10.1063/1.446044, without quantum corrections). The
    temperature is <sum m v^2> / (3 N k).

    Groups are the O, the H, and all atoms (``water``) of the molecules whose oxygen is in the layer
    when a stretch of time origins starts (at most 0.25 ps each); they stay in it for all lags.

    Velocities are the trajectory's own, or else differences of the positions of neighbouring
    frames over the time between them, velocities at the time midway, whose spectrum is too low by
    (sin(x) / x)^2 with x = pi c nu dt: it is divided by that.

    Parameters
    ----------
    source : Universe or AtomGroup
    max_lag : float, optional
        t_max in ps; by default 1, at most a quarter of the run.
    **options
        See `TimedAnalysis`.

    Attributes
    ----------
    results.wavenumber : ndarray (n_wavenumbers,)
        1/cm, from 0 to 1 / (2 c dt).
    results.time : ndarray (n_lags,)
        ps.
    results.layers : list of (float, float)
        Ends of the layers, A; the last but one has no end, the last are all of them together.
    results.spectrum, results.spectrum_err : dict
        By face (``lower``, ``upper``, those that are wet, and ``both``), then by group (``O``,
        ``H``, ``water``): ndarray (n_layers, n_wavenumbers) in cm; of ``both`` per face.
    results.vacf : dict
        Likewise C(t) / C(0) before the window, (n_layers, n_lags).
    results.atoms, results.temperature : dict
        Likewise N, of ``both`` per face, and T in K, (n_layers,).
    results.max_lag : float
        ps.

    Raises
    ------
    InputError
        See `TimedAnalysis`; also without velocities if the frames are 2 fs or more apart, if
        there is no water, or the lag does not fit the run.
    """

    def __init__(self, source: Any, *, max_lag: float | None = None, **options: Any) -> None:
        super().__init__(source, **options)
        check_lags(max_lag)
        self.max_lag = max_lag

    def prepare(self, scene: Scene) -> None:
        """Atoms to follow, their masses, and where velocities come from."""
        self.check_scene(scene)
        if len(scene.waters) == 0:
            raise InputError(f"water: found none in frame {scene.frame}, expected some")
        self.oxygens = np.flatnonzero(self.numbers == 8)
        hydrogens = np.flatnonzero(self.numbers == 1)
        self.followed = np.concatenate([self.oxygens, hydrogens])
        masses = np.asarray(getattr(self.universe.atoms, "masses", np.zeros(len(self.numbers))))
        masses = np.where(masses > 0.0, masses, atomic_masses[self.numbers])
        self.masses = masses[self.followed].astype(np.float64)
        self.differences = velocities_of(scene) is None
        if self.differences:
            self._check_step(self.given_step or scene.ts.dt)

    @staticmethod
    def _check_step(step: float) -> None:
        if step >= LONGEST_DIFFERENCE * (1.0 - 1e-6):
            raise InputError(
                f"trajectory: found no velocities and frames {1000.0 * step:g} fs apart, expected "
                f"velocities, or frames less than {1000.0 * LONGEST_DIFFERENCE:g} fs apart"
            )

    def observe(self, scene: Scene) -> tuple[Contribution, Contribution]:
        """Layers and velocities, or positions, in one frame."""
        waters, species = scene.waters, scene.species
        counts = np.zeros(len(self.numbers), dtype=bool)
        counts[waters[:, 0]] = True
        of_oxygen = np.full(len(self.numbers) + 1, -1, dtype=np.int8)
        of_oxygen[self.oxygens] = self.layer_labels(scene, self.oxygens, counts[self.oxygens])
        hydrogens = self.followed[len(self.oxygens) :]
        labels = np.concatenate([of_oxygen[self.oxygens], of_oxygen[species.owner[hydrogens]]])
        if self.differences:
            fractions = scene.positions[self.followed] @ np.linalg.inv(scene.cell)
            return {}, {"labels": labels, "motion": fractions, "cell": scene.cell}
        velocities = velocities_of(scene)
        if velocities is None:
            raise InputError(f"trajectory: found no velocities in frame {scene.frame}, but in the "
                             "first; expected them in every frame")  # fmt: skip
        turned = scene.turn(velocities[self.followed])
        return {}, {"labels": labels, "motion": turned.astype(np.float32)}

    def conclude(self) -> None:
        """Correlation functions, spectra and their errors."""
        results, step = self.results, self.time_step()
        if self.differences:
            self._check_step(step)
        results.layers = [*self.layer_ends, (0.0, np.inf)]
        frames = len(self.frames) - self.differences
        lags = self._lags(frames, step)
        results.max_lag, results.time = lags * step, np.arange(lags) * step
        sums, atoms, origins = self._correlations(frames, lags, step)
        points = PADDING * lags
        results.wavenumber = np.fft.rfftfreq(points, step) * WAVENUMBER
        if results.wavenumber[-1] < HIGHEST:
            LOG.warning("%s: frames %g fs apart reach %.0f 1/cm; higher vibrations appear at wrong "
                        "wavenumbers", type(self).__name__, 1000.0 * step,
                        results.wavenumber[-1])  # fmt: skip
        window = 0.5 + 0.5 * np.cos(np.pi * np.arange(lags) / lags)
        spectra = 2.0 * np.fft.rfft(sums * window, points).real - sums[..., :1]
        if self.differences:
            spectra /= np.sinc(np.fft.rfftfreq(points, step) * step) ** 2
        for name in ("spectrum", "spectrum_err", "vacf", "atoms", "temperature"):
            results[name] = {}
        faces = zip(self._faces(spectra).items(), self._faces(sums).values(),
                    self._faces(atoms).values(), strict=True)  # fmt: skip
        for (face, of_face), correlation, number in faces:
            for table in ("spectrum", "spectrum_err", "vacf", "atoms", "temperature"):
                results[table][face] = {}
            for k, kind in enumerate(KINDS):
                self._conclude_group(face, kind, of_face[:, :, k], correlation[:, :, k],
                                     number[:, :, k], origins)  # fmt: skip

    def _lags(self, frames: int, step: float) -> int:
        """Number of lags, the first of which is zero; the window ends one step after the last."""
        if self.max_lag is not None:
            lags = round(self.max_lag / step) if np.isfinite(self.max_lag) else 0
            if not 2 <= lags < frames:
                raise InputError(f"max_lag: found {self.max_lag:g} ps, expected {2 * step:g} to "
                                 f"{(frames - 1) * step:g} ps")  # fmt: skip
            return lags
        if frames < 2 * SHORTEST_RUN:
            raise InputError(f"frames: found {frames}, expected {2 * SHORTEST_RUN} or more")
        return min(frames // SHORTEST_RUN, max(round(DEFAULT_LAG / step), 2))

    def _faces(self, table: Array) -> dict[str, Array]:
        """By face, with all layers together as a last one: (n_chunks, n_layers, ...)."""
        return {
            face: np.concatenate([values, values.sum(axis=1, keepdims=True)], axis=1)
            for face, values in self.by_face(table).items()
        }

    def _correlations(self, frames: int, lags: int, step: float) -> tuple[Array, Array, Indices]:
        """Sums over origins (chunks, labels, kinds, lags), atoms (chunks, labels, kinds), origins.

        Only origins that all lags have count, so the same atoms are behind every lag.
        """
        motion, labels = np.array(self.series("motion")), self.series("labels")
        cells = np.array(self.series("cell")) if self.differences else np.empty(0)
        last = frames - lags + 1
        longest = max(min(lags, int(ORIGIN_SPAN / step)), 1)
        span = min(longest, -(-last // MOST_CHUNKS))
        stretches = -(-last // span)
        chunks = min(stretches, MOST_CHUNKS)
        sums = np.zeros((chunks, self.labels, len(KINDS), lags))
        atoms = np.zeros((chunks, self.labels, len(KINDS)))
        origins = np.zeros(chunks, dtype=np.int64)
        hydrogen = (np.arange(len(self.followed)) >= len(self.oxygens)).astype(np.int64)
        for k in range(stretches):
            start, count = k * span, min(span, last - k * span)
            end, chunk = start + count + lags - 1, k * chunks // stretches
            inside = np.flatnonzero(labels[start] >= 0)
            group = labels[start][inside] * 2 + hydrogen[inside]
            if self.differences:
                velocities = differences(motion[start : end + 1, inside], cells[start : end + 1])
                velocities /= step
            else:
                velocities = motion[start:end, inside].astype(np.float64)
            found = _correlate(velocities, self.masses[inside], group, 2 * self.labels, count, lags)
            found = found.reshape(self.labels, 2, lags)
            sums[chunk, :, :2] += found
            sums[chunk, :, 2] += found.sum(axis=1)
            members = np.bincount(group, minlength=2 * self.labels).reshape(-1, 2) * count
            atoms[chunk, :, :2] += members
            atoms[chunk, :, 2] += members.sum(axis=1)
            origins[chunk] += count
        return sums, atoms, origins

    def _conclude_group(self, face: str, kind: str, spectra: Array, sums: Array, atoms: Array,
                        origins: Indices) -> None:  # fmt: skip
        """Results of one group; arrays (n_chunks, n_layers, ...)."""
        results, nu = self.results, self.results.wavenumber
        assert self.interface is not None
        faces = len(self.interface.faces) if face == "both" else 1
        number = atoms.sum(axis=0) / (faces * origins.sum())
        areas = np.trapezoid(spectra, nu, axis=2)
        shape = spectra.shape[1:]
        mean, error = np.full(shape, np.nan), np.full(shape, np.nan)
        for layer in range(len(number)):
            estimate: Estimate = estimate_ratio(spectra[:, layer], areas[:, layer, None], origins)
            mean[layer] = 3.0 * number[layer] * estimate.mean
            error[layer] = 3.0 * number[layer] * estimate.error
            if (face, kind, layer) == ("both", "water", len(number) - 1):
                self.note(estimate, "spectrum")
        # C(0) of the velocities that the spectrum is of, differences mended or not.
        energy = areas.sum(axis=0) / ((len(nu) - 1) * nu[1])
        with np.errstate(invalid="ignore", divide="ignore"):
            results.temperature[face][kind] = energy * KELVIN / (3.0 * atoms.sum(axis=0))
            total = sums.sum(axis=0)
            results.vacf[face][kind] = total / total[:, :1]
        results.spectrum[face][kind], results.spectrum_err[face][kind] = mean, error
        results.atoms[face][kind] = number

    def tables(self) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Columns of ``vdos`` and ``vdos_vacf`` (both faces), and those of the faces."""
        r = self.results
        found: dict[str, dict[str, npt.NDArray[Any]]] = {}
        low, high = np.array(r.layers).T
        for face, groups in r.spectrum.items():
            suffix = "" if face == "both" else f"_{face}"
            spectrum: dict[str, npt.NDArray[Any]] = {"wavenumber_per_cm": r.wavenumber}
            vacf: dict[str, npt.NDArray[Any]] = {"t_ps": r.time}
            layers: dict[str, npt.NDArray[Any]] = {"from_A": low, "to_A": high}
            for kind, values in groups.items():
                for k, ends in enumerate(r.layers):
                    where = "all" if k == len(r.layers) - 1 else layer_name(ends)
                    spectrum[f"S_{kind}_{where}_cm"] = values[k]
                    spectrum[f"S_{kind}_{where}_cm_err"] = r.spectrum_err[face][kind][k]
                    vacf[f"{kind}_{where}"] = r.vacf[face][kind][k]
                layers[f"atoms_{kind}"] = r.atoms[face][kind]
                layers[f"temperature_{kind}_K"] = r.temperature[face][kind]
            found[f"vdos{suffix}"] = spectrum
            found[f"vdos_vacf{suffix}"], found[f"vdos_layers{suffix}"] = vacf, layers
        return found

    def draw(self, figure: Figure) -> None:
        """Spectra of O and H for each atom, by layer, both faces together."""
        r = self.results
        axes = figure.subplots(2, 1, sharex=True)
        shown = r.wavenumber <= HIGHEST + 500.0
        for ax, kind in zip(axes, KINDS, strict=False):
            number = r.atoms["both"][kind]
            for k, ends in enumerate(r.layers):
                if number[k] > 0.0:
                    title = "all" if k == len(r.layers) - 1 else layer_title(ends)
                    spectrum = 1000.0 * r.spectrum["both"][kind][k] / number[k]
                    error = 1000.0 * r.spectrum_err["both"][kind][k] / number[k]
                    draw_band(ax, r.wavenumber[shown], spectrum[shown], error[shown], title)
            ax.set(ylabel=f"{kind}: DOS per atom ($10^{{-3}}$ cm)")
            draw_legend(ax, fontsize="small")
        axes[-1].set_xlabel("wavenumber (cm$^{-1}$)")


def velocities_of(scene: Scene) -> Array | None:
    """Velocities (n_atoms, 3) of a frame in A/ps as they are in the trajectory, None without."""
    exact = scene.ts.data.get("exact_velocities")
    if exact is not None:
        return np.asarray(exact, dtype=np.float64)
    return scene.ts.velocities.astype(np.float64) if scene.ts.has_velocities else None


def differences(fractions: Array, cells: Array) -> Array:
    """Displacements (n_frames - 1, n, 3) in A between frames, the shortest ones.

    Parameters
    ----------
    fractions : ndarray (n_frames, n, 3)
        Fractional coordinates, wrapped or not.
    cells : ndarray (n_frames, 3, 3)
        A.
    """
    moved = minimum_image(np.diff(fractions, axis=0))
    return np.asarray(moved @ (0.5 * (cells[1:] + cells[:-1])))


def _correlate(velocities: Array, masses: Array, group: Indices, groups: int, count: int,
               lags: int) -> Array:  # fmt: skip
    """Sums of m v(t) . v(t + lag) over the first `count` frames (groups, lags), exact.

    Velocities (n_frames, n, 3), masses and group (n,).
    """
    length = next_fast_len(count + lags, real=True)
    series = np.ascontiguousarray(velocities.transpose(1, 2, 0))
    later = rfft(series, length, axis=2)
    origins = rfft(series[:, :, :count], length, axis=2)
    product = (np.conj(origins) * later).sum(axis=1) * masses[:, None]
    summed = np.zeros((groups, product.shape[1]), dtype=np.complex128)
    for k in np.unique(group):
        summed[k] = product[group == k].sum(axis=0)
    return np.asarray(irfft(summed, length, axis=1)[:, :lags])
