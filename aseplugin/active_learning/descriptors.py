"""One vector for each structure, from the features that a model itself sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms

from voltase.aseplugin.models.pemace import PEMACEModel
from voltase.aseplugin.structures import build_graph

Array = npt.NDArray[np.float64]


def structure_descriptors(model: PEMACEModel, structures: Sequence[Atoms],
                          report: Callable[[int, int], None] = lambda done, total: None,
                          ) -> Array:  # fmt: skip
    """Scalar node features of all layers, averaged over the atoms of each element.

    They know the geometry alone: with the ``scalar`` coupling an uncharged electrode is embedded.

    Parameters
    ----------
    model : PEMACEModel
    structures : sequence of Atoms
    report : callable
        Gets the number done and the number there are.

    Returns
    -------
    ndarray (n_structures, n_elements * n_layers * channels)
        Zero for elements that a structure lacks.
    """
    backbone = model.config.backbone
    width = len(model.config.symbols) * backbone.num_interactions * backbone.channels
    out = np.zeros((len(structures), width))
    for number, atoms in enumerate(structures):
        out[number] = _descriptor(model, atoms)
        report(number + 1, len(structures))
    return out


def _descriptor(model: PEMACEModel, atoms: Atoms) -> Array:
    weight = next(model.parameters())
    graph = build_graph(atoms, model.config).to(weight.device, weight.dtype).with_layout()
    state = None if model.closed_form else torch.zeros(1).to(weight)
    with torch.no_grad():
        features = torch.cat(model.backbone(graph, state).scalars, dim=1).double()
        count = torch.bincount(graph.species, minlength=len(model.config.symbols))
        sums = features.new_zeros((len(count), features.shape[1]))
        sums.index_add_(0, graph.species, features)
        means: Array = (sums / count.clamp(min=1).unsqueeze(1)).flatten().cpu().numpy()
    return means
