"""One way to a ``Universe`` from whatever holds a trajectory."""

from __future__ import annotations

import bz2
import gzip
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import MDAnalysis

from voltase.analysis.readers import ase_traj, atoms_list, extxyz
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

COMPRESSED = {".gz": gzip.open, ".bz2": bz2.open}


def load(
    source: str | os.PathLike[str] | Sequence[Atoms] | Any,
    *,
    topology: Any = None,
    dt: float | None = None,
    skip_bad: bool = False,
) -> Any:
    """Make a ``Universe`` of a trajectory.

    Parameters
    ----------
    source : path, list of Atoms, Atoms or MDAnalysis.Universe
        A file: ``.traj``; ``.extxyz``, or ``.xyz`` with an extended comment line, also compressed
        (``.gz``, ``.bz2``); or any other that MDAnalysis reads. A ``Universe`` is returned as it
        is, without regard to the other arguments.
    topology : path or MDAnalysis topology, optional
        For files without names of atoms. By default the file itself.
    dt : float, optional
        Time between frames in ps, where the frames do not tell. By default 1 ps.
    skip_bad : bool, optional
        Leave out frames with other atoms than the first or without a cell, which are errors by
        default; ``universe.trajectory.n_skipped`` counts them. Only for ``.traj``, extended xyz
        and ``Atoms``.

    Returns
    -------
    MDAnalysis.Universe
        What its frames carry: :class:`voltase.analysis.readers.base.FrameReader`.

    Raises
    ------
    InputError
        If the source cannot be read.
    """
    if isinstance(source, MDAnalysis.Universe):
        return source
    options: dict[str, Any] = {} if dt is None else {"dt": dt}
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        form = _format_of(path)
        if form is not None:
            options.update(format=form, skip_bad=skip_bad)
            if topology is None:
                options["topology_format"] = form
        return _universe(path, path, topology, options)
    images = _images_of(source)
    return _universe(images, images.name, topology, {**options, "skip_bad": skip_bad})


def _images_of(source: Any) -> atoms_list.AtomsList:
    from ase import Atoms

    if isinstance(source, atoms_list.AtomsList):
        return source
    if isinstance(source, Atoms):
        return atoms_list.AtomsList([source])
    try:
        frames = list(source)
    except TypeError:
        raise InputError(
            f"trajectory: found {type(source).__name__}, expected a path, a list of ASE Atoms or a "
            "Universe"
        ) from None
    return atoms_list.AtomsList(frames)


def _format_of(path: str) -> str | None:
    """The format of this package that a file has; None for MDAnalysis's own."""
    file = Path(path)
    if not file.is_file():
        found = "a folder" if file.is_dir() else "no such file"
        raise InputError(f"{path}: found {found}, expected a trajectory")
    suffix = file.suffix.lower()
    if suffix in COMPRESSED:
        suffix = Path(file.stem).suffix.lower()
    if suffix == ".traj":
        return ase_traj.FORMAT
    if suffix == ".extxyz" or (suffix == ".xyz" and _is_extended(file)):
        return extxyz.FORMAT
    return None


def _is_extended(path: Path) -> bool:
    """Whether the comment line of an xyz file says what extended xyz says."""
    opener: Any = COMPRESSED.get(path.suffix.lower(), open)
    try:
        with opener(path, "rb") as file:
            file.readline(1000)
            comment = file.readline(100_000)
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    return b"Lattice=" in comment or b"Properties=" in comment


def _universe(source: Any, label: str, topology: Any, options: dict[str, Any]) -> Any:
    parts = [source] if topology is None else [topology, source]
    try:
        universe = MDAnalysis.Universe(*parts, **options)
        _ = universe.trajectory
    except InputError:
        raise
    except (ValueError, OSError, TypeError, AttributeError, EOFError) as error:
        # MDAnalysis wraps what its topology readers raise.
        if isinstance(error.__context__, InputError):
            raise error.__context__ from None
        reason = " ".join(str(error).split())
        raise InputError(f"{label}: MDAnalysis cannot read it: {reason}") from error
    return universe
