"""Numbers read off the training data, against the analytic electrode that made them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel
from voltase.aseplugin.training.config import DataConfig
from voltase.aseplugin.training.dataset import Sample, group_samples
from voltase.aseplugin.training.first_guesses import (
    DEFAULT_CAPACITANCE,
    DEFAULT_ZERO_CHARGE_POTENTIAL,
    fit_capacitors,
    fit_dipole_scales,
    labelled_ranges,
    mean_neighbours,
    response_scale,
)
from voltase.aseplugin.training.frames import label_frame
from voltase.aseplugin.training.synthetic import CHARGES, synthetic_frames

EPSILON_0 = 5.526349e-3  # e/(V A)


@pytest.fixture(scope="module")
def electrode(tiny: PEMACEConfig) -> list[Sample]:
    """Without water the potential depends on the charge alone."""
    data = DataConfig()
    structures = synthetic_frames(3, charges=3, waters=0, capacitance=3e-3,
                                  zero_charge_potential=5.2)  # fmt: skip
    frames = [label_frame(atoms, data, "frame") for atoms in structures]
    return group_samples(frames, data, tiny)


def test_the_capacitor_is_recovered(electrode: list[Sample]) -> None:
    capacitance, potential = fit_capacitors(electrode, ["default"])
    assert capacitance == pytest.approx([3e-3], rel=1e-4)
    assert potential == pytest.approx([5.2], abs=1e-4)


def test_water_shifts_the_potential_but_not_the_capacitance(samples: list[Sample]) -> None:
    capacitance, _ = fit_capacitors(samples, ["default"])
    assert capacitance == pytest.approx([2e-3], rel=1e-4)


def test_domains_without_labels_get_the_defaults(electrode: list[Sample]) -> None:
    capacitance, potential = fit_capacitors(electrode, ["default", "other"])
    assert capacitance[1] == DEFAULT_CAPACITANCE
    assert potential[1] == DEFAULT_ZERO_CHARGE_POTENTIAL
    nan = torch.full((3,), torch.nan)
    bare = [replace(s, electrons=nan, potential=nan) for s in electrode]
    assert fit_capacitors(bare, ["default"]) == ([DEFAULT_CAPACITANCE],
                                                 [DEFAULT_ZERO_CHARGE_POTENTIAL])  # fmt: skip


def test_the_potential_alone_gives_its_mean(electrode: list[Sample]) -> None:
    silent = [replace(s, electrons=torch.full((3,), torch.nan)) for s in electrode]
    _, potential = fit_capacitors(silent, ["default"])
    assert potential[0] == pytest.approx(float(torch.cat([s.potential for s in silent]).mean()))


@pytest.mark.parametrize("embedding", ["electrons", "potential"])
def test_dipoles_and_zero_charge_are_recovered_by_regression(
    samples: list[Sample], tiny: PEMACEConfig, embedding: str
) -> None:
    """The network starts from 0.30 e at each end of a bond, the data have 0.40 e."""
    torch.manual_seed(0)
    model = PEMACEModel(replace(tiny, embedding=embedding))  # type: ignore[arg-type]
    for layer in (model.electrode.scalar[2], model.electrode.gate[2]):
        torch.nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
    torch.nn.init.zeros_(model.electrode.vector_mix)
    [phi0], [scale] = fit_dipole_scales(model, samples, [2e-3])
    assert scale == pytest.approx(CHARGES["H"] / 0.30, rel=0.05)
    assert phi0 == pytest.approx(4.8, abs=0.1)


def test_too_few_geometries_leave_the_dipoles_alone(
    samples: list[Sample], fresh_model: Callable[[], PEMACEModel]
) -> None:
    for few in (samples[:3], []):
        [phi0], [scale] = fit_dipole_scales(fresh_model(), few, [2e-3])
        assert np.isnan([phi0, scale]).all()


def test_the_response_scale_is_the_field_on_the_charges(samples: list[Sample]) -> None:
    """d(force)/d(n/A) = -q / eps0 along the normal, for 2 H2O and 8 Pt."""
    squares = 2 * CHARGES["O"] ** 2 + 4 * CHARGES["H"] ** 2
    expected = np.sqrt(squares / (14 * 3)) / EPSILON_0
    assert response_scale(samples, [2e-3], ["default"]) == pytest.approx(expected, rel=1e-3)


def test_the_response_scale_through_the_capacitance(samples: list[Sample]) -> None:
    exact = response_scale(samples, [2e-3], ["default"])
    silent = [replace(s, electrons=torch.full((3,), torch.nan)) for s in samples]
    assert response_scale(silent, [2e-3], ["default"]) == pytest.approx(exact, rel=1e-3)
    assert response_scale([replace(s, forces=s.forces[:1], electrons=s.electrons[:1],
                                   potential=s.potential[:1]) for s in samples],
                          [2e-3], ["default"]) == 1.0  # fmt: skip


def test_ranges_of_the_labels(samples: list[Sample]) -> None:
    area = float(samples[0].graph.areas.sum())
    potential, density = labelled_ranges(samples)
    electrons = torch.cat([s.electrons for s in samples])
    assert potential == pytest.approx([
        min(float(s.potential.min()) for s in samples),
        max(float(s.potential.max()) for s in samples),
    ])  # fmt: skip
    assert density == pytest.approx([float(electrons.min()) / area, float(electrons.max()) / area])
    nan = torch.full((3,), torch.nan)
    assert labelled_ranges([replace(samples[0], electrons=nan, potential=nan)]) == (None, None)


def test_neighbours_per_atom(samples: list[Sample]) -> None:
    edges = sum(s.graph.edge_index.shape[1] for s in samples)
    assert mean_neighbours(samples) == pytest.approx(edges / (14 * len(samples)))
