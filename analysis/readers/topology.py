"""The topology that atoms alone give: elements and masses, no molecules."""

from __future__ import annotations

from typing import Any

import numpy as np
from MDAnalysis.core.topology import Topology
from MDAnalysis.core.topologyattrs import (
    Atomids,
    Atomnames,
    Atomtypes,
    Elements,
    Masses,
    Resids,
    Resnames,
    Resnums,
    Segids,
)

from voltase.analysis.readers.frames import Array, Integers

WHOLE = "SYSTEM"
"""Name of the one residue and of the one segment."""


def topology_of(numbers: Integers, masses: Array) -> Any:
    """Topology of atoms in one residue of one segment.

    Parameters
    ----------
    numbers : ndarray (n,)
        Atomic numbers; names, types and elements are their symbols.
    masses : ndarray (n,)
        In u.

    Returns
    -------
    MDAnalysis.core.topology.Topology
    """
    from ase.data import chemical_symbols

    symbols = np.array([chemical_symbols[int(z)] for z in numbers], dtype=object)
    whole = np.array([WHOLE], dtype=object)
    attributes = [
        Atomids(np.arange(1, len(numbers) + 1)),
        Atomnames(symbols),
        Atomtypes(symbols.copy()),
        Elements(symbols.copy()),
        Masses(np.array(masses, dtype=np.float64)),
        Resids(np.array([1])),
        Resnums(np.array([1])),
        Resnames(whole),
        Segids(whole.copy()),
    ]
    return Topology(len(numbers), 1, 1, attrs=attributes)
