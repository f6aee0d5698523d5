"""Labels in the process, from an analytic electrode."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from voltase.aseplugin.active_learning.labelling import EngineLabeller, at_offsets
from voltase.aseplugin.active_learning.progress import Stopped
from voltase.aseplugin.training.synthetic import PointChargeElectrode


def candidates(start: Atoms) -> list[Atoms]:
    out = []
    for number, electrons in enumerate((0.01, -0.02)):
        atoms = start.copy()
        atoms.rattle(0.05, seed=number)
        atoms.info = {"source": f"round-000-md-000-step-{number}", "excess_electrons": electrons}
        out.append(atoms)
    return out


def test_offsets_make_pairs_of_one_geometry(start: Atoms) -> None:
    frames = at_offsets(candidates(start), [0.05])
    numbers = [atoms.info["excess_electrons"] for atoms in frames]
    np.testing.assert_allclose(numbers, [0.01, 0.06, -0.02, 0.03], atol=1e-12)
    assert frames[0].info["source"] == frames[1].info["source"]
    np.testing.assert_array_equal(frames[0].positions, frames[1].positions)


def test_labels_are_those_of_the_engine(
    tmp_path: Path, start: Atoms, labeller: EngineLabeller
) -> None:
    asked = at_offsets(candidates(start), [0.05])
    seen: list[tuple[int, int]] = []
    labels = labeller.label(asked, tmp_path, lambda *counts: seen.append(counts), lambda: False)
    assert len(labels) == 4
    assert seen[-1] == (4, 4)
    exact = PointChargeElectrode()
    for atoms in labels:
        exact.excess_electrons = atoms.info["excess_electrons"]
        exact.calculate(atoms)
        assert atoms.info["REF_energy"] == pytest.approx(exact.results["energy"], abs=1e-6)
        phi = exact.results["electrode_potential"]
        assert atoms.info["electrode_potential"] == pytest.approx(phi, abs=1e-6)
        np.testing.assert_allclose(atoms.arrays["REF_forces"], exact.results["forces"], atol=1e-6)
        assert atoms.info["config_type"] == "active-learning"
        assert str(atoms.info["source"]).startswith("round-000-md-000-step-")
    assert len({atoms.info["geometry"] for atoms in labels}) == 2


def test_asked_to_stop(tmp_path: Path, start: Atoms, labeller: EngineLabeller) -> None:
    with pytest.raises(Stopped):
        labeller.label(candidates(start), tmp_path, lambda *_: None, lambda: True)
