"""Kill -9 at moments nobody chose: log, trajectory and checkpoint are those of an unbroken run."""

import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import pytest

SCRIPT = Path(__file__).with_name("killed_run.py")
# Beyond 1764 frames, where ASE's table of offsets grows for the third time.
LAST_STEP = 1850
FILES = ("md.csv", "md.traj", "run.ckpt")


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(folder), str(LAST_STEP)])


def kill_while_running(folder: Path, delay: float) -> bool:
    """Kill the run some time after it has begun to write; whether it was still going."""
    log = folder / "md.csv"
    before = log.stat().st_mtime_ns if log.exists() else None
    process = start(folder)
    try:
        while process.poll() is None:
            if log.exists() and log.stat().st_mtime_ns != before:
                break
            time.sleep(0.001)
        time.sleep(delay)
    finally:
        process.kill()
        process.wait()
    return process.returncode == -signal.SIGKILL


def digests(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_kill_and_restart(tmp_path: Path, seed: int) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    reference = start(whole)
    rng = random.Random(seed)
    kills = sum(kill_while_running(killed, rng.uniform(0.0, 0.25)) for _ in range(3))
    assert kills >= 2
    assert start(killed).wait() == 0
    assert reference.wait() == 0
    assert digests(killed) == digests(whole)
    frames = ase.io.read(killed / "md.traj", ":")
    assert len(frames) == LAST_STEP + 1
