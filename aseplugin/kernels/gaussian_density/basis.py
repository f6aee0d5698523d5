"""Atom-centred Gaussians: which functions an element has, and how coefficients are ordered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gamma, isfinite, pi

import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers, chemical_symbols

from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
HIGHEST_DEGREE = 8
"""Of a shell; far above what densities need, and exact in the arithmetic of the harmonics."""


@dataclass(frozen=True)
class Shell:
    """2l + 1 functions N r^l Y_lm exp(-alpha r^2) of one degree and exponent.

    N makes the radial part integrate to one, int 4 pi r^2 N r^l exp(-alpha r^2) dr = 1, so that
    coefficients of every degree and exponent count electrons; those of l = 0 are the electrons.

    Attributes
    ----------
    degree : int
        l.
    exponent : float
        alpha, A^-2.
    """

    degree: int
    exponent: float

    @property
    def size(self) -> int:
        """Number of functions."""
        return 2 * self.degree + 1

    @property
    def norm(self) -> float:
        """N in A^-(3 + l)."""
        half = 0.5 * (self.degree + 3)
        return float(self.exponent**half / (2.0 * pi * gamma(half)))


class GaussianBasis:
    """Shells of each element, and the order of the coefficients of a structure.

    Coefficients are one flat array: atom by atom; in an atom shell by shell, as given here; in a
    shell m = -l ... l in e3nn's order (polar axis y: for l = 1 x, y, z) and normalisation
    ("component", Y_00 = 1). A coefficient is in electrons, see `Shell`.

    Parameters
    ----------
    shells : mapping
        Chemical symbol to a sequence of (l, exponent in A^-2).

    Raises
    ------
    InputError
        If a symbol is unknown, or a degree or an exponent cannot be used.
    """

    def __init__(self, shells: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        self._shells: dict[int, tuple[Shell, ...]] = {}
        for symbol, rows in shells.items():
            if symbol not in atomic_numbers:
                raise InputError(f"shells: found '{symbol}', expected chemical symbols")
            if not rows:
                raise InputError(f"shells: found none for {symbol}, expected one or more")
            self._shells[atomic_numbers[symbol]] = tuple(_shell(symbol, *row) for row in rows)

    def shells(self, number: int) -> tuple[Shell, ...]:
        """Shells of an element.

        Raises
        ------
        InputError
            If it has none.
        """
        try:
            return self._shells[int(number)]
        except KeyError:
            known = ", ".join(chemical_symbols[z] for z in self._shells)
            raise InputError(
                f"numbers: found {chemical_symbols[int(number)]}, expected one of {known}"
            ) from None

    @property
    def highest_degree(self) -> int:
        """Largest l of all shells."""
        return max(shell.degree for shells in self._shells.values() for shell in shells)

    def to_dict(self) -> dict[str, list[tuple[int, float]]]:
        """Symbol to rows (l, exponent), from which the basis can be made again."""
        return {
            chemical_symbols[z]: [(shell.degree, shell.exponent) for shell in shells]
            for z, shells in self._shells.items()
        }

    def size(self, number: int) -> int:
        """Number of functions of an atom of an element."""
        return sum(shell.size for shell in self.shells(number))

    def offsets(self, numbers: npt.ArrayLike) -> Indices:
        """Index (n_atoms + 1,) of the first coefficient of each atom, and their total.

        Parameters
        ----------
        numbers : array_like (n_atoms,)
            Atomic numbers.
        """
        z = np.asarray(numbers, dtype=np.int64).reshape(-1)
        sizes = {int(number): self.size(int(number)) for number in np.unique(z)}
        counts = np.array([sizes[int(number)] for number in z], dtype=np.int64)
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])

    def electron_weights(self, numbers: npt.ArrayLike) -> Array:
        """Integral (n_coefficients,) of each function over all space: 1 for l = 0, else 0.

        The number of electrons is its product with the coefficients.
        """
        rows = {z: np.concatenate([_weights(s) for s in shells])
                for z, shells in self._shells.items()}  # fmt: skip
        z = np.asarray(numbers, dtype=np.int64).reshape(-1)
        self.offsets(z)  # names an element that is not there
        return np.concatenate([np.zeros(0), *(rows[int(number)] for number in z)])


def _weights(shell: Shell) -> Array:
    return np.full(shell.size, 1.0 if shell.degree == 0 else 0.0)


def _shell(symbol: str, degree: int, exponent: float) -> Shell:
    if int(degree) != degree or not 0 <= degree <= HIGHEST_DEGREE:
        raise InputError(f"shells: found l = {degree} for {symbol}, expected 0 to {HIGHEST_DEGREE}")
    if not (isfinite(exponent) and exponent > 0.0):
        raise InputError(f"shells: found exponent {exponent} for {symbol}, expected above 0 A^-2")
    return Shell(int(degree), float(exponent))
