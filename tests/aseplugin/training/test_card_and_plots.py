"""Text of the card and plots, from made-up numbers."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.training.card import check_free_entries, render_card
from voltase.aseplugin.training.metrics import Evaluation, SampleErrors
from voltase.aseplugin.training.plots import plot_learning_curve, plot_parity


def card(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "format": 1, "kind": "pe-mace", "sha256": "ab" * 32, "name": "pt", "created": "2026-01-02",
        "config": {"embedding": "electrons", "coupling": "dipole", "n_members": 3,
                   "domains": ["cp2k", "gpaw"]},
        "default_domain": "cp2k", "reference": "absolute", "elements": ["H", "O", "Pt"],
        "potential_range": [2.0, 6.25], "electrons_per_area_range": [-0.001, 0.003],
        "data": {
            "files": [{"name": "a.extxyz", "sha256": "cd" * 32}],
            "frames": {"field": 10, "sjm": 4},
            "ranges": {"cp2k": {"potential": [2.0, 6.0], "electrons_per_area": [0.0, 0.001]},
                       "gpaw": {"potential": None, "electrons_per_area": [-0.001, 0.003]}},
            "split": {"seed": 3, "geometries": {"train": 5, "valid": 1, "test": 2},
                      "test_snapshots": [f"s{i}" for i in range(20)], "valid_snapshots": []},
        },
        "errors": {"test": {"field": {"frames": 4, "force_rmse_meV_A": 80.25,
                                      "potential_mae_V": 0.1234},
                            "sjm": {"frames": 2, "force_rmse_meV_A": 90.0}}},
        "training": {"epochs_done": 4, "steps": 100, "hours": 1.5, "processes": 2, "device": "cpu",
                     "learning_rate": 5e-3, "ema_decay": 0.99, "seed": 0, "init": None},
        "versions": {"torch": "2.6"},
    }  # fmt: skip
    return {**base, **changes}


def test_the_text_has_every_part() -> None:
    text = render_card(card(description="A model.", doi="10.1/x", note={"a": 1}))
    for part in ("# pt", "A model.", "- doi: 10.1/x", "3 committee members", "`cp2k`, `gpaw`",
                 "| all | 2.00 to 6.25 | -0.00100 to +0.00300 |",
                 "| gpaw | not labelled | -0.00100 to +0.00300 |",
                 "| field | 4 | 80.2 | 0.123 |", "| sjm | 2 | 90.0 |  |", "and 8 more",
                 "2 processes on cpu", "- torch: 2.6", '- note: {"a": 1}'):  # fmt: skip
        assert part in text, part
    assert text.endswith("\n")
    assert "None" not in text


def test_a_model_without_a_test_set_says_so() -> None:
    assert "Not measured: no snapshot was held out." in render_card(card(errors={"test": {}}))


def test_free_entries() -> None:
    check_free_entries({"doi": "x", "default_domain": "a"}, ["a"])
    with pytest.raises(InputError, match="'errors'"):
        check_free_entries({"errors": 0}, ["a"])


def records(count: int) -> list[dict[str, Any]]:
    out = []
    for epoch in range(1, count + 1):
        record = {"epoch": epoch, "loss": {"forces": 1 / epoch, "conjugate": 0.1}}
        if epoch % 2 == 0:
            record["valid"] = {"a": {"force_rmse_meV_A": 100.0, "potential_mae_V": 0.3},
                               "b": {"force_rmse_meV_A": 80.0, "response_error": 0.5}}  # fmt: skip
        out.append(record)
    return out


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_learning_curve_is_drawn_for_any_length(tmp_path: Path, count: int) -> None:
    path = tmp_path / "new" / "curve.png"
    plot_learning_curve(records(count), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in path.parent.iterdir()] == ["curve.png"]


def test_parity_is_drawn_with_and_without_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    species = np.array([0, 0, 1])

    def pairs(number: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(rng.normal(size=(3, 3)), rng.normal(size=(3, 3))) for _ in range(number)]

    full = SampleErrors("a", species, pairs(2), [(4.0, 4.1), (4.5, math.nan)], [(1.0, 1.1)])
    bare = SampleErrors("b", species, pairs(1))
    for name, chosen in (("full", [full, bare]), ("bare", [bare])):
        plot_parity(Evaluation(["H", "O", "Pt"], chosen), tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
