"""The model: features, readouts, and charges, potentials and energy of one structure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from ase.data import atomic_numbers
from torch import Tensor, nn

from voltase.aseplugin.electrochemistry import EPSILON_0
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.kernels.coulomb import COULOMB
from voltase.aseplugin.models.charge_equilibration import FQEqSolution, smoothstep, solve_fqeq
from voltase.aseplugin.models.features import build_features
from voltase.aseplugin.models.softfqeq.config import LEARNED_SCORE, SoftFQEqConfig
from voltase.aseplugin.models.softfqeq.readouts import AtomReadout, PairReadout
from voltase.aseplugin.models.softfqeq.structure import Structure

SolverKind = Literal["fragment", "global"]
ENERGY_SCALE, CHARGE_SCALE, POTENTIAL_SCALE = 1.0, 0.1, 1.0
"""Size of what the surroundings do to an atom's energy (eV), source charge (e) and
electronegativity (eV/e)."""


@dataclass(frozen=True)
class ChargeState:
    """Charge of the cell and the field it is in.

    Attributes
    ----------
    excess_electrons : float
        n, in e; the total charge is -n.
    field : float
        Homogeneous external field along the outward normal of the first face, V/A.
    counter_height : float, optional
        Height in A of the plane of the counter charge above the middle of the electrode; the
        model's own otherwise.
    """

    excess_electrons: float = 0.0
    field: float = 0.0
    counter_height: float | None = None

    @classmethod
    def between_plates(cls, structure: Structure, electrons: float,
                       counter_height: float | None = None) -> ChargeState:  # fmt: skip
        """Neutral atoms between two plates that put n electrons on the electrode's wetted side.

        Parameters
        ----------
        structure : Structure
        electrons : float
            n; as many are missing on the other side.
        counter_height : float, optional

        Raises
        ------
        InputError
            If there is no single wetted face.
        """
        if electrons == 0.0:
            return cls(counter_height=counter_height)
        if structure.planes != 1:
            raise InputError(
                f"excess_electrons: found {electrons:g} between plates with {structure.planes} "
                "wetted faces under vacuum, expected one"
            )
        field = -electrons / (EPSILON_0 * float(structure.graph.areas[0]))
        return cls(0.0, field, counter_height)


class Readouts(NamedTuple):
    """What the network says of a structure, in float64; the same for any charge of it.

    Attributes
    ----------
    electronegativity, source_charge, hardness, width : Tensor (n_atoms,)
        eV/e, e, eV/e^2 and A.
    energy : Tensor ()
        The network's, eV, without the atoms' own; see `SoftFQEqConfig.network_energy`.
    bonds : Tensor (2, n_bonds)
        Pairs of atoms that may be bonded.
    order : Tensor (n_bonds,)
        0 to 1.
    """

    electronegativity: Tensor
    source_charge: Tensor
    hardness: Tensor
    width: Tensor
    energy: Tensor
    bonds: Tensor
    order: Tensor


class SoftFQEqModel(nn.Module):
    """The network.

    Parameters
    ----------
    config : SoftFQEqConfig

    Raises
    ------
    InputError
        If a bond range is beyond the cut-off of the features.
    """

    atomic_energies: Tensor
    bonded: Tensor
    apart: Tensor
    in_electrode: Tensor

    def __init__(self, config: SoftFQEqConfig) -> None:
        super().__init__()
        config.check_reach()
        self.config = config
        symbols, hidden = config.symbols, config.hidden
        zeros = [0.0] * len(symbols)
        self.features = build_features(config.features, symbols)
        width = self.features.width
        charges = [config.charge.get(symbol, 0.0) for symbol in symbols]
        self.electronegativity = AtomReadout(width, hidden, zeros, POTENTIAL_SCALE)
        self.source_charge = AtomReadout(width, hidden, charges, CHARGE_SCALE)
        self.energy = AtomReadout(width, hidden, zeros, ENERGY_SCALE)
        self.connectivity = PairReadout(width, hidden // 2 or 1, LEARNED_SCORE)
        self.log_hardness = nn.Parameter(torch.tensor(config.first_hardness()).log())
        self.log_width = nn.Parameter(
            torch.tensor(config.first_width()).log(), requires_grad=config.train_widths
        )
        ranges = [[config.bond_range(a, b) for b in symbols] for a in symbols]
        table = torch.tensor(ranges, dtype=torch.float64)
        self.register_buffer("bonded", table[..., 0].contiguous(), persistent=False)
        self.register_buffer("apart", table[..., 1].contiguous(), persistent=False)
        self.register_buffer(
            "in_electrode",
            torch.tensor([symbol in config.electrode_symbols for symbol in symbols]),
            persistent=False,
        )
        energies = torch.tensor(config.atomic_energies or zeros, dtype=torch.float64)
        self.register_buffer("atomic_energies", energies)

    @property
    def numbers(self) -> list[int]:
        """Atomic numbers, ascending."""
        return [atomic_numbers[s] for s in self.config.symbols]

    def set_precision(self, dtype: torch.dtype) -> None:
        """Let the networks compute in another precision; tables and energies keep theirs."""
        for module in (self.features, self.electronegativity, self.source_charge, self.energy,
                       self.connectivity):  # fmt: skip
            module.to(dtype)

    def freeze(self) -> None:
        """Prepare for use with weights that do not change any more."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        self.features.freeze()

    # -- readouts ---------------------------------------------------------------------------------
    def forward(self, structure: Structure, features: Tensor | None = None) -> Readouts:
        """Run the network on the geometry.

        Parameters
        ----------
        structure : Structure
        features : Tensor (n_atoms, width), optional
            If they are known already.
        """
        graph = structure.graph
        if features is None:
            features = self.features(graph).scalars
        species = graph.species
        bonds, prior, distance, reach = self._pairs(structure)
        learned = self.connectivity(features, bonds, prior.to(features.dtype))
        switch = smoothstep((reach[1] - distance) / (reach[1] - reach[0]))
        energy = self.energy(features, species).double().sum()
        return Readouts(
            electronegativity=self.electronegativity(features, species).double(),
            source_charge=self.source_charge(features, species).double(),
            hardness=self.log_hardness.double().exp()[species],
            width=self.log_width.double().exp()[species],
            energy=energy,
            bonds=bonds,
            order=switch * smoothstep(prior + learned.double()),
        )

    def _pairs(self, structure: Structure) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pairs within reach of a bond, their score by distance, distances, where bonds fade."""
        graph = structure.graph
        sender, receiver = graph.edge_index
        # Each pair once; an atom's bond to its own image moves no charge.
        vectors = graph.edge_vectors().double()
        distance = torch.linalg.vector_norm(vectors, dim=1)
        kinds = graph.species[sender], graph.species[receiver]
        bonded, apart = self.bonded[kinds], self.apart[kinds]
        end = apart + LEARNED_SCORE * (apart - bonded)
        near = torch.nonzero((sender < receiver) & (distance.detach() < end)).flatten()
        bonded, apart, end = bonded[near], apart[near], end[near]
        distance = distance[near]
        prior = (apart - distance) / (apart - bonded)
        return graph.edge_index[:, near], prior, distance, torch.stack([apart, end])

    def reference_energy(self, structure: Structure) -> float:
        """Sum of the atoms' own energies, eV."""
        return float(self.atomic_energies[structure.graph.species].sum())

    # -- charges ----------------------------------------------------------------------------------
    def electrode(self, structure: Structure) -> Tensor:
        """Which atoms are the electrode's (n_atoms,)."""
        return self.in_electrode[structure.graph.species]

    def source_weights(self, structure: Structure) -> Tensor:
        """Shares of the atoms in the charge that the source charges leave (n_atoms,).

        Equal on the electrode, which is one fragment; on all atoms where there is no electrode.
        """
        electrode = self.electrode(structure)
        if not bool(electrode.any()):
            electrode = torch.ones_like(electrode)
        return electrode.double() / electrode.sum()

    def solve(self, structure: Structure, readouts: Readouts, state: ChargeState,
              solver: SolverKind = "fragment", total_charge: Tensor | None = None,
              tolerance: float = 1e-8) -> Solution:  # fmt: skip
        """Charges, potentials and energy at a charge of the cell.

        Parameters
        ----------
        structure : Structure
        readouts : Readouts
        state : ChargeState
        solver : "fragment" or "global"
        total_charge : Tensor (), optional
            In place of minus the state's excess electrons, to differentiate by.
        tolerance : float
            Of the forces, eV/A.

        Raises
        ------
        InputError
            If the cell cannot be charged, or has no face that a field could act on.
        """
        self.check_state(structure, state)
        if total_charge is None:
            total_charge = structure.cell.new_tensor(-state.excess_electrons)
        found = self._equilibrate(structure, readouts, state, solver, total_charge, tolerance)
        uncharged = None
        if self.config.network_energy == "neutral":
            none, zero = ChargeState(), torch.zeros_like(total_charge)
            uncharged = self._equilibrate(structure, readouts, none, solver, zero, tolerance).energy
        return self.collect(structure, readouts, state, found, uncharged)

    def _equilibrate(self, structure: Structure, readouts: Readouts, state: ChargeState,
                     solver: SolverKind, total_charge: Tensor, tolerance: float
                     ) -> FQEqSolution:  # fmt: skip
        potential = self.plane_potential(structure, state, total_charge)
        return solve_fqeq(
            structure.graph.positions, structure.cell, structure.pbc,
            readouts.electronegativity + potential, readouts.hardness, readouts.width,
            readouts.source_charge, readouts.bonds, readouts.order, total_charge, None, solver,
            charge_weights=self.source_weights(structure),
            bond_hardness=self.config.bond_hardness, tolerance=tolerance,
        )  # fmt: skip

    def collect(self, structure: Structure, readouts: Readouts, state: ChargeState,
                found: FQEqSolution, uncharged: Tensor | None = None) -> Solution:  # fmt: skip
        """What the equilibration found, with the plane's part of the potentials.

        Parameters
        ----------
        structure : Structure
        readouts : Readouts
        state : ChargeState
        found : FQEqSolution
            With `plane_potential` in its electronegativities.
        uncharged : Tensor (), optional
            Energy of the charges without charge and field, where the network's has it already.
        """
        energy = found.energy + readouts.energy
        if uncharged is not None:
            energy = energy - uncharged
        rise = self.rise(structure, state, found.charges)
        atoms = found.electrochemical_potential + rise
        potential = None
        if structure.planes:
            potential = (atoms * self.source_weights(structure)).sum()
        return Solution(
            charges=found.charges,
            membership=found.membership,
            fragment_potential=found.fragment_chemical_potentials + rise,
            atom_potential=atoms,
            energy=energy,
            electrode_potential=potential,
        )

    def check_state(self, structure: Structure, state: ChargeState) -> None:
        """Check that a structure can have this charge and field.

        Raises
        ------
        InputError
            If not.
        """
        if structure.planes == 0 and state.field != 0.0:
            raise InputError(
                f"field: found {state.field:g} V/A without a wetted electrode face under vacuum, "
                "expected 0"
            )
        periodic = any(structure.pbc)
        if structure.planes == 0 and periodic and state.excess_electrons != 0.0:
            raise InputError(
                f"excess_electrons: found {state.excess_electrons:g} in a periodic cell without "
                "a wetted electrode face under vacuum, expected 0 (for a slab with vacuum, set pbc "
                "to False along its normal)"
            )

    def plane_potential(self, structure: Structure, state: ChargeState, total_charge: Tensor
                        ) -> Tensor:  # fmt: skip
        """Potential of the counter charge and the field at each atom, V (n_atoms,).

        Measured from the plane of the counter charge, where the slab's own potential is left out.
        """
        if structure.planes == 0:
            return torch.zeros_like(structure.graph.positions[:, 0])
        height = state.counter_height or self.config.counter_height
        above = structure.heights(self.electrode(structure))
        sheet = sheet_potential(structure)
        if structure.planes == 2:
            # Constant between the planes, and the planes' own interaction.
            return 0.5 * sheet * height * total_charge - state.field * above
        return sheet * total_charge * (height - above) - state.field * (above - height)

    def rise(self, structure: Structure, state: ChargeState, charges: Tensor) -> Tensor:
        """Change of the counter charge's energy with the total charge, V.

        It belongs to every dE/dq_i, since the counter charge follows the total charge.
        """
        if structure.planes == 0:
            return charges.new_zeros(())
        height = state.counter_height or self.config.counter_height
        sheet = sheet_potential(structure)
        if structure.planes == 2:
            return 0.5 * sheet * height * charges.sum()
        above = structure.heights(self.electrode(structure))
        return sheet * (charges * (height - above)).sum()


@dataclass(frozen=True)
class Solution:
    """Charges and potentials of one structure.

    Attributes
    ----------
    charges : Tensor (n_atoms,)
        e, positive where electrons lack.
    membership : Tensor (n_atoms,)
        Fragment of each atom.
    fragment_potential : Tensor (n_fragments,)
        dE/dQ of each fragment, V.
    atom_potential : Tensor (n_atoms,)
        dE/dq_i, V, the same for all atoms of a fragment.
    energy : Tensor ()
        E(R, n) in eV, without the atoms' own energies.
    electrode_potential : Tensor () or None
        -dE/dn in V, from the plane of the counter charge; None without such a plane.
    """

    charges: Tensor
    membership: Tensor
    fragment_potential: Tensor
    atom_potential: Tensor
    energy: Tensor
    electrode_potential: Tensor | None


def sheet_potential(structure: Structure) -> Tensor:
    """2 pi k_e/area, in V per e and A: what the potential of a sheet of charge falls by."""
    return 2.0 * math.pi * COULOMB / structure.graph.areas[0]
