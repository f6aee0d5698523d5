"""Whole interfaces: what must hold of each of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

from voltase.aseplugin import build_interface
from voltase.aseplugin.building.contacts import closest_contact
from voltase.aseplugin.building.interface import list_terminations
from voltase.aseplugin.building.molecules import read_body, water
from voltase.aseplugin.building.symmetry import slab_operations
from voltase.aseplugin.errors import InputError

WATER_MASS = 18.01528 / 0.602214076  # A^3 of one molecule at 1 g/cm^3
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Pt(111)": ("Pt", "111", {"supercell": "3x3", "thickness": 12.0, "ions": "Na+,ClO4-"}),
    "Au(100) filled": ("Au", "100", {"supercell": "c(4x4)", "thickness": 12.0, "layers": 5,
                                     "water_on": "between", "ions": "K+,Cl-"}),
    "Cu(111) root3": ("Cu", "111", {"supercell": "root3xroot3R30", "waters": 5, "adsorb": "OH@fcc"}
                      ),
    "RuO2(110) both": ("RuO2", "110", {"supercell": "2x1", "thickness": 10.0, "layers": 3,
                                       "water_on": "both", "ions": "OH-"}),
    "IrO2(110) O-rich": ("IrO2", "110", {"supercell": "2x1", "waters": 12, "density": 0.9,
                                         "termination": "O-rich", "ions": "H3O+"}),
    "IrO2(110) 1x1": ("IrO2", "110", {"waters": 4}),
}  # fmt: skip


@pytest.fixture(scope="module", params=CASES)
def built(request: pytest.FixtureRequest) -> tuple[Atoms, dict[str, Any]]:
    crystal, facet, settings = CASES[request.param]
    return build_interface(crystal, facet, sweeps=60, **settings), settings


def test_no_atoms_overlap(built: tuple[Atoms, dict[str, Any]]) -> None:
    """Every pair of atoms of different molecules, across all cell boundaries."""
    atoms, settings = built
    periodic = atoms.copy()
    periodic.pbc = True
    bodies = atoms.arrays["molecules"].copy()
    if "adsorb" in settings:
        bodies[bodies == 1] = 0
    margin, pair = closest_contact(periodic, bodies)
    assert 0.0 <= margin < 1.0, pair


def test_every_molecule_is_whole(built: tuple[Atoms, dict[str, Any]]) -> None:
    """And has the geometry of its kind, without crossing the cell's boundary."""
    atoms, settings = built
    names = [name.partition(":")[0] for name in str(settings.get("ions", "")).split(",") if name]
    kinds = {tuple(body.numbers): body for body in [water(), *map(read_body, names)]}
    members = atoms.arrays["molecules"]
    adsorbed = 1 if "adsorb" in settings else 0
    for molecule in range(adsorbed + 1, members.max() + 1):
        own = atoms[members == molecule]
        expected = kinds[tuple(own.numbers)].positions
        np.testing.assert_allclose(
            own.get_all_distances(), np.linalg.norm(expected[:, None] - expected, axis=2), atol=1e-9
        )


def test_density_of_the_film(built: tuple[Atoms, dict[str, Any]]) -> None:
    """Centres of molecules in the region that the film fills, ions for the waters they replace."""
    atoms, settings = built
    record = atoms.info["building"]
    lower, upper = record["film"]
    members = atoms.arrays["molecules"]
    first = np.unique(members, return_index=True)[1][1:]
    inside = (atoms.positions[first, 2] > lower - 1e-6) & (atoms.positions[first, 2] < upper + 1e-6)
    places = 0
    for k in first[inside]:
        own = atoms.numbers[members == members[k]]
        places += max(1, round(0.5 * int((own > 1).sum())))
    density = places * WATER_MASS / (record["area"] * (upper - lower))
    assert density == pytest.approx(settings.get("density", 0.997), rel=0.02)
    if "waters" in settings:
        assert record["waters"] == settings["waters"]
    else:
        assert upper - lower == pytest.approx(settings["thickness"], rel=0.1)


def test_the_record(built: tuple[Atoms, dict[str, Any]], tmp_path: Path) -> None:
    """Survives a file, with constraints, tags and molecules."""
    atoms, _ = built
    write(tmp_path / "built.extxyz", atoms)
    found = read(tmp_path / "built.extxyz")
    assert found.info == atoms.info
    np.testing.assert_array_equal(found.pbc, atoms.pbc)
    np.testing.assert_array_equal(found.arrays["molecules"], atoms.arrays["molecules"])
    np.testing.assert_array_equal(found.get_tags(), atoms.get_tags())
    np.testing.assert_array_equal(found.constraints[0].index, atoms.constraints[0].index)


def test_the_same_seed_gives_the_same_interface() -> None:
    settings: dict[str, Any] = {"supercell": "2x2", "waters": 6, "ions": "Na+", "sweeps": 20}
    first, second = (build_interface("Pt", "111", seed=3, **settings) for _ in range(2))
    np.testing.assert_array_equal(first.positions, second.positions)
    third = build_interface("Pt", "111", seed=4, **settings)
    assert np.abs(third.positions - first.positions).max() > 0.5


def test_global_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    build_interface("Pt", "111", supercell="2x2", waters=3, sweeps=5)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("crystal", "facet", "adsorb"),
    [("Pt", "111", "O@fcc"), ("RuO2", "110", "O@top_cus"), ("Au", "100", "O@hollow")],
)
def test_films_on_both_faces_are_images_of_each_other(
    crystal: str, facet: str, adsorb: str
) -> None:
    """The whole cell keeps an operation that exchanges the faces."""
    atoms = build_interface(crystal, facet, supercell="2x2", waters=6, ions="Na+", layers=3,
                            water_on="both", sweeps=20, adsorb=adsorb)  # fmt: skip
    assert slab_operations(atoms.cell.array, atoms.positions, atoms.numbers, side=-1)
    middle = atoms.positions[atoms.get_tags() > 0, 2].mean()
    water_heights = atoms.positions[atoms.symbols == "Na", 2] - middle
    assert water_heights.sum() == pytest.approx(0.0, abs=1e-6)
    assert water_heights.min() < 0.0 < water_heights.max()
    assert atoms.info["charges"] == {"Na+": 2}


def test_charges() -> None:
    atoms = build_interface(
        "Pt", "111", supercell="3x3", waters=20, ions="Na+:2,SO4--,O2", sweeps=5
    )
    assert atoms.info["charges"] == {"Na+": 2, "SO4--": -2}
    assert atoms.info["building"]["ions"] == {"Na+": 2, "SO4--": 1, "O2": 1}


@pytest.mark.parametrize(
    ("fix", "water_on", "layers", "expected"),
    [
        (None, "top", 4, [3, 4]),
        (1, "top", 4, [4]),
        (0, "top", 4, []),
        (4, "top", 4, [1, 2, 3, 4]),
        (None, "both", 4, [2, 3]),
        (None, "between", 5, [3]),
        (3, "between", 5, [2, 3, 4]),
        (None, "both", 1, []),
    ],
)
def test_fixed_layers(fix: int | None, water_on: str, layers: int, expected: list[int]) -> None:
    """Tags count from the top; each layer has four atoms."""
    atoms = build_interface("Pt", "111", supercell="2x2", layers=layers, fix=fix, waters=2,
                            water_on=water_on, sweeps=1)  # fmt: skip
    held = atoms.constraints[0].index if atoms.constraints else []
    tags = atoms.get_tags()[held]
    assert sorted(set(tags.tolist())) == expected
    assert len(held) == 4 * len(expected)


@pytest.mark.parametrize("vacuum", [5.0, 20.0])
def test_vacuum_is_between_the_outermost_atoms(vacuum: float) -> None:
    atoms = build_interface("Pt", "111", supercell="2x2", waters=4, vacuum=vacuum, sweeps=5)
    assert atoms.cell[2, 2] - np.ptp(atoms.positions[:, 2]) == pytest.approx(vacuum)
    assert atoms.pbc.tolist() == [True, True, False]
    assert (atoms.positions[:, 2] > 0.0).all()
    assert (atoms.positions[:, 2] < atoms.cell[2, 2]).all()


def test_between_two_faces_there_is_no_vacuum() -> None:
    atoms = build_interface("Pt", "111", supercell="3x3", thickness=12.0, water_on="between",
                            sweeps=40)  # fmt: skip
    slab = atoms.positions[atoms.get_tags() > 0, 2]
    thickness = np.diff(atoms.info["building"]["film"])[0]
    assert atoms.cell[2, 2] - np.ptp(slab) == pytest.approx(thickness + 2 * 2.3)
    assert atoms.pbc.all()


def test_a_slab_alone() -> None:
    atoms = build_interface("Cu", "111", supercell="2x2")
    assert str(atoms.symbols) == "Cu16"
    assert atoms.info["building"]["water_on"] == "none"
    assert atoms.info["charges"] == {}


def test_listed_terminations_are_accepted() -> None:
    for termination in list_terminations("RuO2", "110"):
        atoms = build_interface("RuO2", "110", termination=termination.name)
        assert atoms.info["building"]["termination"] == termination.name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 0}, "^layers: got 0, expected 1 to"),
        ({"vacuum": -3.0}, "^vacuum: got -3.0 A, expected 4 to 1000 A"),
        ({"vacuum": float("nan")}, "^vacuum: got nan, expected a finite number"),
        ({"vacuum": 5.0, "water_on": "between", "waters": 4}, "^vacuum: .*expected none"),
        ({"water_on": "between"}, "^water_on: got between without water"),
        ({"water_on": "left"}, "^water_on: got 'left'"),
        ({"fix": 5}, "^fix: got 5, expected 0 to 4"),
        ({"fix": 1, "water_on": "both"}, "^fix: got 1 of 4 layers .* expected an even number"),
        ({"termination": "nice"}, "^termination: got 'nice', expected one of 0 \\(cut1\\)"),
        ({"gap": 0.1, "waters": 3}, "^gap: got 0.1 A"),
        ({"seed": -1}, "^seed: got -1"),
        ({"sweeps": 0, "waters": 3}, "^sweeps: got 0"),
    ],
)
def test_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_interface("Pt", "111", **settings)


def test_unequal_faces_have_no_equal_films(zincblende: Atoms) -> None:
    with pytest.raises(InputError, match="^water_on: got both for a slab without symmetry"):
        build_interface(zincblende, "111", water_on="both", waters=2)
