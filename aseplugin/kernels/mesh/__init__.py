"""Charges on a mesh by cardinal B-splines, and back: the scattered half of mesh Ewald.

A charge at grid coordinates u (in units of the mesh spacing) gives the mesh point k the share
prod_d M_p(u_d - k_d), with M_p the B-spline of order p, which is nonzero on (0, p). `gather` is
the adjoint of `spread`, `gather_gradient` its derivative by u. Meshes repeat along every axis.
Source: Essmann et al., J. Chem. Phys. 103, 8577 (1995), doi:10.1063/1.470117.

float64 NumPy arrays; `reference` has plain NumPy for the compiled loops of `cpu`.
"""

from voltase.aseplugin.kernels.mesh.cpu import gather, gather_gradient, spline_weights, spread

__all__ = ["gather", "gather_gradient", "spline_weights", "spread"]
