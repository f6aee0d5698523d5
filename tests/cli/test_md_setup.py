"""How many threads a run takes, and how they wait."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from voltase.cli.md_settings import MDSettings
from voltase.cli.md_setup import FEWEST_FOR_THREADS, load_calculator


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("asked", "atoms", "expected"),
    [(None, FEWEST_FOR_THREADS - 1, 1), (None, FEWEST_FOR_THREADS, 2), (2, 10, 2), (1, 5000, 1)],
)
def test_small_systems_run_on_one_thread(
    model: Path, asked: int | None, atoms: int, expected: int
) -> None:
    settings = MDSettings(model=str(model), potential="-0.3V", threads=asked)
    _, settled = load_calculator(settings, atoms)
    assert torch.get_num_threads() == settled.threads == expected


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"),
                            ({"OMP_WAIT_POLICY": "active"}, "None")],
)  # fmt: skip
def test_idle_threads_do_not_spin_for_long_unless_asked(
    given: dict[str, str], expected: str
) -> None:
    code = "import os, voltase.cli; print(os.environ.get('GOMP_SPINCOUNT'))"
    said = subprocess.run([sys.executable, "-c", code], env=given, check=True, text=True,
                          capture_output=True).stdout  # fmt: skip
    assert said.strip() == expected
