"""Folders, commands and what a run leaves for the next, whatever the code."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from voltase.aseplugin.engines import make_engine
from voltase.aseplugin.engines.base import Capabilities, ElectronicState
from voltase.aseplugin.engines.files import FileEngine, run_command, write_text
from voltase.aseplugin.engines.vacuum_level import check_slab, vacuum_level
from voltase.aseplugin.errors import EngineError, InputError


class Toy(FileEngine):
    """A code whose shell script writes what it is told to."""

    code = "Toy"
    input_name = "toy.in"
    output_name = "toy.out"
    results_names = ("result-*",)
    restarted: bool

    def __init__(self, excess_electrons: float = 0.0, *, spacing: Any = 0.1, **options: Any):
        self.spacing = spacing
        super().__init__(excess_electrons, **options)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(potential_reference=None)

    @property
    def settings(self) -> dict[str, Any]:
        return {"spacing": self.spacing}

    def version(self) -> str:
        return "1"

    def configured_command(self) -> str:
        return "echo energy = -1.5; touch waves #"

    def arguments(self) -> str:
        return self.input_name

    def check_request(self, atoms: Atoms, n: float) -> None:
        pass

    def write_input(self, atoms: Atoms, n: float, restart: bool) -> None:
        self.restarted = restart
        write_text(self.run_directory / self.input_name, f"{n}\n")

    def restart_files(self) -> list[Path]:
        return [self.run_directory / "waves"]

    def not_converged(self, output: str) -> bool:
        return "not converged" in output

    def message(self, output: str) -> str:
        return ""

    def read_output(self, atoms: Atoms, n: float, output: str) -> ElectronicState:
        found = re.findall(r"energy = (\S+)", output)
        return ElectronicState(float(found[0]), np.zeros((len(atoms), 3)), None)


@pytest.fixture
def atoms() -> Atoms:
    return Atoms("H2", [[0, 0, 0], [0, 0, 0.8]], cell=[4, 4, 4], pbc=True)


def test_next_point_starts_from_the_last(tmp_path: Path, atoms: Atoms) -> None:
    engine = Toy(directory=tmp_path)
    engine.get_property("energy", atoms)
    assert not engine.restarted
    atoms.positions[0, 0] += 0.1
    engine.get_property("energy", atoms)
    assert engine.restarted
    # So does another process, if the settings are the same, in whatever type they come.
    again = Toy(directory=tmp_path, spacing=np.float64(0.1))
    again.get_property("energy", atoms)
    assert again.restarted


@pytest.mark.parametrize("change", ["settings", "cell", "elements", "no waves", "stored text"])
def test_another_system_starts_afresh(tmp_path: Path, atoms: Atoms, change: str) -> None:
    engine = Toy(directory=tmp_path)
    engine.get_property("energy", atoms)
    if change == "settings":
        engine = Toy(directory=tmp_path, spacing=0.2)
    elif change == "cell":
        atoms.cell[0, 0] = 5
    elif change == "elements":
        atoms.symbols[0] = "He"
    elif change == "no waves":
        (tmp_path / "waves").unlink()
    else:
        (tmp_path / "voltase.json").write_text("{")
    engine.reset()
    engine.get_property("energy", atoms)
    assert not engine.restarted


def test_failure_leaves_nothing_to_start_from(tmp_path: Path, atoms: Atoms) -> None:
    Toy(directory=tmp_path).get_property("energy", atoms)
    (tmp_path / "result-1").touch()
    failing = Toy(directory=tmp_path, command="echo nothing #")
    with pytest.raises(EngineError, match="Toy: cannot read its output .*IndexError"):
        failing.get_property("energy", atoms)
    assert not (tmp_path / "result-1").exists()
    engine = Toy(directory=tmp_path)
    engine.get_property("energy", atoms)
    assert not engine.restarted


@pytest.mark.parametrize("failure", ["echo not converged", "exit 3"])
def test_failed_start_is_repeated_from_none(
    tmp_path: Path, atoms: Atoms, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    Toy(directory=tmp_path).get_property("energy", atoms)
    # Fails the first time.
    command = f"test -e failed && echo energy = -1.5 && exit; touch failed; {failure} #"
    engine = Toy(directory=tmp_path, command=command)
    assert engine.get_property("energy", atoms) == -1.5
    assert not engine.restarted
    assert "again without the last wave functions" in caplog.text
    # A start from none is not repeated.
    (tmp_path / "voltase.json").unlink()
    (tmp_path / "failed").unlink()
    engine.reset()
    with pytest.raises(EngineError, match="did not converge|status 3"):
        engine.get_property("energy", atoms)


def test_message_of_the_command(tmp_path: Path, atoms: Atoms) -> None:
    command = "echo first >&2; echo the   last line >&2; exit 4 #"
    with pytest.raises(EngineError, match=r"Toy: stopped with status 4 \(the last line\), see"):
        Toy(directory=tmp_path, command=command).get_property("energy", atoms)
    with pytest.raises(EngineError, match="command: cannot run 'no-such-toy' .*not found"):
        Toy(directory=tmp_path, command="no-such-toy").get_property("energy", atoms)


def test_time_limit_stops_all_it_started(tmp_path: Path, atoms: Atoms) -> None:
    command = "sleep 60 & echo $! > child; wait #"
    engine = Toy(directory=tmp_path, command=command, timeout=0.5)
    start = time.monotonic()
    with pytest.raises(EngineError, match="timeout: .* still running after 0.5 s"):
        engine.get_property("energy", atoms)
    assert time.monotonic() - start < 10
    child = int((tmp_path / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    deadline = time.monotonic() + 5
    while state.exists() and state.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_folder_serves_one_at_a_time(tmp_path: Path, atoms: Atoms,
                                     caplog: pytest.LogCaptureFixture) -> None:  # fmt: skip
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys, time\n"
            "f = open(sys.argv[1], 'w')\n"
            "fcntl.flock(f, fcntl.LOCK_EX)\n"
            "print('held', flush=True)\n"
            "time.sleep(0.5)\n",
            str(tmp_path / "voltase.lock"),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    with holder.stdout:
        holder.stdout.readline()
        engine = Toy(directory=tmp_path)
        assert engine.get_property("energy", atoms) == -1.5
    assert holder.wait() == 0
    assert "waiting for" in caplog.text


def test_interrupt_stops_the_code(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from voltase.aseplugin.engines.files import run_command;"
        f"run_command('echo $$ > pid; exec sleep 60', Path({str(tmp_path)!r}), 'out')"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    path = tmp_path / "pid"
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(path.read_text()), 0)


@pytest.mark.parametrize("options", [{"command": " "}, {"timeout": 0.0}, {"timeout": -1.0}])
def test_refused_options(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="found"):
        Toy(directory=tmp_path, **options)


def test_output_need_not_be_text(tmp_path: Path) -> None:
    status, _ = run_command(r"printf '\377\n'", tmp_path, "out")
    assert status == 0
    assert (tmp_path / "out").read_bytes() == b"\xff\n"


def test_state_is_plain(tmp_path: Path, atoms: Atoms) -> None:
    Toy(directory=tmp_path, spacing=(1, Path("a"))).get_property("energy", atoms)
    stored = json.loads((tmp_path / "voltase.json").read_text())
    assert stored["settings"] == {"spacing": [1, "a"]}


@pytest.mark.parametrize("name", ["nwchem", "", 3])
def test_unknown_engine(name: Any) -> None:
    with pytest.raises(InputError, match="engine: found .*cp2k, espresso, gpaw, vasp"):
        make_engine(name)


def test_unknown_setting() -> None:
    with pytest.raises(InputError, match="engine CP2K: .*spacing"):
        make_engine("CP2K", spacing=0.2)
    with pytest.raises(InputError, match="engine espresso: .*pseudopotentials"):
        make_engine("espresso", input_data={})


SLAB = Atoms("Cu2", [[0, 0, 2.0], [0, 0, 4.0]], cell=[2.5, 2.5, 20.0], pbc=True)


def profile(above: float, below: float, slope: float = 0.0) -> Any:
    z = np.arange(100) * 0.2
    values = np.where((z > 3.9) & (z < 13.0), above + slope * z, below)
    return np.broadcast_to(values, (2, 2, 100))


def test_vacuum_level_is_the_one_above() -> None:
    assert vacuum_level(profile(4.0, 3.0), SLAB) == pytest.approx(4.0)
    # Wherever the slab lies in its cell.
    moved = SLAB.copy()
    moved.positions[:, 2] += 13.0
    shifted = np.roll(profile(4.0, 3.0), 65, axis=2)
    assert vacuum_level(shifted, moved) == pytest.approx(4.0)


def test_no_flat_vacuum() -> None:
    with pytest.raises(EngineError, match="the potential varies by 0.180 eV"):
        vacuum_level(profile(4.0, 3.0, slope=0.1), SLAB)
    thick = SLAB.copy()
    thick.cell[2, 2] = 11.0
    with pytest.raises(EngineError, match="found 9.0 A of vacuum"):
        check_slab(thick)
