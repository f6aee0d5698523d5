"""Bytes of a text file, plain or compressed, by position."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from voltase.aseplugin.errors import InputError

BLOCK = 1 << 22
"""Bytes read at a time when going through a file."""

LARGEST_IN_MEMORY = 500_000_000
"""In bytes; a compressed file is kept in memory, decompressed, if it is not longer than this."""

_OPENERS: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}


class TextSource:
    """A text file, wholly readable or cut short.

    The text of a compressed file (gzip or bzip2, told by its first bytes) is kept in memory if it
    is not too long. A longer one is decompressed again as it is read: frames in order are quick,
    going back starts at the beginning of the file.

    Parameters
    ----------
    path : str
    keep : bool, optional
        Keep the text of a compressed file in memory while going through it.

    Attributes
    ----------
    cut_short : bool
        Whether the compressed data ended too early; known after going through the file.
    """

    def __init__(self, path: str, keep: bool = True) -> None:
        self.path = path
        self.cut_short = False
        self._keep = keep
        self._text: bytearray | None = None
        self._file: IO[bytes] | None = None
        try:
            with Path(path).open("rb") as file:
                start = file.read(3)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
        if not start:
            raise InputError(f"{path}: found an empty file, expected extended xyz")
        self._opener = next((o for magic, o in _OPENERS.items() if start.startswith(magic)), None)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> IO[bytes]:
        if self._file is None:
            path = Path(self.path)
            self._file = (
                path.open("rb", buffering=0) if self._opener is None else self._opener(path)
            )
        return self._file

    def blocks(self) -> Iterator[bytes]:
        """The text from its beginning, block by block."""
        text = bytearray() if self._keep and self._opener is not None else None
        try:
            file = self._open()
            file.seek(0)
            while block := self._next_block(file):
                if text is not None:
                    text += block
                    text = None if len(text) > LARGEST_IN_MEMORY else text
                yield block
        except (OSError, zlib.error) as error:
            raise InputError(f"{self.path}: cannot be read ({error})") from error
        if text is not None:
            self._text = text
            self.close()

    def _next_block(self, file: IO[bytes]) -> bytes:
        if self._opener is None:
            return file.read(BLOCK)
        parts: list[bytes] = []
        size = 0
        try:
            # What precedes the point where the data end is lost to a plain read.
            while size < BLOCK and (part := file.read1(BLOCK - size)):  # type: ignore[attr-defined]
                parts.append(part)
                size += len(part)
        except EOFError:
            self.cut_short = True
        return b"".join(parts)

    def read(self, position: int, size: int) -> bytes:
        """Text of a position and size, in bytes of the decompressed file."""
        if self._text is not None:
            return bytes(self._text[position : position + size])
        file = self._open()
        if self._opener is None:
            return os.pread(file.fileno(), size, position)
        file.seek(position)
        return file.read(size)
