"""The ways n follows a target potential, one a file, and their registry."""

import inspect
from collections.abc import Mapping
from typing import Any

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.potentiostat.methods.base import Potentiostat, RunContext
from voltase.aseplugin.potentiostat.methods.bonnet_otani import BonnetOtani
from voltase.aseplugin.potentiostat.methods.direct import Direct
from voltase.aseplugin.potentiostat.methods.newton import PredictorNewton
from voltase.aseplugin.potentiostat.methods.thermopotentiostat import Thermopotentiostat

__all__ = ["METHODS", "Potentiostat", "RunContext", "default_method", "make_potentiostat"]

METHODS: dict[str, type[Potentiostat]] = {
    method.name: method for method in (BonnetOtani, PredictorNewton, Thermopotentiostat, Direct)
}


def default_method(ensemble: str) -> str:
    """The first method for an ensemble: ``bonnet-otani`` or ``direct``."""
    return next(name for name, method in METHODS.items() if method.ensemble == ensemble)


def make_potentiostat(
    name: str | None, context: RunContext, options: Mapping[str, Any] | None = None
) -> Potentiostat:
    """Potentiostat by name, or the default one for the model's ensemble.

    Raises
    ------
    InputError
        If the name is unknown, does not fit the model, or an option is not one of the method's.
    """
    ensemble = context.model.ensemble
    name = default_method(ensemble) if name is None else name
    if name not in METHODS:
        raise InputError(f"method: got {name!r}, expected one of {', '.join(METHODS)}")
    kind = METHODS[name]
    if kind.ensemble != ensemble:
        fitting = ", ".join(key for key, method in METHODS.items() if method.ensemble == ensemble)
        raise InputError(
            f"method: got {name!r} with a {ensemble} calculator, expected one of {fitting}"
        )
    options = {} if options is None else dict(options)
    known = [key for key in inspect.signature(kind).parameters if key != "context"]
    for key in options:
        if key not in known:
            expected = ", ".join(known) or "none"
            raise InputError(f"method_options: got {key!r} for {name}, expected {expected}")
    return kind(context, **options)
