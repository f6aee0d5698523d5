"""Electrode potentials that change during a run: constant, linear ramp, series, steps.

A schedule is what a user asks for, in V vs the reference of the run; it knows nothing of the
reference itself.
"""

import logging
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, cast, get_args

import numpy as np

from voltase.aseplugin.electrochemistry import parse_potential
from voltase.aseplugin.errors import InputError, PotentialError

logger = logging.getLogger(__name__)

ScheduleKind = Literal["constant", "ramp", "series", "steps"]


@dataclass(frozen=True)
class PotentialSchedule:
    """The target potential at every step of a run.

    Parameters
    ----------
    kind : {"constant", "ramp", "series", "steps"}
        ``constant``: one value. ``ramp``: linear from the first value, at step 0, to the second,
        at the last step. ``series``: each value for an equal share of the run, in order.
        ``steps``: value k from step ``steps[k]`` on.
    values : tuple of float
        In V vs the run's reference.
    steps : tuple of int
        Only for ``steps``: the step numbers at which the potential jumps; the first is 0 and they
        increase.
    total_steps : int, optional
        Number of steps in the run, which a ramp or a series needs; see :meth:`bind`.

    Raises
    ------
    InputError
        If the numbers do not fit the kind.
    """

    kind: ScheduleKind
    values: tuple[float, ...]
    steps: tuple[int, ...] = ()
    total_steps: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(ScheduleKind):
            expected = ", ".join(get_args(ScheduleKind))
            raise InputError(f"schedule: got kind {self.kind!r}, expected one of {expected}")
        object.__setattr__(self, "values", tuple(parse_potential(v) for v in self.values))
        object.__setattr__(self, "steps", tuple(_step_number("steps", s) for s in self.steps))
        self._check_counts()
        if self.total_steps is not None:
            total = _step_number("total_steps", self.total_steps)
            object.__setattr__(self, "total_steps", total)
            self._check_total(total)

    def _check_counts(self) -> None:
        count = len(self.values)
        fits = {"constant": count == 1, "ramp": count == 2, "series": count > 1, "steps": count > 0}
        if not fits[self.kind]:
            raise InputError(f"schedule: got {count} potentials, too few or too many: {self.kind}")
        if len(self.steps) != (count if self.kind == "steps" else 0):
            raise InputError(
                f"schedule: got {len(self.steps)} step numbers with {count} potentials: {self.kind}"
            )
        if self.steps and self.steps[0] != 0:
            raise InputError(f"schedule: got a first step of {self.steps[0]}, expected 0")
        if any(later <= earlier for earlier, later in pairwise(self.steps)):
            raise InputError(f"schedule: got step numbers {self.steps}, expected them to increase")

    def _check_total(self, total: int) -> None:
        if self.kind == "ramp" and total < 1:
            raise InputError(f"total_steps: got {total}, expected at least 1 for a ramp")
        if self.kind == "series" and total < len(self.values):
            raise InputError(
                f"total_steps: got {total}, expected at least one step for each of the "
                f"{len(self.values)} potentials of the series"
            )

    @property
    def depends_on_total(self) -> bool:
        """Whether the potential at a step depends on how long the run is: a ramp or a series."""
        return self.kind in ("ramp", "series")

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest potential of the run, in V vs its reference."""
        return min(self.values), max(self.values)

    def bind(self, total_steps: int) -> "PotentialSchedule":
        """The same schedule for a run of ``total_steps`` steps.

        Raises
        ------
        InputError
            If the run is too short, or if a ramp or series is bound already to another length:
            a continued run would jump to a point of the new curve.
        """
        if self.depends_on_total and self.total_steps not in (None, total_steps):
            raise InputError(
                f"total_steps: got {total_steps}, but this {self.kind} was laid out "
                f"over {self.total_steps} steps"
            )
        bound = replace(self, total_steps=total_steps)
        if self.steps and self.steps[-1] >= total_steps:
            logger.warning(
                "the potential step at %d lies beyond the end of the run at %d",
                self.steps[-1],
                total_steps,
            )
        return bound

    def at(self, step: int) -> float:
        """Target potential in V vs the run's reference.

        Parameters
        ----------
        step : int
            Counted from 0, the state before the first step; beyond the end the last value holds.

        Raises
        ------
        InputError
            If the step is negative, or a ramp or series has not been bound to a run.
        """
        step = _step_number("step", step)
        if self.kind == "constant":
            return self.values[0]
        if self.kind == "steps":
            return self.values[bisect_right(self.steps, step) - 1]
        if self.total_steps is None:
            raise InputError(f"schedule: a {self.kind} needs the length of the run, call bind()")
        if self.kind == "ramp":
            start, end = self.values
            fraction = min(step / self.total_steps, 1.0)
            # This form is exact at both ends.
            return (1.0 - fraction) * start + fraction * end
        count = len(self.values)
        return self.values[min(step * count // self.total_steps, count - 1)]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON and YAML; what does not apply is left out."""
        out: dict[str, Any] = {"kind": self.kind, "values": list(self.values)}
        if self.steps:
            out["steps"] = list(self.steps)
        if self.total_steps is not None:
            out["total_steps"] = self.total_steps
        return out

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PotentialSchedule":
        """The inverse of :meth:`as_dict`.

        Raises
        ------
        InputError
            If a key is missing or unknown, or a value is unusable.
        """
        unknown = sorted(set(values) - {"kind", "values", "steps", "total_steps"})
        missing = sorted({"kind", "values"} - set(values))
        if unknown or missing:
            found = f"unknown key {unknown[0]!r}" if unknown else f"no {missing[0]!r}"
            raise InputError(f"schedule: got {found}, expected kind, values, steps, total_steps")
        return cls(
            kind=values["kind"],
            values=tuple(values["values"]),
            steps=tuple(values.get("steps", ())),
            total_steps=values.get("total_steps"),
        )

    def __str__(self) -> str:
        """The text that :func:`parse_potential_schedule` reads back, without the run's length."""
        texts = [f"{value!r}V" for value in self.values]
        if self.kind == "steps":
            texts = [f"{text}@{step}" for text, step in zip(texts, self.steps, strict=True)]
        return (":" if self.kind == "ramp" else ",").join(texts)


def parse_potential_schedule(value: object) -> PotentialSchedule:
    """Schedule from what a user writes, not yet bound to the length of a run.

    Parameters
    ----------
    value : str, float, sequence or PotentialSchedule
        ``-0.5V`` or a number: constant. ``-1V:0.5V``: ramp. ``-0.5V,0V,0.5V`` or a sequence:
        series. ``0V@0,0.5V@1000``: jumps at steps 0 and 1000. A schedule passes through.

    Raises
    ------
    PotentialError
        If a potential cannot be read, or the forms are mixed.
    InputError
        If the step numbers are unusable.
    """
    if isinstance(value, PotentialSchedule):
        return value
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, Sequence) or (isinstance(value, np.ndarray) and value.ndim == 1):
        potentials = tuple(parse_potential(item) for item in value)
        return PotentialSchedule("series" if len(potentials) != 1 else "constant", potentials)
    return PotentialSchedule("constant", (parse_potential(value),))


def _parse_text(text: str) -> PotentialSchedule:
    forms = [mark for mark in (":", ",") if mark in text]
    if len(forms) == 2 or text.count(":") > 1 or (":" in text and "@" in text):
        raise PotentialError(
            f"potential: got {text!r}, expected one form: -0.5V, a ramp -1V:0.5V, "
            "a series -0.5V,0V,0.5V or steps 0V@0,0.5V@1000"
        )
    if ":" in text:
        return PotentialSchedule("ramp", tuple(parse_potential(p) for p in text.split(":")))
    parts = text.split(",")
    jumps = [part.partition("@") for part in parts]
    marked = sum("@" in part for part in parts)
    if marked not in (0, len(parts)):
        raise PotentialError(
            f"potential: got {text!r}, expected a step number @N at every potential or at none"
        )
    values = tuple(parse_potential(potential) for potential, _, _ in jumps)
    with_unit = sum("v" in potential.lower() for potential, _, _ in jumps)
    if with_unit not in (0, len(parts)):
        raise PotentialError(
            f"potential: got {text!r}, expected a unit at every potential or at none; a decimal "
            "point is a point"
        )
    if marked:
        steps = tuple(_step_number("steps", step.strip()) for _, _, step in jumps)
        return PotentialSchedule("steps", values, steps)
    return PotentialSchedule("constant" if len(values) == 1 else "series", values)


def _step_number(name: str, value: object) -> int:
    """A step number that is an integer of 0 or more, from a number or a text."""
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    is_text = isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value) is not None
    if not (is_integer or is_text) or int(cast(int, value)) < 0:
        raise InputError(f"{name}: got {value!r}, expected a whole number of 0 or more")
    return int(cast(int, value))
