"""CP2K's input: from a nested mapping or a text to ASE's tree of sections, and into a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.cp2k import InputSection, parse_input

from voltase.aseplugin.errors import InputError

PARAMETER = "_"
"""Key of what stands after a section's name, as in ``{"XC_FUNCTIONAL": {"_": "PBE"}}``."""


def read_template(template: str | Mapping[str, Any]) -> InputSection:
    """The root section of an input.

    Parameters
    ----------
    template : str or mapping
        CP2K's own text, or sections as mappings, repeated ones as lists of mappings; a value is a
        text, a number, a bool, or a sequence of these.

    Raises
    ------
    InputError
        If sections do not end where they should, or the preprocessor is used.
    """
    text = template if isinstance(template, str) else "\n".join(_lines(template))
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    depth = 0
    for line in lines:
        start = line.strip().upper()
        if start.startswith("@"):
            raise InputError(f"template: found {line.strip()!r}, expected no preprocessor line")
        depth += -1 if start.startswith("&END") else start.startswith("&")
        if depth < 0:
            break
    if depth:
        raise InputError(f"template: found {abs(depth)} section{'s' * (abs(depth) > 1)} "
                         f"{'not ended' if depth > 0 else 'ended twice'}")  # fmt: skip
    return parse_input("\n".join(lines))


def section_at(root: InputSection, path: str) -> InputSection:
    """A section by its path, made if need be.

    Raises
    ------
    InputError
        If there are several of that name.
    """
    try:
        return root.get_subsection(path)
    except Exception as error:  # ASE raises nothing more particular
        raise InputError(f"template: {error}, expected one for {path}") from error


def has_section(root: InputSection, path: str) -> bool:
    """Whether the input has a section."""
    for name in path.split("/"):
        found = [s for s in root.subsections if s.name == name]
        if not found:
            return False
        root = found[0]
    return True


def keyword(section: InputSection, name: str) -> str | None:
    """Value of a keyword, or None if it is not there; a lone one has the value ``T``."""
    for line in section.keywords:
        parts = line.split(None, 1)
        if parts[0].upper() == name:
            return parts[1].strip() if len(parts) > 1 else "T"
    return None


def set_keyword(section: InputSection, name: str, value: Any) -> None:
    """Give a keyword a value, instead of any it has."""
    section.keywords = [k for k in section.keywords if k.split()[0].upper() != name]
    section.keywords.append(f"{name} {_value(value)}")


def default_keyword(section: InputSection, name: str, value: Any) -> None:
    """Give a keyword a value if it has none."""
    if keyword(section, name) is None:
        set_keyword(section, name, value)


def set_atoms(root: InputSection, atoms: Atoms) -> None:
    """Put cell and positions into the input, instead of any it has."""
    system = section_at(root, "FORCE_EVAL/SUBSYS")
    system.subsections = [s for s in system.subsections if s.name not in ("CELL", "COORD")]
    cell, coordinates = InputSection("CELL"), InputSection("COORD")
    for name, vector in zip("ABC", atoms.cell.array, strict=True):
        set_keyword(cell, name, [f"{x:.12f}" for x in vector])
    set_keyword(cell, "PERIODIC", periodicity(atoms))
    coordinates.keywords = [
        f"{symbol} {x:.12f} {y:.12f} {z:.12f}"
        for symbol, (x, y, z) in zip(
            atoms.get_chemical_symbols(), atoms.positions.tolist(), strict=True
        )
    ]
    system.subsections += [cell, coordinates]


def periodicity(atoms: Atoms) -> str:
    """Periodic axes as CP2K writes them."""
    return "".join(name for name, on in zip("XYZ", atoms.pbc, strict=True) if on) or "NONE"


def input_text(root: InputSection) -> str:
    """The input as CP2K reads it."""
    return "\n".join(root.write()) + "\n"


def _lines(section: Mapping[str, Any]) -> Iterable[str]:
    for name, value in section.items():
        if name == PARAMETER:
            continue
        items = value if _is_repeated(value) else [value]
        for item in items:
            if isinstance(item, Mapping):
                yield f"&{name} {_value(item[PARAMETER]) if PARAMETER in item else ''}".rstrip()
                yield from _lines(item)
                yield f"&END {name}"
            else:
                yield f"{name} {_value(item)}"


def _is_repeated(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value)


def _value(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return ".TRUE." if value else ".FALSE."
    if isinstance(value, list | tuple | np.ndarray):
        return " ".join(_value(item) for item in value)
    return str(value)
