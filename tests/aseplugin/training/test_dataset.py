"""Grouping by geometry and splitting by snapshot."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import fcc111

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.pemace import PEMACEConfig
from voltase.aseplugin.training.config import DataConfig
from voltase.aseplugin.training.dataset import (
    FEWEST_TEST,
    EarlierSplit,
    Sample,
    group_samples,
    split_samples,
)
from voltase.aseplugin.training.frames import label_frame, read_frames

MODEL = PEMACEConfig(symbols=["O", "Pt"], backbone=BackboneConfig(r_max=3.0))


def structure(height: float, **info: Any) -> Atoms:
    """One platinum atom under one oxygen atom; the height makes the geometry."""
    atoms = fcc111("Pt", (1, 1, 1), a=3.9, vacuum=5.0)
    atoms += Atoms("O", positions=[atoms.positions[0] + (0.0, 0.0, height)])
    atoms.pbc = (True, True, False)
    atoms.info.update(info)
    atoms.arrays["REF_forces"] = np.full((2, 3), height)
    return atoms


def grouped(structures: Sequence[Atoms], **settings: Any) -> list[Sample]:
    data = DataConfig(**settings)
    frames = [label_frame(atoms, data, f"frame {i}", i) for i, atoms in enumerate(structures)]
    return group_samples(frames, data, MODEL)


def state(n: float, phi: float) -> dict[str, float]:
    return {"excess_electrons": n, "electrode_potential": phi}


def test_one_geometry_at_several_charges_is_one_sample_in_ascending_order() -> None:
    labels = [(2.0, 0.3, 4.0), (2.1, 0.0, 4.9), (2.0, -0.1, 5.0), (2.0, 0.1, 4.5)]
    samples = grouped([structure(height, **state(n, phi)) for height, n, phi in labels])
    assert [len(s.electrons) for s in samples] == [3, 1]
    assert samples[0].electrons.tolist() == pytest.approx([-0.1, 0.1, 0.3])
    assert samples[0].potential.tolist() == pytest.approx([5.0, 4.5, 4.0])
    assert samples[0].forces.shape == (3, 2, 3)


def test_labels_with_a_potential_alone_are_ordered_like_the_electrons() -> None:
    [sample] = grouped([structure(2.0, electrode_potential=phi) for phi in (4.0, 5.0, 4.5)])
    assert sample.potential.tolist() == pytest.approx([5.0, 4.5, 4.0])


def test_repeated_labels_are_dropped() -> None:
    charged = [structure(2.0, **state(n, 4.0 - n)) for n in (0.1, 0.1, 0.1 + 4e-5, 0.2)]
    [sample] = grouped(charged)
    assert sample.electrons.tolist() == pytest.approx([0.1, 0.2])
    [sample] = grouped([structure(2.0), structure(2.0)])  # without any label of the electrode
    assert len(sample.electrons) == 1


def test_a_sign_of_zero_makes_no_other_geometry() -> None:
    other = structure(2.0, **state(0.2, 4.0))
    other.positions[0, :2] = -0.0
    first = structure(2.0, **state(0.1, 4.0))
    first.positions[0, :2] = 0.0
    assert len(grouped([first, other])) == 1


def test_the_uncharged_structure_is_a_sample_of_its_own() -> None:
    """A label at unknown charge must not be compared with one at a known charge."""
    samples = grouped([structure(2.0, **state(0.1, 4.0)), structure(2.0)])
    assert [s.electrons.isnan().tolist() for s in samples] == [[False], [True]]
    assert len({s.snapshot for s in samples}) == 1


def test_config_types_stay_apart_but_share_the_snapshot_of_their_geometry() -> None:
    samples = grouped([structure(2.0, config_type="a", source="x"),
                       structure(2.0, config_type="b", source="y")])  # fmt: skip
    assert [s.config_type for s in samples] == ["a", "b"]
    assert len({s.snapshot for s in samples}) == 1


def test_snapshots_linked_through_several_geometries_are_one() -> None:
    samples = grouped([
        structure(2.0, geometry=0), structure(2.1, geometry=1), structure(2.2, geometry=2),
        structure(2.0, geometry=1), structure(2.1, geometry=2), structure(2.3, geometry=3),
    ])  # fmt: skip
    names = {round(float(s.forces[0, 0, 0]), 1): s.snapshot for s in samples}
    assert names[2.0] == names[2.1] == names[2.2] != names[2.3]


def test_energies_are_used_for_the_listed_types_only() -> None:
    structures = [structure(2.0, config_type="a", REF_energy=-1.0),
                  structure(2.1, config_type="b", REF_energy=-2.0)]  # fmt: skip
    first, second = grouped(structures, energy_types=["b"])
    assert torch.isnan(first.energy).all()
    assert second.energy.tolist() == second.grand_energy.tolist() == [-2.0]


def test_a_domain_unknown_to_the_model_is_refused() -> None:
    with pytest.raises(InputError, match="'other' for config_type 'default'"):
        grouped([structure(2.0)], domains={"*": "other"})


def biased_set(snapshots: int) -> list[Atoms]:
    """The same water of each snapshot in four cells, as in the Pt(111)/water reference data."""
    structures = []
    for number in range(snapshots):
        name = f"{100 * number:06d}.000"
        for cell, folder in enumerate(("01.eps_calc/{}/hi", "01.eps_calc/{}/lo",
                                       "00.l_water_test/13A/{}/hi")):  # fmt: skip
            for plate in range(2):
                info = {"config_type": "field", "source": f"{folder.format(name)}/{plate}"}
                height = 1.5 + 0.02 * number + 0.003 * cell
                structures.append(structure(height, **info, **state(0.1 * plate, 4.5 - plate)))
        structures.append(structure(1.5 + 0.02 * number + 0.011, config_type="interface_pbc",
                                    source=f"s/01.eps_calc/calc/{name}/pbc"))  # fmt: skip
    structures += [structure(2.5 + 0.01 * i, config_type="water", source=f"sys/{i}")
                   for i in range(30)]  # fmt: skip
    return structures


@pytest.fixture(scope="module")
def biased() -> list[Sample]:
    return grouped(biased_set(30))


@pytest.mark.parametrize("seed", range(10))
def test_no_snapshot_is_in_two_splits(biased: list[Sample], seed: int) -> None:
    split = split_samples(biased, DataConfig(seed=seed, test_fraction=0.2, valid_fraction=0.1))
    parts = {use: {s.snapshot for s in getattr(split, use)} for use in ("train", "valid", "test")}
    assert sum(len(names) for names in parts.values()) == len({s.snapshot for s in biased})
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["valid"]
    assert not parts["valid"] & parts["test"]
    for use, share in (("test", 0.2), ("valid", 0.1)):
        for kind in ("field", "interface_pbc", "water"):
            held = {s.snapshot for s in getattr(split, use) if s.config_type == kind}
            assert len(held) == round(share * 30)


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_the_frames(
    biased: list[Sample],
) -> None:
    def test_names(samples: list[Sample], seed: int) -> set[str]:
        return {s.snapshot for s in split_samples(samples, DataConfig(seed=seed)).test}

    assert test_names(biased, 3) == test_names(biased[::-1], 3)
    assert test_names(biased, 3) != test_names(biased, 4)


def test_few_snapshots_still_give_a_test_set(biased: list[Sample]) -> None:
    field = [s for s in biased if s.config_type == "field"]
    split = split_samples(field, DataConfig(test_fraction=0.01, valid_fraction=0.0))
    assert len({s.snapshot for s in split.test}) == min(FEWEST_TEST, 30 // 6)
    assert not split.valid
    whole = split_samples(field, DataConfig(test_fraction=0.0, valid_fraction=0.0))
    assert len(whole.train) == len(field)


def test_what_an_earlier_training_held_out_stays_held_out(biased: list[Sample]) -> None:
    first = [s for s in biased if s.config_type != "water"]
    data = DataConfig(seed=1, test_fraction=0.2, valid_fraction=0.1)
    before = split_samples(first, data)
    names = {use: sorted({s.snapshot for s in getattr(before, use)}) for use in ("test", "valid")}
    earlier = EarlierSplit.of_card(
        {
            "data": {
                "frames": {"field": 30, "interface_pbc": 30},
                "split": {f"{use}_snapshots": held for use, held in names.items()},
            }
        }
    )
    # Another seed, and more data.
    after = split_samples(biased, replace(data, seed=2), earlier)
    for use in ("train", "valid", "test"):
        kept = [
            s.snapshot for s in getattr(after, use) if s.config_type in ("field", "interface_pbc")
        ]
        assert sorted(kept) == sorted(s.snapshot for s in getattr(before, use))
    assert len({s.snapshot for s in after.test if s.config_type == "water"}) == 6
    assert EarlierSplit.of_card({"data": {"frames": {"field": 30}}}) is None


def test_nothing_left_to_train_on_is_refused(biased: list[Sample]) -> None:
    with pytest.raises(InputError, match="left to train on"):
        split_samples(biased[:1], DataConfig(test_fraction=0.9, valid_fraction=0.05))


@pytest.mark.slow
def test_the_reference_data_split_cleanly(shared_data: Path) -> None:
    files = ["pt111_water/unbiased.extxyz.gz", "pt111_water/biased.extxyz.gz",
             "pt111_sjm/labels.extxyz.gz"]  # fmt: skip
    data = DataConfig(files=files, domains={"sjm": "gpaw", "*": "cp2k"})
    model = PEMACEConfig(symbols=["H", "O", "Pt"], domains=["cp2k", "gpaw"],
                         backbone=BackboneConfig(r_max=1.2))  # fmt: skip
    samples = group_samples(read_frames(data, shared_data), data, model)
    # 633 frames: 26 of the 245 biased ones repeat others to the last digit, and most geometries
    # come at 2 to 5 charges.
    assert len(samples) == 421
    assert sum(len(s.electrons) for s in samples) == 331 + (245 - 26) + 57
    split = split_samples(samples, data)
    train, valid, test = (
        {s.snapshot for s in part} for part in (split.train, split.valid, split.test)
    )
    assert not train & valid
    assert not train & test
    assert not valid & test
    held = {s.snapshot for s in split.test if s.config_type == "field"}
    assert held == {s.snapshot for s in split.test if s.config_type == "interface_pbc"}
