"""The reader of Atoms in memory."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import MDAnalysis as mda
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

from voltase.analysis.readers import AtomsList, AtomsListReader, load
from voltase.aseplugin.errors import InputError

MakeFrames = Callable[..., list[Atoms]]


def test_universe_takes_the_wrapped_list(make_frames: MakeFrames) -> None:
    frames = make_frames(3)
    universe = mda.Universe(AtomsList(frames))
    assert isinstance(universe.trajectory, AtomsListReader)
    assert universe.trajectory.n_frames == 3
    assert "3 frames" in repr(AtomsList(frames))


def test_frames_are_copies(make_frames: MakeFrames) -> None:
    frames = make_frames(2)
    universe = load(frames)
    before = universe.trajectory[1].data["exact_positions"].copy()
    frames[1].positions += 1.0
    universe.trajectory[0].data["exact_positions"] += 1.0
    assert np.array_equal(universe.trajectory[1].data["exact_positions"], before)
    universe.trajectory[1].data["exact_positions"] += 1.0
    assert np.array_equal(universe.trajectory[1].data["exact_positions"], before)


def test_pickle_carries_the_frames_but_no_calculator(make_frames: MakeFrames) -> None:
    class Unpicklable(EMT):
        def __reduce__(self) -> str:
            raise TypeError("not this one")

    frames = make_frames(2)
    for atoms in frames:
        atoms.calc = Unpicklable()
    universe = pickle.loads(pickle.dumps(load(frames)))
    assert np.array_equal(universe.trajectory[1].data["exact_positions"], frames[1].positions)


def test_outdated_results_are_not_used(make_frames: MakeFrames) -> None:
    frames = make_frames(2)
    frames[1].positions += 0.1
    universe = load(frames)
    assert ["charges" in ts.data for ts in universe.trajectory] == [True, False]


def test_arrays(make_frames: MakeFrames) -> None:
    frames = make_frames(1)
    frames[0].arrays["hirshfeld_charges"] = np.linspace(-0.5, 0.5, 6)
    frames[0].calc = None
    data = load(frames).trajectory.ts.data
    assert np.array_equal(data["charges"], np.linspace(-0.5, 0.5, 6))
    assert set(data["arrays"]) == {"hirshfeld_charges"}


def test_wrong_lists(make_frames: MakeFrames) -> None:
    with pytest.raises(InputError, match="list of Atoms: found no frame"):
        load([])
    with pytest.raises(InputError, match="found str at position 1, expected ASE Atoms"):
        load([make_frames(1)[0], "md.traj"])
