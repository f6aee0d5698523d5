"""Energy and forces of point charges by mesh Ewald, beside other packages. Prints JSON.

Usage: python benchmarks/coulomb_mesh.py [--atoms 1536] [--error 1e-4]

Water with charges of -0.8 and 0.4 e. Forces of each package are compared with those of our sum
over kept waves at 1e-10 eV/A; settings of each are the cheapest of a small scan whose root mean
square error of the forces is below --error. CPU time of one thread counts; lists of neighbours are
made beforehand for all, and so are, for the others, all tables of a fixed cell that their
interfaces take. torch-pme and nvalchemi-toolkit-ops (with warp-lang, on the CPU here) are left out
where they are not installed. Ours has Gaussian charges, so narrow that they are points for each
other, and gives in addition derivatives by cell and widths.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import torch
from fqeq_water import water
from vesin import NeighborList

from voltase.aseplugin.kernels.coulomb import COULOMB
from voltase.aseplugin.models.electrostatics import make_operator
from voltase.aseplugin.models.electrostatics.pairs import SkinPairs

REPEATS = 5
WIDTH = 0.05  # A
CUTOFFS = (5.0, 6.0, 8.0)  # A
Result = tuple[float, np.ndarray]
Calculation = Callable[[], Result]


def timed(calculate: Calculation, exact: Result) -> dict[str, float]:
    """Best CPU time, errors of energy and forces; the first call is not counted."""
    energy, forces = calculate()
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        calculate()
        times.append(time.process_time() - started)
    error = float(np.sqrt(((forces - exact[1]) ** 2).sum(1).mean()))
    return {"cpu_s": min(times), "force_error_eV_A": error,
            "energy_error_eV": energy - exact[0]}  # fmt: skip


def own_energy(charges: np.ndarray) -> float:
    """Of Gaussians with themselves, which points do not have, eV."""
    return 0.5 * COULOMB / math.sqrt(math.pi) / WIDTH * float(charges @ charges)


def ours(system: dict[str, np.ndarray], charges: np.ndarray, tolerance: float) -> Calculation:
    """Mesh tier of `make_operator`, with the pairs of the step before."""
    pairs = SkinPairs(1.0)
    width = np.full(len(charges), WIDTH)

    def calculate() -> Result:
        operator = make_operator(system["positions"], system["cell"], True, width, tier="mesh",
                                 tolerance=tolerance, pairs=pairs)  # fmt: skip
        return operator.energy(charges) - own_energy(charges), -operator.gradients(charges)[0]

    return calculate


def neighbours(system: dict[str, np.ndarray], cutoff: float, full: bool) -> Any:
    """Pairs, whole numbers of lattice vectors and distances."""
    return NeighborList(cutoff=cutoff, full_list=full).compute(
        points=system["positions"], box=system["cell"], periodic=True, quantities="ijSd"
    )


def torch_pme(system: dict[str, np.ndarray], charges: np.ndarray, cutoff: float, spacing: float,
              nodes: int) -> Calculation:  # fmt: skip
    """P3M of torch-pme."""
    import torchpme

    i, j, shifts, _ = neighbours(system, cutoff, full=False)
    first, second = torch.from_numpy(i.astype(np.int64)), torch.from_numpy(j.astype(np.int64))
    offsets = torch.from_numpy(shifts @ system["cell"])
    cell, q = torch.from_numpy(system["cell"]), torch.from_numpy(charges).unsqueeze(1)
    potential = torchpme.CoulombPotential(smearing=cutoff / 5.0)
    method = torchpme.P3MCalculator(potential, mesh_spacing=spacing, interpolation_nodes=nodes)
    method = method.double()

    def calculate() -> Result:
        positions = torch.from_numpy(system["positions"].copy()).requires_grad_()
        distances = torch.linalg.vector_norm(positions[second] - positions[first] + offsets, dim=1)
        values = method(q, cell, positions, torch.stack([first, second], 1), distances)
        energy = COULOMB * (q * values).sum()
        (gradient,) = torch.autograd.grad(energy, positions)
        return float(energy.detach()), -gradient.numpy()

    return calculate


def nvalchemi(system: dict[str, np.ndarray], charges: np.ndarray, cutoff: float, spacing: float,
              order: int) -> Calculation:  # fmt: skip
    """Particle-mesh Ewald of nvalchemi-toolkit-ops."""
    from nvalchemiops.torch.interactions.electrostatics import particle_mesh_ewald

    i, j, shifts, _ = neighbours(system, cutoff, full=True)
    rank = np.argsort(i, kind="stable")
    counts = np.bincount(i.astype(np.int64), minlength=len(charges))
    start = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    pairs = torch.from_numpy(np.stack([i[rank], j[rank]]).astype(np.int32))
    images = torch.from_numpy(np.ascontiguousarray(shifts[rank]).astype(np.int32))
    cell, q = torch.from_numpy(system["cell"]), torch.from_numpy(charges)
    positions = torch.from_numpy(system["positions"])

    def calculate() -> Result:
        energy, forces = particle_mesh_ewald(
            positions, q, cell, alpha=3.5 / cutoff, mesh_spacing=spacing, spline_order=order,
            neighbor_list=pairs, neighbor_ptr=start, neighbor_shifts=images, compute_forces=True,
        )  # fmt: skip
        return COULOMB * float(energy.sum()), COULOMB * forces.numpy()

    return calculate


def cheapest(make: Callable[..., Calculation], spacings: tuple[float, ...],
             orders: tuple[int, ...], exact: Result, bound: float) -> dict[str, Any]:  # fmt: skip
    """The fastest settings within the bound, and what they give."""
    found: list[dict[str, Any]] = []
    for cutoff, spacing, order in product(CUTOFFS, spacings, orders):
        result = timed(make(cutoff, spacing, order), exact)
        found.append(result | {"cutoff_A": cutoff, "mesh_spacing_A": spacing, "order": order})
    good = [each for each in found if each["force_error_eV_A"] <= bound]
    return min(good, key=lambda e: e["cpu_s"]) if good else {
        "none_within_the_error": min(found, key=lambda e: e["force_error_eV_A"])
    }  # fmt: skip


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, default=1536)
    parser.add_argument("--error", type=float, default=1e-4, help="of the forces, eV/A")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    system = water(arguments.atoms)
    charges = np.tile([-0.8, 0.4, 0.4], len(system["positions"]) // 3)
    width = np.full(len(charges), WIDTH)
    reference = make_operator(system["positions"], system["cell"], True, width, tier="ewald",
                              tolerance=1e-10)  # fmt: skip
    exact = reference.energy(charges) - own_energy(charges), -reference.gradients(charges)[0]
    found: dict[str, Any] = {"atoms": len(charges), "asked_eV_A": arguments.error}
    trials = [timed(ours(system, charges, arguments.error * factor), exact)
              for factor in (1.0, 3.0, 10.0, 30.0)]  # fmt: skip
    good = [t for t in trials if t["force_error_eV_A"] <= arguments.error]
    if not good:
        raise SystemExit(f"ours: no setting within {arguments.error:g} eV/A")
    found["voltase"] = min(good, key=lambda t: t["cpu_s"])
    peers = {"torchpme": (torch_pme, (0.5, 0.7, 1.0), (4, 5)),
             "nvalchemiops": (nvalchemi, (0.5, 0.7, 1.0), (5, 6))}  # fmt: skip
    for name, (make, spacings, orders) in peers.items():
        if importlib.util.find_spec(name) is None:
            found[name] = "not installed"
            continue
        found[name] = cheapest(
            lambda *settings, make=make: make(system, charges, *settings),  # type: ignore[misc]
            spacings, orders, exact, arguments.error,
        )  # fmt: skip
        if "cpu_s" in found[name]:
            found[name]["times_ours"] = found[name]["cpu_s"] / found["voltase"]["cpu_s"]
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
