"""What ``pe-md`` refuses: one line, status 2, and nothing written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from typer.testing import CliRunner, Result

from voltase.cli import md

Run = Callable[..., Result]


@pytest.fixture
def pe_md(fast_runs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(md.app, [str(argument) for argument in arguments])

    return run


def assert_refused(result: Result, message: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--potental", "1"], "No such option: --potental"),
        (["--potential", "--steps", "10"], "--potential: got the option --steps"),
        (["--potential", "--stpes", "10"], "--potential: got the option --stpes"),
        (["--potential", ""], "--potential: got an empty text"),
        (["--out", "--potential", "0V"], "--out: got the option --potential"),
        (["--potential", "0V", "--out="], "error: --out: got an empty text"),
        (["--potential", "0V", "--model="], "error: --model: got an empty text"),
        (["--potential", "0V", ""], "error: STRUCTURE: got an empty text"),
        (["--potential", "0V", "--steps", "1.5"], "--steps: got '1.5', expected a whole number"),
        (["--potential", "0V", "--temp=hot"], "--temp: got 'hot', expected a number"),
        (["--potential", "0V", "--threads", "100000"], "--threads: got 100000, expected at most"),
        (["--potential", "0V", "--log", ".."], "--log: got '..', expected the name of a file"),
        (["--potential", "0V", "a.xyz", "b.xyz"], "b.xyz"),
        ([], "--potential: got none, expected one such as -0.5V"),
        (["--potential", "nan"], "potential: got 'nan'"),
        (["--potential", "1e999V"], "expected a finite number"),
        (["--potential", "-0.5V vs SHE"], "give its reference as --reference"),
        (["--potential", "4.5V"], "did you mean reference='absolute'?"),
        (["--potential", "-500"], "did you mean -500 mV?"),
        (["--potential", "0V,"], "potential: got ''"),
        (["--potential", "0V:1V,2V"], "expected one form"),
        (["--potential", "0V", "--reference", "nhe"], "reference: got 'nhe'"),
        (["--potential", "0V", "--she-absolute", "-1"], "error: --she-absolute: got -1.0 V"),
        (["--potential", "0V", "--reference", "rhe"], "error: --ph: got none"),
        (["--potential", "0V", "--ph", "7"], "error: --ph: got pH=7.0 with reference SHE"),
        (["--potential", "0V", "--timestep", "0"], "--timestep: got 0.0, expected more than 0"),
        (["--potential", "0V", "--traj", "a/b.traj"], "--traj: got 'a/b.traj'"),
        (["--potential", "0V", "--restart", "--overwrite"], "--restart: got --overwrite too"),
        (["--restart"], "--restart: found none here, expected --out"),
        (["--restart", "--out", "nowhere"], "--restart: no run in nowhere"),
        (["--potential", "0V", "--config", "none.yaml"], "none.yaml cannot be read"),
        (["--potential", "0V", "--model", "nothing"], "nothing is neither a checkpoint"),
        (["--potential", "0V", "--model", "mace.model"], "mace.model is a pickle"),
        (["--potential", "0V", "--method", "nose"], "--method: got 'nose', expected one of bonnet"),
        (["--potential", "0V", "--thermostat", "nhc"], "--thermostat: got 'nhc', expected one of"),
        (["--potential", "0V", "--dtype", "half"], "--dtype: got 'half', expected one of float32"),
        (["--potential", "0V", "--traj", "md.xtc"], "error: --traj: got 'md.xtc'"),
        (["--potential", "0V,1V,0V"], "--potential: got 0V more than once"),
    ],
)
def test_misuse_of_options(pe_md: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    assert_refused(pe_md(*arguments), message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "direct"], "method: got 'direct' with a canonical calculator"),
        (["--method", "newton", "--period", "100"], "got 'period' for newton"),
        (["--tau", "0.1"], "tau: got 0.1 fs"),
        (["--device", "tpu"], "device"),
        (["--out", "/proc/none/run"], "--out: /proc/none/run cannot be made"),
        (["--domain", "vasp"], "domain"),
        (["--potential", "-1.5V"], "training range 3 to 6 V (absolute); --allow-extrapolation"),
        (["--potential", "1.4V", "--she-absolute", "4.8"], "training range 3 to 6 V (absolute)"),
    ],
)
def test_what_does_not_go_with_the_model(
    pe_md: Run, model: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = [] if "--potential" in arguments else ["--potential", "-0.3V"]
    assert_refused(pe_md("--model", model, *given, *arguments), message)
    assert list(tmp_path.iterdir()) == []


def broken(atoms: Atoms, how: str) -> Atoms:
    if how == "no cell":
        atoms.cell, atoms.pbc = np.zeros((3, 3)), False
    elif how == "wrong element":
        atoms.symbols[-1] = "Xe"
    elif how == "overlap":
        atoms.positions[-1] = atoms.positions[-2] + 0.01
    elif how == "nan":
        atoms.positions[-1, 0] = np.nan
    elif how == "empty":
        del atoms[:]
    return atoms


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no cell", "periodic along 0 axes"),
        ("wrong element", "Xe"),
        ("overlap", "apart"),
        ("nan", "finite"),
        ("empty", "no atoms"),
    ],
)
def test_structures_that_cannot_run(
    pe_md: Run, model: Path, tmp_path: Path, how: str, message: str
) -> None:
    write("broken.xyz", broken(read(model / "interface.extxyz"), how))
    result = pe_md("broken.xyz", "--model", model, "--potential", "-0.3V")
    assert_refused(result, message)
    assert [path.name for path in tmp_path.iterdir()] == ["broken.xyz"]


def test_structures_that_cannot_be_read(pe_md: Run, model: Path, tmp_path: Path) -> None:
    options = ("--model", model, "--potential", "-0.3V")
    assert_refused(pe_md("none.xyz", *options), "none.xyz not found")
    (tmp_path / "text.cif").write_text("nonsense")
    assert_refused(pe_md("text.cif", *options), "text.cif cannot be read")
    (tmp_path / "what").write_bytes(b"\x00\x01")
    assert_refused(pe_md("what", *options), "what cannot be read")
    write("two.xyz", [read(model / "interface.extxyz")] * 2)
    assert_refused(pe_md("two.xyz@:", *options), "two.xyz@: are 2 frames")
    assert_refused(pe_md("two.xyz@5", *options), "two.xyz has no frame 5")
    assert_refused(pe_md("two.xyz@foo", *options), "STRUCTURE: got the frame 'foo' of ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.cif", "two.xyz", "what"]


def test_a_model_without_an_interface_needs_a_structure(
    pe_md: Run, model: Path, tmp_path: Path
) -> None:
    shutil.copytree(model, tmp_path / "bare")
    (tmp_path / "bare" / "interface.extxyz").unlink()
    result = pe_md("--model", "bare", "--potential", "-0.3V")
    assert_refused(result, "comes without interface.extxyz")


def test_an_interface_that_cannot_be_read_is_named(pe_md: Run, model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "junk")
    (tmp_path / "junk" / "interface.extxyz").write_text("junk")
    result = pe_md("--model", "junk", "--potential", "-0.3V")
    assert_refused(result, "junk/interface.extxyz cannot be read")


@pytest.mark.parametrize(
    ("momentum", "message"), [(np.nan, "momenta that are not finite"), (1e4, "step 0: temperature")]
)
def test_a_structure_that_cannot_start_leaves_no_frame_behind(
    pe_md: Run,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    momentum: float,
    message: str,
) -> None:
    atoms = read(model / "interface.extxyz")
    atoms.set_momenta(np.full((len(atoms), 3), momentum), apply_constraint=False)
    write("hot.traj", atoms)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    result = pe_md("hot.traj", "--model", model, "--potential", "-0.3V", "--out", "run")
    assert_refused(result, message)
    assert "frame in" not in result.stderr
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not (tmp_path / "run").exists()


def test_altered_weights_are_refused(pe_md: Run, model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "altered")
    weights = tmp_path / "altered" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert_refused(pe_md("--model", "altered", "--potential", "-0.3V"), "sha256")


def test_a_charge_out_of_range_writes_nothing(pe_md: Run, model: Path, tmp_path: Path) -> None:
    import json

    shutil.copytree(model, tmp_path / "narrow")
    path = tmp_path / "narrow" / "model.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {"electrons_per_area_range": [0.001, 0.0011]}))
    result = pe_md("--model", "narrow", "--potential", "1V", "--out", "run")
    assert_refused(result, "excess_electrons")
    assert not (tmp_path / "run").exists()


def test_a_folder_with_something_in_the_way(pe_md: Run, model: Path, tmp_path: Path) -> None:
    options = ("--model", model, "--potential", "-0.3V", "--out", "run")
    (tmp_path / "run").write_text("a file")
    assert_refused(pe_md(*options), "--out: run is a file")
    (tmp_path / "run").unlink()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "md.csv").write_text("precious")
    assert_refused(pe_md(*options), "--out: run has a run in it (md.csv); --restart goes on")
    assert (tmp_path / "run" / "md.csv").read_text() == "precious"


def test_debug_shows_where_an_error_arose(pe_md: Run) -> None:
    result = pe_md("--potential", "nan", "--debug")
    assert result.exit_code == 1
    assert type(result.exception).__name__ == "PotentialError"


def test_the_version(pe_md: Run) -> None:
    import voltase

    result = pe_md("--version")
    assert (result.exit_code, result.stdout) == (0, f"voltase {voltase.__version__}\n")


def test_help_imports_nothing_heavy(pe_md: Run) -> None:
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from voltase.cli import md\n"
        "try: md.app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ase', 'matplotlib', 'numpy', 'scipy', 'mace'} & {*sys.modules}\n"
        "sys.exit(','.join(heavy))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.strip() == ""
    assert "--potential" in run.stdout
