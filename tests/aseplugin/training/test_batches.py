"""Batches: the plan of an epoch, the bootstrap of the committee, joined tensors."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from voltase.aseplugin.training.batches import (
    Choice,
    allowed_members,
    make_batch,
    member_weights,
    plan_epoch,
)
from voltase.aseplugin.training.config import TrainingConfig
from voltase.aseplugin.training.dataset import Sample

CONFIG = TrainingConfig(atoms_per_batch=25)


def seen(batches: Sequence[Sequence[Choice]]) -> Counter[str]:
    return Counter(sample.snapshot for batch in batches for sample, _ in batch)


def as_numbers(batches: Sequence[Sequence[Choice]]) -> list[list[tuple[str, int, int]]]:
    return [[(s.snapshot, *labels) for s, labels in batch] for batch in batches]


def test_an_epoch_sees_every_sample_once(samples: list[Sample]) -> None:
    batches = plan_epoch(samples, CONFIG, {}, epoch=0)
    assert seen(batches) == Counter(s.snapshot for s in samples)
    atoms = [sum(s.graph.n_atoms for s, _ in batch) for batch in batches]
    assert all(n >= CONFIG.atoms_per_batch for n in atoms)  # 14 atoms each, 8 samples: no rest


def test_repeats_multiply_a_config_type(samples: list[Sample]) -> None:
    batches = plan_epoch(samples, CONFIG, {"synthetic": 3}, epoch=0)
    assert set(seen(batches).values()) == {3}


def test_a_config_type_may_be_left_out(samples: list[Sample]) -> None:
    assert plan_epoch(samples, CONFIG, {"synthetic": 0}, epoch=0) == []


def test_the_plan_depends_on_seed_and_epoch_alone(samples: list[Sample]) -> None:
    def plan(seed: int, epoch: int) -> list[list[tuple[str, int, int]]]:
        config = TrainingConfig(atoms_per_batch=25, seed=seed)
        return as_numbers(plan_epoch(samples, config, {}, epoch))

    np.random.default_rng().random()
    assert plan(0, 3) == plan(0, 3)
    assert plan(0, 3) != plan(0, 4)
    assert plan(0, 3) != plan(1, 3)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_an_epoch_without_overlap(samples: list[Sample], world: int) -> None:
    whole = plan_epoch(samples, CONFIG, {}, epoch=2)
    shares = [plan_epoch(samples, CONFIG, {}, 2, rank, world) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    together = sum((seen(share) for share in shares), Counter())
    assert max(together.values()) == 1
    assert sum(map(len, shares)) == len(whole) - len(whole) % world


def test_both_labels_of_a_pair_differ_as_much_as_they_can(samples: list[Sample]) -> None:
    drawn = set()
    for epoch in range(20):
        for batch in plan_epoch(samples, CONFIG, {}, epoch):
            drawn |= {labels for _, labels in batch}
    assert drawn == {(0, 2), (1, 2), (2, 0)}


def test_bootstrap_is_a_fixed_choice_by_name() -> None:
    names = [f"{i:06d}.000" for i in range(2000)]
    first = [allowed_members(name, 3, 0.2) for name in names]
    assert first == [allowed_members(name, 3, 0.2) for name in names]
    left_out = [sum(m not in allowed for allowed in first) / len(names) for m in range(3)]
    assert left_out == pytest.approx([0.2, 0.2, 0.2], abs=0.03)
    assert all(first)
    # Which members see a snapshot varies independently.
    both = sum(0 not in a and 1 not in a for a in first) / len(names)
    assert both == pytest.approx(0.04, abs=0.015)
    # Pinned: a changed choice would let members of a resumed run see what they must not.
    assert [allowed_members(name, 3, 0.5) for name in ("a", "b", "c", "")] == PINNED


PINNED: list[list[int]] = [[0, 1], [1], [2], [2]]


def test_every_snapshot_has_a_member_even_if_all_were_to_leave_it_out() -> None:
    assert all(len(allowed_members(str(i), 2, 0.999)) == 1 for i in range(50))
    assert allowed_members("x", 1, 0.999) == [0]


def test_member_weights_never_reach_a_member_that_is_left_out(samples: list[Sample]) -> None:
    rng = np.random.default_rng(5)
    chosen: list[Choice] = [(sample, (0, 0)) for sample in samples]
    kinds = set()
    for _ in range(40):
        weights = member_weights(chosen, 3, 0.25, rng)
        assert torch.allclose(weights.sum(1), torch.ones(len(samples)))
        for row, sample in zip(weights, samples, strict=True):
            allowed = allowed_members(sample.snapshot, 3, 0.25)
            assert set(torch.nonzero(row).flatten().tolist()) <= set(allowed)
            kinds.add((len(allowed), int((row > 0).sum())))
    # Means and single members both occur.
    assert {(3, 3), (3, 1), (2, 2), (2, 1)} <= kinds


def test_without_bootstrap_all_members_learn_alike(samples: list[Sample]) -> None:
    rng = np.random.default_rng(0)
    total = sum(member_weights([(s, (0, 0)) for s in samples], 2, 0.0, rng).sum(0)
                for _ in range(100))  # fmt: skip
    assert total[0] == pytest.approx(float(total[1]), rel=0.15)


def test_a_batch_holds_the_chosen_labels_in_order(samples: list[Sample]) -> None:
    first, second = samples[0], samples[3]
    batch = make_batch([(first, (2, 0)), (second, (1, 1))])
    assert batch.electrons[0].tolist() == [first.electrons[2], second.electrons[1]]
    assert batch.potential[1].tolist() == [first.potential[0], second.potential[1]]
    assert batch.energy[0].tolist() == [first.energy[2], second.energy[1]]
    assert torch.equal(batch.forces[1], torch.cat([first.forces[0], second.forces[1]]))
    assert batch.paired.tolist() == [True, False]
    assert batch.graph.n_graphs == 2


def test_a_batch_of_one_leaves_the_sample_alone(samples: list[Sample]) -> None:
    batch = make_batch([(samples[0], (0, 0))])
    batch.graph.positions = batch.graph.positions + 1.0
    assert not torch.equal(batch.graph.positions, samples[0].graph.positions)
    assert batch.graph.layout is samples[0].graph.layout


def test_batches_move_to_another_precision(samples: list[Sample]) -> None:
    batch = make_batch([(samples[0], (0, 2))]).to("cpu", torch.float64)
    assert {t.dtype for t in (batch.graph.positions, *batch.forces, *batch.electrons)} == {
        torch.float64
    }
    assert batch.graph.species.dtype == torch.int64
