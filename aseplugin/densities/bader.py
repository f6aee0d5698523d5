"""Bader charges: the density divided between the atoms at surfaces of zero flux."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols, covalent_radii

from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from voltase.aseplugin.density_grid import DensityGrid

LOG = logging.getLogger(__name__)
Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
METHODS = ("on-grid", "near-grid", "weight")
CORE_WIDTH = 0.12
"""Standard deviation of a core, in covalent radii: gone at half a bond."""


@dataclass(frozen=True)
class BaderCharges:
    """A division of a density.

    Attributes
    ----------
    electrons : ndarray (n_atoms,)
        Number of electrons of each atom; of each basin where there are no atoms. An atom without
        a maximum of its own has none: its neighbour has them.
    volumes : ndarray (n_atoms,)
        A^3.
    maxima : ndarray (m, 3)
        Positions of the maxima, A.
    owners : ndarray (m,)
        Atom that each belongs to, the nearest one.
    distances : ndarray (m,)
        To that atom, A; 0 where there are no atoms.
    peaks : ndarray (m,)
        Density at the maxima, that which divides the cell, e/A^3.
    vacuum_electrons, vacuum_volume : float
        What is below the threshold of the vacuum; both are zero without one.
    labels : ndarray (nx, ny, nz)
        Atom of each point (that of the largest share, for weights); -1 in the vacuum.
    """

    electrons: Array
    volumes: Array
    maxima: Array
    owners: Indices
    distances: Array
    peaks: Array
    vacuum_electrons: float
    vacuum_volume: float
    labels: Indices


def bader_charges(density: DensityGrid, method: str, vacuum: float | None,
                  reference: Array | None) -> BaderCharges:  # fmt: skip
    """Divide a density; see `DensityGrid.bader`."""
    from voltase.aseplugin.kernels.bader import (
        highest_neighbours,
        maxima_of,
        refine_edges,
        shares,
        voronoi_facets,
    )

    if method not in METHODS:
        raise InputError(f"method: found '{method}', expected one of {', '.join(METHODS)}")
    values = np.asarray(density.values, dtype=np.float64)
    guide = values if reference is None else _guide(reference, values.shape)
    if vacuum is not None and not _is_finite(vacuum):
        raise InputError(f"vacuum: found {vacuum!r}, expected a density in e/A^3")
    steps = density.cell / np.array(values.shape)[:, None]
    periodic = np.asarray(density.pbc, dtype=np.bool_)
    guide = np.ascontiguousarray(guide)

    pointers = highest_neighbours(guide, steps, periodic)
    maxima, basins = maxima_of(pointers)
    empty = np.zeros(values.size, dtype=np.bool_) if vacuum is None else values.ravel() < vacuum
    places = _places(maxima, values.shape, density)
    owners, distances = _owners(places, density)
    number = len(density.atoms) if density.atoms else len(maxima)
    # Where two basins of an atom meet is of no interest.
    labels = owners[basins]
    labels[empty] = -1
    if method == "weight":
        shifts, flow = voronoi_facets(steps)
        sums, volumes, labels = shares(guide, labels, number, values, shifts, flow, periodic)
    else:
        if method == "near-grid":
            refine_edges(labels, guide, pointers, steps, periodic)
        bins = labels + 1  # the first is that of the vacuum
        sums = np.bincount(bins, values.ravel(), number + 1)[1:].astype(np.float64)
        volumes = np.bincount(bins, minlength=number + 1)[1:].astype(np.float64)
    element = density.volume_element
    seen = ~empty[maxima]
    _warn_of_the_empty(density, owners[seen])
    return BaderCharges(
        sums * element,
        volumes * element,
        places[seen],
        owners[seen],
        distances[seen],
        guide.ravel()[maxima][seen],
        float(values.ravel()[empty].sum()) * element,
        int(empty.sum()) * element,
        labels.reshape(values.shape),
    )


def frozen_core_reference(density: DensityGrid) -> Array:
    """The density with the core electrons added, as Gaussians, for the division alone.

    A valence density that is smooth has no maximum, or a ring of them, at a heavy nucleus. The
    number of core electrons is the atomic number minus the valence.

    Returns
    -------
    ndarray (nx, ny, nz)
        e/A^3.

    Raises
    ------
    InputError
        If the atoms or their valences are not known.
    """
    from voltase.aseplugin.kernels.gaussian_density import GaussianBasis, evaluate

    atoms, valence = density.atoms, density.valence
    if atoms is None or valence is None:
        raise InputError("density: found no atoms with valences, expected both for their cores")
    spacing = float(max(np.linalg.norm(density.cell, axis=1) / density.values.shape))
    widths = {z: max(CORE_WIDTH * covalent_radii[z], spacing) for z in set(atoms.numbers)}
    shells = {chemical_symbols[z]: [(0, 0.5 / width**2)] for z, width in widths.items()}
    cores = evaluate(atoms.numbers - np.asarray(valence), atoms.numbers, atoms.positions,
                     GaussianBasis(shells), density.cell, density.pbc, density.values.shape,
                     origin=density.origin)  # fmt: skip
    return np.asarray(density.values + cores)


def _warn_of_the_empty(density: DensityGrid, owners: Indices) -> None:
    """Atoms without a maximum get no electrons, which go to their neighbours."""
    if not density.atoms:
        return
    empty = np.setdiff1d(np.arange(len(density.atoms)), owners)
    if len(empty):
        names, counts = np.unique(np.array(density.atoms.get_chemical_symbols())[empty],
                                  return_counts=True)  # fmt: skip
        LOG.warning(
            "%s without a maximum of the density, whose electrons count as their neighbours'; "
            "smooth densities often have none at hydrogen",
            ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True)),
        )


def _guide(reference: Any, shape: tuple[int, ...]) -> Array:
    try:
        guide = np.asarray(reference, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"reference: found a {type(reference).__name__}, expected frozen-core or values"
        ) from None
    if guide.shape != shape:
        raise InputError(f"reference: found shape {guide.shape}, expected {shape}")
    if not np.isfinite(guide).all():
        raise InputError("reference: found values that are not finite, expected e/A^3")
    return guide


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and bool(np.isfinite(value))


def _places(points: Indices, shape: tuple[int, ...], density: DensityGrid) -> Array:
    indices = np.stack(np.unravel_index(points, shape), axis=1)
    return np.asarray(density.origin + indices / np.array(shape) @ density.cell)


def _owners(maxima: Array, density: DensityGrid) -> tuple[Indices, Array]:
    """The nearest atom of each maximum (m,) and its distance (m,)."""
    if not density.atoms:
        return np.arange(len(maxima)), np.zeros(len(maxima))
    from scipy.spatial import cKDTree

    images, owners = _images(density.atoms, density)
    distances, nearest = cKDTree(images).query(maxima)
    return owners[nearest], np.asarray(distances)


def _images(atoms: Atoms, density: DensityGrid) -> tuple[Array, Indices]:
    """Atoms of the cell and those around it."""
    inverse, periodic = np.linalg.inv(density.cell), np.asarray(density.pbc, dtype=np.bool_)
    fractions = (atoms.positions - density.origin) @ inverse
    fractions -= np.where(periodic, np.floor(fractions), 0.0)
    ranges = [(-1, 0, 1) if p else (0,) for p in periodic]
    shifts = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3)
    places = (fractions[None] + shifts[:, None]).reshape(-1, 3) @ density.cell + density.origin
    return places, np.tile(np.arange(len(atoms)), len(shifts))
