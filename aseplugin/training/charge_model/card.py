"""The card of a Soft-FQEq model as text for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voltase.aseplugin.training import card_parts as parts

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


def render_card(card: Mapping[str, Any]) -> str:
    """Text (Markdown) of a checkpoint's card.

    Parameters
    ----------
    card : mapping
        As `read_card` returns it.
    """
    sections = [
        _opening(card),
        "## Use\n\n    from voltase.aseplugin import SoftFQEq\n"
        '    atoms.calc = SoftFQEq("path/of/this/folder")',
        _validity(card),
        _data(card["data"]),
        _errors(card["errors"]),
        _training(card["training"]),
        parts.bullets("Versions", card["versions"]),
        parts.bullets("Further entries", parts.further(card)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _opening(card: Mapping[str, Any]) -> str:
    config = card["config"]
    energy = ""
    if config.get("network_energy") == "neutral":
        energy = "The network's energy is that of the uncharged cell without a field. "
    return parts.opening(
        card,
        f"A Soft-FQEq model for {', '.join(card['elements'])}: charges in soft fragments, energy "
        f"E(R, n). Features `{config['features']['kind']}`, electrode of "
        f"{', '.join(config['electrode_symbols'])}, counter charge on a plane "
        f"{config['counter_height']:g} A above its middle. {energy}Trained {card['created']}, "
        + parts.weights_line(card),
    )


def _validity(card: Mapping[str, Any]) -> str:
    potentials = parts.span(card.get("potential_range"), "{:.2f}")
    densities = parts.span(card.get("electrons_per_area_range"), "{:+.5f}")
    return "\n".join([
        "## Range of the training labels",
        "",
        f"Reference: {card['reference']}.",
        "",
        f"- Phi: {potentials} V, absolute",
        f"- n / A: {densities} e/A^2, n > 0 is more negative",
    ])  # fmt: skip


def _data(data: Mapping[str, Any]) -> str:
    lines = ["## Training data", "", *parts.file_table(data), ""]
    lines += [f"Charges: `{data['charges']}`. {_CHARGING[data['charging']]}", ""]
    lines.append(parts.frames_and_split(data))
    if data["split"]["test_snapshots"]:
        names = ", ".join(f"`{name}`" for name in data["split"]["test_snapshots"])
        lines += ["", f"Test snapshots: {names}."]
    return "\n".join(lines)


def _errors(errors: Mapping[str, Any]) -> str:
    lines = ["## Errors on held-out snapshots", ""]
    by_type = errors.get("test") or {}
    if not by_type:
        return "\n".join([*lines, "Not measured: no snapshot was held out."])
    lines += parts.error_table(by_type, _ERROR_COLUMNS)
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
