"""Every tutorial runs, shortened."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NEEDS_GPAW = ("05_hy_dft",)
TUTORIALS = [
    pytest.param(path, marks=[pytest.mark.gpaw] * (path.stem in NEEDS_GPAW), id=path.stem)
    for path in sorted((Path(__file__).resolve().parents[1] / "tutorials").glob("*.py"))
]


@pytest.mark.parametrize("script", TUTORIALS)
def test_the_tutorial_runs(script: Path, tmp_path: Path) -> None:
    shortened = {**os.environ, "VOLTASE_TUTORIAL_SHORT": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=shortened,
                          capture_output=True, text=True, check=False, timeout=280)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
