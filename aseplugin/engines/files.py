"""Engines that write an input file, run a command in a folder of their own and read its output."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import signal
import subprocess
import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.config import cfg

from voltase.aseplugin.engines.base import ElectronicState, Engine
from voltase.aseplugin.errors import EngineError, InputError, ScfError

logger = logging.getLogger(__name__)

_STATE = "voltase.json"
_LOCK = "voltase.lock"
_NOT_FOUND = (126, 127)
"""Exit status of a shell whose command cannot be run or is not there (POSIX, section 2.8.2)."""
_LONGEST_MESSAGE = 300


class CodeError(EngineError):
    """A code that stopped with an error of its own."""


class FileEngine(Engine):
    """A code driven through files.

    A folder serves one calculation at a time: a second engine on it waits. After a single point
    that converged, a file in the folder says what the restart files belong to, and the next single
    point of the same atoms, cell and settings starts from them, also after a restart of the
    program. If that start fails, the point is run once more from none, with a warning in the log;
    the result ``scf_iterations`` counts the second run alone.

    Parameters
    ----------
    excess_electrons : float
        n in e.
    directory : path, optional
        Where the code runs; by default a folder with the code's name in the present one.
    command : str, optional
        Run by a shell; by default what ASE's configuration says.
    timeout : float, optional
        Seconds after which the code is stopped; no limit by default.
    """

    input_name: ClassVar[str]
    """Of the input file."""
    output_name: ClassVar[str]
    """Where the command's standard output goes."""
    results_names: ClassVar[tuple[str, ...]] = ()
    """Patterns of further files that are read; removed before a run, so that none is stale."""

    def __init__(
        self,
        excess_electrons: float = 0.0,
        *,
        directory: str | os.PathLike[str] | None = None,
        command: str | None = None,
        timeout: float | None = None,
    ) -> None:
        if command is not None and not command.strip():
            raise InputError("command: found an empty text, expected how to start the code")
        if timeout is not None and not timeout > 0:
            raise InputError(f"timeout: found {timeout} s, expected more than 0 s")
        self.run_directory = Path(directory or type(self).code.lower().replace(" ", "-")).absolute()
        self.timeout = timeout
        self._command = command
        self._version: str | None = None
        super().__init__(excess_electrons)

    @property
    def command(self) -> str:
        """What starts the code: as given, or as configured in ASE.

        Raises
        ------
        EngineError
            If neither says.
        """
        return self._command or self.configured_command()

    @abstractmethod
    def configured_command(self) -> str:
        """The command of ASE's configuration."""

    @abstractmethod
    def arguments(self) -> str:
        """What follows the command, such as the input's name."""

    @abstractmethod
    def check_request(self, atoms: Atoms, n: float) -> None:
        """Raise EngineError where the code cannot give what is asked."""

    @abstractmethod
    def write_input(self, atoms: Atoms, n: float, restart: bool) -> None:
        """Write all input into the folder; ``restart`` says to start from its restart files."""

    @abstractmethod
    def restart_files(self) -> list[Path]:
        """Files that a restart needs."""

    @abstractmethod
    def not_converged(self, output: str) -> bool:
        """Whether the output says that the self-consistency cycle did not converge."""

    @abstractmethod
    def message(self, output: str) -> str:
        """The code's own words for what went wrong; empty if there are none."""

    @abstractmethod
    def read_output(self, atoms: Atoms, n: float, output: str) -> ElectronicState:
        """Results of a run that ended well."""

    def single_point(self, atoms: Atoms, excess_electrons: float) -> ElectronicState:
        """Run the code in its folder, from the last wave functions if they fit."""
        self.check_request(atoms, excess_electrons)
        with _locked(self.run_directory):
            system = self._system(atoms)
            restart = self._fits(system)
            # Until the run has converged, nobody may start from what is in the folder.
            (self.run_directory / _STATE).unlink(missing_ok=True)
            try:
                output = self._run(atoms, excess_electrons, restart)
            except (ScfError, CodeError) as error:
                if not restart:
                    raise
                logger.warning("%s; running it again without the last wave functions", error)
                output = self._run(atoms, excess_electrons, restart=False)
            try:
                state = self.read_output(atoms, excess_electrons, output)
            except (ArithmeticError, AssertionError, LookupError, NotImplementedError, OSError,
                    StopIteration, TypeError, ValueError) as error:  # fmt: skip
                if isinstance(error, EngineError | InputError):
                    raise
                reason = self.message(output) or f"{type(error).__name__}: {error}"
                raise EngineError(
                    f"{self.code}: cannot read its output in {self.run_directory} "
                    f"({last_line(reason)})"
                ) from error
            write_text(self.run_directory / _STATE, json.dumps(system))
            return state

    def _printed_version(self, command: str, pattern: str) -> str:
        """What the first group of ``pattern`` matches in the output of a command, asked for once.

        It runs in a folder of its own, where it may leave files behind.
        """
        if self._version is None:
            with tempfile.TemporaryDirectory() as name:
                _, stderr = run_command(command, Path(name), self.output_name, timeout=60)
                output = read_text(Path(name) / self.output_name)
            found = re.search(pattern, output)
            if found is None:
                raise EngineError(
                    f"command: {self.command!r} did not start ({last_line(stderr or output)}), "
                    f"expected one that starts {self.code}"
                )
            self._version = found[1]
        return self._version

    def _run(self, atoms: Atoms, n: float, restart: bool) -> str:
        """Run the code; returns its output."""
        for pattern in (self.output_name, *self.results_names):
            for path in self.run_directory.glob(pattern):
                path.unlink()
        self.write_input(atoms, n, restart)
        command = f"{self.command} {self.arguments()}".strip()
        status, stderr = run_command(
            command, self.run_directory, self.output_name, timeout=self.timeout
        )
        output = read_text(self.run_directory / self.output_name)
        if self.not_converged(output):
            raise ScfError(
                f"{self.code}: the self-consistency cycle did not converge, see "
                f"{self.run_directory / self.output_name}"
            )
        if status in _NOT_FOUND:
            raise EngineError(
                f"command: cannot run {self.command!r} ({last_line(stderr)}), expected one that "
                f"starts {self.code}"
            )
        if status:
            # A code's own message is in its output; that of a launcher is in its error stream.
            said = self.message(output) or stderr or output
            raise CodeError(
                f"{self.code}: stopped with status {status} ({last_line(said)}), see "
                f"{self.run_directory / self.output_name}"
            )
        return output

    def _system(self, atoms: Atoms) -> dict[str, Any]:
        """What wave functions belong to; plain types that survive JSON."""
        system = {
            "numbers": atoms.numbers.tolist(),
            "cell": atoms.cell.array.tolist(),
            "settings": self.settings,
        }
        return dict(json.loads(json.dumps(system, default=_plain)))

    def _fits(self, system: dict[str, Any]) -> bool:
        """Whether the restart files in the folder are of the same system."""
        try:
            stored = json.loads(read_text(self.run_directory / _STATE))
        except (OSError, ValueError):
            return False
        files = self.restart_files()
        return stored == system and bool(files) and all(path.exists() for path in files)


def run_command(
    command: str, directory: Path, output_name: str, timeout: float | None = None
) -> tuple[int, str]:
    """Run a shell command in a folder, its output into a file there.

    An interrupt or the time limit stops it with everything it started.

    Returns
    -------
    int
        Exit status.
    str
        Standard error.

    Raises
    ------
    EngineError
        If it exceeds the time limit, in s.
    """
    logger.debug("running %s in %s", command, directory)
    with (directory / output_name).open("wb") as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command,
            shell=True,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout)
        except BaseException as error:
            _stop(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise EngineError(
                    f"timeout: {command!r} still running after {timeout:g} s, stopped"
                ) from None
            raise
        err.seek(0)
        return status, err.read().decode(errors="replace")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            continue
        break


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold a folder; made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / _LOCK).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.warning("waiting for %s, which another calculation uses", directory)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def configured(section: str, option: str) -> str | None:
    """An entry of ASE's configuration file (``ase.config``), if there is one."""
    return cfg.parser.get(section, option, fallback=None) or None


def read_text(path: Path) -> str:
    """A text of a code, whatever bytes are in it."""
    return path.read_text(encoding="utf-8", errors="replace")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f"{path.name}.partial")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"cannot store {type(value).__name__}")


def last_line(text: str) -> str:
    """The last line of a message that says something, at most some 300 characters."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return lines[-1][:_LONGEST_MESSAGE] if lines else "no message"
