"""What the cards of all models have in common: free entries and pieces of their text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from voltase.aseplugin.errors import InputError

COMPUTED = (
    "format", "kind", "units", "config", "sha256", "created", "elements", "data", "errors",
    "training", "versions", "potential_range", "electrons_per_area_range",
)  # fmt: skip
"""Entries that a training run fills in itself."""
LEADING = ("source", "doi", "citation", "licence", "method", "authors")
"""Free entries that open the text after the description, in this order."""
ErrorColumns = Sequence[tuple[str, str, str]]
"""Name of an error in the card, title of its column and format."""


def check_free_entries(entries: Mapping[str, Any]) -> None:
    """Check what the settings add to the card.

    Raises
    ------
    InputError
        If an entry would replace a computed one, or cannot be written as JSON.
    """
    for name in entries:
        if name in COMPUTED:
            raise InputError(f"card: found {name!r}, which training fills in, expected other names")
    try:
        json.dumps(dict(entries))
    except (TypeError, ValueError) as error:
        raise InputError(f"card: found an entry that JSON cannot hold ({error})") from error


def opening(card: Mapping[str, Any], what: str, leading: Sequence[str] = LEADING) -> str:
    """Name, description, what the model is, and free entries."""
    lines = [f"# {card['name']}", ""]
    if "description" in card:
        lines += [str(card["description"]).strip(), ""]
    lines += [what, ""]
    lines += [f"- {name}: {as_text(card[name])}" for name in leading if name in card]
    return "\n".join(lines).rstrip()


def weights_line(card: Mapping[str, Any]) -> str:
    """Format and hash."""
    return f"format {card['format']}, weights sha256 `{card['sha256']}`."


def frames_and_split(data: Mapping[str, Any]) -> str:
    """A paragraph on the labelled frames and what of them was held out."""
    split = data["split"]
    geometries = split["geometries"]
    frames = ", ".join(f"{count} {kind}" for kind, count in data["frames"].items())
    return (
        f"Frames by config type: {frames}. Geometries: {geometries['train']} for training, "
        f"{geometries['valid']} for validation, {geometries['test']} for the test; whole snapshots "
        f"are held out (seed {split['seed']})."
    )


def file_table(data: Mapping[str, Any]) -> list[str]:
    """The files of the training data and their hashes."""
    return table(["file", "sha256"], [[f["name"], f"`{f['sha256']}`"] for f in data["files"]])


def error_table(by_type: Mapping[str, Mapping[str, float]], columns: ErrorColumns) -> list[str]:
    """Errors by config type; columns that no type has are left out."""
    shown = [c for c in columns if any(c[0] in found for found in by_type.values())]
    rows = [
        [kind, *(form.format(found[name]) if name in found else "" for name, _, form in shown)]
        for kind, found in by_type.items()
    ]
    return table(["config type", *(title for _, title, _ in shown)], rows)


def further(card: Mapping[str, Any], known: Iterable[str] = ()) -> dict[str, Any]:
    """Free entries that no other section shows."""
    shown = {*COMPUTED, *LEADING, "description", "name", "reference", *known}
    return {name: value for name, value in card.items() if name not in shown}


def bullets(title: str, entries: Mapping[str, Any]) -> str:
    """A section of entries; empty without any."""
    lines = [f"- {name}: {as_text(value)}" for name, value in entries.items()]
    return "\n".join([f"## {title}", "", *lines]) if lines else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def span(values: Sequence[float] | None, form: str) -> str:
    """A range."""
    return "not labelled" if values is None else " to ".join(form.format(v) for v in values)


def as_text(value: Any) -> str:
    """A free entry, for people."""
    if isinstance(value, list):
        return ", ".join(as_text(v) for v in value)
    return json.dumps(value) if isinstance(value, dict) else str(value).strip()
