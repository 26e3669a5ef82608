"""Which device a process works on; a GPU is its own until it ends."""

import contextlib
import functools
from typing import Protocol

import torch

from seedbed.runtime.errors import UserError
from seedbed.runtime.gpu_locks import take_device, turn


class Peers(Protocol):
    """The processes of one job, each of which takes a GPU of its own."""

    @property
    def size(self) -> int:
        """How many there are."""

    @property
    def leads(self) -> bool:
        """Whether this is the first of them."""

    def wait(self) -> None:
        """Wait until all have come here."""


def kind_of_device(name: str) -> torch.device:
    """CPU or CUDA for "auto", "cpu" or "cuda"; UserError if CUDA is asked for and absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("run.device: cuda: no CUDA device is visible; set it to auto or cpu")
    return torch.device(name)


def pick_device(name: str, peers: Peers | None = None) -> torch.device:
    """The device to work on for "auto", "cpu" or "cuda"; a GPU is this process's until it ends.

    Waits for a GPU that no other process of this user has picked. `peers` are the
    processes of one job: each gets a GPU of its own, and no other job is served meanwhile.

    Raises:
        UserError: if CUDA is asked for and absent, or has fewer devices than there are peers.

    """
    kind = kind_of_device(name)
    if kind.type == "cpu":
        return kind
    device = torch.device("cuda", _take_gpu(peers))
    torch.cuda.set_device(device)
    return device


@functools.cache
def _take_gpu(peers: Peers | None) -> int:
    names = visible_gpus()
    if peers is None:
        with turn():
            return take_device(names)
    if peers.size > len(names):
        raise UserError(
            f"run.training_processes: {peers.size}, but {len(names)} GPU(s) visible: lower it"
        )
    with turn() if peers.leads else contextlib.nullcontext():
        peers.wait()
        position = take_device(names)
        peers.wait()
    return position


def visible_gpus() -> list[str]:
    """A name of each GPU that CUDA shows this process: the hardware's, whatever its number here."""
    count = torch.cuda.device_count()
    return [str(torch.cuda.get_device_properties(number).uuid) for number in range(count)]
