"""The four readouts: scalars of atoms and of pairs from the features."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AtomReadout(nn.Module):
    """A scalar of every atom: its element's value, a linear part and a layer of hidden units.

    Parameters
    ----------
    width : int
        Of the features.
    hidden : int
    start : list of float
        Value of each element to begin with.
    scale : float
        Of the part that depends on the surroundings.
    """

    def __init__(self, width: int, hidden: int, start: list[float], scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.element = nn.Parameter(torch.tensor(start))
        self.linear = nn.Linear(width, 1, bias=False)
        self.first = nn.Linear(width, hidden)
        self.second = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.second.weight)

    def forward(self, features: Tensor, species: Tensor) -> Tensor:
        """Values (n_atoms,) from the features (n_atoms, width)."""
        around = self.linear(features) + self.second(nn.functional.silu(self.first(features)))
        # A parameter in the features' precision, a sum in the caller's.
        return self.element[species] + self.scale * around.squeeze(1)


class PairReadout(nn.Module):
    """A number between -limit and limit of every pair, the same for either order of its atoms.

    Parameters
    ----------
    width : int
        Of the features.
    hidden : int
    limit : float
    """

    def __init__(self, width: int, hidden: int, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.atom = nn.Linear(width, hidden)
        self.distance = nn.Linear(1, hidden, bias=False)
        self.out = nn.Linear(hidden, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Tensor, pairs: Tensor, prior: Tensor) -> Tensor:
        """Values (n_pairs,).

        Parameters
        ----------
        features : Tensor (n_atoms, width)
        pairs : Tensor (2, n_pairs)
        prior : Tensor (n_pairs,)
            Score by the distance alone.
        """
        atoms = self.atom(features)
        sums = atoms.index_select(0, pairs[0]) + atoms.index_select(0, pairs[1])
        hidden = nn.functional.silu(sums + self.distance(prior.unsqueeze(1)))
        return self.limit * torch.tanh(self.out(hidden).squeeze(1))
