"""Names, charges and geometries of ions."""

import numpy as np
import pytest

from voltase.aseplugin.building.molecules import ION_CHARGES, parse_counts, read_body, water
from voltase.aseplugin.errors import InputError


@pytest.mark.parametrize(
    ("name", "formula", "charge"),
    [
        ("Na+", "Na", 1),
        ("K+", "K", 1),
        ("Cl-", "Cl", -1),
        ("ClO4-", "ClO4", -1),
        ("OH-", "HO", -1),
        ("H3O+", "H3O", 1),
        ("SO4--", "O4S", -2),
        ("SO42-", "O4S", -2),
        ("SO4^2-", "O4S", -2),
        ("Ca2+", "Ca", 2),
        ("Ca++", "Ca", 2),
        ("Ca+2", "Ca", 2),
        ("NO3\N{MINUS SIGN}", "NO3", -1),
        ("O2", "O2", 0),
        ("CH3OH", "CH4O", 0),
    ],
)
def test_charge_and_formula(name: str, formula: str, charge: int) -> None:
    from ase.formula import Formula
    from ase.symbols import Symbols

    body = read_body(name)
    assert body.charge == charge
    assert Formula(str(Symbols(body.numbers))).count() == Formula(formula).count()
    assert body.partial_charges.sum() == pytest.approx(charge)
    np.testing.assert_array_equal(body.positions[0], 0.0)


@pytest.mark.parametrize("formula", sorted(set(ION_CHARGES) - {"CN"}))
def test_every_ion_with_a_known_charge_has_a_geometry(formula: str) -> None:
    charge = ION_CHARGES[formula]
    body = read_body(formula + ("+" if charge > 0 else "-") * abs(charge))
    assert body.charge == charge


def test_perchlorate_is_a_tetrahedron() -> None:
    bonds = read_body("ClO4-").positions[1:]
    lengths = np.linalg.norm(bonds, axis=1)
    np.testing.assert_allclose(lengths, lengths[0])
    cosines = (bonds @ bonds.T / lengths[0] ** 2)[np.triu_indices(4, 1)]
    np.testing.assert_allclose(cosines, -1.0 / 3.0, atol=1e-9)


def test_water_is_neutral_with_a_dipole_near_that_of_spce() -> None:
    body = water()
    assert body.partial_charges.sum() == pytest.approx(0.0)
    debye = 4.80320 * np.linalg.norm(body.partial_charges @ body.positions)
    assert debye == pytest.approx(2.35, abs=0.1)


@pytest.mark.parametrize(
    ("name", "message"),
    [("Na", "without a charge, expected such as Na\\+"), ("Xy+", "got 'Xy'"), ("Na+-", "'Na\\+-'"),
     ("ClO9-", "got 'ClO9'"), ("", "got ''")],
)  # fmt: skip
def test_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^ions: .*{message}"):
        read_body(name)


def test_counts() -> None:
    assert parse_counts("Na+:2, ClO4-") == {"Na+": 2, "ClO4-": 1}
    assert parse_counts({"K+": 3}) == {"K+": 3}
    assert parse_counts(None) == {}
    for wrong in ("Na+:0", "Na+:x", "", "Na+,Na+", ["Na+"], {"Na+": -1}, {"Na+": 1.5}):
        with pytest.raises(InputError, match="^ions: "):
            parse_counts(wrong)  # type: ignore[arg-type]
