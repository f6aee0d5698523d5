"""What ``pe-build`` does: settings, lists, files and the report."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ase import Atoms

from voltase.aseplugin.building.interface import (
    BuiltInterface,
    assemble,
    cut_slab,
)
from voltase.aseplugin.building.settings import InterfaceSettings
from voltase.aseplugin.building.sites import find_sites
from voltase.aseplugin.building.terminations import find_terminations, slab_planes
from voltase.aseplugin.errors import InputError
from voltase.cli.config import check_keys, coerce, read_options
from voltase.cli.summary import RunSummary
from voltase.cli.terminal import progress_bar

_KINDS: dict[str, Any] = {
    "a": float, "c": float, "layers": int, "whole_layers": bool, "water_on": str,
    "thickness": float, "waters": int, "density": float, "gap": float, "vacuum": float,
    "fix": int, "sweeps": int, "seed": int,
}  # fmt: skip
_NAMES = tuple(field.name for field in fields(InterfaceSettings))


@dataclass(frozen=True)
class Places:
    """The crystal and the facet."""

    crystal: str
    facet: str | list[int]

    @property
    def label(self) -> str:
        """Such as ``Pt-111``."""
        facet = self.facet if isinstance(self.facet, str) else "".join(map(str, self.facet))
        return re.sub("[^A-Za-z0-9.+-]", "", f"{Path(self.crystal).stem}-{facet}")


@dataclass(frozen=True)
class Output:
    """Files to be written."""

    structure: Path
    format: str
    summary: Path
    picture: Path | None

    @classmethod
    def resolve(cls, places: Places, settings: InterfaceSettings, out: Path | None,
                format_: str | None, *, plot: bool, overwrite: bool) -> Output:  # fmt: skip
        """Check names and format before anything is built.

        Raises
        ------
        InputError
            If ASE cannot write the format, or a file is there already.
        """
        from ase.io.formats import ioformats

        path = Path(f"{places.label}.extxyz") if out is None else out
        name = format_ or _format_of(path)
        if name not in ioformats or not ioformats[name].can_write:
            if format_ is None:
                raise InputError(f"--out: got {path}, whose name tells no format that ASE writes, "
                                 "expected such as NAME.extxyz, or --format")  # fmt: skip
            raise InputError(f"--format: got {name!r}, which is no format that ASE writes")
        summary, picture = path.with_suffix(".yaml"), path.with_suffix(".png") if plot else None
        written = [each for each in (path, summary, picture) if each is not None]
        if len(set(written)) < len(written):
            raise InputError(f"--out: got {path}, the name of another file of this command, "
                             "expected a structure")  # fmt: skip
        for each in written:
            if each.is_dir() or (each.exists() and not overwrite):
                raise InputError(f"--out: {each} exists, expected a new name or --overwrite")
        if not path.parent.is_dir():
            raise InputError(f"--out: there is no folder {path.parent}, expected one to write to")
        return cls(path, name, summary, picture)


def _format_of(path: Path) -> str:
    """Format by the name of a file; what it is worth, the caller has to see."""
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        return str(filetype(str(path), read=False))
    except UnknownFileTypeError:
        return ""


@contextlib.contextmanager
def named_as_options() -> Iterator[None]:
    """Messages of the library name its arguments; here people know the options."""
    try:
        yield
    except InputError as error:
        name, colon, rest = str(error).partition(":")
        if colon and name in ("crystal", "facet"):
            name = name.upper()
        elif colon and name in _NAMES:
            name = f"--{name.replace('_', '-')}"
        raise InputError(f"{name}{colon}{rest}") from error


def read_settings(
    given: Mapping[str, Any], config: Path | None
) -> tuple[InterfaceSettings, Places]:
    """Settings of the file, overridden by the options that were given.

    Raises
    ------
    InputError
        If the file is unusable, a value is wrong, or there is no crystal or facet.
    """
    found = {} if config is None else _read_config(config)
    found |= {name: given[name] for name in (*_NAMES, "crystal", "facet") if name in given}
    for name in ("crystal", "facet"):
        if name not in found:
            raise InputError(f"{name.upper()}: got none, expected such as pe-build Pt 111")
    places = Places(str(found.pop("crystal")), found.pop("facet"))
    with named_as_options():
        return InterfaceSettings(**found), places


def _read_config(path: Path) -> dict[str, Any]:
    found = read_options(path)
    check_keys(found, [*_NAMES, "crystal", "facet"], "config")
    for name, value in found.items():
        if name in _KINDS:
            found[name] = coerce(value, _KINDS[name], f"config.{name}")
        elif name == "crystal" and not isinstance(value, str):
            raise InputError(f"config.crystal: got {value!r}, expected a name or a file")
        elif name == "facet":
            found[name] = value if isinstance(value, list) else str(value)
    return found


def list_of(what: str, settings: InterfaceSettings, places: Places) -> str:
    """A table of terminations or of adsorption sites."""
    with named_as_options():
        cut = cut_slab(places.crystal, places.facet, settings)
        if what == "sites":
            sites = find_sites(cut.slab)
            if not sites:
                return "no free sites"
            rows = [["site", "number", "first at x, y (A)"]]
            rows += [[site.name, str(len(site.points)),
                      f"{site.points[0][0]:.3f}, {site.points[0][1]:.3f}"]
                     for site in sites]  # fmt: skip
            return _table(rows)
        rows = [["index", "name", "outermost", "to the next plane (A)", "faces", "slab"]]
        for each in find_terminations(cut.stacking):
            planes = slab_planes(cut.stacking, each, settings.layers, settings.whole_layers)
            counts = cut.stacking.count(*planes)
            rows.append([str(each.index), each.name, each.formula, f"{each.gap:.3f}",
                         "equal" if each.symmetric and not settings.whole_layers else "may differ",
                         Atoms("".join(f"{s}{n}" for s, n in counts.items())
                               ).symbols.formula.format("metal")])  # fmt: skip
        return _table(rows)


def _table(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in rows)  # fmt: skip
    return "\n".join(lines)


def run(settings: InterfaceSettings, places: Places, output: Output, *, quiet: bool) -> str:
    """Build, write all files, and report."""
    summary = RunSummary(output.summary, "pe-build", _resolved(settings, places, output))
    with named_as_options(), progress_bar("water", settings.sweeps, shown=not quiet) as bar:
        built = assemble(places.crystal, places.facet, settings, bar)
    partial = output.structure.with_name(f".{output.structure.name}.partial")
    try:
        _write(built.atoms, partial, output.format)
        if output.picture is not None:
            from voltase.cli.build_plots import plot_interface
            from voltase.cli.md_plots import save_figure

            save_figure(plot_interface(built, places.label), output.picture)
        os.replace(partial, output.structure)
    finally:
        partial.unlink(missing_ok=True)
    results = _results(built)
    summary.write("finished", **results)
    return _report(built, output)


def _write(atoms: Atoms, path: Path, format_: str) -> None:
    from ase.io import write

    try:
        write(path, atoms, format=format_)
    except OSError:
        raise
    # Writers of some forty formats raise whatever they stumble over.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"--format: ASE cannot write this interface as {format_} ({reason})"
                         ) from error  # fmt: skip


def _resolved(settings: InterfaceSettings, places: Places, output: Output) -> dict[str, Any]:
    options = {"crystal": places.crystal, "facet": places.facet, **asdict(settings)}
    options |= {"fix": settings.fixed_layers, "vacuum": settings.empty_height}
    options |= {"out": str(output.structure), "format": output.format}
    return {name: list(value) if isinstance(value, tuple) else value
            for name, value in options.items()}  # fmt: skip


def _results(built: BuiltInterface) -> dict[str, Any]:
    atoms = built.atoms
    return {
        "atoms": len(atoms),
        "formula": atoms.symbols.formula.format("metal"),
        "cell": [[round(float(x), 6) for x in row] for row in atoms.cell.array],
        "pbc": [bool(p) for p in atoms.pbc],
        "fixed_atoms": sum(len(constraint.index) for constraint in atoms.constraints),
        "building": atoms.info["building"],
        "charges": atoms.info["charges"],
        "sites": {site.name: len(site.points) for site in built.sites},
    }


def _report(built: BuiltInterface, output: Output) -> str:
    atoms, cut, film = built.atoms, built.cut, built.film
    lengths = " x ".join(f"{length:.2f}" for length in atoms.cell.lengths())
    faces = "equal faces" if cut.slab.symmetric else "two different faces"
    lines = [
        f"{atoms.symbols.formula.format('metal')}: {len(atoms)} atoms in {lengths} A",
        f"slab: {cut.slab.layers} layers, {cut.termination.name}, {faces}, {cut.slab.area:.1f} A2",
    ]
    if film is not None:
        lines.append(f"film: {film.waters} H2O, {film.thickness:.2f} A at {film.density:.3f} g/cm3")
    charges = atoms.info["charges"]
    if charges:
        each = ", ".join(f"{name} {charge:+d} e" for name, charge in charges.items())
        lines.append(f"ions: {each}; in all {sum(charges.values())} e")
    if built.sites:
        sites = ", ".join(f"{site.name} ({len(site.points)})" for site in built.sites)
        lines.append(f"sites: {sites}")
    files = [output.structure, output.summary, output.picture]
    lines.append(f"written: {', '.join(str(path) for path in files if path is not None)}")
    return "\n".join(lines)
