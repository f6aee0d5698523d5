"""The card of a Soft-FQEq model as text for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from voltase.aseplugin.errors import InputError

COMPUTED = (
    "format", "kind", "units", "config", "sha256", "created", "elements", "data", "errors",
    "training", "versions", "potential_range", "electrons_per_area_range",
)  # fmt: skip
"""Entries that a training run fills in itself."""
LEADING = ("description", "source", "doi", "citation", "licence", "method", "authors")
"""Free entries that open the text, in this order."""
_ERROR_COLUMNS = (
    ("frames", "frames", "{:.0f}"),
    ("charge_mae_e", "charges MAE (e)", "{:.4f}"),
    ("electrode_charge_mae_e", "electrode's charge MAE (e)", "{:.3f}"),
    ("electrode_response_error", "its change with n, relative error", "{:.3f}"),
    ("electrode_response_bias", "its change, bias", "{:+.3f}"),
    ("potential_mae_V", "Phi MAE (V)", "{:.3f}"),
    ("potential_response_error", "its change with n, relative error", "{:.3f}"),
    ("force_rmse_meV_A", "forces RMSE (meV/A)", "{:.0f}"),
    ("force_rms_meV_A", "forces RMS (meV/A)", "{:.0f}"),
)
_CHARGING = {
    "plates": "The atoms of the frames are neutral: n electrons are on the water's side of the "
    "electrode and as many are missing on the other side, between plates whose charges are no "
    "atoms'.",
    "plane": "The atoms of the frames have the charge -n; its opposite is outside.",
}


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


def render_card(card: Mapping[str, Any]) -> str:
    """Text (Markdown) of a checkpoint's card.

    Parameters
    ----------
    card : mapping
        As `read_card` returns it.
    """
    further = {*COMPUTED, *LEADING, "name", "reference"}
    sections = [
        _opening(card),
        "## Use\n\n    from voltase.aseplugin import SoftFQEq\n"
        '    atoms.calc = SoftFQEq("path/of/this/folder")',
        _validity(card),
        _data(card["data"]),
        _errors(card["errors"]),
        _training(card["training"]),
        _bullets("Versions", card["versions"]),
        _bullets("Further entries", {k: v for k, v in card.items() if k not in further}),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _opening(card: Mapping[str, Any]) -> str:
    config = card["config"]
    lines = [f"# {card['name']}", ""]
    if "description" in card:
        lines += [str(card["description"]).strip(), ""]
    lines += [
        f"A Soft-FQEq model for {', '.join(card['elements'])}: charges in soft fragments, energy "
        f"E(R, n). Features `{config['features']['kind']}`, electrode of "
        f"{', '.join(config['electrode_symbols'])}, counter charge on a plane "
        f"{config['counter_height']:g} A above its middle. Trained {card['created']}, format "
        f"{card['format']}, weights sha256 `{card['sha256']}`.",
        "",
    ]
    lines += [f"- {name}: {_text(card[name])}" for name in LEADING[1:] if name in card]
    return "\n".join(lines).rstrip()


def _validity(card: Mapping[str, Any]) -> str:
    def span(name: str, form: str) -> str:
        values = card.get(name)
        return "not labelled" if values is None else " to ".join(form.format(v) for v in values)

    return "\n".join([
        "## Range of the training labels",
        "",
        f"Reference: {card['reference']}.",
        "",
        f"- Phi: {span('potential_range', '{:.2f}')} V, absolute",
        f"- n / A: {span('electrons_per_area_range', '{:+.5f}')} e/A^2, n > 0 is more negative",
    ])  # fmt: skip


def _data(data: Mapping[str, Any]) -> str:
    split = data["split"]
    geometries = split["geometries"]
    frames = ", ".join(f"{count} {kind}" for kind, count in data["frames"].items())
    lines = ["## Training data", ""]
    lines += _table(["file", "sha256"], [[f["name"], f"`{f['sha256']}`"] for f in data["files"]])
    lines += [
        "",
        f"Charges: `{data['charges']}`. {_CHARGING[data['charging']]}",
        "",
        f"Frames by config type: {frames}. Geometries: {geometries['train']} for training, "
        f"{geometries['valid']} for validation, {geometries['test']} for the test; whole snapshots "
        f"are held out (seed {split['seed']}).",
    ]
    if split["test_snapshots"]:
        names = ", ".join(f"`{name}`" for name in split["test_snapshots"])
        lines += ["", f"Test snapshots: {names}."]
    return "\n".join(lines)


def _errors(errors: Mapping[str, Any]) -> str:
    lines = ["## Errors on held-out snapshots", ""]
    by_type = errors.get("test") or {}
    if not by_type:
        return "\n".join([*lines, "Not measured: no snapshot was held out."])
    columns = [c for c in _ERROR_COLUMNS if any(c[0] in found for found in by_type.values())]
    rows = [
        [kind, *(form.format(found[name]) if name in found else "" for name, _, form in columns)]
        for kind, found in by_type.items()
    ]
    lines += _table(["config type", *(title for _, title, _ in columns)], rows)
    for kind, found in by_type.items():
        elements = {name.split("_")[2]: value for name, value in found.items()
                    if name.startswith("charge_mae_") and name.count("_") == 3}  # fmt: skip
        if elements:
            listed = ", ".join(f"{symbol} {value:.4f}" for symbol, value in elements.items())
            lines += ["", f"Charges by element, {kind}, MAE (e): {listed}."]
    lines += ["", "The change of the electrode's charge (and of the potential) is that between two "
              "electron numbers of one geometry."]  # fmt: skip
    return "\n".join(lines)


def _training(training: Mapping[str, Any]) -> str:
    start = "random weights" if training["init"] is None else f"weights `{training['init']}`"
    return "\n".join([
        "## Training",
        "",
        f"{training['epochs_done']} epochs ({training['steps']} steps) in {training['hours']:.2f} "
        f"h, from {start}; learning rate {training['learning_rate']:g}, that of the features "
        f"{training['features_rate']:g} times as high, moving average of the weights "
        f"{training['ema_decay']:g}, seed {training['seed']}.",
    ])  # fmt: skip


def _bullets(title: str, entries: Mapping[str, Any]) -> str:
    lines = [f"- {name}: {_text(value)}" for name, value in entries.items()]
    return "\n".join([f"## {title}", "", *lines]) if lines else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(v) for v in value)
    return json.dumps(value) if isinstance(value, dict) else str(value).strip()
