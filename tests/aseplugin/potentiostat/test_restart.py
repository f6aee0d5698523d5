"""A restarted run is the uninterrupted one, to the last bit of every file."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.units import fs
from numpy.typing import NDArray

from voltase.aseplugin.electrochemistry import Reference
from voltase.aseplugin.errors import CheckpointError, InputError
from voltase.aseplugin.potential_schedule import parse_potential_schedule
from voltase.aseplugin.potentiostat.checkpoint import read_checkpoint
from voltase.aseplugin.potentiostat.dynamics import ConstantPotentialMD
from voltase.aseplugin.potentiostat.wrapper import ConstantPotential
from voltase.aseplugin.testing import (
    CapacitorOscillators,
    GrandCanonicalCapacitorOscillators,
    oscillator_atoms,
)

Factory = Callable[..., ConstantPotentialMD]

FILES = ("md.csv", "md.traj", "run.ckpt")


def outputs(folder: Path) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    return dict(
        zip(("logfile", "trajectory", "checkpoint"), (folder / f for f in FILES), strict=True)
    )


def digests(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES]


def calculator(method: str, **parameters: Any) -> Any:
    kind = GrandCanonicalCapacitorOscillators if method == "direct" else CapacitorOscillators
    return kind(oscillator_atoms(5).positions, **parameters)


def check_restart(
    make: Factory, folder: Path, method: str, thermostat: str, **options: Any
) -> None:
    """50 steps at once, against 20, some more that are lost, and a restart."""
    # A ramp is laid out over the whole run beforehand, as the command line does it.
    options["potential"] = parse_potential_schedule(options.get("potential", 0.0)).bind(50)
    whole = make(method, thermostat, **options, **outputs(folder / "whole"))
    whole.run(50)
    whole.close()
    first = make(method, thermostat, **options, **outputs(folder / "parts"))
    first.run(20)
    first.checkpoint = None
    first.run(7)
    first.close()
    del first
    again = ConstantPotentialMD.from_checkpoint(folder / "parts" / "run.ckpt", calculator(method))
    assert again.nsteps == 20
    again.run(30)
    again.close()
    assert digests(folder / "parts") == digests(folder / "whole")


@pytest.mark.parametrize("thermostat", ["nve", "langevin", "svr", "nose-hoover"])
@pytest.mark.parametrize("method", ["bonnet-otani", "newton", "thermopotentiostat", "direct"])
def test_every_method_and_thermostat(
    make_dynamics: Factory, tmp_path: Path, method: str, thermostat: str
) -> None:
    options = {"potential": "-0.3V:0.3V", "model": {"fixed": (1,)}, "trajectory_interval": 3}
    check_restart(make_dynamics, tmp_path, method, thermostat, **options)


@pytest.mark.parametrize("thermostat", ["svr", "nose-hoover"])
def test_every_thermostat_of_the_electrode(
    make_dynamics: Factory, tmp_path: Path, thermostat: str
) -> None:
    options = {"thermostat": thermostat, "tau": 50 * fs, "period": 80 * fs}
    check_restart(make_dynamics, tmp_path, "bonnet-otani", "langevin", method_options=options)


def test_other_options(make_dynamics: Factory, tmp_path: Path) -> None:
    check_restart(
        make_dynamics,
        tmp_path,
        "newton",
        "svr",
        potential=[-0.2, 0.3],
        reference=Reference("Ag/AgCl", electrode_vs_she=0.2),
        fix_com=True,
        loginterval=7,
        n_bounds=(-2, 2),
        capacitance=0.15,
        excess_electrons=0.01,
        allow_extrapolation=True,
        method_options={"tolerance": 1e-4},
        tau=30 * fs,
        max_displacement=0.5,
        confine=False,
    )


def test_second_restart_from_the_same_checkpoint(make_dynamics: Factory, tmp_path: Path) -> None:
    dynamics = make_dynamics("bonnet-otani", "langevin", **outputs(tmp_path / "run"))
    dynamics.run(15)
    dynamics.close()
    path = tmp_path / "run" / "run.ckpt"
    states = []
    for _ in range(2):
        again = ConstantPotentialMD.from_checkpoint(path, calculator(""), checkpoint=None)
        again.run(60)
        again.close()
        states.append(digests(tmp_path / "run"))
    assert states[0] == states[1]


def test_moved_folder(make_dynamics: Factory, tmp_path: Path) -> None:
    dynamics = make_dynamics("newton", "langevin", **outputs(tmp_path / "old"))
    dynamics.run(10)
    dynamics.close()
    (tmp_path / "old").rename(tmp_path / "new")
    path = tmp_path / "new" / "run.ckpt"
    again = ConstantPotentialMD.from_checkpoint(path, calculator(""))
    again.run(5)
    again.close()
    assert not (tmp_path / "old").exists()
    assert len(ase.io.read(tmp_path / "new" / "md.traj", ":")) == 16
    without = ConstantPotentialMD.from_checkpoint(
        path, calculator(""), logfile=None, trajectory=None, checkpoint=None
    )
    without.run(5)
    assert len(ase.io.read(tmp_path / "new" / "md.traj", ":")) == 16


def test_periodic_checkpoints(make_dynamics: Factory, tmp_path: Path) -> None:
    paths = outputs(tmp_path / "run")
    dynamics = make_dynamics("newton", checkpoint_interval=10, **paths)
    steps = []
    for _ in dynamics.irun(25):
        path = paths["checkpoint"]
        steps.append(read_checkpoint(path)["step"] if path.exists() else 0)
    assert steps == [0] * 9 + [10] * 10 + [20] * 6
    assert read_checkpoint(paths["checkpoint"])["step"] == 25
    dynamics.save_checkpoint(tmp_path / "other.ckpt")
    assert read_checkpoint(tmp_path / "other.ckpt")["files"]["trajectory"] == "run/md.traj"


def test_checkpoint_before_the_first_step(make_dynamics: Factory, tmp_path: Path) -> None:
    whole = make_dynamics("bonnet-otani", "langevin", **outputs(tmp_path / "whole"))
    whole.run(10)
    whole.close()
    first = make_dynamics("bonnet-otani", "langevin", **outputs(tmp_path / "parts"))
    first.save_checkpoint(tmp_path / "parts" / "run.ckpt")
    first.close()
    again = ConstantPotentialMD.from_checkpoint(tmp_path / "parts" / "run.ckpt", calculator(""))
    again.run(10)
    again.close()
    assert digests(tmp_path / "parts") == digests(tmp_path / "whole")


class ListedOscillators(CapacitorOscillators):
    """Sums its energy and potential in an order that depends on where a list was last built."""

    skin = 0.3

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._built_at: NDArray[np.float64] | None = None

    def potential_shift(self, u: NDArray[np.float64]) -> float:
        if self._built_at is None or np.abs(u - self._built_at).max() > self.skin:
            self._built_at = u.copy()
        order = np.argsort(self._built_at.ravel())
        total = 0.0
        for term in (self.coupling * u).ravel()[order]:
            total += float(term)
        return total


class RememberingOscillators(ListedOscillators):
    """The same, with its history in the checkpoint."""

    def checkpoint_state(self) -> dict[str, NDArray[np.float64]]:
        return {} if self._built_at is None else {"built_at": self._built_at}

    def restore_state(self, state: dict[str, NDArray[np.float64]]) -> None:
        self.reset()
        self._built_at = state.get("built_at")


@pytest.mark.parametrize("kind", [ListedOscillators, RememberingOscillators])
def test_history_of_the_calculator(
    make_dynamics: Factory, make_atoms: Callable[..., Atoms], tmp_path: Path, kind: type
) -> None:
    def fresh() -> Any:
        return kind(oscillator_atoms(5).positions)

    for parts in (False, True):
        folder = tmp_path / ("parts" if parts else "whole")
        atoms = make_atoms()
        atoms.calc = fresh()
        dynamics = make_dynamics("bonnet-otani", "langevin", atoms=atoms, **outputs(folder))
        dynamics.run(33 if parts else 200)
        if parts:
            dynamics.close()
            dynamics = ConstantPotentialMD.from_checkpoint(folder / "run.ckpt", fresh())
            dynamics.run(167)
        dynamics.close()
    same = digests(tmp_path / "parts") == digests(tmp_path / "whole")
    # The one that forgets is why the contract has this state.
    assert same == (kind is RememberingOscillators)


class CountingOscillators(CapacitorOscillators):
    """Reports a spread in every seventh calculation."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        if self.evaluations % 7 == 0:
            self.results["forces_spread"] = self.evaluations / 8

    def checkpoint_state(self) -> dict[str, NDArray[Any]]:
        return {"evaluations": np.array(self.evaluations)}

    def restore_state(self, state: dict[str, NDArray[Any]]) -> None:
        self.evaluations = int(state["evaluations"])


def test_last_spread_is_restored(
    make_dynamics: Factory, make_atoms: Callable[..., Atoms], tmp_path: Path
) -> None:
    for parts in (False, True):
        folder = tmp_path / ("parts" if parts else "whole")
        atoms = make_atoms()
        atoms.calc = CountingOscillators(oscillator_atoms(5).positions)
        dynamics = make_dynamics("bonnet-otani", "langevin", atoms=atoms, **outputs(folder))
        dynamics.run(10 if parts else 30)
        if parts:
            dynamics.close()
            fresh = CountingOscillators(oscillator_atoms(5).positions)
            dynamics = ConstantPotentialMD.from_checkpoint(folder / "run.ckpt", fresh)
            dynamics.run(20)
        dynamics.close()
    assert digests(tmp_path / "parts") == digests(tmp_path / "whole")


def test_wrapped_calculator(
    make_dynamics: Factory, make_atoms: Callable[..., Atoms], tmp_path: Path
) -> None:
    def fresh() -> ConstantPotential:
        return ConstantPotential(RememberingOscillators(oscillator_atoms(5).positions), 0.0)

    for parts in (False, True):
        folder = tmp_path / ("parts" if parts else "whole")
        atoms = make_atoms()
        atoms.calc = fresh()
        dynamics = make_dynamics("direct", "langevin", atoms=atoms, **outputs(folder))
        dynamics.run(33 if parts else 100)
        if parts:
            dynamics.close()
            dynamics = ConstantPotentialMD.from_checkpoint(folder / "run.ckpt", fresh())
            dynamics.run(67)
        dynamics.close()
    assert digests(tmp_path / "parts") == digests(tmp_path / "whole")


def test_state_without_a_taker(
    make_dynamics: Factory, make_atoms: Callable[..., Atoms], tmp_path: Path
) -> None:
    atoms = make_atoms()
    atoms.calc = RememberingOscillators(oscillator_atoms(5).positions)
    make_dynamics("newton", atoms=atoms).save_checkpoint(tmp_path / "run.ckpt")
    with pytest.raises(InputError, match=r"CapacitorOscillators without restore_state"):
        ConstantPotentialMD.from_checkpoint(tmp_path / "run.ckpt", calculator(""))


def test_another_model_is_refused(make_dynamics: Factory, tmp_path: Path) -> None:
    paths = outputs(tmp_path / "run")
    dynamics = make_dynamics("newton", **paths)
    dynamics.run(3)
    dynamics.close()
    before = digests(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"got a calculator with identity [0-9a-f]{64}, exp"):
        ConstantPotentialMD.from_checkpoint(paths["checkpoint"], calculator("", coupling=0.1))
    assert digests(tmp_path / "run") == before


def test_missing_and_unknown_outputs(make_dynamics: Factory, tmp_path: Path) -> None:
    paths = outputs(tmp_path / "run")
    dynamics = make_dynamics("newton", **paths)
    dynamics.run(3)
    dynamics.close()
    with pytest.raises(InputError, match=r"^outputs: got 'log', expected one of trajectory"):
        ConstantPotentialMD.from_checkpoint(paths["checkpoint"], calculator(""), log=None)
    paths["logfile"].unlink()
    with pytest.raises(CheckpointError, match=r"md\.csv: not found"):
        ConstantPotentialMD.from_checkpoint(paths["checkpoint"], calculator(""))


def lose(path: Path) -> None:
    path.unlink()


def junk_start(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"x" * 500 + content[500:])


def junk_first_frame(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:56] + b"x" * 2500 + content[2556:])


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


@pytest.mark.parametrize("suffix", [".traj", ".xyz"])
@pytest.mark.parametrize("damage", [lose, junk_start, junk_first_frame, shorten])
@pytest.mark.parametrize("which", ["logfile", "trajectory"])
def test_refused_restart_changes_nothing(
    make_dynamics: Factory,
    tmp_path: Path,
    suffix: str,
    damage: Callable[[Path], None],
    which: str,
) -> None:
    paths = outputs(tmp_path)
    paths["trajectory"] = tmp_path / f"md{suffix}"
    dynamics = make_dynamics("newton", **paths)
    dynamics.run(12)
    dynamics.checkpoint = None
    dynamics.run(5)
    dynamics.close()
    if damage is junk_first_frame and paths[which].suffix != ".traj":
        pytest.skip("a table of offsets is in .traj files only")
    damage(paths[which])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CheckpointError, match=rf"^/.*{re.escape(paths[which].name)}: "):
        ConstantPotentialMD.from_checkpoint(paths["checkpoint"], calculator(""))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_new_output_without_a_folder(make_dynamics: Factory, tmp_path: Path) -> None:
    paths = outputs(tmp_path)
    dynamics = make_dynamics("newton", logfile=paths["logfile"], checkpoint=paths["checkpoint"])
    dynamics.run(2)
    dynamics.checkpoint = None
    dynamics.run(2)
    dynamics.close()
    before = paths["logfile"].read_bytes()
    path, new = paths["checkpoint"], tmp_path / "none" / "md.traj"
    with pytest.raises(InputError, match=r"^trajectory: got .*, expected it in a folder that exis"):
        ConstantPotentialMD.from_checkpoint(path, calculator(""), trajectory=new)
    assert paths["logfile"].read_bytes() == before


def test_output_over_the_checkpoint(make_dynamics: Factory, tmp_path: Path) -> None:
    path = tmp_path / "run.traj"
    make_dynamics("newton").save_checkpoint(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"^trajectory: got .*, expected another file than path"):
        ConstantPotentialMD.from_checkpoint(path, calculator(""), trajectory=path)
    assert path.read_bytes() == before
