"""Broken molecules are counted, and said."""

import logging
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from voltase.analysis.testing import film
from voltase.cli.md_molecules import compare_molecules, count_molecules


@pytest.fixture
def atoms() -> Atoms:
    return film(np.random.default_rng(2), 6)


def test_whole_molecules_are_no_news(
    atoms: Atoms, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "md.traj", atoms)
    found = compare_molecules(tmp_path / "md.traj", atoms)
    assert found is not None
    assert found["first"] == found["last"] == {"H2O": 6, "OH": 0, "H3O": 0, "O": 0, "H": 0}
    assert not caplog.records


def test_a_proton_that_has_left_is_said(
    atoms: Atoms, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "md.traj", atoms)
    last = atoms.copy()
    last.positions[-1, 2] += 6.0
    with caplog.at_level(logging.WARNING):
        found = compare_molecules(tmp_path / "md.traj", last)
    assert found is not None
    assert found["last"]["H2O"] == 5
    assert caplog.messages[0].startswith("molecules: 6 H2O at the start, now 5 H2O, 1 OH")


def test_without_a_slab_or_a_start_there_is_no_answer(atoms: Atoms, tmp_path: Path) -> None:
    assert compare_molecules(tmp_path / "absent.traj", atoms) is None
    assert count_molecules(atoms[atoms.numbers != 78]) == {}
