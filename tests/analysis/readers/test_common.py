"""What holds for every reader: the same frames from a .traj, extended xyz and a list."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.geometry import get_distances
from MDAnalysis.analysis.base import AnalysisBase
from MDAnalysis.analysis.results import ResultsGroup
from MDAnalysis.lib.distances import distance_array
from MDAnalysis.transformations import translate

from voltase.analysis.cells import standardise_cell
from voltase.analysis.readers import load
from voltase.aseplugin.errors import InputError

KINDS = ("md.traj", "md.extxyz", "md.extxyz.gz", "list")
MakeFrames = Callable[..., list[Atoms]]
Store = Callable[[list[Atoms]], Any]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Puts frames where a reader finds them."""

    def put(frames: list[Atoms]) -> Any:
        if request.param == "list":
            return frames
        path = tmp_path / request.param
        ase.io.write(path, frames)
        return path

    return put


class Mean(AnalysisBase):
    """The excess electrons, third positions and times of the frames."""

    _analysis_algorithm_is_parallelizable = True

    @classmethod
    def get_supported_backends(cls) -> tuple[str, ...]:
        return ("serial", "multiprocessing")

    def __init__(self, universe: Any) -> None:
        super().__init__(universe.trajectory)
        self.universe = universe

    def _prepare(self) -> None:
        self.results.rows = []

    def _single_frame(self) -> None:
        ts = self._trajectory.ts
        z = self.universe.atoms.positions[:, 2].sum()
        self.results.rows.append([ts.data["excess_electrons"], z, ts.time, ts.data["charges"][0]])

    def _get_aggregator(self) -> ResultsGroup:
        return ResultsGroup(lookup={"rows": ResultsGroup.flatten_sequence})


def test_frames_come_back(make_frames: MakeFrames, store: Store, cell: np.ndarray) -> None:
    frames = make_frames(cell=cell)
    universe = load(store(frames))
    standard = standardise_cell(cell)
    assert universe.trajectory.n_frames == 5
    for ts, atoms in zip(universe.trajectory, frames, strict=True):
        data = ts.data
        turned = standard.turn(atoms.positions)
        assert np.abs(data["exact_positions"] - turned).max() < 1e-13
        assert ts.positions.dtype == np.float32
        assert np.allclose(ts.positions, turned, rtol=0, atol=1e-6)
        assert np.array_equal(data["cell"], standard.cell)
        assert np.allclose(ts.triclinic_dimensions, standard.cell, rtol=0, atol=2e-5)
        assert data["pbc"].tolist() == [True, True, False]
        assert data["excess_electrons"] == atoms.info["excess_electrons"]
        assert data["electrode_potential"] == atoms.info["electrode_potential"]
        assert data["potential_reference"] == "SHE"
        assert data["energy"] == atoms.calc.results["energy"]
        assert np.array_equal(data["charges"], atoms.calc.results["charges"])
        assert np.allclose(data["dipole"], standard.turn([1.0, -2.0, 0.5]))
        forces = standard.turn(atoms.get_forces()) * (units.mol / units.kJ)
        assert np.allclose(ts.forces, forces, rtol=1e-6)


def test_distances(make_frames: MakeFrames, store: Store, cell: np.ndarray) -> None:
    frames = make_frames(1, cell=cell)
    frames[0].pbc = True
    universe = load(store(frames))
    ts = universe.trajectory.ts
    exact = ts.data["exact_positions"]
    plain = np.linalg.norm(exact[:, None] - exact[None], axis=-1)
    assert np.abs(plain - frames[0].get_all_distances()).max() < 1e-12
    expected = frames[0].get_all_distances(mic=True)
    _, nearest = get_distances(exact, cell=ts.data["cell"], pbc=True)
    assert np.abs(nearest - expected).max() < 1e-12
    single = distance_array(universe.atoms, universe.atoms, box=universe.dimensions)
    assert np.abs(single - expected).max() < 2e-5


def test_velocities_are_in_angstrom_per_picosecond(make_frames: MakeFrames, store: Store) -> None:
    frames = make_frames(2)
    # One angstrom in a femtosecond.
    frames[0].set_velocities(np.full((6, 3), 1.0 / units.fs))
    ts = load(store(frames)).trajectory.ts
    assert np.allclose(ts.data["exact_velocities"], 1000.0, rtol=1e-7)
    assert np.allclose(ts.velocities, 1000.0, rtol=1e-6)


def test_velocities_turn_with_the_cell(make_frames: MakeFrames, store: Store) -> None:
    cell = np.array([[0.0, 8.0, 0.0], [-7.0, 0.0, 0.0], [0.0, 0.0, 20.0]])
    frames = make_frames(1, cell=cell)
    ts = load(store(frames)).trajectory.ts
    x, y, z = (frames[0].get_velocities() * 1000.0 * units.fs).T
    assert np.allclose(ts.data["exact_velocities"], np.array([y, -x, z]).T)


def test_time_of_the_frames(make_frames: MakeFrames, store: Store) -> None:
    trajectory = load(store(make_frames()), dt=7.0).trajectory
    assert trajectory.dt == pytest.approx(0.0025)
    assert [ts.time for ts in trajectory] == pytest.approx([0.05 + 0.0025 * i for i in range(5)])
    assert trajectory[0].data["time_known"] is True


@pytest.mark.parametrize(("dt", "known"), [(None, False), (0.25, True)])
def test_time_otherwise(
    make_frames: MakeFrames, store: Store, dt: float | None, known: bool
) -> None:
    trajectory = load(store(make_frames(timed=False)), dt=dt).trajectory
    assert trajectory.dt == (dt or 1.0)
    assert trajectory[3].time == 3 * (dt or 1.0)
    assert trajectory.ts.data["time_known"] is known


def test_topology(make_frames: MakeFrames, store: Store) -> None:
    frames = make_frames(2)
    atoms = load(store(frames)).atoms
    symbols = frames[0].get_chemical_symbols()
    assert list(atoms.names) == list(atoms.types) == list(atoms.elements) == symbols
    assert np.array_equal(atoms.masses, frames[0].get_masses())
    assert atoms.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert atoms.residues.resids.tolist() == [1]
    assert len(atoms.select_atoms("element Pt")) == 3
    assert set(atoms.resnames) == set(atoms.segids) == {"SYSTEM"}


def test_access(make_frames: MakeFrames, store: Store) -> None:
    frames = make_frames(7)
    trajectory = load(store(frames)).trajectory

    def numbers(part: Any) -> list[float]:
        return [round(ts.data["excess_electrons"], 6) for ts in part]

    n = [round(atoms.info["excess_electrons"], 6) for atoms in frames]
    assert numbers(trajectory) == n
    assert numbers(trajectory[1:6:2]) == n[1:6:2]
    assert numbers(trajectory[::-1]) == n[::-1]
    assert numbers(trajectory[[4, 0, 4]]) == [n[4], n[0], n[4]]
    assert trajectory[-1].frame == 6
    with pytest.raises(IndexError):
        trajectory[7]
    with trajectory as opened:
        assert opened[2].frame == 2
    # MDAnalysis closes readers and uses them again.
    assert numbers(trajectory) == n
    assert trajectory.n_atoms == 6


def test_copies_are_independent(make_frames: MakeFrames, store: Store) -> None:
    universe = load(store(make_frames()))
    universe.trajectory[3]
    copy = universe.copy()
    assert copy.trajectory.ts.frame == 3
    copy.trajectory[1]
    assert universe.trajectory.ts.frame == 3


def test_entries_do_not_stay(make_frames: MakeFrames, store: Store) -> None:
    frames = make_frames(3)
    del frames[1].info["excess_electrons"]
    frames[1].calc = None
    del frames[1].arrays["momenta"]
    universe = load(store(frames))
    present = [("excess_electrons" in ts.data, "charges" in ts.data) for ts in universe.trajectory]
    assert present == [(True, True), (False, False), (True, True)]
    ts = universe.trajectory[1]
    assert not ts.has_forces
    if "exact_velocities" in ts.data:
        # ASE's .traj stores momenta once the first frame has them.
        assert not ts.data["exact_velocities"].any()


def test_info_cannot_replace_entries(make_frames: MakeFrames, store: Store) -> None:
    frames = make_frames(2, timed=False)
    for atoms in frames:
        atoms.info.update(dt=77.0, time=5.0, cell="x", time_known="no")
    ts = load(store(frames), dt=0.5).trajectory[1]
    assert (ts.time, ts.dt, ts.data["time_known"]) == (0.5, 0.5, True)
    assert ts.data["cell"].shape == (3, 3)


def test_initial_charges(make_frames: MakeFrames, store: Store) -> None:
    frames = make_frames(2)
    for atoms, charge in zip(frames, (0.0, 0.5), strict=True):
        atoms.calc = None
        atoms.set_initial_charges(np.full(6, charge))
    universe = load(store(frames))
    assert "charges" not in universe.trajectory[0].data
    assert universe.trajectory[1].data["charges"].tolist() == [0.5] * 6
    assert universe.trajectory.ts.data["arrays"]["initial_charges"].tolist() == [0.5] * 6


def test_pickles(make_frames: MakeFrames, store: Store) -> None:
    universe = load(store(make_frames()), dt=0.5)
    universe.trajectory[3]
    data = pickle.dumps(universe)
    assert len(data) < 100_000
    again = pickle.loads(data)
    assert again.trajectory.ts.frame == 3
    assert np.array_equal(again.atoms.positions, universe.atoms.positions)
    assert again.trajectory.ts.time == universe.trajectory.ts.time
    assert len(pickle.loads(pickle.dumps(universe.trajectory))) == 5


def test_transformations_are_pickled(make_frames: MakeFrames, store: Store) -> None:
    universe = load(store(make_frames()))
    universe.trajectory.add_transformations(translate([0, 0, 100.0]))
    again = pickle.loads(pickle.dumps(universe))
    again.trajectory[2]
    universe.trajectory[2]
    assert np.array_equal(again.atoms.positions, universe.atoms.positions)
    assert again.atoms.positions[:, 2].min() > 50.0


def test_parallel_equals_serial(make_frames: MakeFrames, store: Store) -> None:
    universe = load(store(make_frames(6)))
    serial = Mean(universe).run().results.rows
    parallel = Mean(universe).run(backend="multiprocessing", n_workers=2).results.rows
    assert len(serial) == 6
    assert np.array_equal(serial, parallel)


def test_missing_cell(make_frames: MakeFrames, store: Store) -> None:
    frames = make_frames(4)
    frames[2].cell = np.zeros((3, 3))
    source = store(frames)
    with pytest.raises(InputError, match=r"frame 2: found no cell, expected three"):
        for _ in load(source).trajectory:
            pass


def test_flat_cell(make_frames: MakeFrames, store: Store) -> None:
    frames = make_frames(2)
    for atoms in frames:
        atoms.cell[2] = 0.0
    with pytest.raises(InputError, match=r"frame 0: found a third lattice vector of length 0"):
        load(store(frames))


def test_other_atoms(make_frames: MakeFrames, store: Store) -> None:
    frames = make_frames(4)
    frames[2].calc = None
    del frames[2][5]
    with pytest.raises(InputError, match=r"frame 2: found 5 atoms, expected 6 as in frame 0"):
        load(store(frames))
    frames = make_frames(4)
    frames[1].symbols[1] = "Cu"
    with pytest.raises(InputError, match=r"frame 1: found Cu as atom 1, expected Pt as in frame"):
        load(store(frames))


def test_bad_frames_are_left_out(
    make_frames: MakeFrames, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    frames = make_frames(8, timed=False)
    frames[0].cell = np.zeros((3, 3))
    frames[2].calc = None
    del frames[2][5]
    frames[3].symbols[0] = "Cu"
    frames[6].cell = np.zeros((3, 3))
    universe = load(store(frames), skip_bad=True, dt=0.5)
    assert "4 of 8 frames left out" in caplog.text
    assert universe.trajectory.n_skipped == 4
    n = [ts.data["excess_electrons"] for ts in universe.trajectory]
    assert n == pytest.approx([frames[i].info["excess_electrons"] for i in (1, 4, 5, 7)])
    # The frames left out have taken their time.
    assert [ts.time for ts in universe.trajectory] == [0.5, 2.0, 2.5, 3.5]
    caplog.clear()
    assert pickle.loads(pickle.dumps(universe)).trajectory.n_frames == 4
    assert not caplog.records


def test_no_frame_is_left(make_frames: MakeFrames, store: Store) -> None:
    frames = make_frames(2)
    for atoms in frames:
        atoms.cell = np.zeros((3, 3))
    with pytest.raises(InputError, match="found no frame that can be used, 2 left out"):
        load(store(frames), skip_bad=True)


def test_positions_that_are_not_numbers(make_frames: MakeFrames, store: Store) -> None:
    frames = make_frames(3)
    frames[1].positions[4, 1] = np.nan
    universe = load(store(frames))
    with pytest.raises(InputError, match=r"frame 1: found position .*nan.* of atom 4"):
        universe.trajectory[1]


@pytest.mark.parametrize("dt", [0.0, -1.0, float("nan")])
def test_dt_is_a_time(make_frames: MakeFrames, store: Store, dt: float) -> None:
    with pytest.raises(InputError, match="dt: found"):
        load(store(make_frames(2)), dt=dt)


def test_messages_are_one_line(make_frames: MakeFrames, store: Store) -> None:
    frames = make_frames(2)
    frames[1].symbols[1] = "Cu"
    with pytest.raises(InputError) as error:
        load(store(frames))
    assert "\n" not in str(error.value)
