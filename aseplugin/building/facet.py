"""Miller indices as people write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import gcd

from voltase.aseplugin.errors import InputError

Facet = tuple[int, int, int]
_COMPACT = re.compile(r"(?:-?\d){3,4}")
_SEPARATED = re.compile(r"-?\d+(?:[\s,]+-?\d+){2,3}")
LARGEST_INDEX = 20


def parse_facet(facet: str | Sequence[int], hexagonal: bool = False) -> Facet:
    """Miller indices (h, k, l) without a common factor.

    Parameters
    ----------
    facet : str or sequence of int
        Such as ``111``, ``1-10``, ``(110)``, ``2,1,1`` or, of a hexagonal crystal, ``10-10``.
    hexagonal : bool
        Whether the crystal has hexagonal axes, so that four indices (h, k, i, l) make sense.

    Raises
    ------
    InputError
        If it is none of these, or 0 0 0.
    """
    indices = _whole_numbers(facet)
    if len(indices) == 4:
        if not hexagonal:
            raise InputError(f"facet: got four indices, {facet!r}, for a crystal that is not "
                             "hexagonal, expected three")  # fmt: skip
        h, k, i, last = indices
        if h + k + i != 0:
            raise InputError(f"facet: got {facet!r}, expected h + k + i = 0 of four indices")
        indices = [h, k, last]
    h, k, last = indices
    factor = gcd(h, k, last)
    if factor == 0:
        raise InputError(f"facet: got {facet!r}, expected indices that are not all zero")
    if max(map(abs, indices)) > LARGEST_INDEX:
        raise InputError(f"facet: got {facet!r}, expected indices of at most {LARGEST_INDEX}")
    return h // factor, k // factor, last // factor


def _whole_numbers(facet: str | Sequence[int]) -> list[int]:
    if not isinstance(facet, str):
        if len(facet) not in (3, 4) or any(int(i) != i for i in facet):
            raise InputError(f"facet: got {facet!r}, expected three whole numbers")
        return [int(i) for i in facet]
    text = facet.replace("\N{MINUS SIGN}", "-").strip().strip("(){}").strip()
    if _COMPACT.fullmatch(text):
        return [int(i) for i in re.findall(r"-?\d", text)]
    if _SEPARATED.fullmatch(text):
        return [int(i) for i in re.split(r"[\s,]+", text)]
    raise InputError(f"facet: got {facet!r}, expected Miller indices such as 111, 1-10 or (2,1,1)")
