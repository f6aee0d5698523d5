"""Feature network of PE-MACE: two or more MACE layers from mace-torch's own blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from e3nn import get_optimization_defaults, o3, set_optimization_defaults
from mace.modules.blocks import (
    EquivariantProductBasisBlock,
    InteractionBlock,
    LinearNodeEmbeddingBlock,
    RadialEmbeddingBlock,
    RealAgnosticInteractionBlock,
    RealAgnosticResidualInteractionBlock,
)
from mace.modules.embeddings import GenericJointEmbedding
from torch import Tensor, nn

from voltase.aseplugin.models.contraction import ElementOrder, FusedContraction
from voltase.aseplugin.models.fused import EdgeLayout, FusedConvolution, fuse
from voltase.aseplugin.models.graph import Graph
from voltase.aseplugin.models.harmonics import spherical_harmonics
from voltase.aseplugin.models.third_party import quiet_torchscript

BASIS_SCALE = 0.6
"""Root mean square of the atomic basis after `Backbone.calibrate`."""


@dataclass
class BackboneConfig:
    """Shape of the feature network.

    Attributes
    ----------
    r_max : float
        Largest cut-off in A.
    pair_cutoffs : dict
        Shorter cut-offs in A for some pairs, keyed "H-O" (symbols in alphabetical order).
    num_bessel, num_polynomial_cutoff, max_ell, correlation, channels, num_interactions : int
        As in MACE (arXiv 2206.07697).
    max_L : int
        Highest degree of the features passed on between layers: 0 for scalars alone, 1 with
        vectors, by which a layer sees how the neighbours' surroundings are turned.
    radial_mlp : list of int
        Hidden widths of the radial network.
    avg_num_neighbors : float
        Normalisation of the messages.
    normalisation : list of float, optional
        Normalisation of each layer's messages instead, as `Backbone.calibrate` finds it.
    """

    r_max: float = 4.5
    pair_cutoffs: dict[str, float] | None = None
    num_bessel: int = 8
    num_polynomial_cutoff: int = 5
    max_ell: int = 2
    correlation: int = 3
    channels: int = 32
    num_interactions: int = 2
    max_L: int = 0
    radial_mlp: tuple[int, ...] = (32, 32)
    avg_num_neighbors: float = 20.0
    normalisation: tuple[float, ...] | None = None


class Features(NamedTuple):
    """Per-atom features.

    Attributes
    ----------
    scalars : list of Tensor (n_atoms, channels)
        One entry a layer.
    vectors : Tensor (n_atoms, channels, 3)
        The last layer's l = 1 atomic basis.
    edge_vectors, edge_lengths : Tensor (n_edges, 3) and (n_edges, 1)
    """

    scalars: list[Tensor]
    vectors: Tensor
    edge_vectors: Tensor
    edge_lengths: Tensor


class PairRadialEmbedding(RadialEmbeddingBlock):
    """Upstream's radial basis with a cut-off radius that depends on the two elements.

    The edges of hydrogen pairs are the most numerous in water and matter least beyond 3 A.

    Parameters
    ----------
    radii : Tensor (n_elements, n_elements)
        Cut-off radii in A.
    num_bessel, num_polynomial_cutoff : int
    """

    radii: Tensor

    def __init__(self, radii: Tensor, num_bessel: int, num_polynomial_cutoff: int) -> None:
        super().__init__(
            r_max=float(radii.max()),
            num_bessel=num_bessel,
            num_polynomial_cutoff=num_polynomial_cutoff,
            apply_cutoff=False,
        )
        self.order = float(num_polynomial_cutoff)
        self.register_buffer("radii", radii)

    def envelope(self, lengths: Tensor, species: Tensor, edge_index: Tensor) -> Tensor:
        """Smooth envelope (n_edges, 1), one at r = 0 and zero from the pair's radius on."""
        radius = self.radii[species[edge_index[0]], species[edge_index[1]]].unsqueeze(1)
        x = torch.clamp(lengths / radius, max=1.0)
        p = self.order
        lead = -0.5 * (p + 1.0) * (p + 2.0)
        return 1.0 + x**p * (lead + x * (p * (p + 2.0) - 0.5 * p * (p + 1.0) * x))


class Backbone(nn.Module):
    """MACE features, optionally with a scalar (the electrode's state) in the embedding.

    Parameters
    ----------
    config : BackboneConfig
    symbols : list of str
        Elements in ascending atomic number.
    scalar_input : bool
        Embed one number per structure into the initial node features (upstream's
        ``GenericJointEmbedding``), the electrode embedding of arXiv 2604.07322.
    """

    def __init__(self, config: BackboneConfig, symbols: list[str], scalar_input: bool) -> None:
        super().__init__()
        self.config = config
        with _without_torchscript():
            self._build(config, symbols, scalar_input)

    def _build(self, config: BackboneConfig, symbols: list[str], scalar_input: bool) -> None:
        n_elements = len(symbols)
        attrs = o3.Irreps(f"{n_elements}x0e")
        scalars = o3.Irreps(f"{config.channels}x0e")
        harmonics = o3.Irreps.spherical_harmonics(config.max_ell)
        basis = (harmonics * config.channels).sort()[0].simplify()
        self.n_elements = n_elements
        self.node_embedding = LinearNodeEmbeddingBlock(attrs, scalars)
        self.radial_embedding = PairRadialEmbedding(
            cutoff_table(config, symbols), config.num_bessel, config.num_polynomial_cutoff
        )
        if scalar_input:
            spec = {"type": "continuous", "per": "graph", "in_dim": 1, "emb_dim": 16}
            self.joint_embedding = GenericJointEmbedding(
                base_dim=config.channels, embedding_specs={"electrode": spec},
                out_dim=config.channels,
            )  # fmt: skip
        hidden = o3.Irreps(
            [(config.channels, (ell, (-1) ** ell)) for ell in range(config.max_L + 1)]
        )
        self.interactions = nn.ModuleList()
        self.products = nn.ModuleList()
        senders = scalars
        for layer in range(config.num_interactions):
            out = hidden if layer + 1 < config.num_interactions else scalars
            block = RealAgnosticInteractionBlock if layer == 0 else (
                RealAgnosticResidualInteractionBlock)  # fmt: skip
            self.interactions.append(
                block(
                    node_attrs_irreps=attrs,
                    node_feats_irreps=senders,
                    edge_attrs_irreps=harmonics,
                    edge_feats_irreps=o3.Irreps(f"{config.num_bessel}x0e"),
                    target_irreps=basis,
                    hidden_irreps=out,
                    avg_num_neighbors=config.avg_num_neighbors,
                    radial_MLP=list(config.radial_mlp),
                )
            )
            self.products.append(
                EquivariantProductBasisBlock(
                    basis, out, config.correlation, use_sc=layer > 0, num_elements=n_elements
                )
            )
            senders = out
        if config.normalisation is not None:
            for (interaction, _), value in zip(self.layers(), config.normalisation, strict=True):
                interaction.avg_num_neighbors = value
        for interaction, product in self.layers():
            fuse(interaction, product)

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights, in which features are computed."""
        return self.radial_embedding.radii.dtype

    def layers(self) -> list[tuple[InteractionBlock, EquivariantProductBasisBlock]]:
        """The two blocks of each layer."""
        return [
            (cast(InteractionBlock, interaction), cast(EquivariantProductBasisBlock, product))
            for interaction, product in zip(self.interactions, self.products, strict=True)
        ]

    def freeze(self, once_differentiable: bool) -> None:
        """Precompute what depends on the weights alone; they must not change any more.

        Parameters
        ----------
        once_differentiable : bool
            Allow no second derivatives of the features, for speed.
        """
        for _, product in self.layers():
            contraction = product.symmetric_contractions
            assert isinstance(contraction, FusedContraction)
            contraction.freeze(once_differentiable)

    def forward(self, graph: Graph, electrode: Tensor | None = None) -> Features:
        """Features of every atom.

        Parameters
        ----------
        graph : Graph
        electrode : Tensor (n_graphs,), optional
            The scaled electrode input; required by a backbone built with ``scalar_input``.
        """
        dtype = self.dtype
        attrs = nn.functional.one_hot(graph.species, self.n_elements).to(dtype)
        vectors = graph.edge_vectors().to(dtype)
        lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        harmonics = spherical_harmonics(vectors, lengths, self.config.max_ell)
        radial = self.radial_embedding.bessel_fn(lengths)
        envelope = self.radial_embedding.envelope(lengths, graph.species, graph.edge_index)
        layout = graph.layout or EdgeLayout.build(graph.edge_index[1], graph.n_atoms)
        elements = ElementOrder.build(graph.species, self.n_elements)
        features = self.node_embedding(attrs)
        if electrode is not None:
            state = {"electrode": electrode.to(dtype)}
            features = features + self.joint_embedding(graph.batch, state)
        outputs = []
        for interaction, product in self.layers():
            convolution, contraction = interaction.conv_tp, product.symmetric_contractions
            assert isinstance(convolution, FusedConvolution)
            assert isinstance(contraction, FusedContraction)
            convolution.layout, contraction.elements = layout, elements
            basis, residual = interaction(
                attrs, features, harmonics, radial, graph.edge_index, envelope
            )
            features = product(basis, residual, attrs)
            convolution.layout, contraction.elements = None, None
            outputs.append(features[:, : self.config.channels])
        return Features(outputs, basis[:, :, 1:4], vectors, lengths)

    def calibrate(self, graph: Graph, electrode: Tensor | None = None) -> tuple[float, ...]:
        """Normalise the messages so that each layer's atomic basis has unit scale.

        Dividing by the number of neighbours, as is usual, leaves a basis of order 0.01 in the first
        layer and 0.001 in the second with random weights; products of three such factors learn
        next to nothing.

        Parameters
        ----------
        graph : Graph
            A typical structure.
        electrode : Tensor (n_graphs,), optional

        Returns
        -------
        tuple of float
            The normalisation of each layer, for the configuration.
        """
        values = []
        for interaction, _ in self.layers():
            sizes: list[float] = []

            def record(_: nn.Module, __: object, output: tuple[Tensor, object],
                       sizes: list[float] = sizes) -> None:  # fmt: skip
                sizes.append(float(output[0].square().mean().sqrt()))

            handle = interaction.register_forward_hook(record)
            with torch.no_grad():
                self(graph, electrode)
            handle.remove()
            interaction.avg_num_neighbors *= sizes[0] / BASIS_SCALE
            values.append(float(interaction.avg_num_neighbors))
        self.config.normalisation = tuple(values)
        return self.config.normalisation


def cutoff_table(config: BackboneConfig, symbols: list[str]) -> Tensor:
    """Cut-off radius in A of every pair of elements, (n_elements, n_elements)."""
    table = torch.full((len(symbols), len(symbols)), config.r_max)
    for i, first in enumerate(symbols):
        for j, second in enumerate(symbols):
            key = "-".join(sorted((first, second)))
            table[i, j] = (config.pair_cutoffs or {}).get(key, config.r_max)
    return table


@contextmanager
def _without_torchscript() -> Iterator[None]:
    """Have e3nn build plain modules: TorchScript changes its rounding after the first calls."""
    before = get_optimization_defaults()
    set_optimization_defaults(jit_script_fx=False)
    try:
        with quiet_torchscript():
            yield
    finally:
        set_optimization_defaults(**before)
