"""Units, references and potentials against literature values, identities and bad input."""

import doctest
import json
import subprocess
import sys

import numpy as np
import pytest

from voltase.aseplugin import electrochemistry as ec
from voltase.aseplugin.electrochemistry import Reference, check_plausible, parse_potential
from voltase.aseplugin.errors import InputError, PotentialError

AREA = 106.4  # A^2


# Literature values


def test_vacuum_permittivity_in_electron_units() -> None:
    # 55.26349406 e^2/(eV um), CODATA 2018; the 2022 value is 8e-9 lower.
    assert pytest.approx(5.526349406e-3, rel=1e-8) == ec.EPSILON_0


def test_thermal_voltage_is_the_textbook_one() -> None:
    assert ec.thermal_voltage(298.15) == pytest.approx(25.6926e-3, rel=1e-5)
    assert ec.thermal_energy(1.0) == pytest.approx(8.617333262e-5, rel=1e-9)


def test_nernstian_slope_of_the_rhe_is_59_mv_per_ph() -> None:
    slope = Reference("RHE", pH=3).from_absolute(0.0) - Reference("RHE", pH=2).from_absolute(0.0)
    assert slope == pytest.approx(59.1593e-3, rel=1e-6)


def test_capacitance_of_one_square_angstrom() -> None:
    assert ec.capacitance_from_areal(1.0, 1.0) == pytest.approx(6.2415091e-4, rel=1e-7)


def test_plate_capacitor_agrees_through_both_routes() -> None:
    # eps0 A / d for d = 3 A in e/V, and 8.8541878188e-12 F/m / 3e-10 m = 2.9514 uF/cm2.
    assert ec.capacitance_to_areal(ec.EPSILON_0 * AREA / 3.0, AREA) == pytest.approx(
        2.951396, rel=1e-6
    )


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("uC/cm2", -1602.176634), ("C/m2", -16.02176634), ("e/nm2", -100.0), ("e/A2", -1.0)],
)
def test_one_electron_per_square_angstrom(unit: str, expected: float) -> None:
    assert ec.surface_charge_density(1.0, 1.0, unit) == pytest.approx(expected, rel=1e-12)


# Signs and identities


def test_more_electrons_is_a_more_negative_charge() -> None:
    assert ec.charge_from_excess_electrons(0.3) == -0.3
    assert ec.surface_charge_density(0.3, AREA) < 0
    assert ec.excess_electrons_from_charge(-0.3) == 0.3


def test_a_lower_chemical_potential_is_a_higher_electrode_potential() -> None:
    assert ec.electrode_potential_from_mu(-4.44) == 4.44
    assert ec.mu_from_electrode_potential(4.44) == -4.44


@pytest.mark.parametrize("unit", list(ec.SURFACE_CHARGE_UNITS))
def test_surface_charge_round_trip_on_arrays(unit: str) -> None:
    n = np.linspace(-2.0, 2.0, 9)
    sigma = ec.surface_charge_density(n, np.full(9, AREA), unit)
    np.testing.assert_allclose(
        ec.excess_electrons_from_surface_charge(sigma, np.full(9, AREA), unit), n, rtol=1e-14
    )


def test_capacitance_round_trips() -> None:
    capacitance = np.array([1e-3, 0.14, 7.0])
    areal = ec.capacitance_to_areal(capacitance, AREA * np.ones(3))
    np.testing.assert_allclose(ec.capacitance_from_areal(areal, AREA * np.ones(3)), capacitance)
    np.testing.assert_allclose(
        ec.capacitance_from_farad(ec.capacitance_to_farad(capacitance)), capacitance
    )
    # 1 e/V is e farads: its areal form must follow from the SI value alone.
    assert areal[2] == pytest.approx(7.0 * 1.602176634e-19 * 1e6 / (AREA * 1e-16), rel=1e-12)


def test_grand_potential_is_the_legendre_transform_of_a_capacitor() -> None:
    # E = E0 - Phi0 n + n^2/2C: Phi = -dE/dn and n = dOmega/dPhi must hold along the whole curve.
    e0, phi0, c, h = -3.0, 4.9, 0.2, 1e-4

    def omega(phi: float) -> float:
        n = c * (phi0 - phi)
        return ec.grand_potential(e0 - phi0 * n + n * n / (2 * c), n, phi)

    for phi in (3.5, 4.4, 5.3):
        n = c * (phi0 - phi)
        assert (omega(phi + h) - omega(phi - h)) / (2 * h) == pytest.approx(n, abs=1e-9)
        assert omega(phi + h) + omega(phi - h) < 2 * omega(phi), "Omega is concave in Phi"


def test_energies_round_trip() -> None:
    omega = ec.grand_potential(-10.0, 0.3, 4.0)
    assert omega == pytest.approx(-8.8)
    assert ec.canonical_energy(omega, 0.3, 4.0) == pytest.approx(-10.0)


def test_torch_stays_out_of_the_import() -> None:
    code = (
        "import sys, voltase.aseplugin, voltase.aseplugin.electrochemistry, "
        "voltase.aseplugin.potential_schedule; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_examples_in_the_docstrings() -> None:
    results = doctest.testmod(ec)
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize("area", [0.0, -1.0, float("nan")])
def test_an_area_that_is_no_area_is_refused(area: float) -> None:
    for call in (
        ec.surface_charge_density,
        ec.excess_electrons_from_surface_charge,
        ec.capacitance_from_areal,
        ec.capacitance_to_areal,
    ):
        with pytest.raises(InputError, match="area: got"):
            call(1.0, area)


def test_one_bad_area_in_an_array_is_refused() -> None:
    with pytest.raises(InputError, match="area"):
        ec.surface_charge_density(np.ones(2), np.array([1.0, 0.0]))


def test_an_unknown_surface_charge_unit_is_refused() -> None:
    with pytest.raises(InputError, match="'e/cm2'.*uC/cm2"):
        ec.surface_charge_density(1.0, 1.0, "e/cm2")


# References

REFERENCES = [
    Reference(),
    Reference("absolute"),
    Reference("SHE", she_absolute=4.6),
    Reference("RHE", pH=13, temperature_K=330.0),
    Reference("Ag/AgCl"),
    Reference("SCE", electrode_vs_she=0.2444),
]


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda r: r.label)
def test_reference_round_trips(reference: Reference) -> None:
    potentials = np.linspace(-2.0, 2.0, 7)
    phi = reference.to_absolute(potentials)
    np.testing.assert_allclose(reference.from_absolute(phi), potentials, atol=1e-14)
    assert reference.to_absolute(0.0) == reference.zero_absolute
    assert Reference.from_dict(json.loads(json.dumps(reference.as_dict()))) == reference
    assert Reference.parse(reference) is reference


@pytest.mark.parametrize(
    ("reference", "phi"),
    [
        (Reference(), 3.94),
        (Reference("absolute"), -0.5),
        (Reference("RHE", pH=0), 3.94),
        (Reference("RHE", pH=7), 3.94 - 7 * 0.0591593),
        (Reference("Ag/AgCl"), 4.137),
        (Reference("SCE"), 4.181),
    ],
    ids=lambda value: getattr(value, "label", ""),
)
def test_half_a_volt_below_each_reference(reference: Reference, phi: float) -> None:
    assert reference.to_absolute(-0.5) == pytest.approx(phi, abs=1e-6)


def test_rhe_and_she_differ_by_the_nernst_term() -> None:
    rhe = Reference.parse("rhe", pH=14)
    u_she = Reference().from_absolute(rhe.to_absolute(0.0))
    assert u_she == pytest.approx(-0.8282, abs=1e-4)  # hydrogen evolution in 1 M base


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("she", "SHE"),
        ("Absolute", "absolute"),
        ("AG/AGCL", "Ag/AgCl"),
        (" ag-agcl ", "Ag/AgCl"),
        ("Sce", "SCE"),
    ],
)
def test_reference_names_in_any_case(text: str, name: str) -> None:
    assert Reference.parse(text).name == name


def test_options_that_are_none_count_as_not_given() -> None:
    assert Reference.parse("SHE", pH=None, she_absolute=None) == Reference()


def test_labels() -> None:
    assert Reference().label == "V vs SHE"
    assert Reference("absolute").label == "V (absolute)"
    assert Reference("RHE", pH=7).label == "V vs RHE (pH 7)"


def test_numpy_numbers_make_the_same_reference() -> None:
    assert Reference("SHE", she_absolute=np.float64(4.5)) == Reference("SHE", she_absolute=4.5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("NHE", {}, "'NHE', expected one of SHE, absolute, RHE"),
        (None, {}, "expected one of"),
        ("SHE", {"ph": 7}, "unknown option 'ph'"),
        ("SHE", {"name": "RHE"}, "unknown option 'name'"),
        ("RHE", {}, "got none with reference RHE"),
        ("SHE", {"pH": 7}, "it goes with RHE only"),
        ("RHE", {"pH": 77}, "expected -2 to 16"),
        ("RHE", {"pH": True}, "expected a number"),
        ("RHE", {"pH": "7"}, "expected a number"),
        ("RHE", {"pH": float("nan")}, "expected a finite number"),
        ("RHE", {"pH": 7, "temperature_K": 0}, "temperature_K: got 0"),
        ("SHE", {"she_absolute": -4.44}, "she_absolute: got -4.44"),
        ("SHE", {"electrode_vs_she": 0.2}, "Ag/AgCl or SCE only"),
    ],
)
def test_references_that_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Reference.parse(name, **options)
    assert "\n" not in str(caught.value)


def test_a_reference_with_options_on_top_is_refused() -> None:
    with pytest.raises(InputError, match="got a Reference and also pH"):
        Reference.parse(Reference("SHE"), pH=3)


def test_a_stored_reference_with_unknown_content_is_refused() -> None:
    with pytest.raises(InputError, match="no name"):
        Reference.from_dict({"she_absolute": 4.44})
    with pytest.raises(InputError, match="unknown option 'scale'"):
        Reference.from_dict({"name": "SHE", "scale": 2})


# Reading potentials


@pytest.mark.parametrize(
    ("value", "volts"),
    [
        ("-0.5V", -0.5),
        ("250 mV", 0.25),
        ("-0.5", -0.5),
        ("\N{MINUS SIGN}0.5 V", -0.5),
        ("+.5v", 0.5),
        ("1.", 1.0),
        ("  -5e\N{MINUS SIGN}1  V ", -0.5),
        ("-500mv", -0.5),
        ("0", 0.0),
        (0, 0.0),
        (-1, -1.0),
        (-0.5, -0.5),
        (np.float64(-0.5), -0.5),
        (np.float32(-0.5), -0.5),
        (np.int64(1), 1.0),
        (np.array(0.25), 0.25),
    ],
)
def test_potentials_that_are_read(value: object, volts: float) -> None:
    read = parse_potential(value)
    assert read == pytest.approx(volts, abs=1e-15)
    assert type(read) is float


def test_the_unit_of_a_bare_number() -> None:
    assert parse_potential("-500", unit="mV") == -0.5
    assert parse_potential(250, unit="mV") == 0.25
    assert parse_potential("0.5V", unit="mV") == 0.5
    with pytest.raises(InputError, match="unit: got 'kV'"):
        parse_potential("1", unit="kV")


def test_every_float_survives_its_own_text() -> None:
    for value in np.random.default_rng(0).normal(size=50) * 10.0 ** np.arange(-25, 25):
        assert parse_potential(f"{value!s}V") == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "V",
        "nan",
        "inf",
        "-inf V",
        "1e400",
        "0.5MV",
        "0.5 eV",
        "0,5V",
        "--0.5V",
        "0.5VV",
        "1 2",
        "0x1p3",
        "1_000",
        "\N{ARABIC-INDIC DIGIT FIVE}V",
        "NO",
        "\n",
        float("nan"),
        float("inf"),
        10**400,
        "9" * 5000,
        np.float64("nan"),
        True,
        np.True_,
        None,
        [],
        [0.5],
        np.array([0.5]),
        {},
        1j,
        b"0.5V",
    ],
    ids=lambda value: repr(value)[:30],
)
def test_potentials_that_are_refused(value: object) -> None:
    with pytest.raises(PotentialError, match=r"potential: got .*expected a (finite )?number") as e:
        parse_potential(value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("text", ["-0.5 V vs SHE", "-0.5V vs. RHE", "0.2 SCE", "4.4 V absolute"])
def test_a_reference_behind_the_number_is_pointed_to_its_option(text: str) -> None:
    with pytest.raises(PotentialError, match="--reference"):
        parse_potential(text)


# Plausibility


@pytest.mark.parametrize(
    ("potential", "reference"),
    [
        (-0.5, Reference()),
        (-3.04, Reference()),
        (2.87, Reference()),
        (4.0, Reference("absolute")),
        (2.0, Reference("absolute")),
        (7.5, Reference("absolute")),
        (3.2, Reference("RHE", pH=14)),
        (np.linspace(-1.0, 1.0, 5), Reference()),
    ],
    ids=str,
)
def test_plausible_potentials_pass(
    potential: float | np.ndarray[tuple[int], np.dtype[np.float64]], reference: Reference
) -> None:
    check_plausible(potential, reference)


@pytest.mark.parametrize(
    ("potential", "reference", "message"),
    [
        (4.4, Reference(), "did you mean reference='absolute'"),
        (3.94, Reference("RHE", pH=0), "did you mean reference='absolute'"),
        (-0.5, Reference("absolute"), "did you mean reference='SHE'"),
        (1.9, Reference("absolute"), "did you mean reference='SHE'"),
        (-500, Reference(), "did you mean -500 mV"),
        (-500, Reference("absolute"), "did you mean -500 mV"),
        (4400, Reference("absolute"), "did you mean 4400 mV"),
        (-3.5, Reference(), r"within 3.1 V of the SHE$"),
        (9.0, Reference("absolute"), r"within 3.1 V of the SHE$"),
        (float("nan"), Reference(), "got nan V vs SHE"),
        (float("nan"), Reference("absolute"), r"got nan V \(absolute\)"),
        (np.array([0.0, 4.4]), Reference(), "got 4.4 V vs SHE"),
    ],
)
def test_implausible_potentials_say_what_was_meant(
    potential: float | np.ndarray[tuple[int], np.dtype[np.float64]],
    reference: Reference,
    message: str,
) -> None:
    with pytest.raises(PotentialError, match=message) as caught:
        check_plausible(potential, reference)
    assert "\n" not in str(caught.value)
