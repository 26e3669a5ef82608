"""Which device a process computes on; a GPU belongs to one process at a time."""

import contextlib
import functools
from typing import Protocol

import torch

from seedbed.runtime.errors import UserError
from seedbed.runtime.gpu_locks import lock_device, selection_lock

# The elementwise functions that networks and losses use, of those that PyTorch takes from MKL.
VECTOR_FUNCTIONS = (torch.exp, torch.log, torch.tanh, torch.erf, torch.sqrt, torch.sin, torch.cos)


class Peers(Protocol):
    """The processes of one job, each of which gets a GPU of its own."""

    @property
    def size(self) -> int:
        """Number of processes."""

    @property
    def is_main(self) -> bool:
        """Whether this is the first of them."""

    def barrier(self) -> None:
        """Wait until all processes have called this."""


def kind_of_device(name: str) -> torch.device:
    """CPU or CUDA for "auto", "cpu" or "cuda"; UserError if CUDA is asked for and absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("run.device: cuda: no CUDA device is visible; set it to auto or cpu")
    return torch.device(name)


def pick_device(name: str, peers: Peers | None = None) -> torch.device:
    """The device for "auto", "cpu" or "cuda"; a GPU is locked until this process ends.

    Waits for a GPU that no other process of this user has locked. `peers` are the processes of one
    job: each gets a GPU of its own, and other jobs wait until all have one.

    Raises:
        UserError: if CUDA is asked for and absent, or there are more peers than GPUs.

    """
    kind = kind_of_device(name)
    initialise_vector_math()
    if kind.type == "cpu":
        return kind
    device = torch.device("cuda", _lock_gpu(peers))
    torch.cuda.set_device(device)
    return device


@functools.cache
def initialise_vector_math() -> None:
    """Call the vectorised functions of MKL once, before several threads do.

    PyTorch computes exp, log or tanh of CPU tensors with MKL, which looks up the CPU's version of a
    function at its first call. If two threads make this call at the same time, one of them now and
    then gets a version of lower accuracy (tanh was off by 4e-5 in half of a tensor, in a quarter of
    the processes), and the same training ends with other bytes.
    """
    for dtype in (torch.float32, torch.float64):
        one = torch.ones(1, dtype=dtype)  # too few elements for a second thread
        for function in VECTOR_FUNCTIONS:
            function(one)


@functools.cache
def _lock_gpu(peers: Peers | None) -> int:
    names = visible_gpus()
    if peers is None:
        with selection_lock():
            return lock_device(names)
    if peers.size > len(names):
        raise UserError(
            f"run.training_processes: {peers.size}, but {len(names)} GPU(s) visible: lower it"
        )
    with selection_lock() if peers.is_main else contextlib.nullcontext():
        peers.barrier()
        position = lock_device(names)
        peers.barrier()
    return position


def visible_gpus() -> list[str]:
    """UUIDs of the GPUs that CUDA shows this process: they identify the hardware."""
    count = torch.cuda.device_count()
    return [str(torch.cuda.get_device_properties(number).uuid) for number in range(count)]
