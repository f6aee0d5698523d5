"""The package as installed: version, typing marker, lazy names, the one import path."""

import importlib
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import voltase
import voltase.aseplugin

ROOT = Path(__file__).resolve().parents[1]


def test_version_is_that_of_the_distribution() -> None:
    assert voltase.__version__ == version("voltase")


@pytest.mark.parametrize("module", [voltase, voltase.aseplugin], ids=lambda m: m.__name__)
def test_an_unknown_name_is_an_attribute_error(module: object) -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = module.nonsense  # type: ignore[attr-defined]


def test_public_names_are_listed() -> None:
    assert {"PEMACE", "ConstantPotential", "ConstantPotentialMD"} <= {*dir(voltase.aseplugin)}


@pytest.mark.parametrize("folder", ["aseplugin", "analysis", "cli"])
def test_folders_at_the_root_are_the_package(folder: str) -> None:
    package = importlib.import_module(f"voltase.{folder}")
    assert package.__file__ is not None
    assert Path(package.__file__).resolve() == ROOT / folder / "__init__.py"
    assert folder not in sys.modules, "imported a second time under its bare name"


def test_the_typing_marker_is_there() -> None:
    assert voltase.__file__ is not None
    assert (Path(voltase.__file__).parent / "py.typed").is_file()
