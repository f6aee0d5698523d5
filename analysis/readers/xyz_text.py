"""Frames in the text of extended xyz files: where they are and what they say."""

from __future__ import annotations

import functools
import re
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from voltase.analysis.readers.decimals import parse_fixed
from voltase.analysis.readers.frames import (
    Array,
    Integers,
    RawFrame,
    charges_of,
    scalars_of,
    standard_masses,
    velocities_of,
)
from voltase.aseplugin.errors import InputError

LATTICE = re.compile(rb"""(?:^|(?<=\s))Lattice\s*=\s*(?:"([^"]*)"|'([^']*)'|\{([^}]*)\}|(\S+))""")
PROPERTIES = re.compile(rb"""(?:^|(?<=\s))Properties\s*=\s*(?:"([^"]*)"|'([^']*)'|(\S+))""")
DEFAULT_PROPERTIES = b"species:S:1:pos:R:3"

PLACES = {
    "species": "numbers",
    "symbols": "numbers",
    "Z": "numbers",
    "numbers": "numbers",
    "pos": "positions",
    "positions": "positions",
    "momenta": "momenta",
    "vel": "velo",
    "velo": "velo",
    "forces": "forces",
    "force": "forces",
    "REF_forces": "REF_forces",
    "mass": "masses",
    "masses": "masses",
}
"""Columns with a place of their own in a frame; other columns of reals are kept as arrays."""


@dataclass(frozen=True, slots=True)
class Column:
    """One property: its name, its type (R, I, S or L) and the columns it takes."""

    name: str
    kind: str
    first: int
    count: int


@dataclass(frozen=True)
class Layout:
    """The columns of a frame.

    Attributes
    ----------
    columns : tuple of Column
    width : int
        Number of columns.
    leading_symbols : bool
        Whether each line begins with the symbol and has numbers in all other columns.
    """

    columns: tuple[Column, ...]
    width: int
    leading_symbols: bool


@dataclass(frozen=True, slots=True)
class Located:
    """Where a frame is: its index, position and size in bytes, number of atoms, and its text."""

    index: int
    position: int
    n_atoms: int
    text: bytes


def _shown(text: bytes, length: int = 40) -> str:
    shown = text.decode(errors="replace").strip()
    return repr(shown if len(shown) <= length else shown[:length] + "...")


def locate_frames(blocks: Iterable[bytes], label: str) -> Generator[Located, None, int]:
    """Find the frames of a text; lines are counted, coordinates not looked at.

    The generator's return value is the number of bytes at the end that make no whole frame.
    """
    rest, position, index = b"", 0, 0
    for block in blocks:
        text = rest + block
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == 10)
        start = line = 0
        while line < len(ends):
            head = text[start : ends[line]]
            if not head.strip():
                start, line = int(ends[line]) + 1, line + 1
                continue
            n_atoms = _count(head, label, index)
            line += n_atoms + 2
            if line > len(ends):
                break
            stop = int(ends[line - 1]) + 1
            yield Located(index, position + start, n_atoms, text[start:stop])
            start, index = stop, index + 1
        rest, position = text[start:], position + start
    if last := _unterminated(rest, label, index):
        yield Located(index, position, last, rest)
        rest = b""
    return len(rest.strip())


def _count(line: bytes, label: str, index: int) -> int:
    try:
        count = int(line)
    except ValueError:
        count = 0
    if count < 1:
        raise InputError(
            f"{label}: frame {index}: found {_shown(line)}, expected a line with a number of atoms"
        )
    return count


def _unterminated(text: bytes, label: str, index: int) -> int:
    """Number of atoms of a last frame that lacks nothing but its line end; else 0."""
    lines = text.split(b"\n")
    if len(lines) < 3 or len(lines) != _count(lines[0], label, index) + 2:
        return 0
    # A number cut short still is one, so only the length of its line can tell.
    previous = lines[-2] if len(lines) > 3 else b""
    width = layout_of(lines[1], label, index).width
    whole = len(lines[-1].split()) == width and len(lines[-1].rstrip()) >= len(previous.rstrip())
    return len(lines) - 2 if whole else 0


def layout_of(comment: bytes, label: str, index: int) -> Layout:
    """The columns that a comment line announces."""
    found = PROPERTIES.search(comment)
    text = DEFAULT_PROPERTIES if found is None else next(g for g in found.groups() if g is not None)
    try:
        return _parse_layout(text)
    except (ValueError, UnicodeDecodeError):
        raise InputError(
            f"{label}: frame {index}: found Properties={_shown(text)}, expected name:type:columns "
            "with types R, I, S or L, and among the names pos:R:3 and species or Z"
        ) from None


@functools.lru_cache(maxsize=64)
def _parse_layout(text: bytes) -> Layout:
    fields = text.decode().split(":")
    columns: list[Column] = []
    width = 0
    for name, kind, count in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        columns.append(Column(name, kind, width, int(count)))
        width += int(count)
    places = [PLACES.get(column.name) for column in columns]
    shape = [(c.kind, c.count) for c, p in zip(columns, places, strict=True) if p == "positions"]
    if shape != [("R", 3)] or "numbers" not in places or {c.kind for c in columns} - set("RISL"):
        raise ValueError(text)
    head = columns[0]
    leading = head.kind == "S" and head.count == 1 and all(c.kind in "RI" for c in columns[1:])
    return Layout(tuple(columns), width, leading and places[0] == "numbers")


def cell_of(comment: bytes, label: str, index: int) -> Array | None:
    """Lattice vectors (3, 3) as rows in A; None if the comment line has none."""
    found = LATTICE.search(comment)
    if found is None:
        return None
    text = next(group for group in found.groups() if group is not None)
    try:
        return np.array([float(v) for v in text.replace(b",", b" ").split()]).reshape(3, 3)
    except ValueError:
        raise InputError(
            f"{label}: frame {index}: found Lattice={_shown(text)}, expected nine numbers in A"
        ) from None


def split_frame(text: bytes) -> tuple[bytes, bytes]:
    """Comment line and lines of atoms of a frame."""
    first = text.find(b"\n") + 1
    second = text.find(b"\n", first) + 1
    return text[first : second - 1].strip(), text[second:]


def info_of(comment: bytes, label: str, index: int) -> dict[str, Any]:
    """What the comment line says, as ASE reads it; without lattice and properties."""
    from ase.io.extxyz import key_val_str_to_dict

    # ASE goes through the line letter by letter, so shorten it.
    comment = PROPERTIES.sub(b"", LATTICE.sub(b"", comment))
    try:
        return dict(key_val_str_to_dict(comment.decode(errors="replace")))
    except (ValueError, IndexError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{label}: frame {index}: comment line: {reason}") from error


class SameAtoms:
    """Says which frames certainly have the atoms of the first, at a glance at their text."""

    def __init__(self) -> None:
        self._first: tuple[int, bytes] | None = None

    def check(self, frame: Located, layout: Layout) -> bool:
        """Whether the symbols are those of the first frame; if False, they still may be."""
        if not layout.leading_symbols:
            return False
        text = np.frombuffer(frame.text, np.uint8)
        starts = np.flatnonzero(text == 10)[1 : frame.n_atoms + 1] + 1
        # Two letters and what separates them from the rest.
        letters = text[np.minimum(starts[:, None] + np.arange(3), len(text) - 1)]
        key = (frame.n_atoms, letters.tobytes())
        if self._first is None:
            self._first = key
            return False
        return key == self._first


class _Table:
    """Columns of a frame's atoms."""

    def __init__(self, body: bytes, layout: Layout, n_atoms: int, label: str, index: int) -> None:
        self._where = f"{label}: frame {index}"
        self._layout = layout
        self._numeric = [c for c in layout.columns if c.kind in "RI"]
        self._tokens: list[bytes] | None = None
        self._body, self._n_atoms = body, n_atoms
        width = sum(c.count for c in self._numeric)
        values = parse_fixed(body, n_atoms, width) if layout.leading_symbols else None
        self.values = self._parse() if values is None else values

    def tokens(self) -> list[bytes]:
        """All columns of all atoms, line by line."""
        if self._tokens is None:
            tokens = self._body.split()
            expected = self._n_atoms * self._layout.width
            if len(tokens) != expected:
                raise InputError(
                    f"{self._where}: found {len(tokens)} columns in the lines of its atoms, "
                    f"expected {expected} ({self._layout.width} for each atom)"
                )
            self._tokens = tokens
        return self._tokens

    def _parse(self) -> Array:
        tokens = list(self.tokens())
        if self._layout.leading_symbols:
            del tokens[:: self._layout.width]
        else:
            kept = np.array([i for c in self._numeric for i in range(c.first, c.first + c.count)])
            width = self._layout.width
            tokens = [tokens[row + i] for row in range(0, len(tokens), width) for i in kept]
        try:
            return np.array(list(map(float, tokens))).reshape(self._n_atoms, -1)
        except ValueError:
            wrong = next(token for token in tokens if not _is_number(token))
            raise InputError(f"{self._where}: found {_shown(wrong)}, expected a number") from None

    def numeric(self, column: Column) -> Array:
        """Values of a column, (n,) or (n, k)."""
        first = sum(c.count for c in self._numeric if c.first < column.first)
        values = self.values[:, first : first + column.count]
        return np.ascontiguousarray(values[:, 0] if column.count == 1 else values)

    def numbers(self, column: Column) -> Integers:
        """Atomic numbers from a column of symbols or numbers."""
        if column.kind != "S":
            return self.numeric(column).astype(np.int64)
        return numbers_of(self.tokens()[column.first :: self._layout.width], self._where)


def _is_number(token: bytes) -> bool:
    try:
        float(token)
    except ValueError:
        return False
    return True


def numbers_of(symbols: list[bytes], where: str) -> Integers:
    """Atomic numbers of chemical symbols."""
    from ase.data import atomic_numbers

    known = {}
    for symbol in set(symbols):
        name = symbol.decode(errors="replace").capitalize()
        if name not in atomic_numbers:
            raise InputError(f"{where}: found {_shown(symbol)}, expected a chemical symbol")
        known[symbol] = atomic_numbers[name]
    return np.array([known[symbol] for symbol in symbols], dtype=np.int64)


def atoms_of(frame: Located, label: str) -> Integers:
    """Atomic numbers of a frame."""
    comment, body = split_frame(frame.text)
    layout = layout_of(comment, label, frame.index)
    column = next(c for c in layout.columns if PLACES.get(c.name) == "numbers")
    where = f"{label}: frame {frame.index}"
    rows = [line.split() for line in body.splitlines()[: frame.n_atoms]]
    short = next((i for i, row in enumerate(rows) if len(row) != layout.width), None)
    if short is not None:
        raise InputError(
            f"{where}: found {len(rows[short])} columns for atom {short}, expected {layout.width}"
        )
    values = [row[column.first] for row in rows]
    if column.kind == "S":
        return numbers_of(values, where)
    try:
        return np.array([int(value) for value in values], dtype=np.int64)
    except ValueError:
        raise InputError(f"{where}: found a {column.name} that is not a whole number") from None


def parse_frame(
    text: bytes, label: str, index: int, numbers: Integers, masses: Array | None
) -> RawFrame:
    """One frame from its text.

    Parameters
    ----------
    text : bytes
    label : str
        What messages call the source.
    index : int
    numbers : ndarray (n,)
        Atomic numbers, which the text has been found to have.
    masses : ndarray (n,) or None
        In u, where the frame has none; None for ASE's.

    Returns
    -------
    RawFrame
    """
    comment, body = split_frame(text)
    layout = layout_of(comment, label, index)
    table = _Table(body, layout, len(numbers), label, index)
    placed: dict[str, Array] = {}
    arrays: dict[str, Array] = {}
    for column in layout.columns:
        name = PLACES.get(column.name)
        if name is not None and name != "numbers" and column.kind in "RI":
            placed[name] = table.numeric(column)
        elif name is None and column.kind == "R":
            arrays[column.name] = table.numeric(column)
    info = info_of(comment, label, index)
    pbc = np.broadcast_to(np.asarray(info.pop("pbc", True), dtype=bool), 3).copy()
    if "masses" in placed:
        masses = placed["masses"]
    elif masses is None:
        masses = standard_masses(numbers)
    dipole = info.get("dipole")
    return RawFrame(
        numbers=numbers,
        positions=placed["positions"],
        cell=cell_of(comment, label, index),
        pbc=pbc,
        masses=masses,
        velocities=_velocities(placed, masses),
        forces=placed.get("forces", placed.get("REF_forces")),
        charges=charges_of({}, arrays, arrays.get("initial_charges")),
        dipole=dipole if isinstance(dipole, np.ndarray) and dipole.shape == (3,) else None,
        info=scalars_of(info),
        arrays=arrays,
    )


def _velocities(placed: dict[str, Array], masses: Array) -> Array | None:
    if "momenta" in placed:
        return velocities_of(placed["momenta"], masses)
    # QUIP's velo and GPUMD's vel are in A/fs.
    return placed["velo"] * 1000.0 if "velo" in placed else None
