"""Picking candidates: thresholds, the most uncertain first, then the farthest."""

import numpy as np
import pytest

from voltase.aseplugin.active_learning.config import SelectionConfig
from voltase.aseplugin.active_learning.selection import scaled_together, select

NONE = np.empty((0, 1))


def line(*positions: float) -> np.ndarray:
    return np.array(positions, dtype=float)[:, None]


def settings(**changes: float) -> SelectionConfig:
    usual = {"lower": 0.1, "upper": 1.0, "per_round": 3, "pool": 10, "min_distance": 0.5}
    return SelectionConfig(**{**usual, **changes})


def test_the_most_uncertain_comes_first_and_then_the_extremes() -> None:
    descriptors = line(0.0, 1.0, 2.0, 5.0, 9.0, 10.0)
    spreads = np.array([0.3, 0.2, 0.9, 0.2, 0.2, 0.2])
    assert select(spreads, descriptors, NONE, settings()).picked == [2, 5, 3]


def test_only_candidates_between_the_thresholds_are_picked() -> None:
    spreads = np.array([0.05, 0.1, 1.0, 1.1])
    found = select(spreads, line(0, 10, 20, 30), NONE, settings())
    assert sorted(found.picked) == [1, 2]
    assert found.uncertain == 2


def test_near_duplicates_of_labelled_ones_and_of_each_other_are_skipped() -> None:
    descriptors = line(0.0, 0.4, 3.0, 3.3, 7.0)
    spreads = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    found = select(spreads, descriptors, line(0.1), settings(per_round=5))
    # The two by the labelled one are out; of the pair at 3, the more uncertain is in.
    assert found.picked == [2, 4]
    assert found.duplicates == 3


def test_a_candidate_that_equals_a_labelled_one_is_never_picked() -> None:
    found = select(np.array([0.5, 0.5]), line(1.0, 2.0), line(1.0), settings(min_distance=0.0))
    assert found.picked == [1]


def test_diversity_is_sought_among_the_most_uncertain_alone() -> None:
    spreads = np.array([0.9, 0.8, 0.7, 0.2])
    found = select(spreads, line(0.0, 1.0, 2.0, 50.0), NONE, settings(per_round=2, pool=1))
    assert found.picked == [0, 1]


def test_without_candidates_nothing_is_picked() -> None:
    found = select(np.empty(0), NONE, line(1.0), settings())
    assert (found.picked, found.uncertain, found.duplicates) == ([], 0, 0)


def test_distances_do_not_depend_on_the_units_of_the_descriptors() -> None:
    rng = np.random.default_rng(0)
    new, old = rng.normal(size=(6, 3)), rng.normal(size=(4, 3))
    once, again = scaled_together(new, old), scaled_together(7.0 * new, 7.0 * old)
    for first, second in zip(once, again, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-12)
    together = np.concatenate(once)
    mean_square = ((together - together.mean(0)) ** 2).sum(1).mean()
    assert mean_square == pytest.approx(1.0)
