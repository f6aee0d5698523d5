"""Calculators of every kind of model."""

from collections.abc import Callable

import pytest

from voltase.aseplugin.calculators.pemace import PEMACE

KINDS = [(e, c) for e in ("electrons", "potential") for c in ("dipole", "scalar")]


@pytest.fixture(params=KINDS, ids=["-".join(kind) for kind in KINDS])
def calculator(request: pytest.FixtureRequest, pemace: Callable[..., PEMACE]) -> PEMACE:
    """Each embedding with each coupling, in float64."""
    return pemace(*request.param)
