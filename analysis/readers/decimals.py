"""Fast parsing of tables of decimal numbers that are aligned in columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

NEWLINE, SPACE, MINUS, POINT, ZERO = b"\n -.0"
MOST_DIGITS = 15
"""Whole numbers of as many digits are exact in double precision, and so is 10**15."""

_RANKS = np.full(256, 9, dtype=np.uint8)
_RANKS[SPACE], _RANKS[MINUS], _RANKS[ZERO : ZERO + 10] = 0, 1, 2


def parse_fixed(body: bytes, n_rows: int, n_columns: int) -> Array | None:
    """Numbers after a leading symbol, in fields of one width, as ``%-2s %16.8f ...`` gives them.

    A number is its digits, taken as a whole number, over a power of ten; as both are exact, the
    result is the double closest to the decimal, the one that ``float`` gives.

    Parameters
    ----------
    body : bytes
        Lines; each begins with a symbol of one or two letters, followed by a blank.
    n_rows, n_columns : int
        Number of lines, and of numbers in each.

    Returns
    -------
    ndarray (n_rows, n_columns) or None
        None if the lines do not have this layout.
    """
    length = body.find(b"\n") + 1
    width, rest = divmod(length - 3, n_columns)
    if rest or width < 4 or len(body) != n_rows * length:
        return None
    text = np.frombuffer(body, np.uint8).reshape(n_rows, length)
    if (text[:, -1] != NEWLINE).any() or (text[:, 0] <= SPACE).any() or (text[:, 2] != SPACE).any():
        return None
    values = _parse_fields(np.ascontiguousarray(text[:, 2:-1]).reshape(-1, width))
    return None if values is None else values.reshape(n_rows, n_columns)


def _parse_fields(fields: Bytes) -> Array | None:
    """Numbers (n,) from fields (n, w): blanks, a minus or none, digits, a point, digits."""
    width = fields.shape[1]
    point = bytes(fields[0]).find(b".")
    if point < 2 or (fields[:, point] != POINT).any() or (fields[:, 0] != SPACE).any():
        return None
    digits = fields - np.uint8(ZERO)
    is_digit = digits < 10
    ranks = _RANKS[fields[:, :point]]
    before, behind = ranks[:, :-1], ranks[:, 1:]
    regular = (
        is_digit[:, point - 1].all()
        and is_digit[:, point + 1 :].all()
        and ranks.max() <= 2
        # Blanks, then a minus, then digits; the minus only once.
        and (behind >= before).all()
        and not ((behind == 1) & (before == 1)).any()
        # The first is blank, and one is the point.
        and (width - 2 <= MOST_DIGITS or is_digit.any(axis=0).sum() <= MOST_DIGITS)
    )
    if not regular:
        return None
    weights = np.zeros(width)
    powers = [float(10**power) for power in range(width - 2, -1, -1)]
    weights[:point], weights[point + 1 :] = powers[:point], powers[point:]
    digits *= is_digit
    values = np.asarray(digits @ weights) / float(10 ** (width - 1 - point))
    np.negative(values, out=values, where=(ranks == 1).any(axis=1))
    return values
