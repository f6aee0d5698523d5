"""Processes: results in order, and nothing left behind when something goes wrong."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from voltase.analysis.backends import map_in_processes
from voltase.analysis.readers import load
from voltase.aseplugin.errors import InputError

ENDLESS = r"""
import os, time
from voltase.analysis.backends import map_in_processes

def work(job):
    os.write(1, f"{os.getpid()}\n".encode())  # at once, whatever others write
    time.sleep(600.0)

list(map_in_processes(work, [1, 2], 2))
"""


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_results_come_in_the_order_of_the_jobs() -> None:
    assert list(map_in_processes(abs, range(-9, 0), 3)) == list(range(9, 0, -1))


def test_a_killed_process_is_said() -> None:
    with pytest.raises(InputError, match="^workers: one of 2 processes was killed, expected all"):
        list(map_in_processes(os._exit, range(8), 2))


def test_what_a_process_raises_arrives_and_the_others_end() -> None:
    before = set(multiprocessing.active_children())
    with pytest.raises(InputError, match="^missing0.traj: found no such file"):
        list(map_in_processes(load, [f"missing{k}.traj" for k in range(8)], 2))
    for process in set(multiprocessing.active_children()) - before:
        process.join(5.0)
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_one_they_work_for(how: signal.Signals) -> None:
    main = subprocess.Popen([sys.executable, "-c", ENDLESS], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL)  # fmt: skip
    assert main.stdout is not None
    pids = [int(main.stdout.readline()) for _ in range(2)]
    assert all(map(_is_running, pids))
    main.send_signal(how)
    main.wait(10.0)
    main.stdout.close()
    deadline = time.monotonic() + 10.0
    while any(map(_is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(_is_running, pids))
