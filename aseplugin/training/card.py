"""The model card: checked free entries, and the same card as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.training import card_parts as parts

_ERROR_COLUMNS = (
    ("frames", "frames", "{:.0f}"),
    ("force_rmse_meV_A", "forces RMSE (meV/A)", "{:.1f}"),
    ("force_rms_meV_A", "forces RMS (meV/A)", "{:.0f}"),
    ("potential_mae_V", "Phi MAE (V)", "{:.3f}"),
    ("potential_bias_V", "Phi bias (V)", "{:+.3f}"),
    ("response_error", "force response, relative error", "{:.2f}"),
    ("energy_rmse_meV_atom", "energy RMSE (meV/atom)", "{:.2f}"),
)
_FEW = 12


def check_free_entries(entries: Mapping[str, Any], domains: Sequence[str]) -> None:
    """Check what the settings add to the card.

    Parameters
    ----------
    entries : mapping
    domains : sequence of str
        Of the model.

    Raises
    ------
    InputError
        If an entry would replace a computed one, or cannot be written as JSON.
    """
    parts.check_free_entries(entries)
    default = entries.get("default_domain")
    if default is not None and default not in domains:
        raise InputError(
            f"card: default_domain is {default!r}, expected one of {', '.join(domains)}"
        )


def render_card(card: Mapping[str, Any]) -> str:
    """Text (Markdown) of a checkpoint's card.

    Parameters
    ----------
    card : mapping
        As `read_card` returns it.
    """
    sections = [
        _opening(card),
        _use(card),
        _validity(card),
        _data(card["data"]),
        _errors(card["errors"]),
        _training(card["training"]),
        parts.bullets("Versions", card["versions"]),
        parts.bullets("Further entries", parts.further(card, ["default_domain"])),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _opening(card: Mapping[str, Any]) -> str:
    config = card["config"]
    what = "E(R, n), of the geometry and the excess electrons"
    if config["embedding"] == "potential":
        what = "Omega(R, Phi), of the geometry and the electrode potential"
    return parts.opening(
        card,
        f"A PE-MACE force field for {', '.join(card['elements'])}: {what}. "
        f"Embedding `{config['embedding']}`, coupling `{config['coupling']}`, "
        f"{_count(config['n_members'], 'committee member')}. Trained {card['created']}, "
        + parts.weights_line(card),
    )


def _use(card: Mapping[str, Any]) -> str:
    lines = [
        "## Use",
        "",
        "    from voltase.aseplugin import PEMACE",
        '    atoms.calc = PEMACE("path/of/this/folder")',
    ]
    domains = card["config"]["domains"]
    if len(domains) > 1:
        listed = ", ".join(f"`{domain}`" for domain in domains)
        lines += ["", f"It answers as one of the reference codes {listed}; "
                  f"`{card['default_domain']}` unless `domain=` says otherwise."]  # fmt: skip
    return "\n".join(lines)


def _validity(card: Mapping[str, Any]) -> str:
    lines = ["## Range of the training labels", "", f"Reference: {card['reference']}.", ""]
    rows = [("all", card.get("potential_range"), card.get("electrons_per_area_range"))]
    rows += [(domain, found["potential"], found["electrons_per_area"])
             for domain, found in card["data"]["ranges"].items()]  # fmt: skip
    table = [[name, parts.span(potential, "{:.2f}"), parts.span(density, "{:+.5f}")]
             for name, potential, density in (rows if len(rows) > 2 else rows[:1])]  # fmt: skip
    lines += parts.table(
        ["domain", "Phi (V, absolute)", "n / A (e/A^2, n > 0 is more negative)"], table
    )
    return "\n".join(lines)


def _data(data: Mapping[str, Any]) -> str:
    lines = ["## Training data", "", *parts.file_table(data), "", parts.frames_and_split(data)]
    snapshots = data["split"]["test_snapshots"]
    if snapshots:
        lines += ["", f"Test snapshots: {_names(snapshots)}."]
    return "\n".join(lines)


def _errors(errors: Mapping[str, Any]) -> str:
    lines = ["## Errors on held-out snapshots", ""]
    by_type = errors.get("test") or {}
    if not by_type:
        return "\n".join([*lines, "Not measured: no snapshot was held out."])
    lines += parts.error_table(by_type, _ERROR_COLUMNS)
    lines += ["", "The force response is the difference of the forces at two charges of one "
              "geometry; its relative error is 1 if nothing is learned."]  # fmt: skip
    return "\n".join(lines)


def _training(training: Mapping[str, Any]) -> str:
    start = "random weights" if training["init"] is None else f"weights `{training['init']}`"
    devices = f"{_count(training['processes'], 'process')} on {training['device']}"
    return "\n".join([
        "## Training",
        "",
        f"{training['epochs_done']} epochs ({training['steps']} steps) in {training['hours']:.2f} "
        f"h by {devices}, from {start}; learning rate {training['learning_rate']:g}, moving "
        f"average of the weights {training['ema_decay']:g}, seed {training['seed']}.",
    ])  # fmt: skip


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FEW} more, listed in the JSON card" if len(names) > _FEW else ""
    return ", ".join(f"`{name}`" for name in names[:_FEW]) + more


def _count(number: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"
