"""MDAnalysis reader and topology of ASE's ``.traj`` files."""

from __future__ import annotations

import functools
import logging
from typing import Any

import numpy as np
from MDAnalysis.topology.base import TopologyReaderBase

from voltase.analysis.readers.base import FrameReader, Survey
from voltase.analysis.readers.frames import (
    Array,
    RawFrame,
    cell_problem,
    charges_of,
    scalars_of,
    standard_masses,
    velocities_of,
)
from voltase.analysis.readers.topology import topology_of
from voltase.analysis.readers.ulm import Item, UlmFile
from voltase.aseplugin.errors import InputError

logger = logging.getLogger(__name__)

FORMAT = "TRAJ"
SCALAR_RESULTS = ("energy", "free_energy", "magmom")


class TrajFile:
    """Frames of a ``.traj`` file.

    ASE writes atomic numbers, boundary conditions and masses with the first frame, and with later
    ones only from where they (or the constraints) change.

    Parameters
    ----------
    path : str
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._ulm = UlmFile(path)
        self.n_frames = self._ulm.n_items
        self.n_lost = self._ulm.n_announced - self._ulm.n_items

    def close(self) -> None:
        """Close the file."""
        self._ulm.close()

    @functools.cached_property
    def _header(self) -> Item:
        return self._ulm.item(0)

    @functools.cached_property
    def _header_values(self) -> dict[str, Any]:
        return self._shared(self._header, 0)

    def _shared(self, item: Item, index: int) -> dict[str, Any]:
        """What a frame may leave to the header: numbers, pbc and masses."""
        little = item.get("_little_endian", True)
        numbers = self._ulm.value(item, "numbers", little)
        if numbers is None:
            raise InputError(f"{self.path}: frame {index}: found no atomic numbers, expected them")
        masses = self._ulm.value(item, "masses", little)
        pbc = self._ulm.value(item, "pbc", little)
        return {
            "numbers": np.array(numbers, dtype=np.int64),
            "masses": standard_masses(numbers) if masses is None else np.array(masses, dtype=float),
            "pbc": np.zeros(3, dtype=bool) if pbc is None else np.array(pbc, dtype=bool),
        }

    def survey(self, survey: Survey, first_only: bool = False) -> Survey:
        """Go through the frames; their cells are looked at only if bad frames are left out."""
        for index in range(self.n_frames):
            problem = numbers = None
            if survey.skip_bad:
                item = self._ulm.item(index)
                problem = cell_problem(self._float(item, "cell"))
            elif index == 0 or b'"numbers.":' in self._ulm.text(index):
                item = self._ulm.item(index)
            else:
                survey.add(index, None)
                continue
            numbers = self._shared_of(item, index)["numbers"]
            if survey.add(index, numbers, problem) and first_only:
                break
        return survey

    def _shared_of(self, item: Item, index: int) -> dict[str, Any]:
        own = "numbers." in item or "numbers" in item
        return self._shared(item, index) if own else self._header_values

    def _float(self, item: Item, name: str, little_endian: bool = True) -> Array | None:
        value = self._ulm.value(item, name, little_endian)
        return None if value is None else np.array(value, dtype=np.float64)

    def frame(self, index: int) -> RawFrame:
        """One frame."""
        item = self._ulm.item(index)
        shared = self._shared_of(item, index)
        little = item.get("_little_endian", True)
        results = item.get("calculator.", {})
        info = scalars_of(item.get("info") or {})
        info.update(scalars_of({key: results[key] for key in SCALAR_RESULTS if key in results}))
        positions = self._float(item, "positions", little)
        if positions is None:
            raise InputError(f"{self.path}: frame {index}: found no positions, expected them")
        momenta = self._ulm.value(item, "momenta", little)
        initial = self._ulm.value(item, "charges", little)
        calculated = {"charges": self._ulm.value(results, "charges", little)}
        return RawFrame(
            numbers=shared["numbers"],
            positions=positions,
            cell=self._float(item, "cell", little),
            pbc=shared["pbc"].copy(),
            masses=shared["masses"],
            velocities=None if momenta is None else velocities_of(momenta, shared["masses"]),
            forces=self._float(results, "forces", little),
            charges=charges_of(calculated, {}, initial),
            dipole=self._float(results, "dipole", little),
            info=info,
            arrays={} if initial is None else {"initial_charges": np.array(initial, dtype=float)},
        )


class TrajReader(FrameReader):
    """Reads ASE's ``.traj`` files; see :class:`~voltase.analysis.readers.base.FrameReader`.

    Of a truncated file the whole frames are read, with a warning of how many are missing.
    """

    format = FORMAT
    _source: TrajFile | None = None

    def _survey(self, skip_bad: bool) -> Survey:
        source = self._open()
        if source.n_lost and self._announce:
            logger.warning(
                "%s: truncated, the last %d of %d frames are missing",
                self._label,
                source.n_lost,
                source.n_lost + source.n_frames,
            )
        return source.survey(Survey(self._label, skip_bad))

    def _open(self) -> TrajFile:
        if self._source is None:
            self._source = TrajFile(self.filename)
        return self._source

    def _raw_frame(self, index: int) -> RawFrame:
        return self._open().frame(index)

    def close(self) -> None:
        """Close the file; the next frame read opens it again."""
        if self._source is not None:
            self._source.close()
            self._source = None

    @classmethod
    def parse_n_atoms(cls, filename: str, **kwargs: Any) -> int:
        """Number of atoms in the file."""
        return int(TrajParser(filename).parse(**kwargs).n_atoms)


class TrajParser(TopologyReaderBase):
    """Topology of an ASE ``.traj`` file: one residue, masses as ASE has them."""

    format = FORMAT

    def parse(self, **kwargs: Any) -> Any:
        """Read the topology.

        Parameters
        ----------
        **kwargs
            Those of :class:`TrajReader`.
        """
        source = TrajFile(str(self.filename))
        try:
            survey = Survey(str(self.filename), bool(kwargs.get("skip_bad", False)))
            source.survey(survey, first_only=True).finish()
            frame = source.frame(survey.reference)
        finally:
            source.close()
        return topology_of(frame.numbers, frame.masses)
