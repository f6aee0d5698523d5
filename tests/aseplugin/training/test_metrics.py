"""Errors on known numbers, and predictions of real networks."""

import logging
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from voltase.aseplugin.models.pemace import PEMACEModel
from voltase.aseplugin.training.dataset import Sample
from voltase.aseplugin.training.metrics import (
    Evaluation,
    SampleErrors,
    evaluate_sample,
    evaluate_samples,
    potential_at,
)


def errors(kind: str, forces: list[tuple[float, float]], **labels: object) -> SampleErrors:
    """One atom whose force components are all equal, one entry (label, prediction) a charge."""
    pairs = [(np.full((1, 3), t), np.full((1, 3), p)) for t, p in forces]
    return SampleErrors(kind, np.zeros(1, dtype=np.int64), forces=pairs, **labels)  # type: ignore[arg-type]


def test_summary_of_known_numbers() -> None:
    evaluation = Evaluation(["H"], [
        errors("a", [(1.0, 1.1), (1.5, 1.4)], potential=[(4.0, 4.2), (3.0, 2.9)],
               energy=[(-1.0, -1.010), (-1.0, -0.996)]),
        errors("a", [(0.0, 0.3)], potential=[(5.0, 5.3)], energy=[(-2.0, -2.006)]),
        errors("b", [(2.0, 2.0)]),
    ])  # fmt: skip
    found = evaluation.summary()
    assert set(found) == {"a", "b"}
    a = found["a"]
    assert a["frames"] == 3
    assert a["force_rmse_meV_A"] == pytest.approx(1e3 * math.sqrt((0.01 + 0.01 + 0.09) / 3))
    assert a["force_rms_meV_A"] == pytest.approx(1e3 * math.sqrt((1.0 + 2.25) / 3))
    assert a["potential_mae_V"] == pytest.approx(0.2)
    assert a["potential_bias_V"] == pytest.approx((0.2 - 0.1 + 0.3) / 3)
    # Labels change by 0.5, predictions by 0.3.
    assert a["response_error"] == pytest.approx(0.4)
    # About the mean: a constant offset of the energy is no error.
    deviations = np.array([-10.0, 4.0, -6.0]) + 4.0
    assert a["energy_rmse_meV_atom"] == pytest.approx(math.sqrt(np.mean(deviations**2)))
    assert found["b"] == {"frames": 1, "force_rmse_meV_A": 0.0, "force_rms_meV_A": 2e3 * 1.0}


def test_quantities_without_labels_are_absent_and_failures_are_counted() -> None:
    evaluation = Evaluation(["H"], [
        errors("a", [(1.0, 1.0)], potential=[(4.0, math.nan), (4.0, 4.5)]),
        errors("b", [(1.0, 1.0), (1.0, 1.1)]),
        errors("c", [(1.0, 1.0)], potential=[(4.0, math.nan)], energy=[(1.0, 1.0)]),
    ])  # fmt: skip
    found = evaluation.summary()
    assert found["a"]["potential_mae_V"] == pytest.approx(0.5)
    assert found["a"]["potential_unsolved"] == 1
    assert "response_error" not in found["b"]  # the labels do not change: nothing to compare with
    assert "potential_mae_V" not in found["c"]
    assert "energy_rmse_meV_atom" not in found["c"]
    assert all(math.isfinite(v) for errors in found.values() for v in errors.values())


@pytest.fixture(scope="module", params=[("electrons", "dipole"), ("potential", "dipole"),
                                        ("electrons", "scalar"), ("potential", "scalar")],
                ids="-".join)  # fmt: skip
def model(request: pytest.FixtureRequest, network: Callable[[str, str], PEMACEModel]
          ) -> PEMACEModel:  # fmt: skip
    return network(*request.param)


def test_a_model_has_no_error_on_its_own_labels(model: PEMACEModel, samples: list[Sample]) -> None:
    first = evaluate_sample(model, samples[0])
    assert len(first.forces) == 3
    forces = torch.stack([torch.from_numpy(p) for _, p in first.forces])
    energies = torch.tensor([p for _, p in first.energy]) * samples[0].graph.n_atoms
    energies = energies.double() + float(model.reference_energy(samples[0].graph))
    own = replace(samples[0], forces=forces, energy=energies, grand_energy=energies)
    if model.config.embedding == "electrons":
        own = replace(own, potential=torch.tensor([p for _, p in first.potential]))
    found = evaluate_samples(model, [own]).summary()["synthetic"]
    assert found["force_rmse_meV_A"] == pytest.approx(0.0, abs=1e-6)
    assert found["response_error"] == pytest.approx(0.0, abs=1e-6)
    assert found["energy_rmse_meV_atom"] == pytest.approx(0.0, abs=1e-2)
    if model.config.embedding == "electrons":
        assert found["potential_mae_V"] == pytest.approx(0.0, abs=1e-5)


def test_the_potential_of_a_grand_canonical_model_is_found_by_inversion(
    network: Callable[[str, str], PEMACEModel], samples: list[Sample]
) -> None:
    model = network("potential", "dipole")
    graph = samples[0].graph.to("cpu", torch.float64)
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    phi = torch.tensor([4.1], dtype=torch.float64)
    with torch.no_grad():
        n = (model.conjugate(graph, model.describe(graph, phi), phi) * weights).sum(1)
    found = potential_at(model, graph, n, torch.tensor([5.0], dtype=torch.float64), weights)
    assert float(found) == pytest.approx(4.1, abs=1e-6)


def test_an_inversion_that_fails_gives_nan_and_says_so(
    network: Callable[[str, str], PEMACEModel], samples: list[Sample],
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    model = network("potential", "dipole")
    graph = samples[0].graph.to("cpu", torch.float64)
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    far = torch.tensor([1e6], dtype=torch.float64)  # steps are 0.5 V at most
    with caplog.at_level(logging.WARNING):
        found = potential_at(model, graph, far, torch.tensor([5.0]).double(), weights)
    assert math.isnan(float(found))
    assert "no potential found" in caplog.text


def test_samples_without_electrode_labels_are_judged_by_their_forces(
    model: PEMACEModel, samples: list[Sample]
) -> None:
    nan = torch.full((1,), torch.nan)
    bare = replace(samples[0], electrons=nan, potential=nan, forces=samples[0].forces[:1],
                   energy=nan.double(), grand_energy=nan.double())  # fmt: skip
    found = evaluate_sample(model, bare)
    assert found.potential == found.energy == found.response == []
    assert np.isfinite(found.forces[0][1]).all()


def test_judging_leaves_the_sample_alone(model: PEMACEModel, samples: list[Sample]) -> None:
    positions, layout = samples[1].graph.positions, samples[1].graph.layout
    evaluate_sample(model, samples[1])
    assert samples[1].graph.positions is positions
    assert not positions.requires_grad
    assert samples[1].graph.layout is layout
