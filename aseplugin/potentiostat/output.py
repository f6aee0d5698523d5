"""Log and trajectory files that can be cut back to a checkpoint, byte for byte."""

import io
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import ulm
from ase.io.extxyz import write_extxyz
from ase.io.jsonio import decode
from ase.io.trajectory import TrajectoryWriter, get_header_data, read_atoms
from numpy.typing import NDArray

from voltase.aseplugin.errors import CheckpointError, InputError
from voltase.aseplugin.potentiostat.checkpoint import encodable_info

# Rows wait in memory no longer than this, so that a running log can be followed.
_FLUSH_INTERVAL = 2.0  # s


class LogFile:
    """Rows of numbers as CSV, each float written so that it reads back exactly.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Names with units.
    comment : str
        First line, after ``# ``.
    size : int, optional
        Continue an existing file after this many bytes, dropping the rest; new if None.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], comment: str, size: int | None = None
    ) -> None:
        self.path = path
        self.columns = tuple(columns)
        if size is None:
            self._file: BinaryIO = path.open("wb")
            self._file.write(f"# {comment}\n{','.join(columns)}\n".encode())
        else:
            self._file = _open_truncated(path, size)
        self._flushed = time.monotonic()

    def write(self, row: Mapping[str, float]) -> None:
        """Append a row; integers and floats alike, one for each column."""
        # float() drops NumPy's own repr; an int stays one.
        cells = (row[name] for name in self.columns)
        texts = (str(cell) if isinstance(cell, int) else repr(float(cell)) for cell in cells)
        self._file.write((",".join(texts) + "\n").encode())
        if time.monotonic() - self._flushed > _FLUSH_INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Hand the rows to the operating system."""
        self._file.flush()
        self._flushed = time.monotonic()

    def mark(self) -> dict[str, int]:
        """Put the file on disk and say how long it is, for a checkpoint."""
        _sync(self._file)
        return {"bytes": self._file.tell()}

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TrajectoryFile(ABC):
    """Frames with positions, momenta, energy, forces and info."""

    path: Path
    frames: int

    @staticmethod
    @abstractmethod
    def matches(file: BinaryIO, frame: Atoms, mark: Mapping[str, int]) -> bool:
        """Whether an open file holds frames like this one up to a mark; changes nothing."""

    @abstractmethod
    def write(self, frame: Atoms) -> None:
        """Append a frame; its calculator holds energy and forces."""

    @abstractmethod
    def mark(self) -> dict[str, int]:
        """Put the file on disk and describe its end, for a checkpoint."""

    @abstractmethod
    def flush(self) -> None:
        """Hand the frames to the operating system."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


class UlmTrajectory(TrajectoryFile):
    """ASE's own ``.traj`` format.

    A file is a header (number of frames, position of the table of offsets), then frames and, each
    time the table is full, a new table. Later frames touch nothing before them except the header
    and free slots of the table, so cutting back means to truncate, to write the old header and to
    clear the slots; what is appended then falls on the same bytes as in a run never interrupted.
    """

    _FRAME_COUNT_AT = 32
    _TABLE_GROWTH = 42

    def __init__(self, path: Path, frame: Atoms, mark: Mapping[str, int] | None = None) -> None:
        self.path = path
        if mark is None or mark["frames"] == 0:
            self._writer = TrajectoryWriter(path, "w")
        else:
            self._cut_back(mark)
            self._writer = TrajectoryWriter(path, "a")
            # ASE compares constraints by identity; those read back would never match.
            self._writer.header_data = get_header_data(frame)

    @property
    def frames(self) -> int:  # type: ignore[override]
        """Frames in the file."""
        return len(self._writer)

    @staticmethod
    def matches(file: BinaryIO, frame: Atoms, mark: Mapping[str, int]) -> bool:
        """Whether the header, the table of offsets and the first frame are such a trajectory's."""
        if mark["frames"] == 0:
            return True
        try:
            if file.read(24) != b"- of Ulm" + b"ASE-Trajectory".ljust(16):
                return False
            # The mark's table: the header may have come to name another one since.
            file.seek(mark["table"])
            offsets = np.frombuffer(file.read(8 * mark["frames"]), "<i8")
            if offsets[0] < 0 or np.any(np.diff(offsets) <= 0) or offsets[-1] >= mark["bytes"]:
                return False
            file.seek(offsets[0])
            size = int(np.frombuffer(file.read(8), "<i8").item())
            if not 0 < size < mark["bytes"]:
                return False
            data = decode(file.read(size).decode(), False)
            little_endian = data.pop("_little_endian", True)
            first = read_atoms(ulm.Reader(file, data=data, _little_endian=little_endian))
        # Whatever reading junk leads to.
        except Exception:
            return False
        return bool(np.array_equal(first.numbers, frame.numbers))

    def _cut_back(self, mark: Mapping[str, int]) -> None:
        slots = 1
        while slots < mark["frames"]:
            slots *= self._TABLE_GROWTH
        with _open_truncated(self.path, mark["bytes"]) as file:
            file.seek(self._FRAME_COUNT_AT)
            file.write(np.array([mark["frames"], mark["table"]], "<i8").tobytes())
            file.seek(mark["table"] + 8 * mark["frames"])
            file.write(bytes(8 * (slots - mark["frames"])))

    def write(self, frame: Atoms) -> None:
        """Append a frame."""
        self._writer.write(frame)

    def mark(self) -> dict[str, int]:
        """Size in bytes, number of frames and position of the table of offsets."""
        backend = self._writer.backend
        _sync(backend.fd)
        size = os.fstat(backend.fd.fileno()).st_size
        return {"bytes": size, "frames": len(self._writer), "table": int(backend.pos0)}

    def flush(self) -> None:
        """Hand the frames to the operating system."""
        self._writer.backend.fd.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class ExtxyzTrajectory(TrajectoryFile):
    """Extended XYZ; text, with eight decimals."""

    @staticmethod
    def matches(file: BinaryIO, frame: Atoms, mark: Mapping[str, int]) -> bool:
        """Whether it begins with the number of atoms and ends, at the mark, with a line."""
        if mark["frames"] == 0:
            return True
        return file.readline().strip() == b"%d" % len(frame) and _ends_a_line(file, mark["bytes"])

    def __init__(self, path: Path, frame: Atoms, mark: Mapping[str, int] | None = None) -> None:
        self.path = path
        self.frames = 0 if mark is None else mark["frames"]
        self._file = path.open("wb") if mark is None else _open_truncated(path, mark["bytes"])

    def write(self, frame: Atoms) -> None:
        """Append a frame."""
        text = io.StringIO()
        write_extxyz(text, frame)
        self._file.write(text.getvalue().encode())
        self.frames += 1

    def mark(self) -> dict[str, int]:
        """Size in bytes and number of frames."""
        _sync(self._file)
        return {"bytes": self._file.tell(), "frames": self.frames}

    def flush(self) -> None:
        """Hand the frames to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


_TRAJECTORIES: dict[str, type[UlmTrajectory] | type[ExtxyzTrajectory]] = {
    ".traj": UlmTrajectory,
    ".extxyz": ExtxyzTrajectory,
    ".xyz": ExtxyzTrajectory,
}


def check_trajectory_name(path: Path) -> None:
    """Raise :class:`InputError` unless the suffix is one that can be written."""
    if path.suffix not in _TRAJECTORIES:
        expected = ", ".join(_TRAJECTORIES)
        raise InputError(f"trajectory: got {str(path)!r}, expected a name ending in {expected}")


def check_log(path: Path, columns: Sequence[str], size: int | None) -> None:
    """Whether a :class:`LogFile` could be opened, or cut back to a size; changes nothing.

    Raises
    ------
    CheckpointError
        If the file is missing, too short, of other columns, or without a row's end at the size.
    InputError
        If a new file has no folder.
    """
    if size is None:
        _check_folder("logfile", path)
        return
    with _open_marked(path, size) as file:
        lines = file.readline(), file.readline()
        names = f"{','.join(columns)}\n".encode()
        if not lines[0].startswith(b"# ") or lines[1] != names or not _ends_a_line(file, size):
            raise CheckpointError(
                f"{path}: got other contents, expected the log the checkpoint belongs to"
            )


def check_trajectory(path: Path, frame: Atoms, mark: Mapping[str, int] | None) -> None:
    """Whether :func:`open_trajectory` could open a file, or cut it back; changes nothing.

    Raises
    ------
    CheckpointError
        If the file is missing, too short or not a trajectory of these atoms.
    InputError
        If a new file has no folder, or a name without a known suffix.
    """
    check_trajectory_name(path)
    if mark is None:
        _check_folder("trajectory", path)
        return
    with _open_marked(path, mark["bytes"]) as file:
        if not _TRAJECTORIES[path.suffix].matches(file, frame, mark):
            raise CheckpointError(
                f"{path}: got other contents, expected the trajectory the checkpoint belongs to"
            )


def open_trajectory(
    path: Path, frame: Atoms, mark: Mapping[str, int] | None = None
) -> TrajectoryFile:
    """New trajectory file, or an existing one cut back to a mark, by the suffix of its name."""
    check_trajectory(path, frame, mark)
    return _TRAJECTORIES[path.suffix](path, frame, mark)


def fill_frame(frame: Atoms, atoms: Atoms, energy: float, forces: NDArray[np.float64]) -> Atoms:
    """Give a frame the positions, momenta and info of ``atoms``, and results of its own."""
    frame.arrays["positions"][:] = atoms.arrays["positions"]
    if "momenta" in atoms.arrays:
        frame.arrays["momenta"] = atoms.arrays["momenta"].copy()
    frame.info = encodable_info(atoms)
    frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces.copy())
    return frame


def _open_marked(path: Path, size: int) -> BinaryIO:
    """The file a checkpoint belongs to, at its start and as it is."""
    if not path.is_file():
        raise CheckpointError(f"{path}: not found, expected the file the checkpoint belongs to")
    try:
        # To be written to: one that cannot be is refused before anything is cut.
        file = path.open("r+b")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from error
    found = os.fstat(file.fileno()).st_size
    if found < size:
        file.close()
        raise CheckpointError(
            f"{path}: got {found} bytes, expected at least the {size} the checkpoint belongs to"
        )
    return file


def _open_truncated(path: Path, size: int) -> BinaryIO:
    file = _open_marked(path, size)
    file.truncate(size)
    file.seek(size)
    return file


def _check_folder(name: str, path: Path) -> None:
    if not path.parent.is_dir():
        raise InputError(f"{name}: got {str(path)!r}, expected it in a folder that exists")


def _ends_a_line(file: BinaryIO, size: int) -> bool:
    file.seek(size - 1)
    return file.read(1) == b"\n"


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
