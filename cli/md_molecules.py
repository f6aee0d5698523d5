"""Whether a run broke or formed molecules, which no summary should pass over."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

LOG = logging.getLogger(__name__)
_KINDS = ("H2O", "OH", "H3O", "O", "H")


def count_molecules(atoms: "Atoms") -> dict[str, int]:
    """H2O, OH, H3O, bare O and H outside the slab; empty where there is no slab to tell apart."""
    from voltase.analysis.cells import standardise_cell
    from voltase.analysis.interface import find_slab
    from voltase.analysis.species import count_species, find_species

    try:
        standard = standardise_cell(atoms.cell.complete().array)
        positions, numbers = standard.turn(atoms.positions), atoms.numbers
        slab = find_slab(standard.cell, positions, numbers)
    except InputError:
        return {}
    species = find_species(standard.cell, positions, numbers, slab)
    counts = count_species(species, standard.cell, positions, numbers, slab)
    return {kind: counts[kind] for kind in _KINDS}


def compare_molecules(trajectory: Path, last: "Atoms") -> dict[str, dict[str, int]] | None:
    """Molecules at the start of a trajectory and now; a warning if they differ.

    Parameters
    ----------
    trajectory : Path
        Its first frame is the start; without it there is no answer.
    last : Atoms
    """
    from ase.io import read

    if not trajectory.is_file():
        return None
    first = read(trajectory, 0)
    found = {"first": count_molecules(first), "last": count_molecules(last)}  # type: ignore[arg-type]
    if not found["first"] or not found["last"]:
        return None
    if found["first"] != found["last"]:
        now = ", ".join(f"{n} {kind}" for kind, n in found["last"].items() if n)
        LOG.warning(
            "molecules: %d H2O at the start, now %s: bonds have broken or formed, which a model "
            "must have been trained for", found["first"]["H2O"], now,
        )  # fmt: skip
    return found
