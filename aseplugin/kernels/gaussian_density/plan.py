"""Which Gaussian is summed on which grid: the frame, cut-offs and coarser grids.

A Gaussian that is smooth on the scale of the grid is summed on a coarser one, which is then
interpolated by its Fourier series. Both cut-offs, in space and in wave vectors, follow from one
tolerance, so that the interpolation costs no accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log, pi, sqrt

import numpy as np
import numpy.typing as npt
from scipy.fft import next_fast_len
from scipy.special import gammainccinv

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.kernels.gaussian_density.basis import GaussianBasis
from voltase.aseplugin.kernels.gaussian_density.harmonics import harmonics_in_frame

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Shape = tuple[int, int, int]
COARSER = 0.8
"""A coarser grid has at most this fraction of the points of the next finer one, along each axis."""
SMALLEST_VOLUME = 1e-3
"""In A^3, of a cell."""


@dataclass(frozen=True)
class Kind:
    """Shells of one exponent of one element: polynomials times the same Gaussian.

    Attributes
    ----------
    number : int
        Atomic number.
    exponent, degree : float, int
        alpha in A^-2 and the highest l.
    radius : float
        A, beyond which all of them are below the tolerance.
    resolution : float
        Points per A that resolve them to the tolerance.
    columns : ndarray (n_functions,)
        Places of their coefficients among those of an atom.
    transform : ndarray (n_functions, n_monomials)
        Each function over the monomials of the frame, norm included.
    """

    number: int
    exponent: float
    degree: int
    radius: float
    resolution: float
    columns: Indices
    transform: Array


@dataclass(frozen=True)
class Block:
    """Gaussians of one kind, which follow one another in a level.

    Attributes
    ----------
    kind : Kind
    atoms : ndarray (n,)
    coefficients : ndarray (n, n_functions)
        Places among all coefficients.
    """

    kind: Kind
    atoms: Indices
    coefficients: Indices


@dataclass(frozen=True)
class Level:
    """A grid and the Gaussians that are summed on it.

    Attributes
    ----------
    shape : (int, int, int)
    periodic : ndarray (3,)
        Whether point n is point 0 again.
    steps : ndarray (3, 3)
        From a point to the next along each lattice vector, in the frame, A.
    blocks : list of Block
    centres : ndarray (n, 3)
        Of the Gaussians, in grid points from the first.
    exponents, radii, degrees : ndarray (n,)
    """

    shape: Shape
    periodic: npt.NDArray[np.bool_]
    steps: Array
    blocks: list[Block]
    centres: Array
    exponents: Array
    radii: Array
    degrees: Indices

    def offsets(self, extra: int = 0) -> Indices:
        """Index (n + 1,) of the first monomial of each Gaussian, with so many degrees more."""
        d = self.degrees + extra
        counts = (d + 1) * (d + 2) * (d + 3) // 6
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])


@dataclass(frozen=True)
class Plan:
    """All grids of a density.

    Attributes
    ----------
    shape : (int, int, int)
        Of the result.
    extended : (int, int, int)
        Points of the period over which coarser grids are interpolated; larger than the shape where
        the cell is not periodic.
    frame : ndarray (3, 3)
        Axes u, v, w as rows: w along the last lattice vector, v in the plane of the last two.
    fine : Level
    coarse : list of Level
        The finest first.
    n_atoms, n_coefficients : int
    """

    shape: Shape
    extended: Shape
    frame: Array
    fine: Level
    coarse: list[Level]
    n_atoms: int
    n_coefficients: int


def make_plan(numbers: npt.ArrayLike, positions: npt.ArrayLike, basis: GaussianBasis,
              cell: npt.ArrayLike, pbc: Sequence[bool], shape: Sequence[int],
              origin: npt.ArrayLike, tolerance: float) -> Plan:  # fmt: skip
    """Plan of a density; see `gaussian_density.evaluate` for the arguments.

    Raises
    ------
    InputError
        If an argument does not fit.
    """
    z, r, box = check_structure(numbers, positions, cell, pbc)
    points = _check_shape(shape)
    check_tolerance(tolerance)
    frame = frame_of(box)
    fractions = (r - np.asarray(origin, dtype=np.float64)) @ np.linalg.inv(box)
    periodic = np.asarray(pbc, dtype=np.bool_)
    offsets = basis.offsets(z)
    lengths = np.linalg.norm(box, axis=1)

    kinds = kinds_of(z, basis, frame, tolerance)
    grids = _assign(kinds, lengths, points)
    smooth = max((kind.radius for members, _ in grids[1:] for kind in members), default=0.0)
    extended = _extended(points, periodic, fractions, smooth * reciprocal_heights(box))

    levels = []
    for index, (members, resolution) in enumerate(grids):
        if index == 0:
            level_shape, period, repeats = points, np.ones(3), periodic
        else:
            # Where the cell does not repeat, the period of the series leaves room for the tails.
            period, repeats = np.array(extended) / np.array(points), np.ones(3, dtype=np.bool_)
            level_shape = _fast_shape(resolution * lengths * period, extended)
        scale = np.array(level_shape) / period
        steps = (box / scale[:, None]) @ frame.T
        steps[abs(steps) < 1e-13 * lengths.max()] = 0.0
        blocks = [_block(kind, z, fractions, offsets, periodic, box) for kind in members]
        levels.append(_level(blocks, fractions * scale, level_shape, repeats, steps))
    return Plan(points, extended, frame, levels[0], levels[1:], len(z), int(offsets[-1]))


def check_structure(numbers: npt.ArrayLike, positions: npt.ArrayLike, cell: npt.ArrayLike,
                    pbc: Sequence[bool]) -> tuple[Indices, Array, Array]:  # fmt: skip
    """Numbers (n,), positions (n, 3) and cell (3, 3) as arrays.

    Raises
    ------
    InputError
        If one does not fit.
    """
    z = np.asarray(numbers, dtype=np.int64).reshape(-1)
    r, box = np.asarray(positions, dtype=np.float64), np.asarray(cell, dtype=np.float64)
    if r.shape != (len(z), 3):
        raise InputError(f"positions: found shape {r.shape}, expected ({len(z)}, 3)")
    if not np.isfinite(r).all():
        raise InputError("positions: found values that are not finite, expected A")
    if box.shape != (3, 3) or not abs(np.linalg.det(box)) > SMALLEST_VOLUME:
        raise InputError(f"cell: found {box.tolist()}, expected three lattice vectors in A")
    if len(pbc) != 3:
        raise InputError(f"pbc: found {len(pbc)} values, expected three")
    return z, r, box


def check_tolerance(tolerance: float) -> None:
    """Refuse a cut-off that cannot be reached, or is none."""
    if not 1e-15 <= tolerance <= 0.1:
        raise InputError(f"tolerance: found {tolerance:g}, expected 1e-15 to 0.1")


def frame_of(cell: Array) -> Array:
    """Orthonormal u, v, w as rows; a grid's columns have fixed u and v, its planes fixed u."""
    w = cell[2] / np.linalg.norm(cell[2])
    v = cell[1] - (cell[1] @ w) * w
    v /= np.linalg.norm(v)
    u = np.cross(v, w)
    frame = np.stack([u * np.sign(u @ cell[0]), v, w])
    frame[abs(frame) < 1e-15] = 0.0
    return frame


def _check_shape(shape: Sequence[int]) -> Shape:
    points = tuple(int(n) for n in shape)
    if len(points) != 3 or min(points) < 1:
        raise InputError(f"shape: found {tuple(shape)}, expected three numbers of points")
    return points[0], points[1], points[2]


def reciprocal_heights(cell: Array) -> Array:
    """Inverse distances (3,) of the planes through the corners of a cell, 1/A."""
    return np.asarray(np.linalg.norm(np.linalg.inv(cell), axis=0))


# -- kinds ---------------------------------------------------------------------------------------


def kinds_of(numbers: Indices, basis: GaussianBasis, frame: Array, tolerance: float) -> list[Kind]:
    """Kinds of all elements that are there, the sharpest first."""
    kinds = [kind for z in np.unique(numbers) for kind in _kinds(basis, int(z), frame, tolerance)]
    return sorted(kinds, key=lambda kind: -kind.resolution)


def _kinds(basis: GaussianBasis, number: int, frame: Array, tolerance: float) -> Iterator[Kind]:
    shells = basis.shells(number)
    first = np.cumsum([0, *(shell.size for shell in shells)])
    for exponent in dict.fromkeys(shell.exponent for shell in shells):
        mine = [i for i, shell in enumerate(shells) if shell.exponent == exponent]
        degree = max(shells[i].degree for i in mine)
        rows = [shells[i].norm * harmonics_in_frame(shells[i].degree, degree, frame) for i in mine]
        columns = [np.arange(first[i], first[i + 1]) for i in mine]
        yield Kind(
            number,
            exponent,
            degree,
            max(_cutoff(shells[i].degree, exponent, tolerance) for i in mine),
            max(_resolution(shells[i].degree, exponent, tolerance) for i in mine),
            np.concatenate(columns),
            np.concatenate(rows),
        )


def _cutoff(degree: int, exponent: float, tolerance: float) -> float:
    """Radius in A where r^l exp(-alpha r^2) has fallen to a fraction of its maximum."""
    half = 0.5 * degree
    # y = alpha r^2, with its maximum at l/2.
    target = -log(tolerance) + half - (half * log(half) if degree else 0.0)
    y = target
    for _ in range(60):
        y = target + half * log(y)
    return sqrt(y / exponent)


def _resolution(degree: int, exponent: float, tolerance: float) -> float:
    """Points per A below whose highest wave vector lies all but a fraction of a Gaussian.

    The spectrum is k^l exp(-k^2/(4 alpha)), of which a share Q((l + 3)/2, k^2/(4 alpha)) is beyond
    k; what is cut off is also folded back.
    """
    x = sqrt(float(gammainccinv(0.5 * (degree + 3), 0.5 * tolerance)))
    return 2.0 * sqrt(exponent) * x / pi


# -- levels --------------------------------------------------------------------------------------


def _assign(kinds: list[Kind], lengths: Array, shape: Shape) -> list[tuple[list[Kind], float]]:
    """Kinds and resolution (points per A) of each grid, the given one first."""
    finest = float((np.array(shape) / lengths).min())
    grids: list[tuple[list[Kind], float]] = [([], finest)]
    for kind in kinds:
        if kind.resolution < COARSER * grids[-1][1]:
            grids.append(([], kind.resolution))
        grids[-1][0].append(kind)
    return grids


def _extended(shape: Shape, periodic: npt.NDArray[np.bool_], fractions: Array, reach: Array
              ) -> Shape:  # fmt: skip
    """Points of a period in which no Gaussian reaches into the cell around its end.

    Parameters
    ----------
    fractions : ndarray (n, 3)
        Centres in the cell.
    reach : ndarray (3,)
        Cut-off along each axis, as a fraction of the cell.
    """
    found = list(shape)
    for axis in range(3):
        if periodic[axis] or not reach[axis]:
            continue
        s = fractions[:, axis]
        s = s[(s > -reach[axis]) & (s < 1.0 + reach[axis])]
        if not len(s):
            continue
        period = max(1.0 + reach[axis] - s.min(), s.max() + reach[axis], 1.0)
        found[axis] = next_fast_len(ceil(period * shape[axis]) + 1, real=True)
    return found[0], found[1], found[2]


def _fast_shape(needed: Array, limit: Shape) -> Shape:
    """Numbers of points, fast to transform, that are at least those needed."""
    # One more, because the highest frequency of an even number is not used.
    found = [min(next_fast_len(floor(n) + 2, real=True), m)
             for n, m in zip(needed, limit, strict=True)]  # fmt: skip
    return found[0], found[1], found[2]


def _block(kind: Kind, numbers: Indices, fractions: Array, offsets: Indices,
           periodic: npt.NDArray[np.bool_], cell: Array) -> Block:  # fmt: skip
    """The atoms of a kind that reach into the cell."""
    reach = kind.radius * reciprocal_heights(cell)
    inside = ((fractions > -reach) & (fractions < 1.0 + reach)) | periodic
    atoms = np.flatnonzero((numbers == kind.number) & inside.all(axis=1))
    return Block(kind, atoms, offsets[atoms][:, None] + kind.columns)


def _level(blocks: list[Block], centres: Array, shape: Shape, periodic: npt.NDArray[np.bool_],
           steps: Array) -> Level:  # fmt: skip
    counts = [len(block.atoms) for block in blocks]
    kinds = [block.kind for block in blocks]
    return Level(
        shape,
        periodic,
        steps,
        blocks,
        np.concatenate([np.empty((0, 3)), *(centres[block.atoms] for block in blocks)]),
        np.repeat(np.array([kind.exponent for kind in kinds], dtype=np.float64), counts),
        np.repeat(np.array([kind.radius for kind in kinds], dtype=np.float64), counts),
        np.repeat(np.array([kind.degree for kind in kinds], dtype=np.int64), counts),
    )
