"""A finished point: its frame with labels, and its density.

Keys of a frame, in ``info``: ``excess_electrons`` n (e), ``electrode_potential`` (absolute, V),
``fermi_level`` (the code's scale, eV), ``grand_energy`` Omega = E + Phi n (eV), ``REF_energy``
(canonical E(R, n), eV), ``geometry`` (split by it), ``config_type``, ``source`` (unique),
``structure`` (file and number of the frame), ``scf_iterations``, ``code`` (with its version) and
``wall_time`` (s); in ``arrays``: ``REF_forces`` (eV/A) and the code's atomic charges (e). What a
code does not give is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from voltase.aseplugin.errors import EngineError
from voltase.aseplugin.labelling.schedule import Task, number_text

if TYPE_CHECKING:
    from voltase.aseplugin.engines.base import Engine

_NUMBERS = ("electrode_potential", "fermi_level", "grand_energy", "scf_iterations")


@dataclass(frozen=True)
class Point:
    """What the schedule and the checks need of a finished point.

    Attributes
    ----------
    geometry : str
    excess_electrons : float
        e.
    energy : float
        Canonical, eV.
    potential : float or None
        Absolute, V.
    wall_time : float
        s.
    """

    geometry: str
    excess_electrons: float
    energy: float
    potential: float | None
    wall_time: float

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Point:
        """The point of a labelled frame, by its ``info``."""
        phi = info.get("electrode_potential")
        return cls(
            str(info["geometry"]),
            float(info["excess_electrons"]),
            float(info["REF_energy"]),
            None if phi is None else float(phi),
            float(info["wall_time"]),
        )


def labelled_frame(
    task: Task, engine: Engine, forces: NDArray[np.float64], config_type: str, wall_time: float
) -> Atoms:
    """The frame of the engine's last single point, with the keys named above."""
    results = engine.results
    n = engine.excess_electrons
    frame = task.atoms.copy()
    frame.set_array("REF_forces", forces)
    for name in engine.capabilities.charges:
        frame.set_array(name, np.asarray(results[name], dtype=np.float64))
    frame.info = {
        "config_type": config_type,
        "source": f"{task.name}_n{number_text(n)}",
        "geometry": task.geometry,
        "structure": task.where,
        "excess_electrons": n,
        **{name: results[name] for name in _NUMBERS if name in results},
        "REF_energy": float(results["energy"]),
        "code": _code(engine),
        "wall_time": round(wall_time, 3),
    }
    return frame


def _code(engine: Engine) -> str:
    try:
        return f"{engine.code} {engine.version()}"
    except EngineError:
        return engine.code


def density_arrays(engine: Engine) -> dict[str, NDArray[Any]]:
    """Density of the engine's last single point, in float32, and what it takes to place it.

    Returns
    -------
    dict
        ``density`` (nx, ny, nz) in e/A^3, ``cell`` (3, 3) and ``origin`` (3,) in A, and where the
        engine gives it ``electrostatic_potential_planar`` (planes,) in eV.
    """
    grid = engine.density()
    arrays: dict[str, NDArray[Any]] = {
        "density": grid.values.astype(np.float32),
        "cell": grid.cell,
        "origin": grid.origin,
    }
    if not np.isfinite(arrays["density"]).all():
        raise EngineError(f"density: found values from {engine.code} that are no numbers")
    planar = getattr(engine, "electrostatic_potential_planar", None)
    if planar is not None:
        arrays["electrostatic_potential_planar"] = planar().astype(np.float32)
    return arrays
