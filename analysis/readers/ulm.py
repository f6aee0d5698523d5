"""Items of ASE's binary ULM files, read without building ``Atoms``.

A file starts with 8 bytes of magic, 16 of tag and three integers: version, number of items and
position of the table of their offsets. An item is its arrays, then its JSON text, preceded by the
length; the JSON names each array's shape, type and position. The offset points at the length.
"""

from __future__ import annotations

import functools
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voltase.aseplugin.errors import InputError

MAGIC = (b"- of Ulm", b"AFFormat")
TAG = b"ASE-Trajectory"
HEADER = 48
Item = dict[str, Any]


@functools.cache
def _dtype(name: str, little_endian: bool) -> np.dtype[Any]:
    return np.dtype(name).newbyteorder("<" if little_endian else ">")


class UlmFile:
    """A ``.traj`` file, open for reading.

    Parameters
    ----------
    path : str

    Attributes
    ----------
    n_items : int
        Items wholly in the file.
    n_announced : int
        Items that there should be.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._text_size = 4096
        try:
            self._file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - until close()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
        try:
            self._read_table()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, position: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, position)

    def _read_table(self) -> None:
        try:
            self._size = size = os.fstat(self._file.fileno()).st_size
            header = self._read(0, HEADER)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error})") from error
        if not size:
            raise InputError(f"{self.path}: found an empty file, expected an ASE trajectory")
        if len(header) < HEADER or header[:8] not in MAGIC or header[8:24].rstrip() != TAG:
            raise InputError(
                f"{self.path}: found {header[:24]!r} at its start, expected an ASE trajectory"
            )
        _, self.n_announced, table = (int(v) for v in np.frombuffer(header[24:], "<i8"))
        if not 0 <= 8 * self.n_announced <= size - table:
            raise InputError(
                f"{self.path}: found {size} bytes, truncated before the table of its "
                f"{self.n_announced} frames, expected at least {table + 8 * self.n_announced}"
            )
        self._offsets = np.frombuffer(self._read(table, 8 * self.n_announced), "<i8")
        self.n_items = self.n_announced
        # Items follow one another and end in their text, so the last ones are lost first.
        while self.n_items and not self._is_whole(self.n_items - 1, size):
            self.n_items -= 1

    def _is_whole(self, index: int, size: int) -> bool:
        offset = int(self._offsets[index])
        length = self._read(offset, 8) if 0 < offset < size else b""
        if len(length) < 8:
            return False
        return offset + 8 + int(np.frombuffer(length, "<i8")[0]) <= size

    def text(self, index: int) -> bytes:
        """The JSON text of an item."""
        offset = int(self._offsets[index])
        text = self._read(offset, 8 + self._text_size)
        size = min(int.from_bytes(text[:8], "little"), self._size)
        if size > self._text_size:
            self._text_size = size
            text = self._read(offset, 8 + size)
        if len(text) < 8 + size:
            raise InputError(
                f"{self.path}: frame {index}: found its end missing, expected {size} B"
            )
        return text[8 : 8 + size]

    def item(self, index: int) -> Item:
        """The JSON of an item; the name of what is an array ends in a dot."""
        try:
            item = json.loads(self.text(index))
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.path}: frame {index}: cannot be read ({error})") from error
        if not isinstance(item, dict):
            raise InputError(f"{self.path}: frame {index}: found no data, expected a frame")
        return item

    def value(self, item: Item, name: str, little_endian: bool = True) -> Any:
        """What an item has under a name, arrays read; None if there is nothing."""
        stored = item.get(f"{name}.")
        if isinstance(stored, dict) and "ndarray" in stored:
            return self._array(stored["ndarray"], little_endian)
        plain = item.get(name)
        if isinstance(plain, dict):
            from ase.io.jsonio import decode

            return decode(json.dumps(plain))
        return plain

    def _array(self, stored: Any, little_endian: bool) -> npt.NDArray[Any]:
        shape, name, offset = stored
        dtype = _dtype(name, little_endian)
        count = math.prod(shape)
        data = self._read(int(offset), count * dtype.itemsize)
        if len(data) < count * dtype.itemsize:
            raise InputError(f"{self.path}: found an array cut short, expected {count} values")
        return np.frombuffer(data, dtype).reshape(shape)
