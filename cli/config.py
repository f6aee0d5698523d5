"""YAML settings checked against dataclasses: unknown keys, wrong types and YAML's own traps.

Read as YAML 1.2 means it: ``1e-3`` is a number, ``NO`` is text, only ``true`` and ``false`` are
booleans, a date stays text, and a key may occur once.
"""

import difflib
import math
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from voltase.aseplugin.errors import InputError

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """SafeLoader with the core schema of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict) or key in seen:
                what = "twice" if not isinstance(key, list | dict) else "as a key"
                raise yaml.constructor.ConstructorError(
                    None, None, f"found {key!r} {what}", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = node.value.lower().replace(".inf", "inf").replace(".nan", "nan")
    return float(text)


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value)


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:float", _number)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def read_yaml(path: Path, named: str = "config") -> dict[str, Any]:
    """A YAML file's mapping; empty for an empty file.

    Parameters
    ----------
    path : Path
    named : str
        The option that gave the file, for messages.

    Raises
    ------
    InputError
        If the file cannot be read, is not YAML, repeats a key, or holds no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{named}: {path} cannot be read ({reason})") from error
    try:
        # _Loader derives from SafeLoader and adds no constructor of objects.
        found = yaml.load(text, _Loader)  # noqa: S506
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(f"{named}: {path}{where} is no usable YAML ({problem})") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InputError(f"{named}: {path} holds {_kind(found)}, expected keys with values")
    return found


def read_options(path: Path) -> dict[str, Any]:
    """Options in a YAML file, by their names in Python; those without a value are left out.

    Raises
    ------
    InputError
        If the file cannot be used, or has both spellings of an option, with - and with _.
    """
    found: dict[str, Any] = {}
    for key, value in read_yaml(path).items():
        name = str(key).replace("-", "_")
        if name in found:
            raise InputError(f"config: {path} has both spellings of {key!r}, expected one")
        if value is not None:
            found[name] = value
    return found


def put(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set a value in nested settings, making the sections on the way to it."""
    for key in keys[:-1]:
        if not isinstance(tree.get(key), dict):
            # An absent or empty section; one of another type is replaced only if it is empty.
            if tree.get(key) is not None:
                return
            tree[key] = {}
        tree = tree[key]
    tree[keys[-1]] = value


def check_keys(found: Iterable[Any], valid: Iterable[str], section: str) -> None:
    """Check that all keys are known.

    Raises
    ------
    InputError
        Naming the first unknown one and the valid name nearest to it.
    """
    names = list(valid)
    for key in found:
        if key in names:
            continue
        close = difflib.get_close_matches(str(key), names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(names)}"
        raise InputError(f"{section}: unknown key {key!r}, {hint}")


def check_section(kind: type, found: Any, section: str) -> dict[str, Any]:
    """Values given for a dataclass, each with the type of its field.

    Parameters
    ----------
    kind : type
        A dataclass; fields that are dataclasses themselves take a nested mapping.
    found : mapping
    section : str
        Named in messages.

    Raises
    ------
    InputError
        If a key is unknown or a value has the wrong type.
    """
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise InputError(f"{section}: found {_kind(found)}, expected keys with values")
    hints = get_type_hints(kind)
    check_keys(found, [f.name for f in fields(kind)], section)
    return {name: coerce(value, hints[name], f"{section}.{name}") for name, value in found.items()}


def build(kind: type[T], values: Mapping[str, Any], section: str) -> T:
    """Instance of a dataclass from values that `check_section` has passed.

    Raises
    ------
    InputError
        If the dataclass itself refuses a value.
    """
    hints = get_type_hints(kind)
    arguments = {
        name: build(hints[name], value, f"{section}.{name}") if is_dataclass(hints[name]) else value
        for name, value in values.items()
    }
    try:
        return kind(**arguments)
    except InputError as error:
        raise InputError(f"{section}.{error}") from error


def coerce(value: Any, kind: Any, name: str) -> Any:
    """A value as the annotated type, if it can be meant so.

    Raises
    ------
    InputError
        If it cannot.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        [inner] = [a for a in arguments if a is not type(None)]
        return coerce(value, inner, name)
    if origin is Literal:
        if value not in arguments:
            expected = " or ".join(repr(a) for a in arguments)
            raise InputError(f"{name}: found {value!r}, expected {expected}")
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        return check_section(kind, value, name)
    if origin in (list, tuple):
        items = value if isinstance(value, list | tuple) else [value]
        return origin(coerce(item, arguments[0], f"{name}[{i}]") for i, item in enumerate(items))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise InputError(f"{name}: found {_kind(value)}, expected keys with values")
        return {
            coerce(key, str, f"{name} key"): coerce(item, arguments[1], f"{name}.{key}")
            for key, item in value.items()
        }
    return _scalar(value, kind, name)


def _scalar(value: Any, kind: type, name: str) -> Any:
    if kind is bool and isinstance(value, bool):
        return value
    if kind is str and isinstance(value, str):
        if "\0" in value:
            raise InputError(f"{name}: found {value!r}, expected text without a null byte")
        return value
    if kind is str and isinstance(value, bool | int | float):
        raise InputError(f"{name}: found {_kind(value)}, expected text; put it in quotes")
    if kind in (int, float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number) and (kind is float or number.is_integer()):
            return kind(number) if not isinstance(value, int) else kind(value)
    expected = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    raise InputError(f"{name}: found {_kind(value)}, expected {expected[kind]}")


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "keys with values"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else repr(value)
