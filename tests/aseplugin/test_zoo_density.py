"""The bundled density models: what their cards promise, and a density of the bundled interface."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voltase.aseplugin import ElectronDensity, read_interface
from voltase.aseplugin.errors import ExtrapolationError
from voltase.aseplugin.models.checkpoint import ZOO, read_card, zoo_models
from voltase.aseplugin.models.density.checkpoint import KIND

MODELS = zoo_models(KIND)


def test_there_is_a_model() -> None:
    assert "pt111-water-edp" in MODELS


@pytest.mark.parametrize("name", MODELS)
def test_the_card_is_complete_and_the_files_are_small(name: str) -> None:
    card: dict[str, Any] = read_card(ZOO / name, KIND)
    for key in ("source", "selection", "licence", "method", "do_not_use_for", "elements",
                "potential_range", "electrons_per_area_range", "sha256"):  # fmt: skip
        assert card[key], key
    for key in ("nmae_percent", "difference_nmae_percent", "planar_error_percent"):
        assert card["errors"]["test"][key] > 0.0
    assert card["errors"]["test"]["largest_electrons_error"] < 1e-6
    text = (ZOO / name / "README.md").read_text()
    assert f"# {name}" in text
    assert " ".join(card["selection"].split()) in text
    assert sum(path.stat().st_size for path in Path(ZOO / name).iterdir()) < 10e6


def test_a_density_of_the_bundled_interface() -> None:
    atoms = read_interface("pt111-water")
    model = ElectronDensity("pt111-water-edp")
    grids = [model.predict(atoms, potential=u, spacing=0.4) for u in (-0.2, 0.2)]
    neutral = sum({"H": 1, "O": 6, "Pt": 10}[symbol] for symbol in atoms.get_chemical_symbols())
    for grid in grids:
        assert grid.integral() == pytest.approx(neutral + grid.state.excess_electrons, abs=1e-6)
    n = [grid.state.excess_electrons for grid in grids]
    assert n[0] > n[1]
    # The charge goes to the wetted face, not into the slab or below it.
    z = grids[0].heights() + grids[0].origin[2]
    change = grids[0].planar_average() - grids[1].planar_average()
    metal = atoms.positions[atoms.numbers == 78, 2]
    inside = z < metal.max() - 4.5
    assert np.abs(change[inside]).sum() < 0.05 * np.abs(change).sum()
    for beyond in ({"potential": 3.0}, {"excess_electrons": 4.0}):
        with pytest.raises(ExtrapolationError, match="as in training"):
            model.predict(atoms, **beyond)
