"""Atomic energies read off the labels, and off what a trained network leaves over."""

from dataclasses import replace

import pytest
import torch

from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel
from voltase.aseplugin.training.atomic_energies import fit_atomic_energies, refit_atomic_energies
from voltase.aseplugin.training.config import DataConfig
from voltase.aseplugin.training.dataset import Sample, group_samples
from voltase.aseplugin.training.frames import label_frame
from voltase.aseplugin.training.metrics import evaluate_sample
from voltase.aseplugin.training.synthetic import synthetic_frames


@pytest.fixture(scope="module")
def electrode(tiny: PEMACEConfig) -> list[Sample]:
    """Without water the potential depends on the charge alone."""
    data = DataConfig()
    structures = synthetic_frames(3, charges=3, waters=0, capacitance=3e-3,
                                  zero_charge_potential=5.2)  # fmt: skip
    frames = [label_frame(atoms, data, "frame") for atoms in structures]
    return group_samples(frames, data, tiny)


def test_atomic_energies_reproduce_energies_that_are_sums_of_atoms(
    samples: list[Sample], electrode: list[Sample], tiny: PEMACEConfig
) -> None:
    true = torch.tensor([-3.0, -400.0, -700.0], dtype=torch.float64)  # H, O, Pt

    def with_sums(sample: Sample) -> Sample:
        total = true[sample.graph.species].sum().expand(3)
        return replace(sample, energy=total, grand_energy=total + 1.0)

    both = [with_sums(s) for s in [*samples, *electrode]]
    [row] = fit_atomic_energies(both, tiny)
    # Water always has two H an O: their sum is determined, and the platinum.
    assert row[2] == pytest.approx(-700.0)
    assert 2 * row[0] + row[1] == pytest.approx(-406.0)


def test_atomic_energies_of_each_domain_and_embedding(
    electrode: list[Sample], tiny: PEMACEConfig
) -> None:
    config = replace(tiny, domains=["default", "other"], capacitance=None,
                     zero_charge_potential=None)  # fmt: skip
    eights = torch.full((3,), -80.0, dtype=torch.float64)
    data = [replace(s, energy=eights, grand_energy=eights - 8.0) for s in electrode]
    data.append(replace(data[0], domain="other", energy=eights / 10))
    rows = fit_atomic_energies(data, config)
    assert [row[2] for row in rows] == pytest.approx([-10.0, -1.0])
    grand = replace(config, embedding="potential")
    assert fit_atomic_energies(data, grand)[0][2] == pytest.approx(-11.0)
    empty = [replace(s, energy=eights * torch.nan) for s in electrode]
    assert fit_atomic_energies(empty, config) == [[0.0] * 3] * 2


def mean_residual(model: PEMACEModel, sample: Sample) -> float:
    """Energy label minus prediction, eV."""
    pairs = evaluate_sample(model, sample).energy
    return sum(label - found for label, found in pairs) / len(pairs) * sample.graph.n_atoms


def test_what_goes_with_the_composition_leaves_nothing_over(
    samples: list[Sample], electrode: list[Sample], tiny: PEMACEConfig
) -> None:
    """Two reference codes, one config type of which has an offset per atom besides."""
    torch.manual_seed(0)
    domains = ["default", "other"]
    config = replace(tiny, domains=domains, capacitance=None, zero_charge_potential=None,
                     atomic_energies=[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])  # fmt: skip
    model = PEMACEModel(config)
    extra = {"default": torch.tensor([0.3, 0.0, -2.0]), "other": torch.tensor([0.1, 7.0, 1.0])}

    def labelled(sample: Sample, domain: str, kind: str, offset: float) -> Sample:
        graph = replace(sample.graph, domain=torch.tensor([domains.index(domain)]))
        bare = replace(sample, graph=graph, domain=domain, config_type=kind,
                       energy=torch.zeros(3, dtype=torch.float64))  # fmt: skip
        shift = float(extra[domain][graph.species].sum()) + offset * graph.n_atoms
        pairs = evaluate_sample(model, bare).energy
        sums = float(model.reference_energy(graph))
        energies = [found * graph.n_atoms + sums + shift for _, found in pairs]
        return replace(bare, energy=torch.tensor(energies, dtype=torch.float64))

    data = [labelled(s, d, "a", 0.0) for d in domains for s in [*samples[:3], *electrode[:2]]]
    data += [labelled(s, "default", "b", 0.5) for s in [*samples[3:5], electrode[2]]]
    assert max(abs(mean_residual(model, s)) for s in data) > 1.0
    refit_atomic_energies(model, data)
    for sample in data:
        expected = 0.5 * sample.graph.n_atoms if sample.config_type == "b" else 0.0
        assert mean_residual(model, sample) == pytest.approx(expected, abs=1e-3)
    assert model.config.atomic_energies == model.atomic_energies.tolist()


def test_a_domain_without_energies_keeps_its_own(samples: list[Sample], tiny: PEMACEConfig) -> None:
    model = PEMACEModel(replace(tiny, atomic_energies=[[1.0, 2.0, 3.0]]))
    nothing = torch.full_like(samples[0].energy, torch.nan)
    refit_atomic_energies(model, [replace(s, energy=nothing) for s in samples])
    assert model.atomic_energies.tolist() == [[1.0, 2.0, 3.0]]
