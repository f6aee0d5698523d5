"""The ASE calculator of Soft-FQEq models."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from voltase.aseplugin.calculators.charge_structures import Structures, faces_of
from voltase.aseplugin.electrochemistry import (
    EPSILON_0,
    Reference,
    check_plausible,
    grand_potential,
    parse_potential,
)
from voltase.aseplugin.errors import ExtrapolationError, InputError
from voltase.aseplugin.models.allocator import keep_freed_memory
from voltase.aseplugin.models.softfqeq import ChargeState, Structure
from voltase.aseplugin.models.softfqeq.checkpoint import load_model
from voltase.aseplugin.models.softfqeq.inference import ChargeEvaluator, ChargeResult
from voltase.aseplugin.models.softfqeq.model import SolverKind

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_CHARGES = {"charges", "fragments", "fragment_chemical_potentials", "electrochemical_potential"}
_RESULTS = (
    "energy", "free_energy", "forces", "stress", "electrode_potential", "capacitance",
    *sorted(_CHARGES),
)  # fmt: skip
ROUNDING = 1e-9
"""e/A^2."""


class SoftFQEq(Calculator):
    """Forces and charges from charge equilibration between soft fragments.

    With ``excess_electrons`` the calculator is canonical: ``energy`` is E(R, n), and
    ``electrode_potential`` (V, absolute as far as the labels were) is -dE/dn. With ``potential``
    the electrode is held at that potential and takes the charge it needs: ``energy`` is
    Omega = E + Phi n. The opposite charge is on a plane above the water.

    Parameters
    ----------
    model : str or Path
        Name of a bundled model or a checkpoint folder.
    excess_electrons : float, optional
        n in e per cell, positive is more negative. Default 0.
    potential : float or str, optional
        Electrode potential in V vs ``reference``.
    reference : str or Reference
        What ``potential`` counts from.
    solver : {"fragment", "global"}
        ``"global"`` lets charge flow between all atoms, with the same weights: usual charge
        equilibration.
    field : float
        Homogeneous external field along the outward normal, V/A, as between two plates.
    counter_height : float, optional
        Height in A of the plane of the counter charge above the middle of the electrode, from
        which potentials are measured; the model's own otherwise.
    dtype : {"float32", "float64"}
        Of the network; charges and electrostatics are in float64.
    device : str
        As torch names it.
    skin : float
        In A; neighbour lists are rebuilt when an atom has moved half of it.
    tolerance : float
        Of the electrostatic forces, eV/A.
    allow_extrapolation : bool
        Answer outside the trained range of n.

    Raises
    ------
    CheckpointError
        If the model cannot be loaded.
    InputError
        If an argument cannot be used.
    ExtrapolationError
        In a calculation outside the trained range.

    Notes
    -----
    Soft fragments: arXiv 2604.27910. Other results: ``charges`` (e, positive where electrons
    lack), ``fragments`` (index of each atom's fragment), ``fragment_chemical_potentials`` (dE/dQ
    of each fragment, V), ``electrochemical_potential`` (dE/dq of each atom, V), ``capacitance``
    (-dn/dPhi at fixed geometry, e/V), ``grand_energy`` or ``canonical_energy`` (the other of the
    two energies). Structures without a wetted electrode face under vacuum have neither
    ``electrode_potential`` nor ``capacitance``, and only molecules among them a charge.
    """

    def __init__(self, model: str | Path = "pt111-water-fqeq",
                 excess_electrons: float | None = None, potential: float | str | None = None,
                 reference: str | Reference = "SHE", solver: SolverKind = "fragment",
                 field: float = 0.0, counter_height: float | None = None, dtype: str = "float32",
                 device: str = "cpu", skin: float = 0.5, tolerance: float = 1e-6,
                 allow_extrapolation: bool = False) -> None:  # fmt: skip
        super().__init__()
        _check_options(solver, dtype, device, skin, tolerance, counter_height)
        self.reference = Reference.parse(reference)
        self.allow_extrapolation = allow_extrapolation
        self.field, self.counter_height = field, counter_height
        self.dtype, self.solver = dtype, solver
        keep_freed_memory()
        network, self.card = load_model(model)
        self.structures = Structures(network.config, skin)
        self.evaluator = ChargeEvaluator(network, device, _DTYPES[dtype], solver, tolerance)
        self._grand_canonical = potential is not None
        other = "canonical_energy" if self._grand_canonical else "grand_energy"
        more = ["excess_electrons"] if self._grand_canonical else []
        self.implemented_properties = [*_RESULTS, other, *more]
        self._electrode = 0.0
        if potential is not None:
            if excess_electrons is not None:
                raise InputError("potential: found one and excess_electrons, expected one of them")
            self.potential = potential
        else:
            self.excess_electrons = 0.0 if excess_electrons is None else excess_electrons

    # -- the electrode's state --------------------------------------------------------------------
    @property
    def ensemble(self) -> str:
        """``"canonical"`` or ``"grand-canonical"``."""
        return "grand-canonical" if self._grand_canonical else "canonical"

    @property
    def sha256(self) -> str:
        """Hash of the weights."""
        return str(self.card["sha256"])

    @property
    def identity(self) -> str:
        """What the energies depend on beside the atoms."""
        return f"{self.sha256} {self.solver} {self.field} {self.counter_height} {self.dtype}"

    @property
    def excess_electrons(self) -> float:
        """Excess electrons n in e (canonical calculators); setting it drops the results."""
        self._require("excess_electrons", not self._grand_canonical)
        return self._electrode

    @excess_electrons.setter
    def excess_electrons(self, value: float) -> None:
        self._require("excess_electrons", not self._grand_canonical)
        self._set_electrode("excess_electrons", value)

    @property
    def absolute_potential(self) -> float:
        """Phi in V, absolute (calculators at a potential); setting it drops the results."""
        self._require("absolute_potential", self._grand_canonical)
        return self._electrode

    @absolute_potential.setter
    def absolute_potential(self, value: float) -> None:
        self._require("absolute_potential", self._grand_canonical)
        self._set_electrode("absolute_potential", value)

    @property
    def potential(self) -> float:
        """U in V vs ``reference`` (calculators at a potential); setting it drops the results."""
        self._require("potential", self._grand_canonical)
        return self.reference.from_absolute(self._electrode)

    @potential.setter
    def potential(self, value: float | str) -> None:
        self._require("potential", self._grand_canonical)
        potential = parse_potential(value)
        check_plausible(potential, self.reference)
        self._set_electrode("potential", self.reference.to_absolute(potential))

    def _require(self, name: str, condition: bool) -> None:
        # An AttributeError, so that hasattr tells the two kinds apart.
        if not condition:
            raise AttributeError(f"{name}: a result, not an input, of a {self.ensemble} calculator")

    @property
    def field(self) -> float:
        """External field along the outward normal in V/A; setting it drops the results."""
        return self._field

    @field.setter
    def field(self, value: float) -> None:
        self._field = _finite("field", value, "a finite number in V/A")
        self.results = {}

    def _set_electrode(self, name: str, value: float) -> None:
        number = _finite(name, value, "a finite number")
        if number != self._electrode:
            self._electrode = number
            self.results = {}

    @property
    def potential_range(self) -> tuple[float, float] | None:
        """Trained range of the absolute potential in V."""
        return self._range("potential_range")

    @property
    def excess_electrons_per_area_range(self) -> tuple[float, float] | None:
        """Trained range of n per area of one face in e/A^2."""
        return self._range("electrons_per_area_range")

    def _range(self, name: str) -> tuple[float, float] | None:
        found = self.card.get(name)
        return None if found is None else (float(found[0]), float(found[1]))

    def electrode_area(self, atoms: Atoms) -> float | None:
        """Area that n spreads over in A^2, of both faces of a slab that is wetted on both."""
        faces = faces_of(atoms, self.evaluator.model.config.electrode_symbols)
        return float(faces.areas.sum()) if faces.has_electrode else None

    # -- ASE --------------------------------------------------------------------------------------
    def calculate(self, atoms: Atoms | None = None, properties: list[str] | None = None,
                  system_changes: list[str] = all_changes) -> None:  # fmt: skip
        """Fill ``results`` (see the class)."""
        properties = ["energy"] if properties is None else properties
        super().calculate(atoms, properties, system_changes)
        self.results = {}
        if self.atoms is None:
            raise InputError("atoms: found none, expected a structure")
        with_stress = "stress" in properties
        if with_stress and not all(self.atoms.pbc):
            raise InputError(
                "stress: the cell is not periodic along all three axes, expected pbc=True"
            )
        structure = self.structures.structure(self.atoms)
        self._check_plane(structure)
        n = 0.0 if self._grand_canonical else self._electrode
        state = ChargeState(n, self.field, self.counter_height)
        potential = self._electrode if self._grand_canonical else None
        # Charges and potentials alone cost less than half.
        with_forces = not set(properties) <= _CHARGES
        result = self.evaluator(structure, state, with_stress, potential, with_forces)
        self._check_range(result, structure)
        self.results = self._as_results(result)

    def _check_plane(self, structure: Structure) -> None:
        if structure.planes == 0:
            return
        model = self.evaluator.model
        height = self.counter_height or model.config.counter_height
        heights = structure.heights(model.electrode(structure).cpu())
        highest = float((heights.abs() if structure.planes == 2 else heights).max())
        if highest > height:
            raise InputError(
                f"counter_height: found {height:g} A, below the outermost atom at {highest:.1f} A "
                "above the middle of the electrode, expected more"
            )

    def _check_range(self, result: ChargeResult, structure: Structure) -> None:
        limits = self.excess_electrons_per_area_range
        if self.allow_extrapolation or limits is None or structure.planes == 0:
            return
        area = float(structure.graph.areas.sum())
        expected = f"expected {limits[0]:.5f} to {limits[1]:.5f} e/A^2 as in training"
        n = result.excess_electrons
        if not limits[0] <= n / area <= limits[1]:
            raise ExtrapolationError(
                f"excess_electrons: found {n:.4f} e on {area:.1f} A^2 ({n / area:.5f} e/A^2), "
                f"{expected}"
            )
        # What a field puts on the wetted side; it comes from electrons and an area, rounded.
        plates = -EPSILON_0 * self.field
        if not limits[0] - ROUNDING <= plates <= limits[1] + ROUNDING:
            raise ExtrapolationError(
                f"field: found {self.field:.4f} V/A, of plates with {plates:.5f} e/A^2, {expected}"
            )

    def _as_results(self, result: ChargeResult) -> dict[str, Any]:
        out: dict[str, Any] = {
            "charges": result.charges,
            "fragments": result.fragments,
            "fragment_chemical_potentials": result.fragment_potentials,
            "electrochemical_potential": result.atom_potentials,
        }
        energy, phi, n = result.energy, result.electrode_potential, result.excess_electrons
        if result.forces is not None:
            out["forces"] = result.forces
        if result.stress is not None:
            out["stress"] = full_3x3_to_voigt_6_stress(result.stress)
        if phi is not None:
            out["electrode_potential"] = phi
            out["capacitance"] = result.capacitance
            omega = grand_potential(energy, n, phi)
            if self._grand_canonical:
                out.update(excess_electrons=n, canonical_energy=energy)
                energy = omega
            else:
                out["grand_energy"] = omega
        out["energy"] = out["free_energy"] = energy
        return out


def _finite(name: str, value: Any, expected: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: found {value!r}, expected {expected}") from error
    if not np.isfinite(number):
        raise InputError(f"{name}: found {value}, expected {expected}")
    return number


def _check_options(solver: str, dtype: str, device: str, skin: float, tolerance: float,
                   counter_height: float | None) -> None:  # fmt: skip
    if solver not in get_args(SolverKind):
        raise InputError(f"solver: found {solver!r}, expected 'fragment' or 'global'")
    if dtype not in _DTYPES:
        raise InputError(f"dtype: found {dtype!r}, expected one of {', '.join(_DTYPES)}")
    if _finite("skin", skin, "a length in A of zero or more") < 0.0:
        raise InputError(f"skin: found {skin}, expected a length in A of zero or more")
    if not 0.0 < _finite("tolerance", tolerance, "a number of eV/A") < 1.0:
        raise InputError(f"tolerance: found {tolerance}, expected more than 0, less than 1 eV/A")
    if counter_height is not None and _finite("counter_height", counter_height,
                                              "a height in A") <= 0.0:  # fmt: skip
        raise InputError(f"counter_height: found {counter_height}, expected a height in A")
    kind = device.split(":")[0] if isinstance(device, str) else ""
    if kind not in ("cpu", "cuda"):
        raise InputError(f"device: found {device!r}, expected cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device: found {device!r} without a usable GPU, expected cpu")
    try:
        torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device: found {device!r}, expected cpu or cuda:N") from error
