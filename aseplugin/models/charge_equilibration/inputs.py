"""Arguments as float64 tensors, and the errors for those that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from voltase.aseplugin.errors import InputError

TOTAL_CHARGE_TOLERANCE = 1e-6
"""How far the source charges may be from the total charge without weights to shift them, e."""
LARGEST_VALUE = 1e12
"""In the unit of the argument; beyond it the sums lose their meaning."""
WIDTHS = (0.02, 100.0)
"""Widths in A that can be computed with; the waves that narrow ones need fill the memory."""


@dataclass(frozen=True)
class Inputs:
    """Checked arguments of one structure, float64.

    Attributes
    ----------
    positions : Tensor (n_atoms, 3)
    cell : Tensor (3, 3)
    electronegativity, hardness, width, source : Tensor (n_atoms,)
        `source` already sums to the total charge asked for.
    bonds : Tensor (2, n_bonds)
    order, bond_hardness : Tensor (n_bonds,)
    held : Tensor (n,), optional
        Atoms at a fixed potential.
    potential : Tensor (), optional
    counter_plane : Tensor (3,), optional
        A point of the plane.
    """

    positions: Tensor
    cell: Tensor
    electronegativity: Tensor
    hardness: Tensor
    width: Tensor
    source: Tensor
    bonds: Tensor
    order: Tensor
    bond_hardness: Tensor
    held: Tensor | None
    potential: Tensor | None
    counter_plane: Tensor | None


def numbers(name: str, value: Any) -> Tensor:
    """A tensor of real numbers.

    Raises
    ------
    InputError
        If it is anything else, such as text, a ragged list or complex numbers.
    """
    try:
        out = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: got {_shown(value)}, expected an array of numbers") from error
    if out.is_complex() or out.dtype == torch.bool:
        raise InputError(f"{name}: got {out.dtype}, expected real numbers")
    return out


def _shown(value: Any) -> str:
    return repr(value)[:40] if isinstance(value, str | None) else f"a {type(value).__name__}"


def tensor(name: str, value: Any, shape: Sequence[int], like: Tensor | None = None) -> Tensor:
    """A finite float64 tensor of the given shape.

    Raises
    ------
    InputError
        If it is no array of numbers, of another shape, not finite or absurdly large.
    """
    out = numbers(name, value)
    out = out.to(torch.float64) if like is None else out.to(like.device, torch.float64)
    if tuple(out.shape) != tuple(shape):
        raise InputError(f"{name}: got shape {tuple(out.shape)}, expected {tuple(shape)}")
    # Written so that NaN is bad too.
    bad = ~(out.detach().abs() <= LARGEST_VALUE)
    if bool(bad.any()):
        where = f" at {bad.nonzero()[0].tolist()}" if shape else ""
        raise InputError(
            f"{name}: got {float(out.detach()[bad][0])}{where}, expected finite values of at most "
            f"{LARGEST_VALUE:g}"
        )
    return out


def positive(name: str, value: Any, shape: Sequence[int], like: Tensor, unit: str) -> Tensor:
    """As `tensor`, and every value above zero."""
    out = tensor(name, value, shape, like)
    low = out.detach()
    if out.numel() and not bool((low > 0.0).all()):
        raise InputError(f"{name}: got {float(low.min()):g} {unit}, expected more than 0")
    return out


def checked_width(value: Any, n_atoms: int, like: Tensor) -> Tensor:
    """Widths (n_atoms,) in the range that can be computed with."""
    out = tensor("width", value, (n_atoms,), like)
    outside = (out.detach() < WIDTHS[0]) | (out.detach() > WIDTHS[1])
    if bool(outside.any()):
        raise InputError(
            f"width: got {float(out.detach()[outside][0]):g} A at {outside.nonzero()[0].tolist()}, "
            f"expected {WIDTHS[0]:g} to {WIDTHS[1]:g} A"
        )
    return out


def indices(name: str, value: Any, n_atoms: int, like: Tensor) -> Tensor:
    """Indices of atoms, int64.

    Raises
    ------
    InputError
        If they are no integers of atoms that exist.
    """
    out = numbers(name, value)
    if out.numel() == 0:
        out = out.to(torch.int64)
    if out.is_floating_point():
        raise InputError(f"{name}: got {out.dtype}, expected integers")
    out = out.to(like.device, torch.int64)
    if out.numel() and (int(out.min()) < 0 or int(out.max()) >= n_atoms):
        raise InputError(
            f"{name}: got atoms {int(out.min())} to {int(out.max())}, expected 0 to {n_atoms - 1}"
        )
    return out


def checked_bonds(bonds: Any, order: Any, n_atoms: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Bonds (2, n) and their orders (n,)."""
    pairs = indices("bonds", bonds, n_atoms, like)
    if pairs.numel() == 0:
        pairs = pairs.reshape(2, 0)
    if pairs.ndim != 2 or pairs.shape[0] != 2:
        raise InputError(f"bonds: got shape {tuple(pairs.shape)}, expected (2, bonds)")
    values = tensor("bond_order", order, (pairs.shape[1],), like)
    outside = (values.detach() < 0.0) | (values.detach() > 1.0)
    if bool(outside.any()):
        found = float(values.detach()[outside][0])
        raise InputError(f"bond_order: got {found:g}, expected 0 to 1")
    return pairs, values


def checked_source(source: Tensor, total_charge: Any, weights: Any) -> Tensor:
    """Source charges that sum to the total charge, shifted by weights where these are given.

    Raises
    ------
    InputError
        If they do not sum to it and there are no weights, or weights without a total charge.
    """
    if total_charge is None:
        if weights is not None:
            raise InputError("charge_weights: got weights, expected none without total_charge")
        return source
    total = tensor("total_charge", total_charge, (), source)
    missing = total - source.sum()
    if weights is None:
        if abs(float(missing.detach())) > TOTAL_CHARGE_TOLERANCE:
            raise InputError(
                f"total_charge: got {float(total.detach()):g} e, expected the "
                f"{float(source.detach().sum()):g} e of the source charges, or charge_weights"
            )
        return source
    share = tensor("charge_weights", weights, source.shape, source)
    whole = share.sum()
    if bool((share.detach() < 0.0).any()) or not float(whole.detach()) > 0.0:
        raise InputError(
            f"charge_weights: got {float(share.detach().min()):g} to "
            f"{float(share.detach().max()):g}, expected none below 0 and one above"
        )
    return source + missing * share / whole


def checked_potential(fixed: Any, total_charge: Any, n_atoms: int, like: Tensor
                      ) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Held atoms and their potential, or two None."""
    if fixed is None:
        return None, None
    if total_charge is not None:
        raise InputError("fixed_potential: got one and a total_charge, expected only one of them")
    if not isinstance(fixed, tuple) or len(fixed) != 2:
        raise InputError(
            f"fixed_potential: got {type(fixed).__name__}, expected a pair (atoms, potential)"
        )
    atoms = indices("fixed_potential atoms", fixed[0], n_atoms, like).reshape(-1)
    if atoms.numel() == 0:
        raise InputError("fixed_potential: got no atoms, expected at least one")
    return atoms, tensor("fixed_potential", fixed[1], (), like)
