"""The CUDA source without a GPU: compiled for the host it gives what the CPU's kernels give."""

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voltase.aseplugin.kernels.gaussian_density import GaussianBasis, cpu, evaluate
from voltase.aseplugin.kernels.gaussian_density.device import (
    TILE,
    images_of,
    planes_of,
    source,
    table_of,
    tiles_of,
)
from voltase.aseplugin.kernels.gaussian_density.plan import Level, make_plan

BASIS = GaussianBasis({"H": [(0, 9.0), (1, 1.5)], "O": [(0, 20.0), (4, 0.9), (2, 2.0)]})
NUMBERS = np.array([8, 1, 1, 8])
HEXAGONAL = np.array([[4.0, 0.0, 0.0], [-2.0, 3.5, 0.0], [0.0, 0.0, 7.0]])
TRICLINIC = np.array([[4.0, 0.4, 0.3], [-2.0, 3.5, 0.5], [1.0, -0.8, 6.0]])


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    folder: Path = tmp_path_factory.mktemp("host")
    (folder / "kernels.cpp").write_text("#define HOST_BUILD\n" + source())
    command = ["g++", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-std=c++14", "-o",
               str(folder / "kernels.so"), str(folder / "kernels.cpp")]  # fmt: skip
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(folder / "kernels.so"))


def call(function: Any, *arguments: Any) -> None:
    kept = [np.ascontiguousarray(x) if isinstance(x, np.ndarray) else x for x in arguments]
    function(*(ctypes.c_void_p(x.ctypes.data if x.size else None) if isinstance(x, np.ndarray)
               else ctypes.c_longlong(x) for x in kept))  # fmt: skip


def spread(library: Any, level: Level, cartesian: np.ndarray) -> np.ndarray:
    images, table, out = images_of(level), table_of(level), np.zeros(level.shape)
    start, entries = tiles_of(level, images)
    call(library.spread, out, np.array(level.shape), level.steps, start, entries, images.centres,
         images.owners, images.first, table, table.shape[-1], cartesian, level.offsets(),
         level.degrees.astype(np.int32), level.exponents, level.radii,
         (len(start) - 1) * TILE * TILE)  # fmt: skip
    return out


def moments(library: Any, level: Level, grid: np.ndarray, extra: int) -> np.ndarray:
    images, table, offsets = images_of(level), table_of(level), level.offsets(extra)
    start, plane_images, planes = planes_of(level, images)
    highest = int(level.degrees.max()) + extra
    size = (highest + 1) * (highest + 2) // 2
    lines, out = np.empty((len(planes), size)), np.zeros(int(offsets[-1]))
    degrees = level.degrees.astype(np.int32)
    call(library.plane_moments, grid, np.array(level.shape), level.steps, plane_images, planes,
         images.centres, images.owners, images.first, table, table.shape[-1], degrees,
         level.exponents, level.radii, extra, size, lines, len(planes))  # fmt: skip
    call(library.join_planes, lines, size, start, plane_images, planes, images.centres,
         level.steps, offsets, degrees, extra, out, len(level.radii))  # fmt: skip
    return out


@pytest.mark.parametrize(("cell", "pbc"), [(HEXAGONAL, (True, True, False)),
                                           (TRICLINIC, (True, False, True))])  # fmt: skip
def test_the_cuda_source_on_the_host(library: Any, cell: np.ndarray, pbc: tuple[bool, bool, bool]
                                     ) -> None:  # fmt: skip
    rng = np.random.default_rng(3)
    positions = rng.uniform(-2.0, 7.0, (4, 3))
    plan = make_plan(NUMBERS, positions, BASIS, cell, pbc, (9, 10, 17), (0.1, 0.2, 0.3), 1e-14)
    level = plan.fine
    cartesian = rng.standard_normal(int(level.offsets()[-1]))
    expected = np.zeros(level.shape)
    cpu.spread(expected, level, cartesian)
    scale = abs(expected).max()
    found = spread(library, level, cartesian)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * scale)
    grid = rng.standard_normal(level.shape)
    assert moments(library, level, grid, 0) @ cartesian == pytest.approx(np.vdot(grid, found),
                                                                       rel=1e-11)  # fmt: skip
    for extra in (0, 1):
        known = cpu.moments(grid, level, extra)
        found = moments(library, level, grid, extra)
        np.testing.assert_allclose(found, known, rtol=0, atol=1e-11 * abs(known).max())


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_cuda_source_compiles(architecture: str) -> None:
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc")
    try:
        nvrtc.getVersion()
    except RuntimeError as error:
        pytest.skip(f"NVRTC cannot be loaded: {error}")
    program = nvrtc.createProgram(source(), "gaussian_density.cu", (), ())
    nvrtc.compileProgram(program, (f"--gpu-architecture={architecture}", "-std=c++14"))
    assert len(nvrtc.getCUBIN(program)) > 0
    nvrtc.destroyProgram(program)


@pytest.mark.gpu
def test_the_gpu_gives_what_the_cpu_gives() -> None:
    cupy = pytest.importorskip("cupy")
    if cupy.cuda.runtime.getDeviceCount() == 0:
        pytest.skip("no CUDA device")
    rng = np.random.default_rng(4)
    positions = rng.uniform(-2.0, 7.0, (4, 3))
    c = rng.standard_normal(int(BASIS.offsets(NUMBERS)[-1]))
    for cell in (HEXAGONAL, TRICLINIC):
        arguments = (NUMBERS, positions, BASIS, cell, (True, True, False), (30, 32, 48))
        found = evaluate(cupy.asarray(c), *arguments)
        np.testing.assert_allclose(found.get(), evaluate(c, *arguments), rtol=0, atol=1e-12)
