"""Checkpoints: safetensors weights beside a JSON card, hashed, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Protocol

import torch
from ase import Atoms
from ase.io import read
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from voltase.aseplugin.errors import CheckpointError
from voltase.aseplugin.models.pemace import PEMACEConfig, PEMACEModel

FORMAT = 1
"""Version of the format; a reader refuses a later one."""
KIND = "pe-mace"
"""What the functions below are about unless told another kind of model."""
WEIGHTS = "model.safetensors"
CARD = "model.json"
INTERFACE = "interface.extxyz"
ZOO = Path(__file__).resolve().parent.parent / "zoo"
_PICKLES = (".model", ".pt", ".pth", ".pkl", ".ckpt")


class Saveable(Protocol):
    """A network that can be written: weights, and a configuration to build it from."""

    config: Any

    def state_dict(self) -> dict[str, Any]:
        """Weights and buffers by name."""


def zoo_models(kind: str = KIND) -> list[str]:
    """Names of the bundled models of a kind."""
    cards = sorted(ZOO.glob(f"*/{CARD}"))
    return [p.parent.name for p in cards if json.loads(p.read_text()).get("kind") == kind]


def resolve_checkpoint(name: str | Path, kind: str = KIND) -> Path:
    """Folder of a bundled model or of a checkpoint on disk.

    Parameters
    ----------
    name : str or Path
        A name in the zoo, a checkpoint folder, or a file in one.
    kind : str
        Of the bundled models that an error lists.

    Raises
    ------
    CheckpointError
        If there is none, or it is a pickle.
    """
    if not isinstance(name, str | os.PathLike):
        raise CheckpointError(
            f"model: found a {type(name).__name__}, expected a bundled model or a folder"
        )
    path = Path(name)
    if path.suffix in _PICKLES and not path.is_dir():
        raise CheckpointError(
            f"model: {path} is a pickle, which can run code when it is loaded; expected a "
            f"checkpoint folder with {CARD} and {WEIGHTS}"
        )
    if path.is_file():
        path = path.parent
    if (path / CARD).is_file():
        return path
    bundled = ZOO / str(name)
    if path.name == str(name) and (bundled / CARD).is_file():
        return bundled
    raise CheckpointError(
        f"model: {name} is neither a checkpoint folder nor a bundled model, expected one of "
        f"{', '.join(zoo_models(kind)) or 'no bundled models'} or a folder with {CARD}"
    )


def read_interface(name: str | Path = "pt111-water") -> Atoms:
    """The interface that comes with a model: equilibrated, with its lowest layers fixed.

    Parameters
    ----------
    name : str or Path
        As for `resolve_checkpoint`.

    Raises
    ------
    CheckpointError
        If there is no such model, or it comes without a structure.
    """
    path = resolve_checkpoint(name) / INTERFACE
    if not path.is_file():
        raise CheckpointError(f"model: {name} comes without {INTERFACE}, expected a structure")
    found = read(path)
    assert isinstance(found, Atoms)
    found.calc = None
    return found


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def save_checkpoint(folder: Path, model: Saveable, card: dict[str, Any], kind: str = KIND) -> Path:
    """Write a checkpoint folder.

    Parameters
    ----------
    folder : Path
    model : Saveable
    card : dict
        What a user must know: training ranges (``potential_range`` in V absolute,
        ``electrons_per_area_range`` in e/A^2), data source and DOI, licence, errors.
    kind : str

    Returns
    -------
    Path
        The folder.
    """
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    weights = save(state)
    # The caller's card may come from another checkpoint: what describes this one has the last word.
    record = {
        **card,
        "format": FORMAT,
        "kind": kind,
        "units": {"energy": "eV", "length": "A", "potential": "V absolute", "charge": "e"},
        "config": model.config.as_dict(),
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    text = json.dumps(record, indent=2) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    partial, card_partial = folder / (WEIGHTS + ".partial"), folder / (CARD + ".partial")
    partial.write_bytes(weights)
    card_partial.write_text(text)
    os.replace(partial, folder / WEIGHTS)
    os.replace(card_partial, folder / CARD)
    return folder


def read_card(folder: Path, kind: str = KIND) -> dict[str, Any]:
    """The JSON card of a checkpoint of a kind.

    Raises
    ------
    CheckpointError
        If it is missing, not JSON, of another kind or of a later format.
    """
    path = folder / CARD
    try:
        card = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"model: {path} cannot be read ({error})") from error
    if not isinstance(card, dict) or card.get("kind") != kind:
        found = card.get("kind") if isinstance(card, dict) else type(card).__name__
        raise CheckpointError(f"model: {path} is of kind {found!r}, expected {kind!r}")
    if not isinstance(card.get("format"), int) or card["format"] > FORMAT:
        raise CheckpointError(
            f"model: {path} has format {card.get('format')!r}, expected {FORMAT} or earlier"
        )
    _check_ranges(path, card)
    return card


def _check_ranges(path: Path, card: dict[str, Any]) -> None:
    """The ranges are what runs are stopped by: they must be there whole, or not at all."""
    data = card.get("data", {})
    by_domain = data.get("ranges", {}) if isinstance(data, dict) else None
    if not isinstance(by_domain, dict) or not all(isinstance(v, dict) for v in by_domain.values()):
        raise CheckpointError(f"model: {path} has data {data!r:.60}, expected entries with ranges")
    found = [card.get("potential_range"), card.get("electrons_per_area_range")]
    found += [limits for ranges in by_domain.values() for limits in ranges.values()]
    for limits in found:
        if limits is None:
            continue
        numbers = isinstance(limits, list) and all(isinstance(x, int | float) for x in limits)
        if not (numbers and len(limits) == 2 and limits[0] <= limits[1]):
            raise CheckpointError(f"model: {path} has a range {limits!r:.60}, expected two numbers")


def checked_weights(folder: Path, card: dict[str, Any]) -> Path:
    """The weights of a checkpoint, if they are those of its card.

    Raises
    ------
    CheckpointError
        If they are missing or have another hash.
    """
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"model: {weights} not found, expected the weights beside {CARD}")
    found = file_hash(weights)
    if found != card.get("sha256"):
        raise CheckpointError(
            f"model: {weights} has sha256 {found[:12]}, expected {str(card.get('sha256'))[:12]} "
            "as in its card; the file is damaged or belongs to another card"
        )
    return weights


def load_checkpoint(name: str | Path) -> tuple[PEMACEModel, dict[str, Any]]:
    """Load a model and its card; nothing is unpickled.

    Parameters
    ----------
    name : str or Path
        See `resolve_checkpoint`.

    Raises
    ------
    CheckpointError
        If the checkpoint is missing, damaged, or its hash is not the card's.
    """
    folder = resolve_checkpoint(name)
    card = read_card(folder)
    weights = checked_weights(folder, card)
    try:
        model = PEMACEModel(PEMACEConfig.from_dict(card["config"]))
        state = load_file(weights)
        if any(v.dtype == torch.float64 for k, v in state.items() if k != "atomic_energies"):
            model = model.double()
        model.load_state_dict(state)
    # A card that is wrong in any way fails somewhere in these lines, also inside e3nn.
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError,
            RuntimeError, SafetensorError) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"model: {folder} does not describe a model ({reason})") from error
    return model.eval(), card
