"""Films of water with ions: how much fits, and where its molecules are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.units import kg, m

from voltase.aseplugin.building.molecules import Body, read_body, water
from voltase.aseplugin.building.sampling import COLD, Region, Sampler
from voltase.aseplugin.building.symmetry import Array, Indices
from voltase.aseplugin.errors import InputError

WATER_DENSITY = 0.997
"""Of water at 298 K in g/cm^3."""
HIGHEST_DENSITY = 1.4
"""In g/cm^3; more does not fit without overlaps."""
MOLECULE_MASS = 18.01528
"""Of water in u."""
MOST_WATERS = 5000
EXTRA_SWEEPS = 400
"""At most, where molecules still overlap at the end of the sampling."""
_PER_VOLUME = 1e3 * kg / m**3 / MOLECULE_MASS  # molecules in A^3 at 1 g/cm^3


@dataclass(frozen=True)
class FilmPlan:
    """How many molecules a film has, and how thick it is.

    Attributes
    ----------
    waters : int
        Molecules of water that are placed.
    ions : tuple of Body
    thickness : float
        In A, of the region that the centres of the molecules fill.
    density : float
        In g/cm^3: the mass of the water, replaced molecules included, in that region.
    """

    waters: int
    ions: tuple[Body, ...]
    thickness: float
    density: float

    @property
    def bodies(self) -> list[Body]:
        """Ions, then water."""
        return [*self.ions, *[water()] * self.waters]


def plan_film(area: float, thickness: float | None, waters: int | None, density: float | None,
              ions: dict[str, int]) -> FilmPlan | None:  # fmt: skip
    """How much water and which ions a film on a face has; None for no film.

    Parameters
    ----------
    area : float
        In A^2.
    thickness : float or None
        In A. Without `waters` it is rounded to a whole number of molecules.
    waters : int or None
        Molecules that are placed, beside the ions. With `thickness` it sets the density.
    density : float or None
        In g/cm^3; `WATER_DENSITY` by default.
    ions : dict
        Names and numbers. Each takes the room of `Body.replaced_waters` molecules.

    Raises
    ------
    InputError
        If the values do not fit together, or more is asked for than fits.
    """
    bodies = tuple(body for name, count in ions.items() for body in [read_body(name)] * count)
    if thickness is None and waters is None:
        if bodies:
            raise InputError(f"ions: got {', '.join(ions)} without water, expected a thickness or "
                             "a number of waters with them")  # fmt: skip
        return None
    if thickness is not None and not 1.0 <= thickness <= 1000.0:
        raise InputError(f"thickness: got {thickness:g} A, expected 1 to 1000 A")
    if waters is not None and not 1 <= waters <= MOST_WATERS:
        raise InputError(f"waters: got {waters}, expected 1 to {MOST_WATERS}")
    if density is not None and not 0.01 <= density <= HIGHEST_DENSITY:
        raise InputError(f"density: got {density} g/cm3, expected 0.01 to {HIGHEST_DENSITY}; more "
                         "does not fit")  # fmt: skip
    replaced = sum(body.replaced_waters for body in bodies)
    if thickness is not None and waters is not None:
        return _of_both(area, thickness, waters, density, bodies, replaced)
    density = WATER_DENSITY if density is None else density
    per_length = area * density * _PER_VOLUME
    if waters is None:
        assert thickness is not None
        total = round(thickness * per_length)
        if total > MOST_WATERS:
            raise InputError(f"thickness: got {thickness:g} A, which is {total} waters, expected "
                             f"at most {MOST_WATERS}")  # fmt: skip
        waters = total - replaced
        if waters < 1:
            raise InputError(
                f"thickness: got {thickness:g} A, room for {total} molecules of water, of which "
                f"the ions take {replaced}; expected a thicker film"
            )
    return FilmPlan(waters, bodies, (waters + replaced) / per_length, density)


def _of_both(area: float, thickness: float, waters: int, density: float | None,
             bodies: tuple[Body, ...], replaced: int) -> FilmPlan:  # fmt: skip
    found = (waters + replaced) / (area * thickness * _PER_VOLUME)
    if found > HIGHEST_DENSITY:
        fits = max(int(HIGHEST_DENSITY * area * thickness * _PER_VOLUME) - replaced, 0)
        raise InputError(f"waters: got {waters} in {thickness:g} A, which is {found:.2f} g/cm3, "
                         f"expected at most {fits}; more does not fit")  # fmt: skip
    if density is not None and abs(found - density) > 0.02 * density:
        raise InputError(f"density: got {density} g/cm3 with a thickness and a number of waters, "
                         f"which make {found:.3f} g/cm3; expected two of the three")  # fmt: skip
    return FilmPlan(waters, bodies, thickness, found)


def make_film(plan: FilmPlan, region: Region, walls: tuple[Array, Indices], sweeps: int,
              rng: np.random.Generator, report: Callable[[int], None] | None = None
              ) -> tuple[Atoms, Indices]:  # fmt: skip
    """Molecules of a film, whole, and the number of each atom's molecule from 1 on.

    Raises
    ------
    InputError
        If they do not fit in without overlaps.
    """
    if sweeps < 1:
        raise InputError(f"sweeps: got {sweeps}, expected at least 1")
    widest = max((body.reach for body in plan.ions), default=0.0)
    if 2.0 * widest > region.thickness:
        raise InputError(f"thickness: got {region.thickness:.1f} A, expected at least "
                         f"{2.0 * widest:.1f} A for these ions")  # fmt: skip
    sampler = Sampler(plan.bodies, region, walls, rng)
    sampler.run(sweeps, report)
    for _ in range(EXTRA_SWEEPS):
        if not sampler.overlapping():
            break
        sampler.sweep(COLD)
    else:
        raise InputError(f"waters: {plan.waters} and {len(plan.ions)} ions do not fit into "
                         f"{region.thickness:.1f} A without overlaps, expected fewer, a lower "
                         "density or a larger cell")  # fmt: skip
    positions = sampler.positions
    numbers = np.concatenate([body.numbers for body in sampler.bodies])
    members = np.repeat(np.arange(len(sampler.bodies)), np.diff(sampler.starts))
    centres = positions[sampler.starts[:-1]][members, :2]
    inverse = np.linalg.inv(region.lattice)
    positions[:, :2] -= np.floor(centres @ inverse) @ region.lattice
    return Atoms(numbers=numbers, positions=positions), members.astype(np.int64) + 1
