"""Labels of single frames: where they are found, what they mean, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.training.config import DataConfig
from voltase.aseplugin.training.frames import (
    Frame,
    check_electrode_states,
    domain_of,
    label_frame,
    read_frames,
)


def water(**info: Any) -> Atoms:
    atoms = Atoms("OH2", positions=[[0, 0, 0], [0.6, 0, 0.7], [-0.6, 0, 0.7]], cell=[5, 5, 9],
                  pbc=(True, True, False))  # fmt: skip
    atoms.info.update(info)
    atoms.arrays["REF_forces"] = np.arange(9.0).reshape(3, 3)
    return atoms


def labelled(atoms: Atoms, **settings: Any) -> Frame:
    return label_frame(atoms, DataConfig(**settings), "here")


def test_labels_of_a_charged_frame_and_the_grand_energy() -> None:
    frame = labelled(water(REF_energy=-10.0, excess_electrons=0.2, electrode_potential=4.5))
    assert (frame.energy, frame.electrons, frame.potential) == (-10.0, 0.2, 4.5)
    assert frame.grand_energy == pytest.approx(-10.0 + 4.5 * 0.2)  # Omega = E + Phi n
    assert np.array_equal(frame.forces, np.arange(9.0).reshape(3, 3))


def test_a_grand_energy_label_gives_the_canonical_one() -> None:
    atoms = water(REF_energy=-9.1, excess_electrons=0.2, electrode_potential=4.5)
    frame = labelled(atoms, energy_kind="grand")
    assert frame.energy == pytest.approx(-9.1 - 4.5 * 0.2)
    assert frame.grand_energy == -9.1


def test_an_energy_at_unknown_electron_number_says_nothing_about_the_other_energy() -> None:
    frame = labelled(water(REF_energy=-9.0, electrode_potential=4.5))
    assert frame.energy == -9.0
    assert np.isnan(frame.grand_energy)
    frame = labelled(water(REF_energy=-9.0, electrode_potential=4.5), energy_kind="grand")
    assert np.isnan(frame.energy)
    assert frame.grand_energy == -9.0


@pytest.mark.parametrize("info", [{}, {"excess_electrons": 0.0}])
def test_without_charge_both_energies_agree(info: dict[str, float]) -> None:
    frame = labelled(water(REF_energy=-9.0, **info))
    assert frame.energy == frame.grand_energy == -9.0


def test_the_per_atom_fermi_level_is_minus_the_potential(tmp_path: Path) -> None:
    """The layout of arXiv 2604.07322: energy and forces as ASE results, a Fermi level per atom."""
    atoms = water()
    forces = atoms.arrays.pop("REF_forces")
    atoms.arrays["field_scalar"] = np.full(3, -4.3)
    atoms.calc = SinglePointCalculator(atoms, energy=-7.0, forces=forces)
    write(tmp_path / "frames.extxyz", atoms)
    [frame] = read_frames(DataConfig(files=[str(tmp_path / "frames.extxyz")]))
    assert frame.potential == pytest.approx(4.3)
    assert frame.energy == pytest.approx(-7.0)
    assert np.allclose(frame.forces, forces)
    assert np.isnan(frame.electrons)


def test_keys_can_be_named() -> None:
    atoms = water(E=-3.0, nelec=0.1, phi=5.0, kind="slab")
    atoms.arrays["F"] = np.ones((3, 3))
    frame = labelled(atoms, energy_key="E", electrons_key="nelec", potential_key="phi",
                     type_key="kind", forces_key="F")  # fmt: skip
    assert (frame.energy, frame.electrons, frame.potential) == (-3.0, 0.1, 5.0)
    assert frame.config_type == "slab"
    assert (frame.forces == 1.0).all()


@pytest.mark.parametrize(
    ("source", "geometry", "expected"),
    [
        ("01.eps_calc/000300.000/hi/2", None, "000300.000"),
        ("00.l_water_test/13A/000300.000/lo/0", None, "000300.000"),
        ("s012_q1", 12, "default/12"),
        ("run7", None, "default/run7"),
        (None, None, "default/0"),
    ],
)
def test_snapshot_names(source: str | None, geometry: int | None, expected: str) -> None:
    atoms = water()
    if source is not None:
        atoms.info["source"] = source
    if geometry is not None:
        atoms.info["geometry"] = geometry
    assert labelled(atoms).snapshot == expected


def broken(change: str) -> Atoms:
    atoms = water(excess_electrons=0.1, electrode_potential=4.5)
    if change == "no forces":
        del atoms.arrays["REF_forces"]
    elif change == "nan force":
        atoms.arrays["REF_forces"][1, 1] = np.nan
    elif change == "scalar forces":
        del atoms.arrays["REF_forces"]
        atoms.arrays["REF_forces"] = np.ones(3)
    elif change == "text":
        atoms.info["excess_electrons"] = "many"
    elif change == "infinite":
        atoms.info["REF_energy"] = np.inf
    elif change == "two levels":
        del atoms.info["electrode_potential"]
        atoms.arrays["field_scalar"] = np.array([-4.0, -4.0, -4.1])
    elif change == "nan position":
        atoms.positions[0, 0] = np.nan
    elif change == "nan potential":
        atoms.info["electrode_potential"] = np.nan
    elif change == "one place":
        atoms.positions[1] = atoms.positions[0]
    elif change == "across the cell":
        atoms.positions[1] = atoms.positions[0] + (5.0 - 0.1, 0.0, 0.0)
    elif change == "huge force":
        atoms.arrays["REF_forces"][2, 0] = 1e30
    return atoms


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("no forces", "no array 'REF_forces'"),
        ("nan force", "not finite"),
        ("scalar forces", "shape"),
        ("text", "'many', expected a number"),
        ("infinite", "expected a finite number"),
        ("two levels", "expected one Fermi level"),
        ("nan position", "positions"),
        ("nan potential", "'electrode_potential' is nan, expected a finite number"),
        ("one place", "atoms 0 and 1 are 0.000 A apart, expected 0.3 A or more"),
        ("across the cell", "atoms 0 and 1 are 0.100 A apart"),
        ("huge force", "'REF_forces' is 1e.30 eV/A on atom 2, expected at most"),
    ],
)
def test_unusable_labels_are_named(change: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        labelled(broken(change))
    assert str(caught.value).startswith("here: ")
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not found"):
        read_frames(DataConfig(files=[str(tmp_path / "absent.extxyz")]))
    (tmp_path / "bad.extxyz").write_text("three\nnonsense\n")
    with pytest.raises(InputError, match="cannot be read") as caught:
        read_frames(DataConfig(files=[str(tmp_path / "bad.extxyz")]))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no frames"):
        read_frames(DataConfig())


def test_a_key_that_was_named_and_that_no_frame_has_is_worth_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "frames.extxyz", water(E=-3.0, excess_electrons=0.1))
    file = str(tmp_path / "frames.extxyz")
    with caplog.at_level("WARNING", logger="voltase"):
        read_frames(DataConfig(files=[file], energy_key="E"))
        assert caplog.messages == []
        read_frames(DataConfig(files=[file], energy_key="energie"))
    assert caplog.messages == ["data.energy_key: found no frame with 'energie' among 1"]


def test_domains() -> None:
    data = DataConfig(domains={"sjm": "gpaw", "*": "cp2k"})
    assert (domain_of("sjm", data), domain_of("field", data)) == ("gpaw", "cp2k")
    with pytest.raises(InputError, match="'field' is not listed"):
        domain_of("field", DataConfig(domains={"sjm": "gpaw"}))


def test_the_label_that_is_the_input_must_be_there() -> None:
    only_n = labelled(water(excess_electrons=0.1))
    only_phi = labelled(water(electrode_potential=4.5))
    neutral = labelled(water(excess_electrons=0.0))
    bare = labelled(water())
    both = labelled(water(excess_electrons=0.1, electrode_potential=4.5))
    check_electrode_states([both, only_n, bare], "electrons")
    check_electrode_states([both, only_phi, neutral, bare], "potential")
    with pytest.raises(InputError, match="no frame with a label of the excess electrons among 2"):
        check_electrode_states([bare, bare], "electrons")
    with pytest.raises(InputError, match="none of the excess electrons"):
        check_electrode_states([both, only_phi], "electrons")
    with pytest.raises(InputError, match="none of the potential"):
        check_electrode_states([both, only_n], "potential")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"test_fraction": 1.2}, "test_fraction"),
        ({"test_fraction": 0.6, "valid_fraction": 0.5}, "test_fraction"),
        ({"weights": {"sjm": -1}}, "weights"),
        ({"snapshot_pattern": "("}, "snapshot_pattern"),
        ({"snapshot_pattern": "abc"}, "with a group"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed: found 9223372036854775808, expected 0 to"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        DataConfig(**settings)
