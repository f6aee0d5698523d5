"""Bond orders between 0 and 1, and what a bond of some order costs the charge that crosses it."""

from __future__ import annotations

from torch import Tensor

from voltase.aseplugin.errors import InputError

BOND_HARDNESS = 10.0
"""kappa0, the hardness of a bond of order 1/2 in eV/e^2: of the size of an atom's hardness."""

STIFF = 0.5
"""Bonds of a higher order keep their flow as a variable; the solution does not depend on it."""


def smoothstep(x: Tensor) -> Tensor:
    """Quintic 6 x^5 - 15 x^4 + 10 x^3, exactly 0 below 0 and 1 above 1; twice differentiable."""
    x = x.clamp(0.0, 1.0)
    return x**3 * (x * (6.0 * x - 15.0) + 10.0)


def bond_order(score: Tensor, distance: Tensor, onset: float, cutoff: float) -> Tensor:
    """Order of bonds from a score, switched off with the distance.

    Parameters
    ----------
    score : Tensor (n_bonds,)
        0 or less gives order 0, 1 or more gives order 1.
    distance : Tensor (n_bonds,)
        A.
    onset, cutoff : float
        The order falls from its full value to 0 between these distances, A.

    Returns
    -------
    Tensor (n_bonds,)
        Exactly 0 or 1 where saturated; two derivatives vanish there.

    Raises
    ------
    InputError
        If the distances are not 0 <= onset < cutoff.
    """
    if not 0.0 <= onset < cutoff:
        raise InputError(f"onset, cutoff: got {onset} and {cutoff} A, expected 0 <= onset < cutoff")
    return smoothstep((cutoff - distance) / (cutoff - onset)) * smoothstep(score)


def compliance(order: Tensor, bond_hardness: Tensor) -> Tensor:
    """w = b/((1 - b) kappa0), e^2/eV; for bonds of order less than 1."""
    return order / ((1.0 - order) * bond_hardness)


def stiffness(order: Tensor, bond_hardness: Tensor) -> Tensor:
    """kappa = kappa0 (1 - b)/b, eV/e^2; for bonds of order more than 0."""
    return bond_hardness * (1.0 - order) / order
