"""The energy readout of PE-MACE as a first guess of Soft-FQEq's short-range energy."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from voltase.aseplugin.models.pemace import PEMACEModel
from voltase.aseplugin.models.softfqeq.model import ENERGY_SCALE


def energy_readout(network: PEMACEModel, hidden: int) -> dict[str, Tensor]:
    """Weights with which `AtomReadout` gives the network's energy without charge.

    Parameters
    ----------
    network : PEMACEModel
        Of the mean of its members in the first domain.
    hidden : int
        Of the readout. Nothing is given if the network has more, or has one per domain.

    Returns
    -------
    dict
        Weights by their names in a Soft-FQEq model.
    """
    config = network.config
    *linear, last = (cast(Any, block) for block in network.readouts)
    first, gate, second = last.linear_1, last.non_linearity, last.linear_2
    channels, width = config.backbone.channels, config.backbone.channels * len(network.readouts)
    units = first.weight.numel() // channels
    if config.readouts != "shared" or units > hidden:
        return {}
    kind = first.weight.new_zeros
    with torch.no_grad():
        slope = torch.cat([_matrix(block.linear, channels).mean(1) for block in linear])
        into = kind(hidden, width)
        into[:units, -channels:] = _matrix(first, channels).T
        out = kind(hidden)
        # e3nn scales an activation to unit variance; ours has none.
        one = kind(1, units) + 1.0
        scale = float((gate(one) / torch.nn.functional.silu(one))[0, 0])
        out[:units] = scale * _matrix(second, units).mean(1)
        return {
            "energy.linear.weight": torch.nn.functional.pad(slope, (0, channels))[None]
            / ENERGY_SCALE,
            "energy.first.weight": into,
            "energy.first.bias": kind(hidden),
            "energy.second.weight": out[None] / ENERGY_SCALE,
        }


def _matrix(linear: Any, n_in: int) -> Tensor:
    """What a linear block of scalars multiplies by (n_in, n_out)."""
    return linear(torch.eye(n_in).to(linear.weight)).detach()
