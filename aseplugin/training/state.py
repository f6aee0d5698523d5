"""State of an unfinished training on disk: weights, their average and the optimiser's moments."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from voltase.aseplugin.errors import CheckpointError

STATE = "state.safetensors"
METRICS = "metrics.jsonl"


def write_state(folder: Path, parameters: Sequence[Tensor], averages: Sequence[Tensor],
                optimizer: torch.optim.Optimizer, meta: dict[str, Any]) -> None:  # fmt: skip
    """Write a state whole or not at all.

    Parameters
    ----------
    folder : Path
    parameters, averages : sequence of Tensor
    optimizer : torch.optim.Optimizer
        Of these parameters.
    meta : dict
        Plain values.
    """
    tensors: dict[str, Tensor] = {}
    for i, (parameter, average) in enumerate(zip(parameters, averages, strict=True)):
        tensors[f"parameter.{i}"] = parameter.detach().cpu().clone()
        tensors[f"average.{i}"] = average.detach().cpu().clone()
        for name, value in optimizer.state[parameter].items():
            tensors[f"adam.{i}.{name}"] = torch.as_tensor(value).detach().cpu().clone()
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (STATE + ".partial")
    save_file(tensors, partial, metadata={"state": json.dumps(meta)})
    os.replace(partial, folder / STATE)


def read_meta(folder: Path) -> dict[str, Any] | None:
    """What `write_state` was given beside the tensors; None if there is no state.

    Raises
    ------
    CheckpointError
        If the file is not a state.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as handle:
            meta = json.loads((handle.metadata() or {})["state"])
        if not isinstance(meta, dict):
            raise TypeError(f"metadata of type {type(meta).__name__}")
    except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path} is not the state of a training ({reason})") from error
    return meta


def read_tensors(folder: Path, parameters: Sequence[Tensor], averages: Sequence[Tensor],
                 optimizer: torch.optim.Optimizer) -> None:  # fmt: skip
    """Load the tensors of a state in place.

    Raises
    ------
    CheckpointError
        If they belong to another model; nothing is changed then.
    """
    path = folder / STATE
    tensors = load_file(path)
    for i, parameter in enumerate(parameters):
        for name in ("parameter", "average"):
            saved = tensors.get(f"{name}.{i}")
            if saved is None or saved.shape != parameter.shape:
                found = "nothing" if saved is None else f"shape {tuple(saved.shape)}"
                raise CheckpointError(
                    f"{path}: {name} {i} has {found}, expected shape {tuple(parameter.shape)} as "
                    "in this model"
                )
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, index, *rest = key.split(".", 2)
        if kind == "adam":
            moments.setdefault(int(index), {})[rest[0]] = value
    with torch.no_grad():
        for i, (parameter, average) in enumerate(zip(parameters, averages, strict=True)):
            parameter.copy_(tensors[f"parameter.{i}"])
            average.copy_(tensors[f"average.{i}"])
            optimizer.state[parameter] = {
                # Adam counts its steps on the CPU wherever the parameter is.
                name: value if name == "step" else value.to(parameter.device)
                for name, value in moments.get(i, {}).items()
            }


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Records of the finished epochs; empty if there are none."""
    path = folder / METRICS
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def write_metrics(folder: Path, record: dict[str, Any]) -> None:
    """Add the record of an epoch, dropping what an earlier run left of it and of later ones."""
    kept = [r for r in read_metrics(folder) if r["epoch"] < record["epoch"]]
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (METRICS + ".partial")
    partial.write_text("".join(json.dumps(r) + "\n" for r in [*kept, record]))
    os.replace(partial, folder / METRICS)


def forget(folder: Path) -> None:
    """Remove the state and the records of an earlier training."""
    for name in (STATE, METRICS):
        (folder / name).unlink(missing_ok=True)
