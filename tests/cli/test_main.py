"""The ``voltase`` command, and the console scripts the distribution declares."""

import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from voltase.cli import main as cli

ROOT = Path(__file__).resolve().parents[2]


def test_version() -> None:
    result = CliRunner().invoke(cli.app, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"voltase {version('voltase')}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_lists_each_command_that_exists_on_a_line_of_its_own(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines() if line.strip()]
    listed = {words[0] for words in lines if words[0].startswith("pe-")}
    on_disk = {
        name
        for name, (module, _) in cli.COMMANDS.items()
        if (ROOT / "cli" / f"{module.rpartition('.')[2]}.py").is_file()
    }
    assert listed == on_disk


def test_every_console_script_is_listed_and_points_to_its_module() -> None:
    scripts = {
        entry.name: entry.module
        for entry in entry_points(group="console_scripts")
        if entry.dist is not None and entry.dist.name == "voltase"
    }
    assert scripts.pop("voltase") == "voltase.cli.main"
    assert scripts == {name: module for name, (module, _) in cli.COMMANDS.items()}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from voltase.cli import main as cli; cli.available_commands(); "
        "sys.exit(','.join({'torch', 'ase', 'matplotlib', 'MDAnalysis', 'numpy'} & {*sys.modules}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.strip() == ""


def test_an_unknown_argument_exits_with_2() -> None:
    result = CliRunner().invoke(cli.app, ["pe-nothing"])
    assert result.exit_code == 2
    assert "pe-nothing" in result.output
