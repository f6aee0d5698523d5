"""From what surrounds an atom to tensors of every degree: an equivariant head of one element."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from voltase.aseplugin.models.density.harmonics import product_table


class TensorHead(nn.Module):
    """Tensors that turn with the atom's surroundings.

    The tensors that describe the surroundings are mixed, degree by degree, and multiplied with one
    another; what comes out is a mixture of both, weighted by a network of the scalars. Degree zero
    has in addition what the network gives itself.

    Parameters
    ----------
    n_scalars, n_tensors : int
        Of the description.
    highest : int
        Degree of the tensors.
    counts : sequence of int
        Tensors wanted of each degree.
    width : int
        Mixed tensors.
    hidden : int
        Width of the network.
    """

    products: Tensor
    spread: Tensor

    def __init__(self, n_scalars: int, n_tensors: int, highest: int, counts: Sequence[int],
                 width: int, hidden: int) -> None:  # fmt: skip
        super().__init__()
        self.counts, self.width, self.highest = tuple(counts), width, highest
        degrees = highest + 1
        sizes = torch.tensor([2 * degree + 1 for degree in range(degrees)])
        spread = torch.repeat_interleave(torch.arange(degrees), sizes)
        self.register_buffer("spread", spread, persistent=False)
        table = product_table(highest).to(torch.get_default_dtype())
        self.register_buffer("products", table.reshape(-1, degrees**2), persistent=False)
        self.mix = nn.Parameter(torch.randn(3, degrees, n_tensors, width) / n_tensors**0.5)
        n_invariants = n_scalars + 2 * width
        self.network = nn.Sequential(
            nn.Linear(n_invariants, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.gates = nn.Linear(hidden, degrees * 2 * width)
        self.scalars = nn.Linear(hidden, self.counts[0])
        for layer in (self.gates, self.scalars):
            nn.init.normal_(layer.weight, std=0.1 / hidden**0.5)
            nn.init.zeros_(layer.bias)
        self.out = nn.ParameterList(
            [torch.randn(2 * width, count) * (0.1 / (2 * width) ** 0.5) for count in self.counts]
        )

    def forward(self, scalars: Tensor, tensors: Tensor) -> Tensor:
        """Coefficients (n, sum over l of counts[l] (2 l + 1)).

        Parameters
        ----------
        scalars : Tensor (n, n_scalars)
        tensors : Tensor (n, n_tensors, (highest + 1)^2)
        """
        n = scalars.shape[0]
        weights = self.mix[:, self.spread]  # (3, components, n_tensors, width)
        first, second, direct = torch.einsum("nti,pitw->pnwi", tensors, weights).unbind(0)
        pairs = (first.unsqueeze(3) * second.unsqueeze(2)).reshape(n, self.width, -1)
        mixed = torch.cat([direct, pairs @ self.products], dim=1)  # (n, 2 width, components)
        hidden = self.network(torch.cat([scalars, mixed[:, :, 0]], dim=1))
        gates = 1.0 + self.gates(hidden).view(n, 2 * self.width, -1)
        found = []
        for degree, count in enumerate(self.counts):
            members = slice(degree**2, (degree + 1) ** 2)
            gated = mixed[:, :, members] * gates[:, :, degree].unsqueeze(2)
            out = torch.einsum("nwm,wc->ncm", gated, self.out[degree])
            if degree == 0:
                out = out + self.scalars(hidden).unsqueeze(2)
            found.append(out.reshape(n, count * (2 * degree + 1)))
        return torch.cat(found, dim=1)
