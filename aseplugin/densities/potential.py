"""Electrostatic potential of a density and its ions, with a choice of what closes the cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols
from scipy.special import erf

from voltase.aseplugin.densities.poisson import solve_periodic, solve_planar
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from voltase.aseplugin.density_grid import DensityGrid

Array = npt.NDArray[np.float64]
NEUTRAL = 0.02
"""Net charge of a cell in e that the spacing of its grid may leave."""
VACUUM = 1e-2
"""Mean density in e/A^3 of a plane up to which it lies in the vacuum; that of water is 0.27."""
BOUNDARIES = ("periodic", "uniform", "slab", "sheet", "jellium")


def electrostatic_potential(density: DensityGrid, boundary: str, region: tuple[float, ...],
                            smearing: float) -> Array:  # fmt: skip
    """Potential on the points of a density; see `DensityGrid.electrostatic_potential`."""
    if boundary not in BOUNDARIES:
        expected = ", ".join(BOUNDARIES)
        raise InputError(f"boundary: found '{boundary}', expected one of {expected}")
    region = _heights(region, boundary)
    charge = charge_density(density, smearing)
    net = float(charge.mean()) * density.volume
    if boundary in ("periodic", "slab") and abs(net) > NEUTRAL:
        raise InputError(
            f"boundary: found '{boundary}' and {net:+.4g} e in the cell, expected a counter-charge:"
            " uniform, sheet or jellium"
        )
    bottom = float(np.abs(density.values[:, :, 0]).mean())
    if boundary not in ("periodic", "uniform") and bottom > VACUUM:
        raise InputError(
            f"boundary: found '{boundary}' and {bottom:.2g} e/A^3 in the plane k = 0, expected "
            "vacuum there: move the slab off the end of the cell"
        )
    potential = solve_periodic(charge, density.cell)
    if boundary in ("periodic", "uniform"):
        return potential
    # Waves along the surface do not reach through the vacuum; the planar average does.
    planar, height = charge.mean(axis=(0, 1)), density.height
    closed = planar + _counter_charge(region, net, density, smearing)
    shift = solve_planar(closed, height, "open") - solve_planar(planar, height, "periodic")
    return np.asarray(potential + shift)


def charge_density(density: DensityGrid, smearing: float) -> Array:
    """Ions as Gaussians minus electrons (nx, ny, nz), e/A^3.

    Raises
    ------
    InputError
        If the atoms or their valences are not known, or the width does not fit the grid.
    """
    from voltase.aseplugin.kernels.gaussian_density import GaussianBasis, evaluate

    atoms, valence = density.atoms, density.valence
    if atoms is None or valence is None:
        raise InputError("density: found no atoms with valences, expected both for a potential")
    spacing = max(np.linalg.norm(density.cell, axis=1) / density.values.shape)
    real = isinstance(smearing, int | float | np.number)
    if not (real and spacing * 0.999 <= smearing <= 0.25 * density.height):
        raise InputError(
            f"smearing: found {smearing!r} A, expected from the spacing of the grid, "
            f"{spacing:.3g} A, to a quarter of the cell"
        )
    shells = {chemical_symbols[z]: [(0, 0.5 / smearing**2)] for z in set(atoms.numbers)}
    # Periodic along all axes, as the series of the potential is.
    ions = evaluate(valence, atoms.numbers, atoms.positions, GaussianBasis(shells), density.cell,
                    (True, True, True), density.values.shape, origin=density.origin)  # fmt: skip
    return np.asarray(ions - density.values)


def _heights(region: Any, boundary: str) -> tuple[float, ...]:
    try:
        found = tuple(float(height) for height in region)
    except (TypeError, ValueError):
        raise InputError(f"region: found {region!r}, expected a tuple of heights in A") from None
    if len(found) != {"sheet": 1, "jellium": 2}.get(boundary, 0):
        raise InputError(
            f"region: found {len(found)} heights, expected one for sheet, two for jellium, none "
            f"for {boundary}"
        )
    return found


def _counter_charge(region: tuple[float, ...], net: float, density: DensityGrid, width: float
                    ) -> Array:  # fmt: skip
    """Charge density (nz,) in e/A^3 that makes the cell neutral, smeared as the ions are."""
    z, height = density.heights(), density.height
    if not region:
        return np.zeros(len(z))
    if not all(0.0 <= r <= height for r in region) or list(region) != sorted(set(region)):
        raise InputError(f"region: found {region}, expected ascending heights up to {height:.4g} A")
    low, high = region[0], region[-1]
    if low == high:
        profile = np.exp(-0.5 * ((z - low) / width) ** 2)
    else:
        scale = width * np.sqrt(2.0)
        profile = erf((z - low) / scale) - erf((z - high) / scale)
    return np.asarray(-net / density.volume * profile / profile.mean())
