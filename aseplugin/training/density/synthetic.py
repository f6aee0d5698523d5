"""Densities of a made-up electrode whose electrons are known, for tests and tutorials.

Every atom carries Gaussians with the electrons of its valence; a bond between O and H moves some of
them. Excess electrons lie in a diffuse Gaussian before each metal atom of the outermost layer, with
the density's own dipole, and a part that is quadratic in n. It is no model of any real interface.
"""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.build import fcc111, molecule
from scipy.spatial.transform import Rotation

from voltase.aseplugin.kernels.gaussian_density import GaussianBasis, evaluate

Array = npt.NDArray[np.float64]
VALENCE = {"H": 1, "O": 6, "Pt": 10}
SHELLS: dict[str, list[list[float]]] = {
    "H": [[0, 1.5], [0, 3.0], [1, 1.5]],
    "O": [[0, 1.2], [0, 3.0], [1, 1.2], [2, 1.2]],
    "Pt": [[0, 0.8], [0, 2.0], [1, 0.8], [2, 0.8]],
}
"""Rows (l, exponent in A^-2) in which these densities are written."""
MOVED = 0.2
"""Electrons that a bond moves from H to O."""


def gaussian_basis() -> GaussianBasis:
    """The functions that the densities are sums of."""
    return GaussianBasis({symbol: [(int(degree), exponent) for degree, exponent in rows]
                          for symbol, rows in SHELLS.items()})  # fmt: skip


def synthetic_structure(rng: np.random.Generator) -> Atoms:
    """A slab of three layers, a metal atom each, under a molecule of water."""
    atoms = fcc111("Pt", (1, 1, 3), a=3.97)
    atoms.positions[:, 2] += 3.5
    atoms.positions += rng.normal(scale=0.04, size=(3, 3))
    water = molecule("H2O")
    water.positions -= water.positions[0]
    rotation = Rotation.random(random_state=int(rng.integers(1 << 30)))
    water.positions = rotation.apply(water.positions)
    top = atoms.positions[:, 2].max()
    water.positions += np.append(rng.uniform(0.0, 2.0, 2), top + rng.uniform(3.2, 3.6))
    atoms += water
    atoms.set_tags(0)
    atoms.info.clear()
    atoms.cell[2] = (0.0, 0.0, atoms.positions[:, 2].max() + 4.0)
    atoms.pbc = (True, True, False)
    return atoms


def synthetic_density(atoms: Atoms, excess_electrons: float, shape: tuple[int, int, int]) -> Array:
    """The density (nx, ny, nz) in e/A^3."""
    basis = gaussian_basis()
    offsets = basis.offsets(atoms.numbers)
    coefficients = np.zeros(offsets[-1])
    symbols = atoms.get_chemical_symbols()
    metal = [i for i, symbol in enumerate(symbols) if symbol == "Pt"]
    top = max(metal, key=lambda i: float(atoms.positions[i, 2]))
    bonds = [(i, j) for i, a in enumerate(symbols) for j, b in enumerate(symbols)
             if (a, b) == ("H", "O") and atoms.get_distance(i, j, mic=True) < 1.3]  # fmt: skip
    for i, symbol in enumerate(symbols):
        electrons = VALENCE[symbol]
        coefficients[offsets[i] : offsets[i] + 2] = 0.5 * electrons
    for hydrogen, oxygen in bonds:
        coefficients[offsets[hydrogen]] -= MOVED
        coefficients[offsets[oxygen]] += MOVED
        direction = atoms.get_distance(hydrogen, oxygen, mic=True, vector=True)
        coefficients[offsets[hydrogen] + 2 : offsets[hydrogen] + 5] += 0.1 * direction
    n = excess_electrons
    coefficients[offsets[top]] += n
    # Along z, the third component of l = 1 in the order x, y, z.
    coefficients[offsets[top] + 4] += 0.3 * n - 0.1 * n**2
    return np.asarray(
        evaluate(coefficients, atoms.numbers, atoms.positions, basis, atoms.cell.array,
                 (True, True, False), shape)
    )  # fmt: skip


def write_synthetic(path: Path, geometries: int, seed: int = 0,
                    electrons: tuple[float, ...] = (-0.1, 0.0, 0.1),
                    spacing: float = 0.3) -> Path:  # fmt: skip
    """Densities of some structures in the format of ``pe-label``.

    Parameters
    ----------
    path : Path
        HDF5 file to write.
    geometries, seed : int
    electrons : tuple of float
        n of each, e.
    spacing : float
        Of the grid, A.
    """
    rng = np.random.default_rng(seed)
    partial = path.with_name(f"{path.name}.partial")
    with h5py.File(partial, "w") as file:
        for k in range(geometries):
            atoms = synthetic_structure(rng)
            lengths = atoms.cell.lengths()
            shape = tuple(int(np.ceil(x / spacing)) for x in lengths)
            for n in electrons:
                group = file.create_group(f"s{k}_n{n:+g}")
                group.attrs["excess_electrons"] = n
                group.attrs["electrode_potential"] = 4.8 - 8.0 * n
                group.attrs["geometry"] = str(k)
                group["density"] = synthetic_density(atoms, n, (shape[0], shape[1], shape[2]))
                group["cell"], group["pbc"] = atoms.cell.array, atoms.pbc
                group["numbers"], group["positions"] = atoms.numbers, atoms.positions
    os.replace(partial, path)
    return path
