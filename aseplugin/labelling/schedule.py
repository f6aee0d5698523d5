"""Which points a structure gets, in which order, and where the search for a potential begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ase import Atoms

from voltase.aseplugin.labelling.structures import Structure

DECIMALS = 6
"""Electron numbers are rounded to so many decimals, so that a file's name tells them."""


class Wanted(NamedTuple):
    """A point that was asked for, at n (e) or at an absolute potential (V)."""

    key: str
    excess_electrons: float | None
    potential: float | None


@dataclass(frozen=True)
class Task:
    """A structure with all its points, which one process works on.

    Attributes
    ----------
    geometry, name, where : str
        See `Structure`.
    atoms : Atoms
    electrons : tuple of float
        Excess electrons n, e.
    potentials : tuple of float
        Absolute, V.
    """

    geometry: str
    name: str
    where: str
    atoms: Atoms
    electrons: tuple[float, ...] = ()
    potentials: tuple[float, ...] = ()

    @classmethod
    def of(cls, structure: Structure, electrons: Iterable[float] = (),
           potentials: Iterable[float] = ()) -> Task:  # fmt: skip
        """The task of a structure, each point once."""
        return cls(
            structure.geometry,
            structure.name,
            structure.where,
            structure.atoms,
            tuple(dict.fromkeys(map(rounded, electrons))),
            tuple(dict.fromkeys(map(rounded, potentials))),
        )

    @property
    def wanted(self) -> dict[str, Wanted]:
        """What was asked for, by its key."""
        points = [Wanted(electrons_key(n), n, None) for n in self.electrons]
        points += [Wanted(potential_key(phi), None, phi) for phi in self.potentials]
        return {point.key: point for point in points}


def rounded(value: float) -> float:
    """An electron number as it is calculated and stored; a potential likewise."""
    return round(float(value), DECIMALS) + 0.0


def number_text(value: float) -> str:
    """Such as ``+0.3``, ``-0.25``, ``+0``; tells any two rounded numbers apart."""
    return f"{value:+.{DECIMALS}f}".rstrip("0").rstrip(".")


def electrons_key(n: float) -> str:
    """Name of a point at n, e."""
    return f"n{number_text(n)}"


def potential_key(phi: float) -> str:
    """Name of a point asked for at an absolute potential, V."""
    return f"phi{number_text(phi)}"


def order_outwards(values: Iterable[float], start: float = 0.0) -> list[float]:
    """From the value nearest ``start`` along its nearer side, then along the other.

    So wave functions go from each point to a neighbour, with one jump at most.
    """
    chosen = sorted(set(values))
    if not chosen:
        return []
    middle = chosen.index(min(chosen, key=lambda value: abs(value - start)))
    below, above = chosen[:middle][::-1], chosen[middle + 1 :]
    below_first = bool(below) and (not above or start - below[-1] < above[-1] - start)
    sides = (below, above) if below_first else (above, below)
    return [chosen[middle], *sides[0], *sides[1]]


def first_guess(
    known: Sequence[tuple[float, float]], target: float, capacitance: float
) -> tuple[float, float]:
    """Where to look for a potential first.

    Parameters
    ----------
    known : sequence of (float, float)
        n (e) and absolute Phi (V) of the points of this geometry.
    target : float
        Absolute, V.
    capacitance : float
        Guess of -dn/dPhi, e/V.

    Returns
    -------
    float
        n, e; 0 if no point is known.
    float
        The guess, or what the two points nearest the target say, e/V.
    """
    if not known:
        return 0.0, capacitance
    nearest, *others = sorted(known, key=lambda point: abs(point[1] - target))
    for other in others[:1]:
        change = other[1] - nearest[1]
        if change and (nearest[0] - other[0]) / change > 0:
            capacitance = (nearest[0] - other[0]) / change
    return nearest[0] + capacitance * (nearest[1] - target), capacitance
