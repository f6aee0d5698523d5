"""Readers that make MDAnalysis read ASE trajectories, with their cells and charges.

Importing this package registers them, so that ``MDAnalysis.Universe("md.traj")`` works; for
everything else there is :func:`load`. MDAnalysis's own reader of ``.xyz`` files stays in place.
"""

from voltase.analysis.readers.ase_traj import TrajParser, TrajReader
from voltase.analysis.readers.atoms_list import AtomsList, AtomsListParser, AtomsListReader
from voltase.analysis.readers.extxyz import ExtxyzParser, ExtxyzReader
from voltase.analysis.readers.loading import load

__all__ = [
    "AtomsList",
    "AtomsListParser",
    "AtomsListReader",
    "ExtxyzParser",
    "ExtxyzReader",
    "TrajParser",
    "TrajReader",
    "load",
]
