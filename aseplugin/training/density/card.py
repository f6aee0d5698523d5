"""The card of a density model as text for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voltase.aseplugin.models.checkpoint import read_card
from voltase.aseplugin.training import card_parts as parts

LEADING = ("source", "doi", "licence", "method", "do_not_use_for", "selection")
_ERRORS = (
    ("geometries", "geometries held out", "{:.0f}"),
    ("densities", "their densities", "{:.0f}"),
    ("nmae_percent", "mean absolute error of rho over rho (%)", "{:.2f}"),
    ("largest_nmae_percent", "the largest of a density (%)", "{:.2f}"),
    ("difference_nmae_percent", "the same of differences between charges (%)", "{:.1f}"),
    ("planar_error_percent", "planar average of the differences, over the displaced charge (%)",
     "{:.1f}"),
    ("largest_electrons_error", "largest error of the electron number (e)", "{:.1e}"),
)  # fmt: skip


def render_card(folder: Path, kind: str) -> str:
    """Text (Markdown) of a checkpoint's card."""
    card = read_card(folder, kind)
    sections = [
        _opening(card),
        _validity(card),
        _data(card["data"]),
        _errors(card["errors"]),
        _training(card),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _opening(card: Mapping[str, Any]) -> str:
    what = parts.opening(
        card,
        f"A PE-EDP model for {', '.join(card['elements'])}: the electron density on a grid, of the "
        "geometry and the excess electrons or the electrode potential. Created "
        f"{card['created']}, " + parts.weights_line(card),
        LEADING,
    )
    return "\n".join([
        what,
        "",
        "    from voltase.aseplugin import ElectronDensity",
        f'    grid = ElectronDensity("{card["name"]}").predict(atoms, potential=-0.5)',
    ])  # fmt: skip


def _validity(card: Mapping[str, Any]) -> str:
    rows = []
    if "potential_range" in card:
        low, high = card["potential_range"]
        rows.append(["Phi (V, absolute)", f"{low:.2f} to {high:.2f}"])
    low, high = card["electrons_per_area_range"]
    rows.append(["n / A (e/A^2, n > 0 is more negative)", f"{low:+.5f} to {high:+.5f}"])
    return "\n".join(
        ["## Range of the training data", "", *parts.table(["quantity", "range"], rows)]
    )


def _data(data: Mapping[str, Any]) -> str:
    lines = ["## Training data", "", *parts.file_table(data)]
    sets = ", ".join(f"{data['densities'][name]} densities of {len(names)} geometries for {name}"
                      for name, names in data["geometries"].items() if names)  # fmt: skip
    held_out = ", ".join(f"`{name}`" for name in data["geometries"]["test"])
    return "\n".join([*lines, "", f"{sets}. Held out: {held_out or 'none'}."])


def _errors(errors: Mapping[str, Any]) -> str:
    lines = ["## Errors on geometries held out", ""]
    found = errors.get("test")
    if not found:
        return "\n".join([*lines, "Not measured: no geometry was held out."])
    direct = errors.get("direct_fit", {})
    rows = [[title, form.format(found[name]), form.format(direct[name]) if name in direct else ""]
            for name, title, form in _ERRORS if name in found]  # fmt: skip
    lines += parts.table(["quantity", "model", "direct fit in the basis"], rows)
    lines += ["", "The difference is that to the density of the same geometry nearest to n = 0. "
              "A model that learned nothing of the charge has 100 % there."]  # fmt: skip
    return "\n".join(lines)


def _training(card: Mapping[str, Any]) -> str:
    training = card["training"]
    return "\n".join([
        "## Training",
        "",
        f"{training['steps_done']} steps of {training['batch']} geometries in "
        f"{training['hours']:.2f} h, learning rate {training['learning_rate']:g}, moving average "
        f"{training['ema_decay']:g}, seed {training['seed']}; frozen trunk of sha256 "
        f"`{training['trunk']}`.",
    ])  # fmt: skip
