"""An electron density on the points of a regular grid."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from voltase.aseplugin.densities.bader import BaderCharges

Array = npt.NDArray[np.float64]
SMALLEST_VOLUME = 1e-3
"""In A^3, of a cell."""


@dataclass
class DensityGrid:
    """Values on a grid that fills a cell.

    Attributes
    ----------
    values : ndarray, shape (nx, ny, nz)
        e/A^3, electrons positive. Point (i, j, k) lies at origin + (i/nx, j/ny, k/nz) @ cell.
    cell : ndarray, shape (3, 3)
        Lattice vectors as rows, A.
    origin : ndarray, shape (3,)
        A.
    pbc : (bool, bool, bool)
        Along which lattice vectors the density repeats.
    atoms : Atoms, optional
        Those of the cell.
    valence : ndarray, shape (n_atoms,), optional
        Charges of the ions that the electrons belong to, e.
    slope : ndarray, shape (nx, ny, nz), optional
        Derivative by the electrode potential, e/A^3/V.

    Raises
    ------
    InputError
        If a shape is wrong, the cell has no volume, or something is not a finite number.
    """

    values: Array
    cell: Array
    origin: Array = field(default_factory=lambda: np.zeros(3))
    pbc: tuple[bool, bool, bool] = (True, True, True)
    atoms: Atoms | None = None
    valence: Array | None = None
    slope: Array | None = None

    def __post_init__(self) -> None:
        for name, dimensions, shape in (
            ("values", 3, None),
            ("cell", 2, (3, 3)),
            ("origin", 1, (3,)),
            ("valence", 1, None if self.atoms is None else (len(self.atoms),)),
            ("slope", 3, np.shape(self.values)),
        ):
            if getattr(self, name) is None:
                continue
            found = np.asarray(getattr(self, name))
            if found.dtype.kind not in "iuf":
                raise InputError(f"{name}: found values of type {found.dtype}, expected numbers")
            if found.ndim != dimensions or (shape is not None and found.shape != shape):
                expected = shape or f"{dimensions} dimensions"
                raise InputError(f"{name}: found shape {found.shape}, expected {expected}")
            if not np.isfinite(found).all():
                raise InputError(f"{name}: found values that are not finite, expected numbers")
            setattr(self, name, found)
        if not self.values.size:
            raise InputError(f"values: found shape {self.values.shape}, expected one point or more")
        if not self.volume > SMALLEST_VOLUME:
            raise InputError(
                f"cell: found {self.cell.tolist()}, expected three lattice vectors in A"
            )
        if len(self.pbc) != 3:
            raise InputError(f"pbc: found {len(self.pbc)} values, expected three")

    @property
    def volume(self) -> float:
        """Of the cell, A^3."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def volume_element(self) -> float:
        """Volume of one grid point, A^3."""
        return self.volume / self.values.size

    @property
    def height(self) -> float:
        """Of the cell above the plane of the first two lattice vectors, A."""
        return self.volume / float(np.linalg.norm(np.cross(self.cell[0], self.cell[1])))

    def heights(self) -> Array:
        """Of the planes of points above the first, A, shape (nz,)."""
        nz = self.values.shape[2]
        return np.arange(nz) * (self.height / nz)

    def with_values(self, values: Array) -> DensityGrid:
        """Other values on the same points, without a slope."""
        return replace(self, values=values, slope=None)

    def integral(self) -> float:
        """Number of electrons."""
        return float(self.values.sum(dtype=np.float64)) * self.volume_element

    def planar_average(self) -> Array:
        """Mean over the first two axes, e/A^3, shape (nz,)."""
        return self.values.mean(axis=(0, 1), dtype=np.float64)

    def macroscopic_average(self, *windows: float) -> Array:
        """Planar average, averaged over one or two windows in A in turn, e/A^3, shape (nz,).

        With a window of the period of each material its oscillations vanish; see
        `densities.poisson.macroscopic_average`.

        Raises
        ------
        InputError
            If there are not one or two windows, or one is wider than the cell.
        """
        from voltase.aseplugin.densities.poisson import macroscopic_average

        if len(windows) not in (1, 2):
            raise InputError(f"windows: found {len(windows)}, expected one or two")
        profile, repeats = self.planar_average(), self.pbc[2]
        closed = np.append(profile, profile[0] if repeats else profile[-1])
        pair = (windows[0], windows[1] if len(windows) == 2 else 0.0)
        return macroscopic_average(closed, self.height / len(profile), pair, periodic=repeats)[:-1]

    def response(self) -> DensityGrid:
        """Derivative of the density by the electrode potential, values in e/A^3/V.

        Raises
        ------
        InputError
            If the density came without one.
        """
        if self.slope is None:
            raise InputError("density: found no derivative by the potential, expected a model's")
        return self.with_values(self.slope)

    def fukui(self) -> DensityGrid:
        """Fukui function: the density of an electron that is added, 1/A^3; integral 1.

        Raises
        ------
        InputError
            If there is no derivative by the potential, or it has no charge.
        """
        slope = self.response()
        charge = slope.integral()
        if abs(charge) < 1e-6:
            raise InputError(f"density: found a response of {charge:.3g} e/V, expected charge")
        return slope.with_values(slope.values / charge)

    def electrostatic_potential(
        self, boundary: str = "periodic", *, region: tuple[float, ...] = (), smearing: float = 0.3
    ) -> Array:
        """Electrostatic potential of electrons and ions in V, shape (nx, ny, nz).

        Of a positive test charge, by Fourier series; no dielectric is there but the electrons.

        Parameters
        ----------
        boundary : {"periodic", "uniform", "slab", "sheet", "jellium"}
            ``periodic``: the cell repeats and is neutral, mean potential zero. ``uniform``: a
            uniform background makes it so. ``slab``: field and potential are zero at the plane
            k = 0, which lies in the vacuum, and no field remains beyond the other side.
            ``sheet``, ``jellium``: the same with a counter-charge in the plane at a height, or
            between two heights.
        region : tuple of float
            The one height of the sheet or the two of the jellium above k = 0, A.
        smearing : float
            Standard deviation in A of the Gaussians that ions and counter-charge are; it changes
            nothing outside of them.

        Raises
        ------
        InputError
            If atoms or valences are missing, an argument does not fit, a cell without a
            counter-charge is charged, or the plane k = 0 of a slab is not in the vacuum.
        """
        from voltase.aseplugin.densities.potential import electrostatic_potential

        return electrostatic_potential(self, boundary, region, smearing)

    def bader(
        self, method: str = "near-grid", *, vacuum: float | None = None,
        reference: Array | str | None = None,
    ) -> BaderCharges:  # fmt: skip
        """Electrons of each atom, divided at surfaces of zero flux.

        Parameters
        ----------
        method : {"near-grid", "on-grid", "weight"}
        vacuum : float, optional
            Points below this density, e/A^3, belong to no atom; 1e-3 is customary.
        reference : ndarray (nx, ny, nz) or "frozen-core", optional
            Density whose maxima and minima divide the cell, for a valence density that is smooth
            at the nuclei; ``frozen-core`` adds Gaussian cores to it.

        Raises
        ------
        InputError
            If an argument does not fit.
        """
        from voltase.aseplugin.densities.bader import bader_charges, frozen_core_reference

        if isinstance(reference, str):
            if reference != "frozen-core":
                raise InputError(f"reference: found '{reference}', expected frozen-core or values")
            reference = frozen_core_reference(self)
        return bader_charges(self, method, vacuum, reference)

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, group: str | None = None) -> DensityGrid:
        """Read a cube file (bohr^-3), a CHGCAR, an HDF5 file of ours, or a .gpw of GPAW.

        Cube files and CHGCARs do not say along which axes a density repeats: along all. A CHGCAR
        gives the total of the spins. Of a .gpw it is the pseudo-density with compensation charges,
        whose sum is the number of valence electrons.

        Parameters
        ----------
        path : path
        group : str, optional
            Of an HDF5 file with several.

        Raises
        ------
        InputError
            If the file cannot be read, is cut short, or holds no density of finite numbers.
        """
        from voltase.aseplugin.densities.files import read_density

        return read_density(path, group)

    def write(self, path: str | os.PathLike[str], *, group: str = "density") -> None:
        """Write a cube file (bohr^-3), a CHGCAR or an HDF5 file, by its name.

        A file of that name is replaced; other groups of an HDF5 file stay. A cube file keeps the
        origin and six decimals of the grid's steps in bohr, which is 1e-6 of the electrons; a
        CHGCAR has eleven digits, no origin, and its atoms sorted by element; HDF5 keeps all there
        is.

        Raises
        ------
        InputError
            If the name has no such ending, atoms are missing, or the file cannot be written.
        """
        from voltase.aseplugin.densities.files import write_density

        write_density(self, path, group)
