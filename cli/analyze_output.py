"""Files of an analysis: CSV and NPZ with a header, figures, the HTML report."""

from __future__ import annotations

import base64
import html
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voltase.aseplugin.errors import InputError
from voltase.cli.loading import without_collection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from voltase.analysis.base import InterfaceAnalysis

Header = Mapping[str, Any]
Tables = Mapping[str, Mapping[str, np.ndarray]]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under another name first, so that it is there whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def checked_folder(out: str | Path) -> Path:
    """The folder of the results, which need not be there yet.

    Raises
    ------
    InputError
        If there is a file in its place, or nothing can be written there; known before the frames
        are read, not after.
    """
    folder = Path(out)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"--out: {there} is a file, expected a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"--out: nothing can be written in {there}, expected a folder of yours")
    return folder


def csv_text(table: Mapping[str, np.ndarray], header: Header) -> str:
    """Columns as CSV below lines with ``#`` that say where they come from."""
    lines = [f"# {key}: {value}" for key, value in header.items()]
    lines.append(",".join(table))
    for row in zip(*table.values(), strict=True):
        lines.append(",".join(_cell(value) for value in row))
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, int | np.integer | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return f"{value:.9g}"
    return str(value)


def write_tables(folder: Path, name: str, tables: Tables, header: Header) -> list[Path]:
    """A CSV file for each table, and one NPZ file with all their columns.

    Columns of the first table have their own names in the NPZ file, those of the others are
    preceded by the name of their table; ``header`` is there as JSON.
    """
    written = []
    arrays: dict[str, np.ndarray] = {"header": np.array(json.dumps(dict(header), default=str))}
    for number, (stem, table) in enumerate(tables.items()):
        path = folder / f"{stem}.csv"
        write_whole(path, csv_text(table, header).encode())
        written.append(path)
        arrays |= {c if number == 0 else f"{stem}/{c}": np.asarray(v) for c, v in table.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_whole(folder / f"{name}.npz", buffer.getvalue())
    return [*written, folder / f"{name}.npz"]


def draw(analysis: InterfaceAnalysis) -> Figure:
    """Figure of an analysis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.6), dpi=130, layout="constrained")
    analysis.draw(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def load_drawing() -> None:
    """Load all that draws, fonts included: a second that each process would spend by itself."""
    with without_collection():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(1.0, 1.0), layout="constrained")
        figure.subplots().legend([])
        png(figure)


_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;
color:#222}h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em;border-top:1px solid #ddd;
padding-top:.8em}table{border-collapse:collapse;font-size:.9em}td,th{padding:.15em .8em .15em 0;
text-align:left;vertical-align:top}img{max-width:100%}.note{color:#a33}"""


def html_report(
    title: str,
    header: Header,
    sections: Mapping[str, tuple[str, bytes, list[str]]],
    left_out: Mapping[str, str],
) -> str:
    """One page with everything in it.

    Parameters
    ----------
    title : str
    header : mapping
        What was analysed, and how.
    sections : mapping
        By name: a sentence on the observable, its figure as PNG, notes.
    left_out : mapping
        Observables that could not be computed, and why.
    """
    rows = "".join(
        f"<tr><th>{html.escape(str(k))}</th><td>{html.escape(str(v))}</td></tr>"
        for k, v in header.items()
    )
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>",
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1><table>{rows}</table>",
    ]
    for name, (sentence, image, notes) in sections.items():
        data = base64.b64encode(image).decode()
        parts.append(f"<h2>{html.escape(name)}</h2><p>{html.escape(sentence)}</p>")
        parts += [f"<p class='note'>{html.escape(note)}</p>" for note in notes]
        parts.append(f"<img alt='{html.escape(name)}' src='data:image/png;base64,{data}'>")
    if left_out:
        items = "".join(
            f"<li><b>{html.escape(name)}</b>: {html.escape(why)}</li>"
            for name, why in left_out.items()
        )
        parts.append(f"<h2>Left out</h2><ul>{items}</ul>")
    return "\n".join(parts) + "</html>\n"
