"""What all observables share: one pass over the frames, block sums, parallel backends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import MDAnalysis as mda
import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers
from MDAnalysis.analysis.base import AnalysisBase
from MDAnalysis.analysis.results import ResultsGroup

from voltase.analysis.accumulator import Accumulator
from voltase.analysis.blocks import Estimate
from voltase.analysis.interface import Interface, find_interface
from voltase.analysis.scene import Scene, read_frame
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Indices = npt.NDArray[np.int64]
LOG = logging.getLogger(__name__)

MOST_CHUNKS = 128
"""Blocks of frames whose sums are kept for the errors."""
Contribution = dict[str, Any]


class InterfaceAnalysis(AnalysisBase):
    """An observable of an electrode/electrolyte interface.

    A subclass says in `prepare` what it needs of the first frame, returns from `observe` what one
    frame adds, and makes `results` of the sums in `conclude`.

    Parameters
    ----------
    source : Universe or AtomGroup
        An AtomGroup stands for its whole universe.
    interface : Interface, optional
        By default found in the first frame that is analysed.
    electrode : str, optional
        MDAnalysis selection of the slab's atoms, such as ``"name Pt"``.

    Attributes
    ----------
    results : MDAnalysis.analysis.results.Results
        Beside what a subclass documents: ``correlation_times`` (ps; frames where the times are not
        known) and ``blocks``, dicts by quantity, the base of the error bars; errors are
        not-a-number and zero blocks are reported where the frames are too few.
    interface : Interface
        After a run.

    Raises
    ------
    InputError
        If the frames cannot be analysed; the message names the first that cannot.
    """

    _analysis_algorithm_is_parallelizable = True

    @classmethod
    def get_supported_backends(cls) -> tuple[str, ...]:
        """Names that `run` takes as its backend."""
        return ("serial", "multiprocessing", "dask")

    def __init__(
        self,
        source: mda.Universe | mda.AtomGroup,
        *,
        interface: Interface | None = None,
        electrode: str | None = None,
    ) -> None:
        self.universe: mda.Universe = source.universe
        super().__init__(self.universe.trajectory)
        self.numbers = atomic_numbers_of(self.universe)
        self.interface = interface
        self.electrode = electrode
        self.selections: dict[str, Indices] = {}
        self.times_known = True
        self.progress: Callable[[int], None] | None = None

    # -- for subclasses ------------------------------------------------------------------------

    def prepare(self, scene: Scene) -> None:
        """Choose bins and the like from the first frame."""

    def observe(self, scene: Scene) -> tuple[Contribution, Contribution]:
        """What a frame adds: quantities to sum, and quantities to keep frame by frame."""
        raise NotImplementedError

    def conclude(self) -> None:
        """Turn `sums` and `series` into `results`."""
        raise NotImplementedError

    def tables(self) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Results as tables: by name of the file, columns of equal length with their units."""
        raise NotImplementedError

    def draw(self, figure: Figure) -> None:
        """Draw the results into an empty matplotlib figure."""
        raise NotImplementedError

    @property
    def lengths(self) -> Indices:
        """Frames in each chunk (n_chunks,)."""
        return np.asarray(self.accumulator.lengths)

    def sums(self, name: str) -> npt.NDArray[np.float64]:
        """Sums over chunks of frames (n_chunks, ...)."""
        return self.accumulator.sums(name)

    def series(self, name: str) -> list[Any]:
        """What was kept of each frame, in order."""
        return self.accumulator.series(name)

    def note(self, estimate: Estimate, name: str) -> None:
        """Keep the correlation time of an estimate; say so if there is no error."""
        self.results.correlation_times[name] = estimate.correlation_frames * self.spacing
        self.results.blocks[name] = estimate.blocks
        if not estimate.resolved:
            LOG.warning("%s: %d frames are too few for an error of %s",
                        type(self).__name__, self.n_frames, name)  # fmt: skip

    @property
    def spacing(self) -> float:
        """Mean time between analysed frames in ps, or 1 where the times are not known."""
        times = np.asarray(self.times)
        return float(np.diff(times).mean()) if self.times_known and len(times) > 1 else 1.0

    # -- running -------------------------------------------------------------------------------

    def run(self, start: int | None = None, stop: int | None = None, step: int | None = None,
            frames: Any = None, verbose: bool | None = None, **options: Any
            ) -> InterfaceAnalysis:  # fmt: skip
        """As `MDAnalysis.analysis.base.AnalysisBase.run`."""
        self._chosen = self.chosen_frames(start, stop, step, frames)
        self.prepare(self.first_scene(int(self._chosen[0])))
        super().run(start=start, stop=stop, step=step, frames=frames, verbose=verbose, **options)
        return self

    def first_scene(self, frame: int) -> Scene:
        """The scene that fixes the interface and the bins."""
        ts = self.universe.trajectory[frame]
        self.times_known = bool(ts.data.get("time_known", True))
        if self.interface is None:
            self.interface = interface_of(self.universe, self.electrode)
        return Scene(ts, self.numbers, self.interface)

    def chosen_frames(self, start: int | None = None, stop: int | None = None,
                      step: int | None = None, frames: Any = None) -> Indices:  # fmt: skip
        """Numbers of the frames (n_frames,) that `run` would analyse."""
        slicer = self._define_run_frames(self._trajectory, start, stop, step, frames)
        every = np.arange(len(self._trajectory))
        chosen = every[slicer] if isinstance(slicer, slice) else every[np.asarray(slicer)]
        if len(chosen) == 0:
            raise InputError("frames: found none in the range, expected at least one")
        if len(np.unique(chosen)) != len(chosen) or (np.diff(chosen) < 0).any():
            raise InputError("frames: found one twice or out of order, expected ascending numbers")
        return chosen

    def _prepare(self) -> None:
        chunks = min(len(self._chosen), MOST_CHUNKS)
        self.accumulator = Accumulator(chunks)
        self.results.accumulator = self.accumulator

    def _single_frame(self) -> None:
        assert self.interface is not None
        try:
            self.add(Scene(self._ts, self.numbers, self.interface, self.selections))
        except InputError as error:
            if "frame" in str(error):
                raise
            raise InputError(f"trajectory: frame {self._ts.frame}: {error}") from error
        if self.progress is not None:
            self.progress(self._frame_index + 1)

    def add(self, scene: Scene) -> None:
        """Observe a frame and keep what it adds."""
        ordinal = int(np.searchsorted(self._chosen, scene.frame))
        chunk = ordinal * self.accumulator.chunks // len(self._chosen)
        summed, kept = self.observe(scene)
        self.accumulator.add(chunk, ordinal, summed, kept)

    def _get_aggregator(self) -> ResultsGroup:
        return ResultsGroup(lookup={"accumulator": Accumulator.merge})

    def _conclude(self) -> None:
        self.finish()

    def finish(self) -> None:
        """Turn what the frames have left into results; `run` does it.

        Raises
        ------
        InputError
            If the frames do not allow it, being too few for instance.
        """
        self.accumulator = self.results.accumulator
        del self.results["accumulator"]
        self.results.correlation_times, self.results.blocks = {}, {}
        self.conclude()


def atomic_numbers_of(universe: mda.Universe) -> Indices:
    """Atomic numbers (n_atoms,) from elements, else from names or types.

    Raises
    ------
    InputError
        If a name is not that of an element.
    """
    symbols: Sequence[str]
    for attribute in ("elements", "names", "types"):
        symbols = getattr(universe.atoms, attribute, ())
        guesses = [_element(str(symbol)) for symbol in symbols]
        if guesses and all(guesses):
            return np.array([atomic_numbers[g] for g in guesses if g], dtype=np.int64)
    unknown = sorted({str(s) for s in symbols if not _element(str(s))}) or ["no names"]
    raise InputError(f"trajectory: found {', '.join(unknown[:5])}, expected names of elements")


def _element(name: str) -> str | None:
    letters = name.strip().rstrip("0123456789+-")
    for candidate in (letters, letters.capitalize(), letters[:2].capitalize(), letters[:1].upper()):
        if candidate in atomic_numbers and candidate != "X":
            return candidate
    return None


def interface_of(universe: mda.Universe, electrode: str | None = None) -> Interface:
    """The interface in the current frame of a universe.

    Parameters
    ----------
    universe : Universe
    electrode : str, optional
        Selection of the slab's atoms.

    Raises
    ------
    InputError
        If there is none, or the selection cannot be read or is empty.
    """
    cell, positions = read_frame(universe.trajectory.ts)
    chosen = None
    if electrode is not None:
        try:
            group = universe.select_atoms(electrode)
        except mda.exceptions.SelectionError as error:
            raise InputError(f"electrode: {error}, expected a selection of MDAnalysis") from error
        if len(group) == 0:
            raise InputError(f"electrode: '{electrode}' selects no atoms, expected the slab's")
        chosen = group.indices
    return find_interface(cell, positions, atomic_numbers_of(universe), chosen)
