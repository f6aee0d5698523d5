"""How the electrode's charge or potential enters: capacitors in parallel, one per wetted face.

A face of area A that carries n electrons adds ``E_f(n) = sum_k e_k s^k`` with ``s = n / A``:
``-n phi0`` and a capacitor polynomial common to a domain, plus sums over the face's atoms: of
dipoles along the outward normal times the field ``s / eps0``, and of scalars times s and s^2. All
sums are extensive and s is intensive, so the potential ``-dE/dn`` is intensive. Written for the
potential instead, the same pieces give ``Omega_f(Phi)``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from voltase.aseplugin.electrochemistry import EPSILON_0
from voltase.aseplugin.models.backbone import Features
from voltase.aseplugin.models.graph import Graph

ATOM_VOLUME = 10.0
"""Volume in A^3 of an atom of the film: a third of a water molecule's in the liquid."""
CHARGE_SCALE = 0.005
"""Unit of charge per area inside the network, e/A^2 (8 uC/cm2)."""
POTENTIAL_SCALE = 1.0
"""Unit of potential inside the network, V."""
POTENTIAL_CENTRE = 4.44
"""Zero of potential inside the network, V absolute (SHE)."""

DIPOLE_PARAMETERS = ("vector_mix", "gate", "bond_charge", "dipole_scale", "screening")
"""Which of the head's parameters make the atoms' dipoles."""
DOMAIN_PARAMETERS = (
    "zero_charge_potential", "log_capacitance", "curvature", "dipole_scale", "depolarisation",
    "scalar.2.weight", "scalar.2.bias", "screening.weight", "screening.bias",
)  # fmt: skip
"""Parameters of `ElectrodeHead` whose leading rows are as many blocks as there are domains."""


class ElectrodeHead(nn.Module):
    """Dipoles, scalars and capacitor of each electrode face.

    Parameters
    ----------
    channels : int
    symbols : list of str
    n_domains, n_members : int
        Training domains and committee members.
    capacitance : Tensor (n_domains,)
        First guess in e/(V A^2).
    zero_charge_potential : Tensor (n_domains,)
        First guess in V, absolute.
    dipole_scale : Tensor (n_domains,)
        First guess of the field that the atoms feel, over s / eps0: one under vacuum, less under
        a continuum solvent.
    depolarisation : Tensor (n_domains,)
        First guess of the electronic permittivity of the film, by which the energy of its dipoles
        in their own field exceeds that of the dipoles that the electrode's field sees.
    bond_charges : dict
        First guess of the charge in e at the end of a bond, keyed "O-H" (from, to).
    electrode_symbols : list of str
        Elements of the metal. Its atoms carry dipoles but no scalars: the number of layers is the
        same throughout a training set, so their sum could hide in the potential of zero charge,
        and be wrong for a slab of another thickness.
    atom_terms : bool
        False leaves only the capacitor: no dipoles, no scalars (the plain scalar embedding).
    """

    wetting: Tensor

    def __init__(self, channels: int, symbols: list[str], n_domains: int, n_members: int,
                 capacitance: Tensor, zero_charge_potential: Tensor, dipole_scale: Tensor,
                 depolarisation: Tensor,
                 bond_charges: dict[str, float], electrode_symbols: list[str],
                 atom_terms: bool) -> None:  # fmt: skip
        super().__init__()
        self.n_members = n_members
        self.atom_terms = atom_terms
        self.zero_charge_potential = nn.Parameter(zero_charge_potential.clone())
        self.log_capacitance = nn.Parameter(capacitance.log())
        self.curvature = nn.Parameter(torch.zeros(n_domains, 2))
        if not atom_terms:
            return
        self.dipole_scale = nn.Parameter(dipole_scale.clone())
        charges = torch.zeros(len(symbols), len(symbols))
        for bond, charge in bond_charges.items():
            first, second = bond.split("-")
            if first in symbols and second in symbols:
                charges[symbols.index(first), symbols.index(second)] = charge
        self.bond_charge = nn.Parameter(charges)
        self.vector_mix = nn.Parameter(torch.zeros(n_members, channels))
        self.gate = nn.Sequential(nn.Linear(channels, 24), nn.SiLU(),
                                  nn.Linear(24, n_members * channels))  # fmt: skip
        self.scalar = nn.Sequential(nn.Linear(2 * channels, 24), nn.SiLU(),
                                    nn.Linear(24, 2 * n_members * n_domains))  # fmt: skip
        self.screening = nn.Linear(channels, n_domains)
        nn.init.zeros_(self.screening.weight)
        nn.init.zeros_(self.screening.bias)
        wetting = [0.0 if s in electrode_symbols else 1.0 for s in symbols]
        self.register_buffer("wetting", torch.tensor(wetting), persistent=False)
        for layer in (self.gate[2], self.scalar[2]):
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.vector_mix, std=0.01)
        self.depolarisation = nn.Parameter(depolarisation.clone())

    def dipoles(self, graph: Graph, features: Features) -> Tensor:
        """Atomic dipoles (n_atoms, n_members, 3) in e A."""
        gates = self.gate(features.scalars[-1]).view(graph.n_atoms, self.n_members, -1)
        learned = torch.einsum("nmc,ncx->nmx", gates + self.vector_mix, features.vectors)
        sender, receiver = graph.edge_index
        charge = self.bond_charge[graph.species[sender], graph.species[receiver]]
        weight = charge.unsqueeze(1) * _bonded(features.edge_lengths)
        bonds = weight * features.edge_vectors
        zero = bonds.new_zeros((graph.n_atoms, 3))
        return learned + zero.index_add(0, sender, bonds).unsqueeze(1)

    def forward(self, graph: Graph, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Sums over the atoms of each face.

        Returns
        -------
        constant : Tensor (n_faces, n_members)
            Energy in eV of the film's dipole moment M in its own field, M^2 / (2 eps0 V): a slab
            under vacuum pays it, a cell filled along the normal does not, and a network of finite
            range cannot tell the two apart (cf. Yeh and Berkowitz, doi:10.1063/1.479595).
        linear, quadratic : Tensor (n_faces, n_members)
            In V A^2: minus the shift of the potential of zero charge times the area, and (in
            network units) the change of the inverse capacitance times the area.
        """
        if not self.atom_terms:
            zero = graph.positions.new_zeros((graph.n_faces, self.n_members))
            return zero, zero, zero
        domain = graph.domain[graph.face_graph]
        moment = self._moments(graph, features)
        linear, quadratic = self._scalar_sums(graph, features, domain).split(self.n_members, dim=1)
        volume = graph.positions.new_zeros(graph.n_faces).index_add(
            0, graph.face, ATOM_VOLUME * self.wetting[graph.species].to(graph.positions.dtype)
        )
        strength = self.depolarisation[domain] / (2.0 * EPSILON_0 * volume.clamp(min=ATOM_VOLUME))
        # A dry face has no film: nothing over a volume that does not grow with the face.
        strength = torch.where(volume > 0.0, strength, 0.0)
        constant = strength.unsqueeze(1) * moment**2
        return constant, moment / EPSILON_0 + linear / CHARGE_SCALE, quadratic

    def _moments(self, graph: Graph, features: Features) -> Tensor:
        """Dipole of each face's atoms along its normal (n_faces, n_members) in e A.

        Each atom counts by the field it feels over s / eps0: a continuum solvent screens atoms far
        from the metal more than those next to it.
        """
        atoms, faces, share = graph.memberships()
        domain = graph.domain[graph.batch]
        nearness = self.screening(features.scalars[-1]).gather(1, domain.unsqueeze(1))
        field = (self.dipole_scale[domain].unsqueeze(1) * (1.0 + nearness)).unsqueeze(2)
        dipoles = (field * self.dipoles(graph, features)).index_select(0, atoms)
        along = (dipoles * graph.normals[faces].unsqueeze(1)).sum(2) * share.unsqueeze(1)
        zero = along.new_zeros((graph.n_faces, self.n_members))
        return zero.index_add(0, faces, along)

    def _scalar_sums(self, graph: Graph, features: Features, domain: Tensor) -> Tensor:
        """Sum of each face's scalars in its domain (n_faces, 2 * n_members)."""
        scalars = self.scalar(torch.cat([features.scalars[0], features.scalars[-1]], 1))
        scalars = scalars * self.wetting[graph.species].unsqueeze(1)
        zero = graph.positions.new_zeros((graph.n_faces, scalars.shape[1]))
        sums = zero.index_add(0, graph.face, scalars.to(zero.dtype))
        faces = torch.arange(graph.n_faces, device=domain.device)
        return sums.view(graph.n_faces, -1, 2 * self.n_members)[faces, domain]

    def electron_polynomial(self, graph: Graph, features: Features) -> Tensor:
        """Coefficients e_k of E_f = sum_k e_k (n / A)^k, (n_faces, n_members, 5), eV and A."""
        constant, linear, quadratic = self(graph, features)
        domain = graph.domain[graph.face_graph]
        area = graph.areas.unsqueeze(1)
        phi0 = self.zero_charge_potential[domain].unsqueeze(1)
        inverse = torch.exp(-self.log_capacitance[domain]).unsqueeze(1)
        cubic, quartic = self.curvature[domain].unsqueeze(2).unbind(1)
        unit = CHARGE_SCALE
        terms = [
            constant,
            linear - area * phi0,
            0.5 * (area * inverse + quadratic / unit**2),
            (area * cubic / unit**2).expand_as(linear),
            (area * quartic / unit**3).expand_as(linear),
        ]
        return torch.stack(terms, dim=2)

    def potential_polynomial(self, graph: Graph, features: Features) -> tuple[Tensor, Tensor]:
        """Coefficients w_k of Omega_f = sum_k w_k (Phi - Phi0)^k, and Phi0 (V).

        Returns
        -------
        Tensor (n_faces, n_members, 5), Tensor (n_faces, n_members)
        """
        constant, linear, quadratic = self(graph, features)
        domain = graph.domain[graph.face_graph]
        area = graph.areas.unsqueeze(1)
        centre = self.zero_charge_potential[domain].unsqueeze(1) - linear / area
        capacitance = torch.exp(self.log_capacitance[domain]).unsqueeze(1)
        cubic, quartic = self.curvature[domain].unsqueeze(2).unbind(1)
        # The atoms' share multiplies C, so that its sign cannot change.
        factor = torch.exp(-quadratic / (area * CHARGE_SCALE))
        terms = [
            constant,
            torch.zeros_like(linear),
            -0.5 * area * capacitance * factor,
            (area * capacitance * cubic).expand_as(linear),
            (area * capacitance * quartic).expand_as(linear),
        ]
        return torch.stack(terms, dim=2), centre


def polynomial(coefficients: Tensor, x: Tensor, order: int = 0) -> Tensor:
    """Value or derivative of ``sum_k c_k x^k``; coefficients on the last axis."""
    result = torch.zeros_like(x)
    for k in range(coefficients.shape[-1] - 1, order - 1, -1):
        factor = 1.0
        for j in range(order):
            factor *= k - j
        result = result * x + factor * coefficients[..., k]
    return result


def _bonded(lengths: Tensor) -> Tensor:
    """One for a covalent O-H bond, zero from 1.8 A on, smooth between."""
    x = torch.clamp((lengths - 1.2) / 0.6, 0.0, 1.0)
    return 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
