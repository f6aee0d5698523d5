"""Squared errors of a density as a quadratic form of its coefficients.

A density is linear in its coefficients c, so the weighted squared error over all points of a grid
is (c - c*)^T G (c - c*) + a constant: G and the best coefficients c* are computed once a geometry,
and training never touches a grid again. Points are weighted by one over the density (plus a floor),
so that an error counts by what it is of the density there, as it does in a mean absolute error.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.linalg
import torch

from voltase.aseplugin.kernels.gaussian_density import GaussianBasis
from voltase.aseplugin.models.density.basis import Channels
from voltase.aseplugin.models.density.harmonics import solid_harmonics_at
from voltase.aseplugin.training.density.frames import Geometry

Array = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]
FLOOR = 0.02
"""Density in e/A^3 below which a point counts no more than one with this density."""
RESPONSE_FLOOR = 0.3
"""Difference, over its mean, below which a point counts no more than one with this difference."""
RIDGE = 1e-6
"""Of the direct fit, in units of the mean diagonal element of G."""
NEGLIGIBLE = 20.0
"""A Gaussian is left out where it is below exp(-20), 2e-9, of its height."""
ROWS = 8192
"""Points treated at once."""

_LOGGER = logging.getLogger(__name__)


@dataclass
class NormalEquations:
    """What training needs of the densities of one geometry; k counts its frames.

    Attributes
    ----------
    gram : ndarray (n, n)
        G, of the channels' coefficients; its unit makes an error of the whole density one.
    response_gram : ndarray (n, n)
        The same for differences to the frame nearest to n = 0, in any unit; empty for one frame.
    best : ndarray (k, n)
        c*: a ridge fit to each density.
    residual : ndarray (k, n)
        G c* less the projections of the density, zero but for the ridge.
    floor : ndarray (k,)
        Squared error of c*.
    planar : ndarray (nz, n)
        Planar average of every function, e/A^3.
    profiles : ndarray (k, nz)
        Planar averages of the densities, e/A^3.
    electrons : ndarray (k,)
        Excess electrons, e.
    integral : ndarray (k,)
        Electrons on the grid.
    nmae : ndarray (k,)
        Of the best coefficients: integral of the absolute error over that of the density.
    difference_nmae : ndarray (k,)
        The same of the difference to the frame nearest to n = 0; nan for that one.
    """

    gram: Single
    response_gram: Single
    best: Array
    residual: Array
    floor: Array
    planar: Single
    profiles: Array
    electrons: Array
    integral: Array
    nmae: Array
    difference_nmae: Array

    def save(self, path: Path) -> None:
        """Write to a file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("wb") as handle:
            np.savez(handle, **{f.name: getattr(self, f.name) for f in fields(self)})
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> NormalEquations:
        """Read back what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})


def normal_equations(geometry: Geometry, basis: GaussianBasis, channels: dict[int, Channels],
                     folder: Path | None = None,
                     progress: Callable[[], None] = lambda: None) -> NormalEquations:  # fmt: skip
    """Quadratic forms of a geometry, read from the folder if they are there.

    Parameters
    ----------
    geometry : Geometry
    basis : GaussianBasis
    channels : dict
        By atomic number; the coefficients are theirs.
    folder : Path, optional
        Where they are kept.
    progress : callable
        Called now and then; may raise to stop.
    """
    path = None
    if folder is not None:
        path = folder / f"{_key(geometry, basis)}.npz"
        if path.is_file():
            return NormalEquations.load(path)
    found = _compute(geometry, basis, channels, progress)
    if path is not None:
        found.save(path)
    return found


def _key(geometry: Geometry, basis: GaussianBasis) -> str:
    """Name of what is kept; another one for other densities of the same atoms."""
    content = hashlib.sha256()
    for frame in geometry.frames:
        content.update(frame.values().tobytes())
    settings = f"{basis.to_dict()} {FLOOR} {RESPONSE_FLOOR} {RIDGE}"
    return geometry.key(f"{settings} {content.hexdigest()}")


def _compute(geometry: Geometry, basis: GaussianBasis, channels: dict[int, Channels],
             progress: Callable[[], None]) -> NormalEquations:  # fmt: skip
    frames = geometry.frames
    shape = frames[0].shape
    densities = np.stack([frame.values().reshape(-1) for frame in frames])
    middle = int(np.argmin(np.abs(geometry.electrons)))
    weight = 1.0 / (np.abs(densities[middle]) + FLOOR)
    # In units in which the error of no density at all would be one.
    weight /= float((weight * densities[middle] ** 2).sum())
    response_weight = _response_weight(densities, middle)
    rows = list(design_rows(geometry, basis, channels))
    size = rows[0][1].shape[1]
    gram = np.zeros((size, size))
    response_gram = np.zeros((size, size) if len(frames) > 1 else (0, 0))
    projection = np.zeros((len(frames), size))
    planar = np.zeros((shape[2], size))
    for start, values in rows:
        progress()
        stop = start + len(values)
        w = weight[start:stop]
        scaled = values * np.sqrt(w, dtype=np.float32)[:, None]
        gram += scaled.T @ scaled
        if len(frames) > 1:
            scaled = values * np.sqrt(response_weight[start:stop], dtype=np.float32)[:, None]
            response_gram += scaled.T @ scaled
        projection += (densities[:, start:stop] * w) @ values
        heights = np.arange(start, stop) % shape[2]
        planar += (np.arange(shape[2])[:, None] == heights).astype(np.float32) @ values
    planar /= shape[0] * shape[1]
    ridge = RIDGE * np.trace(gram) / size * np.eye(size)
    best = scipy.linalg.solve(gram + ridge, projection.T, assume_a="pos").T
    errors = np.empty_like(densities)
    for start, values in rows:
        errors[:, start : start + len(values)] = best @ values.T.astype(np.float64)
    errors -= densities
    total = np.abs(densities).sum(1)
    difference = np.abs(errors - errors[middle]).sum(1)
    scale = np.abs(densities - densities[middle]).sum(1)
    with np.errstate(invalid="ignore"):
        difference_nmae = np.where(scale > 0.0, difference / scale, np.nan)
    return NormalEquations(
        gram=gram.astype(np.float32),
        response_gram=response_gram.astype(np.float32),
        best=best,
        residual=best @ gram - projection,
        floor=(errors**2 * weight).sum(1),
        planar=planar.astype(np.float32),
        profiles=densities.reshape(len(frames), -1, shape[2]).mean(1),
        electrons=geometry.electrons,
        integral=densities.sum(1) * frames[0].volume_element,
        nmae=np.abs(errors).sum(1) / total,
        difference_nmae=difference_nmae,
    )


def _response_weight(densities: Array, middle: int) -> Array:
    """Of a squared error of the differences between frames, at each point."""
    size = np.abs(densities - densities[middle]).mean(0)
    out: Array = 1.0 / (size + RESPONSE_FLOOR * size.mean() + np.finfo(float).tiny)
    return out


def design_rows(geometry: Geometry, basis: GaussianBasis, channels: dict[int, Channels]
                ) -> Iterator[tuple[int, Single]]:  # fmt: skip
    """Values of all functions at blocks of points: the first point's index, and (rows, n)."""
    first = geometry.frames[0]
    points = grid_points(first.cell, first.shape) + first.origin
    atoms = first.atoms
    matrices = {number: found.matrix.astype(np.float32) for number, found in channels.items()}
    for start in range(0, len(points), ROWS):
        block = points[start : start + ROWS]
        columns = [
            _atom_functions(block, centre, basis, int(number), first.cell, atoms.pbc)
            @ matrices[int(number)]
            for number, centre in zip(atoms.numbers, atoms.positions, strict=True)
        ]
        yield start, np.concatenate(columns, axis=1)


def grid_points(cell: Array, shape: tuple[int, ...]) -> Array:
    """Positions (n, 3) of the points (i/nx, j/ny, k/nz) @ cell, k running fastest."""
    axes = [np.arange(n) / n for n in shape]
    fractions = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(fractions @ cell)


def _atom_functions(points: Array, centre: Array, basis: GaussianBasis, number: int, cell: Array,
                    pbc: npt.NDArray[np.bool_]) -> Single:  # fmt: skip
    """Values (n_points, n_functions) of one atom's functions and their periodic images."""
    shells = basis.shells(number)
    highest = max(shell.degree for shell in shells)
    smallest = min(shell.exponent for shell in shells)
    places = np.cumsum([0] + [shell.size for shell in shells])
    out = np.zeros((len(points), basis.size(number)), dtype=np.float32)
    for shift in _images(points, centre, cell, pbc, np.sqrt(NEGLIGIBLE / smallest)):
        vectors = points - (centre + shift)
        squares = (vectors**2).sum(1)
        near = np.flatnonzero(squares < NEGLIGIBLE / smallest)
        if not len(near):
            continue
        harmonics = solid_harmonics_at(torch.from_numpy(vectors[near]), highest).numpy()
        r2 = squares[near]
        for shell, place in zip(shells, places, strict=False):
            inside = np.flatnonzero(r2 < NEGLIGIBLE / shell.exponent)
            radial = shell.norm * np.exp(-shell.exponent * r2[inside])
            degree = shell.degree
            values = harmonics[inside, degree**2 : (degree + 1) ** 2] * radial[:, None]
            out[near[inside], place : place + shell.size] += values
    return out


def _images(points: Array, centre: Array, cell: Array, pbc: npt.NDArray[np.bool_], reach: float
            ) -> Iterator[Array]:  # fmt: skip
    """Lattice vectors that bring an atom within reach of the points."""
    inverse = np.linalg.inv(cell)
    margin = reach * np.linalg.norm(inverse, axis=0)
    fractions = (points - centre) @ inverse
    ranges = [
        range(int(np.floor(low - m)), int(np.ceil(high + m)) + 1) if periodic else range(1)
        for low, high, m, periodic in zip(fractions.min(0), fractions.max(0), margin, pbc,
                                          strict=True)
    ]  # fmt: skip
    for i in ranges[0]:
        for j in ranges[1]:
            for k in ranges[2]:
                yield np.array([i, j, k], dtype=np.float64) @ cell
