"""Solution and energy of the saddle-point system as differentiable functions.

M(theta) u = r has du = M^-1 (dr - dM u), so a gradient g of u becomes y = M^-1 g on r and -y . dM u
on theta: the same solve again, and a bilinear form. Written in terms of themselves, both can be
differentiated any number of times. The energy at the solution needs no solve at all in its first
derivatives (the envelope theorem), but these depend on the solution, and so on in its second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from voltase.aseplugin.models.charge_equilibration.coulomb import Coulomb, ExplicitGradients
from voltase.aseplugin.models.charge_equilibration.saddle_point import Layout, Solver


@dataclass(frozen=True)
class System:
    """Everything about the system that is no tensor to differentiate in."""

    layout: Layout
    coulomb: Coulomb
    solver: Solver


def solve_system(system: System, rhs: Tensor, hardness: Tensor, stiffness: Tensor,
                 compliance: Tensor) -> Tensor:  # fmt: skip
    """u = M^-1 rhs, differentiable in `rhs`, J, kappa, w and the interaction's tensors."""
    out = _Solution.apply(system, rhs, hardness, stiffness, compliance, *system.coulomb.tensors)
    return cast(Tensor, out)


def stationary_energy(
    system: System,
    u: Tensor,
    electronegativity: Tensor,
    source: Tensor,
    hardness: Tensor,
    stiffness: Tensor,
    compliance: Tensor,
) -> Tensor:
    """Energy at the solution `u`, a scalar in eV, differentiable in all else."""
    out = _Energy.apply(
        system, u, electronegativity, source, hardness, stiffness, compliance,
        *system.coulomb.tensors,
    )  # fmt: skip
    return cast(Tensor, out)


class _Solution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, system: System, rhs: Tensor, *theta: Tensor) -> Tensor:
        u = system.solver.solve(rhs)
        ctx.system = system
        ctx.save_for_backward(u, *theta)
        return u

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        system: System = ctx.system
        layout = system.layout
        u, *theta = ctx.saved_tensors
        y = cast(Tensor, _Solution.apply(system, grads[0], *theta))
        q, p, m = layout.parts(u)
        yq, yp, ym = layout.parts(y)
        drops = layout.drop(m, layout.soft_ends), layout.drop(ym, layout.soft_ends)
        coulomb = _coulomb_gradients(system.coulomb, yq, q, theta[3:], ctx.needs_input_grad[5:])
        return (None, y, -yq * q, -yp * p, drops[0] * drops[1], *_scaled(coulomb, -1.0))


class _Energy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, system: System, u: Tensor, *theta: Tensor) -> Tensor:
        ctx.system = system
        ctx.save_for_backward(u, *theta)
        electronegativity, source = theta[:2]
        # u . M u / 2 - rhs . u = -(rhs + defect) . u / 2, with an error of second order.
        rhs = system.layout.right_hand_side(electronegativity, source)
        defect = system.solver.defect
        return -0.5 * torch.dot(rhs if defect is None else rhs + defect, u)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        system: System = ctx.system
        layout = system.layout
        u, *theta = ctx.saved_tensors
        g = grads[0]
        q, p, m = layout.parts(u)
        drop = layout.drop(m, layout.soft_ends)
        coulomb = _coulomb_gradients(system.coulomb, q, q, theta[5:], ctx.needs_input_grad[7:])
        return (
            None,
            None,  # stationary
            g * q,
            g * m[layout.membership],
            0.5 * g * q.square(),
            0.5 * g * p.square(),
            -0.5 * g * drop.square(),
            *_scaled(coulomb, 0.5 * g),
        )


def _coulomb_gradients(coulomb: Coulomb, x: Tensor, y: Tensor, tensors: list[Tensor],
                       needed: tuple[bool, ...]) -> list[Tensor | None]:  # fmt: skip
    """Gradients of x . C . y in the interaction's tensors, with a graph if one is recorded."""
    wanted = [i for i, need in enumerate(needed) if need]
    out: list[Tensor | None] = [None] * len(tensors)
    if not wanted:
        return out
    record = torch.is_grad_enabled()
    if not record and isinstance(coulomb, ExplicitGradients):
        explicit = coulomb.gradients(x.detach(), y.detach())
        for i in wanted:
            out[i] = explicit[i]
        return out
    with torch.enable_grad():
        # Aliases cut the way from the tensors to x and y, which may depend on them too.
        inside = [t.view_as(t) if record else t.detach().requires_grad_() for t in tensors]
        value = coulomb.bilinear(x if record else x.detach(), y if record else y.detach(), *inside)
        found = torch.autograd.grad(
            value, [inside[i] for i in wanted], create_graph=record, allow_unused=True
        )
    for i, gradient in zip(wanted, found, strict=True):
        out[i] = gradient
    return out


def _scaled(gradients: list[Tensor | None], factor: Tensor | float) -> list[Tensor | None]:
    return [None if g is None else factor * g for g in gradients]
