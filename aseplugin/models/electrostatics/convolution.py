"""Potential of charges on a mesh, by Fourier transforms, for each boundary condition.

A mesh of B-spline charges Q gives the potential sum_k G(k) B(k) Q(k) exp(i k . r), with G the
weights of erf(alpha r)/r and B the deconvolution of the spline at both ends (smooth particle mesh
Ewald: Essmann et al., J. Chem. Phys. 103, 8577 (1995), doi:10.1063/1.470117). Where nothing
repeats, the mesh is padded with zeros and the interaction cut off beyond the largest distance:
spherically under open boundaries (Vico, Greengard and Ferrando, J. Comput. Phys. 323, 191 (2016),
doi:10.1016/j.jcp.2016.07.028), at a height in slabs, as `waves` does.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import get_num_threads
from scipy import fft

from voltase.aseplugin.kernels.coulomb import COULOMB
from voltase.aseplugin.kernels.mesh import spline_weights
from voltase.aseplugin.models.electrostatics.operators import Array
from voltase.aseplugin.models.electrostatics.splitting import Splitting
from voltase.aseplugin.models.electrostatics.waves import decay_length, longest_period

Complex = npt.NDArray[np.complex128]
Shape = tuple[int, int, int]


class Convolution(ABC):
    """Mesh of one geometry.

    Attributes
    ----------
    shape : tuple of 3 int
        Of the mesh of charges.
    jacobian : ndarray (3, 3)
        Rows are the gradients of the mesh coordinates by a position, 1/A.
    """

    shape: Shape
    jacobian: Array

    @abstractmethod
    def coordinates(self, positions: Array) -> Array:
        """Mesh coordinates (n, 3) of positions (n, 3)."""

    @abstractmethod
    def transform(self, grid: Array) -> list[Complex]:
        """Waves of charges on the mesh, in e per point."""

    @abstractmethod
    def potential(self, waves: list[Complex]) -> Array:
        """Potential on the mesh in V, from the waves of the charges."""

    @abstractmethod
    def trace(self) -> float:
        """Sum of all weights G: the interaction of a charge with itself, eV/e^2."""

    @abstractmethod
    def strain(self, first: list[Complex], second: list[Complex], positions: Array, forces: Array
               ) -> Array:  # fmt: skip
        """Derivative (3, 3) by strain of the interaction of two sets of charges.

        Parameters
        ----------
        first, second : list of ndarray
            Their waves.
        positions : ndarray (n, 3)
        forces : ndarray (n, 3)
            Derivatives of the same by the positions, for directions that do not repeat.
        """


def deconvolution(n: int, order: int) -> Array:
    """Square of the spline's correction |b(m)|^2 (n,) on n mesh points."""
    nodes = np.zeros(n)
    # M_p at the integers: the weights of a charge on a mesh point.
    _, weights, _ = spline_weights(np.zeros((1, 3)), order)
    np.add.at(nodes, np.arange(order) % n, weights[0, 0])
    out: Array = 1.0 / np.abs(fft.fft(nodes)) ** 2
    return out


class BulkConvolution(Convolution):
    """Three periodic directions.

    Parameters
    ----------
    lattice : ndarray (3, 3)
        Rows are lattice vectors, A.
    splitting : Splitting
    spacing : float
        Largest mesh spacing, A.
    order : int
        Of the splines; even.
    """

    def __init__(self, lattice: Array, splitting: Splitting, spacing: float, order: int) -> None:
        self.shape = mesh_shape(lattice, spacing)
        self.alpha = splitting.alpha
        inverse = np.linalg.inv(lattice)
        self.jacobian = inverse.T * np.array(self.shape)[:, None]
        n = self.shape
        integers = [fft.fftfreq(n[0], 1 / n[0]), fft.fftfreq(n[1], 1 / n[1])]
        integers.append(np.arange(n[2] // 2 + 1.0))
        shape = [(-1, 1, 1), (1, -1, 1), (1, 1, -1)]
        spread = [m.reshape(s) for m, s in zip(integers, shape, strict=True)]
        self._waves = [
            2.0 * math.pi * sum(inverse[a, d] * spread[d] for d in range(3)) for a in range(3)
        ]
        square = sum(k**2 for k in self._waves)
        square[0, 0, 0] = 1.0  # its weight is zero
        weights = np.exp(-square / (4.0 * self.alpha**2)) / square
        weights *= 4.0 * math.pi * COULOMB / abs(float(np.linalg.det(lattice)))
        weights[0, 0, 0] = 0.0
        self._square = square
        self._trace = float((weights * _half(n[2])).sum())
        b = [deconvolution(m, order).reshape(s) for m, s in zip(n, shape, strict=True)]
        self._influence = weights * (b[0] * b[1] * b[2][:, :, : n[2] // 2 + 1])

    def coordinates(self, positions: Array) -> Array:
        """Mesh coordinates (n, 3) of positions (n, 3)."""
        out: Array = positions @ self.jacobian.T
        return out

    def transform(self, grid: Array) -> list[Complex]:
        """Waves of charges on the mesh, in e per point."""
        return [fft.rfftn(grid, workers=get_num_threads())]

    def potential(self, waves: list[Complex]) -> Array:
        """Potential on the mesh in V, from the waves of the charges."""
        out: Array = fft.irfftn(
            waves[0] * self._influence, s=self.shape, workers=get_num_threads(), norm="forward"
        )
        return out

    def trace(self) -> float:
        """Sum of all weights, eV/e^2."""
        return self._trace

    def strain(self, first: list[Complex], second: list[Complex], positions: Array, forces: Array
               ) -> Array:  # fmt: skip
        """Derivative (3, 3) by strain; mesh coordinates do not change with it."""
        a, b = first[0], second[0]
        terms = (a.real * b.real + a.imag * b.imag) * self._influence * _half(self.shape[2])
        slope = terms * (0.5 / self.alpha**2 + 2.0 / self._square)
        k = self._waves
        out = -float(terms.sum()) * np.eye(3)
        for i in range(3):
            for j in range(i, 3):
                out[i, j] += float((slope * k[i] * k[j]).sum())
                out[j, i] = out[i, j]
        return out


class _Columns(NamedTuple):
    """Lateral waves that share a period along the normal of a slab."""

    rows: npt.NDArray[np.int64]
    """Places in the flattened lateral mesh."""
    waves: Array
    """Lateral wave vectors (n_rows, 3), 1/A."""
    both: Array
    """How often each counts for the half of reciprocal space that is kept, (n_rows,)."""
    length: int
    """Points along the normal, zeros included."""
    influence: Array
    """(n_rows, length)."""
    weights: Array
    """Influence without the splines, (n_rows, length)."""
    slope: Array
    """-2 d(log weight)/d(lateral wave number squared), A^2."""


class SlabConvolution(Convolution):
    """Two periodic directions. See `BulkConvolution` for the parameters.

    Parameters
    ----------
    positions : ndarray (n, 3)
        Their extent along the normal sets that of the mesh.
    """

    def __init__(self, lattice: Array, positions: Array, splitting: Splitting, spacing: float,
                 order: int) -> None:  # fmt: skip
        self.splitting, self.order = splitting, order
        element = np.cross(lattice[0], lattice[1])
        self.area = float(np.linalg.norm(element))
        self.normal = element / self.area
        n1, n2, _ = mesh_shape(np.vstack([lattice, self.normal]), spacing)
        heights = positions @ self.normal
        self._lowest, self.spacing = float(heights.min()), spacing
        # A charge touches `order` points below it.
        points = math.ceil(np.ptp(heights) / spacing) + order + 1
        self.shape = (n1, n2, points)
        dual = np.linalg.pinv(lattice).T
        self.jacobian = np.vstack([n1 * dual[0], n2 * dual[1], self.normal / spacing])
        self._lateral_splines = deconvolution(n1, order)[:, None] * deconvolution(n2, order)
        integers = np.meshgrid(fft.fftfreq(n1, 1 / n1), np.arange(n2 // 2 + 1.0), indexing="ij")
        self._waves = 2.0 * math.pi * np.stack([m.ravel() for m in integers], 1) @ dual
        self._both = np.broadcast_to(_half(n2), integers[0].shape).ravel()
        self.columns = self._make_columns()

    def coordinates(self, positions: Array) -> Array:
        """Mesh coordinates (n, 3) of positions (n, 3)."""
        out: Array = positions @ self.jacobian.T
        out[:, 2] += self.order - self._lowest / self.spacing
        return out

    def transform(self, grid: Array) -> list[Complex]:
        """Waves of charges on the mesh, in e per point; one array for each class of columns."""
        lateral = fft.rfftn(grid, axes=(0, 1), workers=get_num_threads()).reshape(-1, self.shape[2])
        return [
            fft.fft(lateral[c.rows], c.length, axis=1, workers=get_num_threads())
            for c in self.columns
        ]

    def potential(self, waves: list[Complex]) -> Array:
        """Potential on the mesh in V, from the waves of the charges."""
        n1, n2, n3 = self.shape
        lateral = np.zeros((n1 * (n2 // 2 + 1), n3), dtype=np.complex128)
        for along, columns in zip(waves, self.columns, strict=True):
            back = fft.ifft(
                along * columns.influence, axis=1, norm="forward", workers=get_num_threads()
            )
            lateral[columns.rows] = back[:, :n3]
        out: Array = fft.irfftn(
            lateral.reshape(n1, -1, n3),
            s=(n1, n2),
            axes=(0, 1),
            norm="forward",
            workers=get_num_threads(),
        )
        return out

    def trace(self) -> float:
        """Sum of all weights, eV/e^2."""
        return sum(float(c.both @ c.weights.sum(1)) for c in self.columns)

    def strain(self, first: list[Complex], second: list[Complex], positions: Array, forces: Array
               ) -> Array:  # fmt: skip
        """Derivative (3, 3) by strain.

        A lateral strain changes the weights at fixed mesh coordinates; a strain along the normal
        moves the atoms and nothing else.
        """
        out = np.zeros((3, 3))
        for a, b, columns in zip(first, second, self.columns, strict=True):
            terms = (a.real * b.real + a.imag * b.imag) * columns.influence
            terms *= columns.both[:, None]
            q = columns.waves
            out += np.einsum("r,ra,rb->ab", (terms * columns.slope).sum(1), q, q)
            out -= float(terms.sum()) * (np.eye(3) - np.outer(self.normal, self.normal))
        heights = positions @ self.normal
        pull = (heights - heights.mean()) @ forces
        out += np.outer(self.normal, pull) + np.outer(pull, self.normal)
        result: Array = out - (pull @ self.normal) * np.outer(self.normal, self.normal)
        return result

    def _make_columns(self) -> list[_Columns]:
        """Lateral waves in classes of one period each, and the laterally averaged one."""
        numbers = np.linalg.norm(self._waves, axis=1)
        extent = self.shape[2] * self.spacing
        longest = longest_period(self.splitting, extent)
        rows = np.nonzero((numbers > 0.0) & (numbers <= self.splitting.wave_cutoff))[0]
        periods = np.minimum(extent + decay_length(numbers[rows], self.splitting), longest)
        out = [self._columns(np.nonzero(numbers == 0.0)[0], longest, True)]
        cut = periods >= longest
        if cut.any():
            out.append(self._columns(rows[cut], longest, True))
        rows, periods = rows[~cut], periods[~cut]
        # Classes in which the padding differs by no more than a factor of two.
        classes = np.ceil(np.log2(np.maximum(periods - extent, self.spacing))).astype(int)
        for which in np.unique(classes):
            members = classes == which
            out.append(self._columns(rows[members], float(periods[members].max()), False))
        return out

    def _columns(self, rows: npt.NDArray[np.int64], period: float, cut: bool) -> _Columns:
        alpha = self.splitting.alpha
        length = fft.next_fast_len(math.ceil(period / self.spacing))
        period = length * self.spacing
        orders = fft.fftfreq(length, 1 / length)
        sign = 1.0 - 2.0 * (orders % 2)
        along = (2.0 * math.pi / period * orders) ** 2
        number = np.linalg.norm(self._waves[rows], axis=1)[:, None]
        if len(rows) == 1 and number[0, 0] == 0.0:
            along[0] = 1.0  # its weight is set below
            weights = (1.0 - sign) * np.exp(-along / (4.0 * alpha**2)) / along
            weights[0] = -((0.5 * period) ** 2) / 2.0
            weights, slope = weights[None], np.zeros((1, length))
        else:
            square = number**2 + along
            image = sign * np.exp(-0.5 * number * period) if cut else np.zeros((1, 1))
            weights = (1.0 - image) * np.exp(-square / (4.0 * alpha**2)) / square
            slope = 0.5 / alpha**2 + 2.0 / square
            slope = slope - 0.5 * period * image / (number * (1.0 - image))
        weights *= 4.0 * math.pi * COULOMB / (self.area * period)
        splines = self._lateral_splines[:, : self.shape[1] // 2 + 1].ravel()[rows]
        influence = weights * splines[:, None] * deconvolution(length, self.order)
        return _Columns(
            rows, self._waves[rows], self._both[rows], length, influence, weights, slope
        )


class OpenConvolution(Convolution):
    """No periodic direction. See `SlabConvolution` for the parameters."""

    def __init__(self, positions: Array, splitting: Splitting, spacing: float, order: int) -> None:
        self.order, self.spacing = order, spacing
        self._lowest = positions.min(0)
        points = np.ceil(np.ptp(positions, axis=0) / spacing).astype(int) + order + 1
        self.shape = (int(points[0]), int(points[1]), int(points[2]))
        self.jacobian = np.eye(3) / spacing
        # The cut-off sphere reaches beyond the longest distance by its smeared edge, and the next
        # image stays as far from its other side.
        edge = (splitting.exponent + 1.0) / splitting.alpha
        reach = spacing * float(np.linalg.norm(points)) + edge
        room = [math.ceil((reach + edge) / spacing) + int(n) for n in points]
        self.padded = tuple(fft.next_fast_len(n, real=True) for n in room)
        numbers = [2.0 * math.pi * fft.fftfreq(n, spacing) for n in self.padded]
        half = self.padded[2] // 2 + 1
        numbers[2] = np.abs(numbers[2][:half])
        square = numbers[0][:, None, None] ** 2 + numbers[1][:, None] ** 2 + numbers[2] ** 2
        square[0, 0, 0] = 1.0  # its weight is set below
        weights = (1.0 - np.cos(np.sqrt(square) * reach)) / square
        weights *= np.exp(-square / (4.0 * splitting.alpha**2))
        weights[0, 0, 0] = 0.5 * reach**2
        weights *= 4.0 * math.pi * COULOMB / (math.prod(self.padded) * spacing**3)
        self._trace = float((weights * _half(self.padded[2])).sum())
        b = [deconvolution(n, order) for n in self.padded]
        self._influence = weights * b[0][:, None, None] * b[1][:, None] * b[2][:half]

    def coordinates(self, positions: Array) -> Array:
        """Mesh coordinates (n, 3) of positions (n, 3)."""
        out: Array = (positions - self._lowest) / self.spacing + self.order
        return out

    def transform(self, grid: Array) -> list[Complex]:
        """Waves of charges on the mesh, in e per point."""
        return [fft.rfftn(grid, s=self.padded, workers=get_num_threads())]

    def potential(self, waves: list[Complex]) -> Array:
        """Potential on the mesh in V, from the waves of the charges."""
        out = fft.irfftn(
            waves[0] * self._influence, s=self.padded, workers=get_num_threads(), norm="forward"
        )
        result: Array = np.ascontiguousarray(out[: self.shape[0], : self.shape[1], : self.shape[2]])
        return result

    def trace(self) -> float:
        """Sum of all weights, eV/e^2."""
        return self._trace

    def strain(self, first: list[Complex], second: list[Complex], positions: Array, forces: Array
               ) -> Array:  # fmt: skip
        """Derivative (3, 3) by strain, which only moves the atoms."""
        out = (positions - positions.mean(0)).T @ forces
        result: Array = 0.5 * (out + out.T)
        return result


def mesh_shape(lattice: Array, spacing: float) -> Shape:
    """Points along each lattice vector, of sizes with fast transforms."""
    n = [fft.next_fast_len(math.ceil(np.linalg.norm(a) / spacing), real=True) for a in lattice]
    return n[0], n[1], n[2]


def _half(n: int) -> Array:
    """How often each kept wave of a real transform of length n counts."""
    out = np.full(n // 2 + 1, 2.0)
    out[0] = 1.0
    if n % 2 == 0:
        out[-1] = 1.0
    return out
