"""Electronic-structure codes behind one protocol.

The engines load on first use, so that this package needs none of the codes.
"""

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from voltase.aseplugin.engines.base import Engine
    from voltase.aseplugin.engines.cp2k import CP2KEngine
    from voltase.aseplugin.engines.espresso import EspressoEngine
    from voltase.aseplugin.engines.gpaw import GPAWEngine
    from voltase.aseplugin.engines.vasp import VaspEngine

__all__ = ["CP2KEngine", "EspressoEngine", "GPAWEngine", "VaspEngine", "make_engine"]

ENGINES = {
    "cp2k": "CP2KEngine",
    "espresso": "EspressoEngine",
    "gpaw": "GPAWEngine",
    "vasp": "VaspEngine",
}
"""Name of each code, which is also its module here, and its class."""


def make_engine(name: str, **settings: Any) -> "Engine":
    """An engine by the name of its code.

    Parameters
    ----------
    name : {"cp2k", "espresso", "gpaw", "vasp"}
        In any case.
    **settings
        Arguments of the engine's class.

    Raises
    ------
    InputError
        If the name or a setting is unknown.
    EngineError
        If the code is not installed, or cannot give what the settings ask.
    """
    kind = ENGINES.get(name.casefold()) if isinstance(name, str) else None
    if kind is None:
        raise InputError(f"engine: found {name!r}, expected one of {', '.join(ENGINES)}")
    engine = _load(kind)
    try:
        inspect.signature(engine).bind(**settings)
    except TypeError as error:
        raise InputError(f"engine {name}: {error}") from error
    return engine(**settings)


def _load(kind: str) -> Any:
    module = next(name for name, known in ENGINES.items() if known == kind)
    return getattr(import_module(f"voltase.aseplugin.engines.{module}"), kind)


def __getattr__(name: str) -> Any:
    if name in ENGINES.values():
        return _load(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *ENGINES.values()})
