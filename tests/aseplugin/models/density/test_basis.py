"""Channels are orthonormal and span the shells; diffuse functions are where a metal needs them."""

import numpy as np
import pytest
from ase.units import Bohr

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.density.basis import (
    default_shells,
    element_channels,
    even_tempered,
    orthonormal,
    radial_overlap,
)


def test_even_tempered_exponents_grow_by_the_ratio() -> None:
    shells = even_tempered(0.12, (1, 0, 0), ratio=2.0)
    assert [degree for degree, _ in shells] == [0, 1, 0, 0]
    exponents = np.array([alpha for degree, alpha in shells if degree == 0]) * Bohr**2
    np.testing.assert_allclose(exponents, [0.12, 0.24, 0.48])


def test_even_tempered_refuses_shrinking_exponents() -> None:
    with pytest.raises(InputError, match="expected positive exponents that grow"):
        even_tempered(0.12, (1,), ratio=0.5)


def test_metals_get_diffuse_functions_of_degree_four() -> None:
    shells = default_shells(["H", "O", "Pt"], ["Pt"])
    assert min(alpha for _, alpha in shells["Pt"]) * Bohr**2 == pytest.approx(0.12)
    assert max(degree for degree, _ in shells["Pt"]) == 4


@pytest.mark.parametrize("number", [1, 8, 78])
def test_channels_are_orthonormal_on_their_atom(number: int) -> None:
    basis, channels = element_channels(default_shells(["H", "O", "Pt"], ["Pt"]))
    found = channels[number]
    shells = basis.shells(number)
    starts = np.cumsum([0] + [shell.size for shell in shells])
    overlap = np.zeros((starts[-1], starts[-1]))
    for i, a in enumerate(shells):
        for j, b in enumerate(shells):
            if a.degree == b.degree:
                value = radial_overlap(a.degree, a.exponent, a.norm, b.exponent, b.norm)
                for m in range(a.size):
                    overlap[starts[i] + m, starts[j] + m] = value
    product = found.matrix.T @ overlap @ found.matrix
    np.testing.assert_allclose(product, np.eye(found.size), atol=1e-7)
    assert found.size == starts[-1]


def test_radial_overlap_against_quadrature() -> None:
    r = np.linspace(0.0, 12.0, 4001)
    first, second, degree = 0.7, 1.9, 2
    product = r ** (2 * degree + 2) * np.exp(-(first + second) * r**2)
    expected = 4.0 * np.pi * np.trapezoid(product, r)
    assert radial_overlap(degree, first, 1.0, second, 1.0) == pytest.approx(expected, rel=1e-9)


def test_combinations_that_are_zero_are_left_out() -> None:
    singular = np.array([[1.0, 1.0], [1.0, 1.0]])
    mix = orthonormal(singular)
    assert mix.shape == (2, 1)
    np.testing.assert_allclose(mix.T @ singular @ mix, 1.0)
