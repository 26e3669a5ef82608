"""Data-parallel training: the processes that share each batch, and what they exchange."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Item = TypeVar("Item")

# Longer than any wait for a free GPU. A process that died is noticed by torchrun, not by a timeout.
TIMEOUT = timedelta(days=30)
LOST_PEER = 75  # exit status of a process that ends only because another one has ended


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one training, as seen by the process of the given rank.

    All methods but `shard` are collective: every process must call them, in the same order. With
    one process they exchange nothing and change nothing.
    """

    rank: int
    size: int

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files and messages."""
        return self.rank == 0

    def shard(self, batches: Iterator[Sequence[Item]]) -> Iterator[Sequence[Item]]:
        """Yield this process's contiguous part of each batch; `size` must divide the batch."""
        for batch in batches:
            count = len(batch) // self.size
            yield batch[self.rank * count : (self.rank + 1) * count]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each floating-point tensor, in place, by its mean over the processes.

        Tensors of one dtype are exchanged as one: a network has hundreds, and each exchange has to
        wait for the other processes.
        """
        if self.size == 1:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            same = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.flatten() for tensor in same])
            dist.all_reduce(flat)
            flat /= self.size
            for tensor, mean in zip(same, flat.split([t.numel() for t in same]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def any(self, value: bool) -> bool:
        """Whether `value` is true in at least one of the processes."""
        if self.size == 1:
            return value
        flag = torch.tensor(int(value))  # on the CPU, so that nothing waits for the GPU
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def barrier(self) -> None:
        """Wait until all processes have called this."""
        self.any(False)

    def gather(self, items: list[Any]) -> list[Any]:
        """Concatenate the lists of all processes, by rank; tensors in them should be on the CPU."""
        if self.size == 1:
            return items
        lists: list[list[Any]] = [[] for _ in range(self.size)]
        dist.all_gather_object(lists, items)
        return [item for each in lists for item in each]


SINGLE_PROCESS = ProcessGroup(rank=0, size=1)


@contextmanager
def launched_process_group() -> Iterator[ProcessGroup]:
    """The process group in which torchrun launched this process, or a single process.

    The process exits with status LOST_PEER when another one of the group has ended.
    """
    if not dist.is_torchelastic_launched():
        yield SINGLE_PROCESS
        return
    if os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"]:
        # All on one machine: do not depend on how its host name is resolved.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backends, timeout=TIMEOUT)
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size())
    except RuntimeError as error:
        if "/gloo/" not in str(error):  # gloo has no exception class for a closed connection
            raise
        raise SystemExit(LOST_PEER) from None
    dist.destroy_process_group()  # not after an error: it would wait for the other processes
