"""What an ASE user imports: calculators, dynamics and the electrode potential itself.

The public names load on first use (PEP 562), so ``import voltase.aseplugin`` stays free of torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voltase.aseplugin.building.interface import build_interface
    from voltase.aseplugin.calculators.pemace import PEMACE
    from voltase.aseplugin.engines.gpaw import GPAWEngine
    from voltase.aseplugin.models.checkpoint import read_interface
    from voltase.aseplugin.potentiostat.dynamics import ConstantPotentialMD
    from voltase.aseplugin.potentiostat.wrapper import ConstantPotential

__all__ = [
    "PEMACE",
    "ConstantPotential",
    "ConstantPotentialMD",
    "GPAWEngine",
    "build_interface",
    "read_interface",
]

_PUBLIC = {
    "PEMACE": "voltase.aseplugin.calculators.pemace",
    "ConstantPotential": "voltase.aseplugin.potentiostat.wrapper",
    "ConstantPotentialMD": "voltase.aseplugin.potentiostat.dynamics",
    "GPAWEngine": "voltase.aseplugin.engines.gpaw",
    "build_interface": "voltase.aseplugin.building.interface",
    "read_interface": "voltase.aseplugin.models.checkpoint",
}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
