"""Charge equilibration by torch-admp on a structure of fqeq_water.py. Prints JSON.

Usage: python fqeq_peer_torch_admp.py water.npz   (needs torch-admp and vesin[torch])

Fixed molecules by projected gradients (its iterative solver) and
particle mesh Ewald, then forces. Its direct solver builds the matrix by one backward pass an atom.
"""

import json
import sys
import time

import numpy as np
import torch
from torch_admp.nblist import TorchNeighborList
from torch_admp.qeq import QEqForceModule
from torch_admp.utils import calc_grads

CUTOFF = 9.0  # A
ACCURACY = 1e-6
TOLERANCE = 1e-6  # norm of the projected gradient per atom, eV/e
INPUTS = ("positions", "cell", "electronegativity", "hardness", "width")


def main() -> None:
    torch.set_num_threads(1)
    data = np.load(sys.argv[1])
    values = {name: torch.tensor(data[name], dtype=torch.float64) for name in INPUTS}
    n = len(values["positions"])
    module = QEqForceModule(rcut=CUTOFF, ethresh=ACCURACY, max_iter=200, eps=TOLERANCE)
    constraints = torch.zeros(n // 3, n, dtype=torch.float64)
    constraints[torch.arange(n) // 3, torch.arange(n)] = 1.0
    times = []
    for _ in range(2):
        positions = values["positions"].clone().requires_grad_()
        started, started_wall = time.process_time(), time.perf_counter()
        neighbours = TorchNeighborList(CUTOFF)
        pairs = neighbours(positions, values["cell"])
        found = module.solve_pgrad(
            torch.zeros(n, dtype=torch.float64),
            positions,
            values["cell"],
            values["electronegativity"],
            0.5 * values["hardness"],  # its energy is J q^2
            values["width"],
            pairs,
            neighbours.get_ds(),
            neighbours.get_buffer_scales(),
            constraints,
            torch.zeros(n // 3, dtype=torch.float64),
            method="lbfgs",
        )
        calc_grads(found[0], positions)
        times.append((time.process_time() - started, time.perf_counter() - started_wall))
    cpu, wall = min(times)
    result = {
        "cpu_s": cpu,
        "wall_s": wall,
        "solver": "fragment, projected gradients",
        "iterations": module.converge_iter,
        "mean_oxygen_charge": float(found[1].detach()[::3].mean()),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
