"""Training data: frames grouped by geometry, so that equal geometries at several charges pair up."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms
from torch import Tensor

from ..errors import InputError
from ..models.graph import Graph, collate
from ..models.pemace import PEMACEConfig
from ..structures import build_graph

LOG = logging.getLogger(__name__)
FEWEST_TEST = 4
"""Snapshots of each config type that are held out at least (unless that is over a sixth)."""
Array = npt.NDArray[np.float64]


@dataclass
class DataConfig:
    """Where the frames are and what their keys mean.

    Attributes
    ----------
    files : list of str
        Anything ASE reads, extxyz as a rule.
    domains : dict
        Training domain of each ``config_type``; "*" stands for all others.
    energy_key, forces_key, electrons_key, potential_key, type_key : str
        Keys in ``atoms.info`` (``atoms.arrays`` for the forces). A key that no frame has is an
        absent quantity. The potential is absolute, in V.
    fermi_array : str
        Per-atom array that repeats the Fermi level in eV (the format of the PE_MACE authors);
        the potential is minus its value.
    geometry_key : str
        Info key that names the geometry.
    snapshot_pattern : str
        Regular expression applied to ``atoms.info["source"]``; what its first group matches names
        the snapshot by which frames are split. Falls back to the geometry.
    energy_types : list of str
        Config types whose energies are used ("*": all).
    weights : dict
        Repetitions of a config type's frames per epoch, 1 if absent.
    test_fraction, valid_fraction : float
        Shares of the snapshots of each config type that are held out.
    seed : int
        Of the split.
    """

    files: list[str] = field(default_factory=list)
    domains: dict[str, str] = field(default_factory=lambda: {"*": "default"})
    energy_key: str = "REF_energy"
    forces_key: str = "REF_forces"
    electrons_key: str = "excess_electrons"
    potential_key: str = "electrode_potential"
    type_key: str = "config_type"
    fermi_array: str = "field_scalar"
    geometry_key: str = "geometry"
    snapshot_pattern: str = r"(\d{6}\.\d{3})"
    energy_types: list[str] = field(default_factory=lambda: ["*"])
    weights: dict[str, int] = field(default_factory=dict)
    test_fraction: float = 0.10
    valid_fraction: float = 0.05
    seed: int = 0


@dataclass
class Sample:
    """One geometry with its labels at one or more electron numbers.

    Attributes
    ----------
    graph : Graph
    config_type, domain, snapshot : str
    electrons, potential : Tensor (n_labels,)
        NaN where the label has none.
    energy : Tensor (n_labels,)
        Canonical, float64, NaN where there is none.
    forces : Tensor (n_labels, n_atoms, 3)
    """

    graph: Graph
    config_type: str
    domain: str
    snapshot: str
    electrons: Tensor
    potential: Tensor
    energy: Tensor
    forces: Tensor


@dataclass
class Split:
    """Samples by their use."""

    train: list[Sample]
    valid: list[Sample]
    test: list[Sample]


def read_frames(config: DataConfig, root: Path | None = None) -> list[Atoms]:
    """Read every file, checking that the labels are there and finite.

    Raises
    ------
    InputError
        If a file is missing, unreadable, or a frame lacks forces.
    """
    frames: list[Atoms] = []
    for name in config.files:
        path = Path(name) if root is None else root / name
        if not path.is_file():
            raise InputError(f"files: {path} not found, expected a file that ASE reads")
        try:
            read = ase.io.read(path, ":")
        except Exception as error:  # ASE raises whatever the format's parser raises
            raise InputError(f"files: {path} cannot be read ({error})") from error
        for number, atoms in enumerate(read):
            _check(atoms, config, f"{path} frame {number}")
            frames.append(atoms)
    if not frames:
        raise InputError("files: found no frames, expected at least one")
    return frames


def _check(atoms: Atoms, config: DataConfig, where: str) -> None:
    forces = _forces(atoms, config)
    if forces is None:
        raise InputError(f"{where}: no array {config.forces_key!r}, expected reference forces")
    if not np.isfinite(forces).all():
        raise InputError(f"{where}: {config.forces_key!r} has values that are not finite")


def _forces(atoms: Atoms, config: DataConfig) -> Array | None:
    if config.forces_key in atoms.arrays:
        return np.asarray(atoms.arrays[config.forces_key], dtype=np.float64)
    if config.forces_key in ("forces", "REF_forces") and atoms.calc is not None:
        found = atoms.calc.results.get("forces")
        return None if found is None else np.asarray(found, dtype=np.float64)
    return None


def _label(atoms: Atoms, key: str) -> float:
    value = atoms.info.get(key)
    if value is None and key in ("energy", "REF_energy") and atoms.calc is not None:
        value = atoms.calc.results.get("energy")
    return float("nan") if value is None else float(value)


def potential_of(atoms: Atoms, config: DataConfig) -> float:
    """Absolute potential in V of a frame, NaN if it has none.

    Raises
    ------
    InputError
        If the per-atom Fermi level differs between atoms.
    """
    if config.potential_key in atoms.info:
        return float(atoms.info[config.potential_key])
    if config.fermi_array in atoms.arrays:
        levels = np.asarray(atoms.arrays[config.fermi_array], dtype=np.float64)
        if np.ptp(levels) > 1e-6:
            raise InputError(
                f"{config.fermi_array}: found {levels.min():g} to {levels.max():g} eV in one "
                "frame, expected one Fermi level"
            )
        return float(-levels.flat[0])
    return float("nan")


def snapshot_of(atoms: Atoms, config: DataConfig, number: int) -> str:
    """Name by which a frame is split: frames of one snapshot stay together."""
    match = re.search(config.snapshot_pattern, str(atoms.info.get("source", "")))
    if match:
        return match.group(1)
    kind = atoms.info.get(config.type_key, "default")
    if config.geometry_key in atoms.info:
        return f"{kind}/{atoms.info[config.geometry_key]}"
    return f"{kind}/{atoms.info.get('source', number)}"


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


def group_samples(frames: Iterable[Atoms], data: DataConfig, model: PEMACEConfig) -> list[Sample]:
    """Group frames of one geometry, dropping labels that repeat."""
    groups: dict[tuple[Any, ...], list[Atoms]] = defaultdict(list)
    snapshots: dict[tuple[Any, ...], str] = {}
    for number, atoms in enumerate(frames):
        kind = str(atoms.info.get(data.type_key, "default"))
        key = (kind, atoms.numbers.tobytes(), np.round(atoms.positions, 3).tobytes(),
               np.round(atoms.cell.array, 4).tobytes())  # fmt: skip
        groups[key].append(atoms)
        snapshots.setdefault(key, snapshot_of(atoms, data, number))
    return [_sample(members, key[0], snapshots[key], data, model)
            for key, members in groups.items()]  # fmt: skip


def _sample(members: list[Atoms], kind: str, snapshot: str, data: DataConfig,
            model: PEMACEConfig) -> Sample:  # fmt: skip
    unique: dict[tuple[float, float], Atoms] = {}
    for atoms in members:
        state = (_label(atoms, data.electrons_key), potential_of(atoms, data))
        unique.setdefault((round(state[0], 4), round(state[1], 3)), atoms)
    labels = sorted(unique.values(), key=lambda a: _label(a, data.electrons_key))
    domain = domain_of(kind, data)
    graph = build_graph(labels[0], model, model.domains.index(domain))
    used = kind in data.energy_types or "*" in data.energy_types
    forces = np.stack([f for f in (_forces(a, data) for a in labels) if f is not None])
    energies = [_label(a, data.energy_key) if used else float("nan") for a in labels]
    return Sample(
        graph=graph.to("cpu", torch.float32).with_layout(),
        config_type=kind,
        domain=domain,
        snapshot=snapshot,
        electrons=torch.tensor([_label(a, data.electrons_key) for a in labels]).float(),
        potential=torch.tensor([potential_of(a, data) for a in labels]).float(),
        energy=torch.tensor(energies, dtype=torch.float64),
        forces=torch.from_numpy(forces).float(),
    )


def split_samples(samples: list[Sample], config: DataConfig) -> Split:
    """Hold out whole snapshots, the same share of each config type.

    A snapshot that occurs in several config types is held out of all of them.
    """
    rng = np.random.default_rng(config.seed)
    by_type: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        by_type[sample.config_type].append(sample.snapshot)
    assigned: dict[str, str] = {}
    for kind in sorted(by_type, key=lambda k: (-len(by_type[k]), k)):
        names = sorted(set(by_type[kind]))
        rng.shuffle(names)
        for use, share in (("test", config.test_fraction), ("valid", config.valid_fraction)):
            wanted = round(share * len(names))
            if use == "test" and share > 0:
                wanted = max(wanted, min(FEWEST_TEST, len(names) // 6))
            have = sum(assigned.get(name) == use for name in names)
            for name in names:
                if have >= wanted:
                    break
                if name not in assigned:
                    assigned[name] = use
                    have += 1
        for name in names:
            assigned.setdefault(name, "train")
    parts: dict[str, list[Sample]] = {"train": [], "valid": [], "test": []}
    for sample in samples:
        parts[assigned[sample.snapshot]].append(sample)
    LOG.info("split: %s", {use: len(part) for use, part in parts.items()})
    return Split(**parts)


@dataclass
class Batch:
    """Several samples as one graph, with the labels chosen for this step.

    Attributes
    ----------
    graph : Graph
    electrons, potential, energy : list of two Tensor (n_graphs,)
        For the first and the second label of each geometry.
    forces : list of two Tensor (n_atoms, 3)
    paired : Tensor (n_graphs,)
        Whether the two labels differ.
    config_types : list of str
    """

    graph: Graph
    electrons: list[Tensor]
    potential: list[Tensor]
    energy: list[Tensor]
    forces: list[Tensor]
    paired: Tensor
    config_types: list[str]


def make_batch(samples: list[Sample], choices: list[tuple[int, int]]) -> Batch:
    """Join samples, taking labels ``choices[i]`` of sample ``i``."""
    graph = samples[0].graph if len(samples) == 1 else collate([s.graph for s in samples])
    pick = [[c[k] for c in choices] for k in (0, 1)]

    def labels(name: str) -> list[Tensor]:
        return [torch.stack([getattr(s, name)[i] for s, i in zip(samples, p, strict=True)])
                for p in pick]  # fmt: skip

    return Batch(
        graph=graph,
        electrons=labels("electrons"),
        potential=labels("potential"),
        energy=labels("energy"),
        forces=[torch.cat([s.forces[i] for s, i in zip(samples, p, strict=True)]) for p in pick],
        paired=torch.tensor([a != b for a, b in choices]),
        config_types=[s.config_type for s in samples],
    )


def fit_atomic_energies(frames: Iterable[Atoms], data: DataConfig, model: PEMACEConfig
                        ) -> list[list[float]]:  # fmt: skip
    """Least-squares energy of each element in each domain, eV (n_domains, n_elements)."""
    rows: dict[str, list[tuple[list[int], float]]] = defaultdict(list)
    for atoms in frames:
        kind = str(atoms.info.get(data.type_key, "default"))
        energy = _label(atoms, data.energy_key)
        if np.isfinite(energy) and (kind in data.energy_types or "*" in data.energy_types):
            symbols = atoms.get_chemical_symbols()
            rows[domain_of(kind, data)].append(([symbols.count(s) for s in model.symbols], energy))
    table = []
    for domain in model.domains:
        if not rows[domain]:
            table.append([0.0] * len(model.symbols))
            continue
        counts = np.array([r[0] for r in rows[domain]], dtype=np.float64)
        energies = np.array([r[1] for r in rows[domain]])
        table.append(np.linalg.lstsq(counts, energies, rcond=None)[0].tolist())
    return table
