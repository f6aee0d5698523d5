"""Shells of each element, and the radial combinations of them that a model works in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gamma

import numpy as np
import numpy.typing as npt
from ase.units import Bohr

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.kernels.gaussian_density import GaussianBasis

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
RATIO = 1.8
"""Ratio of neighbouring exponents."""
METAL_SHELLS = (0.12, (2, 2, 3, 4, 4, 4, 4, 4, 1))
"""Smallest exponent in a0^-2 and the highest degree at each exponent, ascending. Without functions
as diffuse as that, a metal's response to its charge is wrong by a factor of two."""
OTHER_SHELLS = (0.2, (2, 3, 3, 2, 2, 1, 1))
HYDROGEN_SHELLS = (0.2, (1, 2, 2, 1, 1))
SMALLEST_EIGENVALUE = 1e-5
"""Of an overlap of normalised shells; combinations below it are left out."""


def even_tempered(smallest: float, degrees: Sequence[int], ratio: float = RATIO
                  ) -> list[tuple[int, float]]:  # fmt: skip
    """Shells (l, exponent in A^-2), by exponent and then by degree.

    Parameters
    ----------
    smallest : float
        Exponent in a0^-2.
    degrees : sequence of int
        Highest degree at each exponent, from the smallest exponent on.
    ratio : float
    """
    if not (smallest > 0.0 and ratio > 1.0 and degrees):
        raise InputError(
            f"shells: found the smallest exponent {smallest}, the ratio {ratio} and the degrees "
            f"{list(degrees)}, expected positive exponents that grow"
        )
    return [
        (degree, smallest * ratio**k / Bohr**2)
        for k, highest in enumerate(degrees)
        for degree in range(highest + 1)
    ]


def default_shells(symbols: Sequence[str], metals: Sequence[str]
                   ) -> dict[str, list[tuple[int, float]]]:  # fmt: skip
    """Shells that serve smooth valence densities on grids of about 0.2 A.

    Parameters
    ----------
    symbols : sequence of str
    metals : sequence of str
        Those of them that make the electrode.
    """
    found = {}
    for symbol in symbols:
        kind = HYDROGEN_SHELLS if symbol == "H" else OTHER_SHELLS
        found[symbol] = even_tempered(*(METAL_SHELLS if symbol in metals else kind))
    return found


class Channels:
    """Orthonormal radial combinations of an element's shells, degree by degree.

    Gaussians of neighbouring exponents are nearly the same function; a network that had to give
    their coefficients would have to get large numbers right that nearly cancel.

    Parameters
    ----------
    basis : GaussianBasis
    number : int
        Atomic number.

    Attributes
    ----------
    counts : list of int
        Channels of each degree, from l = 0 on.
    matrix : ndarray (functions, channels in all)
        Coefficients in the order of `GaussianBasis` from those of the channels, which are ordered
        by degree, then channel, then m.
    """

    def __init__(self, basis: GaussianBasis, number: int) -> None:
        shells = basis.shells(number)
        starts = np.concatenate([[0], np.cumsum([shell.size for shell in shells])])
        highest = max(shell.degree for shell in shells)
        self.counts: list[int] = []
        self._radial: list[Array] = []
        self._places: list[Indices] = []
        for degree in range(highest + 1):
            members = [k for k, shell in enumerate(shells) if shell.degree == degree]
            overlap = np.array([[radial_overlap(degree, *(
                (shells[i].exponent, shells[i].norm, shells[j].exponent, shells[j].norm)
            )) for j in members] for i in members])  # fmt: skip
            mix = orthonormal(overlap)
            self.counts.append(mix.shape[1])
            self._radial.append(mix)
            self._places.append(np.array([starts[k] for k in members], dtype=np.int64))
        self.matrix = self._assemble(int(starts[-1]))

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return int(self.matrix.shape[1])

    def remix(self, mixes: Sequence[Array]) -> None:
        """Combine the channels of each degree once more; a mix is (old, new)."""
        self._radial = [old @ new for old, new in zip(self._radial, mixes, strict=True)]
        self.counts = [radial.shape[1] for radial in self._radial]
        self.matrix = self._assemble(self.matrix.shape[0])

    def degrees(self) -> Indices:
        """Degree of each coefficient (size,)."""
        return np.concatenate([np.full((2 * degree + 1) * count, degree)
                               for degree, count in enumerate(self.counts)])  # fmt: skip

    def _assemble(self, n_functions: int) -> Array:
        matrix = np.zeros((n_functions, sum((2 * d + 1) * n for d, n in enumerate(self.counts))))
        column = 0
        for degree, (radial, places) in enumerate(zip(self._radial, self._places, strict=True)):
            for channel in range(radial.shape[1]):
                for m in range(2 * degree + 1):
                    matrix[places + m, column] = radial[:, channel]
                    column += 1
        return matrix


def radial_overlap(degree: int, first: float, first_norm: float, second: float,
                   second_norm: float) -> float:  # fmt: skip
    """Overlap of two shells of one degree on one atom, a component (harmonics of mean square one).

    Parameters
    ----------
    degree : int
    first, second : float
        Exponents, A^-2.
    first_norm, second_norm : float
    """
    power = degree + 1.5
    return first_norm * second_norm * 2.0 * np.pi * gamma(power) / (first + second) ** power


def orthonormal(overlap: Array) -> Array:
    """Combinations (n, k) in which a symmetric positive matrix (n, n) is the unit matrix.

    They are the nearest to the functions themselves (Lowdin's) but for what they leave out: the
    combinations that are zero to rounding.
    """
    size = np.sqrt(np.diag(overlap))
    values, vectors = np.linalg.eigh(overlap / np.outer(size, size))
    kept = values > SMALLEST_EIGENVALUE
    mix = vectors[:, kept] / np.sqrt(values[kept])
    if kept.all():
        mix = mix @ vectors.T
    return np.asarray(mix / size[:, None])


def element_channels(shells: Mapping[str, Sequence[tuple[int, float]]]
                     ) -> tuple[GaussianBasis, dict[int, Channels]]:  # fmt: skip
    """The basis and the channels of its elements, by atomic number."""
    from ase.data import atomic_numbers

    basis = GaussianBasis(shells)
    return basis, {atomic_numbers[s]: Channels(basis, atomic_numbers[s]) for s in shells}
