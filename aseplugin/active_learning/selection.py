"""Which candidates are worth a label: the uncertain ones, and among them ones that differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.active_learning.config import SelectionConfig

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """What was picked, and what became of the rest.

    Attributes
    ----------
    picked : list of int
        Numbers of the candidates, in the order in which they were picked.
    uncertain : int
        Candidates between the thresholds.
    duplicates : int
        Of those in the pool, near-duplicates of others or of structures labelled before.
    """

    picked: list[int]
    uncertain: int
    duplicates: int


def select(spreads: Array, descriptors: Array, labelled: Array, config: SelectionConfig
           ) -> Selection:  # fmt: skip
    """Pick candidates by spread, then by diversity.

    The candidates between the thresholds are sorted by spread, and the first ``pool * per_round``
    are chosen from. The most uncertain one comes first, then always the one farthest from all that
    are picked and labelled (farthest-point selection); candidates nearer than ``min_distance`` to
    one of those are left out.

    Parameters
    ----------
    spreads : ndarray (n_candidates,)
        eV/A.
    descriptors : ndarray (n_candidates, n_features)
        In units in which ``min_distance`` makes sense, see `scaled_together`.
    labelled : ndarray (n_labelled, n_features)
        Of the structures labelled before.
    config : SelectionConfig
    """
    uncertain = np.flatnonzero((spreads >= config.lower) & (spreads <= config.upper))
    # A stable sort: of equal spreads the earlier one comes first, on every machine.
    order = uncertain[np.argsort(-spreads[uncertain], kind="stable")]
    pool = order[: config.pool * config.per_round]
    nearest = _nearest(descriptors[pool], labelled)
    picked: list[int] = []
    while len(picked) < config.per_round:
        free = (nearest >= config.min_distance) & (nearest > 0.0)
        if not free.any():
            break
        # The first pick is the most uncertain of those that are new; the pool is sorted by that.
        best = int(np.argmax(free)) if not picked else int(np.argmax(nearest))
        picked.append(int(pool[best]))
        nearest = np.minimum(nearest, _nearest(descriptors[pool], descriptors[pool[best]][None]))
    left = nearest[~np.isin(pool, picked)]
    return Selection(picked, len(uncertain), int((left < config.min_distance).sum()))


def scaled_together(candidates: Array, labelled: Array) -> tuple[Array, Array]:
    """Both divided by the root mean square distance of all from their mean.

    Parameters
    ----------
    candidates, labelled : ndarray (n, n_features)
    """
    together = np.concatenate([candidates, labelled])
    if not len(together):
        return candidates, labelled
    scale = float(np.sqrt(((together - together.mean(0)) ** 2).sum(1).mean()))
    if scale == 0.0:
        return candidates, labelled
    return candidates / scale, labelled / scale


def _nearest(descriptors: Array, others: Array) -> Array:
    """Distance of each structure to the nearest of others; infinite if there are none."""
    if not len(others):
        return np.full(len(descriptors), np.inf)
    nearest = np.full(len(descriptors), np.inf)
    for other in others:
        nearest = np.minimum(nearest, np.linalg.norm(descriptors - other, axis=1))
    return nearest
