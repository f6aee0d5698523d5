r"""Charge equilibration between soft fragments, as a differentiable layer.

Charges q (e, positive where electrons lack) minimise

    E = chi.q + sum_i J_i q_i^2/2 + q.C.q/2 + sum_b kappa_b p_b^2/2,     q = q0 + D p,

with electronegativities chi (eV/e), hardnesses J > 0 (eV/e^2), the Coulomb matrix C of Gaussian
charges with its self terms k_e/(sqrt(pi) s_i), source charges q0 and the charges p_b that flow
along the bonds b (D is their incidence). The hardness of a bond follows from its order
b in [0, 1]: kappa = kappa0 (1 - b)/b. So nothing flows along a bond of order 0, and all that is
wanted along one of order 1. Atoms joined by bonds of order 1 form a node (a fragment, if no other
bond leaves it), and with the potentials m of the nodes, Z the atoms' membership and w = 1/kappa

    [ A   0  -Z ] [q]   [ -chi    ]
    [ 0   K  D^T] [p] = [  0      ],     A = diag(J) + C,     L = D_w W D_w^T.
    [-Z^T D  -L ] [m]   [ -Z^T q0 ]

Bonds with b > 1/2 between different nodes keep their flow p (K = diag(kappa)), the others are in
the Laplacian L: both are exact, and neither 1/0 occurs. Every term depends on b at least as
smoothly as kappa does near 1 and w near 0; with `bond_order` two derivatives vanish there.

- m_i = dE/dq_i (eV/e) is the electrochemical potential of positive charge, the same for all atoms
  of a node, and m_F = dE/dQ_F. The absolute potential of an electrode, Phi = -dE/dn with n = -Q
  excess electrons, is the m of the electrode in V.
- Fixed potential: the electrode's atoms take what charge makes m = Phi. That is the same problem
  with chi - Phi in place of chi and the electrode's potentials fixed at zero; its minimum is
  Omega = E - Phi Q = E + Phi n, a function of the potential.
- Forces: E is stationary in (q, p, m), so dE/dx = dE/dx at fixed (q, p, m) (chi, J, C, kappa, w
  and q0 all depend on the positions). Derivatives of the solution take one more solve with the
  same matrix, itself differentiable.
- `solver="global"` takes all atoms as one node: usual charge equilibration.

Soft fragments: Peeketi, Uberuaga and Jones, arXiv 2604.27910. Charge equilibration: Rappe and
Goddard, J. Phys. Chem. 95, 3358 (1991), doi:10.1021/j100161a070; with flows along bonds: Nistor
et al., J. Chem. Phys. 125, 094108 (2006), doi:10.1063/1.2346671.
"""

from voltase.aseplugin.models.charge_equilibration.bonds import bond_order, smoothstep
from voltase.aseplugin.models.charge_equilibration.solution import FixedPotential, FQEqSolution
from voltase.aseplugin.models.charge_equilibration.solve import solve_fqeq
from voltase.aseplugin.models.charge_equilibration.warm_start import WarmStart

__all__ = [
    "FQEqSolution",
    "FixedPotential",
    "WarmStart",
    "bond_order",
    "smoothstep",
    "solve_fqeq",
]
