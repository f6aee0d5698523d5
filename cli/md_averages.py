"""What the log of a run adds up to: averages with errors, fluctuations, drift."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voltase.aseplugin.electrochemistry import capacitance_to_areal, thermal_energy
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.statistics import BlockAverage, block_average

# Methods that give n the fluctuations of an electrode in contact with a bath.
FLUCTUATING = ("bonnet-otani", "thermopotentiostat")

FEWEST_FOR_DRIFT = 20
"""Rows of a log."""
_SPREADS = ("forces_spread_eV_A", "Phi_spread_V")
_AVERAGED = ("U_V", "n_e", "sigma_uC_cm2", "T_K")


@dataclass(frozen=True)
class RunLog:
    """Columns of a log by name, each of shape (rows,)."""

    columns: dict[str, NDArray[np.float64]]

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.columns["step"])

    def since(self, step: int) -> "RunLog":
        """The rows from a step on."""
        late = self["step"] >= step
        return RunLog({name: values[late] for name, values in self.columns.items()})


def read_log(path: Path) -> RunLog:
    """Log of a constant-potential run.

    Raises
    ------
    InputError
        If it is not one.
    """
    with path.open(encoding="utf-8") as file:
        file.readline()
        names = file.readline().strip().split(",")
        if "step" not in names:
            raise InputError(f"{path}: got no column 'step', expected the log of a run")
        lines = file.readlines()
    rows = np.loadtxt(lines, delimiter=",", ndmin=2) if lines else np.empty((0, len(names)))
    return RunLog({name: rows[:, i] for i, name in enumerate(names)})


def averages(log: RunLog, from_step: int) -> dict[str, Any]:
    """Means with block errors and correlation times, as plain values.

    Parameters
    ----------
    log : RunLog
    from_step : int
        Earlier steps count as equilibration.

    Returns
    -------
    dict
        ``from_step``, ``samples``; for each quantity ``mean``, ``error`` and
        ``correlation_time_fs``; of the committee's spreads, where they are known, ``mean`` and
        ``largest``; for n also ``variance`` and ``variance_error``, e^2. What the run
        is too short to tell is None.
    """
    late = log.since(from_step)
    if len(late) == 0:
        return {"from_step": from_step, "samples": 0}
    spacing = _spacing(late["time_fs"])
    found: dict[str, Any] = {"from_step": from_step, "samples": len(late)}
    for name in _AVERAGED:
        if np.isfinite(late[name]).all():
            found[name] = _plain(block_average(late[name], spacing))
    for name in _SPREADS:
        values = late.columns.get(name, np.empty(0))
        known = values[np.isfinite(values)]
        if len(known):
            found[name] = {"mean": float(known.mean()), "largest": float(known.max())}
    n = late["n_e"]
    variance = block_average((n - n.mean()) ** 2, spacing)
    found["n_e"] |= {"variance": variance.mean, "variance_error": _number(variance.error)}
    return found


def _spacing(times: NDArray[np.float64]) -> float:
    return float(times[1] - times[0]) if len(times) > 1 else 1.0


def _plain(average: BlockAverage) -> dict[str, float | None]:
    return {
        "mean": average.mean,
        "error": _number(average.error),
        "correlation_time_fs": _number(average.correlation_time),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def conserved_drift(log: RunLog, mobile_atoms: int) -> float | None:
    """Slope of the conserved quantity, meV/atom/ps, over the whole log; atoms are mobile ones.

    None for a log too short to have one.
    """
    if len(log) < FEWEST_FOR_DRIFT:
        return None
    per_atom = 1e3 * (log["conserved_eV"] - log["conserved_eV"][0]) / max(mobile_atoms, 1)
    return float(np.polyfit(1e-3 * log["time_fs"], per_atom, 1)[0])


def fluctuation_capacitance(
    n_e: dict[str, Any], temperature_K: float, area: float
) -> tuple[float, float]:
    """-d sigma/dn var(n) over kT: the differential capacitance and its error, uF/cm2.

    Parameters
    ----------
    n_e : dict
        ``variance`` and ``variance_error``, as :func:`averages` gives them.
    temperature_K : float
    area : float
        In A^2.
    """
    kT = thermal_energy(temperature_K)
    values = (n_e["variance"], n_e["variance_error"])
    value, error = (math.nan if v is None else capacitance_to_areal(v / kT, area) for v in values)
    return value, error


def measured(mean: float, error: float | None, digits: int = 4) -> str:
    """A mean with its error, such as ``-4.512 +- 0.071``; the error has two digits."""
    if error is None or math.isnan(error):
        return f"{mean:.{digits}g} (too short a run for an error)"
    if error == 0:
        return f"{mean:.{digits}g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{mean:.{decimals}f} +- {error:.{decimals}f}"


def aligned(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Lines with a name and a text each, the texts below one another."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    return [f"  {name:<{width}}  {text}" for name, text in rows]
