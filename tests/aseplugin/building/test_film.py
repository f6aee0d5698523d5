"""How much water there is, and where."""

import numpy as np
import pytest

from voltase.aseplugin.building.film import make_film, plan_film
from voltase.aseplugin.building.sampling import Region
from voltase.aseplugin.errors import InputError

AREA = 100.0
WATER_MASS = 18.01528 / 0.602214076  # A^3 of one molecule at 1 g/cm^3


def test_thickness_is_rounded_to_whole_molecules() -> None:
    plan = plan_film(AREA, 15.0, None, None, {})
    assert plan is not None
    assert plan.waters == round(0.997 * AREA * 15.0 / WATER_MASS) == 50
    assert plan.waters * WATER_MASS / (AREA * plan.thickness) == pytest.approx(0.997)
    assert plan.thickness == pytest.approx(15.0, abs=0.5 * WATER_MASS / AREA)


def test_a_number_of_molecules_sets_the_thickness() -> None:
    plan = plan_film(AREA, None, 32, 0.9, {})
    assert plan is not None
    assert plan.thickness == pytest.approx(32 * WATER_MASS / (0.9 * AREA))


def test_both_set_the_density() -> None:
    plan = plan_film(AREA, 12.0, 32, None, {})
    assert plan is not None
    assert plan.density == pytest.approx(32 * WATER_MASS / (12.0 * AREA))


def test_ions_take_the_room_of_water() -> None:
    """Na+ replaces one molecule, ClO4- two."""
    by_thickness = plan_film(AREA, 15.0, None, None, {"Na+": 2, "ClO4-": 1})
    assert by_thickness is not None
    assert by_thickness.waters == 46
    assert len(by_thickness.bodies) == 49
    by_number = plan_film(AREA, None, 46, None, {"Na+": 2, "ClO4-": 1})
    assert by_number is not None
    assert by_number.thickness == pytest.approx(by_thickness.thickness)


def test_no_water_at_all() -> None:
    assert plan_film(AREA, None, None, None, {}) is None


@pytest.mark.parametrize(
    ("thickness", "waters", "density", "ions", "message"),
    [
        (10.0, 500, None, {}, "^waters: got 500 in 10 A, which is 14.96 g/cm3, expected at most"),
        (10.0, 30, 0.5, {}, "^density: .*expected two of the three"),
        (10.0, None, 3.0, {}, "^density: got 3.0 g/cm3"),
        (-1.0, None, None, {}, "^thickness: got -1 A"),
        (None, 0, None, {}, "^waters: got 0, expected 1 to"),
        (None, None, None, {"Na+": 1}, "^ions: got Na\\+ without water"),
        (3.0, None, None, {"Na+": 10}, "^thickness: .*ions take 10"),
    ],
)
def test_refused(
    thickness: float, waters: int, density: float, ions: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        plan_film(AREA, thickness, waters, density, ions)


def test_molecules_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Atoms in the way of a film that is dense but not impossible at first sight."""
    from voltase.aseplugin.building import film

    monkeypatch.setattr(film, "EXTRA_SWEEPS", 20)
    lattice = 6.0 * np.eye(2)
    plan = plan_film(36.0, None, 12, 1.4, {})
    assert plan is not None
    region = Region(lattice, 0.0, plan.thickness)
    grid = np.arange(0.0, 6.0, 3.0)
    walls = np.array([[x, y, z] for x in grid for y in grid for z in np.arange(0.0, 9.0, 3.0)])
    with pytest.raises(InputError, match="^waters: 12 and 0 ions do not fit into"):
        make_film(plan, region, (walls, np.full(len(walls), 78)), 20, np.random.default_rng(0))
