"""What a Soft-FQEq model starts from: readouts fitted to the labels by linear regression.

The labels say more than their loss shows. At the labelled charges every atom of a fragment has one
dE/dq, which gives the electronegativities up to a constant for each fragment; and a fragment's
labelled charge is the sum of its source charges. Both are linear in the outer weights of readouts,
so that training begins where the static charges are right, and the response is what is left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from voltase.aseplugin.models.charge_equilibration.fragments import Fragments
from voltase.aseplugin.models.softfqeq import SoftFQEqModel
from voltase.aseplugin.models.softfqeq.readouts import AtomReadout
from voltase.aseplugin.training.charge_model.dataset import ChargeSample
from voltase.aseplugin.training.charge_model.equilibrate import FixedGeometry

LOG = logging.getLogger(__name__)
FILM_POTENTIAL = 6.0
"""Electrochemical potential in V of what is no electrode: the middle of water's gap (Mulliken).

The labels leave it free as far as fragments do not exchange charge."""
MEAN_WEIGHT = 0.1
"""Weight of a fragment's own potential against the differences within it."""
RIDGE = 1e-4
"""Of the mean square of the basis, per row."""


def set_first_guesses(model: SoftFQEqModel, samples: Sequence[ChargeSample],
                      geometry_of: Callable[[ChargeSample], FixedGeometry],
                      features_of: Callable[[ChargeSample], Tensor | None]
                      ) -> None:  # fmt: skip
    """Fit the readouts of source charges and electronegativities.

    Parameters
    ----------
    model : SoftFQEqModel
    samples : sequence of ChargeSample
        With charges.
    geometry_of, features_of : callable
        Interaction, and features if they are kept, of a sample.
    """
    potential, charge = _Regression(), _Regression()
    with torch.no_grad():
        for sample in samples:
            features = features_of(sample)
            if features is None:
                features = model.features(sample.structure.graph).scalars
            fragments = _fragments(model, sample, features)
            _add_potentials(potential, model, sample, features, geometry_of(sample), fragments)
            _add_charges(charge, model, sample, features, fragments)
        potential.solve(model.electronegativity)
        charge.solve(model.source_charge)
    for name, fit in (("electronegativity", potential), ("source charge", charge)):
        LOG.info("first guess of the %s: root mean square error %.3f of %.3f", name, fit.error,
                 fit.size)  # fmt: skip


class _Regression:
    """Ridge regression on the basis of a readout: its elements, features and hidden units."""

    def __init__(self) -> None:
        self.normal = torch.zeros(0, 0, dtype=torch.float64)
        self.right = torch.zeros(0, dtype=torch.float64)
        self.square = self.count = 0.0
        self.error = self.size = 0.0

    def add(self, rows: Tensor, target: Tensor) -> None:
        """Take in rows (n, n_basis) and what they should give (n,)."""
        if not self.normal.numel():
            n = rows.shape[1]
            self.normal, self.right = rows.new_zeros(n, n), rows.new_zeros(n)
        self.normal += rows.T @ rows
        self.right += rows.T @ target
        self.square += float(target.square().sum())
        self.count += len(target)

    def solve(self, readout: AtomReadout) -> None:
        """Set the outer weights of a readout."""
        if not self.count:
            return
        ridge = RIDGE * self.normal.diagonal().mean() * torch.ones_like(self.right)
        weights = torch.linalg.solve(self.normal + torch.diag(ridge), self.right)
        left = self.square - 2.0 * weights @ self.right + weights @ self.normal @ weights
        self.error = float((left / self.count).clamp(min=0.0).sqrt())
        self.size = (self.square / self.count) ** 0.5
        elements, width = len(readout.element), readout.linear.in_features
        parts = weights.split([elements, width, readout.second.in_features])
        readout.element.add_(parts[0])
        readout.linear.weight.copy_(parts[1].unsqueeze(0))
        readout.second.weight.copy_(parts[2].unsqueeze(0))


def _basis(readout: AtomReadout, features: Tensor, species: Tensor) -> Tensor:
    """What a readout is a linear combination of (n_atoms, n_basis)."""
    hidden = nn.functional.silu(readout.first(features))
    elements = nn.functional.one_hot(species, len(readout.element))
    around = readout.scale * torch.cat([features, hidden], dim=1)
    return torch.cat([elements.double(), around.double()], dim=1)


def _fragments(model: SoftFQEqModel, sample: ChargeSample, features: Tensor) -> Tensor:
    readouts = model(sample.structure, features)
    n_atoms = sample.graph.n_atoms
    return Fragments.of(n_atoms, readouts.bonds, readouts.order).membership


def _add_potentials(fit: _Regression, model: SoftFQEqModel, sample: ChargeSample,
                    features: Tensor, geometry: FixedGeometry, fragments: Tensor
                    ) -> None:  # fmt: skip
    species, charges = sample.graph.species, sample.charges[0]
    hardness = model.log_hardness.double().exp()[species]
    target = _wanted(model, sample, charges) - geometry.matrix @ charges - hardness * charges
    target = target - model.electronegativity.element.double()[species]
    rows = _basis(model.electronegativity, features, species)
    count = torch.bincount(fragments).double()
    zero = torch.zeros(len(count), rows.shape[1], dtype=torch.float64)
    mean_rows = zero.index_add(0, fragments, rows) / count.unsqueeze(1)
    mean_target = zero[:, 0].index_add(0, fragments, target) / count
    electrode = model.electrode(sample.structure)
    # On the electrode the potential is known; elsewhere only differences within a fragment are.
    film = ~electrode
    inside = rows - mean_rows[fragments], target - mean_target[fragments]
    fit.add(inside[0][film], inside[1][film])
    fit.add(rows[electrode], target[electrode])
    others = torch.ones_like(count, dtype=torch.bool)
    others[fragments[electrode]] = False
    weight = MEAN_WEIGHT * count[others].sqrt()
    fit.add(weight.unsqueeze(1) * mean_rows[others], weight * mean_target[others])


def _add_charges(fit: _Regression, model: SoftFQEqModel, sample: ChargeSample, features: Tensor,
                 fragments: Tensor) -> None:  # fmt: skip
    species, charges = sample.graph.species, sample.charges[0]
    rows = _basis(model.source_charge, features, species)
    target = charges - model.source_charge.element.double()[species]
    count = int(fragments.max()) + 1
    zero = torch.zeros(count, rows.shape[1], dtype=torch.float64)
    others = torch.ones(count, dtype=torch.bool)
    # The electrode takes what the others leave.
    others[fragments[model.electrode(sample.structure)]] = False
    sums = zero.index_add(0, fragments, rows)[others]
    fit.add(sums, zero[:, 0].index_add(0, fragments, target)[others])


def _wanted(model: SoftFQEqModel, sample: ChargeSample, charges: Tensor) -> Tensor:
    """What chi_i + (A q)_i should be (n_atoms,), V."""
    structure, state = sample.structure, sample.states[0]
    electrode = model.electrode(structure)
    film = torch.full_like(charges, FILM_POTENTIAL)
    phi = sample.potential[0]
    if not structure.planes or not bool(torch.isfinite(phi)):
        return film
    total = charges.new_tensor(-state.excess_electrons)
    outside = model.plane_potential(structure, state, total) + model.rise(structure, state, charges)
    return torch.where(electrode, phi, film) - outside
