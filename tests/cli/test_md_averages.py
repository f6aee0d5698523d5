"""Averages, drift and capacitances from logs whose answers are known."""

import math
from pathlib import Path

import numpy as np
import pytest

from voltase.aseplugin.electrochemistry import capacitance_to_areal, thermal_energy
from voltase.aseplugin.errors import InputError
from voltase.cli.md_averages import (
    RunLog,
    averages,
    conserved_drift,
    fluctuation_capacitance,
    measured,
    read_log,
)
from voltase.cli.md_series import (
    SeriesPoint,
    finite_differences,
    member_name,
    member_settings,
)
from voltase.cli.md_settings import MDSettings


def make_log(rows: int, n: np.ndarray) -> RunLog:
    steps = 5.0 * np.arange(rows)
    return RunLog(
        {
            "step": steps,
            "time_fs": 0.5 * steps,
            "T_K": np.full(rows, 330.0),
            "conserved_eV": 1.0 + 0.002 * 1e-3 * 0.5 * steps,
            "n_e": n,
            "sigma_uC_cm2": -2.0 * n,
            "U_V": 0.1 * n,
        }
    )


def test_the_drift_is_the_slope_in_meV_per_mobile_atom_and_ps() -> None:
    log = make_log(50, np.zeros(50))
    assert conserved_drift(log, 4) == pytest.approx(0.5, rel=1e-9)
    assert conserved_drift(log.since(245), 4) is None


def test_averages_leave_out_the_equilibration() -> None:
    n = np.where(np.arange(100) < 20, 100.0, 0.25)
    found = averages(make_log(100, n), from_step=100)
    assert found["samples"] == 80
    assert found["n_e"]["mean"] == 0.25
    assert found["sigma_uC_cm2"]["mean"] == -0.5


def test_errors_and_variance_of_uncorrelated_samples() -> None:
    rng = np.random.default_rng(1)
    n = 0.3 + 0.05 * rng.standard_normal(4096)
    found = averages(make_log(4096, n), from_step=0)["n_e"]
    assert found["error"] == pytest.approx(0.05 / 64, rel=0.3)
    assert found["correlation_time_fs"] == pytest.approx(0.5 * 2.5, rel=0.5)
    assert found["variance"] == pytest.approx(0.05**2, rel=0.1)
    assert found["variance_error"] == pytest.approx(0.05**2 * math.sqrt(2 / 4096), rel=0.4)


def test_a_short_run_has_no_error_rather_than_a_wrong_one() -> None:
    found = averages(make_log(10, np.linspace(0, 1, 10)), from_step=0)
    assert found["n_e"]["error"] is None
    assert averages(make_log(10, np.zeros(10)), from_step=1000) == {
        "from_step": 1000,
        "samples": 0,
    }


def test_spreads_of_the_committee_where_they_are_known() -> None:
    log = make_log(6, np.zeros(6))
    assert "forces_spread_eV_A" not in averages(log, from_step=0)
    log.columns["forces_spread_eV_A"] = np.array([np.nan, 0.1, 0.1, 0.4, 0.4, 0.2])
    log.columns["Phi_spread_V"] = np.full(6, np.nan)
    found = averages(log, from_step=0)
    assert found["forces_spread_eV_A"] == {"mean": pytest.approx(0.24), "largest": 0.4}
    assert "Phi_spread_V" not in found


def test_no_drift_of_a_few_steps() -> None:
    assert conserved_drift(make_log(19, np.zeros(19)), 4) is None


def test_the_variance_of_n_at_fixed_positions_is_that_of_its_capacitance() -> None:
    # var(n) = kT C
    capacitance, area = 0.2, 50.0
    variance = thermal_energy(330.0) * capacitance
    n_e = {"variance": variance, "variance_error": 0.1 * variance}
    value, error = fluctuation_capacitance(n_e, 330.0, area)
    assert value == pytest.approx(capacitance_to_areal(capacitance, area))
    assert error == pytest.approx(0.1 * value)


def point(potential: float, sigma: float, error: float) -> SeriesPoint:
    return SeriesPoint(potential, potential, 0.0, 0.0, 0.0, sigma, error, math.nan, math.nan, 330.0)


def test_finite_differences_of_a_charging_curve() -> None:
    slopes = finite_differences([point(-0.5, -10.0, 0.3), point(0.0, 0.0, 0.4), point(1.0, 30, 0)])
    assert [slope.potential for slope in slopes] == [-0.25, 0.5]
    assert [slope.capacitance for slope in slopes] == [20.0, 30.0]
    assert slopes[0].error == pytest.approx(1.0)
    assert slopes[1].error == pytest.approx(0.4)


def test_runs_of_a_series_are_independent_of_their_order_and_company() -> None:
    settings = MDSettings(potential="0V,1V", seed=3)
    seeds = {u: member_settings(settings, u).seed for u in (-0.5, 0.5, 0.0, 1.0)}
    assert len(set(seeds.values())) == 4
    other = MDSettings(potential="-0.5V", seed=3)
    assert member_settings(other, -0.5).seed == seeds[-0.5]
    assert member_settings(MDSettings(seed=4), -0.5).seed != seeds[-0.5]
    assert member_name(-0.5) == "U_-0.5V"


@pytest.mark.parametrize(
    ("mean", "error", "expected"),
    [
        (-4.51234, 0.0713, "-4.512 +- 0.071"),
        (0.31234, None, "0.3123 (too short a run for an error)"),
        (331.0, 14.0, "331 +- 14"),
        (2.0, math.nan, "2 (too short a run for an error)"),
    ],
)
def test_an_error_has_two_digits(mean: float, error: float | None, expected: str) -> None:
    assert measured(mean, error) == expected


def test_a_file_of_another_kind_is_no_log(tmp_path: Path) -> None:
    path = tmp_path / "md.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column 'step'"):
        read_log(path)


def test_the_log_of_a_run_that_has_just_begun(tmp_path: Path) -> None:
    path = tmp_path / "md.csv"
    path.write_text("# comment\nstep,n_e\n")
    assert len(read_log(path)) == 0
    path.write_text("# comment\nstep,n_e\n0,0.5\n")
    np.testing.assert_array_equal(read_log(path)["n_e"], [0.5])
