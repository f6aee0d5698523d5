"""Weights of a network for one with many-body features of higher order."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from voltase.aseplugin.models.pemace import PEMACEModel

_CONTRACTION = re.compile(r"(.*\.contractions\.\d+)\.weights_max")


def raised_contractions(model: PEMACEModel, start: PEMACEModel) -> dict[str, Tensor]:
    """Weights of ``model``'s contractions with which it is what ``start`` is.

    MACE's contractions have weights for each order, from the highest (``weights_max``) down to one
    (the last of ``weights``). Orders that ``start`` lacks get zero.

    Returns
    -------
    dict
        Empty unless ``model`` has the higher correlation.
    """
    higher = model.config.backbone.correlation - start.config.backbone.correlation
    if higher <= 0:
        return {}
    known = {name: value.detach() for name, value in start.named_parameters()}
    asked = dict(model.named_parameters())
    weights: dict[str, Tensor] = {}
    for name in known:
        match = _CONTRACTION.fullmatch(name)
        if match is None:
            continue
        names = _by_order(match[1], asked)
        weights |= {each: torch.zeros_like(asked[each]) for each in names[:higher]}
        olds = _by_order(match[1], known)
        weights |= {new: known[old] for new, old in zip(names[higher:], olds, strict=True)}
    return weights


def _by_order(contraction: str, parameters: Mapping[str, Tensor]) -> list[str]:
    """Names of a contraction's weights, the highest order first."""
    lower = [n for n in parameters if re.fullmatch(re.escape(contraction) + r"\.weights\.\d+", n)]
    return [f"{contraction}.weights_max", *sorted(lower, key=lambda n: int(n.rpartition(".")[2]))]
