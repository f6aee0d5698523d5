"""The saddle-point system with a simple matrix in place of A, solved exactly.

Hardness, bonds and constraints stay as they are, so charges keep to every constraint from the first
iterate on and unsaturated bonds cost no iterations. In place of A stands its diagonal, and for the
atoms of large nodes (an electrode) their own block: in a metal the collective modes that a
diagonal misses are what slows the iteration down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse import coo_matrix, csc_matrix
from scipy.sparse.linalg import splu

from voltase.aseplugin.models.charge_equilibration.saddle_point import Layout

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

SMALLEST_BLOCK, LARGEST_BLOCK = 8, 2000
"""Numbers of atoms of a node between which its block of A is factorised."""


@dataclass
class Block:
    """Cholesky factors of A for the atoms of one node.

    Attributes
    ----------
    atoms : ndarray of int (n,)
    factors : tuple
        As `scipy.linalg.cho_factor` gives them.
    largest : float
        Bound on the largest eigenvalue of the block.
    """

    atoms: Indices
    factors: tuple[Array, bool]
    largest: float

    @classmethod
    def of(cls, atoms: Indices, matrix: Array) -> Block:
        """Factorise `matrix` (n, n)."""
        largest = float(np.abs(matrix).sum(1).max())
        try:
            factors = cho_factor(matrix, check_finite=False)
        except LinAlgError:
            # In a slab A is positive on neutral charges only. What is added to all elements acts
            # on the total charge alone.
            shift = float(np.abs(matrix).max())
            largest += shift * len(atoms)
            factors = cho_factor(matrix + shift, check_finite=False)
        return cls(atoms, factors, largest)


class Preconditioner:
    """Solves the system with a block-diagonal G in place of A.

    Parameters
    ----------
    layout : Layout
    diagonal : ndarray (n_atoms,)
        Of A, eV/e^2.
    blocks : list of Block
        Parts of G that are no diagonal; each within one node.
    stiffness : ndarray (n_stiff,)
    compliance : ndarray (n_soft,)
    """

    def __init__(self, layout: Layout, diagonal: Array, blocks: list[Block], stiffness: Array,
                 compliance: Array) -> None:  # fmt: skip
        self.membership: Indices = np.asarray(layout.membership.numpy(), dtype=np.int64)
        self.n_nodes, self.n_stiff = layout.n_nodes, layout.n_stiff
        self.diagonal, self.blocks = diagonal, blocks
        self.weights = self.node_sum(self.inverse(np.ones_like(diagonal)))
        stiff, soft = layout.stiff_ends.numpy(), layout.soft_ends.numpy()
        self.small = None
        if stiff.size or soft.size:
            self.small = splu(self._small_matrix(stiff, soft, stiffness, compliance))

    def smallest_ratio(self, hardness: Array) -> float:
        """Bound from below on x . J x / x . G x, and so on x . A x / x . G x."""
        ratio = hardness / self.diagonal
        for block in self.blocks:
            ratio[block.atoms] = hardness[block.atoms] / block.largest
        return float(ratio.min())

    def node_sum(self, values: Array) -> Array:
        """Sum over the atoms of each free node (n_nodes,)."""
        total = np.bincount(self.membership, values, self.n_nodes + 1)
        return np.asarray(total[: self.n_nodes], dtype=np.float64)

    def inverse(self, values: Array) -> Array:
        """G^-1 times `values` (n_atoms,)."""
        out = values / self.diagonal
        for block in self.blocks:
            out[block.atoms] = cho_solve(block.factors, values[block.atoms], check_finite=False)
        result: Array = out
        return result

    def solve(self, q: Array, p: Array, m: Array) -> tuple[Array, Array, Array]:
        """Charges, flows and potentials (n_nodes + 1, the last one zero) for a right-hand side."""
        start = self.inverse(q)
        m = m + self.node_sum(start)
        if self.small is None:
            flows, potentials = p, -m / self.weights
        else:
            both = self.small.solve(np.concatenate([p, m]))
            flows, potentials = both[: self.n_stiff], both[self.n_stiff :]
        potentials = np.append(potentials, 0.0)
        return start + self.inverse(potentials[self.membership]), flows, potentials

    def _small_matrix(self, stiff: Indices, soft: Indices, stiffness: Array, compliance: Array
                      ) -> csc_matrix:  # fmt: skip
        """[[K, D^T], [D, -L - Z^T G^-1 Z]] without the nodes at zero potential."""
        s, f = self.n_stiff, self.n_nodes
        flows, ones = np.arange(s), np.ones(s)
        first, second = soft
        entries = [
            (flows, flows, stiffness),
            (flows, s + stiff[0], -ones),
            (flows, s + stiff[1], ones),
            (s + stiff[0], flows, -ones),
            (s + stiff[1], flows, ones),
            (s + first, s + first, -compliance),
            (s + second, s + second, -compliance),
            (s + first, s + second, compliance),
            (s + second, s + first, compliance),
            (s + np.arange(f), s + np.arange(f), -self.weights),
        ]
        rows, columns, values = (np.concatenate(part) for part in zip(*entries, strict=True))
        size = s + f + 1
        matrix = coo_matrix((values, (rows, columns)), shape=(size, size)).tocsc()
        return matrix[:-1, :-1]


@dataclass
class BlockCache:
    """Blocks of large nodes, kept while they help.

    A metal hardly moves from one step to the next, and a preconditioner need not be exact.

    Attributes
    ----------
    blocks : dict
        By the node's atoms, as bytes.
    """

    blocks: dict[bytes, Block] = field(default_factory=dict)

    def get(self, nodes: Indices, make: Callable[[Indices], Array]) -> list[Block]:
        """Blocks of the large nodes, factorised where new.

        Parameters
        ----------
        nodes : ndarray of int (n_atoms,)
            Node of each atom.
        make : callable
            From atoms to their block of A.
        """
        sizes = np.bincount(nodes)
        large = np.flatnonzero((sizes >= SMALLEST_BLOCK) & (sizes <= LARGEST_BLOCK))
        kept = {}
        for node in large:
            atoms = np.flatnonzero(nodes == node)
            key = atoms.tobytes()
            kept[key] = self.blocks.get(key) or Block.of(atoms, make(atoms))
        self.blocks = kept
        return list(kept.values())
