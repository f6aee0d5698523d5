"""Numbers in legends."""

import pytest

from voltase.analysis.drawing import with_error


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [
        (151.234, 0.34, "151.2 ± 0.3"),
        (-0.0009, 0.0003, "-0.0009 ± 0.0003"),
        (-0.001, 0.04, "0.00 ± 0.04"),
        (151.234, 12.3, "151 ± 12"),
        (0.12345678, float("nan"), "0.1235"),
        (12.0, 0.0, "12"),
    ],
)
def test_means_are_rounded_to_their_error(mean: float, error: float, text: str) -> None:
    assert with_error(mean, error) == text
