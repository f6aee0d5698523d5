"""Hydrogen bonds between water, hydroxide and hydronium near an electrode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from voltase.analysis.base import Contribution, InterfaceAnalysis
from voltase.analysis.blocks import estimate_mean, estimate_ratio
from voltase.analysis.density import FACE_NAMES
from voltase.analysis.drawing import draw_band, draw_legend
from voltase.analysis.neighbours import Pairs, find_pairs
from voltase.analysis.orientation import DEFAULT_LAYERS, checked_layers
from voltase.analysis.scene import Scene, bin_index
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ANGLES = {"HOO": 30.0, "DHA": 150.0}
"""Default limits in degrees: of the angle H-O...O at the donor, which is smaller in a bond, and of
the angle D-H...A at the hydrogen, which is larger."""
DONATED, ACCEPTED = 3, 4
"""Most bonds that the distribution tells apart; the last entries mean so many or more."""
SPECIES = ("OH", "H2O", "H3O")
"""By number of hydrogens, from one."""
SHOWN_KINDS = 6
"""Kinds of molecules in the figure."""
SMALLEST_SHARE = 0.02
"""Kinds rarer than that in every layer are not in the figure."""


class Bonds(NamedTuple):
    """Hydrogen bonds of one frame.

    Attributes
    ----------
    donors, acceptors, hydrogens : ndarray (n_bonds,)
        Atoms.
    """

    donors: Indices
    acceptors: Indices
    hydrogens: Indices


def kind_name(donated: int, accepted: int) -> str:
    """Name of a molecule by its bonds, such as DDAA; ``none`` without any."""
    return "D" * donated + "A" * accepted or "none"


def find_bonds(scene: Scene, distance: float, angle: float, definition: str = "HOO") -> Bonds:
    """Hydrogen bonds between oxygens that carry one to three hydrogens.

    A bond is a hydrogen, the oxygen it belongs to and another oxygen. A hydrogen between two
    acceptors that both meet the criterion makes two bonds.

    Parameters
    ----------
    scene : Scene
    distance : float
        Longest O...O, A.
    angle : float
        Limit in degrees: H-O...O is smaller (``HOO``), D-H...A is larger (``DHA``).
    definition : {"HOO", "DHA"}
    """
    oxygen, pairs = _oxygen_pairs(scene, distance)
    owner = scene.species.owner
    hydrogen = np.flatnonzero(owner >= 0)
    hydrogen = hydrogen[np.argsort(owner[hydrogen], kind="stable")]
    vectors = scene.shortest(scene.positions[hydrogen] - scene.positions[owner[hydrogen]])
    start = np.searchsorted(owner[hydrogen], np.arange(len(owner) + 1))
    limit = float(np.cos(np.deg2rad(angle)))
    found = _search(oxygen, pairs, are_molecules(scene), hydrogen, vectors, start, distance, limit,
                    definition == "HOO")  # fmt: skip
    return Bonds(*found)


def are_molecules(scene: Scene) -> Mask:
    """Oxygens of OH-, H2O and H3O+, a mask (n_atoms,)."""
    hydrogens = scene.species.hydrogens
    return np.asarray((hydrogens >= 1) & (hydrogens <= 3) & ~scene.species.in_oxyanion)


def _oxygen_pairs(scene: Scene, distance: float) -> tuple[Indices, Pairs]:
    """Oxygens, and the pairs among them; an oxide's own oxygens only if some carry hydrogen."""
    oxygen = scene.of_element("O")
    carrying = np.flatnonzero(scene.interface.slab & (scene.species.hydrogens > 0))
    if len(carrying) == 0 or scene.interface.slab[oxygen].any():
        return oxygen, scene.pairs("O", "O", distance)
    oxygen = np.union1d(oxygen, carrying)
    return oxygen, find_pairs(scene.cell, scene.positions[oxygen], None, distance)


@numba.njit(cache=True)
def _search(oxygen: Indices, pairs: Pairs, member: Mask, hydrogen: Indices, bonds: Array,
            start: Indices, distance: float, limit: float, at_donor: bool
            ) -> tuple[Indices, Indices, Indices]:  # fmt: skip
    """Donors, acceptors and hydrogens; those of oxygen k begin at start[k], bonds are O to H."""
    size = 2 * len(hydrogen) + 16
    found = np.empty((3, size), np.int64)
    count = 0
    for k in range(len(pairs.first)):
        i, j = oxygen[pairs.first[k]], oxygen[pairs.second[k]]
        if pairs.distances[k] > distance or not (member[i] and member[j]):
            continue
        for turn in range(2):
            donor, acceptor = (i, j) if turn == 0 else (j, i)
            sign = 1.0 if turn == 0 else -1.0
            for h in range(start[donor], start[donor + 1]):
                product, bond2, other2 = 0.0, 0.0, 0.0
                for axis in range(3):
                    bond = bonds[h, axis]
                    other = sign * pairs.vectors[k, axis]
                    if not at_donor:
                        other -= bond
                        bond = -bond
                    product += bond * other
                    bond2 += bond * bond
                    other2 += other * other
                cosine = product / np.sqrt(bond2 * other2)
                if (cosine > limit) != at_donor:
                    continue
                if count == size:
                    found = np.concatenate((found, np.empty_like(found)), axis=1)
                    size *= 2
                found[0, count] = donor
                found[1, count] = acceptor
                found[2, count] = hydrogen[h]
                count += 1
    return found[0, :count], found[1, :count], found[2, :count]


class HydrogenBonds(InterfaceAnalysis):
    """Donated and accepted hydrogen bonds, by layer and against the distance from the surface.

    Donors and acceptors are the oxygens of H2O, OH- and H3O+, as found in each frame; an oxide's
    hydroxyls are among them. The default criterion, O...O below 3.5 A and H-O...O below 30
    degrees, is that of Luzar and Chandler, doi:10.1038/379055a0. A molecule is where its oxygen
    is, and counts for the nearer wet face.

    Parameters
    ----------
    source : Universe or AtomGroup
    distance : float
        Longest O...O of a bond, A.
    angle : float, optional
        Limit in degrees; by default 30 for ``HOO``, 150 for ``DHA``.
    definition : {"HOO", "DHA"}
        Which angle: H-O...O at the donor, below the limit, or D-H...A at the hydrogen, above it.
    layers : sequence of float
        Outer ends of the layers, A from the surface, ascending.
    width : float
        Of the bins of distance, A.
    **options
        See `InterfaceAnalysis`.

    Attributes
    ----------
    results.bonds, results.bonds_err : float
        Mean number of bonds in a frame.
    results.layers : list of (float, float)
        Ends of the layers, A.
    results.by_layer : dict
        By face (``lower``, ``upper``, those that are wet, and ``both``), each a dict of
        ``donated``, ``accepted`` (n_layers,), bonds per molecule, not a number where there are no
        molecules; ``molecules`` (n_layers,), their mean number, of ``both`` per face; all with
        ``_err``.
    results.distribution, results.distribution_err : dict
        By face: ndarray (n_layers, 4, 5), shares of molecules with so many bonds donated and
        accepted, which add up to one in a layer; the last entries mean so many or more.
        `kind_name` has their names, such as DDAA.
    results.between, results.between_err : dict
        By face: ndarray (n_layers + 1, n_layers + 1), mean number of bonds per face from a donor
        in one layer to an acceptor in another; the last is the rest of the liquid. The face is
        the donor's, and both distances are from it.
    results.distance : ndarray (n_bins,)
        Middles of the bins, A from the surface layer outwards.
    results.profiles : dict
        By face: a dict of ``donated``, ``accepted`` (n_bins,) and their ``_err``.
    results.species : dict
        By species (OH, H2O, H3O) over all frames: a dict of ``donated``, ``accepted`` per
        molecule and ``molecules``, the mean number in a frame, with ``_err``.

    Raises
    ------
    InputError
        If an argument is out of range, no face is wet, or the distance exceeds half the cell's
        smallest width.
    """

    def __init__(self, source: Any, *, distance: float = 3.5, angle: float | None = None,
                 definition: str = "HOO", layers: Sequence[float] = DEFAULT_LAYERS,
                 width: float = 0.2, **options: Any) -> None:  # fmt: skip
        super().__init__(source, **options)
        if definition not in ANGLES:
            raise InputError(f"definition: found {definition!r}, expected HOO or DHA")
        if not 2.0 <= distance <= 6.0:
            raise InputError(f"distance: found {distance:g} A, expected 2 to 6 A")
        angle = ANGLES[definition] if angle is None else float(angle)
        if not 0.0 < angle < 180.0:
            raise InputError(f"angle: found {angle:g}, expected degrees between 0 and 180")
        if not 1e-3 <= width <= 5.0:
            raise InputError(f"width: found {width:g} A, expected 0.001 to 5 A")
        self.longest, self.angle, self.definition = float(distance), angle, definition
        self.ends, self.width = checked_layers(layers), float(width)

    def prepare(self, scene: Scene) -> None:
        """Bins up to the middle of the film, or over all of it if one face alone is wet."""
        faces = scene.interface.faces
        if not faces:
            raise InputError("electrode: neither of its faces has water nearby, expected one")
        self.bins = int(np.ceil(scene.gap / len(faces) / self.width))

    def observe(self, scene: Scene) -> tuple[Contribution, Contribution]:
        """Sums over the molecules and bonds of one frame."""
        bonds = find_bonds(scene, self.longest, self.angle, self.definition)
        size = len(scene.numbers)
        donated = np.bincount(bonds.donors, minlength=size)
        accepted = np.bincount(bonds.acceptors, minlength=size)
        hydrogens = scene.species.hydrogens
        molecule = np.flatnonzero(are_molecules(scene))
        summed: Contribution = {
            "bonds": len(bonds.donors),
            "species": np.stack([
                np.bincount(hydrogens[molecule] - 1, weights, minlength=3)
                for weights in (None, donated[molecule], accepted[molecule])
            ]),
        }  # fmt: skip
        for face in scene.interface.faces:
            far = scene.distance(face)
            near = molecule[scene.face_of[molecule] == face]
            layer = layer_of(far, self.ends)
            mine = scene.face_of[bonds.donors] == face
            summed.update(self._of_face(
                FACE_NAMES[face], far[near], layer[near], donated[near], accepted[near],
                layer[bonds.donors[mine]], layer[bonds.acceptors[mine]],
            ))  # fmt: skip
        return summed, {}

    def _of_face(self, name: str, far: Array, layer: Indices, donated: Indices, accepted: Indices,
                 start: Indices, end: Indices) -> Contribution:  # fmt: skip
        rows, n = len(self.ends) + 1, self.bins
        bins = bin_index(far, self.width, n)
        inside = (bins >= 0) & (bins < n)
        shape = (rows, DONATED + 1, ACCEPTED + 1)
        cell = np.ravel_multi_index(
            (layer, np.minimum(donated, DONATED), np.minimum(accepted, ACCEPTED)), shape
        )
        profile, layers = (
            np.stack([
                np.bincount(index, weights, minlength=length)
                for weights in (None, donated[kept], accepted[kept])
            ])
            for index, kept, length in ((bins[inside], inside, n), (layer, slice(None), rows))
        )  # fmt: skip
        return {
            f"{name} profile": profile,
            f"{name} layers": layers[:, :-1],
            f"{name} kinds": np.bincount(cell, minlength=np.prod(shape)).reshape(shape)[:-1],
            f"{name} between": np.bincount(start * rows + end, minlength=rows * rows)
            .reshape(rows, rows),
        }  # fmt: skip

    def conclude(self) -> None:
        """Means, shares and their errors."""
        results, lengths = self.results, self.lengths
        assert self.interface is not None
        results.distance = (np.arange(self.bins) + 0.5) * self.width
        results.layers = list(zip([0.0, *self.ends[:-1].tolist()], self.ends.tolist(), strict=True))
        bonds = estimate_mean(self.sums("bonds"), lengths)
        self.note(bonds, "bonds")
        results.bonds, results.bonds_err = float(bonds.mean), float(bonds.error)
        results.species = {
            name: {key: float(value) for key, value in table.items()}
            for name, table in zip(
                SPECIES, (self._means(self.sums("species")[:, :, k], 1) for k in range(3)),
                strict=True,
            )
        }  # fmt: skip
        results.by_layer, results.profiles = {}, {}
        for key in ("distribution", "between"):
            results[key], results[f"{key}_err"] = {}, {}
        names = [FACE_NAMES[k] for k in self.interface.faces]
        parts = ("profile", "layers", "kinds", "between")
        for name in names:
            self._conclude_face(name, {p: self.sums(f"{name} {p}") for p in parts}, 1)
        both = {p: np.sum([self.sums(f"{name} {p}") for name in names], axis=0) for p in parts}
        self._conclude_face("both", both, len(names))

    def _conclude_face(self, name: str, sums: dict[str, Array], faces: int) -> None:
        results, lengths = self.results, self.lengths
        results.by_layer[name] = self._means(sums["layers"], faces)
        profile = self._means(sums["profile"], faces)
        results.profiles[name] = {k: v for k, v in profile.items() if "molecules" not in k}
        shares = estimate_ratio(sums["kinds"], sums["kinds"].sum(axis=(2, 3), keepdims=True),
                                lengths)  # fmt: skip
        results.distribution[name], results.distribution_err[name] = shares.mean, shares.error
        between = estimate_mean(sums["between"] / faces, lengths)
        results.between[name], results.between_err[name] = between.mean, between.error

    def _means(self, sums: Array, faces: int) -> dict[str, Array]:
        """Of sums (n_chunks, 3, ...) of molecules, bonds donated and bonds accepted."""
        lengths, table = self.lengths, {}
        for k, key in ((1, "donated"), (2, "accepted")):
            estimate = estimate_ratio(sums[:, k], sums[:, 0], lengths)
            table[key], table[f"{key}_err"] = estimate.mean, estimate.error
        number = estimate_mean(sums[:, 0] / faces, lengths)
        return {**table, "molecules": number.mean, "molecules_err": number.error}

    # -- output --------------------------------------------------------------------------------

    def tables(self) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Columns of ``hbonds`` (profiles), ``_layers``, ``_kinds``, ``_between``, and ``_mean``.

        All are by face but ``hbonds_mean``, one row of the bonds in a frame and by species.
        """
        r = self.results
        low, high = np.array(r.layers).T
        found: dict[str, dict[str, npt.NDArray[Any]]] = {}
        for face in ("both", *(name for name in r.profiles if name != "both")):
            suffix = "" if face == "both" else f"_{face}"
            kinds: dict[str, npt.NDArray[Any]] = {"from_A": low, "to_A": high}
            for d, a in np.ndindex(DONATED + 1, ACCEPTED + 1):
                kinds[kind_name(d, a)] = r.distribution[face][:, d, a]
                kinds[f"{kind_name(d, a)}_err"] = r.distribution_err[face][:, d, a]
            start, end = np.divmod(np.arange((len(low) + 1) ** 2), len(low) + 1)
            found[f"hbonds{suffix}"] = {"z_A": r.distance, **r.profiles[face]}
            found[f"hbonds_layers{suffix}"] = {"from_A": low, "to_A": high, **r.by_layer[face]}
            found[f"hbonds_kinds{suffix}"] = kinds
            found[f"hbonds_between{suffix}"] = {
                "donor_layer": start + 1, "acceptor_layer": end + 1,
                "bonds": r.between[face].ravel(), "bonds_err": r.between_err[face].ravel(),
            }  # fmt: skip
        mean = {"bonds": r.bonds, "bonds_err": r.bonds_err}
        for name, table in r.species.items():
            mean |= {f"{name}_{key}": value for key, value in table.items()}
        found["hbonds_mean"] = {key: np.array([value]) for key, value in mean.items()}
        return found

    def draw(self, figure: Figure) -> None:
        """Bonds per molecule against the distance, and kinds of molecules in each layer."""
        r = self.results
        profile, bars = figure.subplots(2, 1)
        for key in ("donated", "accepted"):
            found = r.profiles["both"]
            draw_band(profile, r.distance, found[key], found[f"{key}_err"], key)
        profile.set(xlabel="distance (Å)", ylabel="bonds per molecule")
        profile.set_ylim(bottom=0.0)
        draw_legend(profile)
        shares, errors = r.distribution["both"], r.distribution_err["both"]
        highest = np.nan_to_num(shares).max(axis=0).ravel()
        ranked = np.argsort(-highest, kind="stable")[:SHOWN_KINDS]
        shown = [int(k) for k in ranked if highest[k] >= SMALLEST_SHARE]
        thick = 0.8 / len(r.layers)
        for k, (start, end) in enumerate(r.layers):
            place = np.arange(len(shown)) + (k - 0.5 * (len(r.layers) - 1)) * thick
            error = np.nan_to_num(errors[k].ravel()[shown])
            bars.bar(place, shares[k].ravel()[shown], thick, yerr=error if error.any() else None,
                     capsize=2.0, label=f"{start:g} to {end:g} Å")  # fmt: skip
        names = [kind_name(*divmod(k, ACCEPTED + 1)) for k in shown]
        bars.set_xticks(range(len(shown)), names)
        bars.set(ylabel="share of the molecules", xlabel="bonds donated (D) and accepted (A)")
        draw_legend(bars)


def layer_of(distance: Array, ends: Array) -> Indices:
    """Layer (n,) of distances from a face; the number of layers for those beyond the last."""
    # Nothing is nearer than zero but what has sunk between the surface's atoms.
    return np.searchsorted(ends, np.maximum(distance, 0.0), side="right")
