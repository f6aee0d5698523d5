"""Pair kernels: every build of them against plain NumPy, and the adjoints against slopes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from voltase.aseplugin.kernels import coulomb
from voltase.aseplugin.kernels.coulomb import COULOMB, PairList, cpu, gpu, reference

N, N_PAIRS = 20, 150


@pytest.fixture
def case() -> SimpleNamespace:
    rng = np.random.default_rng(0)
    pairs = PairList(
        rng.integers(0, N, N_PAIRS).astype(np.int32),
        rng.integers(0, N, N_PAIRS).astype(np.int32),
        rng.normal(size=(N_PAIRS, 3)),
    )
    return SimpleNamespace(
        positions=rng.uniform(0.0, 8.0, (N, 3)),
        pairs=pairs,
        width=rng.uniform(0.4, 1.2, N),
        x=rng.normal(size=N),
        y=rng.normal(size=N),
        weights=rng.normal(size=N_PAIRS),
    )


def check(backend: Any, case: SimpleNamespace, alpha: float) -> None:
    """Every map of a backend against the reference."""
    values, slopes = reference.assemble(case.positions, case.pairs, case.width, alpha)
    found = backend.assemble(case.positions, case.pairs, case.width, alpha)
    np.testing.assert_allclose(found[0], values, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(found[1], slopes, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(
        backend.matvec(values, case.pairs, case.x),
        reference.matvec(values, case.pairs, case.x),
        rtol=1e-13,
        atol=1e-13,
    )
    np.testing.assert_allclose(
        backend.matvec_adjoint(case.pairs, case.x, case.y),
        reference.matvec_adjoint(case.pairs, case.x, case.y),
        rtol=1e-14,
    )
    arguments = case.weights, slopes, case.positions, case.pairs, case.width
    for part, expected in zip(
        backend.assemble_adjoint(*arguments), reference.assemble_adjoint(*arguments), strict=True
    ):
        np.testing.assert_allclose(part, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_numba_gives_the_reference(case: SimpleNamespace, alpha: float) -> None:
    check(cpu, case, alpha)


def test_the_public_functions_take_numpy_to_the_cpu(case: SimpleNamespace) -> None:
    check(coulomb, case, 0.3)


def test_no_pairs_are_no_interaction(case: SimpleNamespace) -> None:
    empty = PairList(*(np.zeros(0, np.int32),) * 2, np.zeros((0, 3)))
    values, slopes = coulomb.assemble(case.positions, empty, case.width, 0.3)
    assert not coulomb.matvec(values, empty, case.x).any()
    for part in coulomb.assemble_adjoint(values, slopes, case.positions, empty, case.width):
        assert not part.any()


def test_products_are_those_of_the_matrix(case: SimpleNamespace) -> None:
    values, _ = coulomb.assemble(case.positions, case.pairs, case.width, 0.3)
    matrix = np.zeros((N, N))
    np.add.at(matrix, (case.pairs.first, case.pairs.second), values)
    np.add.at(matrix, (case.pairs.second, case.pairs.first), values)
    np.testing.assert_allclose(coulomb.matvec(values, case.pairs, case.x), matrix @ case.x)
    inner = coulomb.matvec_adjoint(case.pairs, case.x, case.y) @ values
    assert inner == pytest.approx(case.x @ matrix @ case.y, rel=1e-12)


def test_adjoints_are_slopes(case: SimpleNamespace) -> None:
    def total(positions: np.ndarray, offsets: np.ndarray, width: np.ndarray) -> float:
        pairs = case.pairs._replace(offsets=offsets)
        return float(case.weights @ coulomb.assemble(positions, pairs, width, 0.4)[0])

    _, slopes = coulomb.assemble(case.positions, case.pairs, case.width, 0.4)
    by_positions, by_strain, by_width = coulomb.assemble_adjoint(
        case.weights, slopes, case.positions, case.pairs, case.width
    )
    rng = np.random.default_rng(1)
    move, stretch, strain = rng.normal(size=(N, 3)), rng.normal(size=N), rng.normal(size=(3, 3))
    expected = (by_positions * move).sum() + by_width @ stretch + (by_strain * strain).sum()
    step, values = 1e-5, []
    for h in (-step, step):
        deformation = np.eye(3) + h * strain
        values.append(
            total(
                case.positions @ deformation + h * move,
                case.pairs.offsets @ deformation,
                case.width + h * stretch,
            )
        )
    assert (values[1] - values[0]) / (2.0 * step) == pytest.approx(expected, rel=1e-7)


def test_offsets_are_lattice_vectors() -> None:
    rng = np.random.default_rng(0)
    for axes in (0, 2, 3):
        shifts = rng.integers(-3, 4, (10, axes)).astype(np.int32)
        lattice = rng.normal(size=(axes, 3))
        np.testing.assert_allclose(coulomb.lattice_offsets(shifts, lattice), shifts @ lattice)


class HostBuild:
    """The CUDA source compiled for the CPU."""

    def __init__(self, folder: Path) -> None:
        (folder / "coulomb.cpp").write_text("#define HOST_BUILD\n" + gpu.source())
        library = folder / "libcoulomb.so"
        command = ["g++", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-std=c++14"]
        subprocess.run([*command, "-o", str(library), str(folder / "coulomb.cpp")], check=True)
        self.compiled = ctypes.CDLL(str(library))

    def call(self, name: str, *arguments: Any) -> None:
        converted = []
        for value in arguments:
            if isinstance(value, np.ndarray):
                assert value.flags.c_contiguous
                converted.append(ctypes.c_void_p(value.ctypes.data))
            else:
                kind = ctypes.c_double if isinstance(value, float) else ctypes.c_longlong
                converted.append(kind(value))
        getattr(self.compiled, name)(*converted)

    def assemble(self, positions, pairs, width, alpha):
        n = len(pairs.first)
        out = np.empty(n), np.empty(n)
        self.call("assemble", positions, *pairs, width, alpha, COULOMB, n, *out)
        return out

    def matvec(self, values, pairs, charges):
        out = np.zeros(len(charges))
        self.call("matvec", values, pairs.first, pairs.second, charges, len(values), out)
        return out

    def matvec_adjoint(self, pairs, x, y):
        out = np.empty(len(pairs.first))
        self.call("matvec_adjoint", pairs.first, pairs.second, x, y, len(out), out)
        return out

    def assemble_adjoint(self, weights, slopes, positions, pairs, width):
        out = np.zeros((len(width), 3)), np.zeros((3, 3)), np.zeros(len(width))
        self.call("assemble_adjoint", weights, slopes, positions, *pairs, width, COULOMB,
                  len(weights), *out)  # fmt: skip
        return out


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_cuda_source_on_the_host_gives_the_reference(
    case: SimpleNamespace, tmp_path: Path
) -> None:
    host = HostBuild(tmp_path)
    for alpha in (0.0, 0.4):
        check(host, case, alpha)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_cuda_source_compiles(architecture: str) -> None:
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc")
    try:
        nvrtc.getVersion()
    except RuntimeError as error:
        pytest.skip(f"NVRTC cannot be loaded: {error}")
    program = nvrtc.createProgram(gpu.source(), "coulomb.cu", (), ())
    nvrtc.compileProgram(program, (f"--gpu-architecture={architecture}", "-std=c++14"))
    assert len(nvrtc.getCUBIN(program)) > 0
    nvrtc.destroyProgram(program)


@pytest.mark.gpu
@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_the_gpu_gives_the_reference(case: SimpleNamespace, alpha: float) -> None:
    cp = pytest.importorskip("cupy")
    try:
        cp.cuda.runtime.getDeviceCount()
    except cp.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"no CUDA device: {error}")

    class Device:
        """The maps on the GPU with arrays carried there and back."""

        def __getattr__(self, name: str) -> Any:
            def call(*arguments: Any) -> Any:
                found = getattr(coulomb, name)(*(carry(x) for x in arguments))
                return tuple(map(cp.asnumpy, found)) if isinstance(found, tuple) else found.get()

            return call

    def carry(value: Any) -> Any:
        if isinstance(value, PairList):
            return PairList(*(cp.asarray(x) for x in value))
        return cp.asarray(value) if isinstance(value, np.ndarray) else value

    check(Device(), case, alpha)
