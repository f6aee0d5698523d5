"""``pe-analyze``: files under their names, right in a line, wrong in a line."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.io import Trajectory, write
from typer.testing import CliRunner, Result

from voltase.analysis.testing import film, hexagonal_slab
from voltase.cli.analyze import app


def analyze(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def table(path: Path) -> dict[str, list[str]]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(lines))
    return {name: [row[name] for row in rows] for name in rows[0]}


def frames(count: int, times: bool = True) -> list[Atoms]:
    rng = np.random.default_rng(3)
    start = film(rng, 12)
    images = []
    for k in range(count):
        atoms = start.copy()
        atoms.positions += 0.05 * rng.standard_normal(atoms.positions.shape)
        atoms.set_momenta(0.1 * rng.standard_normal(atoms.positions.shape))
        atoms.info = {"excess_electrons": 0.1, "electrode_potential": 4.44 + 0.01 * (k % 5)}
        if times:
            atoms.info["time_fs"] = 2.0 * k
        images.append(atoms)
    return images


@pytest.fixture(scope="module")
def traj(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("analyze") / "md.traj"
    write(path, frames(70))
    return path


@pytest.mark.parametrize(
    ("command", "name", "columns"),
    [
        ("profile", "profile", ["z_A", "rho_O_per_A3", "rho_O_per_A3_err", "rho_H_per_A3"]),
        ("rdf", "rdf", ["r_A", "g_slab_O-O", "g_slab_O-O_err", "g_bulk_O-O", "g_slab_O-H"]),
        ("orientation", "orientation", ["z_A", "cos_theta", "cos_theta_err"]),
        ("species", "species", ["frame", "H2O", "OH", "H3O"]),
    ],
)
def test_tables_have_their_names_and_columns(
    traj: Path, tmp_path: Path, command: str, name: str, columns: list[str]
) -> None:
    result = analyze(command, traj, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "out" / f"{name}.csv").read_text()
    assert text.startswith("# command: pe-analyze")
    assert re.search("^# frames: 70 of 70$", text, re.MULTILINE)
    found = table(tmp_path / "out" / f"{name}.csv")
    assert [c for c in columns if c not in found] == []
    with np.load(tmp_path / "out" / f"{command}.npz") as stored:
        values = stored[columns[1]]
    np.testing.assert_allclose(values, [float(x) for x in found[columns[1]]], rtol=1e-8)
    assert (tmp_path / "out" / f"{command}.png").read_bytes().startswith(b"\x89PNG")
    summary = yaml.safe_load((tmp_path / "out" / f"pe-analyze_{command}.yaml").read_text())
    assert summary["status"] == "complete"
    assert summary["frames"] == 70
    assert not list((tmp_path / "out").glob("*.partial"))


def test_species_are_counted_in_every_frame(traj: Path, tmp_path: Path) -> None:
    analyze("species", traj, "--out", tmp_path, "--step", 10)
    found = table(tmp_path / "species.csv")
    assert found["frame"] == [str(k) for k in range(0, 70, 10)]
    assert set(found["H2O"]) == {"12"}


def test_all_makes_a_report_with_everything_in_it(traj: Path, tmp_path: Path) -> None:
    result = analyze("all", traj, "--out", tmp_path, "--charges", "O=-0.8,H=0.4,Pt=0")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report.html").read_text()
    assert "src='data:image/png;base64," in page
    assert not re.search(r"(src|href)=.?(http|/|\w+\.png)", page)
    for name in ("profile", "rdf", "orientation", "hbonds", "coverage", "dipole", "potential",
                 "species", "vdos"):  # fmt: skip
        assert f"<h2>{name}</h2>" in page, name
        assert (tmp_path / f"{name}.npz").is_file()


def test_all_names_what_it_leaves_out(tmp_path: Path) -> None:
    write(tmp_path / "md.traj", frames(20, times=False))
    result = analyze("all", tmp_path / "md.traj", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "left out vdos: dt: " in result.output
    assert "left out potential: charges: " in result.output
    assert "left out" in (tmp_path / "out" / "report.html").read_text().lower()
    assert not (tmp_path / "out" / "vdos.csv").exists()


def test_all_of_a_dry_slab_is_what_there_is(tmp_path: Path) -> None:
    write(tmp_path / "dry.traj", [hexagonal_slab()] * 3)
    result = analyze("all", tmp_path / "dry.traj", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "left out rdf: pairs: found no oxygen, expected water" in result.stdout
    assert (tmp_path / "out" / "profile.csv").is_file()
    assert not (tmp_path / "out" / "rdf.csv").exists()


def test_all_without_hydrogen_is_what_there_is(tmp_path: Path) -> None:
    images = [atoms[atoms.numbers != 1] for atoms in frames(3)]
    write(tmp_path / "md.traj", images)
    result = analyze("all", tmp_path / "md.traj", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "left out orientation: water: found none in frame 0" in result.stdout
    assert (tmp_path / "out" / "rdf.csv").is_file()


def test_a_frame_that_is_too_small_is_named(tmp_path: Path) -> None:
    images = frames(4)
    images[2].set_cell(0.2 * images[2].cell.array)
    write(tmp_path / "md.traj", images)
    result = analyze("rdf", tmp_path / "md.traj", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: trajectory: frame 2: cutoff: found ")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")
def test_ctrl_c_ends_all_processes_and_writes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "md.traj", frames(20) * 100)
    command = [sys.executable, "-m", "voltase.cli.analyze", "hbonds", str(tmp_path / "md.traj"),
               "--dt", "1", "--backend", "multiprocessing", "--workers", "2",
               "--out", str(tmp_path / "out")]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)  # fmt: skip
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60.0
    while len(children.read_text().split()) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=30.0)
    assert process.returncode == 130, err
    assert (out, err) == ("", "interrupted\n")
    assert not (tmp_path / "out").exists()


def test_potential_without_charges_gives_the_dipole(tmp_path: Path) -> None:
    write(tmp_path / "md.traj", frames(20, times=False))
    result = analyze("potential", tmp_path / "md.traj", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "left out potential: charges: " in result.output
    assert (tmp_path / "out" / "dipole_mean.csv").is_file()
    result = analyze("dipole", tmp_path / "md.traj", "--out", tmp_path / "alone")
    assert result.exit_code == 0, result.output
    assert table(tmp_path / "alone" / "dipole_mean.csv")["sigma_uC_per_cm2"]
    result = analyze("dynamics", tmp_path / "md.traj", "--out", tmp_path / "none")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: dt: found no times in the trajectory")
    assert not (tmp_path / "none").exists()


def test_frames_left_out_keep_the_times_of_the_others(tmp_path: Path) -> None:
    images = frames(30, times=False)
    del images[2][-1]
    write(tmp_path / "md.traj", images)
    result = analyze("species", tmp_path / "md.traj", "--out", tmp_path, "--dt", 0.5, "--skip-bad")
    assert result.exit_code == 0, result.output
    times = [float(t) for t in table(tmp_path / "species.csv")["time_ps"]]
    assert times == [0.5 * k for k in range(30) if k != 2]


def test_options_of_motion_reach_the_analyses(traj: Path, tmp_path: Path) -> None:
    result = analyze("dynamics", traj, "--out", tmp_path, "--bonds", "--fit", "0.01:0.05")
    assert result.exit_code == 0, result.output
    assert "tau1_fit_bond_ps" in table(tmp_path / "reorientation_times.csv")
    assert set(table(tmp_path / "diffusion_constants.csv")["fit_to_ps"]) == {"0.05"}
    result = analyze("residence", traj, "--out", tmp_path, "--tolerance", 0.01, "--fit", "0:0.05")
    assert result.exit_code == 0, result.output
    result = analyze("coverage", traj, "--out", tmp_path, "--h-distance", 1.5)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("command", "default"), [("compare", "pe-analyze_compare"), ("series", "analysis in DIR")]
)
def test_help_tells_the_folder(command: str, default: str) -> None:
    text = analyze(command, "--help").output
    assert default in " ".join(text.replace("│", " ").split())
    assert "pe-analyze_TRAJ" not in text


@pytest.mark.parametrize("command", ["profile", "dynamics"])
def test_two_processes_give_the_same_files(traj: Path, tmp_path: Path, command: str) -> None:
    folders = []
    for backend in ("serial", "multiprocessing"):
        folders.append(tmp_path / backend)
        result = analyze(command, traj, "--out", folders[-1], "--backend", backend,
                         "--workers", 2)  # fmt: skip
        assert result.exit_code == 0, result.output
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == sorted(path.name for path in folders[1].iterdir())
    assert any(name.endswith(".png") for name in names)
    for name in names:
        if not name.endswith(".csv"):
            continue
        one, two = (table(folder / name) for folder in folders)
        for column in one:
            np.testing.assert_allclose(np.array(one[column], float), np.array(two[column], float),
                                       rtol=1e-7, atol=1e-12)  # fmt: skip


def test_compare_scores_pairs_of_trajectories(traj: Path, tmp_path: Path) -> None:
    other = tmp_path / "md.extxyz"
    write(other, frames(70)[::-1])
    result = analyze("compare", traj, other, "--out", tmp_path / "out", "--labels", "A,B")
    assert result.exit_code == 0, result.output
    found = table(tmp_path / "out" / "compare_profile_scores.csv")
    assert set(found["first"]) == {"A"}
    assert min(map(float, found["score"])) == pytest.approx(1.0)
    assert (tmp_path / "out" / "compare_rdf.png").is_file()
    assert analyze("compare", traj).exit_code == 2


def test_series_draws_against_the_potential(tmp_path: Path) -> None:
    for k, name in enumerate(("-0.50V", "+0.50V")):
        images = frames(80)
        for atoms in images:
            atoms.info["electrode_potential"] = 3.94 + k
        (tmp_path / name).mkdir()
        write(tmp_path / name / "md.traj", images)
    result = analyze("series", tmp_path)
    assert result.exit_code == 0, result.output
    found = table(tmp_path / "analysis" / "series.csv")
    assert [round(float(u), 6) for u in found["U_V"]] == [-0.5, 0.5]
    assert (tmp_path / "analysis" / "series.png").is_file()
    result = analyze("series", tmp_path, "--layers", "4.0", "--out", tmp_path / "other")
    assert result.exit_code == 0, result.output
    columns = list(table(tmp_path / "other" / "series.csv"))
    assert [c for c in columns if c.startswith("H_down")] == [
        "H_down_0_to_4_A", "H_down_0_to_4_A_err"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rdf", "TRAJ", "--pairs", "O-Xx"], "error: pairs: found 'O-Xx'"),
        (["rdf", "TRAJ", "--r-max", "30"], "error: r_max: found 30 A, expected 0.05 A or"),
        (["rdf", "TRAJ", "--r-max", "-3"], "error: r_max: found -3 A, expected 0.05 A or more"),
        (["rdf", "TRAJ", "--pairs", "O-O,O-O"], "error: pairs: found O-O, O-O, expected each"),
        (["rdf", "TRAJ", "--region", "90:99"], "error: region: found no O in it in any frame"),
        (["rdf", "TRAJ", "--region", "5:1"], "error: --region: found '5:1'"),
        (["residence", "TRAJ", "--fit", "5:1"], "error: --fit: found '5:1'"),
        (["residence", "TRAJ", "--tolerance", "-1"], "error: tolerance: found -1 ps"),
        (["dynamics", "TRAJ", "--fit", "1:99"], "error: fit: found 1 to 99 ps"),
        (["dynamics", "TRAJ", "--max-lag", "99"], "error: max_lag: found 99 ps"),
        (["residence", "TRAJ", "--max-lag", "nan"], "error: max_lag: found nan ps"),
        (["vdos", "TRAJ", "--max-lag", "nan"], "error: max_lag: found nan ps"),
        (["coverage", "TRAJ", "--h-distance", "9"], "error: h_distance: found 9 A"),
        (["series", ".", "--layers", "a"], "error: DIR: found 0 runs"),
        (["rdf", "TRAJ", "--pairs"], "error: "),
        (["rdf", "TRAJ", "--out", "--pairs"], "error: "),
        (["profile", "TRAJ", "--width", "0"], "error: width: found 0 A"),
        (["profile", "TRAJ", "--start", "99"], "error: frames: found none"),
        (["profile", "TRAJ", "--step", "0"], "error: --step: found 0"),
        (["profile", "TRAJ", "--electrode", "name Au"], "error: electrode: 'name Au' selects no"),
        (["profile", "TRAJ", "--electrode", "nonsense ("], "error: electrode: "),
        (["profile", "TRAJ", "--backend", "gpu"], "error: backend: found 'gpu'"),
        (["profile", "TRAJ", "--workers", "0"], "error: workers: found 0, expected 1 or more"),
        (["profile", "TRAJ", "--topology", "no.gro"], "error: --topology: found no file no.gro"),
        (["orientation", "TRAJ", "--layers", "3,2"], "error: layers: found"),
        (["orientation", "TRAJ", "--layers", "3,nan"], "error: layers: found [3.0, nan]"),
        (["residence", "TRAJ", "--layers", "3,inf"], "error: layers: found [3.0, inf]"),
        (["orientation", "TRAJ", "--layers", "a,b"], "error: --layers: found 'a,b'"),
        (["potential", "TRAJ", "--charges", "O=x"], "error: --charges: found 'O=x'"),
        (["profile", "missing.traj"], "error: "),
        (["profile"], "error: "),
        (["nothing", "TRAJ"], "error: "),
        (["series", "missing"], "error: DIR: found no folder missing"),
        (["compare", "TRAJ", "TRAJ", "--labels", "a"], "error: --labels: found 'a'"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    traj: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = analyze(*[traj if a == "TRAJ" else a for a in arguments])
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"junk", b"3\nno lattice\nO 0 0 0\nH 1 0 0\nH 0 1 0\n"])
@pytest.mark.parametrize("name", ["md.traj", "md.extxyz", "md.extxyz.gz"])
def test_files_that_are_none_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    result = analyze("profile", tmp_path / name, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["out", "out/deeper/still"])
def test_an_out_that_is_a_file_is_refused(traj: Path, tmp_path: Path, out: str) -> None:
    (tmp_path / "out").write_text("")
    for command in (("profile", traj), ("compare", traj, traj)):
        result = analyze(*command, "--out", tmp_path / out)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"error: --out: {tmp_path / 'out'} is a file, expected")


def test_compare_names_the_file_that_is_wrong(traj: Path, tmp_path: Path) -> None:
    dry = tmp_path / "dry.traj"
    write(dry, hexagonal_slab())
    result = analyze("compare", traj, dry, "--out", tmp_path / "out", "--stop", 2)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(f"error: {dry}: electrode: neither")


def test_no_water_and_no_metal_are_said(tmp_path: Path) -> None:
    write(tmp_path / "dry.traj", [hexagonal_slab()])
    assert "neither of its faces" in analyze("orientation", tmp_path / "dry.traj").stderr
    wet = film(np.random.default_rng(0), 3)
    with Trajectory(str(tmp_path / "wet.traj"), "w") as writer:
        writer.write(wet[wet.numbers != 78])
    assert "found no metal" in analyze("profile", tmp_path / "wet.traj").stderr
