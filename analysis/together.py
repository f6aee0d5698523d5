"""Several observables in one pass over the frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from MDAnalysis.analysis.results import ResultsGroup

from voltase.analysis.accumulator import Accumulator
from voltase.analysis.base import InterfaceAnalysis
from voltase.analysis.scene import Scene
from voltase.aseplugin.errors import InputError


class Together(InterfaceAnalysis):
    """Runs observables together: each frame is read once, and what they share is found once.

    Parameters
    ----------
    analyses : sequence of InterfaceAnalysis
        Of one universe. The first one's interface serves all; their results are as if each had run
        alone.
    conclude : bool
        False leaves the analyses with what they have collected; `InterfaceAnalysis.finish` of
        each does the rest, in any process.

    Raises
    ------
    InputError
        If there are none, or they belong to different universes.
    """

    def __init__(self, analyses: Sequence[InterfaceAnalysis], *, conclude: bool = True) -> None:
        if not analyses:
            raise InputError("analyses: found none, expected one or more")
        if any(a.universe is not analyses[0].universe for a in analyses):
            raise InputError("analyses: found different universes, expected one")
        super().__init__(analyses[0].universe, interface=analyses[0].interface,
                         electrode=analyses[0].electrode)  # fmt: skip
        self.analyses = list(analyses)
        self._finishes = conclude

    def prepare(self, scene: Scene) -> None:
        """Prepare each."""
        for analysis in self.analyses:
            analysis.interface = scene.interface
            analysis.times_known = self.times_known
            analysis._chosen = self._chosen
            analysis.prepare(scene)

    def _prepare(self) -> None:
        for analysis in self.analyses:
            analysis._chosen = self._chosen
            analysis._prepare()
        self.results.accumulators = [analysis.accumulator for analysis in self.analyses]

    def add(self, scene: Scene) -> None:
        """Let each observe the frame."""
        for analysis in self.analyses:
            analysis.add(scene)

    def _get_aggregator(self) -> ResultsGroup:
        return ResultsGroup(lookup={"accumulators": _merge_all})

    def _conclude(self) -> None:
        found = self.results.accumulators
        del self.results["accumulators"]
        for analysis, accumulator in zip(self.analyses, found, strict=True):
            analysis.n_frames, analysis.frames, analysis.times = (
                self.n_frames, self.frames, self.times,
            )  # fmt: skip
            analysis.results.accumulator = accumulator
            if self._finishes:
                analysis.finish()


def _merge_all(parts: Sequence[Sequence[Accumulator]]) -> list[Any]:
    return [Accumulator.merge(group) for group in zip(*parts, strict=True)]
