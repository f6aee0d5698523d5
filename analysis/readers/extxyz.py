"""MDAnalysis reader and topology of extended xyz files, plain or compressed.

The file is gone through once, counting lines, to find where the frames are; coordinates are parsed
when a frame is read. Of the columns, ``pos``, ``momenta`` (ASE's units), ``velo`` or ``vel``
(A/fs), ``forces`` or ``REF_forces`` (eV/A) and ``mass`` have a place of their own; every other
column of reals is in ``ts.data["arrays"]``, from which the charges are taken as well. A column
named ``velocities`` is left there as it is, since programs disagree on its unit.
"""

from __future__ import annotations

import logging
from typing import Any

from MDAnalysis.topology.base import TopologyReaderBase

from voltase.analysis.readers.base import FrameReader, Survey
from voltase.analysis.readers.frames import Array, Integers, RawFrame, cell_problem, standard_masses
from voltase.analysis.readers.text_source import TextSource
from voltase.analysis.readers.topology import topology_of
from voltase.analysis.readers.xyz_text import (
    LATTICE,
    Located,
    SameAtoms,
    atoms_of,
    cell_of,
    layout_of,
    locate_frames,
    parse_frame,
    split_frame,
)

logger = logging.getLogger(__name__)

FORMAT = "EXTXYZ"


class ExtxyzFile:
    """Frames of an extended xyz file.

    Parameters
    ----------
    path : str
    keep : bool, optional
        Keep the text of a compressed file in memory.

    Attributes
    ----------
    n_frames : int
        Frames found, usable or not.
    bytes_lost : int
        Bytes at the end that make no whole frame.
    """

    def __init__(self, path: str, keep: bool = True) -> None:
        self.path = path
        self.source = TextSource(path, keep)
        self.n_frames = 0
        self.bytes_lost = 0
        self._places: list[tuple[int, int]] = []
        self._numbers: Integers | None = None
        self._masses: Array | None = None
        self._same = SameAtoms()
        self._lattice: tuple[Any, str | None] | None = None

    @property
    def cut_short(self) -> bool:
        """Whether the file ends within a frame or within its compressed data."""
        return self.bytes_lost > 0 or self.source.cut_short

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    def survey(self, survey: Survey, first_only: bool = False) -> Survey:
        """Go through the file."""
        frames = locate_frames(self.source.blocks(), self.path)
        while True:
            try:
                frame = next(frames)
            except StopIteration as end:
                self.bytes_lost = end.value
                break
            self._places.append((frame.position, len(frame.text)))
            self.n_frames += 1
            if self._add(frame, survey) and first_only:
                frames.close()
                break
        if survey.numbers is not None:
            self._numbers = survey.numbers
            self._masses = standard_masses(survey.numbers)
        return survey

    def _add(self, frame: Located, survey: Survey) -> bool:
        comment, _ = split_frame(frame.text)
        same = self._same.check(frame, layout_of(comment, self.path, frame.index))
        numbers = survey.numbers if same and survey.numbers is not None else None
        if numbers is None:
            numbers = atoms_of(frame, self.path)
            if survey.numbers is None:
                # The first frame looked at may have been left out.
                self._same = SameAtoms()
                self._same.check(frame, layout_of(comment, self.path, frame.index))
        return survey.add(frame.index, numbers, self._cell_problem(comment, frame.index))

    def _cell_problem(self, comment: bytes, index: int) -> str | None:
        found = LATTICE.search(comment)
        key = None if found is None else found.groups()
        if self._lattice is None or self._lattice[0] != key:
            self._lattice = (key, cell_problem(cell_of(comment, self.path, index)))
        return self._lattice[1]

    def frame(self, index: int) -> RawFrame:
        """One frame."""
        assert self._numbers is not None
        position, size = self._places[index]
        text = self.source.read(position, size)
        return parse_frame(text, self.path, index, self._numbers, self._masses)


class ExtxyzReader(FrameReader):
    """Reads extended xyz; see :class:`~voltase.analysis.readers.base.FrameReader`.

    Of a truncated file the whole frames are read, with a warning. The text of a compressed file is
    kept in memory up to 500 MB; of a longer one, frames in order are quick and going back is slow.
    """

    format = FORMAT
    _source: ExtxyzFile | None = None

    def _survey(self, skip_bad: bool) -> Survey:
        self._source = ExtxyzFile(self.filename)
        survey = self._source.survey(Survey(self._label, skip_bad))
        if self._source.cut_short and self._announce:
            logger.warning(
                "%s: truncated after %d whole frames, the last %d bytes are left out",
                self._label,
                self._source.n_frames,
                self._source.bytes_lost,
            )
        return survey

    def _raw_frame(self, index: int) -> RawFrame:
        assert self._source is not None
        return self._source.frame(index)

    def close(self) -> None:
        """Close the file; the next frame read opens it again."""
        if self._source is not None:
            self._source.close()

    @classmethod
    def parse_n_atoms(cls, filename: str, **kwargs: Any) -> int:
        """Number of atoms in the file."""
        return int(ExtxyzParser(filename).parse(**kwargs).n_atoms)


class ExtxyzParser(TopologyReaderBase):
    """Topology of an extended xyz file: one residue; masses from a column, else ASE's."""

    format = FORMAT

    def parse(self, **kwargs: Any) -> Any:
        """Read the topology.

        Parameters
        ----------
        **kwargs
            Those of :class:`ExtxyzReader`.
        """
        source = ExtxyzFile(str(self.filename), keep=False)
        try:
            survey = Survey(str(self.filename), bool(kwargs.get("skip_bad", False)))
            source.survey(survey, first_only=True).finish()
            frame = source.frame(survey.reference)
        finally:
            source.close()
        return topology_of(frame.numbers, frame.masses)
