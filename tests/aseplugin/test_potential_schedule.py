"""Schedules: what is read, the potential at each step, and what is refused."""

import json
import logging

import numpy as np
import pytest

from voltase.aseplugin.errors import InputError, PotentialError
from voltase.aseplugin.potential_schedule import PotentialSchedule, parse_potential_schedule

FORMS = [
    ("-0.5V", PotentialSchedule("constant", (-0.5,))),
    (-0.5, PotentialSchedule("constant", (-0.5,))),
    ([-0.5], PotentialSchedule("constant", (-0.5,))),
    ("\N{MINUS SIGN}1V:500 mV", PotentialSchedule("ramp", (-1.0, 0.5))),
    ("-0.5V,0V,0.5V", PotentialSchedule("series", (-0.5, 0.0, 0.5))),
    ([-0.5, "0V", 0.5], PotentialSchedule("series", (-0.5, 0.0, 0.5))),
    (np.array([-0.5, 0.0]), PotentialSchedule("series", (-0.5, 0.0))),
    ("0V@0, 0.5V@1000", PotentialSchedule("steps", (0.0, 0.5), (0, 1000))),
    ("0.1@0", PotentialSchedule("steps", (0.1,), (0,))),
]


@pytest.mark.parametrize(("value", "expected"), FORMS, ids=lambda v: repr(v)[:40])
def test_forms_and_their_round_trips(value: object, expected: PotentialSchedule) -> None:
    schedule = parse_potential_schedule(value)
    assert schedule == expected
    assert parse_potential_schedule(schedule) is schedule
    assert parse_potential_schedule(str(schedule)) == schedule
    for stored in (schedule, schedule.bind(2000)):
        assert PotentialSchedule.from_dict(json.loads(json.dumps(stored.as_dict()))) == stored


def test_constant_needs_no_length() -> None:
    schedule = PotentialSchedule("constant", (-0.5,))
    assert not schedule.depends_on_total
    assert [schedule.at(step) for step in (0, 1, 10**9)] == [-0.5] * 3


def test_ramp_is_linear_exact_at_both_ends_and_holds_afterwards() -> None:
    ramp = parse_potential_schedule("-1V:0.3V").bind(1300)
    potentials = np.array([ramp.at(step) for step in range(1301)])
    assert potentials[0] == -1.0
    assert potentials[-1] == 0.3
    np.testing.assert_allclose(np.diff(potentials), 1e-3, rtol=1e-9)
    assert ramp.at(5000) == 0.3
    assert ramp.bounds == (-1.0, 0.3)


def test_series_gives_every_potential_its_share() -> None:
    series = parse_potential_schedule("-0.5V,0V,0.5V").bind(10)
    potentials = [series.at(step) for step in range(10)]
    assert potentials == [-0.5] * 4 + [0.0] * 3 + [0.5] * 3
    assert series.at(10) == 0.5


def test_steps_jump_at_their_step() -> None:
    steps = parse_potential_schedule("0V@0,0.5V@10,-0.5V@20")
    assert [steps.at(step) for step in (0, 9, 10, 19, 20, 99)] == [0.0, 0.0, 0.5, 0.5, -0.5, -0.5]
    assert steps.bounds == (-0.5, 0.5)


@pytest.mark.parametrize("text", ["-1V:0.5V", "-1V,0.5V"])
def test_a_ramp_or_series_knows_nothing_before_it_is_bound(text: str) -> None:
    schedule = parse_potential_schedule(text)
    assert schedule.depends_on_total
    with pytest.raises(InputError, match="needs the length of the run"):
        schedule.at(0)


@pytest.mark.parametrize("text", ["-1V:0.5V", "-1V,0.5V"])
def test_a_bound_ramp_or_series_keeps_its_length(text: str) -> None:
    bound = parse_potential_schedule(text).bind(100)
    assert bound.bind(100) == bound
    with pytest.raises(InputError, match="got 200, but this .* laid out over 100 steps"):
        bound.bind(200)


def test_a_constant_can_go_on() -> None:
    assert PotentialSchedule("constant", (0.1,)).bind(10).bind(20).total_steps == 20


def test_a_step_beyond_the_end_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parse_potential_schedule("0V@0,0.5V@1000").bind(500)
    assert "1000 lies beyond the end of the run at 500" in caplog.text


@pytest.mark.parametrize("step", [-1, 0.5, True, "-1", None])
def test_a_step_that_is_no_step_is_refused(step: object) -> None:
    with pytest.raises(InputError, match="step: got"):
        PotentialSchedule("constant", (0.0,)).at(step)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "-1V:",
        ",",
        "0V,",
        "-1V:0V:1V",
        "-1V:0V,1V",
        "-1V:0V@5",
        "0V@0,1V",
        "0V,1V@10",
        "-1V:1V vs SHE",
        "0V,nan",
        True,
        None,
        [0.0, None],
        np.zeros((2, 2)),
    ],
    ids=repr,
)
def test_texts_that_are_refused(text: object) -> None:
    with pytest.raises(PotentialError, match="potential: got") as caught:
        parse_potential_schedule(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0V@", "steps: got ''"),
        ("0V@-1", "steps: got '-1'"),
        ("0V@1.5", "steps: got '1.5'"),
        ("0V@1@2", "steps: got '1@2'"),
        ("0V@" + "9" * 5000, "steps: got"),
        ("0V@10", "first step of 10"),
        ("0V@0,1V@10,2V@10", "expected them to increase"),
    ],
)
def test_step_numbers_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_potential_schedule(text)


def test_an_empty_sequence_is_refused() -> None:
    with pytest.raises(InputError, match="got 0 potentials"):
        parse_potential_schedule([])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"values": [0.0]}, "no 'kind'"),
        ({"kind": "constant"}, "no 'values'"),
        ({"kind": "sine", "values": [0.0]}, "kind 'sine'"),
        ({"kind": "constant", "values": [0.0], "rate": 1}, "unknown key 'rate'"),
        ({"kind": "constant", "values": [0.0, 1.0]}, "got 2 potentials"),
        ({"kind": "ramp", "values": [0.0]}, "got 1 potentials"),
        ({"kind": "ramp", "values": [0.0, 1.0], "steps": [0, 1]}, "got 2 step numbers"),
        ({"kind": "steps", "values": [0.0, 1.0], "steps": [0]}, "got 1 step numbers"),
        ({"kind": "ramp", "values": [0.0, 1.0], "total_steps": 0}, "at least 1 for a ramp"),
        ({"kind": "series", "values": [0, 1, 2], "total_steps": 2}, "one step for each of the 3"),
        ({"kind": "constant", "values": [0.0], "total_steps": 1.5}, "total_steps: got 1.5"),
        ({"kind": "constant", "values": [float("nan")]}, "expected a finite number"),
    ],
)
def test_stored_schedules_that_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PotentialSchedule.from_dict(values)


@pytest.mark.parametrize("text", ["-0,3V", "-0.5V,0,0.5", "0V@0,1@10", "1e-1,2e-1V"])
def test_a_unit_stands_at_every_potential_or_at_none(text: str) -> None:
    with pytest.raises(PotentialError, match=f"got {text!r}, expected a unit"):
        parse_potential_schedule(text)


def test_an_exponent_is_no_unit() -> None:
    assert parse_potential_schedule("1e-1,0.2").values == (0.1, 0.2)
