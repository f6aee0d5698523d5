"""The structures to be labelled: reading them, naming them, and what makes two of them one."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.io.formats import parse_filename

from voltase.aseplugin.errors import InputError

_DECIMALS = 6
"""Positions that agree to so many decimals (A) are one geometry."""


@dataclass(frozen=True)
class Structure:
    """One structure to be labelled.

    Attributes
    ----------
    atoms : Atoms
        As the engine gets it: elements, positions, cell, periodicity and initial magnetic moments.
    name : str
        Begins the ``source`` of its labels.
    where : str
        Such as ``md.traj@12``.
    own_electrons : tuple of float
        ``info["excess_electrons"]`` of all frames with this geometry, e.
    """

    atoms: Atoms
    name: str
    where: str
    own_electrons: tuple[float, ...] = ()

    @property
    def geometry(self) -> str:
        """Hash of what decides a label besides n; with a letter first, so that it stays text."""
        atoms = self.atoms
        digest = hashlib.sha256(atoms.numbers.astype(np.int64).tobytes())
        moments = atoms.get_initial_magnetic_moments()
        for values in (atoms.positions, atoms.cell.array, moments):
            # Adding zero turns -0.0 into 0.0.
            digest.update((np.round(values, _DECIMALS) + 0.0).astype(np.float64).tobytes())
        digest.update(bytes(map(int, atoms.pbc)))
        return f"g{digest.hexdigest()[:12]}"


def read_structures(
    files: Sequence[str], place: Callable[[Atoms], Atoms] | None = None
) -> list[Structure]:
    """Every frame of every file; equal geometries come once.

    Parameters
    ----------
    files : sequence of str
        Anything that ASE reads; all frames of it, or those of a slice: ``md.traj@::10``.
    place : callable, optional
        Puts the atoms in the cell of the calculation.

    Raises
    ------
    InputError
        If a file cannot be read or has no such frame, or a structure cannot be used.
    """
    found: dict[str, Structure] = {}
    for file in files:
        for number, atoms in numbered_frames(file):
            path = _parse(file)[0]
            where = f"{path}@{number}"
            name = f"{re.sub('[^A-Za-z0-9_+-]+', '-', Path(path).stem)}-{number}"
            structure = Structure(_prepared(atoms, place, where), name, where, _own(atoms, where))
            first = found.setdefault(structure.geometry, structure)
            if first is not structure:
                own = first.own_electrons + structure.own_electrons
                found[structure.geometry] = replace(first, own_electrons=own)
    if not found:
        raise InputError("STRUCTURES: got none, expected files with structures")
    return list(found.values())


def _parse(file: str) -> tuple[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path, index = parse_filename(file)
    return str(path), index


def numbered_frames(file: str) -> Iterator[tuple[int, Atoms]]:
    """Numbers in the file and frames, of all or of a slice: ``md.traj@::10``.

    Raises
    ------
    InputError
        If the file cannot be read, or has no such frame.
    """
    path, index = _parse(file)
    if isinstance(index, str):
        raise InputError(f"STRUCTURES: got the frames {index!r} of {path}, expected such as @::10")
    if isinstance(index, int):
        index = slice(index, index + 1 or None)
    chosen = slice(None) if index is None else index
    parts = (chosen.start or 0, chosen.stop or 0, chosen.step or 1)
    # Counted from the end, the numbers need the length of the file.
    whole = min(parts) < 0
    try:
        images = ase.io.read(path, slice(None) if whole else chosen)
    except FileNotFoundError:
        raise InputError(f"STRUCTURES: {path} not found") from None
    # Readers of some eighty formats raise whatever they stumble over.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"STRUCTURES: {path} cannot be read ({reason})") from error
    if whole:
        numbers = range(len(images))[chosen]
        images = images[chosen]
    else:
        numbers = range(parts[0], parts[0] + parts[2] * len(images), parts[2])
    if not images:
        raise InputError(f"STRUCTURES: {file} has no frame")
    return zip(numbers, images, strict=True)


def _prepared(atoms: Atoms, place: Callable[[Atoms], Atoms] | None, where: str) -> Atoms:
    """A copy that has nothing but what decides a label."""
    if len(atoms) == 0:
        raise InputError(f"STRUCTURES: {where} has no atoms")
    if not np.isfinite(atoms.positions).all():
        raise InputError(f"STRUCTURES: {where} has positions that are not finite")
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if atoms.has("initial_magmoms"):
        bare.set_initial_magnetic_moments(atoms.get_initial_magnetic_moments())
    if place is None:
        return bare
    try:
        return place(bare)
    except InputError as error:
        raise InputError(f"STRUCTURES: {where}: {error}") from error


def _own(atoms: Atoms, where: str) -> tuple[float, ...]:
    found = atoms.info.get("excess_electrons")
    if found is None:
        return ()
    try:
        number = float(found)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise InputError(f"STRUCTURES: {where} has excess_electrons {found!r}, expected a number")
    return (number,)
