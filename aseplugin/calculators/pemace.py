"""PE-MACE as an ASE calculator."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from ..electrochemistry import Reference, parse_potential
from ..errors import ExtrapolationError, InputError
from ..models.allocator import keep_freed_memory
from ..models.checkpoint import load_checkpoint
from ..models.inference import Evaluator, Result
from ..structures import SkinNeighbours

LOG = logging.getLogger(__name__)
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class PEMACE(Calculator):
    """Forces at a given electron number or electrode potential from a PE-MACE model.

    A model that was trained on electron numbers is canonical: ``energy`` is E(R, n) and
    ``electrode_potential`` (V, absolute) is -dE/dn. A model trained on potentials is grand
    canonical: ``energy`` is Omega(R, Phi) and ``excess_electrons`` is dOmega/dPhi. Wrap a canonical
    one in `ConstantPotential` to fix the potential instead.

    Parameters
    ----------
    model : str or Path
        Name of a bundled model or a checkpoint folder.
    excess_electrons : float, optional
        n in e per cell, positive is more negative; canonical models only. Default 0.
    potential : float or str, optional
        Electrode potential, in V vs ``reference``; grand-canonical models only.
    reference : str or Reference
        What ``potential`` counts from.
    dtype : {"float32", "float64"}
    device : str
    skin : float
        In A; neighbour lists are rebuilt when an atom has moved half of it.
    domain : str, optional
        Which of the model's reference codes answers; the card's default otherwise.
    committee_every : int
        Evaluate the committee's spread of forces in every n-th calculation (0: never). The spread
        of the potential costs nothing and is always reported.
    allow_extrapolation : bool
        Answer outside the trained range of n or Phi.

    Raises
    ------
    CheckpointError
        If the model cannot be loaded.
    InputError
        If an argument does not fit the model.
    ExtrapolationError
        In a calculation outside the trained range.

    Notes
    -----
    Embedding of the potential: arXiv 2604.07322. MACE: arXiv 2206.07697.
    Other results: ``capacitance`` (-dn/dPhi at fixed geometry, e/V), ``electrode_potential_spread``
    (V) or ``excess_electrons_spread`` (e), ``forces_spread`` (n_atoms,; eV/A, standard deviation
    over the committee), ``canonical_energy`` or ``grand_energy`` (the other of the two energies).
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, model: str | Path = "pt111-water", excess_electrons: float | None = None,
                 potential: float | str | None = None, reference: str | Reference = "SHE",
                 dtype: str = "float32", device: str = "cpu", skin: float = 0.5,
                 domain: str | None = None, committee_every: int = 0,
                 allow_extrapolation: bool = False) -> None:  # fmt: skip
        super().__init__()
        if dtype not in _DTYPES:
            raise InputError(f"dtype: found {dtype!r}, expected one of {', '.join(_DTYPES)}")
        if not (np.isfinite(skin) and skin >= 0):
            raise InputError(f"skin: found {skin}, expected a length in A of zero or more")
        keep_freed_memory()
        network, self.card = load_checkpoint(model)
        config = network.config
        self.reference = Reference.parse(reference)
        self.allow_extrapolation = allow_extrapolation
        self.committee_every = committee_every
        name = domain or self.card.get("default_domain") or config.domains[0]
        if name not in config.domains:
            raise InputError(
                f"domain: found {name!r}, expected one of {', '.join(config.domains)}"
            )
        self.evaluator = Evaluator(network, device, _DTYPES[dtype])
        self.neighbours = SkinNeighbours(config, config.domains.index(name), skin)
        self._electrode = 0.0
        self._calls = 0
        self._set_initial(excess_electrons, potential)

    def _set_initial(self, electrons: float | None, potential: float | str | None) -> None:
        if self.canonical:
            if potential is not None:
                raise InputError(
                    "potential: this model takes electron numbers; wrap it as "
                    "ConstantPotential(PEMACE(...), potential)"
                )
            self.excess_electrons = 0.0 if electrons is None else electrons
            return
        if electrons is not None:
            raise InputError("excess_electrons: this model takes a potential, give potential=")
        if potential is None:
            self.potential = self.reference.to_absolute(0.0)
        else:
            self.potential = float(self.reference.to_absolute(parse_potential(potential)))

    # -- the electrode's state --------------------------------------------------------------------
    @property
    def canonical(self) -> bool:
        """Whether the model's energy is E(R, n)."""
        return self.evaluator.canonical

    @property
    def identity(self) -> str:
        """Hash of the weights."""
        return str(self.card["sha256"])

    @property
    def excess_electrons(self) -> float:
        """Excess electrons n of the cell in e (canonical models)."""
        if not self.canonical:
            raise AttributeError("excess_electrons: a result, not an input, of this model")
        return self._electrode

    @excess_electrons.setter
    def excess_electrons(self, value: float) -> None:
        if not self.canonical:
            raise AttributeError("excess_electrons: a result, not an input, of this model")
        self._set_electrode("excess_electrons", value)

    @property
    def potential(self) -> float:
        """Electrode potential in V, absolute (grand-canonical models)."""
        if self.canonical:
            raise AttributeError("potential: a result, not an input, of this model")
        return self._electrode

    @potential.setter
    def potential(self, value: float) -> None:
        if self.canonical:
            raise AttributeError("potential: a result, not an input, of this model")
        self._set_electrode("potential", value)

    def _set_electrode(self, name: str, value: float) -> None:
        number = float(value)
        if not np.isfinite(number):
            raise InputError(f"{name}: found {value}, expected a finite number")
        if number != self._electrode:
            self._electrode = number
            self.results = {}

    @property
    def potential_range(self) -> tuple[float, float] | None:
        """Trained range of the absolute potential in V."""
        found = self.card.get("potential_range")
        return None if found is None else (float(found[0]), float(found[1]))

    @property
    def excess_electrons_per_area_range(self) -> tuple[float, float] | None:
        """Trained range of n per area of one face in e/A^2."""
        found = self.card.get("electrons_per_area_range")
        return None if found is None else (float(found[0]), float(found[1]))

    # -- ASE --------------------------------------------------------------------------------------
    def calculate(self, atoms: Atoms | None = None, properties: list[str] | None = None,
                  system_changes: list[str] = all_changes) -> None:  # fmt: skip
        """Fill ``results`` (see the class)."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        wanted = properties or ["energy"]
        want_stress = "stress" in wanted
        if want_stress and not all(self.atoms.pbc):
            raise InputError(
                "stress: the cell is not periodic along all three axes, expected pbc=True"
            )
        graph, faces = self.neighbours.graph(self.atoms)
        if not faces.has_vacuum and self.canonical and self._electrode != 0.0:
            raise InputError(
                f"excess_electrons: found {self._electrode:g} in a cell without vacuum along the "
                "normal, where the potential has no reference; expected 0 or a slab with vacuum"
            )
        want_spread = self.committee_every > 0 and self._calls % self.committee_every == 0
        self._calls += 1
        result = self.evaluator(graph, self._electrode, faces.has_vacuum,
                                cell=self.atoms.cell.array if want_stress else None,
                                spread=want_spread)  # fmt: skip
        area = float(faces.areas.sum())
        self._check_range(result, area, faces.has_vacuum)
        self.results.update(self._as_results(result))

    def _as_results(self, result: Result) -> dict[str, Any]:
        out: dict[str, Any] = {
            "energy": result.energy,
            "free_energy": result.energy,
            "forces": result.forces,
        }
        if result.stress is not None:
            out["stress"] = full_3x3_to_voigt_6_stress(result.stress)
        if result.forces_spread is not None:
            out["forces_spread"] = result.forces_spread
        if result.conjugate is None:
            return out
        out["capacitance"] = result.capacitance
        if self.canonical:
            out["electrode_potential"] = result.conjugate
            out["electrode_potential_spread"] = result.conjugate_spread
            out["grand_energy"] = result.energy + result.conjugate * self._electrode
        else:
            out["excess_electrons"] = result.conjugate
            out["excess_electrons_spread"] = result.conjugate_spread
            out["electrode_potential"] = self._electrode
            out["canonical_energy"] = result.energy - self._electrode * result.conjugate
        return out

    def _check_range(self, result: Result, area: float, has_vacuum: bool) -> None:
        if self.allow_extrapolation or not has_vacuum or result.conjugate is None:
            return
        n, phi = self._electrode, result.conjugate
        if not self.canonical:
            n, phi = phi, n
        limits = self.excess_electrons_per_area_range
        if limits and not limits[0] <= n / area <= limits[1]:
            raise ExtrapolationError(
                f"excess_electrons: found {n:.4f} e on {area:.1f} A^2 ({n / area:.5f} e/A^2), "
                f"expected {limits[0]:.5f} to {limits[1]:.5f} e/A^2 as in training"
            )
        if not self.canonical and self.potential_range:
            low, high = self.potential_range
            if not low <= phi <= high:
                raise ExtrapolationError(
                    f"potential: found {phi:.3f} V absolute, expected {low:.2f} to {high:.2f} V "
                    "as in training"
                )
