"""HIP-NN features: the network of hippynn as a plain torch module, on our own pair lists."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.features.base import FeatureNetwork, NodeFeatures
from voltase.aseplugin.models.features.config import HIPNNConfig
from voltase.aseplugin.models.graph import Graph

EXTRA = "_extra_state"


class HIPNNFeatures(FeatureNetwork):
    """Scalars of all interaction blocks of a HIP-NN network (doi:10.1063/1.5011181).

    hippynn's own graphs, databases and ASE calculator are not used: they know neither slabs nor
    fast neighbour lists.

    Parameters
    ----------
    config : HIPNNConfig
    symbols : list of str
        Elements in ascending atomic number.

    Raises
    ------
    InputError
        If hippynn is not installed.
    """

    def __init__(self, config: HIPNNConfig, symbols: list[str]) -> None:
        super().__init__()
        networks = _networks()
        kind = {"scalar": "Hipnn", "vector": "HipnnVec", "quadrupole": "HipnnQuad"}[config.order]
        self.with_vectors = config.order != "scalar"
        self.n_elements = len(symbols)
        self.network = getattr(networks, kind)(
            n_features=config.channels,
            n_sensitivities=config.num_sensitivities,
            dist_soft_min=config.soft_min,
            dist_soft_max=config.soft_max,
            dist_hard_max=config.r_max,
            n_atom_layers=config.num_atom_layers,
            n_interaction_layers=config.num_interactions,
            n_input_features=self.n_elements,
        )
        self.width = config.channels * config.num_interactions
        self.register_state_dict_post_hook(_drop_settings)
        self.register_load_state_dict_pre_hook(_put_settings_back)

    def forward(self, graph: Graph) -> NodeFeatures:
        """See `FeatureNetwork.forward`."""
        species = nn.functional.one_hot(graph.species, self.n_elements).to(self.dtype)
        vectors = graph.edge_vectors().to(self.dtype)
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        sender, receiver = graph.edge_index
        pairs: list[Tensor] = [receiver, sender, lengths]
        if self.with_vectors:
            pairs.append(vectors)
        blocks = self.network(species, *pairs)
        return NodeFeatures(torch.cat(blocks[1:], dim=1))


def _drop_settings(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Leave out what hippynn keeps beside tensors: a constant, which a checkpoint cannot hold."""
    for name in [n for n in state if n.startswith(prefix) and n.endswith(EXTRA)]:
        del state[name]


def _put_settings_back(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let each layer find its own constant again."""
    for name, part in module.named_modules():
        if type(part).get_extra_state is not nn.Module.get_extra_state:
            state.setdefault(f"{prefix}{name}.{EXTRA}", part.get_extra_state())


def _networks() -> Any:
    """hippynn's module of networks."""
    try:
        with warnings.catch_warnings():
            # On import, hippynn 0.1.3 compiles with TorchScript and makes a sparse tensor; torch
            # 2.13 warns of both.
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated")
            warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly")
            from hippynn.networks import hipnn
    except ImportError as error:
        raise InputError(
            "features: found kind 'hipnn' without the package hippynn, expected it to be "
            "installed (pip install voltase[hippynn]), or kind 'mace'"
        ) from error
    return hipnn
