"""Settings in YAML: what is read as what, and what is refused with which line."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from voltase.aseplugin.errors import InputError
from voltase.cli.config import build, check_keys, check_section, coerce, read_yaml


@dataclass
class Inner:
    width: int = 1
    radius: float | None = None


@dataclass
class Settings:
    rate: float = 0.1
    steps: int = 10
    fast: bool = False
    name: str = ""
    kind: Literal["a", "bc"] = "a"
    files: list[str] = field(default_factory=list)
    sizes: tuple[int, ...] = (1,)
    table: dict[str, float] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise InputError(f"steps: found {self.steps}, expected zero or more")


def settings(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    return build(Settings, check_section(Settings, read_yaml(path), "main"), "main")


def line(tmp_path: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        settings(tmp_path, text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("rate: 1e-3", "rate", 1e-3),  # text for YAML 1.1
        ("rate: 1E3", "rate", 1000.0),
        ("rate: '2.5'", "rate", 2.5),
        ("rate: 3", "rate", 3.0),
        ("steps: 1e2", "steps", 100),
        ("steps: 010", "steps", 10),  # octal for YAML 1.1
        ("steps: 12345678901234567891", "steps", 12345678901234567891),
        ("fast: true", "fast", True),
        ("name: NO", "name", "NO"),  # false for YAML 1.1
        ("name: on", "name", "on"),
        ("name: 12:30", "name", "12:30"),  # 750 for YAML 1.1
        ("name: 2026-01-02", "name", "2026-01-02"),  # a date for YAML 1.1
        ("kind: bc", "kind", "bc"),
        ("files: one.xyz", "files", ["one.xyz"]),
        ("files: [y, n]", "files", ["y", "n"]),
        ("sizes: [4, 8]", "sizes", (4, 8)),
        ("table: {no: 1, H-O: 2.5}", "table", {"no": 1.0, "H-O": 2.5}),
        ("inner: {width: 3}", "inner", Inner(width=3)),
        ("inner: {radius: null}", "inner", Inner()),
        ("inner:", "inner", Inner()),
        ("", "rate", 0.1),
    ],
)
def test_values_are_read_as_they_look(
    tmp_path: Path, text: str, name: str, expected: object
) -> None:
    found = getattr(settings(tmp_path, text), name)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rte: 1", "main: unknown key 'rte', did you mean 'rate'?"),
        ("inner: {widht: 1}", "main.inner: unknown key 'widht', did you mean 'width'?"),
        ("xyzzy: 1", "main: unknown key 'xyzzy', expected one of rate, steps, fast, name, kind, "
                     "files, sizes, table, inner"),
        ("rate: quick", "main.rate: found 'quick', expected a number"),
        ("rate: .nan", "main.rate: found nan, expected a number"),
        ("rate: true", "main.rate: found True, expected a number"),
        ("rate:", "main.rate: found nothing, expected a number"),
        ("steps: 1.5", "main.steps: found 1.5, expected a whole number"),
        ("steps: -1", "main.steps: found -1, expected zero or more"),
        ("fast: 1", "main.fast: found 1, expected true or false"),
        ("fast: yes", "main.fast: found 'yes', expected true or false"),
        ("name: 1", "main.name: found 1, expected text; put it in quotes"),
        ('name: "a\\0b"', "main.name: found 'a\\x00b', expected text without a null byte"),
        ("name: [a]", "main.name: found a list, expected text"),
        ("kind: d", "main.kind: found 'd', expected 'a' or 'bc'"),
        ("files: [1]", "main.files[0]: found 1, expected text; put it in quotes"),
        ("table: [1]", "main.table: found a list, expected keys with values"),
        ("table: {1: 2}", "main.table key: found 1, expected text; put it in quotes"),
        ("inner: 3", "main.inner: found 3, expected keys with values"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_meant(tmp_path: Path, text: str, expected: str) -> None:
    assert line(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rate: 1\nrate: 2", "found 'rate' twice"),
        ("rate: [1", "line 1 is no usable YAML"),
        ("rate: 1\0", "no usable YAML"),
        ("steps: " + 5000 * "1", "no usable YAML"),
        ("- 1", "holds a list, expected keys with values"),
        ("just text", "holds 'just text', expected"),
        ("rate: !!python/object/apply:os.getcwd []", "no usable YAML"),
        ("? [a, b]\n: 1", "as a key"),
    ],
)
def test_files_that_hold_no_settings(tmp_path: Path, text: str, words: str) -> None:
    assert words in line(tmp_path, text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_yaml(path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="binary.yaml"):
        read_yaml(tmp_path / "binary.yaml")


def test_keys_and_free_values() -> None:
    check_keys({"a": 1}, ["a", "b"], "x")
    free = {"doi": "10.1/x", "years": [2024], "nested": {"a": None}}
    assert coerce(free, dict[str, Any], "card") == free
    assert coerce(None, int | None, "threads") is None
    with pytest.raises(InputError, match="threads: found 'x'"):
        coerce("x", int | None, "threads")
