"""Processes that train together, as torch's launcher (``torchrun``) starts them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from voltase.aseplugin.errors import InputError


def launched_world() -> int:
    """Number of processes that the launcher started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def resolve_device(device: str) -> str:
    """Device of this process: under the launcher, "cuda" becomes the GPU of its local rank.

    Raises
    ------
    InputError
        If the device is unknown or absent.
    """
    if device != "cpu" and not device.startswith("cuda"):
        raise InputError(f"device: found {device!r}, expected 'cpu', 'cuda' or 'cuda:N'")
    if device == "cpu":
        return device
    if not torch.cuda.is_available():
        raise InputError(f"device: found {device!r} but no usable GPU, expected 'cpu'")
    number = device.partition(":")[2] or os.environ.get("LOCAL_RANK", "0")
    if not number.isdigit() or int(number) >= torch.cuda.device_count():
        raise InputError(
            f"device: found {device!r}, expected a GPU from 0 to {torch.cuda.device_count() - 1}"
        )
    return f"cuda:{number}"


class ProcessGroup:
    """The processes of one training run; a group of one outside the launcher.

    Parameters
    ----------
    device : str
        As `resolve_device` returns it.

    Attributes
    ----------
    rank, world : int
    """

    def __init__(self, device: str) -> None:
        self.rank, self.world = 0, 1
        if launched_world() == 1:
            return
        if not dist.is_initialized():
            if device != "cpu":
                torch.cuda.set_device(device)
            dist.init_process_group("gloo" if device == "cpu" else "nccl")
        self.rank, self.world = dist.get_rank(), dist.get_world_size()

    def share_first(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors with those of the first process."""
        if self.world > 1:
            for tensor in tensors:
                if tensor.numel():
                    dist.broadcast(tensor, 0)

    def sum(self, flat: Tensor) -> Tensor:
        """Sum over the processes, in place."""
        if self.world > 1:
            dist.all_reduce(flat)
        return flat

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, in the order of their ranks."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            dist.barrier()


def leave_process_group() -> None:
    """Take this process out of its group, if it is in one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
