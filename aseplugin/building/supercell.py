"""Surface supercells as people write them: 3x2, c(2x2), root3xroot3R30, or a matrix."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from voltase.aseplugin.building.symmetry import Array, Indices
from voltase.aseplugin.errors import InputError

LARGEST = 400
"""More surface cells than this are a slip."""
_LENGTH = r"(\d*)(?:(?:root|sqrt|\N{SQUARE ROOT})\(?(\d+)\)?)?"
_WOOD = re.compile(rf"([pc]?)\(?{_LENGTH}x{_LENGTH}\)?(?:(R)(-?\d+(?:\.\d+)?)|(rect))?", re.I)
_EXPECTED = "expected such as 3x2, c(2x2), root3xroot3R30, 2xroot3rect or a matrix 2,1,-1,1"


def parse_supercell(given: str | Sequence[int] | Sequence[Sequence[int]], lattice: Array
                    ) -> Indices:  # fmt: skip
    """Matrix of whole numbers whose rows give a supercell's vectors in surface cells.

    Parameters
    ----------
    given : str, pair or 2 x 2 matrix
        ``NxM``, Wood's notation (``c(2x2)``, ``root3xroot3R30``), a rectangular cell in units of
        the lengths of the surface vectors (``2xroot3rect``), or the matrix's four numbers.
    lattice : ndarray (2, 2)
        Vectors of the surface cell as rows, A.

    Raises
    ------
    InputError
        If it cannot be read, is no supercell, or is singular or left-handed.
    """
    matrix = _from_text(given, lattice) if isinstance(given, str) else _from_numbers(given)
    size = int(round(float(np.linalg.det(matrix))))
    if size < 1:
        kind = "singular" if size == 0 else "left-handed"
        raise InputError(f"supercell: got {given!r}, which is {kind}, expected a matrix of "
                         "positive determinant")  # fmt: skip
    if size > LARGEST:
        raise InputError(f"supercell: got {size} surface cells, expected at most {LARGEST}")
    return matrix


def _from_numbers(given: Sequence[int] | Sequence[Sequence[int]]) -> Indices:
    try:
        values = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"supercell: got {given!r}, {_EXPECTED}") from error
    if values.shape == (2,):
        values = np.diag(values)
    if values.shape == (4,):
        values = values.reshape(2, 2)
    if values.shape != (2, 2) or not (values == np.rint(values)).all():
        raise InputError(f"supercell: got {given!r}, {_EXPECTED}")
    return values.astype(np.int64)


def _from_text(text: str, lattice: Array) -> Indices:
    compact = re.sub(r"[\s\N{DEGREE SIGN}]", "", text).replace("\N{MULTIPLICATION SIGN}", "x")
    if re.fullmatch(r"-?\d+(?:,-?\d+){3}", compact):
        return _from_numbers([int(n) for n in compact.split(",")])
    found = _WOOD.fullmatch(compact)
    if found is None:
        raise InputError(f"supercell: got {text!r}, {_EXPECTED}")
    prefix, *lengths, _, angle, rectangle = found.groups()
    if "" in (lengths[0] + (lengths[1] or ""), lengths[2] + (lengths[3] or "")):
        raise InputError(f"supercell: got {text!r}, {_EXPECTED}")
    factors = [int(n or 1) * float(root or 1) ** 0.5 for n, root in
               (lengths[:2], lengths[2:])]  # fmt: skip
    turn = np.deg2rad(float(angle or 0.0))
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    vectors = np.array(factors)[:, None] * lattice
    if rectangle:
        first = lattice[0] / np.linalg.norm(lattice[0])
        second = np.array([-first[1], first[0]])
        vectors = np.array([vectors[0], np.linalg.norm(vectors[1]) * second])
    numbers = vectors @ rotation @ np.linalg.inv(lattice)
    if prefix.lower() == "c":
        numbers = np.array([0.5 * (numbers[0] - numbers[1]), 0.5 * (numbers[0] + numbers[1])])
    whole = np.rint(numbers)
    if np.abs(numbers - whole).max() > 0.02:
        raise InputError(f"supercell: got {text!r}, which does not fit on this facet's surface "
                         "cell")  # fmt: skip
    return np.asarray(whole.astype(np.int64))


def translations(matrix: Indices) -> Indices:
    """Surface cells (n, 2) in a supercell, as whole numbers of surface vectors."""
    reach = int(np.abs(matrix).sum())
    steps = np.arange(-reach, reach + 1)
    grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    fractions = np.round(grid @ np.linalg.inv(matrix), 9)
    inside = grid[((fractions >= 0.0) & (fractions < 1.0)).all(axis=1)]
    return np.asarray(inside)
