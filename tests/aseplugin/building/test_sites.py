"""Adsorption sites and what sits on them."""

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from voltase.aseplugin.building.interface import build_interface
from voltase.aseplugin.building.sites import choose_site, find_sites
from voltase.aseplugin.errors import InputError

from .conftest import Cut


@pytest.mark.parametrize(
    ("crystal", "facet", "expected"),
    [
        ("Pt", "111", {"top": 1, "bridge": 3, "fcc": 1, "hcp": 1}),
        ("Cu", "111", {"top": 1, "bridge": 3, "fcc": 1, "hcp": 1}),
        ("Au", "100", {"top": 1, "bridge": 2, "hollow": 1}),
        ("Pt", "110", {"top": 1, "bridge_short": 1, "bridge_long": 1, "hollow": 1}),
        ("RuO2", "110", {"top_O": 1, "top_cus": 1}),
        ("IrO2", "110", {"top_O": 1, "top_cus": 1}),
    ],
)
@pytest.mark.parametrize("supercell", ["1x1", "3x2"])
def test_sites_of_a_surface_cell(
    cut: Cut, crystal: str, facet: str, expected: dict[str, int], supercell: str
) -> None:
    slab = cut(crystal, facet, supercell=supercell).slab
    cells = 6 if supercell == "3x2" else 1
    found = {site.name: len(site.points) for site in find_sites(slab)}
    assert found == {name: cells * number for name, number in expected.items()}


def test_hollows_are_over_the_right_layers(cut: Cut) -> None:
    """hcp over the second layer, fcc over the third."""
    slab = cut("Pt", "111", supercell="2x2").slab
    sites = find_sites(slab)
    for name, layer in (("top", 1), ("hcp", 2), ("fcc", 3)):
        below = slab.atoms[slab.atoms.get_tags() == layer].positions[:, :2]
        for point in choose_site(sites, name).points:
            away = below - point
            away -= (
                np.rint(away @ np.linalg.inv(slab.atoms.cell.array[:2, :2]))
                @ (slab.atoms.cell.array[:2, :2])
            )
            assert np.linalg.norm(away, axis=1).min() < 1e-6


def test_the_vacant_bridge_of_a_bare_rutile_surface_is_a_site(cut: Cut) -> None:
    names = {site.name for site in find_sites(cut("RuO2", "110", termination="metal-rich").slab)}
    assert {"top_cus", "top_bri", "bridge_cus_cus"} <= names


def test_adsorbates_bind_through_the_right_atom() -> None:
    atoms = build_interface("Pt", "111", supercell="2x2", adsorb=["CO@top", "OH@fcc"])
    i, j, d = neighbor_list("ijd", atoms, 2.3)
    symbols = np.array(atoms.get_chemical_symbols())
    bonds = {(symbols[a], symbols[b]): 0 for a, b in zip(i, j, strict=True) if symbols[a] == "Pt"}
    for a, b, _ in zip(i, j, d, strict=True):
        if symbols[a] == "Pt" and symbols[b] != "Pt":
            bonds[symbols[a], symbols[b]] += 1
    assert bonds == {("Pt", "C"): 1, ("Pt", "O"): 3}
    assert atoms.get_chemical_symbols()[16:] == ["O", "C", "O", "H"]
    np.testing.assert_array_equal(atoms.arrays["molecules"][16:], [1, 1, 2, 2])
    assert not atoms.get_tags()[16:].any()


def test_adsorbates_keep_away_from_each_other() -> None:
    atoms = build_interface("Pt", "111", supercell="4x4", adsorb="O@fcc:4")
    oxygen = np.flatnonzero(atoms.numbers == 8)
    distances = atoms.get_all_distances(mic=True)[np.ix_(oxygen, oxygen)]
    assert distances[distances > 0].min() > 5.0


@pytest.mark.parametrize(
    ("adsorb", "message"),
    [
        ("OH@hollow", "got the site 'hollow', expected one of top \\(4\\)"),
        ("OH@top:5", "more than 4 on top"),
        ("OH", "expected such as OH@top:2"),
        ("OH@top:0", "expected such as OH@top:2"),
        ("Qq@top", "got 'Qq'"),
        ("H2O@bridge:9", "overlap"),
    ],
)
def test_refused(adsorb: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^adsorb: .*{message}"):
        build_interface("Pt", "111", supercell="2x2", adsorb=adsorb)
