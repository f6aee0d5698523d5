"""Samples: frames grouped by geometry, so that equal geometries at several charges pair up."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.graph import Graph
from voltase.aseplugin.models.pemace import PEMACEConfig
from voltase.aseplugin.structures import build_graph
from voltase.aseplugin.training.config import DataConfig
from voltase.aseplugin.training.frames import Frame, domain_of

LOG = logging.getLogger(__name__)
FEWEST_TEST = 4
"""Snapshots of each config type that are held out at least (unless that is over a sixth)."""
SAME_ELECTRONS = 1e-4
"""Difference in e below which two labels of a geometry are one."""
SAME_POTENTIAL = 1e-3
"""Difference in V below which two labels without an electron number are one."""
_Key = tuple[bytes, bytes, bytes]


@dataclass
class Sample:
    """One geometry with its labels at one or more electron numbers.

    Attributes
    ----------
    graph : Graph
    config_type, domain, snapshot : str
    electrons, potential : Tensor (n_labels,)
        NaN where the label has none.
    energy, grand_energy : Tensor (n_labels,)
        E and Omega in eV, float64, NaN where unknown.
    forces : Tensor (n_labels, n_atoms, 3)
    """

    graph: Graph
    config_type: str
    domain: str
    snapshot: str
    electrons: Tensor
    potential: Tensor
    energy: Tensor
    grand_energy: Tensor
    forces: Tensor


@dataclass
class Split:
    """Samples by their use."""

    train: list[Sample]
    valid: list[Sample]
    test: list[Sample]


@dataclass(frozen=True)
class EarlierSplit:
    """What the training of a checkpoint held out; a training that starts from it holds out too.

    Attributes
    ----------
    config_types : frozenset of str
        Those that were trained on.
    test, valid : frozenset of str
        Snapshots.
    """

    config_types: frozenset[str]
    test: frozenset[str]
    valid: frozenset[str]

    @classmethod
    def of_card(cls, card: dict[str, Any]) -> EarlierSplit | None:
        """From a checkpoint's card; None if that says nothing of a split."""
        data = card.get("data", {})
        split = data.get("split")
        if split is None:
            return None
        held_out = (frozenset(split.get(f"{use}_snapshots", ())) for use in ("test", "valid"))
        return cls(frozenset(data.get("frames", ())), *held_out)

    def use_of(self, snapshot: str) -> str:
        """Whether a snapshot is for "train", "valid" or "test"; "train" if it is new."""
        if snapshot in self.test:
            return "test"
        return "valid" if snapshot in self.valid else "train"


def group_samples(frames: Iterable[Frame], data: DataConfig, model: PEMACEConfig) -> list[Sample]:
    """Group the frames of one geometry and config type, dropping labels that repeat.

    Frames of one geometry get one snapshot name, and so do all frames whose names are linked by
    such a geometry: no two of them can end up in different splits.

    Raises
    ------
    InputError
        If an element or domain is unknown to the model.
    """
    return [_sample(labels, snapshot, data, model) for snapshot, labels in group_frames(frames)]


def group_frames(frames: Iterable[Frame]) -> list[tuple[str, list[Frame]]]:
    """Snapshot and distinct labels of each geometry and config type, as in `group_samples`."""
    groups: dict[tuple[str, bool, _Key], list[Frame]] = defaultdict(list)
    names = _Linked()
    first_name: dict[_Key, str] = {}
    for frame in frames:
        key = _geometry_key(frame)
        labelled = bool(np.isfinite(frame.electrons) or np.isfinite(frame.potential))
        groups[frame.config_type, labelled, key].append(frame)
        names.link(frame.snapshot, first_name.setdefault(key, frame.snapshot))
    return [(names.root(members[0].snapshot), _distinct(members)) for members in groups.values()]


def split_samples(
    samples: Sequence[Sample], config: DataConfig, earlier: EarlierSplit | None = None
) -> Split:
    """Hold out whole snapshots, the same share of each config type.

    A snapshot that occurs in several config types is held out of all of them. Config types of an
    earlier split keep it.

    Raises
    ------
    InputError
        If nothing is left to train on.
    """
    rng = np.random.default_rng(config.seed)
    by_type: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        by_type[sample.config_type].append(sample.snapshot)
    assigned: dict[str, str] = {}
    for kind in by_type:
        if earlier is not None and kind in earlier.config_types:
            assigned |= {name: earlier.use_of(name) for name in by_type[kind]}
    for kind in sorted(by_type, key=lambda k: (-len(by_type[k]), k)):
        names = sorted(set(by_type[kind]))
        rng.shuffle(names)
        for use, wanted in _held_out(len(names), config).items():
            have = sum(assigned.get(name) == use for name in names)
            free = [name for name in names if name not in assigned]
            assigned.update(dict.fromkeys(free[: max(wanted - have, 0)], use))
        for name in names:
            assigned.setdefault(name, "train")
        if config.test_fraction > 0 and "test" not in {assigned[name] for name in names}:
            LOG.warning("split: config type %r has %d snapshots, none is held out for the test",
                        kind, len(names))  # fmt: skip
    parts: dict[str, list[Sample]] = {"train": [], "valid": [], "test": []}
    for sample in samples:
        parts[assigned[sample.snapshot]].append(sample)
    if not parts["train"]:
        raise InputError(f"files: found {len(samples)} geometries, expected some left to train on")
    LOG.info("split: %s", ", ".join(f"{len(part)} {use}" for use, part in parts.items()))
    return Split(**parts)


class _Linked:
    """Names joined into groups, each with the name that came first as its root."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        """Root of a name's group."""
        parent = self._parent.setdefault(name, name)
        if parent != name:
            parent = self._parent[name] = self.root(parent)
        return parent

    def link(self, name: str, other: str) -> None:
        """Put two names into one group."""
        root, other_root = self.root(name), self.root(other)
        self._parent[root] = other_root


def _geometry_key(frame: Frame) -> _Key:
    atoms = frame.atoms
    # Adding zero turns -0.0, which has other bytes, into 0.0.
    positions = np.round(atoms.positions, 3) + 0.0
    cell = np.round(atoms.cell.array, 3) + 0.0
    return atoms.numbers.tobytes(), positions.tobytes(), cell.tobytes()


def _sample(labels: list[Frame], snapshot: str, data: DataConfig, model: PEMACEConfig) -> Sample:
    kind = labels[0].config_type
    domain = domain_of(kind, data)
    if domain not in model.domains:
        raise InputError(
            f"domains: found {domain!r} for config_type {kind!r}, expected one of the model's "
            f"domains {', '.join(model.domains)}"
        )
    try:
        graph = build_graph(labels[0].atoms, model, model.domains.index(domain))
    except InputError as error:
        raise InputError(f"{labels[0].where}: {error}") from error
    used = kind in data.energy_types or "*" in data.energy_types

    def energies(values: list[float]) -> Tensor:
        return torch.tensor([v if used else float("nan") for v in values], dtype=torch.float64)

    return Sample(
        graph=graph.to("cpu", torch.float32).with_layout(),
        config_type=kind,
        domain=domain,
        snapshot=snapshot,
        electrons=torch.tensor([frame.electrons for frame in labels]).float(),
        potential=torch.tensor([frame.potential for frame in labels]).float(),
        energy=energies([frame.energy for frame in labels]),
        grand_energy=energies([frame.grand_energy for frame in labels]),
        forces=torch.from_numpy(np.stack([frame.forces for frame in labels])).float(),
    )


def _distinct(members: list[Frame]) -> list[Frame]:
    """Labels in ascending order of n, each state of the electrode once."""
    if np.isnan(members[0].electrons) and np.isnan(members[0].potential):
        return members[:1]
    # The more electrons, the lower the potential. Python's sort keeps the file's order of equals.
    counted = sorted((f for f in members if not np.isnan(f.electrons)), key=lambda f: f.electrons)
    others = sorted((f for f in members if np.isnan(f.electrons)), key=lambda f: -f.potential)
    kept: list[Frame] = []
    for frame in counted or others:
        last = kept[-1] if kept else None
        if last is not None and counted and frame.electrons - last.electrons < SAME_ELECTRONS:
            continue
        if last is not None and not counted and last.potential - frame.potential < SAME_POTENTIAL:
            continue
        kept.append(frame)
    return kept


def _held_out(count: int, config: DataConfig) -> dict[str, int]:
    """How many of a config type's snapshots are held out for the test and for validation."""
    test = round(config.test_fraction * count)
    if config.test_fraction > 0:
        test = max(test, min(FEWEST_TEST, count // 6))
    return {"test": test, "valid": round(config.valid_fraction * count)}
