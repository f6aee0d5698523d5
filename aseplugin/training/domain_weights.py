"""Weights of a network for another one with more domains, or with shared readouts."""

from __future__ import annotations

import torch
from torch import Tensor

from voltase.aseplugin.models.electrode import DOMAIN_PARAMETERS
from voltase.aseplugin.models.pemace import PEMACEModel

_LAST = ("linear_1.weight", "linear_2.weight")


def weights_for(model: PEMACEModel, start: PEMACEModel) -> dict[str, Tensor]:
    """Parameters of ``start`` by the names they have in ``model``, in the shapes they have there.

    Domains are matched by name. One that is new starts as the first: with its electrode, and with
    no correction to its energy. With shared readouts the energy of the first domain stays exactly
    what it is; of what sets the others apart, the part that is linear in the first layers stays.

    Returns
    -------
    dict
        Parameters that are alike in both networks are returned as they are, whatever their shapes.
    """
    weights: dict[str, Tensor] = {k: v.detach() for k, v in start.named_parameters()}
    shared = model.config.readouts == "shared"
    new = model.config.domains != start.config.domains
    if not new and start.config.readouts == model.config.readouts:
        return weights
    if not shared or start.config.n_members != model.config.n_members:
        return weights
    weights = {k: v for k, v in weights.items() if not k.startswith(("readouts.", "corrections."))}
    if new:
        weights |= _electrode(model, start)
    return weights | _readouts(model, start)


def _order(model: PEMACEModel, start: PEMACEModel) -> list[int]:
    """Index in ``start`` of each domain of ``model``; new ones are as the first."""
    known = start.config.domains
    return [known.index(name) if name in known else 0 for name in model.config.domains]


def _electrode(model: PEMACEModel, start: PEMACEModel) -> dict[str, Tensor]:
    """Electrode parameters with one block of leading rows a domain, dealt out anew."""
    order, count = _order(model, start), len(start.config.domains)
    return {
        f"electrode.{name}": value.detach()
        .view(count, -1, *value.shape[1:])[order]
        .reshape(-1, *value.shape[1:])
        for name, value in start.electrode.named_parameters()
        if name in DOMAIN_PARAMETERS
    }


def _readouts(model: PEMACEModel, start: PEMACEModel) -> dict[str, Tensor]:
    members = model.config.n_members
    own = start.config.readouts == "own"
    columns = len(start.config.domains) if own else 1
    order = _order(model, start)
    weights: dict[str, Tensor] = {}
    known = {k: v.detach() for k, v in start.named_parameters()}
    last_layer = len(start.readouts) - 1
    for layer in range(last_layer):
        name = f"{layer}.linear.weight"
        by_domain = known[f"readouts.{name}"].view(-1, columns, members)
        if f"corrections.{name}" in known:
            corrections = known[f"corrections.{name}"].view(len(by_domain), -1, members)
            by_domain = torch.cat([by_domain, by_domain + corrections], dim=1)
        first, *others = by_domain[:, order].unbind(dim=1)
        weights[f"readouts.{name}"] = first.flatten()
        if others:
            weights[f"corrections.{name}"] = torch.stack([o - first for o in others], 1).flatten()
    hidden, out = (known[f"readouts.{last_layer}.{name}"] for name in _LAST)
    last = dict(model.readouts[-1].named_parameters())
    by_domain = out.view(-1, columns, members)[:, order[0] if own else 0]
    n_hidden, n_new = len(by_domain), last[_LAST[1]].numel() // members
    if n_new < n_hidden:
        return weights  # fewer domains, narrower readout: it has to be learned again
    # e3nn divides by the root of the number of inputs.
    grown = torch.zeros(n_new, members, dtype=out.dtype)
    grown[:n_hidden] = by_domain * (n_new / n_hidden) ** 0.5
    wider = last[_LAST[0]].detach().clone().view(-1, n_new)
    wider[:, :n_hidden] = hidden.view(-1, n_hidden)
    weights[f"readouts.{last_layer}.{_LAST[0]}"] = wider.flatten()
    weights[f"readouts.{last_layer}.{_LAST[1]}"] = grown.flatten()
    return weights
