"""Reading frames: reference forces, energies and the state of the electrode."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import ase.io
import numpy as np
import numpy.typing as npt
from ase import Atoms

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.structures import neighbour_list
from voltase.aseplugin.training.config import DataConfig

LOG = logging.getLogger(__name__)
NEAREST = 0.3
"""Distance in A below which two atoms are a mistake, even in a dimer."""
SEARCH_RADIUS = 2.0
"""In A, within which distances are looked at."""
LARGEST_FORCE = 1e4
"""In eV/A; no structure worth training on comes near it."""
Array = npt.NDArray[np.float64]


@dataclass
class Frame:
    """One structure with its labels.

    Attributes
    ----------
    atoms : Atoms
    where : str
        File and number, for messages.
    config_type, snapshot : str
    forces : ndarray (n_atoms, 3)
        eV/A.
    energy, grand_energy : float
        E and Omega = E + Phi n in eV; NaN where unknown.
    electrons, potential : float
        n in e and the absolute Phi in V; NaN where unknown. A frame with neither is one without a
        charged electrode, whose E and Omega agree.
    """

    atoms: Atoms
    where: str
    config_type: str
    snapshot: str
    forces: Array
    energy: float
    grand_energy: float
    electrons: float
    potential: float


def read_frames(config: DataConfig, root: Path | None = None) -> list[Frame]:
    """Read every file, checking that the labels are there and finite.

    Parameters
    ----------
    config : DataConfig
    root : Path, optional
        Folder from which relative names count; the current one otherwise.

    Raises
    ------
    InputError
        If a file is missing or unreadable, or a frame's labels cannot be used.
    """
    frames: list[Frame] = []
    for name in config.files:
        path = Path(name) if root is None else root / name
        if not path.is_file():
            raise InputError(f"files: {path} not found, expected a file that ASE reads")
        try:
            images = ase.io.read(path, ":")
        except Exception as error:  # ASE raises whatever the format's parser raises
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(f"files: {path} cannot be read ({reason})") from error
        for number, atoms in enumerate(images):
            frames.append(label_frame(atoms, config, f"{path} frame {number}", len(frames)))
    if not frames:
        raise InputError("files: found no frames, expected at least one")
    _warn_of_absent_keys(frames, config)
    return frames


def _warn_of_absent_keys(frames: Sequence[Frame], config: DataConfig) -> None:
    """A key that was named on purpose and that no frame has is likely a slip."""
    for option in fields(DataConfig):
        if not option.name.endswith(("_key", "_array")) or option.default is MISSING:
            continue
        key = getattr(config, option.name)
        if key == option.default or any(_has(frame.atoms, key) for frame in frames):
            continue
        LOG.warning("data.%s: found no frame with %r among %d", option.name, key, len(frames))


def _has(atoms: Atoms, key: str) -> bool:
    results = {} if atoms.calc is None else atoms.calc.results
    return key in atoms.info or key in atoms.arrays or key.removeprefix("REF_") in results


def label_frame(atoms: Atoms, config: DataConfig, where: str, number: int = 0) -> Frame:
    """Collect the labels of one structure.

    Parameters
    ----------
    atoms : Atoms
    config : DataConfig
    where : str
        Named in messages.
    number : int
        Names the snapshot of a frame that has no name of its own.

    Raises
    ------
    InputError
        If the forces are missing, or a label is not a usable number.
    """
    if len(atoms) == 0:
        raise InputError(f"{where}: found no atoms, expected a structure")
    if not np.isfinite(atoms.positions).all():
        raise InputError(f"{where}: positions are not finite, expected numbers in A")
    _check_distances(atoms, where)
    kind = str(atoms.info.get(config.type_key, "default"))
    electrons = _number(atoms, config.electrons_key, where)
    potential = _potential(atoms, config, where)
    energy, grand = _energies(atoms, config, where, electrons, potential)
    return Frame(
        atoms=atoms,
        where=where,
        config_type=kind,
        snapshot=_snapshot(atoms, config, kind, number),
        forces=_forces(atoms, config, where),
        energy=energy,
        grand_energy=grand,
        electrons=electrons,
        potential=potential,
    )


def domain_of(config_type: str, config: DataConfig) -> str:
    """Training domain of a config type.

    Raises
    ------
    InputError
        If the table covers neither it nor "*".
    """
    for key in (config_type, "*"):
        if key in config.domains:
            return config.domains[key]
    raise InputError(f"domains: config_type {config_type!r} is not listed, expected it or '*'")


def check_electrode_states(frames: Sequence[Frame], embedding: str) -> None:
    """Check that every frame has what the model's input needs.

    Parameters
    ----------
    frames : sequence of Frame
    embedding : {"electrons", "potential"}

    Raises
    ------
    InputError
        If no frame has a label of the electrode, or one has only the half that is no input.
    """
    wanted, other = "excess electrons", "potential"
    if embedding == "potential":
        wanted, other = other, wanted
    labelled = 0
    for frame in frames:
        known, companion = frame.electrons, frame.potential
        if embedding == "potential":
            known, companion = companion, known
        labelled += np.isfinite(known)
        neutral = embedding == "potential" and frame.electrons == 0.0
        if np.isfinite(companion) and not np.isfinite(known) and not neutral:
            raise InputError(
                f"{frame.where}: found a label of the {other} but none of the {wanted}, expected "
                f"both or neither with the embedding {embedding!r}"
            )
    if not labelled:
        raise InputError(
            f"files: found no frame with a label of the {wanted} among {len(frames)}, expected "
            f"some with the embedding {embedding!r}"
        )


def _check_distances(atoms: Atoms, where: str) -> None:
    # Within a wider radius: a search with cells of 0.3 A takes a second in a slab with vacuum.
    (first, second), shifts = neighbour_list(atoms, SEARCH_RADIUS)
    if len(first) == 0:
        return
    vectors = atoms.positions[second] - atoms.positions[first]
    lengths = np.linalg.norm(vectors + shifts @ np.asarray(atoms.cell.complete().array), axis=1)
    k = int(lengths.argmin())
    if lengths[k] >= NEAREST:
        return
    a, b = sorted((int(first[k]), int(second[k])))
    raise InputError(
        f"{where}: atoms {a} and {b} are {lengths[k]:.3f} A apart, expected {NEAREST} A or more"
    )


def _forces(atoms: Atoms, config: DataConfig, where: str) -> Array:
    found = atoms.arrays.get(config.forces_key)
    if found is None and config.forces_key in ("forces", "REF_forces") and atoms.calc is not None:
        found = atoms.calc.results.get("forces")
    if found is None:
        raise InputError(f"{where}: no array {config.forces_key!r}, expected reference forces")
    forces = np.asarray(found, dtype=np.float64)
    if forces.shape != (len(atoms), 3):
        raise InputError(
            f"{where}: {config.forces_key!r} has shape {forces.shape}, expected {(len(atoms), 3)}"
        )
    if not np.isfinite(forces).all():
        raise InputError(f"{where}: {config.forces_key!r} has values that are not finite")
    largest = np.linalg.norm(forces, axis=1)
    if largest.max() > LARGEST_FORCE:
        raise InputError(
            f"{where}: {config.forces_key!r} is {largest.max():.3g} eV/A on atom "
            f"{largest.argmax()}, expected at most {LARGEST_FORCE:g} eV/A"
        )
    return forces


def _number(atoms: Atoms, key: str, where: str) -> float:
    """A number from ``atoms.info``; NaN if it is absent."""
    value = atoms.info.get(key)
    if value is None and key in ("energy", "REF_energy") and atoms.calc is not None:
        value = atoms.calc.results.get("energy")
    if value is None:
        return float("nan")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{where}: {key!r} is {value!r}, expected a number") from None
    if not np.isfinite(number):
        raise InputError(
            f"{where}: {key!r} is {number}, expected a finite number, or none at all where it is "
            "unknown"
        )
    return number


def _potential(atoms: Atoms, config: DataConfig, where: str) -> float:
    if config.potential_key in atoms.info:
        return _number(atoms, config.potential_key, where)
    if config.fermi_array not in atoms.arrays:
        return float("nan")
    levels = np.asarray(atoms.arrays[config.fermi_array], dtype=np.float64).ravel()
    if not np.isfinite(levels).all() or np.ptp(levels) > 1e-6:
        raise InputError(
            f"{where}: {config.fermi_array!r} runs from {levels.min():g} to {levels.max():g} eV, "
            "expected one Fermi level on all atoms"
        )
    return float(-levels[0])


def _energies(atoms: Atoms, config: DataConfig, where: str, electrons: float, potential: float
              ) -> tuple[float, float]:  # fmt: skip
    energy = _number(atoms, config.energy_key, where)
    if electrons == 0.0 or not (np.isfinite(electrons) or np.isfinite(potential)):
        return energy, energy
    shift = potential * electrons
    if config.energy_kind == "canonical":
        return energy, energy + shift
    return energy - shift, energy


def _snapshot(atoms: Atoms, config: DataConfig, kind: str, number: int) -> str:
    """Name by which a frame is split: frames of one snapshot stay together."""
    source = atoms.info.get("source")
    match = re.search(config.snapshot_pattern, str(source or ""))
    if match and match.group(1):
        return match.group(1)
    if config.geometry_key in atoms.info:
        return f"{kind}/{atoms.info[config.geometry_key]}"
    return f"{kind}/{number if source is None else source}"
