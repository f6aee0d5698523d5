"""Real spherical harmonics up to l = 3, in e3nn's order and normalisation, without TorchScript.

TorchScript optimises a function after its first calls, which changes the rounding: a restarted run
would part from the uninterrupted one in the last bit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

HIGHEST_DEGREE = 3


def spherical_harmonics(vectors: Tensor, lengths: Tensor, max_ell: int) -> Tensor:
    """Harmonics of the directions of vectors, each degree of mean square one a component.

    Parameters
    ----------
    vectors : Tensor (n, 3)
    lengths : Tensor (n, 1)
        Their norms.
    max_ell : int
        Highest degree, `HIGHEST_DEGREE` at most.

    Returns
    -------
    Tensor (n, (max_ell + 1)^2)
        Degrees in ascending order; the polar axis is y, as in e3nn.

    Raises
    ------
    ValueError
        If the degree is higher.
    """
    if not 0 <= max_ell <= HIGHEST_DEGREE:
        raise ValueError(f"max_ell: found {max_ell}, expected 0 to {HIGHEST_DEGREE}")
    x, y, z = (vectors / lengths).unbind(1)
    out = [torch.ones_like(x)]
    if max_ell >= 1:
        out += [math.sqrt(3.0) * c for c in (x, y, z)]
    if max_ell >= 2:
        out += _quadratic(x, y, z)
    if max_ell >= 3:
        out += _cubic(x, y, z)
    return torch.stack(out, dim=1)


def _quadratic(x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
    a = math.sqrt(15.0)
    return [
        a * x * z,
        a * x * y,
        math.sqrt(5.0) * (1.5 * y * y - 0.5),
        a * y * z,
        0.5 * a * (z * z - x * x),
    ]


def _cubic(x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
    a, b, c = math.sqrt(70.0) / 4.0, math.sqrt(105.0), math.sqrt(42.0) / 4.0
    xx, yy, zz = x * x, y * y, z * z
    return [
        a * x * (3.0 * zz - xx),
        b * x * y * z,
        c * x * (5.0 * yy - 1.0),
        0.5 * math.sqrt(7.0) * y * (5.0 * yy - 3.0),
        c * z * (5.0 * yy - 1.0),
        0.5 * b * y * (zz - xx),
        a * z * (zz - 3.0 * xx),
    ]
