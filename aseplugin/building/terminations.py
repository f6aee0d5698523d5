"""Where a crystal may end: the planes that can be outermost, and slabs between two of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from voltase.aseplugin.building.contacts import NONMETALS
from voltase.aseplugin.building.planes import Stacking
from voltase.aseplugin.errors import InputError

LARGEST_LAYERS = 200


@dataclass(frozen=True)
class Termination:
    """A way to end a slab.

    Attributes
    ----------
    index : int
        Place in the list.
    name : str
        ``stoichiometric``, ``O-rich``, ``metal-rich`` and so on by the composition of a slab with
        two such faces; ``Zn-terminated`` where no slab has two; ``cut1``, ``cut2`` in crystals of
        one element. The most natural cut, across the widest gap, comes first.
    plane : int
        The outermost one.
    formula : str
        Of the outermost plane in one surface cell.
    gap : float
        In A, to the next plane further out in the crystal.
    symmetric : bool
        Whether a slab can end in this way on both faces.
    """

    index: int
    name: str
    plane: int
    formula: str
    gap: float
    symmetric: bool


def find_terminations(stacking: Stacking) -> list[Termination]:
    """All different terminations of a facet; stoichiometric ones first."""
    found = []
    for plane in range(stacking.planes_per_layer):
        gap = stacking.height(plane + 1) - stacking.height(plane)
        symmetric = stacking.opposite(plane) is not None
        found.append(Termination(0, _name(stacking, plane), plane, stacking.formula(plane),
                                 gap, symmetric))  # fmt: skip
    found.sort(key=lambda t: (t.name != "stoichiometric", -round(t.gap, 3), t.plane))
    totals, seen = Counter(t.name for t in found), Counter[str]()
    result = []
    for index, termination in enumerate(found):
        name = termination.name
        seen[name] += 1
        if name == "cut" or totals[name] > 1:
            name = f"{name}{seen[name]}"
        result.append(replace(termination, index=index, name=name))
    return result


def choose_termination(found: list[Termination], wanted: int | str | None) -> Termination:
    """The termination of an index or a name; the first by default.

    Raises
    ------
    InputError
        If there is none.
    """
    if wanted is None:
        return found[0]
    text = str(wanted).strip().lower()
    for termination in found:
        if text in (str(termination.index), termination.name.lower()):
            return termination
    listed = ", ".join(f"{t.index} ({t.name})" for t in found)
    raise InputError(f"termination: got {wanted!r}, expected one of {listed}")


def slab_planes(stacking: Stacking, termination: Termination, layers: int, whole: bool = False
                ) -> tuple[int, int]:  # fmt: skip
    """The lowest and the highest plane of a slab.

    Two faces of the same termination if the crystal allows it: then the slab may have a few atoms
    more or fewer than whole layers, the fewest possible. Otherwise whole layers.

    Parameters
    ----------
    stacking : Stacking
    termination : Termination
        Of the upper face.
    layers : int
    whole : bool
        Take whole layers in any case, whatever ends the slab below.

    """
    upper = termination.plane + layers * len(stacking.planes)
    step = stacking.planes_per_layer
    opposite = stacking.opposite(upper)
    if whole or opposite is None:
        return upper - layers * step + 1, upper
    wanted = layers * stacking.atoms_per_layer
    # All planes that end the slab below in the same way differ by whole layers.
    first = upper - (upper - opposite) % step
    lowest = [first - k * step for k in range(layers + 2)]
    sizes = [sum(stacking.count(low, upper).values()) for low in lowest]
    return lowest[int(np.argmin([abs(size - wanted) for size in sizes]))], upper


def _name(stacking: Stacking, plane: int) -> str:
    """Name of a termination, without a number."""
    bulk = stacking.count(0, len(stacking.planes) - 1)
    if len(bulk) == 1:
        return "cut"
    opposite = stacking.opposite(plane)
    if opposite is None:
        return f"{stacking.formula(plane)}-terminated"
    step = stacking.planes_per_layer
    slab = stacking.count(plane - (plane - opposite) % step - 4 * step, plane)
    shares = {symbol: slab[symbol] / bulk[symbol] for symbol in bulk}
    if max(shares.values()) - min(shares.values()) < 1e-9:
        return "stoichiometric"
    richest = max(shares, key=lambda symbol: (shares[symbol], symbol))
    metals = [symbol for symbol in bulk if symbol not in NONMETALS]
    return "metal-rich" if metals == [richest] else f"{richest}-rich"
