"""Radial distribution functions with the normalisation that a slab needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers

from voltase.analysis.base import Contribution, InterfaceAnalysis
from voltase.analysis.blocks import estimate_ratio
from voltase.analysis.counting import EDGE, count_rows
from voltase.analysis.density import FACE_NAMES
from voltase.analysis.drawing import draw_band, draw_legend
from voltase.analysis.neighbours import count_distances, largest_cutoff
from voltase.analysis.scene import Scene
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

LONGEST_DEFAULT = 8.0
"""Range in A where none is given and the cell allows it."""
HEIGHT_WIDTH = 0.05
"""Width in A of the bins of the density that the normalisation uses."""


class SlabRDF(InterfaceAnalysis):
    """Radial distribution function between elements, next to an electrode.

    In a slab the density is not uniform, and the ordinary g(r) tends to no limit. Here the pairs
    are compared with those of atoms that have the same density profile and no other correlation,

        n_id(r) dr = sum_i 2 pi r dr  int_{-r}^{r} rho_B(z_i + zeta) d zeta,

    so that g tends to one, and an ideal gas in a slab of any profile has g = 1 everywhere. The
    ordinary g, with the volume of the whole cell, is given for comparison.

    Parameters
    ----------
    source : Universe or AtomGroup
    pairs : sequence of str
        Such as ``["O-O", "O-H"]``. Of an element that occurs both in the slab and outside, the
        atoms outside are meant.
    r_max : float, optional
        A; by default 8, or half the cell's smallest width.
    width : float
        Of the bins, A.
    region : (float, float), optional
        Distances in A from the nearer wet face between which the first atom of a pair lies.
    **options
        See `InterfaceAnalysis`.

    Attributes
    ----------
    results.r : ndarray (n_bins,)
        Middles of the bins, A.
    results.g_slab, results.g_slab_err, results.g_bulk, results.g_bulk_err : dict
        By pair, then by face of the first atom (``lower``, ``upper``, and ``both``, all of them):
        ndarray (n_bins,). Not a number where no pair is possible.
    results.coordination, results.coordination_err : dict
        Likewise: number of second atoms within the upper edge of the bin of a first one.

    Raises
    ------
    InputError
        If a pair cannot be read, an element is absent, or r_max exceeds half the cell's width.
    """

    def __init__(self, source: Any, pairs: Sequence[str] = ("O-O",), *, r_max: float | None = None,
                 width: float = 0.05, region: tuple[float, float] | None = None,
                 **options: Any) -> None:  # fmt: skip
        super().__init__(source, **options)
        self.pairs = [self._parse(pair) for pair in pairs]
        if not self.pairs:
            raise InputError("pairs: found none, expected for instance O-O")
        if len(set(self.pairs)) < len(self.pairs):
            raise InputError(f"pairs: found {', '.join(pairs)}, expected each once")
        if not 1e-3 <= width <= 1.0:
            raise InputError(f"width: found {width:g} A, expected 0.001 to 1 A")
        self.r_max, self.width, self.region = r_max, width, region

    def _parse(self, pair: str) -> tuple[str, str]:
        first, _, second = pair.partition("-")
        for symbol in (first, second):
            if symbol not in atomic_numbers or symbol == "X":
                raise InputError(f"pairs: found '{pair}', expected two elements such as O-H")
            if not (self.numbers == atomic_numbers[symbol]).any():
                raise InputError(f"pairs: found '{pair}', but the trajectory has no {symbol}")
        return first, second

    def prepare(self, scene: Scene) -> None:
        """Range and bins."""
        limit = largest_cutoff(scene.cell)
        if self.r_max is None:
            self.r_max = min(LONGEST_DEFAULT, np.floor(limit / self.width) * self.width)
        elif not self.width <= self.r_max <= limit:
            raise InputError(
                f"r_max: found {self.r_max:g} A, expected {self.width:g} A or more and at most "
                f"half the cell's smallest width, {limit:.4g} A"
            )
        self.bins = int(np.floor(self.r_max / self.width + 1e-9))
        self.heights = max(round(scene.height / HEIGHT_WIDTH), 2)
        self.groups = max(len(scene.interface.faces), 1)

    def observe(self, scene: Scene) -> tuple[Contribution, Contribution]:
        """Pair counts and densities of one frame."""
        summed: Contribution = {"height": scene.height, "area": scene.area}
        group_of = self._groups(scene)
        for first, second in self.pairs:
            name = f"{first}-{second}"
            a, b = scene.of_element(first), scene.of_element(second)
            summed[name] = self._count(scene, first, second, group_of[a])
            width = scene.height / self.heights
            profile = count_rows(scene.above[a], group_of[a], self.groups, width, self.heights,
                                 0.0, True)  # fmt: skip
            summed[f"first {name}"] = profile
            density = count_rows(scene.above[b], np.zeros(len(b), dtype=np.int64), 1, width,
                                 self.heights, 0.0, True)  # fmt: skip
            summed[f"second {name}"] = density[0] / (scene.area * width)
            summed[f"ordinary {name}"] = profile.sum(axis=1) * len(b) / (scene.area * scene.height)
        return summed, {}

    def _groups(self, scene: Scene) -> npt.NDArray[np.int64]:
        """Which face's atoms an atom counts among (n_atoms,); -1 outside the region."""
        faces = scene.interface.faces
        group = np.zeros(len(scene.numbers), dtype=np.int64)
        if len(faces) == 2:
            group = scene.face_of.copy()
        if self.region is not None:
            far = scene.above
            if faces:
                far = np.min([scene.distance(face) for face in faces], axis=0)
            group[(far + EDGE < self.region[0]) | (far + EDGE >= self.region[1])] = -1
        return group

    def _count(self, scene: Scene, first: str, second: str, of_a: npt.NDArray[np.int64]) -> Array:
        """Pairs by the face of their first atom and by distance (n_groups, n_bins)."""
        a = scene.positions[scene.of_element(first)]
        b = None if first == second else scene.positions[scene.of_element(second)]
        return count_distances(scene.cell, a, b, of_a, self.groups, self.width, self.bins)

    def conclude(self) -> None:
        """Distribution functions and coordination numbers."""
        results, frames = self.results, self.lengths
        height = float(self.sums("height").sum() / frames.sum())
        results.r = (np.arange(self.bins) + 0.5) * self.width
        for name in ("g_slab", "g_bulk", "coordination"):
            results[name], results[f"{name}_err"] = {}, {}
        for first, second in self.pairs:
            name = f"{first}-{second}"
            for table in ("g_slab", "g_bulk", "coordination"):
                results[table][name], results[f"{table}_err"][name] = {}, {}
            counts = self.sums(name)
            a = self.sums(f"first {name}").sum(axis=0) / frames.sum()
            b = self.sums(f"second {name}").sum(axis=0) / frames.sum()
            if a.sum() == 0.0:
                raise InputError(f"region: found no {first} in it in any frame, expected some")
            bulk = self.sums(f"ordinary {name}").sum(axis=0) / frames.sum()
            # Of n like atoms each has n - 1 others.
            others = 1.0 - 1.0 / len(self._atoms(first)) if first == second else 1.0
            for face, members in self._faces().items():
                pairs = counts[:, members].sum(axis=1)
                atoms = a[members].sum(axis=0)
                ideal = others * ideal_pairs(atoms, b, height, self.bins, self.width)
                uniform = others * bulk[members].sum() * shells(self.bins, self.width)
                self._store(name, face, pairs, ideal, uniform, float(atoms.sum()))

    def _store(self, name: str, face: str, pairs: Array, ideal: Array, uniform: Array,
               atoms: float) -> None:  # fmt: skip
        results, lengths = self.results, self.lengths
        frames = lengths[:, None]
        for table, norm in (("g_slab", ideal), ("g_bulk", uniform)):
            estimate = estimate_ratio(pairs, frames * np.where(norm > 0.0, norm, 0.0), lengths)
            results[table][name][face] = estimate.mean
            results[f"{table}_err"][name][face] = estimate.error
            if (table, face) == ("g_slab", "both"):
                self.note(estimate, f"g_{name}")
        within = estimate_ratio(np.cumsum(pairs, axis=1), frames * np.full(self.bins, atoms),
                                lengths)  # fmt: skip
        results.coordination[name][face] = within.mean
        results.coordination_err[name][face] = within.error

    def tables(self) -> dict[str, dict[str, Array]]:
        """Columns of ``rdf`` (all first atoms) and ``rdf_faces``."""
        r = self.results
        both, faces = {"r_A": r.r}, {"r_A": r.r}
        for name in ("g_slab", "g_bulk", "coordination"):
            for pair, by_face in r[name].items():
                for face, values in by_face.items():
                    table = both if face == "both" else faces
                    column = f"{name}_{pair}" + ("" if face == "both" else f"_{face}")
                    table[column] = values
                    table[f"{column}_err"] = r[f"{name}_err"][pair][face]
        return {"rdf": both, "rdf_faces": faces} if len(faces) > 1 else {"rdf": both}

    def draw(self, figure: Figure) -> None:
        """Both normalisations and the coordination number, a row for each pair."""
        r = self.results
        axes = figure.subplots(len(self.pairs), 2, sharex=True, squeeze=False)
        for row, pair in zip(axes, r.g_slab, strict=True):
            slab, error = r.g_slab[pair]["both"], r.g_slab_err[pair]["both"]
            draw_band(row[0], r.r, slab, error, "slab")
            row[0].plot(r.r, r.g_bulk[pair]["both"], ":", lw=1, color="0.5", label="ordinary")
            row[0].axhline(1.0, color="0.8", lw=0.8, zorder=0)
            # The bond within a molecule must not hide what lies beyond it.
            beyond = slab[(r.r > 1.5) & np.isfinite(slab)]
            if beyond.size and beyond.max() > 0.0:
                row[0].set_ylim(0.0, 1.6 * beyond.max())
            row[0].set(ylabel=f"g({pair})")
            draw_legend(row[0])
            draw_band(row[1], r.r, r.coordination[pair]["both"],
                      r.coordination_err[pair]["both"], "")  # fmt: skip
            row[1].set(ylabel=f"n({pair})")
        for ax in axes[-1]:
            ax.set_xlabel("r (Å)")

    def _faces(self) -> dict[str, list[int]]:
        assert self.interface is not None
        faces = self.interface.faces
        if len(faces) == 2:
            return {**{FACE_NAMES[k]: [k] for k in faces}, "both": [0, 1]}
        return {**{FACE_NAMES[k]: [0] for k in faces}, "both": [0]}

    def _atoms(self, symbol: str) -> npt.NDArray[np.int64]:
        assert self.interface is not None
        return Scene.atoms_of(symbol, self.numbers, self.interface)


def shells(bins: int, width: float) -> Array:
    """Volumes (n_bins,) of spherical shells, A^3."""
    edges = np.arange(bins + 1) * width
    return np.asarray(4.0 / 3.0 * np.pi * np.diff(edges**3))


def ideal_pairs(first: Array, density: Array, height: float, bins: int, width: float) -> Array:
    """Mean number of pairs (n_bins,) of uncorrelated atoms with given profiles.

    Parameters
    ----------
    first : ndarray (n_heights,)
        Number of first atoms in each layer of the cell.
    density : ndarray (n_heights,)
        Of the second atoms in the same layers, 1/A^3.
    height : float
        Period along z, A.
    bins, width : int, float
        Of r; width in A.
    """
    n, dz = len(first), height / len(first)
    overlap = np.fft.irfft(np.conj(np.fft.rfft(first)) * np.fft.rfft(density), n)
    # Offsets around zero, and the overlap as a function of |zeta|: both signs together.
    reach = min(n // 2, int(np.ceil(bins * width / dz)) + 2)
    k = np.arange(reach)
    both = overlap[k % n] + overlap[-k % n]
    # Bins of a width smear zeta over (-dz, dz) linearly: between offsets it is linear too.
    zeta = k * dz
    fine = np.linspace(0.0, bins * width, 8 * bins + 1)
    along = np.interp(fine, zeta, both)
    reached = np.concatenate([[0.0], np.cumsum(0.5 * (along[1:] + along[:-1]) * np.diff(fine))])
    integrand = 2.0 * np.pi * fine * reached
    pieces = 0.5 * (integrand[1:] + integrand[:-1]) * np.diff(fine)
    return np.asarray(pieces.reshape(bins, 8).sum(axis=1))
