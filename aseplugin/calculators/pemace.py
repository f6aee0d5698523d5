"""PE-MACE as an ASE calculator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from voltase.aseplugin.electrochemistry import (
    Reference,
    canonical_energy,
    check_plausible,
    grand_potential,
    parse_potential,
)
from voltase.aseplugin.errors import CheckpointError, ExtrapolationError, InputError
from voltase.aseplugin.faces import Faces, find_faces
from voltase.aseplugin.models.allocator import keep_freed_memory
from voltase.aseplugin.models.checkpoint import load_checkpoint
from voltase.aseplugin.models.inference import Evaluator, Result
from voltase.aseplugin.models.pemace import PEMACEModel
from voltase.aseplugin.structures import SkinNeighbours

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_RESULTS = ("energy", "free_energy", "forces", "stress", "capacitance", "electrode_potential",
            "forces_spread", "atomic_forces_spread")  # fmt: skip
_CANONICAL_RESULTS = ("electrode_potential_spread", "grand_energy")
_GRAND_CANONICAL_RESULTS = ("excess_electrons", "excess_electrons_spread", "canonical_energy")


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
        Electrode potential, in V vs ``reference``; grand-canonical models only. Default 0.
    reference : str or Reference
        What ``potential`` counts from.
    dtype : {"float32", "float64"}
        Of the network; distances and sums are in float64.
    device : str
        As torch names it.
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
    (V) or ``excess_electrons_spread`` (e), ``atomic_forces_spread`` (n_atoms,; eV/A, standard
    deviation over the committee) and ``forces_spread``, the largest of them, ``canonical_energy``
    or ``grand_energy`` (the other of the two energies). A cell without vacuum along the normal,
    possible for n = 0 only, has none of those that depend on the electrode.
    """

    def __init__(self, model: str | Path = "pt111-water", excess_electrons: float | None = None,
                 potential: float | str | None = None, reference: str | Reference = "SHE",
                 dtype: str = "float32", device: str = "cpu", skin: float = 0.5,
                 domain: str | None = None, committee_every: int = 0,
                 allow_extrapolation: bool = False) -> None:  # fmt: skip
        super().__init__()
        _check_options(dtype, device, skin, committee_every)
        self.reference = Reference.parse(reference)
        self.allow_extrapolation = allow_extrapolation
        self.committee_every = committee_every
        keep_freed_memory()
        network, self.card = load_checkpoint(model)
        index = _domain_index(network, self.card, domain)
        self.domain = network.config.domains[index]
        self.dtype = dtype
        self.neighbours = SkinNeighbours(network.config, index, skin)
        self.evaluator = Evaluator(network, device, _DTYPES[dtype])
        others = _CANONICAL_RESULTS if self.canonical else _GRAND_CANONICAL_RESULTS
        self.implemented_properties = [*_RESULTS, *others]
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
        self.potential = 0.0 if potential is None else potential

    # -- the electrode's state --------------------------------------------------------------------
    @property
    def canonical(self) -> bool:
        """Whether the model's energy is E(R, n)."""
        return self.evaluator.canonical

    @property
    def ensemble(self) -> str:
        """``"canonical"`` or ``"grand-canonical"``."""
        return "canonical" if self.canonical else "grand-canonical"

    @property
    def sha256(self) -> str:
        """Hash of the weights."""
        return str(self.card["sha256"])

    @property
    def identity(self) -> str:
        """What the energies depend on beside the atoms: weights, embedding, domain, precision."""
        embedding = self.evaluator.model.config.embedding
        return f"{self.sha256} {embedding} {self.domain} {self.dtype}"

    @property
    def excess_electrons(self) -> float:
        """Excess electrons n of the cell in e (canonical models); setting it drops the results."""
        self._require("excess_electrons", self.canonical)
        return self._electrode

    @excess_electrons.setter
    def excess_electrons(self, value: float) -> None:
        self._require("excess_electrons", self.canonical)
        self._set_electrode("excess_electrons", value)

    @property
    def absolute_potential(self) -> float:
        """Phi in V, absolute (grand-canonical models); setting it drops the results."""
        self._require("absolute_potential", not self.canonical)
        return self._electrode

    @absolute_potential.setter
    def absolute_potential(self, value: float) -> None:
        self._require("absolute_potential", not self.canonical)
        self._set_electrode("absolute_potential", value)

    @property
    def potential(self) -> float:
        """U in V vs ``reference`` (grand-canonical models); setting it drops the results."""
        self._require("potential", not self.canonical)
        return self.reference.from_absolute(self._electrode)

    @potential.setter
    def potential(self, value: float | str) -> None:
        self._require("potential", not self.canonical)
        potential = parse_potential(value)
        check_plausible(potential, self.reference)
        self._set_electrode("potential", self.reference.to_absolute(potential))

    def _require(self, name: str, condition: bool) -> None:
        # An AttributeError, so that hasattr tells the two kinds of model apart.
        if not condition:
            raise AttributeError(f"{name}: a result, not an input, of a {self.ensemble} model")

    def _set_electrode(self, name: str, value: float) -> None:
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name}: found {value!r}, expected a number") from error
        if not np.isfinite(number):
            raise InputError(f"{name}: found {value}, expected a finite number")
        if number != self._electrode:
            self._electrode = number
            self.results = {}

    @property
    def potential_range(self) -> tuple[float, float] | None:
        """Trained range of the absolute potential in V."""
        return self._range("potential_range", "potential")

    @property
    def excess_electrons_per_area_range(self) -> tuple[float, float] | None:
        """Trained range of n per area of one face in e/A^2."""
        return self._range("electrons_per_area_range", "electrons_per_area")

    def _range(self, name: str, domain_name: str) -> tuple[float, float] | None:
        """The domain's own range where the card has it, else that of all training data."""
        ranges = self.card.get("data", {}).get("ranges", {}).get(self.domain, {})
        found = ranges.get(domain_name) or self.card.get(name)
        return None if found is None else (float(found[0]), float(found[1]))

    def electrode_area(self, atoms: Atoms) -> float:
        """Area that n spreads over in A^2, of both faces of a slab that is wetted on both.

        Raises
        ------
        InputError
            If the structure is no slab.
        """
        electrode_symbols = self.evaluator.model.config.electrode_symbols
        return float(find_faces(atoms, electrode_symbols).areas.sum())

    def checkpoint_state(self) -> dict[str, npt.NDArray[Any]]:
        """What decides when the committee is evaluated next."""
        return {"calls": np.array(self._calls)}

    def restore_state(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Take back what `checkpoint_state` returned."""
        self._calls = int(state["calls"])
        self.results = {}

    # -- ASE --------------------------------------------------------------------------------------
    def calculate(self, atoms: Atoms | None = None, properties: list[str] | None = None,
                  system_changes: list[str] = all_changes) -> None:  # fmt: skip
        """Fill ``results`` (see the class)."""
        properties = ["energy"] if properties is None else properties
        super().calculate(atoms, properties, system_changes)
        self.results = {}
        if self.atoms is None:
            raise InputError("atoms: found none, expected a structure")
        volume = self._volume() if "stress" in properties else None
        graph, faces = self.neighbours.graph(self.atoms)
        self._check_electrode(faces)
        due = self.committee_every > 0 and self._calls % self.committee_every == 0
        self._calls += 1
        spread = due or "forces_spread" in properties or "atomic_forces_spread" in properties
        result = self.evaluator(graph, self._electrode, faces.has_vacuum, volume, spread)
        self._check_range(result, float(faces.areas.sum()))
        self.results = self._as_results(result)

    def _volume(self) -> float:
        if not all(self.atoms.pbc):
            raise InputError(
                "stress: the cell is not periodic along all three axes, expected pbc=True"
            )
        return float(self.atoms.get_volume())

    def _check_electrode(self, faces: Faces) -> None:
        if self.canonical and self._electrode == 0.0:
            return
        name = "excess_electrons" if self.canonical else "absolute_potential"
        if not faces.has_electrode:
            symbols = ", ".join(self.evaluator.model.config.electrode_symbols)
            raise InputError(
                f"{name}: found {self._electrode:g} in a structure without an electrode, expected "
                f"a slab with {symbols} (or n = 0)"
            )
        if faces.has_vacuum:
            return
        raise InputError(
            f"{name}: found {self._electrode:g} in a cell without vacuum along the normal, where "
            "the potential has no reference; expected a slab with vacuum (or n = 0)"
        )

    def _as_results(self, result: Result) -> dict[str, Any]:
        out: dict[str, Any] = {
            "energy": result.energy,
            "free_energy": result.energy,
            "forces": result.forces,
        }
        if result.stress is not None:
            out["stress"] = full_3x3_to_voigt_6_stress(result.stress)
        if result.forces_spread is not None:
            out["atomic_forces_spread"] = result.forces_spread
            out["forces_spread"] = float(result.forces_spread.max())
        if result.conjugate is not None:
            out["capacitance"] = result.capacitance
            out.update(self._electrode_results(result, result.conjugate))
        return out

    def _electrode_results(self, result: Result, conjugate: float) -> dict[str, float | None]:
        if self.canonical:
            return {
                "electrode_potential": conjugate,
                "electrode_potential_spread": result.conjugate_spread,
                "grand_energy": grand_potential(result.energy, self._electrode, conjugate),
            }
        return {
            "electrode_potential": self._electrode,
            "excess_electrons": conjugate,
            "excess_electrons_spread": result.conjugate_spread,
            "canonical_energy": canonical_energy(result.energy, conjugate, self._electrode),
        }

    def _check_range(self, result: Result, area: float) -> None:
        if self.allow_extrapolation or result.conjugate is None:
            return
        n = self._electrode if self.canonical else result.conjugate
        limits = self.excess_electrons_per_area_range
        if limits and not limits[0] <= n / area <= limits[1]:
            raise ExtrapolationError(
                f"excess_electrons: found {n:.4f} e on {area:.1f} A^2 ({n / area:.5f} e/A^2), "
                f"expected {limits[0]:.5f} to {limits[1]:.5f} e/A^2 as in training"
            )
        limits = None if self.canonical else self.potential_range
        if limits and not limits[0] <= self._electrode <= limits[1]:
            raise ExtrapolationError(
                f"potential: found {self._electrode:.3f} V absolute, expected {limits[0]:.2f} to "
                f"{limits[1]:.2f} V as in training"
            )


def _check_options(dtype: str, device: str, skin: float, committee_every: int) -> None:
    if dtype not in _DTYPES:
        raise InputError(f"dtype: found {dtype!r}, expected one of {', '.join(_DTYPES)}")
    if not (np.isfinite(skin) and skin >= 0):
        raise InputError(f"skin: found {skin}, expected a length in A of zero or more")
    if (
        isinstance(committee_every, bool)
        or committee_every != int(committee_every)
        or (committee_every < 0)
    ):
        raise InputError(f"committee_every: found {committee_every!r}, expected 0, 1, 2, ...")
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise InputError(f"device: found {device!r}, expected cpu or cuda") from error
    if kind not in ("cpu", "cuda"):
        raise InputError(f"device: found {device!r}, expected cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device: found {device!r} without a usable GPU, expected cpu")


def _domain_index(network: PEMACEModel, card: dict[str, Any], wanted: str | None) -> int:
    """Position of the wanted training domain, of the card's default, or of the first."""
    domains = network.config.domains
    default = card.get("default_domain", domains[0])
    if default not in domains:
        raise CheckpointError(
            f"model: default_domain {default!r} is not among its domains, {', '.join(domains)}"
        )
    name = default if wanted is None else wanted
    if name not in domains:
        raise InputError(f"domain: found {name!r}, expected one of {', '.join(domains)}")
    return domains.index(name)
