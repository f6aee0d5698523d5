"""Reading densities, grouping them by geometry."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from voltase.aseplugin.density_grid import DensityGrid
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.training.density.config import DensityFile
from voltase.aseplugin.training.density.frames import group_frames, read_frames


def test_charges_of_a_geometry_are_one_group(densities: Path) -> None:
    geometries = group_frames(read_frames([str(densities)]))
    assert len(geometries) == 5
    for geometry in geometries:
        np.testing.assert_allclose(geometry.electrons, [-0.1, 0.0, 0.1])
        assert len({frame.shape for frame in geometry.frames}) == 1


def test_a_folder_is_searched(densities: Path) -> None:
    assert len(read_frames([str(densities.parent)])) == 15


def test_the_grid_holds_the_electrons(densities: Path) -> None:
    frame = read_frames([str(densities)])[0]
    electrons = frame.values().sum() * frame.volume_element
    assert electrons == pytest.approx(38.0 + frame.excess_electrons, abs=0.02)


def test_files_of_other_codes_need_their_electron_number(densities: Path, tmp_path: Path) -> None:
    frame = read_frames([str(densities)])[0]
    grid = DensityGrid(frame.values(), frame.cell, atoms=frame.atoms)
    grid.write(tmp_path / "a.cube")
    with pytest.raises(InputError, match="stand under data.single"):
        read_frames([str(tmp_path / "a.cube")])
    (found,) = read_frames([], [DensityFile(str(tmp_path / "a.cube"), 0.1, geometry="g")])
    assert (found.excess_electrons, found.geometry) == (0.1, "g")
    np.testing.assert_allclose(found.values(), frame.values(), atol=1e-4)
    np.testing.assert_allclose(found.atoms.positions, frame.atoms.positions, atol=1e-4)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match="found no file nowhere.h5"):
        read_frames(["nowhere.h5"])


def replaced(name: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Change a dataset of a group."""

    def apply(group: Any) -> None:
        values = group[name][()]
        del group[name]
        group[name] = change(values)

    return apply


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g.attrs.__delitem__("excess_electrons"), "no attribute 'excess_electrons'"),
        (lambda g: g.attrs.__setitem__("excess_electrons", "x"), "excess_electrons: found 'x'"),
        (
            lambda g: g.attrs.__setitem__("excess_electrons", np.nan),
            "excess_electrons: found .*nan",
        ),
        (
            lambda g: g.attrs.__setitem__("electrode_potential", np.inf),
            "electrode_potential: found .*inf",
        ),
        (lambda g: g.__delitem__("density"), "found no dataset 'density'"),
        (lambda g: g.__delitem__("pbc"), "found no dataset 'pbc'"),
        (replaced("density", lambda v: v[0]), "density: found shape"),
        (replaced("density", lambda _: "text"), "density: found shape"),
        (replaced("cell", lambda v: v[:2, :2]), "cannot be read as densities"),
        (replaced("positions", lambda v: v[:-1]), "cannot be read as densities"),
    ],
)
def test_what_lacks_something_is_named(
    densities: Path, tmp_path: Path, change: Callable[[Any], None], words: str
) -> None:
    path = tmp_path / "d.h5"
    shutil.copy(densities, path)
    with h5py.File(path, "a") as file:
        change(next(iter(file.values())))
    with pytest.raises(InputError, match=words) as caught:
        read_frames([str(path)])
    assert str(caught.value).startswith("data.files: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("factor", [np.nan, 0.0])
def test_densities_of_nothing_are_refused(densities: Path, tmp_path: Path, factor: float) -> None:
    path = tmp_path / "d.h5"
    shutil.copy(densities, path)
    with h5py.File(path, "a") as file:
        replaced("density", lambda v: v * factor)(next(iter(file.values())))
    with pytest.raises(InputError, match="not finite, or only zeros, expected a density"):
        read_frames([str(path)])[0].values()


def test_a_file_of_something_else(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["density"] = np.ones((2, 2, 2))
    with pytest.raises(InputError, match="density in .* found a dataset, expected a group"):
        read_frames([str(tmp_path / "d.h5")])
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match="data.single: found notes.txt, expected .cube"):
        read_frames([], [DensityFile(str(tmp_path / "notes.txt"))])
