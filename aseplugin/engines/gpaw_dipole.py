"""A dipole correction for SJM whose potential is the derivative of its energy."""

from __future__ import annotations

from typing import Any

import numpy as np
from gpaw.dipole_correction import DipoleCorrection
from gpaw.solvation.sjm import OldSJM

# Of the residual of the solution between the two faces.
_ACCURACY = 1e-12


class ReciprocalDipoleCorrection(DipoleCorrection):
    """Field-free faces by a solution of the Poisson equation of the dielectric.

    GPAW adds a sawtooth that solves the equation of the permittivity averaged over planes, and
    scales it to a flat potential at the lower face. Where the permittivity varies along the
    surface that is no solution, the potential of one charge at another is not that of the other at
    the one, and E is not the work of charging: -dE/dn and Phi differ by up to about 0.1 V.

    Here u, with div(eps grad u) = 0 and u = -1/2 and +1/2 at the faces, takes the sawtooth's place.
    By Green's theorem the field that the charges rho cause at the faces, at zero potential there,
    is cancelled by adding c u with c = 4 pi (integral of rho u) / (A D), where D is the flux of u.

    Parameters
    ----------
    poissonsolver
        GPAW's, with a dielectric.
    """

    correction: Any  # of the base class; declared for where GPAW is not installed

    def __init__(self, poissonsolver: Any) -> None:
        super().__init__(poissonsolver, "xy")
        self._permittivity: Any = None
        self._between_faces: Any = None
        self._flux = np.nan

    def solve(self, pot: Any, dens: Any, **kwargs: Any) -> int:
        """Potential ``pot`` of a charge density ``dens``, in place; atomic units."""
        gd = self.poissonsolver.gd
        if self._between_faces is not None and self.correction is not None:
            pot += 2.0 * self.correction * self._between_faces
        iterations: int = self.poissonsolver.solve(pot, dens, **kwargs)
        self._update()
        area = gd.volume / gd.cell_cv[2, 2]
        scale = 4.0 * np.pi * gd.integrate(dens * self._between_faces) / (area * self._flux)
        pot += scale * self._between_faces
        # The potential is +correction at the lower face and -correction at the upper one.
        self.correction = -0.5 * scale
        return iterations

    def _update(self) -> None:
        solver = self.poissonsolver
        permittivity, _, _, slope = solver.dielectric.eps_gradeps
        if self._permittivity is not None and np.array_equal(permittivity, self._permittivity):
            return
        self._permittivity = permittivity.copy()
        gd = solver.gd
        length = gd.cell_cv[2, 2]
        heights = gd.coords(2, pad=False)
        rest = gd.zeros()
        accuracy, solver.eps = solver.eps, min(solver.eps, _ACCURACY)
        # div(eps grad rest) = -div(eps grad z/L), and zero at the faces.
        solver.solve_neutral(rest, slope / (4.0 * np.pi * length))
        solver.eps = accuracy
        self._between_faces = heights / length - 0.5 + rest
        # At the lower face, in vacuum.
        self._flux = 1.0 / length + rest[:, :, 0].mean() / heights[0]


class ReciprocalSJM(OldSJM):
    """SJM with that correction."""

    def create_hamiltonian(self, realspace: bool, mode: Any, xc: Any) -> None:
        """As SJM, then the correction."""
        super().create_hamiltonian(realspace, mode, xc)
        solver = self.hamiltonian.poisson.poissonsolver
        correction = ReciprocalDipoleCorrection(solver)
        correction.check_direction(solver.gd, solver.gd.pbc_c)
        self.hamiltonian.poisson = correction
