"""Reading densities, grouping them by geometry."""

from pathlib import Path

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
