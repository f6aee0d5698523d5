"""Fixtures and settings shared by the whole test suite."""

import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest

# Before anything imports pyplot; an environment variable reaches child processes as well.
os.environ["MPLBACKEND"] = "Agg"
# pytest-xdist's processes ignore Ctrl-C, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Seed the global generators, so that a failure repeats when a test runs alone."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - third-party code draws from the legacy generator
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the reference data, next to the checkout or where VOLTASE_SHARED_DATA says."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("VOLTASE_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}; set VOLTASE_SHARED_DATA to its folder")
    return folder
