"""PE-MACE: a MACE energy that depends on the charge or the potential of the electrode.

Two embeddings of the electrode (arXiv 2604.07322 has the second):

``electrons``
    E(R, n); the potential is -dE/dn.
``potential``
    Omega(R, Phi); the electron number is dOmega/dPhi.

and two couplings: ``dipole`` (the electrode's field acts on learned atomic dipoles along the
surface normal, see `electrode`) and ``scalar`` (the number is embedded into the node features, as
in the paper). Both are extensive, with intensive inputs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import torch
from ase.data import atomic_numbers
from mace.modules.blocks import LinearReadoutBlock, NonLinearReadoutBlock
from torch import Tensor, nn

from voltase.aseplugin.errors import ExtrapolationError, InputError
from voltase.aseplugin.models.backbone import Backbone, BackboneConfig, Features
from voltase.aseplugin.models.electrode import (
    CHARGE_SCALE,
    POTENTIAL_CENTRE,
    POTENTIAL_SCALE,
    ElectrodeHead,
    polynomial,
)
from voltase.aseplugin.models.graph import Graph
from voltase.aseplugin.models.third_party import quiet_torchscript

Embedding = Literal["electrons", "potential"]
Coupling = Literal["dipole", "scalar"]
Readouts = Literal["own", "shared"]


@dataclass
class PEMACEConfig:
    """Everything needed to build a PE-MACE network.

    Attributes
    ----------
    symbols : list of str
        Elements in ascending atomic number.
    electrode_symbols : list of str
        Elements that make the electrode, by which its faces are found.
    embedding, coupling : str
        See the module's docstring.
    domains : list of str
        Training domains (reference codes), each with its own capacitor.
    readouts : str
        ``"own"``: each domain reads its energy off the features alone. ``"shared"``: the domains
        after the first add corrections linear in the features of all layers but the last to the
        first one's readouts, so that what one of them has learned (of bonds that break, say)
        serves the others.
    n_members : int
        Committee members (readouts on one backbone).
    atomic_energies : list of list of float
        (n_domains, n_elements) in eV.
    capacitance : list of float
        First guess for each domain in e/(V A^2).
    zero_charge_potential : list of float
        First guess for each domain in V, absolute.
    dipole_scale : list of float
        First guess for each domain of the field that the atoms feel, over n / (eps0 A).
    depolarisation : list of float
        First guess for each domain of the film's electronic permittivity.
    bond_charges : dict
        First guess of bond charges in e, keyed "O-H".
    backbone : BackboneConfig

    Raises
    ------
    InputError
        If a value is out of place.
    """

    symbols: list[str]
    electrode_symbols: list[str] = field(default_factory=lambda: ["Pt"])
    embedding: Embedding = "electrons"
    coupling: Coupling = "dipole"
    domains: list[str] = field(default_factory=lambda: ["default"])
    readouts: Readouts = "own"
    n_members: int = 1
    atomic_energies: list[list[float]] | None = None
    capacitance: list[float] | None = None
    zero_charge_potential: list[float] | None = None
    dipole_scale: list[float] | None = None
    depolarisation: list[float] | None = None
    bond_charges: dict[str, float] = field(default_factory=lambda: {"O-H": 0.30})
    backbone: BackboneConfig = field(default_factory=BackboneConfig)

    def __post_init__(self) -> None:
        for name, kind in (
            ("embedding", Embedding),
            ("coupling", Coupling),
            ("readouts", Readouts),
        ):
            allowed = get_args(kind)
            found = getattr(self, name)
            if found not in allowed:
                raise InputError(f"{name}: found {found!r}, expected one of {', '.join(allowed)}")
        for name in ("symbols", "electrode_symbols"):
            found = getattr(self, name)
            if not found or any(symbol not in atomic_numbers for symbol in found):
                raise InputError(f"{name}: found {found!r}, expected chemical symbols")
        if not self.domains or len(set(self.domains)) != len(self.domains):
            raise InputError(f"domains: found {self.domains!r}, expected names that differ")
        if self.readouts == "shared" and len(self.domains) > 1 > self.backbone.num_interactions - 1:
            raise InputError(
                "readouts: found 'shared' with one interaction, expected backbone.num_interactions "
                "of 2 or more"
            )
        if self.n_members < 1:
            raise InputError(f"n_members: found {self.n_members}, expected one or more")
        for name in ("atomic_energies", "capacitance", "zero_charge_potential", "dipole_scale",
                     "depolarisation"):  # fmt: skip
            found = getattr(self, name)
            if found is not None and len(found) != len(self.domains):
                raise InputError(
                    f"{name}: found {len(found)} values, expected one for each of the "
                    f"{len(self.domains)} domains"
                )

    def as_dict(self) -> dict[str, Any]:
        """Plain types only."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PEMACEConfig:
        """Inverse of `as_dict`."""
        data = dict(data)
        backbone = dict(data.pop("backbone"))
        backbone["radial_mlp"] = tuple(backbone["radial_mlp"])
        if backbone.get("normalisation") is not None:
            backbone["normalisation"] = tuple(backbone["normalisation"])
        return cls(backbone=BackboneConfig(**backbone), **data)


class Description(NamedTuple):
    """What the geometry fixes, from which any charge or potential is evaluated at little cost.

    Attributes
    ----------
    energy : Tensor (n_graphs, n_members)
        The part that the faces' polynomials do not contain, eV.
    coefficients : Tensor (n_faces, n_members, 5)
        Of each face's polynomial.
    centre : Tensor (n_faces, n_members) or None
        Potential of zero charge in V (``potential`` embedding only).
    """

    energy: Tensor
    coefficients: Tensor
    centre: Tensor | None


class PEMACEModel(nn.Module):
    """The network.

    Parameters
    ----------
    config : PEMACEConfig
    """

    atomic_energies: Tensor

    def __init__(self, config: PEMACEConfig) -> None:
        super().__init__()
        self.config = config
        n_domains, n_elements = len(config.domains), len(config.symbols)
        members = config.n_members
        channels = config.backbone.channels
        self.backbone = Backbone(config.backbone, config.symbols, config.coupling == "scalar")
        scalars = f"{channels}x0e"
        own = config.readouts == "own"
        n_out, n_hidden = members * (n_domains if own else 1), 16 * members * n_domains
        n_linear = config.backbone.num_interactions - 1
        n_corrected = 0 if own else members * (n_domains - 1)
        with quiet_torchscript():
            blocks: list[nn.Module] = _linear_readouts(scalars, n_out, n_linear)
            blocks.append(
                NonLinearReadoutBlock(scalars, f"{n_hidden}x0e", nn.functional.silu,
                                      f"{n_out}x0e", num_heads=1)
            )  # fmt: skip
            self.readouts = nn.ModuleList(blocks)
            self.corrections = nn.ModuleList(
                _linear_readouts(scalars, n_corrected, n_linear if n_corrected else 0)
            )
        self.electrode = ElectrodeHead(
            channels,
            config.symbols,
            n_domains,
            members,
            torch.tensor(config.capacitance or [2e-3] * n_domains),
            torch.tensor(config.zero_charge_potential or [4.9] * n_domains),
            torch.tensor(config.dipole_scale or [1.0] * n_domains),
            torch.tensor(config.depolarisation or [2.0] * n_domains),
            config.bond_charges,
            config.electrode_symbols,
            atom_terms=config.coupling == "dipole",
        )
        energies = config.atomic_energies or [[0.0] * n_elements] * n_domains
        self.register_buffer("atomic_energies", torch.tensor(energies, dtype=torch.float64))

    @property
    def numbers(self) -> list[int]:
        """Atomic numbers, ascending."""
        return [atomic_numbers[s] for s in self.config.symbols]

    @property
    def closed_form(self) -> bool:
        """Whether one description serves every charge or potential of a geometry."""
        return self.config.coupling == "dipole"

    def describe(self, graph: Graph, electrode: Tensor | None = None) -> Description:
        """Run the network on the geometry.

        Parameters
        ----------
        graph : Graph
        electrode : Tensor (n_graphs,), optional
            n (e) or Phi (V); needed by the ``scalar`` coupling, ignored by ``dipole``.
        """
        scaled = None if self.closed_form else self._scaled_input(graph, electrode)
        features = self.backbone(graph, scaled)
        energy = self._energy(graph, features)
        if self.config.embedding == "electrons":
            return Description(energy, self.electrode.electron_polynomial(graph, features), None)
        coefficients, centre = self.electrode.potential_polynomial(graph, features)
        return Description(energy, coefficients, centre)

    def face_input(self, graph: Graph, description: Description, electrode: Tensor) -> Tensor:
        """Variable of the faces' polynomials, (n_faces, n_members).

        Charge per area (e/A^2; several faces of one structure share n so that their potentials
        agree), or the distance of Phi from the potential of zero charge (V).
        """
        x = electrode[graph.face_graph].unsqueeze(1)
        if description.centre is not None:
            return x - description.centre
        density = (x / graph.areas.unsqueeze(1)).expand_as(description.coefficients[..., 0])
        if graph.n_faces == graph.n_graphs:
            return density
        return share_charge(graph, description.coefficients, electrode)

    def evaluate(self, graph: Graph, description: Description, electrode: Tensor) -> Tensor:
        """E(R, n) or Omega(R, Phi) in eV, (n_graphs, n_members); atomic energies left out."""
        x = self.face_input(graph, description, electrode)
        faces = polynomial(description.coefficients, x)
        return description.energy.index_add(0, graph.face_graph, faces)

    def freeze(self) -> None:
        """Precompute what depends on the weights alone; they must not change any more."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        # Without a closed form the capacitance is a second derivative through the network.
        self.backbone.freeze(once_differentiable=self.closed_form)

    def conjugate(self, graph: Graph, description: Description, electrode: Tensor) -> Tensor:
        """Phi = -dE/dn (V) or n = dOmega/dPhi (e) in closed form, (n_graphs, n_members).

        For the ``scalar`` coupling this is the capacitor's part alone: differentiate
        `evaluate` instead.
        """
        x = self.face_input(graph, description, electrode)
        slope = polynomial(description.coefficients, x, order=1)
        zero = torch.zeros_like(description.energy)
        if description.centre is None:
            # All faces of a structure are at one potential: average their equal values.
            count = torch.bincount(graph.face_graph, minlength=graph.n_graphs).unsqueeze(1)
            return zero.index_add(0, graph.face_graph, -slope / graph.areas.unsqueeze(1)) / count
        return zero.index_add(0, graph.face_graph, slope)

    def capacitance(self, graph: Graph, description: Description, electrode: Tensor) -> Tensor:
        """-dn/dPhi at fixed geometry in e/V from the closed form, (n_graphs, n_members)."""
        x = self.face_input(graph, description, electrode)
        curvature = polynomial(description.coefficients, x, order=2)
        if description.centre is None:
            curvature = -(graph.areas.unsqueeze(1) ** 2) / curvature
        zero = torch.zeros_like(description.energy)
        return zero.index_add(0, graph.face_graph, -curvature)

    def reference_energy(self, graph: Graph) -> Tensor:
        """Sum of atomic energies (n_graphs,) in eV, float64."""
        values = self.atomic_energies[graph.domain[graph.batch], graph.species]
        zero = values.new_zeros(graph.n_graphs)
        return zero.index_add(0, graph.batch, values)

    def _energy(self, graph: Graph, features: Features) -> Tensor:
        members = self.config.n_members
        total = torch.stack(
            [readout(layer) for readout, layer in zip(self.readouts, features.scalars, strict=True)]
        ).sum(0)
        total = total.view(graph.n_atoms, -1, members)
        if self.corrections:
            total = torch.cat([total, total + self._corrections(features)], dim=1)
        domain = graph.domain[graph.batch].view(-1, 1, 1).expand(-1, 1, members)
        per_atom = total.gather(1, domain).squeeze(1)
        zero = graph.positions.new_zeros((graph.n_graphs, members))
        return zero.index_add(0, graph.batch, per_atom.to(zero.dtype))

    def _corrections(self, features: Features) -> Tensor:
        """Energies of the atoms in the domains after the first, over those in the first (eV).

        Shape (n_atoms, n_domains - 1, n_members).
        """
        layers = zip(self.corrections, features.scalars[:-1], strict=True)
        total = torch.stack([readout(layer) for readout, layer in layers]).sum(0)
        return total.view(total.shape[0], -1, self.config.n_members)

    def _scaled_input(self, graph: Graph, electrode: Tensor | None) -> Tensor:
        if electrode is None:
            raise ValueError("electrode: found None, expected one number a structure")
        if self.config.embedding == "potential":
            return (electrode - POTENTIAL_CENTRE) / POTENTIAL_SCALE
        area = torch.zeros_like(electrode).index_add(0, graph.face_graph, graph.areas)
        return electrode / area / CHARGE_SCALE


def _linear_readouts(scalars: str, n_out: int, count: int) -> list[nn.Module]:
    return [LinearReadoutBlock(scalars, f"{n_out}x0e") for _ in range(count)]


def share_charge(graph: Graph, coefficients: Tensor, electrons: Tensor,
                 max_iterations: int = 50) -> Tensor:  # fmt: skip
    """Charge per area of faces that share n electrons at one potential, (n_faces, n_members).

    Newton's method. Its last step is differentiable, which makes the first derivatives of the
    result exact (and the second ones of E, which is stationary with respect to the division).

    Raises
    ------
    ExtrapolationError
        If the faces' potentials do not meet.
    """
    with torch.no_grad():
        zero = torch.zeros_like(electrons)
        area = zero.index_add(0, graph.face_graph, graph.areas)
        start = (electrons / area)[graph.face_graph].unsqueeze(1)
        density = start.expand_as(coefficients[..., 0])
        for _ in range(max_iterations):
            last = density
            density = _share_step(graph, coefficients, electrons, last)
            change = float((density - last).abs().max())
            if change <= 1e-6 * CHARGE_SCALE:
                break
        else:
            raise ExtrapolationError(
                f"excess_electrons: found {electrons.tolist()} e, at which the faces of the slab "
                "have no common potential, expected a charge as in training"
            )
    return _share_step(graph, coefficients, electrons, density)


def _share_step(graph: Graph, coefficients: Tensor, electrons: Tensor, density: Tensor) -> Tensor:
    """One step of Newton's method towards equal potentials, at exactly n electrons."""
    face_graph, area = graph.face_graph, graph.areas.unsqueeze(1)
    slope = polynomial(coefficients, density, 1) / area  # minus the potential of each face
    capacitance = area**2 / polynomial(coefficients, density, 2)
    zero = coefficients.new_zeros((graph.n_graphs, coefficients.shape[1]))
    total = zero.index_add(0, face_graph, capacitance)
    charge = zero.index_add(0, face_graph, area * density - capacitance * slope)
    common = (electrons.unsqueeze(1) - charge) / total
    return density + capacitance * (common[face_graph] - slope) / area
