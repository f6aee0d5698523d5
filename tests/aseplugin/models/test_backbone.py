"""The feature network against upstream's own blocks, and its invariances."""

from collections.abc import Iterator

import pytest
import torch
from e3nn import o3

from voltase.aseplugin.models import backbone as backbone_module
from voltase.aseplugin.models.backbone import Backbone, BackboneConfig
from voltase.aseplugin.models.graph import Graph
from voltase.aseplugin.models.harmonics import spherical_harmonics

ELEMENTS = ["H", "O", "Pt"]
ATOMS = 30


@pytest.fixture
def graph() -> Graph:
    generator = torch.Generator().manual_seed(4)
    positions = 6.0 * torch.rand(ATOMS, 3, generator=generator, dtype=torch.float64)
    distances = torch.cdist(positions, positions).fill_diagonal_(99.0)
    receivers, senders = torch.nonzero(distances < 4.5).T
    zero = torch.zeros(ATOMS, dtype=torch.long)
    return Graph(
        positions=positions,
        species=torch.arange(ATOMS) % 3,
        edge_index=torch.stack([senders, receivers]),
        shifts=torch.zeros(len(senders), 3, dtype=torch.float64),
        batch=zero,
        domain=zero[:1],
        face=zero,
        normals=torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64),
        areas=torch.ones(1, dtype=torch.float64),
        face_graph=zero[:1],
    )


def build(monkeypatch: pytest.MonkeyPatch | None, **settings: int) -> Backbone:
    """With a patch: upstream's blocks as they are, with the same weights."""
    torch.manual_seed(3)
    config = BackboneConfig(channels=4, radial_mlp=(8,), pair_cutoffs={"H-H": 3.0}, **settings)
    if monkeypatch is None:
        return Backbone(config, ELEMENTS, scalar_input=False).double()
    with monkeypatch.context() as patch:
        patch.setattr(backbone_module, "fuse", lambda interaction, product: None)
        return Backbone(config, ELEMENTS, scalar_input=False).double()


def largest(tensor: torch.Tensor) -> float:
    return float(tensor.detach().abs().max())


def upstream_scalars(backbone: Backbone, graph: Graph) -> Iterator[torch.Tensor]:
    """Scalars of each layer from upstream's blocks, one tensor product an edge."""
    attrs = torch.nn.functional.one_hot(graph.species, 3).double()
    vectors = graph.edge_vectors()
    lengths = vectors.norm(dim=1, keepdim=True)
    harmonics = spherical_harmonics(vectors, lengths, backbone.config.max_ell)
    radial = backbone.radial_embedding.bessel_fn(lengths)
    envelope = backbone.radial_embedding.envelope(lengths, graph.species, graph.edge_index)
    features = backbone.node_embedding(attrs)
    for interaction, product in backbone.layers():
        basis, residual = interaction(attrs, features, harmonics, radial, graph.edge_index,
                                      envelope)  # fmt: skip
        features = product(basis, residual, attrs)
        yield features[:, : backbone.config.channels]


@pytest.mark.parametrize(
    ("max_L", "max_ell", "correlation"), [(0, 2, 3), (0, 3, 2), (1, 2, 2), (1, 3, 3)]
)
def test_features_and_their_gradients_are_upstreams(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, max_L: int, max_ell: int, correlation: int
) -> None:
    settings = {"max_L": max_L, "max_ell": max_ell, "correlation": correlation}
    fused, upstream = build(None, **settings), build(monkeypatch, **settings)
    graph.positions.requires_grad_(True)
    found = fused(graph).scalars
    expected = list(upstream_scalars(upstream, graph))
    for mine, theirs in zip(found, expected, strict=True):
        # e3nn keeps its coupling coefficients in float32.
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-8 * largest(theirs))
    weight = torch.randn_like(found[-1])
    mine, theirs = (
        torch.autograd.grad((scalars[-1] * weight).sum(), graph.positions)[0]
        for scalars in (found, expected)
    )
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6 * largest(theirs))


@pytest.mark.parametrize("max_L", [0, 1])
def test_scalars_do_not_turn_and_vectors_do(graph: Graph, max_L: int) -> None:
    backbone = build(None, max_L=max_L, max_ell=2, correlation=2)
    before = backbone(graph)
    rotation = o3.rand_matrix().double()
    graph.positions = graph.positions @ rotation.T
    after = backbone(graph)
    for old, new in zip(before.scalars, after.scalars, strict=True):
        torch.testing.assert_close(new, old, rtol=1e-5, atol=1e-6 * largest(old))
    turned = before.vectors @ rotation.T
    torch.testing.assert_close(after.vectors, turned, rtol=1e-5,
                               atol=1e-6 * largest(turned))  # fmt: skip


def test_vectors_let_a_layer_see_how_a_neighbour_lies(graph: Graph) -> None:
    """Scalar messages cannot tell two ways of turning the far end of a pair of neighbours."""
    places = {"max_ell": 1, "correlation": 1}
    differences = []
    for max_L in (0, 1):
        backbone = build(None, max_L=max_L, **places)
        energies = []
        for y in (2.0, -2.0):  # a chain of three bonds: its end on the same or the other side
            graph.positions = 50.0 * torch.arange(ATOMS, dtype=torch.float64)[:, None].expand(-1, 3)
            graph.positions = graph.positions + 50.0
            graph.positions[:3] = torch.tensor([[0.0, 0, 0], [2.0, 0, 0], [1.5, y, 0]])
            graph.edge_index = torch.tensor([[1, 2, 0, 1], [0, 1, 1, 2]])
            order = torch.argsort(graph.edge_index[1], stable=True)
            graph.edge_index = graph.edge_index[:, order]
            graph.shifts = torch.zeros(4, 3, dtype=torch.float64)
            energies.append(backbone(graph).vectors[0, :, 1].detach())
        differences.append(float((energies[0] - energies[1]).abs().max()))
    assert differences[0] < 1e-12
    assert differences[1] > 1e-5


def test_no_module_is_compiled(graph: Graph) -> None:
    """TorchScript rounds its first calls differently: a restarted run would part from itself."""
    backbone = build(None, max_L=1)
    assert not [m for m in backbone.modules() if isinstance(m, torch.jit.ScriptModule)]
    first = backbone(graph).scalars[-1]
    assert all(torch.equal(first, backbone(graph).scalars[-1]) for _ in range(3))
