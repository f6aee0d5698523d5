"""An electron density on the points of a regular grid."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.errors import InputError

Array = npt.NDArray[np.float64]


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

    Raises
    ------
    InputError
        If a shape is wrong.
    """

    values: Array
    cell: Array
    origin: Array = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        for name, dimensions, shape in (
            ("values", 3, None),
            ("cell", 2, (3, 3)),
            ("origin", 1, (3,)),
        ):
            found = np.asarray(getattr(self, name))
            if found.ndim != dimensions or (shape is not None and found.shape != shape):
                expected = shape or f"{dimensions} dimensions"
                raise InputError(f"{name}: found shape {found.shape}, expected {expected}")
            setattr(self, name, found)

    @property
    def volume_element(self) -> float:
        """Volume of one grid point, A^3."""
        return float(abs(np.linalg.det(self.cell))) / self.values.size

    def integral(self) -> float:
        """Number of electrons."""
        return float(self.values.sum(dtype=np.float64)) * self.volume_element

    def planar_average(self) -> Array:
        """Mean over the first two axes, e/A^3, shape (nz,)."""
        return self.values.mean(axis=(0, 1), dtype=np.float64)
