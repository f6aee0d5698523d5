"""PE-EDP: Gaussian coefficients of the electron density as a polynomial of the electrode's charge.

    c(R, s) = c0(R) + sum over faces of (c1_f(R) s_f + c2_f(R) s_f^2),    s_f = n_f / A_f

c0 is an atomic superposition plus what the surroundings change; c1 and c2 depend also on an atom's
height above the face and on the face's normal. Given the geometry, the density at any charge and
its derivatives are closed forms. The electrode potential that belongs to a charge is that of the
PE-MACE model whose features describe the surroundings, so that both models agree on it.

Every part has the electrons that it must have, exactly: c0 those of the neutral atoms, c1 one a
unit of n, c2 none. What the network misses is put on a diffuse s function of each atom, by learned
weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from ase.data import atomic_numbers
from torch import Tensor, nn

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.density.basis import Channels, default_shells, element_channels
from voltase.aseplugin.models.density.heads import TensorHead
from voltase.aseplugin.models.density.inputs import DensityInput
from voltase.aseplugin.models.density.surroundings import (
    PLANE_CENTRES,
    Describer,
    Surroundings,
)
from voltase.aseplugin.models.electrode import CHARGE_SCALE
from voltase.aseplugin.models.graph import Graph
from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel

DIFFUSE = 1
"""Which s function of an element, from the most diffuse, takes the electrons that are missing."""
SKIN = (-2.0, -0.8, 4.0, 6.0)
"""Heights in A between which atoms may take a part of the electrode's charge: none below the first
and above the last, all between the middle two."""


@dataclass
class DensityConfig:
    """Everything needed to build a PE-EDP network, but its trunk.

    Attributes
    ----------
    valence : dict
        Electrons of each neutral atom in the densities, by symbol.
    domain : str or None
        Domain of the trunk whose potentials are meant; its first one if None.
    shells : dict or None
        Rows (l, exponent in A^-2) by symbol; `default_shells` if None.
    highest : int
        Degree of the tensors, not below that of any shell.
    r_max : float
        Cut-off in A of the sums over neighbours.
    n_radial, n_features, n_components : int
        See `Describer`.
    width, hidden : int
        Mixed tensors and hidden width of the heads, see `TensorHead`.
    response_width, response_hidden : int
        The same of the heads of the response.
    bond_charges : dict
        Charge in e that a bond moves, keyed "O-H" (from, to): the formal charges of the
        long-range potential.
    screened : list of float
        Two heights in A between which the metal's response fades: below the face, the metal has
        screened its charge, in a slab of any thickness.
    """

    valence: dict[str, int] = field(default_factory=dict)
    domain: str | None = None
    shells: dict[str, list[list[float]]] | None = None
    highest: int = 4
    r_max: float = 5.0
    n_radial: int = 6
    n_features: int = 12
    n_components: int = 2
    width: int = 24
    hidden: int = 64
    response_width: int = 12
    response_hidden: int = 24
    bond_charges: dict[str, float] = field(default_factory=lambda: {"O-H": 0.4})
    screened: list[float] = field(default_factory=lambda: [-4.2, -1.8])

    def __post_init__(self) -> None:
        for name in ("n_radial", "n_features", "n_components", "width", "hidden",
                     "response_width", "response_hidden"):  # fmt: skip
            if getattr(self, name) < 1:
                raise InputError(f"{name}: found {getattr(self, name)}, expected one or more")
        for symbol, count in self.valence.items():
            if symbol not in atomic_numbers or not 0 < count <= atomic_numbers[symbol]:
                raise InputError(
                    f"valence: found {symbol}={count}, expected elements with valence electrons"
                )
        if not 0 <= self.highest <= 4:
            raise InputError(f"highest: found {self.highest}, expected 0 to 4")
        if len(self.screened) != 2 or self.screened[0] >= self.screened[1]:
            raise InputError(f"screened: found {self.screened}, expected two heights, ascending")
        if not 0.0 < self.r_max < 20.0:
            raise InputError(f"r_max: found {self.r_max}, expected a length in A")

    def as_dict(self) -> dict[str, Any]:
        """Plain types only."""
        return asdict(self)


class Coefficients(NamedTuple):
    """Coefficients of structures in the channels, at any charge.

    Attributes
    ----------
    neutral : Tensor (n,)
    linear, quadratic : Tensor (m,)
        Per s and s^2, with s = n / A in units of `CHARGE_SCALE`.
    places, face : Tensor (m,)
        Which coefficient each of these adds to, and the face whose charge it answers.
    """

    neutral: Tensor
    linear: Tensor
    quadratic: Tensor
    places: Tensor
    face: Tensor

    def at(self, density: Tensor) -> Tensor:
        """Coefficients (k, n) for charges per area (k, n_faces) in e/A^2."""
        s = (density / CHARGE_SCALE)[:, self.face]
        start = self.neutral.expand(density.shape[0], -1)
        return start.index_add(1, self.places, s * self.linear + s**2 * self.quadratic)

    def along(self, density: Tensor, direction: Tensor) -> Tensor:
        """Derivative (n,) where the charges (n_faces,) change in a direction (n_faces,)."""
        s, change = (density / CHARGE_SCALE)[self.face], (direction / CHARGE_SCALE)[self.face]
        zero = torch.zeros_like(self.neutral)
        return zero.index_add(0, self.places, change * (self.linear + 2.0 * s * self.quadratic))


class Layout(NamedTuple):
    """Where the atoms of structures have their coefficients.

    Attributes
    ----------
    atoms : list of Tensor
        Atoms of each element.
    places : list of Tensor (n_atoms of the element, channels)
        Their coefficients in the flat array.
    size : int
    """

    atoms: list[Tensor]
    places: list[Tensor]
    size: int


class DensityModel(nn.Module):
    """The network.

    Parameters
    ----------
    config : DensityConfig
    trunk : PEMACEModel
        Its features describe the surroundings, its charges and potentials the electrode.
    """

    def __init__(self, config: DensityConfig, trunk: PEMACEModel) -> None:
        super().__init__()
        symbols = trunk.config.symbols
        missing = [symbol for symbol in symbols if symbol not in config.valence]
        if missing:
            raise InputError(f"valence: found none for {missing[0]}, expected one for {symbols}")
        self.config, self.symbols = config, symbols
        shells = default_shells(symbols, trunk.config.electrode_symbols)
        if config.shells is not None:
            unknown = [symbol for symbol in symbols if symbol not in config.shells]
            if unknown:
                raise InputError(
                    f"shells: found none for {unknown[0]}, expected some for {symbols}"
                )
            shells = {s: [(int(row[0]), float(row[1])) for row in config.shells[s]]
                      for s in symbols}  # fmt: skip
        config.shells = {s: [[degree, exponent] for degree, exponent in rows]
                         for s, rows in shells.items()}  # fmt: skip
        if trunk.config.embedding != "electrons" or not trunk.closed_form:
            raise InputError(
                "trunk: found a model that embeds the electrode in its features, expected one of "
                "embedding 'electrons' and coupling 'dipole'"
            )
        self.basis, by_number = element_channels(shells)
        if self.basis.highest_degree > config.highest:
            raise InputError(
                f"highest: found {config.highest}, expected at least the degree "
                f"{self.basis.highest_degree} of a shell"
            )
        self.channels: list[Channels] = [by_number[atomic_numbers[s]] for s in symbols]
        self.describer = Describer(trunk, config.highest, config.r_max, config.n_radial,
                                   config.n_features, config.n_components)  # fmt: skip
        shape = (self.describer.n_scalars, self.describer.n_tensors, config.highest)
        planes = len(PLANE_CENTRES)
        self.neutral = nn.ModuleList(
            TensorHead(*shape, found.counts, config.width, config.hidden) for found in self.channels
        )
        self.response = nn.ModuleList(
            TensorHead(shape[0] + planes, shape[1] + planes, shape[2],
                       [2 * count for count in found.counts],
                       config.response_width, config.response_hidden)
            for found in self.channels
        )  # fmt: skip
        # Weights of the missing electrons: of the neutral atoms, of the linear, of the quadratic.
        self.spill = nn.ModuleList(nn.Linear(shape[0], 1) for _ in symbols)
        self.take = nn.ModuleList(nn.Linear(shape[0] + planes, 2) for _ in symbols)
        for layer in [*self.spill, *self.take]:
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        self._buffers_of_channels()

    def _buffers_of_channels(self) -> None:
        """Per element: superposition, mixing of channels, their electrons, the diffuse function."""
        for symbol, found in zip(self.symbols, self.channels, strict=True):
            spheres = found.counts[0]
            weights = self.basis.electron_weights([atomic_numbers[symbol]]) @ found.matrix
            shells = self.basis.shells(atomic_numbers[symbol])
            order = np.argsort([s.exponent if s.degree == 0 else np.inf for s in shells])
            diffuse = shells[order[min(DIFFUSE, spheres - 1)]]
            place = sum(s.size for s in shells[: shells.index(diffuse)])
            unit = np.zeros(found.matrix.shape[0])
            unit[place] = 1.0
            coefficients = np.linalg.lstsq(found.matrix, unit, rcond=None)[0]
            self.register_buffer(f"electrons_{symbol}", _double(weights))
            self.register_buffer(
                f"diffuse_{symbol}", _double(coefficients / (weights @ coefficients))
            )  # noqa: E501
            self.register_buffer(f"superposition_{symbol}", _double(np.zeros(found.size)))
            self.register_buffer(f"mix_{symbol}", torch.eye(found.size))
            self.register_buffer(f"response_mix_{symbol}", torch.eye(found.size))

    @property
    def trunk(self) -> PEMACEModel:
        """The PE-MACE model inside."""
        return self.describer.trunk

    @property
    def trunk_config(self) -> PEMACEConfig:
        """Configuration of the trunk."""
        return self.trunk.config

    @property
    def domain(self) -> int:
        """Index of the trunk's domain whose potentials are meant."""
        domains = self.trunk.config.domains
        name = self.config.domain
        if name is not None and name not in domains:
            raise InputError(f"domain: found {name!r}, expected one of {', '.join(domains)}")
        return 0 if name is None else domains.index(name)

    def per_element(self, name: str) -> list[Tensor]:
        """A buffer of every element."""
        return [getattr(self, f"{name}_{symbol}") for symbol in self.symbols]

    def layout(self, species: Tensor) -> Layout:
        """Order of the coefficients of atoms of these elements: atom by atom."""
        sizes = torch.tensor([found.size for found in self.channels], device=species.device)
        counts = sizes[species]
        starts = torch.cumsum(counts, 0) - counts
        atoms, places = [], []
        for element, found in enumerate(self.channels):
            members = torch.nonzero(species == element).flatten()
            atoms.append(members)
            columns = torch.arange(found.size, device=species.device)
            places.append(starts[members].unsqueeze(1) + columns)
        return Layout(atoms, places, int(counts.sum()))

    def forward(self, structure: DensityInput) -> Coefficients:
        """Coefficients of a structure."""
        return self.coefficients(structure, self.describer(structure))

    def coefficients(self, structure: DensityInput, seen: Surroundings) -> Coefficients:
        """Coefficients from a description, which does not change in training."""
        layout = self.layout(structure.graph.species)
        return Coefficients(
            self._neutral(structure.graph, layout, seen),
            *self._response(structure, layout, seen),
        )

    def _neutral(self, graph: Graph, layout: Layout, seen: Surroundings) -> Tensor:
        flat = torch.zeros(layout.size, dtype=torch.float64, device=seen.scalars.device)
        missing, total_weight = flat.new_zeros(graph.n_graphs), flat.new_zeros(graph.n_graphs)
        parts = []
        for element, (atoms, places) in enumerate(zip(layout.atoms, layout.places, strict=True)):
            if not len(atoms):
                continue
            learned = self.neutral[element](seen.scalars[atoms], seen.tensors[atoms])
            superposition, mix, electrons, diffuse = self._of_element(
                element, "superposition", "mix", "electrons", "diffuse"
            )
            values = superposition + (learned @ mix).double()
            valence = float(self.config.valence[self.symbols[element]])
            weight = nn.functional.softplus(self.spill[element](seen.scalars[atoms])).double()
            batch = graph.batch[atoms]
            missing = missing.index_add(0, batch, valence - values @ electrons)
            total_weight = total_weight.index_add(0, batch, weight.squeeze(1))
            parts.append((batch, places, values, weight, diffuse))
        spread = missing / total_weight
        for batch, places, values, weight, diffuse in parts:
            total = values + spread[batch].unsqueeze(1) * weight * diffuse
            flat = flat.index_copy(0, places.flatten(), total.flatten())
        return flat

    def _response(self, structure: DensityInput, layout: Layout, seen: Surroundings
                  ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        graph, device = structure.graph, seen.scalars.device
        found = torch.zeros(2, graph.n_faces, dtype=torch.float64, device=device)
        weights = torch.zeros_like(found)
        species = graph.species[structure.atoms]
        where = torch.empty(graph.n_atoms, dtype=torch.int64, device=device)
        parts = []
        for element, (members, places) in enumerate(zip(layout.atoms, layout.places, strict=True)):
            rows = torch.nonzero(species == element).flatten()
            if not len(rows):
                continue
            where[members] = torch.arange(len(members), device=device)
            atoms, faces = structure.atoms[rows], structure.faces[rows]
            share, heights = structure.share[rows].double(), structure.heights[rows].double()
            if self.symbols[element] in self.trunk_config.electrode_symbols:
                low, full = self.config.screened
                share = share * _step((heights - low) / (full - low))
            scalars = torch.cat([seen.scalars[atoms], seen.plane_scalars[rows]], dim=1)
            tensors = torch.cat([seen.tensors[atoms], seen.plane_tensors[rows]], dim=1)
            learned = self._split(element, self.response[element](scalars, tensors))
            mix, electrons, diffuse = self._of_element(element, "response_mix", "electrons",
                                                       "diffuse")  # fmt: skip
            values = (learned @ mix).double() * share.unsqueeze(1)  # (2, n_rows, channels)
            weight = nn.functional.softplus(self.take[element](scalars)).double().T
            weight = weight * (share * skin(heights))
            found = found.index_add(1, faces, values @ electrons)
            weights = weights.index_add(1, faces, weight)
            parts.append((faces, places[where[atoms]], values, weight, diffuse))
        wanted = torch.stack([graph.areas * CHARGE_SCALE, torch.zeros_like(graph.areas)])
        spread = (wanted - found) / weights.clamp(min=1e-12)
        total = torch.cat([
            (values + (spread[:, faces] * weight).unsqueeze(2) * diffuse).flatten(1)
            for faces, _, values, weight, diffuse in parts
        ], dim=1)  # fmt: skip
        index = torch.cat([places.flatten() for _, places, *_ in parts])
        face = torch.cat([faces.unsqueeze(1).expand_as(p).flatten() for faces, p, *_ in parts])
        return total[0], total[1], index, face

    def _split(self, element: int, values: Tensor) -> Tensor:
        """The linear and the quadratic part (2, n, channels) of what the head gives together."""
        linear, quadratic, column = [], [], 0
        for degree, count in enumerate(self.channels[element].counts):
            width = count * (2 * degree + 1)
            linear.append(values[:, column : column + width])
            quadratic.append(values[:, column + width : column + 2 * width])
            column += 2 * width
        return torch.stack([torch.cat(linear, dim=1), torch.cat(quadratic, dim=1)])

    def _of_element(self, element: int, *names: str) -> list[Tensor]:
        return [getattr(self, f"{name}_{self.symbols[element]}") for name in names]

    def to_gaussians(self, species: Tensor, coefficients: Tensor) -> npt.NDArray[np.float64]:
        """Coefficients of `GaussianBasis` (n_functions,) from those of the channels (n,)."""
        values = coefficients.detach().cpu().double().numpy()
        found, start = [], 0
        for element in species.tolist():
            channels = self.channels[element]
            found.append(channels.matrix @ values[start : start + channels.size])
            start += channels.size
        return np.concatenate(found) if found else np.zeros(0)

    @torch.no_grad()
    def set_statistics(self, superposition: Mapping[str, npt.ArrayLike],
                       mix: Mapping[str, npt.ArrayLike],
                       response_mix: Mapping[str, npt.ArrayLike]) -> None:  # fmt: skip
        """Take over what was found in the training data: means and typical deviations."""
        for name, found in (
            ("superposition", superposition),
            ("mix", mix),
            ("response_mix", response_mix),
        ):
            for symbol, values in found.items():
                buffer = getattr(self, f"{name}_{symbol}")
                buffer.copy_(torch.as_tensor(np.asarray(values), dtype=buffer.dtype))


def skin(heights: Tensor) -> Tensor:
    """One where atoms may take the electrode's charge, zero far from the face, smooth between."""
    low, full, fading, high = SKIN
    return _step((heights - low) / (full - low)) * _step((high - heights) / (high - fading))


def _step(x: Tensor) -> Tensor:
    x = x.clamp(0.0, 1.0)
    return x**3 * (10.0 - 15.0 * x + 6.0 * x**2)


def _double(values: npt.ArrayLike) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)
