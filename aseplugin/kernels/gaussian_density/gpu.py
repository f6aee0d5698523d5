"""Sums of Gaussians on a grid and their moments on a GPU, on CuPy's current stream."""

from __future__ import annotations

from functools import cache
from typing import Any

import cupy
import cupyx.scipy.fft
import numpy as np

from voltase.aseplugin.kernels.gaussian_density.device import (
    TILE,
    Images,
    images_of,
    planes_of,
    source,
    table_of,
    tiles_of,
)
from voltase.aseplugin.kernels.gaussian_density.plan import Level

xp: Any = cupy
fft: Any = cupyx.scipy.fft
THREADS = TILE * TILE


def spread(out: Any, level: Level, cartesian: Any) -> None:
    """Add Gaussians times polynomials to a grid; see `cpu.spread`."""
    if not len(level.radii):
        return
    images = images_of(level)
    start, entries = tiles_of(level, images)
    table = table_of(level)
    n = (len(start) - 1) * THREADS
    _launch("spread", n, (
        out, np.array(level.shape, dtype=np.int64), level.steps, start, entries, *_places(images),
        _pointer(table), table.shape[-1], cartesian, level.offsets(),
        level.degrees.astype(np.int32), level.exponents, level.radii, n,
    ))  # fmt: skip


def moments(grid: Any, level: Level, extra: int) -> Any:
    """Transpose of `spread`; see `cpu.moments`."""
    offsets = level.offsets(extra)
    out = cupy.zeros(int(offsets[-1]))
    if not len(level.radii):
        return out
    images, table = images_of(level), table_of(level)
    start, plane_images, planes = planes_of(level, images)
    highest = int(level.degrees.max()) + extra
    size = (highest + 1) * (highest + 2) // 2
    lines = cupy.empty((len(planes), size))
    degrees, steps = level.degrees.astype(np.int32), cupy.asarray(level.steps)
    centres, owners, first = (cupy.asarray(a) for a in _places(images))
    where = cupy.asarray(plane_images), cupy.asarray(planes)
    _launch("plane_moments", len(planes), (
        grid, np.array(level.shape, dtype=np.int64), steps, *where, centres, owners, first,
        _pointer(table), table.shape[-1], degrees, level.exponents, level.radii, extra, size,
        lines, len(planes),
    ))  # fmt: skip
    _launch("join_planes", len(level.radii), (
        lines, size, start, *where, centres, steps, offsets, degrees, extra, out,
        len(level.radii),
    ))  # fmt: skip
    return out


def _places(images: Images) -> tuple[Any, ...]:
    return images.centres, images.owners, images.first


def _pointer(table: Any) -> Any:
    """The table on the device, or a null pointer."""
    return cupy.asarray(table) if table.size else np.uintp(0)


@cache
def _module() -> Any:
    return cupy.RawModule(code=source(), options=("-std=c++14",))


def _launch(name: str, n: int, arguments: tuple[Any, ...]) -> None:
    if n == 0:
        return
    # Arrays stay referenced here until the launch is queued; the pool keeps their memory in order.
    on_device = [
        cupy.ascontiguousarray(cupy.asarray(x)) if isinstance(x, np.ndarray | cupy.ndarray) else x
        for x in arguments
    ]
    scalars = [np.int64(x) if isinstance(x, int) else x for x in on_device]
    blocks = min((n + THREADS - 1) // THREADS, 1 << 20)
    _module().get_function(name)((blocks,), (THREADS,), tuple(scalars))
