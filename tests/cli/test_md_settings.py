"""Settings of ``pe-md``: file, command line, and what a restart may change."""

from dataclasses import asdict
from pathlib import Path

import pytest

from voltase.aseplugin.errors import InputError
from voltase.cli.md import default_folder
from voltase.cli.md_settings import MDSettings, read_config, resolve, settings_for_restart


def test_a_file_may_spell_options_with_dashes_or_underscores(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("traj-every: 7\nlog_every: 3\nout: here\nseed: null\n")
    assert read_config(path) == {"traj_every": 7, "log_every": 3, "out": "here"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("potential: -0.5", "-0.5V"),
        ("potential: -500mV", "-0.5V"),
        ("potential: [-0.5, 0V, 500 mV]", "-0.5V,0.0V,0.5V"),
        # YAML 1.1 takes this for a number to the base of 60.
        ("potential: -1:0.5", "-1.0V:0.5V"),
        ("potential: 0V@0,0.5V@1000", "0.0V@0,0.5V@1000"),
    ],
)
def test_a_file_holds_every_form_of_potential(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert resolve(read_config(path)).potential == expected


def test_yaml_means_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("timestep: 5e-1\nmodel: NO\nsteps: 1e3\nallow-extrapolation: true\n")
    assert read_config(path) == {
        "timestep": 0.5,
        "model": "NO",
        "steps": 1000,
        "allow_extrapolation": True,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timestop: 1", "unknown key 'timestop', did you mean 'timestep'"),
        ("restart: true", "unknown key 'restart'"),
        ("steps: 10.5", "config.steps: found 10.5, expected a whole number"),
        ("model: false", "config.model: found False, expected text"),
        ("steps: 1\nsteps: 2", "'steps' twice"),
        ("traj-every: 1\ntraj_every: 2", "both spellings"),
        ("out: ''", "config.out: found an empty text"),
        ("- a", "a list, expected keys with values"),
        ("{", "line 1"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_config(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "--steps: got 0, expected 1 or more"),
        ({"timestep": float("nan")}, "--timestep: got nan"),
        ({"temp": -1.0}, "--temp: got -1.0"),
        ({"seed": -1}, "--seed: got -1, expected 0 or more"),
        ({"traj": "demo/md.traj"}, "--traj: got 'demo/md.traj', expected the name of a file"),
        ({"log": "summary.yaml"}, "--log: got 'summary.yaml'"),
        ({"log": "series.csv"}, "--log: got 'series.csv'"),
        ({"log": "a\nb.csv"}, r"--log: got 'a\\nb.csv', expected the name of a file"),
        ({"model": ""}, "--model: got an empty text"),
        ({"log": "md.traj"}, "--log: got 'md.traj', expected another name"),
    ],
)
def test_numbers_and_names_out_of_place_are_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        MDSettings(**settings)  # type: ignore[arg-type]


RECORDED = asdict(resolve({"potential": "-0.5V", "model": "somewhere"}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("potential", "-0.4V"),
        ("reference", "absolute"),
        ("timestep", 1.0),
        ("temp", 300.0),
        ("method", "newton"),
        ("thermostat", "svr"),
        ("seed", 1),
        ("log_every", 1),
        ("dtype", "float64"),
        ("structure", "other.extxyz"),
    ],
)
def test_a_restart_cannot_make_another_run_of_it(name: str, value: object) -> None:
    # A potential that is plausible for the new reference, so that this is what is refused.
    given = {"potential": "4V"} if name == "reference" else {}
    named = "STRUCTURE" if name == "structure" else f"--{name.replace('_', '-')}"
    with pytest.raises(InputError, match=f"^{named}: got .*, which a restart cannot change$"):
        settings_for_restart({name: value, **given}, RECORDED)


def test_the_refusal_names_the_option_and_both_values() -> None:
    with pytest.raises(InputError, match="--log-every: got 1, but the run has 5") as caught:
        settings_for_restart({"log_every": 1}, RECORDED)
    assert "\n" not in str(caught.value)


def test_a_restart_may_repeat_what_the_run_was_told_in_other_words() -> None:
    given = {"potential": "-500 mV", "reference": "she", "she_absolute": 4.44, "timestep": 0.5}
    assert asdict(settings_for_restart(given, RECORDED)) == RECORDED


def test_a_restart_may_go_further_and_look_more_often() -> None:
    changes = {"steps": 5000, "checkpoint_every": 10, "allow_extrapolation": True, "threads": 2}
    assert asdict(settings_for_restart(changes, RECORDED)) == RECORDED | changes


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"potential": "-500mV"}, "pe-md_pt111-water_-0.5V"),
        ({"potential": "-1:0.5", "structure": "a b/cell.extxyz@3"}, "pe-md_cell_-1.0V_to_0.5V"),
        ({"potential": "0,1", "structure": "x.cif"}, "pe-md_x_0.0V_1.0V"),
        ({"potential": "0@0,1@5", "structure": "POSCAR"}, "pe-md_POSCAR_0.0Vat0_1.0Vat5"),
    ],
)
def test_the_default_folder_says_what_runs_in_it(given: dict[str, str], expected: str) -> None:
    assert str(default_folder(resolve(given))) == expected
