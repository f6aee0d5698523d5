"""The part that all readers of this package share."""

from __future__ import annotations

import logging
import math
import os
from abc import abstractmethod
from typing import Any

import numpy as np
from MDAnalysis.coordinates.base import ReaderBase
from MDAnalysis.lib.util import store_init_arguments

from voltase.analysis.readers.frames import (
    Array,
    Integers,
    Placement,
    RawFrame,
    cell_problem,
    fill_timestep,
    place,
)
from voltase.aseplugin.errors import InputError

logger = logging.getLogger(__name__)


class Survey:
    """Which frames of a source can be read as one trajectory: those with the same atoms.

    Parameters
    ----------
    label : str
        What messages call the source.
    skip_bad : bool
        Leave out frames that do not fit, rather than raise.

    Attributes
    ----------
    numbers : ndarray (n,) or None
        Atomic numbers of the first frame that can be used.
    reference : int
        Its index.
    kept : list of int
        Frames that can be used.
    skipped : int
        Frames left out.
    """

    def __init__(self, label: str, skip_bad: bool) -> None:
        self.label = label
        self.skip_bad = skip_bad
        self.numbers: Integers | None = None
        self.reference = -1
        self.kept: list[int] = []
        self.skipped = 0

    def add(self, index: int, numbers: Integers | None, problem: str | None = None) -> bool:
        """Note the next frame.

        Parameters
        ----------
        index : int
        numbers : ndarray (n,) or None
            Atomic numbers; None if known to be those of the first frame.
        problem : str, optional
            What is wrong with the frame, apart from its atoms.

        Returns
        -------
        bool
            Whether the frame is used.
        """
        problem = problem or self._atoms_problem(numbers)
        if problem is not None:
            if not self.skip_bad:
                raise InputError(f"{self.label}: frame {index}: {problem}")
            self.skipped += 1
            return False
        if self.numbers is None:
            self.numbers = numbers
            self.reference = index
        self.kept.append(index)
        return True

    def _atoms_problem(self, numbers: Integers | None) -> str | None:
        if numbers is None or self.numbers is None:
            return None
        hint = f"as in frame {self.reference} (skip_bad leaves such frames out)"
        if len(numbers) != len(self.numbers):
            return f"found {len(numbers)} atoms, expected {len(self.numbers)} {hint}"
        different = np.flatnonzero(numbers != self.numbers)
        if not len(different):
            return None
        from ase.data import chemical_symbols

        atom = int(different[0])
        found, expected = (chemical_symbols[int(z[atom])] for z in (numbers, self.numbers))
        return f"found {found} as atom {atom}, expected {expected} {hint}"

    def finish(self) -> None:
        """Raise if no frame can be used."""
        if not self.kept:
            reason = f" that can be used, {self.skipped} left out" if self.skipped else ""
            raise InputError(f"{self.label}: found no frame{reason}, expected at least one")


class FrameReader(ReaderBase):
    """Base of the readers: cell, time, charges and checks of each frame.

    A frame is turned so that its cell has the standard orientation of
    :func:`voltase.analysis.cells.standardise_cell`, and has

    - ``ts.positions`` (n, 3) in A, ``ts.dimensions``, ``ts.velocities`` (n, 3) in A/ps and
      ``ts.forces`` (n, 3) in kJ/(mol A), as MDAnalysis has them, in single precision;
    - ``ts.data["cell"]`` (3, 3) in A, ``["exact_positions"]`` (n, 3) in A and
      ``["exact_velocities"]`` (n, 3) in A/ps in double precision. MDAnalysis's transformations
      change ``ts.positions`` alone;
    - ``ts.data["pbc"]`` (3,), along the original lattice vectors;
    - ``ts.data["charges"]`` (n,) in e: a calculator's, else an array named charges, charge,
      REF_charges or hirshfeld_charges, else the initial charges unless all are zero;
    - ``ts.data["dipole"]`` (3,) in e A, turned;
    - ``ts.data["arrays"]``, a dict of the other per-atom arrays of floats; those of shape (n, 3)
      are taken for vectors and turned;
    - the numbers and strings of ``atoms.info``, and the energies a calculator found in eV, under
      their names (``excess_electrons``, ``electrode_potential``, ``energy``, ...); none of them
      replaces an entry above;
    - ``ts.time`` in ps, and ``ts.data["time_known"]``, False if it merely counts frames.

    Velocities, forces, charges, dipole and arrays are there only in frames that have them.

    Parameters
    ----------
    filename : str
        The file.
    convert_units : bool, optional
        Without effect: the units are always MDAnalysis's.
    dt : float, optional
        Time between frames in ps, where the frames do not carry ``time_fs``. By default 1 ps.
    skip_bad : bool, optional
        Leave out frames with other atoms than the first, or without a cell; by default they are
        errors. Positions that are not numbers are always an error.
    **kwargs
        What MDAnalysis passes on.

    Attributes
    ----------
    n_atoms, n_frames : int
    n_skipped : int
        Frames left out by `skip_bad`.

    Raises
    ------
    InputError
        If the source or a frame cannot be used.
    """

    units = {
        "time": "ps",
        "length": "Angstrom",
        "velocity": "Angstrom/ps",
        "force": "kJ/(mol*Angstrom)",
    }

    n_atoms: int
    n_skipped = 0
    _announce = True

    @store_init_arguments
    def __init__(
        self,
        filename: Any,
        convert_units: bool = True,
        dt: float | None = None,
        skip_bad: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(filename, convert_units=convert_units, **kwargs)
        if dt is not None and not (np.isfinite(dt) and dt > 0.0):
            raise InputError(f"dt: found {dt}, expected a time between frames above 0 ps")
        self._given_dt = None if dt is None else float(dt)
        self._cell_key: bytes | None = None
        self._placement: Placement | None = None
        survey = self._survey(bool(skip_bad))
        survey.finish()
        assert survey.numbers is not None
        self._numbers = survey.numbers
        self._kept: Integers = np.array(survey.kept, dtype=np.int64)
        self.n_atoms = len(self._numbers)
        self.n_frames = len(self._kept)
        self.n_skipped = survey.skipped
        if self.n_skipped and self._announce:
            logger.warning(
                "%s: %d of %d frames left out, which have other atoms or no cell",
                self._label,
                self.n_skipped,
                self.n_skipped + self.n_frames,
            )
        self._dt = self._find_dt()
        self.ts = self._Timestep(self.n_atoms, reader=self, **self._ts_kwargs)
        self._read_frame(0)

    @abstractmethod
    def _survey(self, skip_bad: bool) -> Survey:
        """Go through the source, and open it for reading."""

    @abstractmethod
    def _raw_frame(self, index: int) -> RawFrame:
        """The frame of this index in the source."""

    @property
    def _label(self) -> str:
        """What messages call the source."""
        return str(self.filename)

    def _find_dt(self) -> float:
        if self.n_frames > 1:
            first, second = (self._raw(int(i)).info.get("time_fs") for i in self._kept[:2])
            if isinstance(first, int | float) and isinstance(second, int | float):
                dt = (second - first) / 1000.0
                if dt > 0.0:
                    return float(dt)
        return 1.0 if self._given_dt is None else self._given_dt

    def _raw(self, index: int) -> RawFrame:
        try:
            return self._raw_frame(index)
        except (OSError, EOFError) as error:
            # MDAnalysis would take either for the end of the trajectory.
            raise InputError(f"{self._label}: frame {index}: cannot be read ({error})") from error

    def _read_frame(self, frame: int) -> Any:
        index = int(self._kept[frame])
        raw = self._raw(index)
        # A sum is not finite if one of its terms is not.
        if not math.isfinite(raw.positions.sum()):
            atom = int(np.flatnonzero(~np.isfinite(raw.positions).all(axis=1))[0])
            raise InputError(
                f"{self._label}: frame {index}: found position {raw.positions[atom].tolist()} of "
                f"atom {atom}, expected numbers in A"
            )
        fill_timestep(self.ts, raw, self._place(raw.cell, index))
        self._set_time(raw.info.get("time_fs"), index)
        self.ts.frame = frame
        return self.ts

    def _place(self, cell: Array | None, index: int) -> Placement:
        key = b"" if cell is None else cell.tobytes()
        # Most trajectories have one cell; standardising it takes as long as reading a frame.
        if self._placement is None or key != self._cell_key:
            problem = cell_problem(cell)
            if problem is not None:
                raise InputError(f"{self._label}: frame {index}: {problem}")
            self._placement = place(cell)
            self._cell_key = key
        return self._placement

    def _set_time(self, time_fs: Any, index: int) -> None:
        data = self.ts.data
        data.update(self._ts_kwargs)
        data["dt"] = self._dt
        timed = isinstance(time_fs, int | float)
        # Frames left out have passed all the same, hence the index in the source.
        data["time"] = time_fs / 1000.0 if timed else index * self._dt
        data["time_known"] = timed or self._given_dt is not None

    def _read_next_timestep(self, ts: Any = None) -> Any:
        following = self.ts.frame + 1
        if following >= self.n_frames:
            raise EOFError(f"{self._label}: no frame {following}")
        return self._read_frame(following)

    def _reopen(self) -> None:
        self.ts.frame = -1

    def _portable_kwargs(self) -> dict[str, Any]:
        """Arguments that open the same source in another process."""
        return {**self._kwargs, "filename": os.path.abspath(self._kwargs["filename"])}

    def __getstate__(self) -> dict[str, Any]:
        # Neither the frame nor the index: both are read again, so that little has to travel.
        return {
            "kwargs": self._portable_kwargs(),
            "frame": self.ts.frame,
            "transformations": self._transformations,
            "auxs": self._auxs,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._auxs: dict[str, Any] = {}
        self._announce = False
        self.__init__(**state["kwargs"])  # type: ignore[misc]
        self._transformations = state["transformations"]
        self._auxs = state["auxs"]
        self._read_frame_with_aux(min(max(state["frame"], 0), self.n_frames - 1))
