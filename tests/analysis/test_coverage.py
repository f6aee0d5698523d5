"""Sites and coverage: adsorbates put on known sites are found there."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bcc110, fcc100, fcc110, fcc111, hcp0001, surface
from ase.spacegroup import crystal
from matplotlib.figure import Figure

from voltase.analysis.coverage import SiteCoverage
from voltase.analysis.density import DensityProfile
from voltase.analysis.interface import find_interface
from voltase.analysis.readers import load
from voltase.analysis.sites import find_sites
from voltase.analysis.testing import COPIES, hexagonal_slab, turned, water
from voltase.aseplugin.errors import InputError

SURFACES = {
    "fcc111": fcc111("Pt", (4, 4, 4), vacuum=8.0),
    "fcc111 rectangular": fcc111("Au", (4, 4, 3), vacuum=8.0, orthogonal=True),
    "fcc100": fcc100("Cu", (3, 4, 4), vacuum=8.0),
    "fcc110": fcc110("Ag", (3, 3, 5), vacuum=8.0),
    "hcp0001": hcp0001("Ru", (4, 4, 4), vacuum=8.0),
    "bcc110": bcc110("Fe", (4, 3, 4), vacuum=8.0),
}
# Numbers of sites for each atom of the surface, as crystallography has them.
NUMBERS = {
    "fcc111": {"top": 1, "bridge": 3, "fcc": 1, "hcp": 1},
    "fcc111 rectangular": {"top": 1, "bridge": 3, "fcc": 1, "hcp": 1},
    "fcc100": {"top": 1, "bridge": 2, "hollow": 1},
    "fcc110": {"top": 1, "bridge_short": 1, "bridge_long": 1, "hollow": 1},
    "hcp0001": {"top": 1, "bridge": 3, "fcc": 1, "hcp": 1},
    "bcc110": {"top": 1, "bridge_short": 2, "bridge_long": 1, "hollow": 2},
}
# ASE's names of the same sites.
ASE_NAMES = {
    "top": "ontop", "bridge_short": "shortbridge", "bridge_long": "longbridge",
}  # fmt: skip


def rutile() -> Atoms:
    """RuO2(110) whose upper face has bridging oxygens, and oxygens on top of its cus atoms."""
    a, c, u = 4.49, 3.11, 0.306
    bulk = crystal(["Ru", "O"], [(0, 0, 0), (u, u, 0)], spacegroup=136,
                   cellpar=[a, a, c, 90, 90, 90])  # fmt: skip
    slab = surface(bulk, (1, 1, 0), 4, vacuum=8.0) * (2, 3, 1)
    return Atoms(slab.symbols, slab.positions, cell=slab.cell, pbc=True)


def wet(slab: Atoms) -> Atoms:
    """With one molecule in contact with the upper face but not adsorbed."""
    atoms = slab.copy()
    atoms.info, atoms.pbc = {}, True
    top = atoms.positions[:, 2].max()
    return atoms + water((0.3, 0.2, top + 4.0), (0.0, 0.0, 1.0))


@pytest.mark.parametrize("noise", [0.0, 0.12])
@pytest.mark.parametrize("name", SURFACES)
def test_sites_of_surfaces(name: str, noise: float) -> None:
    clean = wet(SURFACES[name])
    frames = []
    for seed in range(1 if noise == 0.0 else 12):
        atoms = clean.copy()
        atoms.rattle(noise, seed=seed)
        frames.append(atoms)
    found = SiteCoverage(load(frames)).run().results
    assert {k: round(v, 9) for k, v in found.sites["upper"].items()} == NUMBERS[name]


def test_both_faces_have_the_same_sites() -> None:
    atoms = wet(SURFACES["fcc111"])
    atoms.positions[0:16, 2] -= 0.05  # Relaxation of one face does not matter.
    interface = find_interface(atoms.cell.array, atoms.positions, atoms.numbers)
    lower, upper = (find_sites(atoms.cell.array, atoms.positions, atoms.numbers, interface, face)
                    for face in (0, 1))  # fmt: skip
    assert lower.names == upper.names
    assert len(lower.classes) == len(upper.classes) == 6 * 16


@pytest.mark.parametrize("name", SURFACES)
def test_adsorbates_are_found_where_they_are(name: str) -> None:
    for site in NUMBERS[name]:
        slab = SURFACES[name].copy()
        add_adsorbate(slab, "O", 1.6, ASE_NAMES.get(site, site), offset=(1, 1))
        add_adsorbate(slab, Atoms("OH", [(0, 0, 0), (0, 0, 1)]), 1.9,
                      ASE_NAMES.get(site, site), offset=(2, 1))  # fmt: skip
        found = SiteCoverage(load([wet(slab)])).run().results.coverage["both"]
        metals = len(SURFACES[name][SURFACES[name].get_tags() == 1])
        for adsorbate in ("O", "OH"):
            assert found[adsorbate][site] == pytest.approx(1.0 / metals)
            assert found[adsorbate]["all"] == pytest.approx(1.0 / metals)
        assert found["H2O"]["all"] == found["H"]["all"] == 0.0


def test_random_adsorbates_cover_the_area_of_each_site(rng: np.random.Generator) -> None:
    slab = SURFACES["fcc111"]
    top = slab.positions[:, 2].max()
    frames = []
    for _ in range(150):
        points = rng.random((6, 3)) @ np.diag([1, 1, 0]) @ slab.cell.array + (0, 0, top + 2.0)
        frames.append(wet(slab) + Atoms("O6", points))
    universe = load(frames)
    analysis = SiteCoverage(universe).run()
    found, error = (analysis.results[k]["upper"]["O"] for k in ("coverage", "coverage_err"))
    assert found["all"] == pytest.approx(6.0 / 16.0)
    # Areas of the Voronoi cells of a triangular lattice with its bridges and hollows.
    for site, share in {"top": 1 / 4, "bridge": 1 / 2, "fcc": 1 / 8, "hcp": 1 / 8}.items():
        assert 0.0 < error[site] < 0.03
        assert abs(found[site] - share * 6.0 / 16.0) < 4.0 * error[site]


def crowded(rng: np.random.Generator) -> Atoms:
    """Adsorbates of all kinds on both faces."""
    atoms = hexagonal_slab(bottom=12.0)
    low, high = atoms.positions[:, 2].min(), atoms.positions[:, 2].max()
    for face, height in ((-1.0, low), (1.0, high)):
        for row in range(4):
            point = np.array([(row + rng.random()) / 4, rng.random(), 0.0]) @ atoms.cell.array
            point[2] = height + face * (2.0 + 1.4 * rng.random())
            group = [water(point, (0.2, 0.1, face)), Atoms("OH", [point, point + (0, 0, face)]),
                     Atoms("O", [point]), Atoms("H", [point])][row]  # fmt: skip
            atoms += group
    return atoms


@pytest.mark.parametrize("how", COPIES)
def test_copies_have_the_same_coverage(how: str, rng: np.random.Generator) -> None:
    frames = [crowded(rng) for _ in range(6)]
    a = SiteCoverage(load(frames)).run().results.coverage
    b = SiteCoverage(load([turned(atoms, how) for atoms in frames])).run().results.coverage
    for face, adsorbates in a.items():
        for adsorbate, sites in adsorbates.items():
            assert b[face][adsorbate] == pytest.approx(sites, abs=1e-12)


def test_drift_and_vibration_of_the_slab_change_nothing(rng: np.random.Generator) -> None:
    still, moving = [], []
    for k in range(20):
        atoms = hexagonal_slab()
        top = atoms.positions[-16:]
        sites = {"top": top[5], "fcc": top[[5, 6, 9]].mean(axis=0),
                 "bridge": top[[9, 10]].mean(axis=0)}  # fmt: skip
        for place in sites.values():
            atoms += Atoms("O", [place + (0.0, 0.0, 1.8)])
        other = atoms.copy()
        other.positions += (0.9 * k, 0.4 * k, 0.7 * k)
        other.rattle(0.1, seed=k)
        other.wrap()
        still.append(wet(atoms))
        moving.append(wet(atoms)[:0] + other + water((0.3, 0.2, 25.0 + 0.7 * k), (0, 0, 1)))
    a, b = (SiteCoverage(load(frames)).run().results for frames in (still, moving))
    for site, value in a.coverage["upper"]["O"].items():
        assert b.coverage["upper"]["O"][site] == pytest.approx(value, abs=1e-12)
    assert a.coverage["upper"]["O"]["top"] == pytest.approx(1.0 / 16.0)
    assert b.sites == a.sites


def test_only_adsorbates_near_the_surface_count() -> None:
    frames = []
    for o, h in ((2.69, 1.99), (2.71, 2.01)):
        atoms = hexagonal_slab()
        place = atoms.positions[-6]
        atoms += water(place + (0.0, 0.0, o), (0.0, 0.0, 1.0))
        atoms += Atoms("H", [atoms.positions[-14] * (1, 1, 0) + (5.0, 0.0, place[2] + h)])
        frames.append(atoms)
    found = SiteCoverage(load(frames)).run().results
    assert (16.0 * found.series["both"]["H2O"]).tolist() == [1.0, 0.0]
    assert (16.0 * found.series["both"]["H"]).tolist() == [1.0, 0.0]
    wider = SiteCoverage(load(frames), o_distance=3.0, h_distance=2.5).run().results
    assert wider.coverage["both"]["H2O"]["top"] == wider.coverage["both"]["H"]["all"] == 1.0 / 16.0


def test_rows_of_an_oxide() -> None:
    slab = rutile()
    heights = slab.positions[:, 2] - slab.positions[slab.numbers == 44, 2].max()
    metals = (np.abs(heights[slab.numbers == 44]) < 0.5).sum()
    terminal, bridging = np.flatnonzero(heights > 1.6), np.flatnonzero(heights > 0.8)
    bridging = np.setdiff1d(bridging, terminal)
    assert len(terminal) == len(bridging) == metals / 2
    # Water in place of one oxygen, and a hydrogen on one that bridges.
    cus = slab.positions[terminal[0]]
    frame = wet(slab) + Atoms("H", [slab.positions[bridging[1]] + (0.0, 0.2, 0.96)])
    frame += water(cus + (0.0, 0.0, 0.2), (0.0, 0.3, 1.0))
    del frame[int(terminal[0])]
    found = SiteCoverage(load([frame])).run().results
    coverage = found.coverage["upper"]
    assert coverage["H2O"]["top_cus"] == coverage["H2O"]["all"] == pytest.approx(1.0 / metals)
    assert coverage["OH"]["bridge_bri_bri"] == coverage["OH"]["all"] == pytest.approx(1.0 / metals)
    assert coverage["O"]["top_cus"] == coverage["O"]["all"] == pytest.approx(5.0 / metals)
    assert found.sites["upper"] == {
        "top_bri": 0.5, "top_cus": 0.5, "bridge_bri_bri": 0.5, "bridge_bri_cus": 2.0,
        "bridge_cus_cus": 0.5, "hollow_bri_bri_cus": 1.0, "hollow_bri_cus_cus": 1.0,
    }  # fmt: skip


def test_sites_of_an_alloy_say_what_is_around() -> None:
    slab = SURFACES["fcc111"].copy()
    slab.symbols[-6] = "Ni"
    names = SiteCoverage(load([wet(slab)])).run().results.sites["upper"]
    assert names["top_Ni"] == 1.0 / 16.0
    assert names["bridge_Ni_Pt"] == names["hollow_Ni_Pt_Pt"] == 6.0 / 16.0


def test_mirrored_faces_are_the_same(rng: np.random.Generator) -> None:
    frames = []
    for _ in range(4):
        atoms = crowded(rng)
        upper = atoms.positions[:, 2] > 12.0 + 1e-6
        keep = atoms[(atoms.numbers == 78) | upper]
        rest = keep[keep.numbers != 78]
        # Rotated by half a turn about an in-plane axis through an atom of the middle layer, the
        # slab is itself.
        centre = hexagonal_slab(bottom=12.0).positions[16]
        rest.positions = 2.0 * centre - rest.positions
        frames.append(keep + rest)
    found = SiteCoverage(load(frames)).run().results
    for adsorbate, sites in found.coverage["lower"].items():
        assert found.coverage["upper"][adsorbate] == pytest.approx(sites)
        assert found.coverage["both"][adsorbate] == pytest.approx(sites)


def test_two_processes_give_the_same(rng: np.random.Generator) -> None:
    universe = load([crowded(rng) for _ in range(12)])
    serial = SiteCoverage(universe).run().tables()
    parallel = SiteCoverage(universe).run(backend="multiprocessing", n_workers=2).tables()
    for stem, table in serial.items():
        for name, column in table.items():
            np.testing.assert_array_equal(parallel[stem][name], column)


def test_tables_and_figure(rng: np.random.Generator) -> None:
    analysis = SiteCoverage(load([crowded(rng) for _ in range(10)], dt=0.5)).run()
    tables = analysis.tables()
    for table in tables.values():
        assert len({len(column) for column in table.values()}) == 1
    assert tables["coverage"]["site"].tolist() == ["top", "bridge", "fcc", "hcp", "all"]
    assert tables["coverage_series"]["time_ps"][-1] == 4.5
    figure = Figure()
    analysis.draw(figure)
    assert figure.axes[1].get_xlabel() == "time (ps)"


def test_too_few_frames_have_no_error(
    rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    found = SiteCoverage(load([crowded(rng) for _ in range(3)])).run().results
    assert np.isnan(found.coverage_err["both"]["H2O"]["all"])
    assert "too few" in caplog.text


@pytest.mark.parametrize("name", ["o_distance", "h_distance"])
def test_bad_arguments(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: found 0.1 A, expected 0.5 to 6 A"):
        SiteCoverage(load([wet(SURFACES["fcc111"])]), **{name: 0.1})


@pytest.mark.slow
def test_platinum_in_water(shared_data: Path) -> None:
    from ase.io import read

    path = shared_data / "pt111_water" / "unbiased.extxyz.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    universe = load(read(path, ":180"))
    found = SiteCoverage(universe).run().results.coverage["both"]
    oxygen = sum(found[adsorbate]["all"] for adsorbate in ("H2O", "OH", "O"))
    # The same oxygens, counted with the density.
    assert oxygen == pytest.approx(DensityProfile(universe).run().per_surface_atom("O", 2.7))
    assert oxygen == pytest.approx(0.168, abs=0.002)
    assert found["H2O"]["top"] > 0.95 * found["H2O"]["all"]
