"""What ``pe-md`` prints when a run is over."""

import math
from pathlib import Path
from typing import Any

from voltase.cli.md_averages import FLUCTUATING, aligned, fluctuation_capacitance, measured
from voltase.cli.md_settings import SUMMARY, MDSettings

# Name in the log -> name and unit at the terminal.
_QUANTITIES = {
    "U_V": ("potential U", ""),
    "n_e": ("excess electrons", "e"),
    "sigma_uC_cm2": ("surface charge", "uC/cm2"),
    "T_K": ("temperature", "K"),
}

_SPREADS = (
    ("forces_spread_eV_A", "committee, forces", "eV/A"),
    ("Phi_spread_V", "committee, potential", "V"),
)


def run_report(status: str, settings: MDSettings, results: dict[str, Any], folder: Path) -> str:
    """A screen of text on a run.

    Parameters
    ----------
    status : str
    settings : MDSettings
    results : dict
        As in the run's summary.
    folder : Path
    """
    step, speed = results["step"], results["performance"]
    time = 1e-3 * step * settings.timestep
    head = f"{status}: step {step} of {settings.steps}, {time:.4g} ps"
    if speed["steps"]:
        head += f" ({speed['steps_per_second']:.3g} steps/s, {speed['ns_per_day']:.3g} ns/day)"
    rows = _average_rows(settings, results)
    drift = results["conserved_drift_meV_atom_ps"]
    if drift is not None:
        rows.append(("conserved quantity", f"drifts by {drift:.2g} meV/atom/ps"))
    molecules = results["molecules"]
    if molecules is not None:
        text = ", ".join(f"{n} {kind}" for kind, n in molecules["last"].items() if n)
        whole = molecules["first"] == molecules["last"]
        rows.append(("molecules", text if whole else f"{text} (they have changed)"))
    rows.append(("in " + str(folder), ", ".join([*results["files"], SUMMARY])))
    return "\n".join([head, *aligned(rows)])


def _average_rows(settings: MDSettings, results: dict[str, Any]) -> list[tuple[str, str]]:
    found = results["averages"]
    if not found or not found["samples"]:
        return []
    rows = []
    for name, (label, unit) in _QUANTITIES.items():
        if name not in found:
            continue
        values = found[name]
        text = measured(values["mean"], values["error"])
        unit = results["reference"]["label"] if name == "U_V" else unit
        text = f"{text} {unit}"
        if values["correlation_time_fs"] is not None:
            text += f"  (correlation time {values['correlation_time_fs']:.3g} fs)"
        rows.append((label, text))
    for name, label, unit in _SPREADS:
        if name in found:
            spread = found[name]
            rows.append((label, f"{spread['mean']:.2g} {unit}, at most {spread['largest']:.2g}"))
    area = results["system"]["area_A2"]
    if settings.method in FLUCTUATING and area is not None:
        value, error = fluctuation_capacitance(found["n_e"], settings.temp, area)
        if math.isfinite(error):
            rows.append(("var(n)/kT", f"{measured(value, error)} uF/cm2"))
    rows.append(("averaged from", f"step {found['from_step']} on, {found['samples']} samples"))
    return rows
