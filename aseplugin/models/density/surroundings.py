"""Description of each atom's surroundings by the fixed features of a PE-MACE model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from voltase.aseplugin.models.density.harmonics import solid_harmonics_at
from voltase.aseplugin.models.density.inputs import DensityInput
from voltase.aseplugin.models.pemace import PEMACEModel

PLANE_CENTRES = (-4.5, -3.0, -1.5, 0.0, 1.5, 3.0, 4.5, 6.0, 7.5, 9.0)
"""Heights in A above the outermost plane of metal at which an atom's height is sampled; further
down and further up it counts as the first and the last."""
PLANE_WIDTH = 1.2
"""Standard deviation of the samples, A."""
FIELD_SCALE = 0.5
"""Unit of the long-range field, V/A."""
POTENTIAL_SCALE = 2.0
"""Unit of the long-range potential, V."""


class Surroundings(NamedTuple):
    """What surrounds each atom, and each atom as the face that it belongs to sees it.

    Attributes
    ----------
    scalars : Tensor (n_atoms, n_scalars)
    tensors : Tensor (n_atoms, n_tensors, (highest + 1)^2)
    plane_scalars : Tensor (n_rows, n_planes)
    plane_tensors : Tensor (n_rows, n_planes, (highest + 1)^2)
    """

    scalars: Tensor
    tensors: Tensor
    plane_scalars: Tensor
    plane_tensors: Tensor


def join_surroundings(parts: Sequence[Surroundings]) -> Surroundings:
    """Of several structures, in the order of `inputs.join`."""
    return Surroundings(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


class Describer(nn.Module):
    """Atom-centred description; nothing in it is trained here.

    Scalars are the leading principal components of the trunk's features of all layers, element by
    element, and the long-range potential: with few geometries, what hardly varies among them is
    where a network would learn them by heart. Tensors are sums over the neighbours of a radial
    function times a harmonic times what is known of the neighbour: its element, and the first few
    of these components, by which the description reaches as far as the trunk does; and the
    long-range field.

    Parameters
    ----------
    trunk : PEMACEModel
    highest : int
        Degree of the tensors.
    r_max : float
        Cut-off, A.
    n_radial, n_features, n_components : int
        Radial functions, and principal components of the features of an atom and of a neighbour.
    """

    feature_mean: Tensor
    components: Tensor
    tensor_mean: Tensor
    tensor_scale: Tensor
    potential_mean: Tensor

    def __init__(self, trunk: PEMACEModel, highest: int, r_max: float, n_radial: int,
                 n_features: int, n_components: int) -> None:  # fmt: skip
        super().__init__()
        self.trunk = trunk
        for parameter in trunk.parameters():
            parameter.requires_grad_(False)
        self.highest, self.r_max, self.n_radial = highest, r_max, n_radial
        backbone = trunk.config.backbone
        n_elements = len(trunk.config.symbols)
        n_raw = backbone.channels * backbone.num_interactions
        self.n_components = n_components
        self.n_scalars = n_features + 1
        n_sums = n_radial * (n_elements + n_components)
        self.n_tensors = n_sums + 1
        self.register_buffer("feature_mean", torch.zeros(n_elements, n_raw))
        self.register_buffer("components", torch.zeros(n_elements, n_raw, n_features))
        self.register_buffer("tensor_mean", torch.zeros(n_elements, n_sums))
        self.register_buffer("tensor_scale", torch.ones(n_elements, n_sums, highest + 1))
        self.register_buffer("potential_mean", torch.zeros(n_elements))

    def forward(self, structure: DensityInput) -> Surroundings:
        """Describe a structure."""
        species = structure.graph.species
        features = self._features(structure)
        sums = self._sums(structure, features)
        degree = _degrees(self.highest, sums.device)
        sums[:, :, 0] -= self.tensor_mean[species]
        sums = sums / self.tensor_scale[species][:, :, degree]
        electrostatics = structure.electrostatics.to(sums.dtype)
        offset = self.potential_mean[species].unsqueeze(1)
        potential = (electrostatics[:, :1] - offset) / POTENTIAL_SCALE
        field = sums.new_zeros(len(species), 1, sums.shape[2])
        field[:, 0, 1:4] = electrostatics[:, 1:] / FIELD_SCALE
        return Surroundings(
            scalars=torch.cat([features, potential], dim=1),
            tensors=torch.cat([sums, field], dim=1),
            **self._planes(structure, sums.dtype),
        )

    @torch.no_grad()
    def calibrate(self, structures: Sequence[DensityInput]) -> None:
        """Give every quantity mean zero (scalars) and unit scale over structures, by element."""
        species = torch.cat([s.graph.species for s in structures])
        features = torch.cat([self._raw(s) for s in structures])
        potential = torch.cat([s.electrostatics[:, 0] for s in structures]).to(features.dtype)
        for element in range(self.feature_mean.shape[0]):
            chosen = features[species == element]
            if len(chosen) < 2:
                continue
            self.feature_mean[element] = chosen.mean(0)
            self.potential_mean[element] = potential[species == element].mean()
            _, values, vectors = torch.linalg.svd(chosen - chosen.mean(0), full_matrices=False)
            count = min(self.components.shape[2], len(values))
            # The first has unit scale; the others keep their size beside it, but for a root.
            scale = (values[0] * values[:count]) ** 0.5 / len(chosen) ** 0.5
            self.components[element, :, :count] = vectors[:count].T / scale
        sums = torch.cat([self._sums(s, self._features(s)) for s in structures])
        degree = _degrees(self.highest, sums.device)
        for element in range(self.feature_mean.shape[0]):
            chosen = sums[species == element]
            if len(chosen) < 2:
                continue
            self.tensor_mean[element] = chosen[:, :, 0].mean(0)
            chosen[:, :, 0] -= self.tensor_mean[element]
            for ell in range(self.highest + 1):
                size = chosen[:, :, degree == ell].square().mean((0, 2)).sqrt()
                self.tensor_scale[element, :, ell] = size.clamp(min=0.05 * float(size.max()))

    def _raw(self, structure: DensityInput) -> Tensor:
        """Features of the trunk."""
        with torch.no_grad():
            return torch.cat(self.trunk.backbone(structure.graph).scalars, dim=1)

    def _features(self, structure: DensityInput) -> Tensor:
        """Principal components of the trunk's features."""
        species = structure.graph.species
        centred = self._raw(structure) - self.feature_mean[species]
        return torch.einsum("nf,nfc->nc", centred, self.components[species])

    def _sums(self, structure: DensityInput, features: Tensor) -> Tensor:
        """Sums over neighbours (n_atoms, n_sums, (highest + 1)^2)."""
        dtype = features.dtype
        sender, receiver = structure.edge_index
        vectors = structure.edge_vectors.to(dtype)
        lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        harmonics = solid_harmonics_at(vectors / lengths, self.highest)
        radial = bessel(lengths, self.n_radial, self.r_max)
        species = structure.graph.species
        elements = nn.functional.one_hot(species, self.feature_mean.shape[0]).to(dtype)
        known = torch.cat([elements, features[:, : self.n_components]], dim=1)[sender]
        channels = (radial.unsqueeze(2) * known.unsqueeze(1)).reshape(len(sender), -1)
        values = (channels.unsqueeze(2) * harmonics.unsqueeze(1)).reshape(len(sender), -1)
        total = values.new_zeros(structure.n_atoms, values.shape[1])
        total.index_add_(0, receiver, values)
        return total.view(structure.n_atoms, channels.shape[1], -1)

    def _planes(self, structure: DensityInput, dtype: torch.dtype) -> dict[str, Tensor]:
        """Height above the face, and the face's normal as tensors."""
        centres = torch.tensor(PLANE_CENTRES, device=structure.heights.device)
        heights = structure.heights.clamp(PLANE_CENTRES[0], PLANE_CENTRES[-1]).unsqueeze(1)
        samples = torch.exp(-0.5 * ((heights - centres) / PLANE_WIDTH) ** 2).to(dtype)
        normals = solid_harmonics_at(structure.graph.normals, self.highest).to(dtype)
        tensors = samples.unsqueeze(2) * normals[structure.faces].unsqueeze(1)
        return {"plane_scalars": samples, "plane_tensors": tensors}


def bessel(lengths: Tensor, count: int, r_max: float) -> Tensor:
    """Radial functions (n, count) that end smoothly at r_max (arXiv 2003.03123)."""
    x = (lengths / r_max).clamp(max=1.0)
    order = torch.arange(1, count + 1, device=lengths.device, dtype=lengths.dtype)
    envelope = 1.0 - 10.0 * x**3 + 15.0 * x**4 - 6.0 * x**5
    return (2.0 / r_max) ** 0.5 * torch.sin(torch.pi * order * x) / lengths * envelope


def _degrees(highest: int, device: torch.device) -> Tensor:
    """Degree of each component ((highest + 1)^2,)."""
    sizes = torch.tensor([2 * degree + 1 for degree in range(highest + 1)], device=device)
    return torch.repeat_interleave(torch.arange(highest + 1, device=device), sizes)
