"""Errors of a Soft-FQEq model: charges, the electrode's charge, potential, forces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.models.softfqeq import SoftFQEqModel
from voltase.aseplugin.training.charge_model.dataset import ChargeSample
from voltase.aseplugin.training.charge_model.equilibrate import FixedGeometry
from voltase.aseplugin.training.charge_model.losses import predict

Array = npt.NDArray[np.float64]
SMALLEST_CHANGE = 1e-6
"""Mean change of a label, in e or V, below which there is no relative error of it."""


@dataclass
class ChargeErrors:
    """Labels and predictions of one geometry, a row for each of its electron numbers.

    Attributes
    ----------
    config_type : str
    species : ndarray (n_atoms,)
        Index of each element in the model's list.
    electrode : ndarray of bool (n_atoms,)
    electrons : ndarray (n_labels,)
        e.
    charges, charges_found : ndarray (n_labels, n_atoms)
        e.
    potential, potential_found : ndarray (n_labels,)
        V; NaN where unknown.
    forces, forces_found : ndarray (n_labels, n_atoms, 3)
        eV/A; empty if they were not asked for.
    """

    config_type: str
    species: npt.NDArray[np.int64]
    electrode: npt.NDArray[np.bool_]
    electrons: Array
    charges: Array
    charges_found: Array
    potential: Array
    potential_found: Array
    forces: Array
    forces_found: Array

    @property
    def electrode_charge(self) -> tuple[Array, Array]:
        """Charge of the electrode's atoms, label and prediction, (n_labels,) in e."""
        sets = (self.charges, self.charges_found)
        label, found = (charges[:, self.electrode].sum(1) for charges in sets)
        return label, found

    @property
    def response(self) -> tuple[Array, Array]:
        """Change of the electrode's charge between neighbouring labels, label and prediction."""
        label, found = self.electrode_charge
        return np.diff(label), np.diff(found)


@dataclass
class ChargeEvaluation:
    """Labels and predictions of a set.

    Attributes
    ----------
    symbols : list of str
        Elements of the model.
    samples : list of ChargeErrors
    """

    symbols: list[str]
    samples: list[ChargeErrors] = field(default_factory=list)

    def by_type(self) -> dict[str, list[ChargeErrors]]:
        """Samples of each config type."""
        out: dict[str, list[ChargeErrors]] = defaultdict(list)
        for sample in self.samples:
            out[sample.config_type].append(sample)
        return dict(out)

    def summary(self) -> dict[str, dict[str, float]]:
        """Errors of every config type; a quantity without a label is absent.

        Returns
        -------
        dict
            ``frames``; ``charge_mae_e`` over all atoms and ``charge_mae_X_e`` of each element X;
            ``electrode_charge_mae_e`` of the whole electrode; ``electrode_response_error``, the
            mean absolute error of the change of the electrode's charge between two electron
            numbers (or voltages) of a geometry, over the mean change, and
            ``electrode_response_bias``, the relative error of the mean change;
            ``potential_mae_V``; ``potential_response_error``, as that of the electrode's charge;
            ``force_rmse_meV_A`` and the labels' own ``force_rms_meV_A``.
        """
        return {kind: self._summarise(samples) for kind, samples in self.by_type().items()}

    def _summarise(self, samples: list[ChargeErrors]) -> dict[str, float]:
        out: dict[str, float] = {"frames": sum(len(s.electrons) for s in samples)}
        errors = [np.abs(s.charges_found - s.charges) for s in samples]
        flat = _finite(errors)
        if flat.size:
            out["charge_mae_e"] = float(flat.mean())
        for k, symbol in enumerate(self.symbols):
            own = _finite([e[:, s.species == k] for e, s in zip(errors, samples, strict=True)])
            if own.size:
                out[f"charge_mae_{symbol}_e"] = float(own.mean())
        totals = _finite([s.electrode_charge[1] - s.electrode_charge[0] for s in samples])
        if totals.size and any(s.electrode.any() for s in samples):
            out["electrode_charge_mae_e"] = float(np.abs(totals).mean())
        label, found = (_joined([s.response[k] for s in samples]) for k in (0, 1))
        out.update(_relative(label, found, "electrode_response"))
        difference = _finite([s.potential_found - s.potential for s in samples])
        if difference.size:
            out["potential_mae_V"] = float(np.abs(difference).mean())
        label = _joined([np.diff(s.potential) for s in samples])
        found = _joined([np.diff(s.potential_found) for s in samples])
        out.update(_relative(label, found, "potential_response"))
        forces = _finite([s.forces_found - s.forces for s in samples])
        if forces.size:
            out["force_rmse_meV_A"] = 1e3 * float(np.sqrt((forces**2).mean()))
            labels = _finite([s.forces for s in samples])
            out["force_rms_meV_A"] = 1e3 * float(np.sqrt((labels**2).mean()))
        return out


def _relative(label: Array, found: Array, name: str) -> dict[str, float]:
    known = np.isfinite(label) & np.isfinite(found)
    # Labels that do not change differ by rounding alone, which is no scale for an error.
    if not known.any() or np.abs(label[known]).mean() < SMALLEST_CHANGE:
        return {}
    label, found = label[known], found[known]
    return {
        f"{name}_error": float(np.abs(found - label).mean() / np.abs(label).mean()),
        f"{name}_bias": float(found.sum() / label.sum() - 1.0),
    }


def _joined(parts: Sequence[Array]) -> Array:
    return np.concatenate([part.ravel() for part in parts])


def _finite(parts: Sequence[Array]) -> Array:
    values = _joined(parts)
    return values[np.isfinite(values)]


def evaluate_sample(model: SoftFQEqModel, sample: ChargeSample, geometry: FixedGeometry,
                    with_forces: bool) -> ChargeErrors:  # fmt: skip
    """Predict every label of a geometry.

    Parameters
    ----------
    model : SoftFQEqModel
    sample : ChargeSample
    geometry : FixedGeometry
        With a gradient if forces are wanted.
    with_forces : bool
    """
    labels = list(range(len(sample.states)))
    forces: list[Array] = []
    if with_forces:
        solutions = []
        for k in labels:
            found = predict(model, sample, geometry, [k], True, False)
            assert found.forces is not None
            solutions += found.solutions
            forces.append(found.forces.numpy())
    else:
        solutions = predict(model, sample, geometry, labels, False, False).solutions
    potentials = [s.electrode_potential for s in solutions]
    return ChargeErrors(
        config_type=sample.config_type,
        species=sample.graph.species.numpy(),
        electrode=model.electrode(sample.structure).numpy(),
        electrons=sample.electrons.numpy(),
        charges=sample.charges.numpy(),
        charges_found=np.stack([s.charges.detach().numpy() for s in solutions]),
        potential=sample.potential.numpy(),
        potential_found=np.array([np.nan if p is None else float(p.detach()) for p in potentials]),
        forces=sample.forces.numpy() if forces else np.empty((0, 0, 3)),
        forces_found=np.stack(forces) if forces else np.empty((0, 0, 3)),
    )
