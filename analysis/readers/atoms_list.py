"""MDAnalysis reader and topology of ASE ``Atoms`` in memory."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from MDAnalysis.topology.base import TopologyReaderBase

from voltase.analysis.readers.base import FrameReader, Survey
from voltase.analysis.readers.frames import (
    RawFrame,
    cell_problem,
    charges_of,
    scalars_of,
    velocities_of,
)
from voltase.analysis.readers.topology import topology_of
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

FORMAT = "ASEATOMS"
PLACED = frozenset({"numbers", "positions", "momenta", "masses", "forces", "REF_forces"})
RESULTS = ("energy", "free_energy", "magmom", "charges", "forces", "dipole")


class AtomsList:
    """Frames from ``Atoms``, in a form that ``MDAnalysis.Universe`` takes for one trajectory.

    The frames are copies: neither later changes to the ``Atoms`` nor their calculators come along.

    Parameters
    ----------
    images : iterable of Atoms
    name : str, optional
        What messages call them.
    """

    # No length and no iteration: MDAnalysis would take the frames for names of files.
    def __init__(self, images: Iterable[Atoms], name: str = "list of Atoms") -> None:
        from ase import Atoms

        self.name = name
        self.frames: list[RawFrame] = []
        for index, atoms in enumerate(images):
            if not isinstance(atoms, Atoms):
                raise InputError(
                    f"{name}: found {type(atoms).__name__} at position {index}, expected ASE Atoms"
                )
            self.frames.append(frame_of(atoms))
        if not self.frames:
            raise InputError(f"{name}: found no frame, expected at least one")

    def __repr__(self) -> str:
        return f"<{self.name} of {len(self.frames)} frames>"

    def survey(self, survey: Survey) -> Survey:
        """Go through the frames."""
        for index, frame in enumerate(self.frames):
            survey.add(index, frame.numbers, cell_problem(frame.cell))
        survey.finish()
        return survey


def _results_of(atoms: Atoms) -> dict[str, Any]:
    """What the calculator knows of these very atoms; nothing is computed."""
    results: dict[str, Any] = {}
    calculator = atoms.calc
    stored = getattr(calculator, "results", None)
    if calculator is None or not stored:
        return results
    for name in RESULTS:
        if name in stored:
            value = calculator.get_property(name, atoms, allow_calculation=False)
            if value is not None:
                results[name] = value
    return results


def frame_of(atoms: Atoms) -> RawFrame:
    """Copy a frame out of ``Atoms``."""
    results = _results_of(atoms)
    arrays = {
        name: np.array(values, dtype=np.float64)
        for name, values in atoms.arrays.items()
        if name not in PLACED and values.dtype.kind == "f" and values.ndim <= 2
    }
    forces = results.get("forces", atoms.arrays.get("forces", atoms.arrays.get("REF_forces")))
    dipole = results.get("dipole")
    masses = atoms.get_masses()
    info = scalars_of(atoms.info)
    info.update(scalars_of({key: v for key, v in results.items() if np.ndim(v) == 0}))
    return RawFrame(
        numbers=np.array(atoms.numbers, dtype=np.int64),
        positions=np.array(atoms.positions, dtype=np.float64),
        cell=np.array(atoms.cell, dtype=np.float64),
        pbc=np.array(atoms.pbc, dtype=bool),
        masses=masses,
        velocities=velocities_of(atoms.get_momenta(), masses) if atoms.has("momenta") else None,
        forces=None if forces is None else np.array(forces, dtype=np.float64),
        charges=charges_of(results, arrays, arrays.get("initial_charges")),
        dipole=None if dipole is None else np.array(dipole, dtype=np.float64),
        info=info,
        arrays=arrays,
    )


class AtomsListReader(FrameReader):
    """Reads an :class:`AtomsList`; see :class:`~voltase.analysis.readers.base.FrameReader`.

    Pickled, the reader takes all frames along.
    """

    format = FORMAT
    _images: AtomsList

    @staticmethod
    def _format_hint(thing: Any) -> bool:
        return isinstance(thing, AtomsList)

    def _survey(self, skip_bad: bool) -> Survey:
        self._images = self._kwargs["filename"]
        return self._images.survey(Survey(self._images.name, skip_bad))

    @property
    def _label(self) -> str:
        return self._images.name

    def _raw_frame(self, index: int) -> RawFrame:
        # The user may change what a frame has.
        return copy.deepcopy(self._images.frames[index])

    def _portable_kwargs(self) -> dict[str, Any]:
        return dict(self._kwargs)


class AtomsListParser(TopologyReaderBase):
    """Topology of an :class:`AtomsList`: one residue, masses of the first frame."""

    format = FORMAT

    @staticmethod
    def _format_hint(thing: Any) -> bool:
        return isinstance(thing, AtomsList)

    def parse(self, **kwargs: Any) -> Any:
        """Read the topology.

        Parameters
        ----------
        **kwargs
            Those of :class:`AtomsListReader`.
        """
        images: AtomsList = self.filename
        survey = images.survey(Survey(images.name, bool(kwargs.get("skip_bad", False))))
        frame = images.frames[survey.reference]
        return topology_of(frame.numbers, frame.masses)
