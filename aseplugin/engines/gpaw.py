"""GPAW, with its solvated jellium method for charged electrodes in an implicit solvent."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import Bohr, Ha, kJ, m
from numpy.typing import NDArray

from voltase.aseplugin.density_grid import DensityGrid
from voltase.aseplugin.engines.base import Capabilities, ElectronicState, Engine
from voltase.aseplugin.engines.gpaw_settings import (
    JELLIUM,
    LABELS,
    WATER,
    Solvent,
    check_cell,
    grid_points,
)
from voltase.aseplugin.errors import EngineError, ScfError

logger = logging.getLogger(__name__)

_CHARGES = ("hirshfeld_charges",)


class GPAWEngine(Engine):
    """E(R, n) from GPAW.

    With a solvent it is the solvated jellium method (Kastlunger, Lindgren and Peterson,
    doi:10.1021/acs.jpcc.8b02465): n is balanced by a slab of jellium in the implicit solvent
    above the atoms, whose potential is the reference of the electrode potential. Without one it
    is a neutral slab in vacuum with a dipole layer.

    Parameters
    ----------
    excess_electrons : float
        n in e.
    solvent : Solvent or None
    jellium : mapping
        GPAW's ``jelliumregion``: where the counter-charge is, in A. By default it begins 3 A above
        the highest atom, follows that atom, and ends 0.6 A below the cell's top.
    spacing : float
        Of the grid, A; ``gpts`` overrides it.
    variational : bool
        Report energy, forces and potential that are derivatives of one another: the free energy of
        the smeared electrons, with the dipole correction of
        :class:`~voltase.aseplugin.engines.gpaw_dipole.ReciprocalDipoleCorrection`. By default the
        energy is the one extrapolated to no smearing and the correction GPAW's own, as in the
        labels of Pt(111)/water; -dE/dn then misses Phi by up to 0.1 V. Do not mix the two.
    charges : sequence of str
        Atomic charges to add to the results: ``"hirshfeld_charges"``.
    txt : path, optional
        GPAW's own log; nothing is written by default.
    **parameters
        GPAW's parameters; see :data:`~voltase.aseplugin.engines.gpaw_settings.LABELS` for the
        values of those not given.

    Raises
    ------
    EngineError
        If GPAW is not installed.
    """

    code = "GPAW"

    def __init__(
        self,
        excess_electrons: float = 0.0,
        *,
        solvent: Solvent | None = WATER,
        jellium: Mapping[str, Any] = JELLIUM,
        spacing: float = 0.2,
        variational: bool = False,
        charges: Sequence[str] = (),
        txt: Any = None,
        **parameters: Any,
    ) -> None:
        if importlib.util.find_spec("gpaw") is None:
            raise EngineError(
                "gpaw: not found, expected an installation: pip install voltase[gpaw]"
            )
        for name in charges:
            if name not in _CHARGES:
                raise EngineError(f"charges: found {name!r}, expected {' or '.join(_CHARGES)}")
        self.solvent = solvent
        self.jellium = dict(jellium)
        self.spacing = spacing
        self.variational = variational
        self.txt = txt
        self._charges = tuple(charges)
        self._gpaw_parameters = LABELS | parameters
        self._gpaw: Any = None
        super().__init__(excess_electrons)
        self.implemented_properties = [*self.implemented_properties, *self._charges]

    @property
    def capabilities(self) -> Capabilities:
        """What the present settings give."""
        solvated = self.solvent is not None
        return Capabilities(
            potential_reference="electrolyte" if solvated else "vacuum",
            charged=solvated,
            density=True,
            charges=self._charges,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides the results, in plain types."""
        return {
            "code": self.code,
            "version": self.version(),
            "solvent": None if self.solvent is None else self.solvent.as_dict(),
            "jellium": dict(self.jellium),
            "spacing": self.spacing,
            "variational": self.variational,
            **self._gpaw_parameters,
        }

    def version(self) -> str:
        """GPAW's version."""
        import gpaw

        return str(gpaw.__version__)

    def single_point(self, atoms: Atoms, excess_electrons: float) -> ElectronicState:
        """Run GPAW; starts from the last orbitals while cell and elements are the same."""
        from gpaw import ConvergenceError
        from gpaw.utilities import AtomsTooClose

        check_cell(atoms, solvated=self.solvent is not None)
        try:
            self._converge(atoms, excess_electrons)
            state = self._state()
        except ConvergenceError as error:
            self._gpaw = None
            raise ScfError(f"GPAW: {_first_line(error)}") from error
        except AtomsTooClose as error:
            self._gpaw = None
            raise EngineError(f"positions: {_first_line(error)}") from error
        except BaseException:
            # Half-updated; the next single point starts afresh.
            self._gpaw = None
            raise
        return state

    def _converge(self, atoms: Atoms, n: float) -> None:
        gpaw = self._gpaw
        changes = ["positions"]
        if gpaw is None or not _same_system(gpaw.atoms, atoms):
            gpaw = self._gpaw = self._new_gpaw(atoms)
            changes = ["positions", "numbers", "cell", "pbc"]
        elif np.array_equal(gpaw.atoms.positions, atoms.positions):
            changes = []
        # GPAW lays the counter-charge by the atoms it has when a calculation begins.
        gpaw.atoms = atoms.copy()
        gpaw.results = {}
        if self.solvent is not None:
            gpaw.parameters["sj"]["excess_electrons"] = n
        gpaw.calculate(gpaw.atoms, ["energy", "forces"], changes)

    def _new_gpaw(self, atoms: Atoms) -> Any:
        parameters = dict(self._gpaw_parameters)
        if "h" not in parameters:
            parameters.setdefault("gpts", grid_points(atoms, self.spacing))
        if self.solvent is None:
            from gpaw.old.calculator import GPAW

            return GPAW(txt=self.txt, **parameters)
        return solvated_jellium(
            self.solvent, self.jellium, variational=self.variational, txt=self.txt, **parameters
        )

    def _state(self) -> ElectronicState:
        gpaw = self._gpaw
        # GPAW's Legendre-transformed energies are left aside: these are the canonical ones.
        hamiltonian = gpaw.hamiltonian
        free_energy = float(hamiltonian.e_total_free * Ha)
        extrapolated = float(hamiltonian.e_total_extrapolated * Ha)
        return ElectronicState(
            energy=free_energy if self.variational else extrapolated,
            free_energy=free_energy,
            forces=np.array(gpaw.results["forces"], dtype=np.float64),
            electrode_potential=float(hamiltonian.get_workfunctions(gpaw.wfs)[1] * Ha),
            fermi_level=float(gpaw.wfs.fermi_level * Ha),
            scf_iterations=int(gpaw.scf.niter),
            arrays=self._atomic_charges(),
        )

    def _atomic_charges(self) -> dict[str, NDArray[np.float64]]:
        if not self._charges:
            return {}
        from gpaw.analyse.hirshfeld import HirshfeldPartitioning

        return {"hirshfeld_charges": np.array(HirshfeldPartitioning(self._gpaw).get_charges())}

    def density(self) -> DensityGrid:
        """Smooth valence density of the last single point, e/A^3.

        Pseudo-density plus the compensation charges of the PAW method, with the charges of the
        ions (the valence) added back in the same shapes, restricted from the fine grid to the
        coarse one. It integrates to the number of valence electrons + n; near the nuclei it is
        smoother than the true density. The plane k = 0 is the zero boundary.
        """
        gpaw = self._converged()
        density = gpaw.density
        grid = density.finegd
        values = density.nt_sg.sum(axis=0)
        _, multipoles = density.calculate_multipole_moments()
        ions = {a: np.zeros_like(q) for a, q in multipoles.items()}
        for a, q in ions.items():
            q[:] = multipoles[a]
            q[0] += gpaw.setups[a].Nv / np.sqrt(4.0 * np.pi)
        density.ghat.add(values, ions)
        coarse = gpaw.hamiltonian.restrict_and_collect(grid.collect(values, broadcast=True))
        padded = density.gd.zero_pad(coarse)
        return DensityGrid(padded / Bohr**3, gpaw.atoms.cell.array.copy())

    def electrostatic_potential_planar(self) -> NDArray[np.float64]:
        """Electrostatic energy of an electron averaged over planes, eV, shape (planes,).

        On the fine grid of the last single point, plane k at height k/planes of the cell; right
        outside the augmentation spheres of the atoms.
        """
        hamiltonian = self._converged().hamiltonian
        grid = hamiltonian.finegd
        potential = grid.zero_pad(grid.collect(hamiltonian.vHt_g, broadcast=True))
        # Along the surface there is nothing left of the charge at the lower face.
        potential[:, :, 0] = hamiltonian.poisson.correction
        planar: NDArray[np.float64] = potential.mean(axis=(0, 1)) * Ha
        return planar

    def _converged(self) -> Any:
        if self._gpaw is None or "energy" not in self.results:
            raise EngineError("density: found no converged single point, expected one first")
        return self._gpaw


def solvated_jellium(
    solvent: Solvent,
    jellium: Mapping[str, Any] = JELLIUM,
    *,
    variational: bool = False,
    **parameters: Any,
) -> Any:
    """GPAW's own SJM calculator in the solvent, at fixed n unless ``sj`` has a target.

    Parameters
    ----------
    solvent : Solvent
    jellium, variational
        As for :class:`GPAWEngine`.
    **parameters
        GPAW's; ``sj`` adds to SJM's own.
    """
    from gpaw.solvation import (
        EffectivePotentialCavity,
        GradientSurface,
        LinearDielectric,
        SurfaceInteraction,
    )
    from gpaw.solvation.sjm import OldSJM, SJMPower12Potential

    cavity = EffectivePotentialCavity(
        effective_potential=SJMPower12Potential(
            atomic_radii=solvent.radii(), u0=solvent.u0, H2O_layer=False
        ),
        temperature=solvent.temperature_K,
        surface_calculator=GradientSurface(),
    )
    tension = solvent.surface_tension * 1e-6 * kJ / m**2
    sj = {"target_potential": None, "jelliumregion": dict(jellium)} | parameters.pop("sj", {})
    kind: Any = OldSJM
    if variational:
        from voltase.aseplugin.engines.gpaw_dipole import ReciprocalSJM

        kind = ReciprocalSJM
    return kind(
        cavity=cavity,
        dielectric=LinearDielectric(epsinf=solvent.permittivity),
        interactions=[SurfaceInteraction(surface_tension=tension)],
        sj=sj,
        **parameters,
    )


def _same_system(first: Atoms, second: Atoms) -> bool:
    return (
        np.array_equal(first.numbers, second.numbers)
        and np.array_equal(first.cell.array, second.cell.array)
        and np.array_equal(first.pbc, second.pbc)
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
