"""Running a command of ``pe-analyze``: load, one pass, write."""

from __future__ import annotations

import functools
import logging
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voltase.aseplugin.errors import InputError
from voltase.cli.analyze_observables import COMMANDS, PARTS, build, options_of
from voltase.cli.analyze_output import (
    checked_folder,
    draw,
    html_report,
    load_drawing,
    png,
    write_tables,
    write_whole,
)
from voltase.cli.loading import without_collection
from voltase.cli.summary import RunSummary
from voltase.cli.terminal import progress_bar

if TYPE_CHECKING:
    import MDAnalysis as mda

    from voltase.analysis.base import InterfaceAnalysis

LOG = logging.getLogger("voltase")

MOST_NAMED = 12
"""Files that are listed at the end; of more, their number."""


def run_command(command: str, trajectory: Path, options: Mapping[str, Any]) -> str:
    """Analyse a trajectory and write the results; returns what to print.

    Parameters
    ----------
    command : str
        See `COMMANDS`.
    trajectory : Path
    options : mapping
        All options of the command line, None where not given.

    Raises
    ------
    InputError
        If the trajectory or an option cannot be used; nothing is written then.
    """
    folder = checked_folder(options["out"] or f"pe-analyze_{trajectory.name.partition('.')[0]}")
    with collected_warnings() as warnings:
        with without_collection():
            universe = open_trajectory(trajectory, options)
            given = {name: options[name] for name in options_of(command)}
            analyses = build(command, universe, given, options["electrode"])
            without = [name for name in COMMANDS[command].parts if name not in analyses]
            analyses, left_out = keep_usable(analyses, frame_range(options))
            left_out |= dict.fromkeys(without, "pairs: found no oxygen, expected water")
        several = len(COMMANDS[command].parts) > 1
        together = run_all(analyses, options, conclude=not several)
        header = make_header(trajectory, universe, together, options)
        folder.mkdir(parents=True, exist_ok=True)
        resolved = {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}
        summary = RunSummary(folder / f"pe-analyze_{command}.yaml", f"pe-analyze {command}",
                             {"trajectory": str(trajectory), **resolved})  # fmt: skip
        outcomes = write_results(folder, analyses, header, processes_for(options), several)
        left_out |= {name: each for name, each in outcomes.items() if isinstance(each, str)}
        found = {name: each for name, each in outcomes.items() if isinstance(each, Written)}
        if not found:
            remove_if_empty(folder)
        check_any(found, left_out)
    written = [path for each in found.values() for path in each.files]
    warnings += [warning for each in found.values() for warning in each.warnings]
    if command == "all":
        sections = {PARTS[name].name: each.section(warnings) for name, each in found.items()}
        page = html_report(f"Interface in {trajectory.name}", header, sections, left_out)
        write_whole(folder / "report.html", page.encode())
        written.append(folder / "report.html")
    summary.write("complete", frames=together.n_frames, files=[p.name for p in written],
                  left_out=left_out, warnings=sorted(set(warnings)))  # fmt: skip
    return describe(folder, written, together.n_frames, left_out)


def open_trajectory(path: Path, options: Mapping[str, Any]) -> mda.Universe:
    """The universe of a trajectory; the message of a failure names the file."""
    from voltase.analysis.readers import load

    topology = options.get("topology")
    if topology is not None and not Path(topology).is_file():
        raise InputError(f"--topology: found no file {topology}, expected one")
    return load(path, topology=topology, dt=options.get("dt"),
                skip_bad=bool(options.get("skip_bad")))  # fmt: skip


def frame_range(options: Mapping[str, Any]) -> dict[str, int]:
    """The range of frames, as far as it was given."""
    chosen = {name: options[name] for name in ("start", "stop", "step")
              if options.get(name) is not None}  # fmt: skip
    if chosen.get("step", 1) < 1:
        raise InputError(f"--step: found {chosen['step']}, expected 1 or more")
    return chosen


def keep_usable(
    analyses: dict[str, InterfaceAnalysis], frames: Mapping[str, int]
) -> tuple[dict[str, InterfaceAnalysis], dict[str, str]]:
    """Leave out of several what this trajectory cannot give; it is an error if nothing remains."""
    if len(analyses) == 1:
        return analyses, {}
    first = next(iter(analyses.values()))
    scene = first.first_scene(int(first.chosen_frames(**frames)[0]))
    usable, left_out = {}, {}
    for name, analysis in analyses.items():
        analysis.interface = scene.interface
        try:
            analysis.prepare(scene)
            analysis.observe(scene)
        except InputError as error:
            left_out[name] = str(error)
        else:
            usable[name] = analysis
    check_any(usable, left_out)
    return usable, left_out


def check_any(analyses: Mapping[str, Any], left_out: Mapping[str, str]) -> None:
    """Refuse to go on with nothing.

    Raises
    ------
    InputError
        With the reason, or all of them if they differ.
    """
    if analyses:
        return
    reasons = list(dict.fromkeys(left_out.values()))
    if len(reasons) == 1:
        raise InputError(reasons[0])
    raise InputError(f"trajectory: nothing can be computed ({'; '.join(reasons)})")


def run_all(
    analyses: dict[str, InterfaceAnalysis], options: Mapping[str, Any], conclude: bool = True
) -> Any:
    """One pass over the frames for all analyses, with a progress bar; see `Together`."""
    from voltase.analysis.backends import run_with_progress
    from voltase.analysis.together import Together

    together = Together(list(analyses.values()), conclude=conclude)
    frames = frame_range(options)
    total = len(together.chosen_frames(**frames))
    with progress_bar("frames", total, shown=not options["quiet"], threads=False) as show:
        run_with_progress(together, backend=options["backend"] or "serial",
                          workers=options["workers"], progress=show,
                          meanwhile=load_drawing, **frames)  # fmt: skip
    return together


def processes_for(options: Mapping[str, Any]) -> int:
    """How many processes write and draw: those of the backend, which is serial by default."""
    if (options["backend"] or "serial") == "serial":
        return 1
    return options["workers"] or os.cpu_count() or 1


def make_header(
    trajectory: Path, universe: mda.Universe, together: Any, options: Mapping[str, Any]
) -> dict[str, Any]:
    """What every file says of its origin."""
    import voltase

    interface = together.analyses[0].interface
    shown = {name: value for name, value in options.items()
             if value not in (None, False) and name not in ("quiet", "debug", "out")}  # fmt: skip
    return {
        "command": shlex.join(["pe-analyze", *sys.argv[1:]]),
        "voltase": voltase.__version__,
        "trajectory": trajectory,
        "parameters": ", ".join(f"{k}={v}" for k, v in shown.items()) or "defaults",
        "frames": f"{together.n_frames} of {len(universe.trajectory)}",
        "atoms": len(universe.atoms),
        "slab": f"{int(interface.slab.sum())} atoms, {len(interface.layers)} layers, wet faces: "
        + (", ".join(("lower", "upper")[k] for k in interface.faces) or "none"),
        "units": "in the names of the columns (A, e, V, ps); _err: one standard error, nan where "
        "the frames are too few for one",
    }


@dataclass(frozen=True)
class Written:
    """What one analysis came to.

    Attributes
    ----------
    files : list of Path
    analysis : str
        Name of its class, with which its warnings begin.
    sentence : str
        What it is.
    image : bytes
        The figure, PNG.
    warnings : list of str
    """

    files: list[Path]
    analysis: str
    sentence: str
    image: bytes
    warnings: list[str]

    def section(self, warnings: Sequence[str]) -> tuple[str, bytes, list[str]]:
        """Of the report: the sentence, the figure, and those of the warnings that belong to it."""
        own = sorted({each for each in warnings if each.startswith(self.analysis)})
        return self.sentence, self.image, own


def write_results(
    folder: Path,
    analyses: Mapping[str, InterfaceAnalysis],
    header: Mapping[str, Any],
    workers: int,
    unfinished: bool,
) -> dict[str, Written | str]:
    """Tables and figures of each analysis, or why there are none."""
    from voltase.analysis.backends import map_in_processes

    write = functools.partial(write_one, folder, analyses, header, unfinished)
    names = list(analyses)
    if min(workers, len(names)) > 1:
        # Statistics and figures take as long as a thousand frames.
        found = list(map_in_processes(write, names, workers))
    else:
        load_drawing()
        found = [write(name) for name in names]
    return dict(zip(names, found, strict=True))


def write_one(
    folder: Path,
    analyses: Mapping[str, InterfaceAnalysis],
    header: Mapping[str, Any],
    unfinished: bool,
    name: str,
) -> Written | str:
    """Tables and figure of one analysis, which has yet to conclude if it is unfinished."""
    analysis = analyses[name]
    with collected_warnings() as warnings:
        if unfinished:
            try:
                analysis.finish()
            except InputError as error:
                return str(error)
        unit = "ps" if analysis.times_known else "frames"
        times = {key: f"{value:.4g} {unit}" for key, value in
                 analysis.results.get("correlation_times", {}).items()}  # fmt: skip
        kind = type(analysis)
        own = {**header, "observable": kind.__name__, "correlation times": format_times(times)}
        files = write_tables(folder, name, analysis.tables(), own)
        image = png(draw(analysis))
    write_whole(folder / f"{name}.png", image)
    files.append(folder / f"{name}.png")
    sentence = (kind.__doc__ or "").strip().splitlines()[0]
    return Written(files, kind.__name__, sentence, image, warnings)


def remove_if_empty(folder: Path) -> None:
    """Take back a folder that was made in vain."""
    with suppress(OSError):
        folder.rmdir()


def format_times(times: Mapping[str, str]) -> str:
    """Correlation times in a line."""
    return ", ".join(f"{key} {value}" for key, value in times.items()) or "none"


def describe(folder: Path, written: list[Path], frames: int, left_out: Mapping[str, str]) -> str:
    """What the terminal shows at the end."""
    names = [path.name for path in written]
    if len(names) > MOST_NAMED:
        names = [f"{len(names)} files, begin with {names[-1]}"]
    lines = [f"{frames} frames; in {folder}: {', '.join(names)}"]
    lines += [f"left out {name}: {why}" for name, why in left_out.items()]
    return "\n".join(lines)


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Warnings that the package logs meanwhile."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler = Collector(logging.WARNING)
    LOG.addHandler(handler)
    try:
        yield found
    finally:
        LOG.removeHandler(handler)
