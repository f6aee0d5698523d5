"""Coverage of the adsorption sites of a surface by water and its fragments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voltase.analysis.base import Contribution, InterfaceAnalysis
from voltase.analysis.blocks import estimate_mean
from voltase.analysis.counting import EDGE
from voltase.analysis.density import FACE_NAMES
from voltase.analysis.drawing import draw_legend
from voltase.analysis.scene import Scene
from voltase.analysis.sites import find_sites, nearest_site
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

ADSORBATES = ("H2O", "OH", "O", "H")
INSIDE = -1.0
"""How far below the surface layer an adsorbate may be, A; deeper ones are absorbed."""
REFERENCE_FRAMES = 50
"""Frames, from the first one analysed on, whose mean slab tells the sites."""
REFERENCE_STRIDE = 4
"""Largest step between them: enough to differ, and not far to read."""


class SiteCoverage(InterfaceAnalysis):
    """Chemisorbed H2O, OH, O and H by adsorption site.

    The sites of a face are found on the mean of its outermost metal layer: atoms (top), edges
    (bridge) and faces (hollow) of the Delaunay triangulation, triangles with one circumcircle
    joined. Symmetry of the whole slab (spglib, arXiv:1808.01590) tells which are alike. In every
    frame the sites move with the atoms around them.

    Names: ``top``, ``bridge`` and ``hollow``; if there are several kinds of hollows between three
    atoms, those with an atom of the second layer below are ``hcp``, the others ``fcc``. Two classes
    of bridges are ``bridge_short`` and ``bridge_long``. Where the metal atoms of a surface differ,
    names say which are around: ``top_Ni``, ``bridge_Ni_Pt``; of an oxide ``cus`` are those with the
    fewest oxygens and ``bri`` those with the most: ``top_cus``, ``bridge_bri_bri``,
    ``hollow_bri_cus_cus``. Classes that none of this tells apart are numbered.

    An adsorbate counts if its atom is nearer to the surface layer's mean height than a limit, and
    belongs to the site that is laterally nearest. OH and H2O are where their oxygen is; O is an
    oxygen and H a hydrogen without partner. An oxide's own oxygens count as OH or H2O while they
    carry hydrogen, and not at all without.

    Parameters
    ----------
    source : Universe or AtomGroup
    o_distance : float
        Oxygens count below this height above the surface layer, A. By default 2.7: on Pt(111) the
        minimum between chemisorbed water (peak at 2.3) and the rest of the first layer.
    h_distance : float
        Likewise for hydrogens without oxygen, A. By default 2.0: on a top site H is at 1.6.
    **options
        See `InterfaceAnalysis`.

    Attributes
    ----------
    results.sites : dict
        By face (``lower``, ``upper``, those that are wet, and ``both``): dict of the number of
        sites per surface metal atom, by name.
    results.coverage, results.coverage_err : dict
        By face, adsorbate (H2O, OH, O, H) and site: float, monolayers, which are adsorbates per
        metal atom of the surface layer. ``all`` stands for all sites.
    results.time : ndarray (n_frames,)
        ps; numbers of frames if the times are not known.
    results.series : dict
        By face and adsorbate: ndarray (n_frames,), coverage of all sites, monolayers.

    Raises
    ------
    InputError
        If an argument is out of range or no face is wet.
    """

    def __init__(self, source: Any, *, o_distance: float = 2.7, h_distance: float = 2.0,
                 **options: Any) -> None:  # fmt: skip
        super().__init__(source, **options)
        for name, value in (("o_distance", o_distance), ("h_distance", h_distance)):
            if not 0.5 <= value <= 6.0:
                raise InputError(f"{name}: found {value:g} A, expected 0.5 to 6 A")
        self.limits = {"O": float(o_distance), "H": float(h_distance)}

    def prepare(self, scene: Scene) -> None:
        """Sites of each wet face, from the mean slab of the first frames."""
        interface = scene.interface
        if not interface.faces:
            raise InputError("electrode: neither of its faces has water nearby, expected one")
        cell, positions = self._mean_slab(scene)
        self.sites = {
            face: find_sites(cell, positions, self.numbers, interface, face)
            for face in interface.faces
        }
        found = [name for sites in self.sites.values() for name in sites.names]
        self.names = tuple(sorted(set(found), key=found.index))
        self.metals = {face: len(interface.surface_layer(face)) for face in interface.faces}

    def _mean_slab(self, scene: Scene) -> tuple[Array, Array]:
        """Mean cell and slab, each atom near its place in the first frame, without its drift."""
        slab, trajectory = np.flatnonzero(scene.interface.slab), self.universe.trajectory
        start, first = scene.frame, scene.positions.copy()
        cells, moved = [], np.zeros((len(slab), 3))
        every = min(max((len(trajectory) - start) // REFERENCE_FRAMES, 1), REFERENCE_STRIDE)
        for frame in range(start, len(trajectory), every)[:REFERENCE_FRAMES]:
            other = Scene(trajectory[frame], self.numbers, scene.interface)
            step = other.positions[slab] - first[slab]
            step = other.shortest(step - step[0])
            moved += step - step.mean(axis=0)
            cells.append(other.cell)
        trajectory[start]
        first[slab] += moved / len(cells)
        return np.mean(cells, axis=0), first

    def observe(self, scene: Scene) -> tuple[Contribution, Contribution]:
        """Adsorbates on each site in one frame."""
        summed: Contribution = {}
        kept: Contribution = {}
        species = scene.species
        groups = [species.with_hydrogens(count) for count in (2, 1, 0)]
        groups.append(np.flatnonzero((scene.numbers == 1) & (species.owner < 0)))
        atom = np.concatenate(groups)
        kind = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        limit = np.where(scene.numbers[atom] == 1, self.limits["H"], self.limits["O"])
        for face, sites in self.sites.items():
            far = scene.distance(face)[atom] + EDGE
            near = (far >= INSIDE) & (far < limit) & (scene.face_of[atom] == face)
            column = np.array([self.names.index(name) for name in sites.names])
            site = column[sites.classes[self._nearest(scene, face, atom[near])]]
            size = len(self.names)
            table = np.bincount(kind[near] * size + site, minlength=len(ADSORBATES) * size)
            summed[FACE_NAMES[face]] = table.reshape(-1, size)
            kept[FACE_NAMES[face]] = table.reshape(-1, size).sum(axis=1)
        return summed, kept

    def _nearest(self, scene: Scene, face: int, atoms: Indices) -> Indices:
        """The site of each atom (n,)."""
        sites, layer = self.sites[face], scene.interface.surface_layer(face)
        height = scene.surfaces[face]
        # A tilted cell's periods along z differ in the plane: all in the surface's own.
        surface, points = (
            p - np.rint((p[:, 2:] - height) / scene.height) * scene.cell[2]
            for p in (scene.positions[layer], scene.positions[atoms])
        )
        points[:, 2] = 0.0
        return nearest_site(scene.cell, points, sites.places(scene.cell, surface))

    def conclude(self) -> None:
        """Coverages, their errors and time series."""
        results = self.results
        results.time = np.asarray(self.times if self.times_known else self.frames, dtype=np.float64)
        results.sites, results.coverage, results.coverage_err = {}, {}, {}
        results.series = {}
        faces = {FACE_NAMES[face]: [face] for face in self.sites}
        for name, members in {**faces, "both": list(self.sites)}.items():
            metals = sum(self.metals[face] for face in members)
            counts = np.sum([self.sums(FACE_NAMES[face]) for face in members], axis=0) / metals
            kept = np.sum([self.series(FACE_NAMES[face]) for face in members], axis=0) / metals
            results.series[name] = dict(zip(ADSORBATES, kept.T, strict=True))
            results.sites[name] = {site: 0.0 for site in self.names}
            for sites in (self.sites[face] for face in members):
                numbers = np.bincount(sites.classes, minlength=len(sites.names))
                for site, number in zip(sites.names, numbers, strict=True):
                    results.sites[name][site] += float(number) / metals
            self._conclude_face(name, counts)

    def _conclude_face(self, name: str, counts: Array) -> None:
        every = np.concatenate([counts, counts.sum(axis=2, keepdims=True)], axis=2)
        estimate = estimate_mean(every, self.lengths)
        columns = (*self.names, "all")
        for key, table in (("coverage", estimate.mean), ("coverage_err", estimate.error)):
            self.results[key][name] = {
                adsorbate: dict(zip(columns, row.tolist(), strict=True))
                for adsorbate, row in zip(ADSORBATES, table, strict=True)
            }
        if name == "both":
            self.note(estimate, "coverage")

    # -- output --------------------------------------------------------------------------------

    def tables(self) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Columns of ``coverage`` (by site) for each face, and of ``coverage_series``."""
        r = self.results
        found: dict[str, dict[str, npt.NDArray[Any]]] = {}
        series: dict[str, npt.NDArray[Any]] = {"time_ps" if self.times_known else "frame": r.time}
        for face in ("both", *(name for name in r.coverage if name != "both")):
            suffix = "" if face == "both" else f"_{face}"
            numbers = list(r.sites[face].values())
            table: dict[str, npt.NDArray[Any]] = {
                "site": np.array([*r.sites[face], "all"]),
                "sites_per_metal_atom": np.array([*numbers, sum(numbers)]),
            }
            for adsorbate in ADSORBATES:
                for end in ("", "_err"):
                    values = r[f"coverage{end}"][face][adsorbate]
                    table[f"{adsorbate}_ML{end}"] = np.array(list(values.values()))
                series[f"{adsorbate}{suffix}_ML"] = r.series[face][adsorbate]
            found[f"coverage{suffix}"] = table
        return {**found, "coverage_series": series}

    def draw(self, figure: Figure) -> None:
        """Coverage by site and adsorbate, and the coverage against time."""
        r = self.results
        bars, lines = figure.subplots(2, 1)
        coverage, errors = r.coverage["both"], r.coverage_err["both"]
        shown = [a for a in ADSORBATES if coverage[a]["all"] > 0.0] or ["H2O"]
        thick = 0.8 / len(shown)
        for k, adsorbate in enumerate(shown):
            values = [coverage[adsorbate][site] for site in self.names]
            error = np.nan_to_num([errors[adsorbate][site] for site in self.names])
            place = np.arange(len(values)) + (k - 0.5 * (len(shown) - 1)) * thick
            bars.bar(place, values, thick, yerr=error if error.any() else None, capsize=2.0,
                     label=adsorbate)  # fmt: skip
            lines.plot(r.time, r.series["both"][adsorbate], lw=0.8, label=adsorbate)
        bars.set_xticks(range(len(self.names)), [name.replace("_", " ") for name in self.names])
        bars.set(ylabel="coverage (ML)")
        draw_legend(bars)
        lines.set(xlabel="time (ps)" if self.times_known else "frame", ylabel="coverage (ML)")
        lines.set_ylim(bottom=0.0)
