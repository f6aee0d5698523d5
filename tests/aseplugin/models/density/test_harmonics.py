"""Order, normalisation and products of the harmonics."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from voltase.aseplugin.models.density.harmonics import product_table, solid_harmonics_at
from voltase.aseplugin.models.harmonics import spherical_harmonics


def test_up_to_degree_three_as_the_backbone_has_them() -> None:
    vectors = torch.randn(7, 3, dtype=torch.float64)
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    expected = spherical_harmonics(vectors, lengths, 3)
    torch.testing.assert_close(solid_harmonics_at(vectors / lengths, 3), expected)


def rotation_of_harmonics(rotation: np.ndarray, highest: int) -> torch.Tensor:
    """D with Y(R r) = Y(r) D, from a fit at many points."""
    points = torch.randn(200, 3, dtype=torch.float64)
    turned = points @ torch.from_numpy(rotation.T)
    before, after = (solid_harmonics_at(p, highest) for p in (points, turned))
    return torch.linalg.lstsq(before, after).solution


@pytest.mark.parametrize("highest", [1, 2, 4])
def test_products_turn_with_their_factors(highest: int) -> None:
    table = product_table(highest)
    turn = rotation_of_harmonics(Rotation.random(random_state=1).as_matrix(), highest)
    n = (highest + 1) ** 2
    a, b = torch.randn(2, n, dtype=torch.float64)
    product = torch.einsum("i,j,ijk->k", a, b, table)
    turned = torch.einsum("i,j,ijk->k", a @ turn, b @ turn, table)
    torch.testing.assert_close(turned, product @ turn)


def test_products_have_no_pseudo_tensors() -> None:
    """A mirrored pair of factors gives the mirrored product."""
    table = product_table(4)
    parity = torch.cat([torch.full((2 * d + 1,), (-1.0) ** d, dtype=torch.float64)
                        for d in range(5)])  # fmt: skip
    a, b = torch.randn(2, 25, dtype=torch.float64)
    product = torch.einsum("i,j,ijk->k", a, b, table)
    mirrored = torch.einsum("i,j,ijk->k", a * parity, b * parity, table)
    torch.testing.assert_close(mirrored, product * parity)
