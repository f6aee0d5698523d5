"""Order of points, their names, and where the search for a potential begins."""

import numpy as np
import pytest

from voltase.aseplugin.labelling.schedule import (
    first_guess,
    number_text,
    order_outwards,
    rounded,
)


@pytest.mark.parametrize(
    ("values", "order"),
    [
        ([], []),
        ([0.3, -0.3, 0.0, 0.1], [0.0, 0.1, 0.3, -0.3]),
        ([0.1, 0.3, -0.2, -0.1, 0.2], [0.1, 0.2, 0.3, -0.1, -0.2]),
        ([-0.4, -0.1, 0.05], [0.05, -0.1, -0.4]),
        ([0.2, 0.4, 0.3, 0.2], [0.2, 0.3, 0.4]),
    ],
)
def test_points_go_from_neighbour_to_neighbour(values: list[float], order: list[float]) -> None:
    found = order_outwards(values)
    assert sorted(found) == sorted(set(values))
    assert found[:1] == [value for value in found if abs(value) == min(map(abs, found))][:1]
    # Neighbours follow each other but for one jump from the end of a side to the other side.
    ranks = [sorted(found).index(value) for value in found]
    assert sum(abs(step) > 1 for step in np.diff(ranks)) <= 1
    if values != [0.1, 0.3, -0.2, -0.1, 0.2]:
        assert found == order


def test_numbers_have_names_that_tell_them_apart() -> None:
    assert [number_text(rounded(n)) for n in (0.3, -0.0, -1e-8, 1e-6, -12.0)] == [
        "+0.3", "+0", "+0", "+0.000001", "-12"
    ]  # fmt: skip


def test_first_guess_uses_what_is_known() -> None:
    assert first_guess([], 4.0, 0.1) == (0.0, 0.1)
    assert first_guess([(0.2, 4.5)], 4.0, 0.1) == pytest.approx((0.25, 0.1))
    # Two points of a capacitor with C = 0.2 e/V and Phi = 4.6 V at n = 0: exact.
    known = [(n, 4.6 - n / 0.2) for n in (0.0, 0.1)]
    assert first_guess(known, 4.0, 0.1) == pytest.approx((0.12, 0.2))
    # A potential that rises with n is noise, and no guide.
    assert first_guess([(0.0, 4.6), (0.1, 4.7)], 4.0, 0.1)[1] == 0.1
