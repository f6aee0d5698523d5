"""What an ASE user imports: calculators, dynamics and the electrode potential itself.

The public names load on first use (PEP 562), so ``import voltase.aseplugin`` stays free of torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voltase.aseplugin.building.interface import build_interface
    from voltase.aseplugin.calculators.electron_density import ElectronDensity
    from voltase.aseplugin.calculators.pemace import PEMACE
    from voltase.aseplugin.calculators.softfqeq import SoftFQEq
    from voltase.aseplugin.density_grid import DensityGrid
    from voltase.aseplugin.engines.gpaw import GPAWEngine
    from voltase.aseplugin.models.charge_equilibration import FQEqSolution, solve_fqeq
    from voltase.aseplugin.models.checkpoint import read_interface
    from voltase.aseplugin.potentiostat.dynamics import ConstantPotentialMD
    from voltase.aseplugin.potentiostat.wrapper import ConstantPotential

__all__ = [
    "PEMACE",
    "ConstantPotential",
    "ConstantPotentialMD",
    "DensityGrid",
    "ElectronDensity",
    "FQEqSolution",
    "GPAWEngine",
    "SoftFQEq",
    "build_interface",
    "read_interface",
    "solve_fqeq",
]

_PUBLIC = {
    "PEMACE": "voltase.aseplugin.calculators.pemace",
    "ConstantPotential": "voltase.aseplugin.potentiostat.wrapper",
    "ConstantPotentialMD": "voltase.aseplugin.potentiostat.dynamics",
    "DensityGrid": "voltase.aseplugin.density_grid",
    "ElectronDensity": "voltase.aseplugin.calculators.electron_density",
    "FQEqSolution": "voltase.aseplugin.models.charge_equilibration",
    "GPAWEngine": "voltase.aseplugin.engines.gpaw",
    "SoftFQEq": "voltase.aseplugin.calculators.softfqeq",
    "build_interface": "voltase.aseplugin.building.interface",
    "read_interface": "voltase.aseplugin.models.checkpoint",
    "solve_fqeq": "voltase.aseplugin.models.charge_equilibration",
}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
