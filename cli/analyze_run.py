"""Running a command of ``pe-analyze``: load, one pass, write."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voltase.aseplugin.errors import InputError
from voltase.cli.analyze_observables import COMMANDS, PARTS, build, options_of
from voltase.cli.analyze_output import (
    draw,
    html_report,
    png,
    write_tables,
    write_whole,
)
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
    folder = Path(options["out"] or f"pe-analyze_{trajectory.name.partition('.')[0]}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out: {folder} is a file, expected a folder")
    with collected_warnings() as warnings:
        universe = open_trajectory(trajectory, options)
        given = {name: options[name] for name in options_of(command)}
        analyses = build(command, universe, given, options["electrode"])
        analyses, left_out = keep_usable(analyses, frame_range(options))
        together = run_all(analyses, options, tolerant=len(COMMANDS[command].parts) > 1)
        for failed, why in together.failures:
            name = next(key for key, analysis in analyses.items() if analysis is failed)
            left_out[name] = why
            del analyses[name]
        check_any(analyses, left_out)
        header = make_header(trajectory, universe, together, options)
        folder.mkdir(parents=True, exist_ok=True)
        resolved = {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}
        summary = RunSummary(folder / f"pe-analyze_{command}.yaml", f"pe-analyze {command}",
                             {"trajectory": str(trajectory), **resolved})  # fmt: skip
        written, sections = write_results(folder, analyses, header, warnings)
    if command == "all":
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
    analyses: dict[str, InterfaceAnalysis], options: Mapping[str, Any], tolerant: bool = False
) -> Any:
    """One pass over the frames for all analyses, with a progress bar."""
    from voltase.analysis.backends import run_with_progress
    from voltase.analysis.together import Together

    together = Together(list(analyses.values()), tolerant=tolerant)
    frames = frame_range(options)
    total = len(together.chosen_frames(**frames))
    with progress_bar("frames", total, shown=not options["quiet"], threads=False) as show:
        run_with_progress(together, backend=options["backend"] or "serial",
                          workers=options["workers"], progress=show, **frames)  # fmt: skip
    return together


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


def write_results(
    folder: Path,
    analyses: Mapping[str, InterfaceAnalysis],
    header: Mapping[str, Any],
    warnings: list[str],
) -> tuple[list[Path], dict[str, tuple[str, bytes, list[str]]]]:
    """Tables and figures of each analysis; what the report shows of it."""
    written, sections = [], {}
    for name, analysis in analyses.items():
        unit = "ps" if analysis.times_known else "frames"
        times = {key: f"{value:.4g} {unit}" for key, value in
                 analysis.results.get("correlation_times", {}).items()}  # fmt: skip
        own = {
            **header,
            "observable": type(analysis).__name__,
            "correlation times": format_times(times),
        }
        written += write_tables(folder, name, analysis.tables(), own)
        image = png(draw(analysis))
        write_whole(folder / f"{name}.png", image)
        written.append(folder / f"{name}.png")
        sentence = (type(analysis).__doc__ or "").strip().splitlines()[0]
        notes = sorted({w for w in warnings if w.startswith(type(analysis).__name__)})
        sections[PARTS[name].name] = (sentence, image, notes)
    return written, sections


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
