"""The solver finds n on easy, steep, kinked and hopeless curves."""

import math

import pytest

from voltase.aseplugin.errors import ExtrapolationError, InputError
from voltase.aseplugin.potentiostat.solver import ConvergenceError, solve_excess_electrons

OPTIONS = {"start": 0.0, "capacitance": 0.2, "tolerance": 1e-9}


def linear(n: float) -> tuple[float, float | None]:
    return 4.6 - n / 0.2, None


def test_linear_curve_takes_two_evaluations() -> None:
    solution = solve_excess_electrons(linear, 4.0, **OPTIONS)
    assert solution.excess_electrons == pytest.approx(0.12, abs=1e-9)
    assert solution.evaluations == 2
    assert solution.measured
    assert solution.capacitance == pytest.approx(0.2)


@pytest.mark.parametrize("guess", [0.02, 0.1, 0.5, 2.0])
def test_wrong_guess_of_the_capacitance(guess: float) -> None:
    solution = solve_excess_electrons(linear, 4.0, **(OPTIONS | {"capacitance": guess}))
    assert solution.excess_electrons == pytest.approx(0.12, abs=1e-9)
    assert solution.evaluations <= 6


def test_known_capacitance_converges_quadratically() -> None:
    def curve(n: float) -> tuple[float, float | None]:
        slope = -1 / 0.2 - 3 * 4.0 * n**2
        return 4.6 - n / 0.2 - 4.0 * n**3, -1 / slope

    solution = solve_excess_electrons(curve, 2.0, **OPTIONS)
    assert solution.evaluations <= 6
    assert curve(solution.excess_electrons)[0] == pytest.approx(2.0, abs=1e-9)


@pytest.mark.parametrize("target", [-20.0, 3.0, 4.599, 4.7, 30.0])
def test_kinked_curve(target: float) -> None:
    # The capacitance drops 25-fold at n = 0: a secant across the kink overshoots.
    def curve(n: float) -> tuple[float, float | None]:
        return 4.6 - n / (0.2 if n < 0 else 0.008), None

    solution = solve_excess_electrons(curve, target, **(OPTIONS | {"start": -0.5}))
    assert curve(solution.excess_electrons)[0] == pytest.approx(target, abs=1e-9)


def test_saturating_curve() -> None:
    def curve(n: float) -> tuple[float, float | None]:
        return 4.6 - math.tanh(8.0 * (n - 1.0)), None

    solution = solve_excess_electrons(curve, 4.0, **(OPTIONS | {"max_step": 0.5}))
    assert curve(solution.excess_electrons)[0] == pytest.approx(4.0, abs=1e-9)


def test_negative_slope_is_not_adopted() -> None:
    # Noise on a flat piece looks like a negative capacitance.
    def curve(n: float) -> tuple[float, float | None]:
        return 4.6 - n / 0.2, -0.1

    solution = solve_excess_electrons(curve, 4.0, **OPTIONS)
    assert solution.capacitance == 0.2
    assert not solution.measured


def test_bounds_are_kept() -> None:
    seen = []

    def curve(n: float) -> tuple[float, float | None]:
        seen.append(n)
        return linear(n)

    with pytest.raises(
        ExtrapolationError, match=r"beyond 0\.1 e, expected it within -0\.1 to 0\.1"
    ):
        solve_excess_electrons(curve, 4.0, **OPTIONS, bounds=(-0.1, 0.1))
    assert max(seen) <= 0.1


def test_jump_does_not_converge() -> None:
    def curve(n: float) -> tuple[float, float | None]:
        return (5.0 if n < 0.05 else 3.0), None

    with pytest.raises(ConvergenceError, match=r"^electrode_potential: 1 V from 4 V after 30"):
        solve_excess_electrons(curve, 4.0, **OPTIONS)


def test_not_a_number_stops() -> None:
    with pytest.raises(ConvergenceError, match=r"^electrode_potential: got nan V at n = 0 e"):
        solve_excess_electrons(lambda n: (math.nan, None), 4.0, **OPTIONS)


@pytest.mark.parametrize("name", ["capacitance", "tolerance", "max_step"])
def test_unusable_options(name: str) -> None:
    with pytest.raises(InputError, match=rf"^{name}: got -1\.0"):
        solve_excess_electrons(linear, 4.0, **(OPTIONS | {name: -1.0}))
