"""Small PE-MACE networks with random weights, built once for all tests."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from ase import Atoms

from voltase.aseplugin.calculators.pemace import PEMACE
from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.checkpoint import save_checkpoint
from voltase.aseplugin.models.electrode import CHARGE_SCALE
from voltase.aseplugin.models.features import FeatureConfig
from voltase.aseplugin.models.pemace import Coupling, Embedding, PEMACEConfig, PEMACEModel
from voltase.aseplugin.models.softfqeq import SoftFQEqConfig, SoftFQEqModel
from voltase.aseplugin.models.softfqeq.checkpoint import save_model
from voltase.aseplugin.structures import SkinNeighbours, build_graph
from voltase.aseplugin.testing import pt111_water

EXCESS_ELECTRONS = 0.13  # e
POTENTIAL = 4.1  # V, absolute


def small_config(embedding: Embedding, coupling: Coupling) -> PEMACEConfig:
    return PEMACEConfig(
        symbols=["H", "O", "Pt"],
        embedding=embedding,
        coupling=coupling,
        n_members=2,
        capacitance=[2e-3],
        zero_charge_potential=[4.8],
        atomic_energies=[[-1.0, -2.0, -3.0]],
        bond_charges={"O-H": 0.05},
        backbone=BackboneConfig(
            r_max=4.5,
            pair_cutoffs={"H-H": 3.0, "H-O": 4.0},
            channels=4,
            num_bessel=6,
            radial_mlp=(8,),
        ),
    )


def build_model(embedding: Embedding, coupling: Coupling) -> PEMACEModel:
    """Random weights in float64, every term large enough to matter."""
    torch.manual_seed(5)
    model = PEMACEModel(small_config(embedding, coupling)).double()
    graph = build_graph(pt111_water(), model.config)
    state = None if model.closed_form else torch.tensor([0.3], dtype=torch.float64)
    model.backbone.calibrate(graph, state)
    with torch.no_grad():
        model.electrode.curvature += torch.tensor([0.02, 0.5])
        if coupling == "dipole":
            model.electrode.vector_mix.normal_(std=0.002)
            model.electrode.screening.weight.normal_(std=0.1)
            # Small sums of the atoms' scalars, so that the capacitance stays positive.
            scale = CHARGE_SCALE * torch.tensor([1.0, 1.0, 0.02, 0.02])
            model.electrode.scalar[2].weight.normal_().mul_(scale.unsqueeze(1))
    return model


@pytest.fixture(scope="session")
def pemace_model() -> Callable[[Embedding, Coupling], PEMACEModel]:
    """A function from embedding and coupling to a network; tests must leave it as it is."""
    return cache(build_model)


@pytest.fixture(scope="session")
def pemace_checkpoint(
    pemace_model: Callable[[Embedding, Coupling], PEMACEModel],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Embedding, Coupling], Path]:
    """A function from embedding and coupling to a checkpoint; tests must leave it as it is."""

    @cache
    def write(embedding: Embedding, coupling: Coupling) -> Path:
        folder = tmp_path_factory.mktemp("checkpoint") / f"{embedding}-{coupling}"
        return save_checkpoint(folder, pemace_model(embedding, coupling), {})

    return write


@pytest.fixture(scope="session")
def pemace(
    pemace_checkpoint: Callable[[Embedding, Coupling], Path],
) -> Callable[..., PEMACE]:
    """A function to a calculator in its first state, at a charge or potential that is not zero."""

    @cache
    def load(embedding: Embedding, coupling: Coupling, dtype: str) -> PEMACE:
        return PEMACE(pemace_checkpoint(embedding, coupling), dtype=dtype)

    def get(
        embedding: Embedding = "electrons",
        coupling: Coupling = "dipole",
        dtype: str = "float64",
        skin: float = 0.0,
    ) -> PEMACE:
        calculator = load(embedding, coupling, dtype)
        calculator.reset()
        calculator.committee_every = 0
        calculator.card = {"sha256": calculator.card["sha256"]}
        calculator.neighbours = SkinNeighbours(calculator.neighbours.config, 0, skin)
        if calculator.canonical:
            calculator.excess_electrons = EXCESS_ELECTRONS
        else:
            calculator.absolute_potential = POTENTIAL
        return calculator

    return get


@pytest.fixture
def interface() -> Atoms:
    """Pt(111) with four waters above, 24 atoms."""
    return pt111_water()


@pytest.fixture(scope="session")
def fqeq_model() -> SoftFQEqModel:
    """A small Soft-FQEq model, every readout large enough to matter; leave it as it is."""
    torch.manual_seed(3)
    features = FeatureConfig(
        "mace", BackboneConfig(r_max=4.0, channels=4, num_bessel=6, correlation=2, radial_mlp=(8,))
    )
    config = SoftFQEqConfig(
        symbols=["H", "O", "Pt"],
        features=features,
        hidden=8,
        bond_ranges={"H-O": (1.25, 2.0), "O-Pt": (1.6, 2.6), "Pt-Pt": (3.2, 3.6)},
        charge={"H": 0.3, "O": -0.6},
        counter_height=12.0,
        atomic_energies=[-1.0, -2.0, -3.0],
    )
    model = SoftFQEqModel(config)
    model.features.calibrate(build_graph(pt111_water(), config))
    with torch.no_grad():
        model.electronegativity.element.copy_(torch.tensor([-1.7, 1.3, -2.7]))
        readouts = (model.electronegativity, model.source_charge, model.energy)
        for readout in readouts:
            readout.linear.weight.normal_(std=0.2)
            readout.second.weight.normal_(std=0.2)
        model.connectivity.out.weight.normal_(std=0.2)
    model.set_precision(torch.float64)
    return model


@pytest.fixture(scope="session")
def fqeq_checkpoint(fqeq_model: SoftFQEqModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small Soft-FQEq model on disk; leave it as it is."""
    return save_model(tmp_path_factory.mktemp("fqeq") / "model", fqeq_model, {})


@pytest.fixture
def film() -> Atoms:
    """The same interface, periodic along the surface alone."""
    atoms = pt111_water()
    atoms.pbc = (True, True, False)
    return atoms
