"""Spherical harmonics against e3nn's."""

import mace  # noqa: F401  (before e3nn: e3nn 0.4.4 cannot load its constants otherwise)
import pytest
import torch
from e3nn import o3

from voltase.aseplugin.models.harmonics import HIGHEST_DEGREE, spherical_harmonics


@pytest.mark.parametrize("max_ell", range(HIGHEST_DEGREE + 1))
def test_the_values_are_those_of_e3nn(max_ell: int) -> None:
    vectors = torch.randn(50, 3, dtype=torch.float64)
    found = spherical_harmonics(vectors, vectors.norm(dim=1, keepdim=True), max_ell)
    expected = o3.spherical_harmonics(list(range(max_ell + 1)), vectors, True, "component")
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-13)


def test_a_higher_degree_is_refused() -> None:
    with pytest.raises(ValueError, match="max_ell: found 4, expected 0 to 3"):
        spherical_harmonics(torch.ones(1, 3), torch.ones(1, 1), 4)
