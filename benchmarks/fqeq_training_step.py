"""Training step of Soft-FQEq against the same network without charge equilibration.

    python benchmarks/fqeq_training_step.py [--repeat 2] [--forces]

A step is a loss on charges (of two electron numbers) and, with --forces, on forces, with its
gradient in all weights. Without the layer, the charges are the source charges and the forces those
of the short-range energy. CPU time of one thread, least of several steps: of other processes on the
machine it sees little.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from voltase.aseplugin import read_interface
from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.features import FeatureConfig
from voltase.aseplugin.models.softfqeq import SoftFQEqConfig, SoftFQEqModel
from voltase.aseplugin.training.charge_model.config import ChargeDataConfig, ChargeLossWeights
from voltase.aseplugin.training.charge_model.dataset import ChargeSample, charge_samples
from voltase.aseplugin.training.charge_model.equilibrate import FixedGeometry
from voltase.aseplugin.training.charge_model.losses import sample_loss
from voltase.aseplugin.training.frames import label_frame


def sample_of(repeat: int, config: SoftFQEqConfig) -> ChargeSample:
    """The bundled interface with invented labels at two electron numbers."""
    rng = np.random.default_rng(0)
    atoms = read_interface("pt111-water").repeat((repeat, repeat, 1))
    data = ChargeDataConfig(charges_key="charges")
    frames = []
    charges = rng.normal(0.0, 0.1, len(atoms))
    forces = rng.normal(0.0, 0.7, (len(atoms), 3))
    for number, electrons in enumerate((-0.1, 0.1)):
        copy = atoms.copy()
        copy.info = {"excess_electrons": electrons, "electrode_potential": 4.5 - electrons}
        copy.arrays["charges"] = charges - charges.mean()
        copy.arrays["REF_forces"] = forces
        frames.append(label_frame(copy, data, f"frame {number}"))
    return charge_samples(frames, data, config)[0]


def without_layer(model: SoftFQEqModel, sample: ChargeSample, weights: ChargeLossWeights) -> Tensor:
    """Loss of the network alone."""
    structure, leaves = sample.structure.leaves(with_strain=False)
    readouts = model(structure if weights.forces else sample.structure)
    loss = weights.charges * (readouts.source_charge - sample.charges).square().mean()
    # What the layer would have used, so that every readout is trained.
    loss = loss + 1e-6 * (readouts.electronegativity.square().mean() + readouts.order.mean())
    if weights.forces:
        (gradient,) = torch.autograd.grad(readouts.energy, leaves, create_graph=True)
        loss = loss + weights.forces * (gradient + sample.forces[0]).square().mean()
    return loss


def cpu_time(step: Callable[[], Tensor], model: SoftFQEqModel, steps: int) -> float:
    """Least CPU time of a step, s."""
    times = []
    for _ in range(steps):
        model.zero_grad(set_to_none=False)
        started = time.process_time()
        step().backward()
        times.append(time.process_time() - started)
    return min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=2, help="of the interface, along x and y")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--kind", default="mace", choices=["mace", "hipnn"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    mace = BackboneConfig(r_max=4.5, channels=32, max_ell=3, correlation=2, radial_mlp=(64, 64))
    config = SoftFQEqConfig(
        symbols=["H", "O", "Pt"],
        features=FeatureConfig(arguments.kind, mace),
        bond_ranges={"H-O": (1.25, 1.96), "O-Pt": (1.6, 2.55), "Pt-Pt": (3.4, 3.9)},
    )
    model = SoftFQEqModel(config)
    sample = sample_of(arguments.repeat, config)
    model.features.calibrate(sample.graph)
    width = model.log_width.detach().double().exp()[sample.graph.species]
    started = time.process_time()
    geometry = FixedGeometry.of(sample.structure, width, True)
    assembly = time.process_time() - started
    print(f"{sample.graph.n_atoms} atoms, {arguments.kind}; interaction assembled once a geometry: "
          f"{assembly:.1f} s")  # fmt: skip
    for name, forces in (("charges", 0.0), ("charges and forces", 10.0)):
        weights = ChargeLossWeights(forces=forces, energy=0.0)
        plain = cpu_time(lambda w=weights: without_layer(model, sample, w), model, arguments.steps)
        full = cpu_time(
            lambda w=weights: sample_loss(model, sample, geometry, [0, 1], w, {}).total,
            model, arguments.steps,
        )  # fmt: skip
        print(f"{name}: {1e3 * full:.0f} ms with the layer, {1e3 * plain:.0f} ms without: "
              f"ratio {full / plain:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
