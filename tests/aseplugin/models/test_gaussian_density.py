"""Densities on a grid as a function of torch: derivatives by finite differences."""

import numpy as np
import torch

from voltase.aseplugin.kernels.gaussian_density import GaussianBasis
from voltase.aseplugin.models.gaussian_density import density_on_grid

BASIS = GaussianBasis({"H": [(0, 3.0), (1, 1.5)]})
CELL = np.array([[4.0, 0.0, 0.0], [-2.0, 3.5, 0.0], [0.0, 0.0, 5.0]])


def density(coefficients: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return density_on_grid(coefficients, positions, [1, 1], BASIS, CELL, (True, True, False),
                           (3, 4, 5))  # fmt: skip


def test_first_derivatives() -> None:
    c = torch.randn(8, dtype=torch.float64, requires_grad=True)
    r = (4.0 * torch.rand(2, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(density, (c, r), fast_mode=True)


def test_second_derivative_by_the_coefficients() -> None:
    """Of a function that is quadratic in the density: the Hessian is A^T A."""
    c = torch.randn(8, dtype=torch.float64, requires_grad=True)
    r = 4.0 * torch.rand(2, 3, dtype=torch.float64)
    (slope,) = torch.autograd.grad(density(c, r).pow(2).sum(), c, create_graph=True)
    v = torch.randn(8, dtype=torch.float64)
    (product,) = torch.autograd.grad(slope @ v, c)
    expected = 2.0 * (density(v, r) * density(torch.eye(8, dtype=torch.float64)[3], r)).sum()
    torch.testing.assert_close(product[3], expected, rtol=1e-12, atol=1e-14)


def test_single_precision_stays_what_it_is() -> None:
    c = torch.randn(8, requires_grad=True)
    rho = density(c, 4.0 * torch.rand(2, 3))
    rho.sum().backward()
    assert rho.dtype == torch.float32
    assert c.grad is not None
    assert c.grad.dtype == torch.float32
