"""Runs on an analytic engine: labels, potentials, failures, growth, kills and other processes."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.io import read, write

from voltase.aseplugin.errors import EngineError, InputError
from voltase.aseplugin.labelling.checks import energy_slopes, rms_difference
from voltase.aseplugin.labelling.engine_spec import EngineSpec
from voltase.aseplugin.labelling.lock import RUN, RunLock
from voltase.aseplugin.labelling.run import label_structures
from voltase.aseplugin.labelling.schedule import Task
from voltase.aseplugin.training.config import DataConfig
from voltase.aseplugin.training.frames import read_frames

MakeTasks = Callable[..., list[Task]]
MakeSpec = Callable[..., EngineSpec]
ELECTRONS = (-0.1, 0.0, 0.1)


def calls(log: Path, word: str = "end") -> Counter[str]:
    """How often each point was begun or finished."""
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter(line.removeprefix(f"{word} ") for line in lines if line.startswith(word))


def test_labels_densities_and_training_agree(
    tmp_path: Path, make_tasks: MakeTasks, make_spec: MakeSpec
) -> None:
    seen: list[tuple[int, int, int]] = []
    report = label_structures(make_tasks(electrons=ELECTRONS), make_spec(), tmp_path / "out",
                              config_type="test", workers=0,
                              shown=lambda *n: seen.append(n))  # fmt: skip
    assert (report.asked, report.found, report.made, report.failed) == (6, 0, 6, 0)
    assert seen == [(k, 6, 0) for k in range(7)]
    frames = read(tmp_path / "out" / "labels.extxyz", ":")
    assert [frame.info["source"] for frame in frames] == [
        f"s-{k}_n{n}" for k in (0, 1) for n in ("-0.1", "+0", "+0.1")
    ]
    for frame in frames:
        info = frame.info
        n, phi = info["excess_electrons"], info["electrode_potential"]
        assert info["grand_energy"] == pytest.approx(info["REF_energy"] + n * phi, abs=1e-12)
        assert info["code"] == "Capacitor 1.0"
        np.testing.assert_allclose(frame.arrays["mulliken_charges"].sum(), -n, atol=1e-7)
    # Wave functions go from point to point: only the first of a structure is cold.
    assert [frame.info["scf_iterations"] for frame in frames[:3]] == [3, 9, 3]
    assert len({frame.info["geometry"] for frame in frames}) == 2
    # The energies are quadratic in n, so that the check is exact.
    slopes = energy_slopes(report.labels)
    assert len(slopes) == 4
    assert rms_difference(slopes) == pytest.approx(0.0, abs=1e-12)

    trained = read_frames(DataConfig(files=[str(tmp_path / "out" / "labels.extxyz")]))
    assert [frame.snapshot for frame in trained] == [f"test/{f.info['geometry']}" for f in frames]
    assert trained[0].grand_energy == pytest.approx(frames[0].info["grand_energy"], abs=1e-12)

    with h5py.File(tmp_path / "out" / "densities.h5") as file:
        assert set(file) == {frame.info["source"] for frame in frames}
        for frame in frames:
            group = file[frame.info["source"]]
            assert group["density"].dtype == np.float32
            n = group.attrs["excess_electrons"]
            element = abs(np.linalg.det(group["cell"][:])) / group["density"].size
            assert group["density"][:].sum() * element == pytest.approx(10.0 + n, rel=1e-5)
            assert group.attrs["electrode_potential"] == frame.info["electrode_potential"]
            assert group.attrs["geometry"] == frame.info["geometry"]
            assert group["electrostatic_potential_planar"].shape == (16,)


def test_potentials_are_solved_for_and_every_point_is_a_label(
    tmp_path: Path, make_tasks: MakeTasks, make_spec: MakeSpec, log: Path
) -> None:
    tasks = make_tasks(1, potentials=(4.2, 4.6, 5.0))
    report = label_structures(tasks, make_spec(), tmp_path / "out", tolerance=1e-3, workers=0)
    assert (report.made, report.failed) == (3, 0)
    potentials = [point.potential for point in report.labels if point.potential is not None]
    for target in (4.2, 4.6, 5.0):
        assert min(abs(phi - target) for phi in potentials) < 1e-3
    # A linear Phi(n) costs the point at n = 0, one to measure the slope, and one each.
    assert len(report.labels) == sum(calls(log).values()) <= 5
    again = label_structures(tasks, make_spec(), tmp_path / "out", tolerance=1e-3, workers=0)
    assert (again.found, again.made) == (3, 0)
    assert sum(calls(log).values()) == len(report.labels)


def test_failures_are_listed_skipped_and_retried(
    tmp_path: Path, make_tasks: MakeTasks, make_spec: MakeSpec, log: Path
) -> None:
    out = tmp_path / "out"
    tasks = make_tasks(1, electrons=ELECTRONS, potentials=(5.1,))
    # 5.1 V is near n = -0.1 e, where the search ends.
    broken = make_spec(diverges_at=[0.1], raises_at=[-0.1], diverges_warm_at=[0.0])
    report = label_structures(tasks, broken, out, tolerance=0.5, workers=0)
    assert (report.made, report.failed) == (2, 2)
    reasons = {failure.key: failure.reason for failure in report.failures}
    assert reasons == {"n+0.1": "Capacitor: no convergence in 1 step",
                       "n-0.1": "ZeroDivisionError: a bug of the code"}  # fmt: skip
    table = (out / "failed.csv").read_text().splitlines()
    assert table[0] == "source,n,potential_V,reason"
    assert "s-0,0.1,,Capacitor: no convergence in 1 step" in table
    # What failed is left alone, unless it is to be tried again.
    before = calls(log, "begin")
    label_structures(tasks, make_spec(), out, tolerance=0.5, workers=0)
    assert calls(log, "begin") == before
    report = label_structures(tasks, make_spec(), out, tolerance=0.5, workers=0, retry_failed=True)
    assert (report.found, report.made, report.failed) == (2, 2, 0)
    assert not (out / "failed.csv").exists()


def test_a_cycle_that_fails_is_started_once_more_without_wave_functions(
    tmp_path: Path, make_tasks: MakeTasks, make_spec: MakeSpec, log: Path
) -> None:
    report = label_structures(make_tasks(1, electrons=ELECTRONS),
                              make_spec(diverges_warm_at=[0.1]), tmp_path / "out",
                              workers=0)  # fmt: skip
    assert (report.made, report.failed) == (3, 0)
    assert calls(log, "begin")["3 0.1"] == 2


def test_labels_grow_by_structures_and_points(
    tmp_path: Path, make_tasks: MakeTasks, make_spec: MakeSpec, log: Path
) -> None:
    out = tmp_path / "out"
    label_structures(make_tasks(1, electrons=[0.0]), make_spec(), out, workers=0)
    # Another structure comes first now, and under a name that is taken.
    first, second = make_tasks(2, electrons=ELECTRONS)
    tasks = [replace(second, name="s-0"), first]
    report = label_structures(tasks, make_spec(), out, workers=0)
    assert (report.asked, report.found, report.made) == (6, 1, 5)
    assert set(calls(log).values()) == {1}
    sources = {frame.info["source"] for frame in read(out / "labels.extxyz", ":")}
    assert sources == {f"{name}_n{n}" for name in ("s-0", "s-0-2") for n in ("-0.1", "+0", "+0.1")}


def test_labels_of_other_settings_are_refused(
    tmp_path: Path, make_tasks: MakeTasks, make_spec: MakeSpec
) -> None:
    out, tasks = tmp_path / "out", make_tasks(1, electrons=[0.0])
    label_structures(tasks, make_spec(), out, workers=0)
    before = (out / "labels.extxyz").read_bytes()
    with pytest.raises(InputError, match=r"engine_settings.capacitance = 0.2, found 0.3"):
        label_structures(tasks, make_spec(capacitance=0.3), out, workers=0)
    with pytest.raises(InputError, match=r"densities = True, found False"):
        label_structures(tasks, make_spec(), out, workers=0, densities=False)
    assert (out / "labels.extxyz").read_bytes() == before
    # How long a code takes is no setting of the labels.
    assert label_structures(tasks, make_spec(seconds=0.01), out, workers=0).found == 1


def test_what_an_engine_cannot_give_is_refused_at_once(
    tmp_path: Path, make_tasks: MakeTasks, make_spec: MakeSpec
) -> None:
    out = tmp_path / "out"
    spec = make_spec(reference=None, density=False)
    with pytest.raises(EngineError, match=r"^potential: Capacitor gives no electrode potential"):
        label_structures(make_tasks(potentials=[4.4]), spec, out, workers=0)
    with pytest.raises(EngineError, match=r"^densities: Capacitor gives none"):
        label_structures(make_tasks(electrons=[0.0]), spec, out, workers=0, densities=True)
    assert not out.exists()
    report = label_structures(make_tasks(1, electrons=[0.1]), spec, out, workers=0)
    assert report.densities == 0
    assert "electrode_potential" not in read(out / "labels.extxyz").info
    with pytest.raises(InputError, match=r"settings.directory: found 'x', expected none"):
        make_spec(directory="x")
    with pytest.raises(InputError, match="is no subclass of Engine"):
        EngineSpec("voltase.aseplugin.testing:CapacitorOscillators").make()


def test_a_folder_is_held_by_one_run_and_freed_by_a_dead_one(tmp_path: Path) -> None:
    with (
        RunLock(tmp_path),
        pytest.raises(InputError, match=r"^out: process \d+ on .* is labelling"),
    ):
        RunLock(tmp_path).__enter__()
    # Another process holds it, and is killed.
    code = (
        "import sys, time; from pathlib import Path; "
        "from voltase.aseplugin.labelling.lock import RunLock; "
        "lock = RunLock(Path(sys.argv[1])).__enter__(); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)],
                          stdout=subprocess.PIPE, text=True) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {other.pid} on "):
            RunLock(tmp_path).__enter__()
        other.kill()
        other.wait()
        assert (tmp_path / RUN).exists()
        with RunLock(tmp_path):
            pass
    assert not (tmp_path / RUN).exists()


def test_without_locks_the_process_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voltase.aseplugin.labelling.lock.take_lock", lambda handle: None)
    with RunLock(tmp_path), pytest.raises(InputError, match="if that has ended, delete"):
        RunLock(tmp_path).__enter__()
    record = tmp_path / RUN
    with RunLock(tmp_path):
        text = record.read_text()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    record.write_text(text.replace(f'"pid": {os.getpid()}', f'"pid": {dead.pid}'))
    with RunLock(tmp_path):
        pass
    record.write_text(text.replace('"host": "', '"host": "elsewhere-'))
    with pytest.raises(InputError, match="on elsewhere-"):
        RunLock(tmp_path).__enter__()


def test_a_stop_ends_after_the_point_and_goes_on_later(
    tmp_path: Path, make_tasks: MakeTasks, make_spec: MakeSpec, log: Path
) -> None:
    out, tasks = tmp_path / "out", make_tasks(electrons=ELECTRONS)
    report = label_structures(tasks, make_spec(), out, workers=0,
                              stop=lambda: sum(calls(log).values()) >= 4)  # fmt: skip
    assert report.interrupted
    assert (report.made, sum(calls(log).values())) == (4, 4)
    assert not (out / "labels.extxyz").exists()
    report = label_structures(tasks, make_spec(), out, workers=0)
    assert (report.found, report.made, set(calls(log).values())) == (4, 2, {1})


KILLED = """
import sys
from pathlib import Path
from voltase.aseplugin.labelling.engine_spec import EngineSpec
from voltase.aseplugin.labelling.run import label_structures
from voltase.aseplugin.labelling.schedule import Task
from voltase.aseplugin.labelling.structures import read_structures
out, log, file = sys.argv[1:]
tasks = [Task.of(structure, (-0.1, 0.0, 0.1)) for structure in read_structures([file])]
spec = EngineSpec("capacitor_engine:CapacitorEngine", {"log": log, "seconds": 0.3})
label_structures(tasks, spec, Path(out), workers=0)
"""


def test_kill_9_loses_one_point_at_most_and_repeats_none(
    tmp_path: Path, make_tasks: MakeTasks, make_spec: MakeSpec, log: Path
) -> None:
    out, spec = tmp_path / "out", make_spec()
    tasks, file = make_tasks(electrons=ELECTRONS), tmp_path / "s.traj"
    write(file, [task.atoms for task in tasks])
    command = [sys.executable, "-c", KILLED, str(out), str(log), str(file)]
    with subprocess.Popen(command) as process:
        # The fifth begins once the fourth is kept.
        while sum(calls(log, "begin").values()) < 5 and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None
        process.kill()
    assert sum(calls(log).values()) == 4
    report = label_structures(tasks, spec, out, workers=0)
    assert (report.found, report.made, report.failed) == (4, 2, 0)
    assert calls(log) == Counter({f"{atoms} {n:g}": 1 for atoms in (3, 4) for n in ELECTRONS})
    assert sum(calls(log, "begin").values()) == 6 + 1
    assert len(read(out / "labels.extxyz", ":")) == 6
    assert not list(out.rglob("*.partial"))


@pytest.mark.slow
def test_two_processes_and_a_point_that_kills_its_own(
    tmp_path: Path, make_tasks: MakeTasks, make_spec: MakeSpec, log: Path
) -> None:
    pytest.importorskip("distributed")
    tasks = make_tasks(3, electrons=ELECTRONS)
    report = label_structures(tasks, make_spec(dies_at=[0.1]), tmp_path / "out", workers=2)
    assert (report.made, report.failed) == (6, 3)
    assert {failure.key for failure in report.failures} == {"n+0.1"}
    assert all("the process died" in failure.reason for failure in report.failures)
    assert set(calls(log, "begin").values()) == {1}
    assert len(read(tmp_path / "out" / "labels.extxyz", ":")) == 6


@pytest.mark.gpaw
def test_gpaw(tmp_path: Path) -> None:
    """A hydrogen atom on a layer of aluminium, where Phi(n) is nearly linear."""
    pytest.importorskip("gpaw")
    from ase import Atoms

    from voltase.aseplugin.engines.gpaw_settings import place_in_cell
    from voltase.aseplugin.labelling.structures import Structure

    film = Atoms("AlH", [[0.0, 0.0, 0.0], [1.3, 1.1, 1.25]], cell=[2.86, 2.86, 1.0])
    film = place_in_cell(film, below=5.0, above=6.5)
    spec = EngineSpec("gpaw", {
        "kpts": [2, 2, 1], "basis": "sz(dzp)", "spacing": 0.25, "variational": True,
        "mixer": {"backend": "pulay", "beta": 0.2, "nmaxold": 5, "weight": 50},
        "convergence": {"energy": 1e-5, "density": 1e-4},
        "solvent": {"u0": 0.18}, "charges": ["hirshfeld_charges"],
    })  # fmt: skip
    tasks = [Task.of(Structure(film, "film-0", "film@0"), electrons=(0.03, 0.055))]
    report = label_structures(tasks, spec, tmp_path / "out", workers=0, keep_files=True)
    assert (report.made, report.failed) == (2, 0)
    (slope,) = energy_slopes(report.labels)
    assert slope.slope == pytest.approx(slope.potential, abs=0.03)
    frames = read(tmp_path / "out" / "labels.extxyz", ":")
    # The second point starts from the orbitals of the first.
    assert frames[1].info["scf_iterations"] < frames[0].info["scf_iterations"]
    assert np.abs(frames[0].arrays["hirshfeld_charges"]).max() > 0.01
    with h5py.File(tmp_path / "out" / "densities.h5") as file:
        group = file["film-0_n+0.03"]
        element = abs(np.linalg.det(group["cell"][:])) / group["density"].size
        assert group["density"][:].sum() * element == pytest.approx(4.03, abs=1e-3)
    assert (tmp_path / "out" / "scratch" / report.labels[0].geometry / "output.txt").is_file()
