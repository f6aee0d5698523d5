"""A step of PE-MACE against one of upstream's MACECalculator, same architecture. Prints JSON.

Usage: python benchmarks/pemace_vs_mace_calculator.py [--steps 20] [--threads 1] [--model NAME]

Both calculators give energy and forces of the same moving structure, taking turns; upstream's
network has random weights and the shape of the model's backbone. PE-MACE also gives the potential.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import redirect_stdout

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator

with redirect_stdout(sys.stderr):  # mace-torch names on stdout what it misses
    from mace.calculators import MACECalculator
    from mace.modules import (
        RealAgnosticInteractionBlock,
        RealAgnosticResidualInteractionBlock,
        ScaleShiftMACE,
    )
from e3nn import o3

from voltase.aseplugin import PEMACE, read_interface


def upstream(calculator: PEMACE) -> MACECalculator:
    """MACECalculator with a network of the same shape."""
    config = calculator.evaluator.model.config
    shape = config.backbone
    parities = "eo"[: shape.max_L + 1]
    hidden = "+".join(f"{shape.channels}x{ell}{parity}" for ell, parity in enumerate(parities))
    network = ScaleShiftMACE(
        r_max=shape.r_max,
        num_bessel=shape.num_bessel,
        num_polynomial_cutoff=shape.num_polynomial_cutoff,
        max_ell=shape.max_ell,
        interaction_cls=RealAgnosticResidualInteractionBlock,
        interaction_cls_first=RealAgnosticInteractionBlock,
        num_interactions=shape.num_interactions,
        num_elements=len(config.symbols),
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(len(config.symbols)),
        avg_num_neighbors=shape.avg_num_neighbors,
        atomic_numbers=calculator.evaluator.model.numbers,
        correlation=shape.correlation,
        radial_MLP=list(shape.radial_mlp),
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )
    return MACECalculator(models=[network.float()], device="cpu", default_dtype="float32")


def seconds(calculator: Calculator, atoms: Atoms) -> float:
    """Wall time of one calculation."""
    started = time.perf_counter()
    calculator.calculate(atoms, ["energy", "forces"])
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="pt111-water")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    atoms = read_interface(args.model)
    ours = PEMACE(args.model, excess_electrons=0.1)
    theirs = upstream(ours)
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {"pe_mace": [], "mace_calculator": []}
    for step in range(args.steps + 5):
        atoms.positions += 0.002 * rng.standard_normal(atoms.positions.shape)
        pair = seconds(ours, atoms), seconds(theirs, atoms)
        if step >= 5:  # upstream compiles in its first calls
            for name, value in zip(times, pair, strict=True):
                times[name].append(value)
    ratios = np.array(times["mace_calculator"]) / np.array(times["pe_mace"])
    result = {
        "atoms": len(atoms),
        "threads": args.threads,
        "pe_mace_ms": 1e3 * float(np.median(times["pe_mace"])),
        "mace_calculator_ms": 1e3 * float(np.median(times["mace_calculator"])),
        "speed_up": float(np.median(ratios)),
        "speed_up_quartiles": np.percentile(ratios, [25, 75]).tolist(),
    }
    json.dump(result, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
