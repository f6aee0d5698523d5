"""The exception classes: what catches what, and the step a run stopped at."""

import pickle

import pytest

from voltase.aseplugin import errors


@pytest.mark.parametrize(
    "name",
    ["InputError", "PotentialError", "CheckpointError", "ExtrapolationError", "DynamicsError"],
)
def test_one_base_catches_all(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.VoltaseError)


def test_bad_input_is_a_value_error_too() -> None:
    assert issubclass(errors.PotentialError, errors.InputError)
    assert issubclass(errors.InputError, ValueError)


def test_a_stopped_run_keeps_its_step_across_processes() -> None:
    error = pickle.loads(pickle.dumps(errors.DynamicsError("energy is not a number", step=7)))
    assert (str(error), error.step) == ("energy is not a number", 7)
    assert errors.DynamicsError("no run").step is None
