"""Which engine makes the labels: a recipe that travels to other processes."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voltase.aseplugin.engines import ENGINES, make_engine
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from voltase.aseplugin.engines.base import Engine

_PLACES = ("directory", "txt")
"""Arguments that say where a code writes: one place for each structure, chosen here."""


@dataclass(frozen=True)
class EngineSpec:
    """An engine by name, with its arguments in plain types.

    Parameters
    ----------
    name : str
        Of a code (see `voltase.aseplugin.engines.make_engine`), or the import path
        ``module:Class`` of a subclass of `Engine`.
    settings : mapping
        Arguments of the class. GPAW's ``solvent`` may be a mapping of the fields of `Solvent`.

    Raises
    ------
    InputError
        If there is no such engine, or a setting says where the code writes.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if ":" not in self.name and self.name.casefold() not in ENGINES:
            raise InputError(f"engine: found {self.name!r}, expected one of {', '.join(ENGINES)}, "
                             "or module:Class")  # fmt: skip
        if ":" not in self.name:
            object.__setattr__(self, "name", self.name.casefold())
        for place in _PLACES:
            if place in self.settings:
                raise InputError(f"settings.{place}: found {self.settings[place]!r}, expected none "
                                 "as each structure has a folder of its own")  # fmt: skip

    @property
    def is_gpaw(self) -> bool:
        """Whether structures have to be placed in a cell that suits GPAW."""
        return self.name == "gpaw"

    def make(self, folder: Path | None = None) -> Engine:
        """The engine; it writes its own files, if any, into ``folder``.

        Raises
        ------
        InputError
            If a setting is unknown or unusable.
        EngineError
            If the code is not installed, or cannot give what the settings ask.
        """
        settings = dict(self.settings)
        if self.is_gpaw and isinstance(settings.get("solvent"), Mapping):
            settings["solvent"] = _solvent(settings["solvent"])
        kind = self._class()
        if folder is not None:
            known = inspect.signature(kind).parameters
            if "directory" in known:
                settings["directory"] = folder
            elif "txt" in known:
                folder.mkdir(parents=True, exist_ok=True)
                settings["txt"] = os.fspath(folder / "output.txt")
        if ":" not in self.name:
            return make_engine(self.name, **settings)
        try:
            inspect.signature(kind).bind(**settings)
        except TypeError as error:
            raise InputError(f"engine {self.name}: {error}") from error
        engine: Engine = kind(**settings)
        return engine

    def _class(self) -> Any:
        from voltase.aseplugin.engines.base import Engine

        if ":" not in self.name:
            return getattr(import_module("voltase.aseplugin.engines"), ENGINES[self.name])
        module, _, name = self.name.partition(":")
        try:
            kind = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(f"engine: {self.name} cannot be imported ({error})") from error
        if not (isinstance(kind, type) and issubclass(kind, Engine)):
            raise InputError(f"engine: {self.name} is no subclass of Engine, expected one")
        return kind


def plain_settings(engine: Engine) -> dict[str, Any]:
    """What decides an engine's results, in the types of JSON."""
    values = engine.settings | {"charges": list(engine.capabilities.charges)}
    plain: dict[str, Any] = json.loads(json.dumps(values, default=_plain))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    # Objects, such as a mixer of GPAW: their class and state, as far as they show it.
    return repr(value)


def _solvent(values: Mapping[str, Any]) -> Any:
    from voltase.aseplugin.engines.gpaw_settings import Solvent

    try:
        return Solvent(**values)
    except TypeError as error:
        raise InputError(f"settings.solvent: {error}") from error
