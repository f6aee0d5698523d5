"""The reader of extended xyz files."""

from __future__ import annotations

import bz2
import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import ase.io
import MDAnalysis as mda
import numpy as np
import pytest
from ase import Atoms, units

from voltase.analysis.readers import ExtxyzReader, load, text_source
from voltase.analysis.readers.decimals import parse_fixed
from voltase.aseplugin.errors import InputError

MakeFrames = Callable[..., list[Atoms]]
CELL = 'Lattice="5 0 0 0 6 0 0 0 9"'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "md.extxyz"


def _one(path: Path, comment: str, *lines: str) -> Path:
    path.write_text("\n".join([str(len(lines)), comment, *lines]) + "\n")
    return path


def test_universe_reads_the_file(make_frames: MakeFrames, path: Path) -> None:
    ase.io.write(path, make_frames(3))
    universe = mda.Universe(str(path))
    assert isinstance(universe.trajectory, ExtxyzReader)
    assert universe.trajectory.n_frames == 3
    assert ExtxyzReader.parse_n_atoms(str(path)) == 6


def test_positions_are_those_ase_reads(path: Path) -> None:
    rng = np.random.default_rng(3)
    frames = [Atoms("PtH8", rng.normal(scale=s, size=(9, 3)), cell=[50, 50, 90]) for s in (1, 40)]
    frames[1].positions[2] = [-0.0, -1e-9, -12345.67890123]
    ase.io.write(path, frames)
    universe = load(path)
    for ts, atoms in zip(universe.trajectory, ase.io.read(path, ":"), strict=True):
        assert np.array_equal(ts.data["exact_positions"], atoms.positions)


@pytest.mark.parametrize("opener", [gzip.open, bz2.open])
@pytest.mark.parametrize("limit", [10**6, 100])
def test_compressed(
    make_frames: MakeFrames,
    path: Path,
    opener: Callable[..., object],
    limit: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text_source, "LARGEST_IN_MEMORY", limit)
    frames = make_frames(6)
    ase.io.write(path, frames)
    packed = path.with_name("md.extxyz.gz" if opener is gzip.open else "md.extxyz.bz2")
    with opener(packed, "wb") as file:  # type: ignore[attr-defined]
        file.write(path.read_bytes())
    universe = load(packed)
    for i in (0, 5, 2, 3, 0):
        exact = universe.trajectory[i].data["exact_positions"]
        assert np.array_equal(exact, frames[i].positions)
    again = pickle.loads(pickle.dumps(universe))
    assert again.trajectory.n_frames == 6


def test_small_blocks(make_frames: MakeFrames, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_source, "BLOCK", 257)
    frames = make_frames(6)
    ase.io.write(path, frames)
    n = [ts.data["excess_electrons"] for ts in load(path).trajectory]
    assert n == pytest.approx([atoms.info["excess_electrons"] for atoms in frames])


def test_columns(path: Path) -> None:
    _one(
        path,
        f"Properties=species:S:1:pos:R:3:velo:R:3:REF_forces:R:3:mass:R:1:hirshfeld_charges:R:1"
        f":axis:R:3:tag:I:1:fixed:L:1:velocities:R:3 {CELL} step=4 mixed=3x",
        "O 1 2 3 .01 0 0  1 0 0  15.9  -0.8 0 0 1 3 T 7 8 9",
        "H 1 2 4 .02 0 0 -1 0 0 1.0  0.4 0 1 0 4 F 7 8 9",
    )
    universe = load(path)
    ts = universe.trajectory.ts
    assert ts.data["exact_positions"].tolist() == [[1, 2, 3], [1, 2, 4]]
    assert np.allclose(ts.data["exact_velocities"][:, 0], [10.0, 20.0])
    assert np.allclose(ts.forces[:, 0], np.array([1, -1]) * units.mol / units.kJ)
    assert universe.atoms.masses.tolist() == [15.9, 1.0]
    assert ts.data["charges"].tolist() == [-0.8, 0.4]
    assert set(ts.data["arrays"]) == {"hirshfeld_charges", "axis", "velocities"}
    assert ts.data["arrays"]["axis"].tolist() == [[0, 0, 1], [0, 1, 0]]
    assert (ts.data["step"], ts.data["mixed"]) == (4, "3x")
    assert ts.data["pbc"].tolist() == [True] * 3


def test_vectors_turn(path: Path) -> None:
    _one(
        path,
        'Lattice="0 5 0 -6 0 0 0 0 9" Properties=species:S:1:pos:R:3:axis:R:3',
        "O 1 2 3 1 0 0",
    )
    ts = load(path).trajectory.ts
    assert np.allclose(ts.data["exact_positions"], [[2, -1, 3]])
    assert np.allclose(ts.data["arrays"]["axis"], [[0, -1, 0]])


def test_charges_come_before_others(path: Path) -> None:
    properties = "species:S:1:pos:R:3:initial_charges:R:1:charge:R:1"
    _one(path, f"Properties={properties} {CELL}", "O 1 2 3 0.5 -0.25")
    assert load(path).trajectory.ts.data["charges"].tolist() == [-0.25]


def test_numbers_for_symbols_and_no_properties(path: Path) -> None:
    _one(path, f"Properties=Z:I:1:pos:R:3 {CELL} pbc='T F T'", "8 1 2 3", "1 1 2 4")
    universe = load(path)
    assert list(universe.atoms.elements) == ["O", "H"]
    assert universe.trajectory.ts.data["pbc"].tolist() == [True, False, True]
    _one(path, CELL, "O 1 2 3")
    assert list(load(path).atoms.names) == ["O"]


def test_elements_are_compared_however_written(path: Path) -> None:
    lines = ["2", CELL, "O 1 2 3", "H 4 5 6", "2", CELL, " O  1.0 2 3", "h\t4 5 6"]
    path.write_text("\n".join(lines) + "\n\n")
    universe = load(path)
    assert universe.trajectory[1].data["exact_positions"].tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("cut", [3, 60, 400])
def test_truncated_file(
    make_frames: MakeFrames, path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    ase.io.write(path, make_frames(4))
    path.write_bytes(path.read_bytes()[:-cut])
    universe = load(path)
    assert universe.trajectory.n_frames == 3
    assert "md.extxyz: truncated after 3 whole frames" in caplog.text
    assert len(caplog.records) == 1
    assert [ts.frame for ts in universe.trajectory] == [0, 1, 2]


def test_missing_last_line_end(make_frames: MakeFrames, path: Path) -> None:
    ase.io.write(path, make_frames(3))
    path.write_bytes(path.read_bytes().rstrip())
    universe = load(path)
    assert universe.trajectory.n_frames == 3
    assert universe.trajectory[2].data["excess_electrons"] == pytest.approx(0.0)


def test_truncated_compressed_file(
    path: Path, caplog: pytest.LogCaptureFixture, make_frames: MakeFrames
) -> None:
    ase.io.write(path, make_frames(100))
    packed = path.with_name("md.xyz.gz")
    packed.write_bytes(gzip.compress(path.read_bytes())[:-4000])
    universe = load(packed)
    n_frames = universe.trajectory.n_frames
    assert 1 < n_frames < 100
    assert f"truncated after {n_frames} whole frames" in caplog.text
    assert len(list(universe.trajectory)) == n_frames


def test_unusable_files(path: Path) -> None:
    path.write_text("")
    with pytest.raises(InputError, match=r"md.extxyz: found an empty file"):
        load(path)
    path.write_text("\n\n")
    with pytest.raises(InputError, match=r"md.extxyz: found no frame, expected at least one"):
        load(path)
    path.write_text("some text\nof another kind\n")
    with pytest.raises(InputError, match=r"frame 0: found 'some text', expected a line with a num"):
        load(path)
    path.with_name("a.extxyz.gz").write_bytes(b"\x1f\x8b and no more of it than that")
    with pytest.raises(InputError, match=r"a.extxyz.gz: cannot be read"):
        load(path.with_name("a.extxyz.gz"))
    with pytest.raises(ValueError, match="found 'some text'"):
        mda.Universe(str(path))


@pytest.mark.parametrize(
    ("comment", "line", "message"),
    [
        (CELL, "O 1 2 ***", r"frame 0: found '\*\*\*', expected a number"),
        (CELL, "O 1 2", r"frame 0: found 3 columns for atom 0, expected 4"),
        (CELL, "Ox 1 2 3", r"frame 0: found 'Ox', expected a chemical symbol"),
        ("Properties=species:S:1:pos:R:3", "O 1 2 3", r"frame 0: found no cell"),
        ("Lattice='1 2 3'", "O 1 2 3", r"frame 0: found Lattice='1 2 3', expected nine numbers"),
        (f"Properties=pos:R:3 {CELL}", "1 2 3", r"found Properties='pos:R:3', expected name:type"),
        (f"stress=3 {CELL}", "O 1 2 3", r"frame 0: comment line: "),
        ('Lattice="5 0 0 0 6 0 5 6 0"', "O 1 2 3", r"frame 0: .*found a volume of 0 A"),
    ],
)
def test_unusable_frames(path: Path, comment: str, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        load(_one(path, comment, line))
    assert "md.extxyz" in str(error.value)


def test_fixed_decimals_are_those_of_float() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(200, 6)) * 10.0 ** rng.integers(-8, 5, (200, 6))
    rows = ["Pt" + "".join(f" {v:16.8f}" for v in row) for row in values]
    body = ("\n".join(rows) + "\n").encode()
    found = parse_fixed(body, 200, 6)
    assert found is not None
    expected = [[float(v) for v in row.split()[1:]] for row in rows]
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    "line",
    [
        b"H       1.0000     2.0000x\n",
        b"H       1.0000     2.00e1\n",
        b"H      -1.0000    -+2.000\n",
        b"H       1.0000   --2.0000\n",
        b"H       1.0000   1 2.0000\n",
        b"H       1.0000     1.-000\n",
        b"H       1.0000     1.0 00\n",
        b"H       1.0000    nan    \n",
        b"H       1.0000   - 2.0000\n",
        b"H  12345678901.00000000  2.0000000001234567\n",
    ],
)
def test_other_numbers_are_left_to_float(line: bytes) -> None:
    assert parse_fixed(line, 1, 2) is None


def test_shared_trajectory(shared_data: Path) -> None:
    path = shared_data / "trajectories" / "cu100_water_na_oh.extxyz.gz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the reference data")
    universe = load(path)
    assert (universe.trajectory.n_frames, len(universe.atoms)) == (200, 314)
    last = ase.io.read(path, 199)
    assert np.array_equal(universe.trajectory[199].data["exact_positions"], last.positions)


def test_shared_data_of_several_systems(shared_data: Path) -> None:
    path = shared_data / "pt111_water" / "unbiased.extxyz.gz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the reference data")
    with pytest.raises(InputError, match="atoms, expected"):
        load(path)
    universe = load(path, skip_bad=True)
    assert universe.trajectory.n_skipped > 0
    assert np.isfinite(universe.trajectory[-1].forces).all()
