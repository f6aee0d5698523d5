"""Comparing trajectories, and observables against the potential of a series of runs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from voltase.aseplugin.errors import InputError
from voltase.cli.analyze_observables import build, default_pairs, parse_charges, parse_layers
from voltase.cli.analyze_output import checked_folder, png, write_tables, write_whole
from voltase.cli.analyze_run import frame_range, open_trajectory, run_all
from voltase.cli.summary import RunSummary

EQUILIBRATION = 0.2
"""Share of each run of a series that is left out without --start."""
TRAJECTORIES = ("*.traj", "*.extxyz", "*.extxyz.gz", "*.xyz")


def compare_trajectories(trajectories: Sequence[Path], options: Mapping[str, Any]) -> str:
    """Score the likeness of trajectories and write tables and a figure.

    Parameters
    ----------
    trajectories : sequence of Path
        Two or more.
    options : mapping
        All options of the command line.

    Raises
    ------
    InputError
        If one cannot be analysed, or there are fewer than two.
    """
    from voltase.analysis.compare import compare

    if len(trajectories) < 2:
        raise InputError(f"TRAJ: found {len(trajectories)}, expected two or more to compare")
    labels = make_labels(trajectories, options["labels"])
    folder = checked_folder(options["out"] or "pe-analyze_compare")
    runs: dict[str, dict[str, Any]] = {}
    for label, path in zip(labels, trajectories, strict=True):
        analyses: dict[str, Any] = {}
        with _naming(path):
            universe = open_trajectory(path, options)
            for command in ("profile", "rdf", "orientation"):
                if command == "rdf" and not default_pairs(universe):
                    continue
                analyses |= build(command, universe, {"layers": options["layers"]},
                                  options["electrode"])  # fmt: skip
            run_all(analyses, options)
        runs[label] = analyses
    header = files_header(trajectories)
    folder.mkdir(parents=True, exist_ok=True)
    source = {"trajectories": [str(path) for path in trajectories]}
    summary = start_summary(folder, "compare", source, options)
    lines, written = [], []
    for kind in ("profile", "rdf", "orientation"):
        if any(kind not in found for found in runs.values()):
            continue
        comparison = compare({label: found[kind] for label, found in runs.items()})
        tables = {f"compare_{kind}_{stem}": table for stem, table in comparison.tables().items()
                  if stem == "scores" or stem.endswith("_both")}  # fmt: skip
        written += write_tables(folder, f"compare_{kind}", tables, header)
        figure = Figure(figsize=(7.5, 2.4 * (2 + len(comparison.overlays) // 3)), dpi=130,
                        layout="constrained")  # fmt: skip
        comparison.draw(figure)
        write_whole(folder / f"compare_{kind}.png", png(figure))
        written.append(folder / f"compare_{kind}.png")
        lines += [
            f"{s.quantity:<28} {s.first} / {s.second}: {s.score:.3f} +- {s.error:.3f} "
            f"(same system: {s.floor:.3f})"
            for s in comparison.scores
            if s.quantity.endswith("_both")
        ]
    summary.write("complete", files=[path.name for path in written])
    return "\n".join([*lines, f"in {folder}: {', '.join(path.name for path in written)}"])


def analyse_series(folder: Path, options: Mapping[str, Any]) -> str:
    """Density, orientation and dipole of the runs in a folder against their potential.

    Parameters
    ----------
    folder : Path
        Of a series of ``pe-md``, or any with a folder for each run.
    options : mapping
        All options of the command line.

    Raises
    ------
    InputError
        If there are fewer than two runs, or one cannot be analysed.
    """
    from voltase.analysis.potential_series import PotentialSeries

    if not folder.is_dir():
        raise InputError(f"DIR: found no folder {folder}, expected that of a series")
    runs = find_runs(folder)
    if len(runs) < 2:
        raise InputError(f"DIR: found {len(runs)} runs in {folder}, expected two or more")
    out = checked_folder(options["out"] or folder / "analysis")
    series = PotentialSeries(_reference_of(folder))
    parsers: dict[str, Any] = {"charges": parse_charges, "layers": parse_layers}
    given: dict[str, Any] = {name: parse(options[name]) for name, parse in parsers.items()
                             if options[name] is not None}  # fmt: skip
    for label, path in runs.items():
        with _naming(path):
            universe = open_trajectory(path, options)
            frames: dict[str, Any] = dict(frame_range(options))
            frames.setdefault("start", int(EQUILIBRATION * len(universe.trajectory)))
            series.run(label, universe, electrode=options["electrode"], **given, **frames)
    header = files_header(list(runs.values()))
    out.mkdir(parents=True, exist_ok=True)
    summary = start_summary(out, "series", {"folder": str(folder)}, options)
    tables = series.tables()
    written = write_tables(out, "series", {"series": tables["potential_series"]}, header)
    figure = Figure(figsize=(6.5, 8.0), dpi=130, layout="constrained")
    series.draw(figure)
    write_whole(out / "series.png", png(figure))
    written.append(out / "series.png")
    summary.write("complete", files=[path.name for path in written])
    return f"{len(runs)} runs; in {out}: {', '.join(path.name for path in written)}"


def make_labels(paths: Sequence[Path], given: str | None) -> list[str]:
    """A name for each trajectory; names of files that are alike get their folder's before them."""
    if given is not None:
        labels = [label.strip() for label in given.split(",")]
        if len(labels) != len(paths) or len(set(labels)) != len(labels) or "" in labels:
            raise InputError(f"--labels: found '{given}', expected {len(paths)} different names")
        return labels
    labels = [path.name.partition(".")[0] for path in paths]
    if len(set(labels)) < len(labels):
        labels = [f"{path.parent.name}-{name}" for path, name in zip(paths, labels, strict=True)]
    if len(set(labels)) < len(labels):
        labels = [f"{name}-{k + 1}" for k, name in enumerate(labels)]
    return labels


def find_runs(folder: Path) -> dict[str, Path]:
    """Trajectories of the runs in the folders of a folder, by the name of the run."""
    found = {}
    for run in sorted(path for path in folder.iterdir() if path.is_dir()):
        candidates = [path for pattern in TRAJECTORIES for path in sorted(run.glob(pattern))
                      if ".failed-step" not in path.name]  # fmt: skip
        named = _options_of(run).get("traj")
        if named and (run / named).is_file():
            candidates = [run / named]
        if candidates:
            found[run.name] = candidates[0]
    return found


def _options_of(run: Path) -> dict[str, Any]:
    """Options in the summary of a run of ``pe-md``, if it has one."""
    from voltase.cli.config import read_yaml

    path = run / "summary.yaml"
    if not path.is_file():
        return {}
    options = read_yaml(path).get("options")
    return options if isinstance(options, dict) else {}


def _reference_of(folder: Path) -> Any:
    """What the potentials of the series count from; SHE if it does not say."""
    from voltase.aseplugin.electrochemistry import Reference

    given = _options_of(folder)
    return Reference.parse(given.get("reference", "SHE"), pH=given.get("ph"),
                           she_absolute=given.get("she_absolute"))  # fmt: skip


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file before the message of an error that does not name it."""
    try:
        yield
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error


def files_header(files: Sequence[Path]) -> dict[str, Any]:
    import voltase

    return {
        "command": shlex.join(["pe-analyze", *sys.argv[1:]]),
        "voltase": voltase.__version__,
        "files": ", ".join(map(str, files)),
        "units": "in the names of the columns; _err: one standard error",
    }


def start_summary(
    folder: Path, command: str, source: Mapping[str, Any], options: Mapping[str, Any]
) -> RunSummary:
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}
    return RunSummary(folder / f"pe-analyze_{command}.yaml", f"pe-analyze {command}",
                      {**source, **plain})  # fmt: skip
