"""Layers, terminations and symmetry of slabs."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bcc110, bulk, fcc100, fcc110, fcc111, hcp0001
from ase.neighborlist import neighbor_list

from voltase.aseplugin.building.crystal import RUTILE
from voltase.aseplugin.building.terminations import find_terminations

from .conftest import Cut, heights


@pytest.mark.parametrize(
    ("crystal", "facet", "build"),
    [
        ("Pt", "111", fcc111),
        ("Cu", "111", fcc111),
        ("Au", "100", fcc100),
        ("Pt", "110", fcc110),
        ("Fe", "110", bcc110),
        ("Ti", "0001", hcp0001),
    ],
)
def test_metals_are_those_of_ase(cut: Cut, crystal: str, facet: str, build) -> None:  # type: ignore[no-untyped-def]
    size = (3, 2, 5)
    ours = cut(crystal, facet, layers=5, supercell="3x2").slab
    theirs = build(crystal, size, vacuum=0.0)
    assert len(ours.atoms) == len(theirs) == 30
    np.testing.assert_allclose(heights(ours.atoms), heights(theirs), atol=1e-6)
    area = np.linalg.norm(np.cross(*theirs.cell.array[:2]))
    assert ours.area == pytest.approx(area)
    # Same neighbours: all distances up to the third shell.
    distances = [np.sort(neighbor_list("d", atoms, 4.5)) for atoms in (ours.atoms, theirs)]
    np.testing.assert_allclose(distances[0], distances[1], atol=1e-6)
    np.testing.assert_array_equal(np.bincount(ours.atoms.get_tags())[1:], [6] * 5)
    top = ours.atoms.positions[ours.atoms.get_tags() == 1, 2]
    assert top.min() > ours.atoms.positions[:, 2].max() - 0.01
    assert ours.symmetric


@pytest.mark.parametrize(
    ("crystal", "facet", "spacing", "per_layer", "area"),
    [
        ("Pt", "111", 3.92 / 3**0.5, 1, 3.92**2 * 3**0.5 / 4),
        ("Cu", "111", 3.61 / 3**0.5, 1, 3.61**2 * 3**0.5 / 4),
        ("Au", "100", 4.08 / 2, 1, 4.08**2 / 2),
        ("RuO2", "110", 4.4968 / 2**0.5, 6, 4.4968 * 2**0.5 * 3.1049),
        ("IrO2", "110", 4.5051 / 2**0.5, 6, 4.5051 * 2**0.5 * 3.1586),
        ("Cu", "211", 3.61 / 24**0.5, 1, 3.61**3 / 4 * 24**0.5 / 3.61),
    ],
)
def test_layers(
    cut: Cut, crystal: str, facet: str, spacing: float, per_layer: int, area: float
) -> None:
    found = cut(crystal, facet, layers=6)
    assert found.stacking.period / found.stacking.layers == pytest.approx(spacing)
    assert found.stacking.atoms_per_layer == per_layer
    assert found.slab.area == pytest.approx(area)
    assert len(found.slab.atoms) == 6 * per_layer
    assert np.linalg.det(found.stacking.cell) > 0.0


@pytest.mark.parametrize("metal", ["Ru", "Ir"])
def test_the_three_terminations_of_rutile_110(cut: Cut, metal: str) -> None:
    """Bare, with bridging oxygen, and with oxygen on the cus atoms as well."""
    a, _, u = RUTILE[f"{metal}O2"]
    bridging, on_top = a * (1.0 - 2.0 * u) / 2**0.5, a * 2.0 * u / 2**0.5
    expected = {
        "stoichiometric": (f"{metal}8O16", bridging, 1),
        "metal-rich": (f"{metal}8O14", 0.0, 0),
        "O-rich": (f"{metal}8O18", on_top, 2),
    }
    for index, (name, (formula, above, oxygens)) in enumerate(expected.items()):
        slab = cut(f"{metal}O2", "110", termination=name).slab
        assert slab.atoms.symbols.formula.format("metal") == formula
        assert slab.symmetric
        same = cut(f"{metal}O2", "110", termination=index).slab
        np.testing.assert_array_equal(same.atoms.positions, slab.atoms.positions)
        top = slab.atoms.positions[slab.atoms.symbols == metal, 2].max()
        outer = slab.atoms.positions[:, 2] - top
        assert outer.max() == pytest.approx(above, abs=1e-6)
        assert (outer > 0.3).sum() == oxygens


def test_bonds_of_the_rutile_surface(cut: Cut) -> None:
    """Outermost metal atoms: one with six bonds below bridging oxygen, one with five, cus."""
    atoms = cut("IrO2", "110").slab.atoms
    i, j = neighbor_list("ij", atoms, 2.2)
    top = atoms.positions[atoms.symbols == "Ir", 2].max()
    outer = np.flatnonzero((atoms.symbols == "Ir") & (atoms.positions[:, 2] > top - 0.1))
    assert sorted(np.bincount(i, minlength=len(atoms))[outer]) == [5, 6]
    bridging = int(np.argmax(atoms.positions[:, 2]))
    assert (i == bridging).sum() == 2
    assert set(atoms.symbols[j[i == bridging]]) == {"Ir"}


@pytest.mark.parametrize(
    ("facet", "names"),
    [
        ("111", ["metal-rich", "O-rich"]),
        ("100", ["stoichiometric"]),
    ],
)
def test_terminations_of_rocksalt(cut: Cut, facet: str, names: list[str]) -> None:
    mgo = bulk("MgO", "rocksalt", a=4.21)
    found = find_terminations(cut(mgo, facet).stacking)
    assert sorted(t.name for t in found) == sorted(names)
    assert all(cut(mgo, facet, termination=t.name).slab.symmetric for t in found)


def test_a_polar_crystal_has_no_equal_faces(cut: Cut, zincblende: Atoms) -> None:
    found = cut(zincblende, "111", layers=4, termination="S-terminated")
    assert not found.slab.symmetric
    assert found.slab.atoms.symbols.formula.format("metal") == "Zn4S4"
    assert found.slab.atoms.symbols[-1] == "S"
    assert cut(zincblende, "110").slab.symmetric


def test_whole_layers(cut: Cut) -> None:
    slab = cut("RuO2", "110", termination="O-rich", whole_layers=True).slab
    assert slab.atoms.symbols.formula.format("metal") == "Ru8O16"
    assert not slab.symmetric


def test_diamond_breaks_few_bonds_first(cut: Cut) -> None:
    """(111) cut between bilayers leaves one dangling bond an atom, within them three."""
    bonds = []
    for index in (0, 1):
        atoms = cut("C", "111", termination=index, layers=4).slab.atoms
        top = int(np.argmax(atoms.positions[:, 2]))
        bonds.append(int((neighbor_list("i", atoms, 1.7) == top).sum()))
    assert bonds == [3, 1]


@pytest.mark.parametrize("facet", ["531", "-1-10", "10,-1,0", "1-1-1"])
def test_any_facet_keeps_the_density_of_the_crystal(cut: Cut, facet: str) -> None:
    found = cut("Pt", facet, layers=3)
    volume = found.slab.area * found.stacking.period / found.stacking.layers
    assert volume == pytest.approx(found.stacking.atoms_per_layer * 3.92**3 / 4)
    assert neighbor_list("d", found.slab.atoms, 3.0).min() == pytest.approx(3.92 / 2**0.5)
