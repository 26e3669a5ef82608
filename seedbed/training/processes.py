"""One training in several processes, each on a device of its own: what they tell each other."""

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

# Longer than any wait for a free GPU; torchrun, not a timeout, notices a process that died.
PATIENCE = timedelta(days=30)
LOST = 75  # exit status of a process that another one has left: it has nothing to say itself


@dataclass(frozen=True)
class Team:
    """The processes of one training. The first leads: it alone writes, and speaks.

    Every method but `share` must be called by all of them, in the same order. In a team of one
    nothing is exchanged and nothing changes.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, batches: Iterator[Sequence[Item]]) -> Iterator[Sequence[Item]]:
        """One part of each batch, neighbours; the team's size must divide the batch."""
        for batch in batches:
            count = len(batch) // self.size
            yield batch[self.rank * count : (self.rank + 1) * count]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Put in place of each floating tensor its mean over the processes, the same in all."""
        if self.size > 1:
            for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
                work.wait()
            for tensor in tensors:
                tensor /= self.size

    def any(self, here: bool) -> bool:
        """Whether it is so in any of the processes."""
        if self.size == 1:
            return here
        found = torch.tensor(int(here))  # on the CPU: the GPU need not be waited for
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)

    def wait(self) -> None:
        """Wait until all have come here."""
        self.any(False)

    def gather(self, found: list[Any]) -> list[Any]:
        """The lists of all processes, one after the other; tensors should be on the CPU."""
        if self.size == 1:
            return found
        lists: list[list[Any]] = [[] for _ in range(self.size)]
        dist.all_gather_object(lists, found)
        return [item for each in lists for item in each]


ALONE = Team()


@contextmanager
def launched_team() -> Iterator[Team]:
    """The team that torchrun has launched this process in, or a team of one.

    The process exits with status LOST when another one of the team has ended.
    """
    if not dist.is_torchelastic_launched():
        yield ALONE
        return
    if os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"]:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # whatever the host's name resolves to
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backends, timeout=PATIENCE)
    try:
        yield Team(dist.get_rank(), dist.get_world_size())
    except RuntimeError as error:
        if "/gloo/" not in str(error):  # it has no class of its own for a connection that closed
            raise
        raise SystemExit(LOST) from None
    dist.destroy_process_group()  # not after an error: it would wait for those that go on
