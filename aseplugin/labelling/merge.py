"""From the points of a folder to the files that training and analysis read."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.labelling.points import Point
from voltase.aseplugin.labelling.store import Failure, PointStore, read_frame

LABELS, DENSITIES, FAILED = "labels.extxyz", "densities.h5", "failed.csv"


def merge_labels(store: PointStore, geometries: Iterable[str]) -> list[Point]:
    """Write all finished frames into one file, by geometry and n; returns their points."""
    points = [point for geometry in geometries for point in store.points(geometry)]
    path = store.folder / LABELS
    partial = path.with_name(f"{LABELS}.partial")
    # The frames as they are: nothing is lost by reading and writing them again.
    with partial.open("wb") as target:
        for frame in _frame_paths(store, points):
            with frame.open("rb") as source:
                shutil.copyfileobj(source, target)
    partial.replace(path)
    return points


def _frame_paths(store: PointStore, points: Sequence[Point]) -> Iterator[Path]:
    return (store.frame_path(point.geometry, point.excess_electrons) for point in points)


def merge_densities(store: PointStore, points: Sequence[Point]) -> int:
    """Write all densities into one HDF5 file; returns their number.

    A group for each frame, named by its ``source``: datasets ``density`` (e/A^3, float32),
    ``cell``, ``positions``, ``numbers``, ``pbc`` and where the code gives it
    ``electrostatic_potential_planar`` (eV); attributes ``excess_electrons``,
    ``electrode_potential`` (absolute, V), ``geometry`` and ``origin`` (A).
    """
    path = store.folder / DENSITIES
    partial = path.with_name(f"{DENSITIES}.partial")
    with h5py.File(partial, "w") as file:
        for point, frame_path in zip(points, _frame_paths(store, points), strict=True):
            atoms = read_frame(frame_path)
            group = file.create_group(atoms.info["source"])
            group.attrs["excess_electrons"] = point.excess_electrons
            group.attrs["geometry"] = point.geometry
            if point.potential is not None:
                group.attrs["electrode_potential"] = point.potential
            for name in ("numbers", "positions", "pbc"):
                group[name] = getattr(atoms, name)
            source = store.density_path(point.geometry, point.excess_electrons)
            try:
                # Arrays alone: nothing is unpickled.
                with np.load(source, allow_pickle=False) as arrays:
                    group.attrs["origin"] = arrays["origin"]
                    group["cell"] = arrays["cell"]
                    group.create_dataset("density", data=arrays["density"], compression="gzip")
                    if "electrostatic_potential_planar" in arrays:
                        name = "electrostatic_potential_planar"
                        group[name] = arrays[name]
            except (OSError, ValueError, KeyError) as error:
                raise InputError(
                    f"out: {source} is no density ({error}); delete it and {frame_path.name} to "
                    "have them made again"
                ) from error
    partial.replace(path)
    return len(points)


def write_failures(folder: Path, failures: Sequence[Failure]) -> None:
    """List the failed points: ``source, n, potential_V, reason``; no file if there are none."""
    path = folder / FAILED
    if not failures:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("source", "n", "potential_V", "reason"))
    for failure in failures:
        row = (failure.excess_electrons, failure.potential)
        writer.writerow((failure.name, *("" if value is None else value for value in row),
                         failure.reason))  # fmt: skip
    partial = path.with_name(f"{FAILED}.partial")
    partial.write_text(text.getvalue(), encoding="utf-8")
    partial.replace(path)
