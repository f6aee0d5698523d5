"""The maps of this folder on a GPU through CuPy: launches on CuPy's current stream."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from voltase.aseplugin.kernels.coulomb import COULOMB, PairList

THREADS = 256


def source() -> str:
    """CUDA source of the kernels."""
    return resources.files(__package__).joinpath("coulomb.cuh").read_text()


def assemble(positions: Any, pairs: PairList, width: Any, alpha: float) -> tuple[Any, Any]:
    """See the package."""
    import cupy as cp

    n = len(pairs.first)
    values, slopes = cp.empty(n), cp.empty(n)
    _launch("assemble", n, (positions, *pairs, width, alpha, COULOMB, n, values, slopes))
    return values, slopes


def matvec(values: Any, pairs: PairList, charges: Any) -> Any:
    """See the package."""
    import cupy as cp

    n, out = len(values), cp.zeros(len(charges))
    _launch("matvec", n, (values, pairs.first, pairs.second, charges, n, out))
    return out


def matvec_adjoint(pairs: PairList, x: Any, y: Any) -> Any:
    """See the package."""
    import cupy as cp

    n = len(pairs.first)
    out = cp.empty(n)
    _launch("matvec_adjoint", n, (pairs.first, pairs.second, x, y, n, out))
    return out


def assemble_adjoint(weights: Any, slopes: Any, positions: Any, pairs: PairList, width: Any
                     ) -> tuple[Any, Any, Any]:  # fmt: skip
    """See the package."""
    import cupy as cp

    n, atoms = len(weights), len(width)
    out = cp.zeros((atoms, 3)), cp.zeros((3, 3)), cp.zeros(atoms)
    _launch("assemble_adjoint", n, (weights, slopes, positions, *pairs, width, COULOMB, n, *out))
    return out


@cache
def _module() -> Any:
    import cupy as cp

    return cp.RawModule(code=source(), options=("-std=c++14",))


def _launch(name: str, n: int, arguments: tuple[Any, ...]) -> None:
    import cupy as cp

    if n == 0:
        return
    # Raw pointers: the kernels take rows without strides.
    contiguous = [cp.ascontiguousarray(x) if isinstance(x, cp.ndarray) else x for x in arguments]
    blocks = min((n + THREADS - 1) // THREADS, 1 << 16)
    _module().get_function(name)((blocks,), (THREADS,), tuple(contiguous))
